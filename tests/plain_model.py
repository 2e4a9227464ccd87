"""A plain model of what a home knows: dicts in place of a database, for state machines to compare with."""

from __future__ import annotations

from collections.abc import Collection


class PlainMemories:
    """The status of each id, its key and text, what superseded it, the ids in each version, and the live name."""

    def __init__(self) -> None:
        super().__init__()
        self.status: dict[str, str] = {}
        self.said: dict[str, tuple[str, str]] = {}
        self.newer: dict[str, str] = {}
        self.contents: dict[str, tuple[str, ...]] = {}
        self.parents: dict[str, str | None] = {}
        self.live: str | None = None

    def ids(self, *statuses: str) -> list[str]:
        """The ids with one of these statuses, oldest first."""
        return [i for i, status in self.status.items() if status in statuses]

    def of_key(self, memory_id: str, *statuses: str) -> list[str]:
        """The other ids under the key of a memory that have one of these statuses."""
        key = self.said[memory_id][0]
        return [i for i in self.ids(*statuses) if i != memory_id and self.said[i][0] == key]

    def bring(self, status: str, memory_id: str, *instead: str) -> None:
        """A memory gets this status, in place of those of its key that are live or have one of the statuses `instead`.

        What was superseded before is so again by the same.
        """
        self.status[memory_id] = status
        for i in self.of_key(memory_id, "pending", "baked", *instead):
            self.status[i] = "superseded"
            self.newer.setdefault(i, memory_id)

    def newest(self, memory_id: str) -> str:
        """What took the place of a memory that is superseded, last of all."""
        while self.status[memory_id] == "superseded":
            memory_id = self.newer[memory_id]
        return memory_id

    def go_live(self, name: str | None) -> None:
        """Another version serves, or the base."""
        self.live, inside = name, self.contents[name] if name else ()
        for i in self.ids("baked"):
            if i not in inside:
                self.status[i] = "superseded" if i in self.newer else "held"
        for i in inside:
            if self.status[i] in ("pending", "held"):
                self.bring("baked", i)
        for i in inside:
            newest = self.newest(i)
            free = newest not in inside and not self.of_key(i, "pending", "baked")
            if newest != i and self.status[newest] == "held" and free:
                self.status[i] = "baked"

    def erase(self, memory_id: str) -> set[str]:
        """A memory is forgotten with all that it superseded; their ids."""
        gone = {memory_id}
        while more := {i for i in self.ids("superseded") if self.newer[i] in gone} - gone:
            gone |= more
        self.newer = {i: newer for i, newer in self.newer.items() if newer not in gone or i in gone}
        self.status.update(dict.fromkeys(gone, "forgotten"))
        return gone

    def learned(self, memory_ids: Collection[str]) -> set[str]:
        """The versions that hold one of these, or go on from one that does."""
        found: set[str] = set()
        for name, inside in self.contents.items():
            if set(inside) & set(memory_ids) or self.parents[name] in found:
                found.add(name)
        return found
