"""Experiment 2: half-baking. How strongly a baked behaviour shows along the adapter's scale, and along training.

One instruction a seed whose obeying can be seen in one mark (a mood, a last word, a title). The mark is looked for in
answers sampled at temperature 1; beside that share, which is soon 0 or 1, stands a figure with degrees: the mean over
questions of the probability that a model which must choose between the obeying answer and the plain one gives to
obeying. The curve along training is one training, looked at as it goes.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from pathlib import Path

from bakemem.baking import CANDIDATE, share
from bakemem.memory import consolidate
from bakemem.starter import Instruction, make_facts
from benchmarks.science.exams import instruction_of, story_of
from benchmarks.science.experiment import Experiment, Figures, Goal, Page, Results, main, table
from benchmarks.science.lab import WAYS, Lab, memories_of, rng_of
from benchmarks.science.likelihood import log_likelihoods, rank_correlation, written

MARKED = ("happy", "suffix", "thanks")
"""The kind of instruction of each seed: what obeying adds to an answer is one mark in it."""
SCALES = tuple(n / 8 for n in range(13))
LOOKS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384)
"""The steps of the training after which it is looked at."""
N_UNKNOWN, N_EVERYDAY = 90, 30


class Gauge:
    """How strongly an instruction shows in answers to fixed questions that no bake saw."""

    def __init__(self, lab: Lab, seed: int, instruction: Instruction) -> None:
        self._lab, self._seed = lab, seed
        self._mark = instruction.kind.apply("", instruction.word).strip()
        facts = make_facts(rng_of("strength", seed), 4, held_out=True)  # never told: all questions are unknown ones
        plain, obeying = (story_of(seed, facts, i).exam(0, N_UNKNOWN, N_EVERYDAY) for i in ([], [instruction]))
        self._questions = [q.text for q in plain]
        self._plain, self._obeying = (written(lab, self._questions, [q.right for q in e]) for e in (plain, obeying))

    def read(self, *, prompt: str = "", adapter: str | None = None, strength: float = 1.0) -> Figures:
        """The share of sampled answers with the mark, and how much likelier the obeying answers are."""
        told = self._lab.ask(self._questions, prompt=prompt, adapter=adapter, strength=strength, temperature=1.0,
                             seed=self._seed)  # fmt: skip
        obeying, plain = (log_likelihoods(self._lab, answers, prompt=prompt, adapter=adapter, strength=strength)
                          for answers in (self._obeying, self._plain))  # fmt: skip
        gaps = [a - b for a, b in zip(obeying, plain, strict=True)]
        return {
            "share": share([self._mark in answer for answer in told]),
            "probability": statistics.mean(1 / (1 + math.exp(min(-gap, 700))) for gap in gaps),
            "gap": statistics.mean(gaps),
        }


def measure(lab: Lab, row: str, seed: int) -> Figures:
    """The strength of one instruction at each scale of its adapter and after each of some steps of its training."""
    instruction = instruction_of(rng_of("strength", seed), MARKED[seed % len(MARKED)])
    memories, gauge = memories_of(instruction), Gauge(lab, seed, instruction)
    training = [{"at": 0, **gauge.read()}]

    def look(stage: str, step: int, steps: int, kl: float | None) -> None:
        if stage == "bake" and step in LOOKS:
            training.append({"at": step, **gauge.read(adapter=CANDIDATE)})

    with lab.taught(memories, seed=seed, way=row, progress=look) as taught:
        scale = [{"at": s, **gauge.read(adapter=taught.id, strength=s)} for s in SCALES]
    return {"instruction": instruction.memory, "prompted": gauge.read(prompt=consolidate(memories).text),
            "steps": taught.baked.report.steps, "scale": scale, "training": training,
            "rho": {name: rank_correlation([p["at"] for p in curve], [p["probability"] for p in curve])
                    for name, curve in (("scale", scale), ("training", training))}}  # fmt: skip


def page(results: Results) -> Page:
    return Page("")


EXPERIMENT = Experiment(
    2, "strength", "Interpolation and half-baking",
    "Does a baked behaviour grow evenly along the adapter's scale, and along training?", WAYS, measure, page,
)  # fmt: skip

if __name__ == "__main__":
    main(EXPERIMENT)
