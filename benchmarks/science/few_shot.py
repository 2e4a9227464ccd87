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
from benchmarks.science.experiment import Experiment, Figures, Goal, Page, Results, main, table
from benchmarks.science.lab import WAYS, Lab, rng_of
from benchmarks.science.likelihood import asked

RULES = 4
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
    return Page("")


EXPERIMENT = Experiment(
    4, "few_shot", "Few-shot", "Is a rule that the prompt shows by examples applied as well when it is baked?",
    WAYS, measure, page,
)  # fmt: skip

if __name__ == "__main__":
    main(EXPERIMENT)
