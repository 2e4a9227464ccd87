"""The meaning index as a port, and the search through it for what the agent knows now.

Knows neither Chroma nor SQL: any index and any journal that keep the promises below will do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from bakemem.memory.transitions import LIVE
from bakemem.types import Memory


class Index(Protocol):
    """Memories of one namespace by meaning: a shadow of the journal, which can be rebuilt from it at any time.

    It may be empty or behind the journal after a crash, so a caller runs `sync` at open and asks the journal for the
    memory behind an id. Search may be approximate. Scores are cosines (-1…1) of the index's own embedder and
    cannot be compared between embedders. Any method may raise ModelError when the embedder cannot be loaded; the
    others raise nothing for unknown ids.
    """

    def put(self, memories: Iterable[Memory]) -> None:
        """Adds memories, or replaces them where the id is known."""

    def remove(self, ids: Iterable[str]) -> None:
        """Removes memories; ids that are not there are no error."""

    def search(self, text: str, k: int) -> list[tuple[str, float]]:
        """The `k` nearest ids (fewer when there are fewer) with their scores, nearest first."""

    def ids(self) -> set[str]:
        """All ids that are in the index."""

    def sync(self, memories: Iterable[Memory]) -> int:
        """Makes the index hold exactly these memories; returns how many had to be added or removed."""

    def seal(self, state: str) -> None:
        """Notes down the journal's state that the index shows, so that the next process need not compare them."""

    def sealed(self) -> str | None:
        """The state of the last `seal`; None when there is none, or none that can be trusted."""

    def purge(self, memories: Iterable[Memory]) -> None:
        """Begins anew with exactly these memories, so that no trace of any other stays on the disk."""

    def close(self) -> None:
        """Closes files; the index cannot be used afterwards."""


class MemorySource(Protocol):
    """What recall asks of the journal."""

    def some(self, memory_ids: Iterable[str]) -> dict[str, Memory]:
        """The memories with these ids, by id."""


def recall(
    index: Index, journal: MemorySource, text: str, k: int = 5, *, only: Callable[[Memory], bool] = lambda memory: True
) -> list[tuple[Memory, float]]:
    """The `k` live memories whose meaning is nearest to `text`, nearest first, with scores; `only` narrows down."""
    if k < 1 or not text.strip():
        return []
    wanted = k
    while True:
        hits = index.search(text, wanted)
        known = journal.some(i for i, _ in hits)
        found = [(known[i], score) for i, score in hits if i in known and known[i].status in LIVE and only(known[i])]
        if len(found) >= k or len(hits) < wanted:
            return found[:k]
        wanted *= 4  # memories that are not wanted took places
