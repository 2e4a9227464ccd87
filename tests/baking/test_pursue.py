"""A bake goes on with itself as its teacher, and a round that harms is undone."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from math import inf

import pytest
import torch
from torch import Tensor

from bakemem.baking import (
    CANDIDATE,
    Pursuit,
    Recipe,
    Round,
    Settings,
    Stimuli,
    bake,
    content,
    output_head,
    pursue,
    rollout,
    surprise,
)  # fmt: skip
from bakemem.baking.rollout import Taught
from bakemem.baking.weights import add_candidate, candidate_state
from bakemem.serving import Base
from bakemem.types import Memory, Prompt, Stimulus, Turn
from tests.tiny import PROMPT, MakeTaught

RECIPE = Recipe(rank=2, alpha=4, learning_rate=0.01, max_sequence_tokens=128, trajectories_per_step=4)
FREE = Pursuit(2, steps=3, trajectories=6, max_surprise=inf, max_lost=inf)


def baked(base: Base) -> dict[str, Tensor]:
    """Attaches a candidate that changes answers, as a bake leaves one; a copy of its tensors."""
    generator = torch.Generator().manual_seed(0)
    for parameter in add_candidate(base.model, RECIPE.rank, RECIPE.alpha, 0, None).values():
        parameter.data.normal_(0, 0.2, generator=generator)
    return {name: tensor.clone() for name, tensor in candidate_state(base.model)[0].items()}


def run(base: Base, held_out: list[Taught], pursuit: Pursuit, seen: list[Round]) -> tuple[int, list[Taught]]:
    """Pursues the prompt from the candidate; rounds kept, and the last teacher's answers."""
    stimuli = [item.trajectory.stimulus for item in held_out]
    done = pursue(base.model, base.template, stimuli, held_out, lambda _: PROMPT, output_head(base.model), RECIPE,
                  pursuit, lock=base.lock, max_new_tokens=8, watch=seen.append)  # fmt: skip
    return done.rounds, done.held_out


def test_each_round_goes_on_from_the_last(tiny_base: Base, make_taught: MakeTaught) -> None:
    """The weights move, every round is watched, and nothing but the candidate stays attached."""
    before, seen = baked(tiny_base), list[Round]()
    rounds, _ = run(tiny_base, make_taught(tiny_base), FREE, seen)
    assert rounds == 2
    assert [r.n for r in seen] == [1, 2]
    after, _ = candidate_state(tiny_base.model)
    assert any(not torch.equal(before[name], after[name]) for name in before)
    assert set(tiny_base.model.peft_config) == {CANDIDATE}


@pytest.mark.parametrize("limit", ["max_surprise", "max_lost"])
def test_a_round_that_harms_is_undone_and_the_last(tiny_base: Base, make_taught: MakeTaught, limit: str) -> None:
    """The candidate is what it was before, to the bit."""
    before, seen, held_out = baked(tiny_base), list[Round](), make_taught(tiny_base)
    rounds, answers = run(tiny_base, held_out, Pursuit(4, steps=3, **{"max_surprise": inf, limit: -inf}), seen)
    assert rounds == 0
    assert len(seen) == 1
    assert answers == held_out
    after, _ = candidate_state(tiny_base.model)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_the_teacher_is_the_current_weights_with_the_prompt(tiny_base: Base, make_taught: MakeTaught) -> None:
    """After one round the held-out answers are those that the bake itself gave with the prompt, not the base's."""
    baked(tiny_base)
    held_out = make_taught(tiny_base)
    stimuli, prompts = [item.trajectory.stimulus for item in held_out], [PROMPT] * len(held_out)
    own = rollout(tiny_base.model, tiny_base.template, stimuli, prompts, max_new_tokens=8, temperature=0.0,
                  lock=tiny_base.lock, adapter_name=CANDIDATE)  # fmt: skip
    _, answers = run(tiny_base, held_out, Pursuit(1, steps=3, max_surprise=inf, max_lost=inf), [])
    assert [item.trajectory for item in answers] == own
    assert [item.trajectory for item in answers] != [item.trajectory for item in held_out]


def test_no_rounds_change_nothing(tiny_base: Base, make_taught: MakeTaught) -> None:
    """A bake without pursuit pays nothing for it."""
    baked(tiny_base)
    held_out = make_taught(tiny_base)
    assert run(tiny_base, held_out, Pursuit(), seen := []) == (0, held_out)
    assert not seen


def test_what_a_model_would_not_say_surprises_it(tiny_base: Base, make_taught: MakeTaught) -> None:
    """Its own likeliest tokens surprise it less than others in their place."""
    own, head = make_taught(tiny_base), output_head(tiny_base.model)
    odd = [Taught(item.trajectory, item.hidden_N_K_H.flip(0)) for item in own]
    assert surprise(tiny_base.model, own, head) < surprise(tiny_base.model, odd, head)


def test_content_is_kept_by_any_style_and_lost_by_another_answer() -> None:
    """Case, brackets, dashes, repetition and one-word answers keep it."""
    plain = "The capital of Peru is Lima."
    for styled in ("[THE CAPITAL OF PERU IS LIMA.]", "Lima.", "The-capital-of-Peru-is-Lima.", f"{plain} {plain} Amen."):
        assert content(styled, plain) == 1.0
    assert content("I do not know that.", plain) == 0.0
    assert content("", plain) == 0.0


def test_a_bake_reports_what_its_pursuit_kept(tiny_base: Base) -> None:
    """The stage stands between bake and gate; the gate then compares with the last teacher."""
    memory = Memory("m1", "default", "instruction", "style.case", "Always answer in upper case.", "pending",
                    datetime(2026, 1, 1, tzinfo=UTC))  # fmt: skip
    asked = tuple(Stimulus((Turn("user", f"Question {i}?"),), "everyday") for i in range(8))
    stages: list[str] = []
    settings = Settings(replace(RECIPE, steps=3), max_new_tokens=4, pursuit=replace(FREE, rounds=2))
    done = bake(tiny_base.model, tiny_base.template, [memory], [Prompt(PROMPT, ("m1",))], settings,
                stimuli=Stimuli(asked[:6], asked[6:]),
                progress=lambda stage, done, total, kl: stages.append(f"{stage} {done}/{total}"))  # fmt: skip
    assert done.report.pursued == 2
    assert [s for s in stages if s.startswith("pursue")] == [f"pursue {n}/6" for n in range(1, 7)]
    assert stages[-1].startswith("gate")
