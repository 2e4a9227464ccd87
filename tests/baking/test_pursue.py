"""A bake goes on with itself as its teacher, and a round that harms is undone."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from math import inf

import pytest
import torch
from torch import Tensor

import bakemem.baking.attempts as attempts
from bakemem.baking import Baked, Pursued, Pursuit, Recipe, Round, Settings, StageProgress, Stimuli, Thresholds, bake

from bakemem.baking import CANDIDATE, answers, content, output_head, pursue, rollout  # isort: skip
from bakemem.baking import same as same_text  # isort: skip
from bakemem.baking.gate import judge
from bakemem.baking.rollout import Taught
from bakemem.baking.weights import add_candidate, candidate_parameters, keep_candidate
from bakemem.serving import Base
from bakemem.types import Memory, Prompt, Report, Stimulus, Turn
from tests.tiny import PROMPT, MakeTaught

RECIPE = Recipe(rank=2, alpha=4, learning_rate=0.01, max_sequence_tokens=128, trajectories_per_step=4)
LENIENT = Thresholds(0.0, 0.0, 1.0, 0.0, 1.0, inf)
FREE = Pursuit(2, steps=3, trajectories=6, min_changed=0.0, max_growth=inf, max_disfluency=inf, max_lost=inf)


def baked(base: Base) -> dict[str, Tensor]:
    """Attaches a candidate that changes answers, as a bake leaves one; a copy of its parameters."""
    generator = torch.Generator().manual_seed(0)
    add_candidate(base.model, RECIPE.rank, RECIPE.alpha, 0, None)
    for parameter in candidate_parameters(base.model).values():
        parameter.data.normal_(0, 0.2, generator=generator)
    return keep_candidate(base.model)


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """Whether two adapters are the same, to the bit."""
    return one.keys() == other.keys() and all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def run(base: Base, held_out: list[Taught], pursuit: Pursuit, seen: list[Round]) -> Pursued:
    """Pursues the prompt from the candidate, on the held-out questions themselves."""
    stimuli, prompts = [item.trajectory.stimulus for item in held_out], [PROMPT] * len(held_out)
    return pursue(base.model, base.template, output_head(base.model), stimuli, prompts, held_out, prompts, RECIPE,
                  pursuit, lock=base.lock, max_new_tokens=8, watch=seen.append)  # fmt: skip


def bake_pursued(base: Base, rounds: int, progress: StageProgress | None = None) -> Baked:
    """A bake of one instruction in three steps, and so many rounds of pursuit."""
    memory = Memory("m1", "default", "instruction", "style.case", "Always answer in upper case.", "pending",
                    datetime(2026, 1, 1, tzinfo=UTC))  # fmt: skip
    asked = tuple(Stimulus((Turn("user", f"Question {i}?"),), "everyday") for i in range(8))
    settings = Settings(replace(RECIPE, steps=3), LENIENT, max_new_tokens=4, efforts=0,
                        pursuit=replace(FREE, rounds=rounds))  # fmt: skip
    return bake(base.model, base.template, [memory], [Prompt(PROMPT, ("m1",))], settings,
                stimuli=Stimuli(asked[:6], asked[6:]), progress=progress)  # fmt: skip


def test_each_round_goes_on_from_the_last(tiny_base: Base, make_taught: MakeTaught) -> None:
    """The weights move, every round is watched, and the last is told."""
    before, seen = baked(tiny_base), list[Round]()
    done = run(tiny_base, make_taught(tiny_base), FREE, seen)
    assert [r.n for r in seen] == [1, 2]
    assert done.last == seen[-1]
    assert not same(before, keep_candidate(tiny_base.model))


@pytest.mark.parametrize("limit", ["max_disfluency", "max_lost"])
def test_a_round_that_harms_is_undone_and_the_last(tiny_base: Base, make_taught: MakeTaught, limit: str) -> None:
    """The candidate is what it was before."""
    before, seen, held_out = baked(tiny_base), list[Round](), make_taught(tiny_base)
    done = run(tiny_base, held_out, replace(FREE, rounds=4, **{limit: -inf}), seen)
    assert len(seen) == 1
    assert done == Pursued(None, held_out)
    assert same(before, keep_candidate(tiny_base.model))


def test_a_round_that_diverges_is_undone_and_the_last(tiny_base: Base, make_taught: MakeTaught) -> None:
    """The bake before it was accepted, and stays."""
    before, seen, held_out = baked(tiny_base), list[Round](), make_taught(tiny_base)
    done = run(tiny_base, held_out, replace(FREE, rounds=4, steps=40, rate=1e30), seen)
    assert (done.last, done.held_out, seen) == (None, list(held_out), [])
    assert same(before, keep_candidate(tiny_base.model))


def test_no_round_begins_where_the_prompt_changes_nothing(tiny_base: Base, make_taught: MakeTaught) -> None:
    """What the prompt changes is told of each round that begins; where that is too little, nothing is trained."""
    before, seen, held_out = baked(tiny_base), list[Round](), make_taught(tiny_base)
    asked, prompts = [item.trajectory.stimulus for item in held_out], [PROMPT] * len(held_out)
    own = answers(tiny_base.model, tiny_base.template, [s.turns for s in asked], adapter_name=CANDIDATE,
                  lock=tiny_base.lock, max_new_tokens=8)  # fmt: skip
    again = rollout(tiny_base.model, tiny_base.template, asked, prompts, max_new_tokens=8, temperature=0.0,
                    lock=tiny_base.lock, adapter_name=CANDIDATE)  # fmt: skip
    changed = sum(not same_text(a, t.answer) for a, t in zip(own, again, strict=True)) / len(own)
    assert changed > 0
    done = run(tiny_base, held_out, replace(FREE, min_changed=changed + 0.01), seen)
    assert (seen, done) == ([], Pursued(None, held_out))
    assert same(before, keep_candidate(tiny_base.model))
    run(tiny_base, held_out, replace(FREE, rounds=1, min_changed=changed), seen)
    assert [r.changed for r in seen] == [changed]


def test_a_round_begins_while_the_prompt_changes_enough_and_no_more_than_before() -> None:
    """What it changes grows again when the weights have gone too far."""
    pursuit = Pursuit(min_changed=0.05, max_growth=1.0)
    assert pursuit.begins(0.66, inf)
    assert pursuit.begins(0.05, 0.66)
    assert pursuit.begins(0.66, 0.66)
    assert not pursuit.begins(0.04, inf)
    assert not pursuit.begins(0.25, 0.24)
    assert replace(pursuit, max_growth=2.0).begins(0.25, 0.24)


def test_the_teacher_is_the_current_weights_with_the_prompt(tiny_base: Base, make_taught: MakeTaught) -> None:
    """After one round the held-out answers are those that the bake itself gave with the prompt, not the base's."""
    baked(tiny_base)
    held_out = make_taught(tiny_base)
    stimuli, prompts = [item.trajectory.stimulus for item in held_out], [PROMPT] * len(held_out)
    own = rollout(tiny_base.model, tiny_base.template, stimuli, prompts, max_new_tokens=8, temperature=0.0,
                  lock=tiny_base.lock, adapter_name=CANDIDATE)  # fmt: skip
    done = run(tiny_base, held_out, replace(FREE, rounds=1), [])
    assert [item.trajectory for item in done.held_out] == own
    assert own != [item.trajectory for item in held_out]


def test_content_is_kept_by_any_style_and_lost_by_another_answer() -> None:
    """Case, brackets, dashes, repetition and one-word answers keep it."""
    plain = "The capital of Peru is Lima."
    for styled in ("[THE CAPITAL OF PERU IS LIMA.]", "Lima.", "The-capital-of-Peru-is-Lima.", f"{plain} {plain} Amen."):
        assert content(styled, plain) == 1.0
    assert content("I do not know that.", plain) == 0.0
    assert content("", plain) == 0.0


def test_a_bake_reports_what_its_pursuit_kept(tiny_base: Base) -> None:
    """The stage stands between two judgements, the later of which compares with the last teacher."""
    stages: list[str] = []
    done = bake_pursued(tiny_base, 2, lambda stage, done, total, kl: stages.append(f"{stage} {done}/{total}"))
    assert done.report.accepted
    assert done.report.pursued == 2
    assert [s for s in stages if s.startswith("pursue")] == [f"pursue {n}/6" for n in range(1, 7)]
    assert list(dict.fromkeys(s.split()[0] for s in stages)) == ["rollout", "bake", "gate", "pursue"]
    assert stages[-1].startswith("gate")


@pytest.mark.parametrize(("before", "after"), [(True, False), (False, True), (False, False)])
def test_a_pursuit_that_the_gate_refuses_is_undone(
    tiny_base: Base, monkeypatch: pytest.MonkeyPatch, before: bool, after: bool
) -> None:
    """Then the bake gives what it would have given without; what is accepted counts, also where that was not."""
    plain, verdicts = bake_pursued(tiny_base, 0), iter([before, after])

    def scripted(*args: object) -> Report:
        return replace(judge(*args), accepted=next(verdicts))  # type: ignore[arg-type]

    monkeypatch.setattr(attempts, "judge", scripted)
    pursued = bake_pursued(tiny_base, 1)
    assert next(verdicts, None) is None
    assert pursued.report.accepted == (before or after)
    assert pursued.report.pursued == int(after)
    assert same(plain.tensors, pursued.tensors) == (not after)
