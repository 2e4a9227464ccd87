"""When a training ends, and its learning rate on the way there.

Knows steps and measurements; knows no models.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from bakemem.baking.measure import Measured

EVERY = 20
"""Steps from one look at the watched questions to the next, at least."""
PASS = 0.4
"""How much of all trajectories is to be learned from between two looks, at least."""
PATIENCE = 2
"""Looks in a row without gain after which training has stopped improving."""
LAST_PATIENCE = 4
"""The same where the watched questions have not passed: more of the same will not bring them there."""
GAIN = 0.1
"""By what share the divergence must fall to be a gain."""


@dataclass
class Schedule:
    """With `passed` the rate stays, until the watched answers agree to at least that share and their divergence has
    stopped falling (or has not fallen for long); without, it falls from the first step to the last. Never more than
    `most` steps.
    """

    most: int
    passed: float | None = None
    every: int = EVERY
    best: float = float("inf")
    stale: int = 0
    ended: int | None = None

    @property
    def end(self) -> int:
        """How many steps there will be, as far as it is known."""
        return self.most if self.ended is None else self.ended

    def share(self, step: int) -> float:
        """The share of the full rate in a step, counted from 0; it rises for a twentieth of the steps, 6 at most."""
        warm = max(1, min(self.most, 120) // 20)
        return min(1.0, (step + 1) / warm) * (1 - step / self.most if self.passed is None else 1.0)

    def due(self, step: int) -> bool:
        """Whether to look at the watched questions after so many steps."""
        return self.passed is not None and step < self.most and step % self.every == 0

    def note(self, step: int, measured: Measured) -> None:
        """What was seen after so many steps: when it has passed and nothing more is gained, training ends."""
        gained = measured.kl < self.best * (1 - GAIN)
        self.best, self.stale = min(self.best, measured.kl), 0 if gained else self.stale + 1
        passed = self.passed is not None and measured.agreement >= self.passed
        if self.stale >= (PATIENCE if passed else LAST_PATIENCE):
            self.ended = step

    def state(self) -> dict[str, Any]:
        """All of it as JSON values."""
        return asdict(self)

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on as the schedule whose `state` this was."""
        for field in fields(self):
            setattr(self, field.name, state[field.name])
