"""Experiment 10: how many facts one adapter holds, at which rank, and what that costs.

python -m benchmarks.science.capacity --rows "100 facts, rank 16"
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

from bakemem.starter import make_facts
from benchmarks.science.exam import KINDS, by_kind, holds_value, questions, read_by, shards_of, trained_on
from benchmarks.science.experiment import Experiment, Figures, Goal, Page, Results, main, spread, table
from benchmarks.science.lab import Lab, memories_of, rng_of

CELLS = {10: (4, 16, 64), 30: (4, 16, 64), 100: (4, 16, 64), 300: (16, 64), 1000: (64,)}
"""Facts to ranks; what is left out would take a quarter of an hour or more each."""
QUESTIONS = 12  # about each fact; the product's 32 are for bakes of a few
TRAJECTORIES = 32  # a step
STEPS = 1200  # at most


def rows() -> tuple[str, ...]:
    """The cells by name, the small ones first."""
    return tuple(row_of(n, rank) for n, ranks in CELLS.items() for rank in ranks)


def row_of(n: int, rank: int) -> str:
    """A cell's name."""
    return f"{n} facts, rank {rank}"


def measure(lab: Lab, row: str, seed: int) -> Figures:
    """One bake of so many facts from the base, and three questions about each (about 300 of them at most)."""
    n, rank = (int(word.split()[-1 if "rank" in word else 0]) for word in row.split(", "))
    n = min(n, 12) if lab.quick else n
    rng = rng_of(f"capacity {n}", seed)  # the same facts for each rank
    facts = make_facts(rng, n, held_out=True)
    memories = memories_of(*facts)
    settings = lab.settings(memories, seed, trajectories_per_step=TRAJECTORIES)
    recipe = settings.recipe
    settings = replace(settings, per_memory=QUESTIONS, efforts=0, recipe=replace(
        recipe, rank=rank, alpha=recipe.alpha * rank // recipe.rank, steps=min(STEPS, recipe.steps)))  # fmt: skip
    started = time.monotonic()
    stimuli = lab.stimuli(memories, settings, seed)
    with lab.taught(memories, seed=seed, settings=settings, stimuli=stimuli) as made:
        seconds = time.monotonic() - started
        some = rng.sample(range(n), min(n, 300))
        asked = questions(rng, [facts[i] for i in some], [memories[i] for i in some], seen=trained_on(stimuli))
        answers = lab.ask([q.text for q in asked], adapter=made.id)
        shard_of, report = shards_of(lab, memories), made.baked.report
        told = lab.ask([read_by(shard_of, q) for q in asked])
        return {
            "facts": n, "rank": rank, "asked": len(asked),
            "kinds": by_kind(asked, answers), "prompted": by_kind(asked, told),
            "value": holds_value(asked, answers), "prompted value": holds_value(asked, told),
            "agreement": mean(a == b for a, b in zip(answers, told, strict=True)), "drift": report.drift,
            "abstention": report.abstention, "steps": report.steps, "seconds": seconds,
        }  # fmt: skip


def page(results: Results) -> Page:
    """The curve as a table, and the best rank of the largest size."""
    head = ["facts", "rank", "direct", "paraphrase", "reversed", "prompted (the same)", "equal to prompted",
            "not told", "everyday changed", "steps", "time"]  # fmt: skip
    done = [(row, units) for row in rows() if (units := results.of(row))]
    body = []
    for row, units in done:
        body.append([
            str(units[0]["facts"]), str(units[0]["rank"]),
            *(results.spread(row, "kinds", kind).text() for kind in KINDS),
            " / ".join(results.spread(row, "prompted", kind).text(".0%") for kind in KINDS),
            results.spread(row, "agreement").text(), results.spread(row, "abstention").text(),
            results.spread(row, "drift").text(), f"{results.spread(row, 'steps').mean:.0f}",
            f"{results.spread(row, 'seconds').mean:.0f} s",
        ])  # fmt: skip
    largest = max(CELLS)  # what smaller ones reach says nothing of the goal
    best = max((spread([recall(unit) for unit in units]) for _, units in done if units[0]["facts"] == largest),
               key=lambda one: one.mean, default=None)  # fmt: skip
    goals = () if best is None else (Goal(f"{largest} facts: direct and paraphrased recall at the best rank", best,
                                          least=0.95),)  # fmt: skip
    return Page(table(head, body), goals, VERDICT)


def recall(unit: Figures) -> float:
    """Recall of values: what is asked forwards."""
    return mean((unit["kinds"]["direct"], unit["kinds"]["paraphrase"]))


VERDICT = (
    "Asked of three questions about each fact (of 300 facts at most), in words that neither the starter nor the bake "
    "was trained on; the prompted base reads the shard that holds the fact. A bake has 12 questions about each "
    "fact, 32 trajectories a step and 1,200 steps at most."
)


def plot(results: Results, path: Path) -> None:
    """Recall over facts, a line a rank, the prompted base in grey."""
    import matplotlib.pyplot as plt

    units = [unit for row in rows() for unit in results.of(row)]
    figure, axis = plt.subplots(figsize=(7, 4.5), layout="constrained")
    styles = {4: ("#D55E00", "o"), 16: ("#0072B2", "s"), 64: ("#009E73", "^")}
    for rank, (colour, marker) in styles.items():
        draw(axis, [(u["facts"], recall(u)) for u in units if u["rank"] == rank], f"rank {rank}", colour, marker)
    told = [(u["facts"], mean((u["prompted"]["direct"], u["prompted"]["paraphrase"]))) for u in units]
    draw(axis, told, "prompted", "#777777", "x")
    axis.axhline(0.95, color="#BBBBBB", linewidth=1, linestyle=":")
    axis.set_xscale("log")
    sizes = sorted({u["facts"] for u in units})
    axis.set_xticks(sizes, [f"{n:,}" for n in sizes])
    axis.minorticks_off()
    axis.set_xlim(right=max(sizes) * 2)
    axis.set_ylim(0, 1.02)
    axis.set_xlabel("facts in one bake")
    axis.set_ylabel("direct and paraphrased recall")
    figure.savefig(path, dpi=120)
    plt.close(figure)


def draw(axis: Any, points: Sequence[tuple[int, float]], name: str, colour: str, marker: str) -> None:
    """One line of means over sizes, with its name at its end."""
    sizes = sorted({n for n, _ in points})
    means = [mean(share for n, share in points if n == size) for size in sizes]
    if sizes:
        axis.plot(sizes, means, color=colour, marker=marker, linewidth=2)
        axis.annotate(name, (sizes[-1], means[-1]), xytext=(8, 0), textcoords="offset points", color=colour,
                      va="center")  # fmt: skip


EXPERIMENT = Experiment(
    10, "capacity", "How many facts one adapter holds", "Where does recall fall, and does a higher rank help?",
    rows(), measure, page, plot, seeds=1,
)  # fmt: skip

if __name__ == "__main__":
    main(EXPERIMENT)
