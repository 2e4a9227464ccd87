"""A memory without a model and a clock that the test moves, for the schedule to work on."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from bakemem.baking import Adherence
from bakemem.config import Config
from bakemem.memory import Jobs, Journal
from bakemem.types import Draft, Memory, Provenance, Turn
from tests.schedule.year import START


class FakeMemory:
    """What a schedule uses of an `AgentMemory`, on a real journal; `bakes` says what the next bakes come to."""

    def __init__(self, path: Path, **settings: Any) -> None:
        self.config = Config(time_zone="UTC", bake_memories=1, most_load=0.0, **settings)
        self.journal = Journal(path)
        self.jobs = Jobs(self.journal)
        self.live, self.busy = None, False
        self.talked: datetime | None = None
        self.conversation: tuple[Turn, ...] = ()
        self.bakes: list[Callable[..., str]] = []
        self.asked: list[dict[str, Any]] = []
        self.made: list[SimpleNamespace] = []
        self.pending: list[tuple[Memory, datetime]] = []
        self.closers: list[Callable[[], object]] = []
        self.problems: list[SimpleNamespace] = []

    def at_close(self, callback: Callable[[], object]) -> None:
        """Notes it down."""
        self.closers.append(callback)

    def remember(self, since: datetime = START) -> None:
        """One memory that waits since then."""
        n = len(self.journal.memories())
        self.pending.append((self.journal.add(Draft("fact", f"k{n}", f"Fact {n}."), Provenance()), since))

    def waiting(self) -> list[tuple[Memory, datetime]]:
        """What is pending."""
        return list(self.pending)

    def versions(self) -> list[Any]:
        """What was baked."""
        return list(self.made)

    def bake(self, *, from_base: bool, seed: int, progress: Callable[..., None]) -> Any:
        """The next thing that a bake comes to; without one it is accepted and takes all."""
        self.asked.append({"from_base": from_base, "seed": seed})
        status = self.bakes.pop(0)(progress) if self.bakes else "accepted"
        version = SimpleNamespace(name=f"v{len(self.made) + 1}", status=status, parent=None, created=START, settings={},
                                  report=SimpleNamespace(reasons=("agreement is 50%",)))  # fmt: skip
        self.made.append(version)
        if status == "accepted":
            self.pending.clear()
        return version

    def check(self) -> list[Any]:
        """The problems that were put there."""
        return self.problems

    def gc(self, keep: int, *, dry_run: bool) -> list[Any]:
        """Nothing goes."""
        return []

    def adherence(self) -> Adherence:
        """Half of it is lost."""
        return Adherence(4, 2, 900)


class Clock:
    """Tells a time that the test moves."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        """The time."""
        return self.now
