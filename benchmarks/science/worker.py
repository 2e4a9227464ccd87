"""What a process of the runner does: one unit after the other, on one base that stays loaded.

A module of its own, as a spawned process does not import the `__main__` of a package.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pathlib import Path

import torch

from benchmarks.science.experiment import run_unit
from benchmarks.science.lab import Lab


def begin() -> None:
    """One thread a process: two with one thread each do more than one with two."""
    torch.set_num_threads(1)


def unit(name: str, model: str, row: str, seed: int, quick: bool, out: Path) -> tuple[str, float]:
    """Run one unit in a worker."""
    done = run_unit(import_module(f"benchmarks.science.{name}").EXPERIMENT, _lab(model, quick), model, row, seed, out)
    return f"{name} / {row} / seed {seed}", done.seconds


@cache
def _lab(model: str, quick: bool) -> Lab:
    return Lab(model, quick=quick)
