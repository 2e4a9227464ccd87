"""Experiment 6: prompt forgetting. How well a model adheres to u at turns 1 to 64, and which contexts bake that in.

Six facts with one or two instructions; dialogues of small talk with the model's own replies, probed on the way.
In the product the teacher answers with u right before the question, and the student deep in a dialogue of many answers.
`short student` trains single answers; with `deep teacher` both stand at the end of the same long conversation.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from bakemem.baking import Stimuli
from bakemem.demo.curve import TURNS, forgetting_curve, probes_of
from bakemem.demo.story import Question, Story
from bakemem.everyday import everyday_stimuli
from bakemem.memory import consolidate
from bakemem.types import Memory, Stimulus, Turn
from benchmarks.science.draw import curves
from benchmarks.science.experiment import Experiment, Figures, Goal, Page, Results, main, spread, table
from benchmarks.science.lab import Lab, memories_of, rng_of

FIRST_STORY = 100
"""Stories from here on: the demo and docs/figures.md tell the first ones."""
REPEAT_EVERY = 8
DEEPEST = 32
"""The longest conversation before a question where the teacher is deep, in turns."""
UNBAKED = ("base", "prompted", f"repeated every {REPEAT_EVERY}")
NUMBERS = {"1": "one instruction", "2": "two instructions"}
ROWS = ("not baked", "baked", "short student", "deep teacher", "paper", "fine-tuned")


def measure(lab: Lab, row: str, seed: int) -> Figures:
    """The curve of each model with two instructions; of what is not baked, and of the product's bake, also with one."""
    numbers = (1, 2) if row in ("not baked", "baked") else (2,)
    return {str(n): _curves(lab, row, Story(FIRST_STORY + seed, n_instructions=n)) for n in numbers}


def _curves(lab: Lab, row: str, story: Story) -> Figures:
    memories = memories_of(*story.facts, *story.instructions)
    prompt = consolidate(memories).text
    if row == "not baked":
        systems = zip(UNBAKED, ("", prompt, prompt), (None, None, REPEAT_EVERY), strict=True)
        return {name: _curve(lab, story, system=system, repeat_every=every) for name, system, every in systems}
    with lab.taught(memories, seed=story.seed, **_way(lab, row, story, memories)) as taught:
        return {row: _curve(lab, story, adapter=taught.id)}


def _curve(lab: Lab, story: Story, adapter: str | None = None, system: str = "", **options: Any) -> list[Figures]:
    probes = probes_of(story)
    size = {"turns": TURNS[:3], "conversations": 4, "each": 1} if lab.quick else {"each": 3}
    points = forgetting_curve(lab.base, adapter, system, probes, seed=story.seed, **size, **options)
    return [asdict(point) for point in points]


def _way(lab: Lab, row: str, story: Story, memories: Sequence[Memory]) -> dict[str, Any]:
    """How a row is baked, as arguments of `Lab.bake`."""
    if row not in ("short student", "deep teacher"):
        return {"way": row}
    alone = replace(lab.settings(memories, story.seed, max_dialogue_turns=1), efforts=0)
    if row == "short student":
        return {"settings": alone}
    talk = [story.general(everyday) for everyday in everyday_stimuli()]
    stimuli = deep(rng_of("forgetting", story.seed), lab.stimuli(memories, alone, story.seed), talk)
    return {"stimuli": stimuli, "settings": replace(alone, recipe=replace(alone.recipe, trajectories_per_step=6))}


def deep(rng: random.Random, stimuli: Stimuli, talk: Sequence[Question]) -> Stimuli:
    """Half of the training stimuli, each at the end of 1 to `DEEPEST` turns in which u was obeyed (log-uniform)."""

    def behind(stimulus: Stimulus) -> Stimulus:
        said = rng.sample(talk, round(DEEPEST ** rng.random()))
        history = [turn for q in said for turn in (Turn("user", q.text), Turn("assistant", q.right))]
        caller = stimulus.turns[:1] if stimulus.turns[0].role == "system" else ()
        return replace(stimulus, turns=(*caller, *history, *stimulus.turns[len(caller) :]))

    return replace(stimuli, train=tuple(map(behind, stimuli.train[::2])))


def _named(results: Results, n: str) -> dict[str, str]:
    """The curves with so many instructions, and the row that each was measured in."""
    return {name: row for row in ROWS if row in results.rows() for name in results.of(row)[0].get(n, ())}


def _at(results: Results, n: str, row: str, name: str, what: str) -> list[tuple[int, list[float]]]:
    """What the seeds gave at each turn."""
    seeds = [figures[n][name] for figures in results.of(row)]
    return [(points[0]["turn"], [point[what] for point in points]) for points in zip(*seeds, strict=True)]


def page(results: Results) -> Page:
    """Adherence by turn, and at the last turn the instructions alone, the facts alone and the strangers."""
    lines, turns = [], list(TURNS)
    for n, words in NUMBERS.items():
        for name, row in _named(results, n).items():
            points = _at(results, n, row, name, "adherence")
            turns = [turn for turn, _ in points]
            last = [spread(_at(results, n, row, name, what)[-1][1]).text(".0%")
                    for what in ("instruction", "facts", "strangers")]  # fmt: skip
            lines.append([words, name, *(spread(seeds).text(".0%") for _, seeds in points), *last])
    head = ["", "", *(f"turn {turn}" for turn in turns), "obeyed", "recalled", "strangers unknown"]
    return Page(table(head, lines), _goals(results), (
        "Adherence: the share of questions about facts whose answer is right to the letter, value and instructed form. "
        "The last three columns are of the last turn: small talk in the instructed form, values told, and “I do not "
        "know” about people never mentioned. A repeated prompt stands before what the user says at turns 9, 17 …, so "
        "that the probes come seven turns after it."
    ))  # fmt: skip


def _goals(results: Results) -> tuple[Goal, ...]:
    goals = []
    for n, words in NUMBERS.items():
        if "baked" in _named(results, n):
            points = _at(results, n, "baked", "baked", "adherence")
            kept = [b / a if a else 0.0 for a, b in zip(points[0][1], points[-1][1], strict=True)]
            what = f"baked with {words}: turn {points[-1][0]} as a share of turn 1"
            goals.append(Goal(what, spread(kept), least=0.98))
    return tuple(goals)


def plot(results: Results, file: Path) -> None:
    """Adherence by turn, with one instruction and with two."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 4.6), layout="constrained")
    names = ("baked", "prompted", "short student", "deep teacher", UNBAKED[2], "paper", "base", "fine-tuned")
    for axes, (n, words) in zip(figure.subplots(1, 2, sharey=True), NUMBERS.items(), strict=True):
        lines = {name: [(turn, spread(seeds).mean) for turn, seeds in _at(results, n, row, name, "adherence")]
                 for name, row in _named(results, n).items()}  # fmt: skip
        curves(axes, lines, {name: i for i, name in enumerate(names)})
        turns = [turn for turn, _ in next(iter(lines.values()))]
        axes.set_xscale("log", base=2)
        axes.set_xticks(turns, [str(turn) for turn in turns])
        axes.set(title=f"six facts and {words}", xlabel="turn of the conversation", ylim=(0, 1.02))
        axes.yaxis.set_major_formatter(lambda share, place: f"{share:.0%}")
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel("answers right to the letter")
    figure.savefig(file, dpi=150)


EXPERIMENT = Experiment(
    6, "forgetting", "Prompt forgetting", "How long does a model adhere to what it was told?", ROWS, measure, page, plot
)

if __name__ == "__main__":
    main(EXPERIMENT)
