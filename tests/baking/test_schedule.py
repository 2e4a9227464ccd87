"""When a training ends: by what is watched on the way, or after its steps."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bakemem.baking import (
    CANDIDATE,
    Measured,
    Recipe,
    Taught,
    adapter,
    answers,
    measure,
    output_head,
    rollout,
    same,
    teach,
    train,
)
from bakemem.baking.checkpoint import Checkpoint
from bakemem.baking.losses import LossName
from bakemem.baking.schedule import EVERY, FALL, Schedule
from bakemem.baking.weights import add_candidate, candidate_parameters, candidate_state, grow_candidate, lora_config
from bakemem.serving import Base
from tests.tiny import PROMPT, MakeTaught

RECIPE = Recipe(rank=4, alpha=8, learning_rate=1e-2, steps=30, trajectories_per_step=6)


def looked(schedule: Schedule, *seen: tuple[float, float]) -> int:
    """The end after looks with these divergences and agreements."""
    for n, (kl, agreement) in enumerate(seen, start=1):
        schedule.note(n * EVERY, Measured(kl, agreement))
    return schedule.end


def test_its_rate_falls_once_it_has_passed() -> None:
    """The third look is the first with enough agreement."""
    falling = [(1.0, 0.5), (0.5, 0.9), (0.2, 0.96)]
    assert looked(Schedule(400, 0.95), *falling[:-1]) == 400
    assert looked(Schedule(400, 0.95), *falling) == (1 + FALL) * 3 * EVERY


def test_it_ends_so_too_when_no_more_is_gained() -> None:
    """The third look takes less than a tenth off the best divergence."""
    seen = [(1.0, 0.5), (0.5, 0.6), (0.49, 0.6)]
    assert looked(Schedule(400, 0.95), *seen[:-1]) == 400
    assert looked(Schedule(400, 0.95), *seen) == (1 + FALL) * 3 * EVERY


def test_it_never_takes_more_than_the_most() -> None:
    """Nor does it look where what it saw could change nothing."""
    schedule = Schedule(200, 0.95)
    assert [step for step in range(1, 201) if schedule.due(step)] == [EVERY, 2 * EVERY]
    assert looked(schedule, (1.0, 0.5), (0.1, 0.6)) == 200


def test_the_rate_stays_while_it_gains_and_then_falls() -> None:
    """Six steps up to it in either case; without anything watched it falls at once."""
    assert [Schedule(120).share(step) for step in (0, 60, 119)] == pytest.approx([1 / 6, 0.5, 1 / 120])
    schedule = Schedule(180, 0.9)
    assert [schedule.share(step) for step in (0, 5, 59, 120, 179)] == pytest.approx([1 / 6, 1, 1, 0.5, 1 / 120])
    looked(schedule, (1.0, 0.95))
    assert [schedule.share(step) for step in (5, 30, 60, 89)] == pytest.approx([1, 1, 0.5, 1 / 60])


def test_agreement_is_that_of_greedy_answers(tiny_base: Base, make_taught: MakeTaught) -> None:
    """Answers read token by token agree just where the model, asked, would give the same ones."""
    greedy, head = _greedily(tiny_base, make_taught(tiny_base, 24, max_new_tokens=3)), output_head(tiny_base.model)
    train(tiny_base.model, tiny_base.template, greedy[:12], head, RECIPE, lock=tiny_base.lock)
    seen = measure(tiny_base.model, tiny_base.template, greedy, head, adapter_name=CANDIDATE, lock=tiny_base.lock)
    asked = [t.trajectory.stimulus.turns for t in greedy]
    given = answers(tiny_base.model, tiny_base.template, asked, adapter_name=CANDIDATE, lock=tiny_base.lock,
                    max_new_tokens=3)  # fmt: skip
    right = [same(a, t.trajectory.answer) for a, t in zip(given, greedy, strict=True)]
    assert 0 < sum(right) < len(right)
    assert seen.agreement == pytest.approx(sum(right) / len(right))


@pytest.mark.parametrize(("loss", "temperatures"), [("forward", (1.0, 2.0, 4.0)), ("tokens", (1.0,))])
def test_the_progress_of_a_training_is_the_kl_whatever_is_trained_on(
    tiny_base: Base,
    make_taught: MakeTaught,
    monkeypatch: pytest.MonkeyPatch,
    loss: LossName,
    temperatures: tuple[float, ...],
) -> None:
    """A step over all trajectories, each alone, that has learned nothing yet tells what `measure` finds."""
    monkeypatch.setattr(importlib.import_module("bakemem.baking.pack"), "SELDOM", 1.0)  # a first pass draws them all
    taught, head, told = make_taught(tiny_base, 12), output_head(tiny_base.model), list[float]()
    recipe = replace(RECIPE, steps=1, trajectories_per_step=12, max_dialogue_turns=1, deep=0.0, loss=loss,
                     temperatures=temperatures)  # fmt: skip
    train(tiny_base.model, tiny_base.template, taught, head, recipe, lock=tiny_base.lock,
          progress=lambda step, steps, kl: told.append(kl))  # fmt: skip
    found = measure(tiny_base.model, tiny_base.template, taught, head, adapter_name=None, lock=tiny_base.lock)
    assert told == pytest.approx([found.kl], rel=1e-6)


def _greedily(base: Base, taught: list[Taught]) -> list[Taught]:
    stimuli = [t.trajectory.stimulus for t in taught]
    made = rollout(base.model, base.template, stimuli, [PROMPT] * len(stimuli), max_new_tokens=3, temperature=0.0,
                   lock=base.lock)  # fmt: skip
    return teach(base.model, base.template, made, [PROMPT] * len(stimuli), lock=base.lock)


def test_a_watched_training_ends_early(
    tiny_base: Base, make_taught: MakeTaught, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Stopped between two looks it goes on to the same end."""
    monkeypatch.setattr(importlib.import_module("bakemem.baking.train"), "EVERY", 2)
    taught, head = make_taught(tiny_base, 12), output_head(tiny_base.model)

    def run(folder: Path | None, stop: int = 0) -> int:
        def progress(step: int, steps: int, kl: float) -> None:
            if step == stop:
                raise KeyboardInterrupt

        return train(tiny_base.model, tiny_base.template, taught, head, replace(RECIPE, steps=400), watched=taught,
                     passed=1.0, checkpoint=Checkpoint(folder, "key"), lock=tiny_base.lock,
                     progress=progress)  # fmt: skip

    steps = run(None)
    whole, _ = candidate_state(tiny_base.model)
    assert steps < 400
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, stop=5)
    assert run(tmp_path) == steps
    again, _ = candidate_state(tiny_base.model)
    for name, tensor in whole.items():
        torch.testing.assert_close(tensor, again[name], rtol=1e-3, atol=1e-5)


def test_a_grown_candidate_does_what_it_did(tiny_base: Base) -> None:
    """Twice the rank, the same scale, the same logits; and what is new can learn."""
    model = tiny_base.model
    add_candidate(model, 4, 8, 0, None)
    with torch.no_grad():
        for parameter in candidate_parameters(model).values():
            parameter.normal_(std=0.1)
    ids = torch.tensor([[5, 6, 7, 8]])
    with adapter(model, CANDIDATE):
        before = model(ids).logits
    grow_candidate(model, 2, 1)
    assert (lora_config(model, CANDIDATE).r, lora_config(model, CANDIDATE).lora_alpha) == (8, 16)
    with adapter(model, CANDIDATE):
        assert torch.allclose(model(ids).logits, before, atol=1e-5)
    fresh = [p[4:] for n, p in candidate_parameters(model).items() if "lora_A" in n]
    assert all(part.abs().max() > 0 for part in fresh)
