"""docs/science.md from the units that are done: goals first, then each experiment with its table and figure.

Knows pages and figures; runs nothing.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from benchmarks.pages import DOCS, write_block
from benchmarks.science.experiment import Experiment, Goal, Page, Results, results_of, table


def write(runs: Path, experiments: Sequence[Experiment], *, docs: bool) -> None:
    """Results as JSON and figures to docs/science, tables to docs/science.md; else all to a folder beside the units."""
    folder = DOCS / "science" if docs else runs / "page"
    folder.mkdir(parents=True, exist_ok=True)
    pages: list[tuple[Experiment, Page]] = []
    for experiment in experiments:
        results = results_of(experiment, runs)
        if not results.units:
            continue
        pages.append((experiment, experiment.page(results)))
        whole = [{"row": u.row, "seed": u.seed, "seconds": round(u.seconds, 1), "figures": u.figures}
                 for u in results.units]  # fmt: skip
        (folder / f"{experiment.name}.json").write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
        if experiment.plot:
            experiment.plot(results, folder / f"{experiment.name}.png")
        block = _section(experiment, pages[-1][1], _seeds(results))
        if not docs:
            (folder / f"{experiment.name}.md").write_text(block, encoding="utf-8")
        else:
            write_block("science.md", experiment.name, block)
    goals = _goals([(e, g) for e, p in pages for g in p.goals])
    if not docs:
        print(goals)
    elif len(pages) > 1:
        write_block("science.md", "goals", goals)


def _goals(goals: Sequence[tuple[Experiment, Goal]]) -> str:
    rows = []
    for experiment, goal in goals:
        bound = f"≥ {goal.least:{goal.form}}" if goal.least is not None else f"≤ {goal.most:{goal.form}}"
        verdict = "met" if goal.met else "**missed**"
        rows.append(
            [f"{experiment.number}", goal.what, bound, goal.reached.text(goal.form), f"{goal.reached.n}", verdict]
        )
    return table(["experiment", "figure", "to reach", "reached (mean ± 95 % interval)", "seeds", ""], rows)


def _seeds(results: Results) -> str:
    """How many seeds the rows have."""
    counts = Counter(unit.row for unit in results.units).values()
    return f"{min(counts)}" if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"


def _section(experiment: Experiment, page: Page, seeds: str) -> str:
    command = f"python -m benchmarks.science --only {experiment.name}"
    figure = f"\n\n![{experiment.title}](science/{experiment.name}.png)" if experiment.plot else ""
    verdict = f"\n\n{page.verdict}" if page.verdict else ""
    return (f"{experiment.question} Seeds: {seeds}. `{command}`\n\n{page.table}{verdict}{figure}\n")  # fmt: skip
