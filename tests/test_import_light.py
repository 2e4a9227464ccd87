"""`import bakemem` is light: command lines and agents pay for a model only when they use one."""

from __future__ import annotations

import json
import subprocess
import sys

HEAVY = (
    "apscheduler", "chromadb", "click", "langchain", "langchain_core", "langgraph", "numpy", "peft", "pydantic", "rich",
    "safetensors", "sqlalchemy", "tokenizers", "torch", "transformers",
)  # fmt: skip
LONGEST_SECONDS = 0.2

# The time that Linux kept the process waiting for a CPU is other people's work, and is taken off where it is known.
PROBE = """
import json, sys, time

def waited():
    try:
        with open("/proc/self/schedstat") as stat:
            return int(stat.read().split()[1]) / 1e9
    except OSError:
        return 0.0

start, waited_before = time.perf_counter(), waited()
import bakemem
seconds = time.perf_counter() - start - (waited() - waited_before)
print(json.dumps({"seconds": seconds, "modules": sorted({name.partition(".")[0] for name in sys.modules})}))
"""


def _import_once() -> tuple[float, set[str]]:
    run = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True)
    answer = json.loads(run.stdout)
    return answer["seconds"], set(answer["modules"])


def test_import_loads_nothing_heavy() -> None:
    """Importing the package loads no model library, no database and no agent framework."""
    _, modules = _import_once()
    assert "bakemem" in modules
    assert not modules.intersection(HEAVY)


def test_import_is_quick() -> None:
    """Importing the package takes at most 0.2 s, the best of five."""
    assert min(_import_once()[0] for _ in range(5)) <= LONGEST_SECONDS
