"""Experiment 2: half-baking. How strongly a baked behaviour shows along the adapter's scale, and along training.

One instruction a seed whose obeying can be seen in one mark (a mood, a last word, a title). The mark is looked for in
answers sampled at temperature 1; beside that share, which is soon 0 or 1, stands a figure with degrees: the mean over
questions of the probability that a model which must choose between the obeying answer and the plain one gives to
obeying. The curve along training is one training, looked at as it goes. The product's learning rate has all of a single
instruction in a few steps, so half-baking by stopping early has its own row, with a thirtieth of it.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bakemem.baking import CANDIDATE, share
from bakemem.memory import consolidate
from bakemem.starter import Instruction, make_facts
from benchmarks.science.experiment import Experiment, Figures, Goal, Page, Results, Spread, main, spread, table
from benchmarks.science.lab import WAYS, Lab, memories_of, rng_of
from benchmarks.science.likelihood import log_likelihoods, rank_correlation, written
from benchmarks.science.obedience import instruction_of, story_of

MARKED = ("happy", "suffix", "thanks")
"""The kind of instruction of each seed: what obeying adds to an answer is one mark in it."""
SCALES = tuple(n / 8 for n in range(13))
LOOKS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96)
"""The steps of the training after which it is looked at."""
GENTLY = "baked, gently"
CURVES = {"baked": ("scale", "training"), GENTLY: ("training",), "fine-tuned": ("scale",)}
"""Along what each row is measured."""
N_UNKNOWN, N_EVERYDAY = 75, 30


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
    """The strength of one instruction at each scale of its adapter, and after each of some steps of its training."""
    instruction = instruction_of(rng_of("strength", seed), MARKED[seed % len(MARKED)])
    memories, gauge = memories_of(instruction), Gauge(lab, seed, instruction)
    way = row if row in WAYS else "baked"
    settings = lab.settings(memories, seed, way)
    if row == GENTLY:
        settings = lab.settings(memories, seed, way, learning_rate=settings.recipe.learning_rate / 30)
        settings = replace(settings, passed=None, efforts=0)
    curves: dict[str, list[Figures]] = {"scale": [], "training": [{"at": 0, **gauge.read()}]}

    def look(stage: str, step: int, steps: int, kl: float | None) -> None:
        first_effort = step > curves["training"][-1]["at"]
        if stage == "bake" and step in LOOKS and first_effort and "training" in CURVES[row]:
            curves["training"].append({"at": step, **gauge.read(adapter=CANDIDATE)})

    with lab.taught(memories, seed=seed, settings=settings, progress=look) as taught:
        if "scale" in CURVES[row]:
            curves["scale"] = [{"at": s, **gauge.read(adapter=taught.id, strength=s)} for s in SCALES]
    return {"instruction": instruction.memory, "prompted": gauge.read(prompt=consolidate(memories).text),
            **{name: curves[name] for name in CURVES[row]}, "steps": taught.baked.report.steps}  # fmt: skip


def _rho(curve: Sequence[Figures]) -> float:
    """Spearman's correlation of where and how strongly, by probabilities that are told apart from a thousandth on."""
    return rank_correlation([p["at"] for p in curve], [round(p["probability"], 3) for p in curve])


def page(results: Results) -> Page:
    """The probability of obeying along the scale and along training, with Spearman's correlations."""
    rows = [row for row in CURVES if row in results.rows()]
    tables = []
    for name, title in (("scale", "by scale of the adapter"), ("training", "by step of the training")):
        measured = [row for row in rows if name in CURVES[row]]
        if not measured:
            continue
        shown = sorted(set.intersection(*(set(_places(results, row, name)) for row in measured)))[::2]
        lines = [[row, *(f"{_mean(results, row, name, at, 'probability'):.1%}" for at in shown),
                  _rhos(results, row, name).text(".3f")] for row in measured]  # fmt: skip
        tables.append(table((f"probability of obeying {title}", *(f"{at:g}" for at in shown), "Spearman"), lines))
    goals = [
        Goal(what, _rhos(results, row, name, most), least=0.98, form=".3f")
        for what, row, name, most in (
            ("Spearman along the scale, 0 to 1.5", "baked", "scale", math.inf),
            ("Spearman along the scale, 0 to 1", "baked", "scale", 1),
            ("Spearman along the product's training", "baked", "training", math.inf),
            ("Spearman along a training at a thirtieth of the rate", GENTLY, "training", math.inf),
        ) if row in rows
    ]  # fmt: skip
    return Page("\n\n".join(tables), tuple(goals), _verdict(results, rows))


def _rhos(results: Results, row: str, name: str, most: float = math.inf) -> Spread:
    """Spearman's correlation of each seed's curve, up to the place `most`."""
    return spread([_rho([point for point in curve if point["at"] <= most]) for curve in results.of(row, name)])


def _verdict(results: Results, rows: Sequence[str]) -> str:
    """How strong the prompted model is, and how little the baked one's scale still tells from 1 on."""
    prompted = results.spread(rows[0], "prompted", "probability").text()
    said = f"The prompted model's probability of obeying is {prompted}. Spearman is of probabilities rounded to 0.1 %."
    if "baked" in rows:
        beyond = [p["probability"] for curve in results.of("baked", "scale") for p in curve if p["at"] >= 1]
        said += f" From scale 1 on, those of the baked one lie within {max(beyond) - min(beyond):.1e} of each other."
    return said


def _places(results: Results, row: str, name: str) -> list[float]:
    """Where all seeds of a row were looked at."""
    curves = [{point["at"] for point in curve} for curve in results.of(row, name)]
    return sorted(set.intersection(*curves))


def _mean(results: Results, row: str, name: str, at: float, what: str) -> float:
    points = [point for curve in results.of(row, name) for point in curve if point["at"] == at]
    return statistics.mean(float(point[what]) for point in points)


def plot(results: Results, path: Path) -> None:
    """The probability of obeying, and the share of sampled answers that obey, along the scale and along training."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    blue, orange, green = "#0072b2", "#d55e00", "#009e73"
    shown = (
        (left, "scale", "baked", blue, 0.7, 0.4), (left, "scale", "fine-tuned", orange, 0.7, 0.31),
        (right, "training", "baked", blue, 0.03, 0.9), (right, "training", GENTLY, green, 0.03, 0.82),
    )  # fmt: skip
    for axes, name, row, colour, x, y in shown:
        if row not in results.rows():
            continue
        places = _places(results, row, name)
        for what, style in (("probability", "-"), ("share", ":")):
            values = [100 * _mean(results, row, name, at, what) for at in places]
            axes.plot(places, values, style, color=colour, marker="o" if style == "-" else "", markersize=4)
        axes.text(x, y, row, color=colour, transform=axes.transAxes)
    left.axvline(1, color="grey", linewidth=0.8)
    left.set_xlabel("scale of the adapter (1: as baked)")
    left.set_ylabel("obeys, %: probability (line), sampled (dots)")
    right.set_xscale("symlog", base=2, linthresh=1)
    right.set_xlim(0, 110)
    right.set_xticks([0, 1, 2, 4, 8, 16, 32, 64], ["0", "1", "2", "4", "8", "16", "32", "64"])
    right.set_xlabel("step of the training")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=150)


EXPERIMENT = Experiment(
    2, "strength", "Interpolation and half-baking",
    "Does a baked behaviour only grow along the adapter's scale, and along training?",
    tuple(CURVES), measure, page, plot,
)  # fmt: skip

if __name__ == "__main__":
    main(EXPERIMENT)
