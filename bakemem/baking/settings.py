"""The settings of a bake. Knows nothing of how they are used."""

from __future__ import annotations

from dataclasses import dataclass, field

from bakemem.baking.gate import Thresholds
from bakemem.baking.pursue import Pursuit
from bakemem.baking.train import Recipe

EFFORTS = ("more steps", "higher rank", "split")
"""What is tried in turn when the gate refuses: the first two go on from the candidate as it is, the last is another
bake without what failed, which is the caller's business."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How much is asked, how it is trained, and what must be reached.

    `passed` is the share of the watched questions that must be answered as the teacher does before training may end
    early; None: it takes the recipe's steps. `efforts` is how many of `EFFORTS` may be tried when the gate refuses.
    `pursuit` follows what it accepts.
    """

    recipe: Recipe = field(default_factory=Recipe)
    thresholds: Thresholds = field(default_factory=Thresholds)
    per_memory: int = 16
    rehearsal_questions: int = 1600
    max_new_tokens: int = 64
    rollout_temperature: float = 1.0
    passed: float | None = 0.95
    efforts: int = len(EFFORTS)
    pursuit: Pursuit = field(default_factory=Pursuit)
