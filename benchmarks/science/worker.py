"""What a process of the runner does: one unit after the other, on one base that stays loaded.

A module of its own, as a spawned process does not import the `__main__` of a package.
"""

from __future__ import annotations

import os
from functools import cache
from importlib import import_module
from multiprocessing import parent_process
from pathlib import Path
from threading import Thread

import torch

from benchmarks.science.experiment import run_unit
from benchmarks.science.lab import Lab


def begin() -> None:
    """One thread a process: two with one thread each do more than one with two. None outlives the runner."""
    torch.set_num_threads(1)
    Thread(target=_end_with_the_runner, daemon=True).start()


def _end_with_the_runner() -> None:
    """Whatever killed the runner: a unit that goes on would be measured with the code of then."""
    if runner := parent_process():
        runner.join()
        os._exit(1)


def unit(name: str, model: str, row: str, seed: int, quick: bool, out: Path) -> tuple[str, float]:
    """Run one unit in a worker."""
    done = run_unit(import_module(f"benchmarks.science.{name}").EXPERIMENT, _lab(model, quick), model, row, seed, out)
    return f"{name} / {row} / seed {seed}", done.seconds


@cache
def _lab(model: str, quick: bool) -> Lab:
    return Lab(model, quick=quick)
