"""What a bake tries when the gate refuses, and that it says so."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from bakemem.baking import Recipe, Settings, Stimuli, Thresholds, bake
from bakemem.serving import Base
from bakemem.types import Memory, Prompt, Stimulus, Turn
from tests.tiny import PROMPT

NEVER = Thresholds(max_disfluency=-1e9)


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
    fact = "The user's dog is called Bosuk."
    memory = Memory("m1", "default", "fact", "user.dog", fact, "pending", datetime(2026, 1, 1, tzinfo=UTC))
    asked = tuple(Stimulus((Turn("user", f"Question {i}?"),), "everyday") for i in range(6))
    recipe = Recipe(rank=rank, alpha=alpha, steps=1, max_sequence_tokens=128, trajectories_per_step=4)
    settings = Settings(recipe, NEVER, max_new_tokens=4, efforts=2)
    baked = bake(tiny_base.model, tiny_base.template, [memory], [Prompt(PROMPT, ("m1",))], settings,
                 stimuli=Stimuli(asked[:4], asked[4:]))  # fmt: skip
    assert not baked.report.accepted
    assert baked.report.efforts == tried
    assert (baked.adapter_config["r"], baked.adapter_config["lora_alpha"]) == became
