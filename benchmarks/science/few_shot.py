"""Experiment 4: made-up rules that a prompt shows by three or four examples, baked: are they applied without it?

Each rule changes made-up words (`mera -> meraku`). The rule's prompt is baked with words as stimuli, and asked with
words that neither the examples nor the bake have shown; an answer is right to the letter or wrong.
"""

from __future__ import annotations

import random
import statistics
from pathlib import Path

from bakemem.baking import Stimuli, same, share
from bakemem.starter.curriculum import few_shot
from bakemem.types import Turn
from benchmarks.science.experiment import Experiment, Figures, Goal, Page, Results, main, spread, table
from benchmarks.science.lab import WAYS, Lab, rng_of
from benchmarks.science.likelihood import asked

RULES = 3
N_TRAIN, N_HELD_OUT, N_EXAM = 160, 20, 100
CASES = ("zero-shot", "few-shot", "baked", "both")
"""The base alone, with the examples, the adapter alone, and the adapter with the examples."""


def measure(lab: Lab, row: str, seed: int) -> Figures:
    """The share of right answers in each case, over the rules and for each."""
    rng = rng_of("few_shot", seed)
    rules = [_measure(lab, row, seed, rng) for _ in range(RULES)]
    return {"rules": rules, **{case: statistics.mean(r[case] for r in rules) for case in CASES}}


def _measure(lab: Lab, row: str, seed: int, rng: random.Random) -> Figures:
    prompt, pairs = _rule(rng)
    questions = [question for question, _ in pairs]
    exam = pairs[N_TRAIN + N_HELD_OUT :]
    stimuli = Stimuli(tuple(map(asked, questions[:N_TRAIN])),
                      tuple(map(asked, questions[N_TRAIN : N_TRAIN + N_HELD_OUT])))  # fmt: skip
    with lab.taught(prompt=prompt, seed=seed, way=row, stimuli=stimuli) as taught:
        told = {
            case: lab.ask([q for q, _ in exam], prompt=prompt if case in ("few-shot", "both") else "",
                          adapter=taught.id if case in ("baked", "both") else None)
            for case in CASES
        }  # fmt: skip
    right = {case: share([same(a, r) for a, (_, r) in zip(answers, exam, strict=True)])
             for case, answers in told.items()}  # fmt: skip
    return {"prompt": prompt, "steps": taught.baked.report.steps, **right}


def _rule(rng: random.Random) -> tuple[str, list[tuple[str, str]]]:
    """The examples of a rule as a prompt, and enough questions with their right answers."""
    needed = N_TRAIN + N_HELD_OUT + N_EXAM
    system: Turn
    turns: list[Turn] = []
    while len(turns) < 2 * needed:
        system, *turns = few_shot(rng, True, 2 * needed)
    pairs = [(q.content, a.content) for q, a in zip(turns[::2], turns[1::2], strict=True)]
    return system.content, pairs[:needed]


def page(results: Results) -> Page:
    """One row a way of teaching."""
    ways = [row for row in WAYS if row in results.rows()]
    lines = [[way, *(results.spread(way, case).text() for case in CASES)] for way in ways]
    goals = tuple(
        Goal("right, baked less few-shot", spread([b - f for b, f in zip(
            results.of(way, "baked"), results.of(way, "few-shot"), strict=True)]), least=-0.005)
        for way in ways if way == "baked"
    )  # fmt: skip
    return Page(table(("right answers", "zero-shot", "few-shot", "baked", "baked + few-shot"), lines), goals)


def plot(results: Results, path: Path) -> None:
    """A bar for the base with and without examples, and one for each way of teaching."""
    from matplotlib.figure import Figure

    ways = [row for row in WAYS if row in results.rows()]
    bars = [("zero-shot", ways[0], "zero-shot"), ("few-shot", ways[0], "few-shot"), *((w, w, "baked") for w in ways)]
    figure = Figure(figsize=(6.5, 0.8 + 0.45 * len(bars)), layout="constrained")
    axes = figure.subplots()
    for place, (label, row, case) in enumerate(reversed(bars)):
        reached = results.spread(row, case)
        axes.barh(place, 100 * reached.mean, 0.6, color="#0072b2" if label == "baked" else "#b9c4cf")
        axes.text(100 * reached.mean + 1, place, reached.text(), va="center", fontsize=9)
    axes.set_yticks(range(len(bars)), [label for label, _, _ in reversed(bars)])
    axes.set_xlim(0, 118)
    axes.set_xticks(range(0, 101, 20))
    axes.set_xlabel("right answers on words never shown, %")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)


EXPERIMENT = Experiment(
    4, "few_shot", "Few-shot", "Is a rule that the prompt shows by examples applied as well when it is baked?",
    WAYS, measure, page, plot,
)  # fmt: skip

if __name__ == "__main__":
    main(EXPERIMENT)
