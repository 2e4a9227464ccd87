"""Experiment 12, ablations: one thing at a time is changed in the product's bake, and the same exam is taken.

Six facts and one instruction of a made-up user; the exam has 80 questions about them, 60 about what was not told and
30 everyday ones that no bake trains on, in words that the starter's training never showed. Then each fact is asked in
six conversations of 64 turns.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Set
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

from bakemem.baking import (
    CANDIDATE,
    Recipe,
    Settings,
    measure,
    output_head,
    rollout,
    same,
    share,
    teach,
    train,
)
from bakemem.demo.curve import TURNS, forgetting_curve, probes_of
from bakemem.demo.story import Story
from bakemem.memory import consolidate
from bakemem.types import Memory, Stimulus, Turn
from benchmarks.science.exam import trained_on
from benchmarks.science.experiment import Experiment, Figures, Page, Results, main, table
from benchmarks.science.lab import Lab, Lesson, memories_of, rng_of

LEAST_SHOWN = 80
"""Percent at which the figure begins; what is below is written there."""


@dataclass(frozen=True)
class Change:
    """One row: what differs from the product's bake."""

    group: str
    recipe: dict[str, Any] = field(default_factory=dict)
    settings: Callable[[Settings], Settings] = lambda settings: settings
    without: str = ""
    way: str = "baked"
    then: str = ""


def _fixed(steps: float) -> Callable[[Settings], Settings]:
    return lambda s: replace(s, passed=None, recipe=replace(s.recipe, steps=round(steps)))


CHANGES = {
    "product": Change(""),
    "paper": Change("baseline", way="paper", settings=lambda s: replace(s, passed=None)),
    "paper, its 40 epochs": Change("baseline", way="paper", then="40 epochs"),
    "fine-tuned": Change("baseline", way="fine-tuned"),
    "temperature 1 alone": Change("loss", {"temperatures": (1.0,)}),
    "temperature 2 alone": Change("loss", {"temperatures": (2.0,)}),
    "reverse KL": Change("loss", {"loss": "reverse"}),
    "Jensen-Shannon": Change("loss", {"loss": "jsd"}),
    "top-k 1": Change("loss", {"top_k": 1}),
    "top-k 10": Change("loss", {"top_k": 10}),
    "top-k 30": Change("loss", {"top_k": 30}),
    "top-k 100": Change("loss", {"top_k": 100}),
    "no inner states": Change("loss", {"state_weight": 0.0}),
    "reads as it likes": Change("loss", {"read_weight": 0.0}),
    "and 40 steps on its own answers": Change("loss", then="polish"),
    "no paraphrases": Change("stimuli", without="paraphrase"),
    "no reversed": Change("stimuli", without="reversed"),
    "no two-fact": Change("stimuli", without="two-fact"),
    "no decoys": Change("stimuli", without="decoy"),
    "no everyday": Change("stimuli", without="everyday"),
    "no statements": Change("stimuli", without="statement"),
    "nothing told": Change("stimuli", without="told"),
    "no tasks": Change("stimuli", without="task"),
    "answers alone": Change("context", {"max_dialogue_turns": 1}),
    "dialogues of 10": Change("context", {"max_dialogue_turns": 10}),
    "none behind a long talk": Change("context", {"deep": 0.0}),
    "behind a long talk in every step": Change("context", {"deep": 1.0}),
    "rank 4": Change("adapter", {"rank": 4, "alpha": 8}),
    "rank 64": Change("adapter", {"rank": 64, "alpha": 128}),
    "alpha = rank": Change("adapter", {"alpha": 16}),
    "alpha = 4 rank": Change("adapter", {"alpha": 64}),
    "A and B alike": Change("rate", {"b_rate": 1.0}),
    "half the rate": Change("rate", {"learning_rate": 1.5e-3}),
    "twice the rate": Change("rate", {"learning_rate": 6e-3}),
    "60 steps, falling rate": Change("length", settings=_fixed(60)),
    "120 steps, falling rate": Change("length", settings=_fixed(120)),
    "240 steps, falling rate": Change("length", settings=_fixed(240)),
    "warm: the last three baked later": Change("start", then="warm"),
}


def run(lab: Lab, row: str, seed: int) -> Figures:
    """One training and its exam; all rows of a seed that start from the base learn from the same answers."""
    story, change = Story(100 + seed, n_facts=6, n_instructions=1), CHANGES[row]
    memories = memories_of(*story.facts, *story.instructions)
    settings = change.settings(lab.settings(memories, seed, change.way, **change.recipe))
    if change.then == "warm":
        return _warm(lab, story, memories, settings, seed)
    lesson = _lesson(lab, seed)
    if change.then == "40 epochs":
        settings = _fixed(40 * len(lesson.train) / settings.recipe.trajectories_per_step)(settings)
    learned = replace(lesson, train=[t for t in lesson.train if t.trajectory.stimulus.kind != change.without])
    with _trained(lab, learned, settings) as trained:
        if change.then == "polish":
            _polish(lab, memories, lesson, settings.recipe, seed)
        return {**_exam(lab, story, memories, _seen(lesson)), **trained}


@lru_cache(maxsize=1)
def _lesson(lab: Lab, seed: int) -> Lesson:
    """The product's answers of a seed, which take about as long as a training."""
    story = Story(100 + seed, n_facts=6, n_instructions=1)
    return lab.lesson(memories_of(*story.facts, *story.instructions), seed)


@contextmanager
def _trained(lab: Lab, lesson: Lesson, settings: Settings, start: str | None = None) -> Iterator[dict[str, float]]:
    """Inside, the candidate is attached: the steps of its training, and its seconds of processor time.

    Those of the clock would tell how busy the machine was.
    """
    started = time.process_time()
    with lab.trained(lesson.train, settings.recipe, start, watched=lesson.watched, passed=settings.passed) as steps:
        yield {"steps": steps, "seconds": time.process_time() - started}


def _warm(lab: Lab, story: Story, memories: list[Memory], settings: Settings, seed: int) -> Figures:
    """The last three facts are baked on top of the others; steps and seconds are those of the second bake."""
    early = [m for m in memories if m.kind == "instruction"] + memories[:3]
    late = frozenset(m.id for m in memories) - {m.id for m in early}
    before = replace(lab.settings(early, seed), efforts=0)
    stimuli = lab.stimuli(early, before, seed)
    with lab.taught(early, seed=seed, settings=before, stimuli=stimuli) as first:
        lesson = lab.lesson(memories, seed, late)
        with _trained(lab, lesson, settings, first.id) as trained:
            return {**_exam(lab, story, memories, _seen(lesson) | trained_on(stimuli)), **trained}


def _seen(lesson: Lesson) -> frozenset[str]:
    return frozenset(answer.trajectory.stimulus.turns[-1].content for answer in lesson.train)


def _polish(lab: Lab, memories: list[Memory], lesson: Lesson, recipe: Recipe, seed: int) -> None:
    """Forty more steps on what the candidate itself answers, judged by the teacher (on-policy distillation)."""
    base = lab.base
    asked = [t.trajectory.stimulus for t in lesson.train]
    stimuli = rng_of("polish", seed).sample(asked, min(320, len(asked)))
    own = rollout(base.model, base.template, stimuli, [""] * len(stimuli), adapter_name=CANDIDATE, lock=base.lock,
                  seed=seed)  # fmt: skip
    taught = teach(base.model, base.template, own, lab.reads(stimuli, consolidate(memories)), lock=base.lock)
    train(base.model, base.template, taught, output_head(base.model), replace(recipe, steps=min(40, recipe.steps)),
          start=CANDIDATE, lock=base.lock)  # fmt: skip


def _exam(lab: Lab, story: Story, memories: list[Memory], seen: Set[str]) -> Figures:
    base, prompt = lab.base, consolidate(memories).text
    exam = [q for q in story.exam(80, 60, 30) if q.text not in seen]
    questions = [q.text for q in exam]
    prompted, baked = lab.ask(questions, prompt=prompt), lab.ask(questions, adapter=CANDIDATE)
    stimuli = [Stimulus((Turn("user", q),), "") for q in questions]
    answered = rollout(base.model, base.template, stimuli, [prompt] * len(stimuli), temperature=0.0, lock=base.lock)
    taught = teach(base.model, base.template, answered, [prompt] * len(stimuli), lock=base.lock)
    kl = measure(base.model, base.template, taught, output_head(base.model), adapter_name=CANDIDATE, lock=base.lock).kl

    def right(answers: list[str]) -> dict[str, float]:
        return {about: share([same(a, q.right) for a, q in zip(answers, exam, strict=True) if q.about == about])
                for about in ("known", "unknown", "general")}  # fmt: skip

    return {
        "kl": kl, "agreement": share([same(a, b) for a, b in zip(prompted, baked, strict=True)]),
        "baked": right(baked), "prompted": right(prompted), "base": right(lab.ask(questions)),
        "deep": _deep(lab, story),
    }  # fmt: skip


def _deep(lab: Lab, story: Story) -> float:
    """The share of the facts that are told, and in the instructed form, after 64 turns of the candidate's own talk."""
    probes = probes_of(story)
    turns = TURNS[2:3] if lab.quick else TURNS[-1:]
    [point] = forgetting_curve(lab.base, CANDIDATE, "", probes, conversations=6, turns=turns, each=6, seed=story.seed)
    return point.adherence


def page(results: Results) -> Page:
    """A row a change."""
    rows = []
    for row in [row for row in CHANGES if row in results.rows()]:
        cells = [
            CHANGES[row].group,
            row,
            results.spread(row, "kl").text(".4f"),
            results.spread(row, "agreement").text(),
        ]
        cells += [results.spread(row, "baked", about).text(".1%") for about in ("known", "unknown", "general")]
        cells.append(results.spread(row, "deep").text(".0%"))
        rows.append([*cells, results.spread(row, "steps").text(".0f"), results.spread(row, "seconds").text(".0f")])
    head = ["what", "row", "exam KL, nats", "equals prompted", "known right", "unknown right", "everyday right"]
    head += ["known after 64 turns", "steps", "CPU seconds of training"]
    shown = [["", f"({who})", "", "", *(results.spread("product", who, about).text() for about in
             ("known", "unknown", "general")), "", "", ""] for who in ("base", "prompted")]  # fmt: skip
    return Page(table(head, [*shown, *rows]))


def plot(results: Results, path: Path) -> None:
    """Agreement of each row beside the product's."""
    rows = [row for row in reversed(CHANGES) if row in results.rows()]
    spreads = [results.spread(row, "agreement") for row in rows]
    figure, axes = plt.subplots(figsize=(7, 0.28 * len(rows) + 1))
    colours = ["#d55e00" if row == "product" else "#0072b2" for row in rows]
    for y, (reached, colour) in enumerate(zip(spreads, colours, strict=True)):
        if 100 * reached.mean >= LEAST_SHOWN:
            axes.errorbar(100 * reached.mean, y, xerr=100 * (reached.half or 0), fmt="o", color=colour, capsize=2)
        else:
            axes.text(LEAST_SHOWN + 0.2, y, f"← {reached.mean:.0%}", va="center", color=colour, fontsize=8)
    axes.axvline(100 * results.spread("product", "agreement").mean, color="#d55e00", lw=0.8, ls=":")
    axes.set_yticks(range(len(rows)), rows, fontsize=8)
    axes.set_xlim(LEAST_SHOWN, 101)
    axes.set_xlabel("answers equal to the prompted model's, % (95 % interval)")
    figure.tight_layout()
    figure.savefig(path, dpi=130)
    plt.close(figure)


EXPERIMENT = Experiment(
    12, "ablations", "Loss and data ablations", "Which part of the recipe does what?", tuple(CHANGES), run, page, plot
)

if __name__ == "__main__":
    main(EXPERIMENT)
