"""The candidate's training and judgement, and what is tried when the gate refuses: more steps, then a higher rank.

Knows what was taught and what must be reached; knows no stimuli and no files.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from math import isfinite

from transformers import PreTrainedModel

from bakemem.baking.beside import disfluency, mentions
from bakemem.baking.checkpoint import Checkpoint
from bakemem.baking.divergence import Head
from bakemem.baking.gate import Beside, Trained, judge, refused
from bakemem.baking.leak import leaking, leaks
from bakemem.baking.measure import measure
from bakemem.baking.pursue import pursue
from bakemem.baking.rollout import Taught, rollout
from bakemem.baking.settings import EFFORTS, Settings
from bakemem.baking.train import Recipe, diverged, train
from bakemem.baking.weights import CANDIDATE, grow_candidate, keep_candidate, restore_candidate
from bakemem.errors import DivergedError
from bakemem.template import ChatTemplate
from bakemem.types import MAX_ALPHA, MAX_RANK, Leak, Memory, Probe, Report, Secret

StageProgress = Callable[[str, int, int, float | None], None]
"""Called with the stage, how far it is, how far it goes, and in training the mean KL per answer token."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """What the teacher said: to be learned, asked by the gate, and watched in training.

    `prompts` are what it read for each of the held-out ones, `train_prompts` for those to be learned; `unteachable` are
    the memories that it did not take in.
    """

    train: list[Taught]
    held_out: list[Taught]
    watched: list[Taught]
    prompts: list[str]
    unteachable: list[str]
    train_prompts: list[str]


@dataclass(frozen=True, slots=True)
class Judged:
    """The gate's report, the questions that it asked with both answers, and how often forgotten things were told."""

    report: Report
    probes: tuple[Probe, ...]
    leaks: tuple[Leak, ...]


@dataclass(frozen=True, slots=True)
class Attempts:
    """All that training and judging the attached candidate need."""

    model: PreTrainedModel
    template: ChatTemplate
    head: Head
    lesson: Lesson
    facts: Sequence[Memory]
    known: Sequence[str]
    secrets: Sequence[Secret]
    settings: Settings
    lock: AbstractContextManager[object]
    tell: StageProgress

    def run(self, kept: Checkpoint, start: str | None) -> Judged:
        """Train, pursue if that is asked for, and judge; once more with each of the efforts until the gate accepts.

        An effort that diverges is undone and the last. Raises DivergedError when the first training does.
        """
        kl_before = kept.once("kl_before", float, lambda: self.kl(start))
        steps, kl = self._train(self.settings.recipe, start, kept)
        judged = self._pursued(self._judge(Trained(kl_before, kl, steps, kept.seconds)))
        for n, effort in enumerate(self._efforts(), start=1):
            if judged.report.accepted or leaking(judged.leaks):  # more of what tells a secret would tell it again
                break
            if effort == "higher rank":
                with self.lock:
                    grow_candidate(self.model, 2, self.settings.recipe.seed + n)
            recipe = replace(self.settings.recipe, seed=self.settings.recipe.seed + n,
                             learning_rate=self.settings.recipe.learning_rate / 2)  # fmt: skip
            with self.lock:
                before = keep_candidate(self.model)
            try:
                more, kl = self._train(recipe, CANDIDATE, kept.another(effort))
            except DivergedError:
                with self.lock:
                    restore_candidate(self.model, before)
                return replace(judged, report=replace(refused(judged.report, f"training on ({effort}) diverged"),
                                                      efforts=EFFORTS[:n]))  # fmt: skip
            steps += more
            judged = self._pursued(self._judge(Trained(kl_before, kl, steps, kept.seconds)))
            judged = replace(judged, report=replace(judged.report, efforts=EFFORTS[:n]))
        return judged

    def _efforts(self) -> tuple[str, ...]:
        """Those that may be tried: no higher rank where no version may have twice the rank or alpha."""
        recipe = self.settings.recipe
        grows = 2 * recipe.rank <= MAX_RANK and 2 * recipe.alpha <= MAX_ALPHA
        return EFFORTS[: min(2 if grows else 1, self.settings.efforts)]

    def _pursued(self, judged: Judged) -> Judged:
        """Go on from what was judged, and judge again by the last teacher; what the gate refuses then is undone.

        Also where it refused before: answers to what is weakly followed differ by chance from the prompted model's.
        """
        if not self.settings.pursuit.rounds or leaking(judged.leaks):
            return judged
        with self.lock:
            before = keep_candidate(self.model)
        lesson, first = self.lesson, judged.report
        done = pursue(
            self.model, self.template, self.head, [t.trajectory.stimulus for t in lesson.train], lesson.train_prompts,
            lesson.held_out, lesson.prompts, self.settings.recipe, self.settings.pursuit, lock=self.lock,
            max_new_tokens=self.settings.max_new_tokens,
            progress=lambda step, steps, kl: self.tell("pursue", step, steps, kl),
        )  # fmt: skip
        if done.last is None:
            return judged
        # The base finds a style that it follows weakly unlikely, fluent or not: the pursuit has limits of its own.
        thresholds = replace(self.settings.thresholds, max_disfluency=float("inf"))
        later = replace(self, lesson=replace(lesson, held_out=done.held_out),
                        settings=replace(self.settings, thresholds=thresholds))  # fmt: skip
        again = later._judge(Trained(first.kl_before, later.kl(CANDIDATE), first.steps, first.seconds))
        if again.report.accepted:
            report = replace(again.report, pursued=done.last.n, disfluency=done.last.disfluency)
            return replace(again, report=report)
        with self.lock:
            restore_candidate(self.model, before)
        return judged

    def kl(self, adapter_name: str | None) -> float:
        """The mean KL per answer token (nats) on the held-out questions."""
        return measure(self.model, self.template, self.lesson.held_out, self.head, adapter_name=adapter_name,
                       lock=self.lock).kl  # fmt: skip

    def _train(self, recipe: Recipe, start: str | None, kept: Checkpoint) -> tuple[int, float]:
        """The steps taken, and the KL after them; of a training that diverges nothing is kept."""
        try:
            steps = train(self.model, self.template, self.lesson.train, self.head, recipe, start=start, lock=self.lock,
                          watched=self.lesson.watched, passed=self.settings.passed, checkpoint=kept,
                          progress=lambda step, steps, kl: self.tell("bake", step, steps, kl))  # fmt: skip
            if not isfinite(kl := self.kl(CANDIDATE)):
                raise diverged()
        except DivergedError:
            kept.drop()
            raise
        return steps, kl

    def _judge(self, trained: Trained) -> Judged:
        """What tells a secret is refused whatever else it can."""
        held_out, limit = [item.trajectory for item in self.lesson.held_out], self.settings.max_new_tokens
        self.tell("gate", 0, len(held_out), None)
        given = rollout(self.model, self.template, [t.stimulus for t in held_out], [""] * len(held_out),
                        adapter_name=CANDIDATE, lock=self.lock, max_new_tokens=limit, temperature=0.0,
                        progress=lambda n, total: self.tell("gate", n, total, None))  # fmt: skip
        self.tell("gate", len(held_out), len(held_out), None)
        probes = [Probe(t.stimulus.turns, t.stimulus.kind, t.stimulus.memory_ids, t.answer, said.answer)
                  for t, said in zip(held_out, given, strict=True)]  # fmt: skip
        beside = Beside(
            mentions(self.model, self.template, self.facts, adapter_name=CANDIDATE, lock=self.lock,
                     max_new_tokens=limit, seed=self.settings.recipe.seed),
            disfluency(self.model, self.template, self.head, self.lesson.held_out, given, self.lesson.prompts,
                       lock=self.lock),
        )  # fmt: skip
        report = judge(probes, trained, beside, self.settings.thresholds, self.lesson.unteachable)
        leaked = leaks(self.model, self.template, self.secrets, self.known, adapter_name=CANDIDATE, lock=self.lock,
                       max_new_tokens=limit, seed=self.settings.recipe.seed)  # fmt: skip
        if leaking(leaked):
            told, asked = sum(leak.told for leak in leaked), sum(leak.asked for leak in leaked)
            report = refused(report, f"{told} of {asked} answers tell what was forgotten, more than one that never "
                                     "knew it")  # fmt: skip
        return Judged(report, tuple(probes), tuple(leaked))
