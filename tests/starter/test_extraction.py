"""The starter reads memories out of unseen turns as well as docs/memory.md says, and makes none up."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent.parent / "benchmarks" / "extraction.py"


@pytest.mark.slow
def test_three_hundred_unseen_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Precision 97 % at least (the goal is 98, with room for other machines' rounding), recall 95 %, none made up."""
    monkeypatch.syspath_prepend(SCRIPT.parent)  # as `python benchmarks/extraction.py` has it
    spec = importlib.util.spec_from_file_location("extraction", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    figures = module.measure(300, 100, 0)
    assert figures["precision"] >= 0.97
    assert figures["recall"] >= 0.95
    assert figures["from turns without any"] == 0
