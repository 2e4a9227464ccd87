"""The versions of an agent's memory: listed, named, compared. The part of `AgentMemory` that needs no model.

Ties the journal's rows to the store's folders.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from bakemem.config import Config
from bakemem.errors import BakeError
from bakemem.knowledge import Knowledge
from bakemem.memory import Extractor, Index, Journal, ReflogEntry
from bakemem.types import Version
from bakemem.upkeep import Problem, check, spared
from bakemem.versions import VersionDiff, VersionStore, diff


class Versioned(Knowledge):
    """The memories of one namespace, with the versions that they were baked into."""

    def __init__(
        self, config: Config, journal: Journal, store: VersionStore, *, open_index: Callable[[], Index],
        make_extractor: Callable[[], Extractor], redact: Callable[[str], str],
    ) -> None:  # fmt: skip
        super().__init__(config, journal, open_index=open_index, make_extractor=make_extractor, redact=redact)
        self._store = store
        self._changing = threading.Lock()

    @contextmanager
    def _one_change(self) -> Iterator[None]:
        """What moves the live pointer or destroys folders does so one at a time."""
        if not self._changing.acquire(blocking=False):
            raise BakeError("A bake is running on this memory; wait for it.")
        try:
            yield
        finally:
            self._changing.release()

    @property
    def live(self) -> str | None:
        """The name of the version that serves; None is the base with the prompt."""
        return self._journal.live()

    def versions(self) -> list[Version]:
        """All versions of this namespace, rejected and destroyed ones too, oldest first."""
        return self._journal.versions()

    def reflog(self) -> list[ReflogEntry]:
        """Every move of the live pointer, and every version that was destroyed, oldest first."""
        return self._journal.reflog()

    def tag(self, tag: str, version: str = "live") -> Version:
        """Give a version a name of your own, which `gc` then keeps. Raises InputError, NotFoundError."""
        return self._journal.tag(tag, version)

    def untag(self, tag: str) -> None:
        """Take such a name away. Raises NotFoundError."""
        self._journal.untag(tag)

    def tags(self) -> dict[str, str]:
        """The names of your own, and the versions that they are for."""
        return self._journal.tags()

    def diff(self, old: str, new: str) -> VersionDiff:
        """What changed from one version to another; `base` is the empty one."""
        a, b = (None if name == "base" else self._journal.version(name) for name in (old, new))
        return diff(a, b, self._journal.memories())

    def gc(self, keep: int = 5, *, dry_run: bool = True) -> list[Version]:
        """Destroy the adapters of old versions; their rows stay. What is, or with `dry_run` would be, destroyed.

        Kept are what is live, what the gate refused last, what has a tag, what a rollback of the last move leads to,
        the newest `keep`, and the newest that holds a held memory. Memories stay as they are.
        Raises InputError for a negative `keep`, BakeError while a bake runs, HomeError when a folder cannot be removed.
        """
        if dry_run:
            return self._collectable(keep)
        with self._one_change():
            doomed = [version.name for version in self._collectable(keep)]
            self._journal.destroyed(doomed, "collected")  # first: a crash from here on is finished when it is opened
            for name in doomed:
                self._store.destroy(name)
        return [self._journal.version(name) for name in doomed]

    def _collectable(self, keep: int) -> list[Version]:
        state = self._journal.state()
        stay = spared(state, keep)
        return [v for v in state.versions if not v.gone and v.name not in stay]

    def check(self, *, repair: bool = False) -> list[Problem]:
        """What is wrong in this home, as far as it can be seen without a model; nothing is the best answer.

        With `repair` what a crash left is removed, and nothing else. Raises BakeError for that while a bake runs.
        """
        if not repair:
            return check(self._journal, self._store)
        with self._one_change():
            return check(self._journal, self._store, repair=True)
