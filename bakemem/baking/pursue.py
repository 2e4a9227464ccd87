"""Prompt Pursuit (arXiv 2409.13697, eq. 5): a bake goes on with itself as its teacher, the prompt in its context.

    L = KL( P_stopgrad(θ_u)(· | u) ‖ P_θu(·) )

Each round takes the weights further along the prompt's way than the prompt alone does, and some rounds on too far. So
one begins only where the prompt still changes answers, and no more of them than before the last; and each is judged by
the prompted base: one that harms, or diverges, is undone and the last. Knows no memories.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from math import inf
from statistics import fmean

from transformers import PreTrainedModel

from bakemem.baking.beside import disfluency
from bakemem.baking.divergence import Head
from bakemem.baking.probe import answers, same, share
from bakemem.baking.rollout import Taught, rollout, teach
from bakemem.baking.train import Recipe, StepProgress, train
from bakemem.baking.weights import CANDIDATE, add_candidate, keep_candidate, restore_candidate
from bakemem.errors import DivergedError
from bakemem.template import ChatTemplate
from bakemem.types import Stimulus


@dataclass(frozen=True, slots=True)
class Pursuit:
    """How a bake goes on: rounds at most, steps and trajectories of each, when one begins, and what it must keep.

    `rate` is the learning rate, as a share of the bake's. A round begins where the prompt, put before the candidate
    again, changes `min_changed` of its held-out answers, and at most `max_growth` times those of the round before: what
    grows is going too far. `max_disfluency` is by how many nats per token the prompted base may find the candidate's
    answers less likely than its own; `max_lost` is the share of the words of everyday answers that may get lost, beyond
    what the prompt costs.
    """

    rounds: int = 0
    steps: int = 30
    trajectories: int = 320
    rate: float = 1 / 3
    min_changed: float = 0.05
    max_growth: float = 1.0
    max_disfluency: float = 1.0
    max_lost: float = 0.1

    def begins(self, changed: float, previous: float) -> bool:
        """Whether there is something to gain from a round: what the prompt changes, now and before the last round."""
        return self.min_changed <= changed <= self.max_growth * previous


@dataclass(frozen=True, slots=True)
class Round:
    """A round by the measures of `Pursuit`: the share that the prompt changed before it, and what it was like after."""

    n: int
    changed: float
    disfluency: float
    lost: float

    def holds(self, pursuit: Pursuit) -> bool:
        """Whether it kept what it must."""
        return self.disfluency <= pursuit.max_disfluency and self.lost <= pursuit.max_lost


@dataclass(frozen=True, slots=True)
class Pursued:
    """The last round that was kept, if any, and the held-out answers of its teacher."""

    last: Round | None
    held_out: list[Taught]


def pursue(
    model: PreTrainedModel, template: ChatTemplate, head: Head, stimuli: Sequence[Stimulus], prompts: Sequence[str],
    held_out: Sequence[Taught], held_out_prompts: Sequence[str], recipe: Recipe, pursuit: Pursuit, *,
    start: str = CANDIDATE, lock: AbstractContextManager[object], max_new_tokens: int = 64,
    watch: Callable[[Round], None] | None = None, progress: StepProgress | None = None,
) -> Pursued:  # fmt: skip
    """Train the candidate on, from itself or the attached adapter `start`, and leave it as the last good round did.

    `held_out` are the prompted base's likeliest answers; the prompts are what a teacher reads for each stimulus.
    `watch` is called after each round, while the candidate is as it left it; `progress` with the steps of all rounds.
    """
    if start != CANDIDATE:
        with lock:
            add_candidate(model, recipe.rank, recipe.alpha, recipe.seed, start, recipe.targets)
    tell = progress or (lambda step, steps, kl: None)
    asked = [item.trajectory.stimulus for item in held_out]
    plain = answers(model, template, [s.turns for s in asked], adapter_name=None, lock=lock,
                    max_new_tokens=max_new_tokens)  # fmt: skip
    known = _content([item.trajectory.answer for item in held_out], plain, asked)
    answer = partial(rollout, model, template, asked, [""] * len(asked), adapter_name=CANDIDATE, lock=lock,
                     max_new_tokens=max_new_tokens, temperature=0.0)  # fmt: skip
    done, given, previous = Pursued(None, list(held_out)), answer(), inf
    for n in range(1, pursuit.rounds + 1):
        rng, seed = random.Random(f"pursue:{recipe.seed}:{n}"), recipe.seed + n
        drawn = rng.sample(range(len(stimuli)), min(pursuit.trajectories, len(stimuli)))
        ask = partial(_taught_by_itself, model, template, lock=lock, max_new_tokens=max_new_tokens, seed=seed)
        exam = ask(asked, held_out_prompts, temperature=0.0)
        changed = share([not same(t.answer, e.trajectory.answer) for t, e in zip(given, exam, strict=True)])
        if not pursuit.begins(changed, previous):
            break
        previous = changed
        lesson = ask([stimuli[i] for i in drawn], [prompts[i] for i in drawn], temperature=1.0)
        with lock:
            before = keep_candidate(model)
        try:
            train(model, template, lesson, head,
                  replace(recipe, steps=pursuit.steps, learning_rate=pursuit.rate * recipe.learning_rate, seed=seed),
                  start=CANDIDATE, lock=lock, progress=partial(_tell_of_round, tell, n, pursuit))  # fmt: skip
        except DivergedError:
            with lock:
                restore_candidate(model, before)
            break
        given = answer()
        found = Round(n, changed, disfluency(model, template, head, held_out, given, held_out_prompts, lock=lock),
                      known - _content([t.answer for t in given], plain, asked))  # fmt: skip
        if watch:
            watch(found)
        if not found.holds(pursuit):
            with lock:
                restore_candidate(model, before)
            break
        done = Pursued(found, exam)
    return done


def content(given: str, plain: str) -> float:
    """The share of words that two answers have in common, of the one with fewer: a style around them does not count."""
    words = [set(re.findall(r"[^\W_]+", text.casefold())) for text in (given, plain)]
    fewer = min(map(len, words))
    return len(words[0] & words[1]) / fewer if fewer else 0.0


def _content(given: Sequence[str], plain: Sequence[str], asked: Sequence[Stimulus]) -> float:
    """How much of the base's plain everyday answers these still say."""
    shares = [content(g, p) for g, p, s in zip(given, plain, asked, strict=True) if s.kind == "everyday"]
    return fmean(shares or [1.0])


def _taught_by_itself(
    model: PreTrainedModel, template: ChatTemplate, stimuli: Sequence[Stimulus], prompts: Sequence[str], *,
    lock: AbstractContextManager[object], max_new_tokens: int, seed: int, temperature: float,
) -> list[Taught]:  # fmt: skip
    """Answers of the candidate that reads the prompt, and its states there."""
    said = rollout(model, template, stimuli, prompts, max_new_tokens=max_new_tokens, temperature=temperature, seed=seed,
                   lock=lock, adapter_name=CANDIDATE)  # fmt: skip
    return teach(model, template, said, prompts, lock=lock, adapter_name=CANDIDATE)


def _tell_of_round(tell: StepProgress, n: int, pursuit: Pursuit, step: int, steps: int, kl: float) -> None:
    """How far all rounds are, from how far one is."""
    tell((n - 1) * steps + step, pursuit.rounds * steps, kl)
