"""Experiment 12, ablations: one thing at a time is changed in the product's bake, and the same exam is taken.

Six facts and one instruction of a made-up user; the exam has 40 questions about them, 30 about near misses and 30
everyday ones that no bake trains on, in words that the starter's training never showed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

from bakemem.baking import (
    CANDIDATE,
    Settings,
    Stimuli,
    measure,
    output_head,
    rollout,
    same,
    share,
    teach,
    train,
)
from bakemem.demo.story import Story
from bakemem.types import Memory, Stimulus, Turn
from benchmarks.science.experiment import Experiment, Figures, Page, Results, main, table
from benchmarks.science.lab import Lab, Taught, memories_of, rng_of


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
    "fine-tuned": Change("baseline", way="fine-tuned"),
    "reverse KL": Change("loss", {"loss": "reverse"}),
    "Jensen-Shannon": Change("loss", {"loss": "jsd"}),
    "top-k 1": Change("loss", {"top_k": 1}),
    "top-k 10": Change("loss", {"top_k": 10}),
    "top-k 30": Change("loss", {"top_k": 30}),
    "top-k 100": Change("loss", {"top_k": 100}),
    "no inner states": Change("loss", {"state_weight": 0.0}),
    "polish on its own answers": Change("loss", then="polish"),
    "no paraphrases": Change("stimuli", without="paraphrase"),
    "no reversed": Change("stimuli", without="reversed"),
    "no two-fact": Change("stimuli", without="two-fact"),
    "no decoys": Change("stimuli", without="decoy"),
    "no everyday": Change("stimuli", without="everyday"),
    "no statements": Change("stimuli", without="statement"),
    "answers alone": Change("context", {"max_dialogue_turns": 1}),
    "dialogues of 10": Change("context", {"max_dialogue_turns": 10}),
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
    """One bake and its exam."""
    story, change = Story(100 + seed, n_facts=6, n_instructions=1), CHANGES[row]
    memories = memories_of(*story.facts, *story.instructions)
    settings = change.settings(lab.settings(memories, seed, change.way, **change.recipe))
    settings = replace(settings, efforts=0)
    if change.then == "warm":
        early = [m for m in memories if m.kind == "instruction"] + memories[:3]
        with lab.taught(early, seed=seed, settings=settings) as first:
            late = frozenset(m.id for m in memories) - {m.id for m in early}
            made = lab.bake(memories, seed=seed, settings=settings, start=first.id, fresh=late)
    else:
        asked = _stimuli(lab, memories, settings, change.without) if change.without else None
        made = lab.bake(memories, seed=seed, settings=settings, stimuli=asked)
    if change.then == "polish":
        made = _polished(lab, memories, settings, made, seed)
    try:
        return _exam(lab, story, memories, made)
    finally:
        lab.serving.detach(made.id)


def _stimuli(lab: Lab, memories: list[Memory], settings: Settings, without: str) -> Stimuli:
    """The product's stimuli, but for one kind in training."""
    made = lab.stimuli(memories, settings, settings.recipe.seed)
    return replace(made, train=tuple(s for s in made.train if s.kind != without))


def _polished(lab: Lab, memories: list[Memory], settings: Settings, made: Taught, seed: int) -> Taught:
    """Forty more steps on what the baked model itself answers, judged by the teacher (on-policy distillation)."""
    base, prompt = lab.base, lab.prompts(memories)[0].text
    asked = _stimuli(lab, memories, settings, "").train
    stimuli = rng_of("polish", seed).sample(asked, min(320, len(asked)))
    own = rollout(base.model, base.template, stimuli, [""] * len(stimuli), adapter_name=made.id, lock=base.lock,
                  seed=seed)  # fmt: skip
    taught = teach(base.model, base.template, own, [prompt] * len(stimuli), lock=base.lock)
    recipe = replace(settings.recipe, steps=min(40, settings.recipe.steps))
    train(base.model, base.template, taught, output_head(base.model), recipe, start=made.id, lock=base.lock)
    lab.serving.detach(made.id)
    return Taught(CANDIDATE, made.baked)


def _exam(lab: Lab, story: Story, memories: list[Memory], made: Taught) -> Figures:
    base, prompt, exam = lab.base, lab.prompts(memories)[0].text, story.exam(40, 30, 30)
    questions = [q.text for q in exam]
    prompted, baked = lab.ask(questions, prompt=prompt), lab.ask(questions, adapter=made.id)
    stimuli = [Stimulus((Turn("user", q),), "") for q in questions]
    answered = rollout(base.model, base.template, stimuli, [prompt] * len(stimuli), temperature=0.0, lock=base.lock)
    taught = teach(base.model, base.template, answered, [prompt] * len(stimuli), lock=base.lock)
    kl = measure(base.model, base.template, taught, output_head(base.model), adapter_name=made.id, lock=base.lock).kl

    def right(answers: list[str]) -> dict[str, float]:
        return {about: share([same(a, q.right) for a, q in zip(answers, exam, strict=True) if q.about == about])
                for about in ("known", "unknown", "general")}  # fmt: skip

    return {
        "kl": kl, "agreement": share([same(a, b) for a, b in zip(prompted, baked, strict=True)]),
        "baked": right(baked), "prompted": right(prompted), "base": right(lab.ask(questions)),
        "steps": made.baked.report.steps, "seconds": made.baked.report.seconds,
    }  # fmt: skip


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
        rows.append([*cells, results.spread(row, "steps").text(".0f"), results.spread(row, "seconds").text(".0f")])
    head = ["what", "row", "exam KL, nats", "equals prompted", "known right", "unknown right", "everyday right"]
    head += ["steps", "seconds"]
    shown = [["", f"({who})", "", "", *(results.spread("product", who, about).text() for about in
             ("known", "unknown", "general")), "", ""] for who in ("base", "prompted")]  # fmt: skip
    return Page(table(head, [*shown, *rows]))


def plot(results: Results, path: Path) -> None:
    """Agreement of each row beside the product's."""
    rows = [row for row in reversed(CHANGES) if row in results.rows()]
    spreads = [results.spread(row, "agreement") for row in rows]
    figure, axes = plt.subplots(figsize=(7, 0.28 * len(rows) + 1))
    colours = ["#d55e00" if row == "product" else "#0072b2" for row in rows]
    for y, (reached, colour) in enumerate(zip(spreads, colours, strict=True)):
        axes.errorbar(100 * reached.mean, y, xerr=100 * (reached.half or 0), fmt="o", color=colour, capsize=2)
    axes.axvline(100 * results.spread("product", "agreement").mean, color="#d55e00", lw=0.8, ls=":")
    axes.set_yticks(range(len(rows)), rows, fontsize=8)
    axes.set_xlim(right=101)
    axes.set_xlabel("held-out answers equal to the prompted model's, % (mean and 95 % interval)")
    figure.tight_layout()
    figure.savefig(path, dpi=130)
    plt.close(figure)


EXPERIMENT = Experiment(
    12, "ablations", "Loss and data ablations", "Which part of the recipe does what?", tuple(CHANGES), run, page, plot
)

if __name__ == "__main__":
    main(EXPERIMENT)
