# Everything runs in .venv, which this file makes by itself. `make help` lists the targets.

# The first Python that is new enough; say PYTHON=/path/to/python to choose another.
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$python; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
# Written last, so that a .venv whose making was cut short is mended by the next call.
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test lint types format science bench docs clean

help: ## List the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 16

demo: $(STAMP) ## Talk, bake, ask again, roll back: the whole path in a few minutes
	$(BIN)/bakemem demo $(ARGS)

test: $(STAMP) ## All tests, offline (ARGS="-m 'not slow'" for the quick ones)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

lint: $(STAMP) ## Style and format, read only
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP) ## Strict type check
	$(BIN)/mypy --strict --num-workers auto

format: $(STAMP) ## Mend what lint can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

science: $(STAMP) ## All experiments with one seed, resumable, hours (ARGS="--seeds 3"; QUICK=1: minutes)
	$(BIN)/python -m benchmarks.science $(if $(QUICK),--quick) $(ARGS)

bench: $(STAMP) ## Measure the figures that docs/ reports
	@set -e; for script in benchmarks/*.py; do \
		test -e "$$script" || { echo "benchmarks/ holds no script yet"; break; }; \
		echo "== $$script"; $(BIN)/python "$$script" $(ARGS); done

docs: $(STAMP) ## Regenerate the generated pages
	@if test -e docs/generate.py; then $(BIN)/python docs/generate.py; else echo "docs/ holds no generated page yet"; fi

clean: ## Remove .venv, caches and build output; never a memory home
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMP): pyproject.toml constraints.txt
	@'$(PYTHON)' -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "bakemem needs Python 3.11 or newer, and '$(PYTHON)' is not one. Install it, or name it: make PYTHON=python3.12" >&2; \
		exit 1; }
	@$(BIN)/python -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || '$(PYTHON)' -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt --editable '.[demo,dev]'
	@$(BIN)/python -m compileall -qq -j 0 $(VENV)/lib || true  # on all cores, where pip takes one; not all is Python of today
	@touch $@
