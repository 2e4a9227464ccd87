"""What a bake tries when the gate refuses, and that it says so."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
import torch

import bakemem.baking.attempts as attempts
from bakemem.baking import Baked, Recipe, Settings, Stimuli, Thresholds, bake
from bakemem.baking.train import diverged
from bakemem.serving import Base
from bakemem.types import Memory, Prompt, Stimulus, Turn
from tests.tiny import PROMPT

NEVER = Thresholds(max_disfluency=-1e9)


def refused(base: Base, rank: int, alpha: int, efforts: int = 2) -> Baked:
    """A bake in steps of one that no gate accepts."""
    fact = "The user's dog is called Bosuk."
    memory = Memory("m1", "default", "fact", "user.dog", fact, "pending", datetime(2026, 1, 1, tzinfo=UTC))
    asked = tuple(Stimulus((Turn("user", f"Question {i}?"),), "everyday") for i in range(6))
    recipe = Recipe(rank=rank, alpha=alpha, steps=1, max_sequence_tokens=128, trajectories_per_step=4)
    settings = Settings(recipe, NEVER, max_new_tokens=4, efforts=efforts)
    return bake(base.model, base.template, [memory], [Prompt(PROMPT, ("m1",))], settings,
                stimuli=Stimuli(asked[:4], asked[4:]))  # fmt: skip


@pytest.mark.parametrize(("rank", "alpha", "tried", "became"), [
    (2, 4, ("more steps", "higher rank"), (4, 8)),
    (128, 2048, ("more steps", "higher rank"), (256, 4096)),
    (129, 4, ("more steps",), (129, 4)),
    (2, 2049, ("more steps",), (2, 2049)),
])  # fmt: skip
def test_no_rank_and_no_alpha_grows_past_what_a_version_may_have(
    tiny_base: Base, rank: int, alpha: int, tried: tuple[str, ...], became: tuple[int, int]
) -> None:
    """It could not be kept; the report names what was tried alone."""
    baked = refused(tiny_base, rank, alpha)
    assert not baked.report.accepted
    assert baked.report.efforts == tried
    assert (baked.adapter_config["r"], baked.adapter_config["lora_alpha"]) == became


@pytest.mark.parametrize("n", [1, 2])
def test_an_effort_that_diverges_is_undone_and_the_last(
    tiny_base: Base, monkeypatch: pytest.MonkeyPatch, n: int
) -> None:  # fmt: skip
    """What was judged before it is kept, with its weights: a higher rank is no other function."""
    before, trainings = refused(tiny_base, 2, 4, efforts=n - 1), list[int]()

    def train(*given: Any, real: Any = attempts.train, **options: Any) -> int:
        steps = real(*given, **options)
        trainings.append(steps)
        if len(trainings) == n + 1:
            raise diverged()
        return int(steps)

    monkeypatch.setattr(attempts, "train", train)
    baked = refused(tiny_base, 2, 4)
    assert baked.report.efforts == ("more steps", "higher rank")[:n]
    assert baked.report.reasons[-1] == f"training on ({baked.report.efforts[-1]}) diverged"
    assert [p.given for p in baked.probes] == [p.given for p in before.probes]
    for name, tensor in before.tensors.items():
        rank = before.adapter_config["r"]
        kept = baked.tensors[name][:rank] if "lora_A" in name else baked.tensors[name][:, :rank]
        assert torch.equal(kept, tensor)
