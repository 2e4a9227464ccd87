"""When a training ends, and its learning rate on the way there.

Knows steps and measurements; knows no models.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from bakemem.baking.measure import Measured

EVERY = 30
"""Steps from one look at the watched questions to the next, at least."""
PASS = 0.4
"""How much of all trajectories is to be learned from between two looks, at least."""
GAIN = 0.1
"""By what share the divergence must fall from one look to the next to be a gain."""
FALL = 2
"""How many steps the rate falls for each step before."""


@dataclass
class Schedule:
    """With `passed` the rate stays until the watched answers agree to at least that share or their divergence falls no
    more, and then goes down to zero in twice as many steps; without, it falls from the first step to the last.

    Never more than `most` steps. A rate that stays and then falls reaches what one that falls all the way does, and
    need not know its length before (Hägele et al., arXiv 2405.18392).
    """

    most: int
    passed: float | None = None
    every: int = EVERY
    best: float = float("inf")
    fell: int | None = None

    @property
    def end(self) -> int:
        """How many steps there will be, as far as it is known."""
        return self.most if self.fell is None else min(self.most, (1 + FALL) * self.fell)

    def share(self, step: int) -> float:
        """The share of the full rate in a step, counted from 0; it rises for a twentieth of the steps, 6 at most."""
        warm = max(1, min(self.most, 120) // 20)
        start = 0 if self.passed is None else self._latest if self.fell is None else self.fell
        return min(1.0, (step + 1) / warm, (self.end - step) / (self.end - start))

    def due(self, step: int) -> bool:
        """Whether to look at the watched questions after so many steps."""
        return self.passed is not None and self.fell is None and step < self._latest and step % self.every == 0

    def note(self, step: int, measured: Measured) -> None:
        """What was seen after so many steps: when it has passed or nothing more is gained, the rate begins to fall."""
        passed = self.passed is not None and measured.agreement >= self.passed
        if passed or measured.kl > self.best * (1 - GAIN):
            self.fell = step
        self.best = min(self.best, measured.kl)

    @property
    def _latest(self) -> int:
        """The step from which the rate falls whatever was seen."""
        return self.most // (1 + FALL)

    def state(self) -> dict[str, Any]:
        """All of it as JSON values."""
        return asdict(self)

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on as the schedule whose `state` this was."""
        for field in fields(self):
            setattr(self, field.name, state[field.name])
