"""The versions of an agent's memory: listed, named, compared. The part of `AgentMemory` that needs no model.

Ties the journal's rows to the store's folders.
"""

from __future__ import annotations

from collections.abc import Callable

from bakemem.config import Config
from bakemem.knowledge import Knowledge
from bakemem.memory import Extractor, Index, Journal, ReflogEntry
from bakemem.types import Version
from bakemem.versions import VersionDiff, VersionStore, diff


class Versioned(Knowledge):
    """The memories of one namespace, with the versions that they were baked into."""

    def __init__(
        self, config: Config, journal: Journal, store: VersionStore, *, open_index: Callable[[], Index],
        make_extractor: Callable[[], Extractor], redact: Callable[[str], str],
    ) -> None:  # fmt: skip
        super().__init__(config, journal, open_index=open_index, make_extractor=make_extractor, redact=redact)
        self._store = store

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
        """What changed from one version to another, `base` being the empty one: memories, scores, answers and weights.

        Names may be tags or beginnings of ids. What cannot be read is left out, and `problems` says why.
        Raises NotFoundError.
        """
        return compare(self._journal, self._store, old, new)


def compare(journal: Journal, store: VersionStore, old: str, new: str) -> VersionDiff:
    """As `Versioned.diff`, for whoever reads beside the owner of the home."""
    a, b = (None if name == "base" else journal.version(name) for name in (old, new))
    return diff(a, b, journal.memories(), store, tainted={v.name for v in journal.tainted()})
