"""docs/science.md from the units that are done: goals first, then each experiment with its table and figure.

Knows pages and figures; runs nothing.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.pages import DOCS, write_block
from benchmarks.science.experiment import Experiment, Goal, Page, Results, results_of, table, unit_of


def write(runs: Path, experiments: Sequence[Experiment], base: str, *, docs: bool) -> None:
    """Results as JSON and figures to docs/science, tables to docs/science.md; else all to a folder beside the units.

    Units of the base with this fingerprint (empty: of any) are read. An experiment without one stays on the page of
    docs/ as it was, and so does one that lacks rows of its own that are there; its goals stay among all goals.
    """
    folder = DOCS / "science" if docs else runs / "page"
    folder.mkdir(parents=True, exist_ok=True)
    goals: list[tuple[Experiment, Goal, str]] = []
    for experiment in experiments:
        file, results = folder / f"{experiment.name}.json", results_of(experiment, runs, base)
        published = _published(file) if docs else Results([])
        new = bool(results.units) and set(published.rows()) & set(experiment.rows) <= set(results.rows())
        if not new:
            results = published
        if not results.units:
            continue
        page, measured = experiment.page(results), _measured(results, base)
        goals += [(experiment, goal, measured) for goal in page.goals]
        if not new:
            continue
        file.write_text(json.dumps([asdict(unit) for unit in results.units], indent=1) + "\n", encoding="utf-8")
        if experiment.plot:
            experiment.plot(results, folder / f"{experiment.name}.png")
        block = _section(experiment, page, _seeds(results), measured)
        if docs:
            write_block("science.md", experiment.name, block)
        else:
            (folder / f"{experiment.name}.md").write_text(block, encoding="utf-8")
    if docs:
        write_block("science.md", "goals", _goals(goals))
    else:
        print(_goals(goals))


def _published(file: Path) -> Results:
    """The units that docs/ shows of an experiment."""
    return Results([unit_of(kept) for kept in json.loads(file.read_text(encoding="utf-8"))] if file.exists() else [])


def _measured(results: Results, base: str) -> str:
    """On which day, at the latest; or that it was on an earlier model of this name, which is not said of others."""
    earlier = base and any(unit.base != base for unit in results.units)
    return "on an earlier starter" if earlier else max(unit.day for unit in results.units)


def _goals(goals: Sequence[tuple[Experiment, Goal, str]]) -> str:
    rows = []
    for experiment, goal, measured in goals:
        bound = f"≥ {goal.least:{goal.form}}" if goal.least is not None else f"≤ {goal.most:{goal.form}}"
        reached, verdict = goal.reached.text(goal.form), "met" if goal.met else "**missed**"
        rows.append([f"{experiment.number}", goal.what, bound, reached, f"{goal.reached.n}", verdict, measured])
    head = ["experiment", "figure", "to reach", "reached (mean ± 95 % interval)", "seeds", "", "measured"]
    return table(head, rows)


def _seeds(results: Results) -> str:
    """How many seeds the rows have."""
    counts = Counter(unit.row for unit in results.units).values()
    return f"{min(counts)}" if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"


def _section(experiment: Experiment, page: Page, seeds: str, measured: str) -> str:
    command = f"python -m benchmarks.science --only {experiment.name}"
    figure = f"\n\n![{experiment.title}](science/{experiment.name}.png)" if experiment.plot else ""
    verdict = f"\n\n{page.verdict}" if page.verdict else ""
    measure = f"Seeds: {seeds}. Measured: {measured}. `{command}`"
    return f"{experiment.question} {measure}\n\n{page.table}{verdict}{figure}\n"
