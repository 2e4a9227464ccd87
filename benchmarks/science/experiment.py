"""What an experiment is, and the command line that each has: units of one row and one seed, each kept when it is done.

    python -m benchmarks.science.fidelity --model starter --seeds 3 --json fidelity.json

Knows no experiment and nothing of baking.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bakemem.disk import write_whole

if TYPE_CHECKING:
    from benchmarks.science.lab import Lab

ROOT = Path(__file__).parent.parent.parent
RUNS = ROOT / "runs" / "science"
Figures = dict[str, Any]
"""What one unit measured, as JSON values."""


@dataclass(frozen=True)
class Unit:
    """One row of one experiment with one seed, and what it measured: on which base (its fingerprint) and when."""

    row: str
    seed: int
    figures: Figures
    seconds: float = 0.0
    base: str = ""
    day: str = ""


@dataclass(frozen=True)
class Spread:
    """The mean over seeds with its 95 % interval (Student's t); without an interval where one seed ran."""

    mean: float
    half: float | None
    n: int

    def text(self, form: str = ".1%") -> str:
        """As in a table: `97.3% ± 1.2%`."""
        half = "" if self.half is None else f" ± {self.half:{form}}"
        return f"{self.mean:{form}}{half}"


_T = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78, 6: 2.57, 7: 2.45, 8: 2.36, 9: 2.31, 10: 2.26}


def spread(values: Sequence[float]) -> Spread:
    """Mean and interval of what the seeds gave."""
    n = len(values)
    half = _T.get(n, 1.96) * statistics.stdev(values) / math.sqrt(n) if n > 1 else None
    return Spread(statistics.mean(values), half, n)


@dataclass(frozen=True)
class Goal:
    """What was to be reached, and what was. `most` turns it round."""

    what: str
    reached: Spread
    least: float | None = None
    most: float | None = None
    form: str = ".1%"

    @property
    def met(self) -> bool:
        """Whether the mean reaches it."""
        above = self.least is None or self.reached.mean >= self.least
        return above and (self.most is None or self.reached.mean <= self.most)


@dataclass(frozen=True)
class Page:
    """An experiment's part of docs/science.md: its table as Markdown, its goals, a word on what they mean."""

    table: str
    goals: tuple[Goal, ...] = ()
    verdict: str = ""


class Results:
    """The units of an experiment that are done."""

    def __init__(self, units: Sequence[Unit]) -> None:
        self.units = sorted(units, key=lambda u: (u.row, u.seed))

    def of(self, row: str, *path: str) -> list[Any]:
        """What the seeds of a row measured under a path of names, in the order of the seeds."""
        found = []
        for unit in self.units:
            if unit.row == row:
                value: Any = unit.figures
                for name in path:
                    value = value[name]
                found.append(value)
        return found

    def spread(self, row: str, *path: str) -> Spread:
        """Mean and interval of a number."""
        return spread([float(v) for v in self.of(row, *path)])

    def rows(self) -> list[str]:
        """The rows that have units, sorted."""
        return sorted({u.row for u in self.units})


@dataclass(frozen=True)
class Experiment:
    """One experiment: `measure(lab, row, seed)` is a unit; `page` and `plot` show all units together."""

    number: int
    name: str
    title: str
    question: str
    rows: tuple[str, ...]
    measure: Callable[[Lab, str, int], Figures]
    page: Callable[[Results], Page]
    plot: Callable[[Results, Path], None] | None = None
    seeds: int = 3


def runs_of(model: str, quick: bool) -> Path:
    """Where the units of a model are kept; those of a quick run stand apart, as their figures mean nothing."""
    name = "".join(c if c.isalnum() or c in ".-" else "-" for c in model)
    return RUNS / f"{name}-{hashlib.sha256(model.encode()).hexdigest()[:6]}{'-quick' * quick}"


def unit_file(runs: Path, experiment: Experiment, row: str, seed: int) -> Path:
    """Where a unit is kept."""
    safe = hashlib.sha256(row.encode()).hexdigest()[:8]
    return runs / experiment.name / f"{''.join(c if c.isalnum() else '-' for c in row)}-{safe}-{seed}.json"


def run_unit(experiment: Experiment, lab: Lab, model: str, row: str, seed: int, runs: Path) -> Unit:
    """Measure one unit and keep it; one that is kept already, of the same base, is read."""
    file = unit_file(runs, experiment, row, seed)
    if not is_kept(file, lab.base.fingerprint):
        started = time.monotonic()
        lab.kept = file.with_suffix(".d")
        figures = experiment.measure(lab, row, seed)
        kept = {"row": row, "seed": seed, "model": model, "quick": lab.quick, "base": lab.base.fingerprint,
                "day": date.today().isoformat(), "seconds": round(time.monotonic() - started, 1),
                "figures": figures}  # fmt: skip
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, json.dumps(kept, indent=1).encode())
        shutil.rmtree(lab.kept, ignore_errors=True)
    return read_unit(file)


def is_kept(file: Path, base: str) -> bool:
    """Whether the unit was measured, on the base with this fingerprint (on any, when that is empty)."""
    return file.exists() and base in ("", read_unit(file).base)


def read_unit(file: Path) -> Unit:
    """A unit that is kept."""
    return unit_of(json.loads(file.read_text(encoding="utf-8")))


def unit_of(kept: Mapping[str, Any]) -> Unit:
    """A unit from its JSON values; those of before say no base and no day."""
    return Unit(**{field.name: kept[field.name] for field in fields(Unit) if field.name in kept})


def results_of(experiment: Experiment, runs: Path, base: str) -> Results:
    """All units of an experiment that are kept of a base."""
    return Results([read_unit(file) for file in sorted((runs / experiment.name).glob("*.json")) if is_kept(file, base)])


def main(experiment: Experiment) -> None:
    """The command line of one experiment, in this process."""
    parser = argparse.ArgumentParser(description=f"{experiment.title}. {experiment.question}")
    parser.add_argument("--model", default="starter", help="starter, a folder, or a hub id")
    parser.add_argument("--seeds", type=int, default=experiment.seeds)
    parser.add_argument("--rows", nargs="+", default=list(experiment.rows), help="only these")
    parser.add_argument("--json", type=Path, help="write all units to this file")
    parser.add_argument("--quick", action="store_true", help="one seed, a few steps: shows that it runs")
    parser.add_argument("--out", type=Path, help="where units are kept; what is kept is not run again")
    args = parser.parse_args()
    from benchmarks.science.lab import Lab

    lab, out = Lab(args.model, quick=args.quick), args.out or runs_of(args.model, args.quick)
    units = []
    for seed in range(1 if args.quick else args.seeds):
        for row in args.rows:
            units.append(run_unit(experiment, lab, args.model, row, seed, out))
            print(f"{experiment.name} / {row} / seed {seed}: {units[-1].seconds:.0f} s", file=sys.stderr, flush=True)
    page = experiment.page(Results(units))
    print(page.table, *(f"{'met   ' if g.met else 'MISSED'} {g.what}: {g.reached.text(g.form)}" for g in page.goals),
          page.verdict, sep="\n")  # fmt: skip
    if args.json:
        args.json.write_text(json.dumps([asdict(unit) for unit in units], indent=1) + os.linesep, encoding="utf-8")


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
