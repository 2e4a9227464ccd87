"""A plain model of what a home knows: dicts in place of a database, for state machines to compare with."""

from __future__ import annotations

from collections.abc import Collection


class PlainMemories:
    """The status of each id and the one before it was superseded, its key and text, in which order they were said,
    what superseded it, the ids in each version, and the live name.
    """

    def __init__(self) -> None:
        super().__init__()
        self.status: dict[str, str] = {}
        self.said: dict[str, tuple[str, str]] = {}
        self.newer: dict[str, str] = {}
        self.before: dict[str, str] = {}
        self.order: list[str] = []
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
        self.supersede(self.of_key(memory_id, "pending", "baked", *instead), memory_id)

    def supersede(self, ids: Collection[str], by: str) -> None:
        """These are superseded, by what they were before if they were."""
        for i in ids:
            self.before[i], self.status[i] = self.status[i], "superseded"
            self.newer.setdefault(i, by)

    def say_again(self, memory_id: str) -> None:
        """What is live or held already is said once more: it is the newest word, and live."""
        self.order.append(memory_id)
        if self.status[memory_id] == "held":
            self.bring("pending", memory_id)
        elif memory_id in self.newer and (held := self.of_key(memory_id, "held")):
            del self.newer[memory_id]
            self.supersede(held, memory_id)

    def newest(self, memory_id: str) -> str:
        """What took the place of a memory that is superseded, last of all."""
        while self.status[memory_id] == "superseded":
            memory_id = self.newer[memory_id]
        return memory_id

    def go_live(self, name: str | None) -> None:
        """Another version serves, or the base."""
        self.live, inside = name, self.contents[name] if name else ()
        for i in self.ids("baked"):
            if i not in inside and i in self.newer:
                self.supersede([i], "")
            elif i not in inside:
                self.status[i] = "held"
        for i in inside:
            if self.status[i] in ("pending", "held"):
                self.bring("baked", i)
        for i in inside:
            newest = self.newest(i)
            free = newest not in inside and not self.of_key(i, "pending", "baked")
            if newest != i and self.status[newest] == "held" and free:
                self.status[i] = "baked"

    def erase(self, chosen: Collection[str], spared: Collection[str] = ()) -> set[str]:
        """These are forgotten with all that they superseded, but for those that are spared; their ids."""
        gone = set(chosen)
        while more := {i for i in self.ids("superseded") if self.newer.get(i) in gone} - gone:
            gone |= more
        gone -= set(spared)
        self.status.update(dict.fromkeys(gone, "forgotten"))
        return gone

    def restore(self, gone: Collection[str]) -> None:
        """What was superseded by what is forgotten is so by what came after that, else it is what it was before."""
        free = []
        for i, newer in list(self.newer.items()):
            if i not in gone and newer in gone:
                while newer in gone:
                    newer = self.newer.get(newer, "")
                self.newer[i] = newer
                if not newer:
                    del self.newer[i]
                    free += [i] if self.status[i] == "superseded" else []
        inside = self.contents[self.live] if self.live else ()
        for i in sorted(free, key=self.order[::-1].index):
            if self.before[i] == "quarantined":
                self.status[i] = "quarantined"
            elif live := self.of_key(i, "pending", "baked"):
                self.newer[i] = live[0]
            else:
                self.status[i] = "baked" if i in inside else "pending"

    def learned(self, memory_ids: Collection[str]) -> set[str]:
        """The versions that hold one of these, or go on from one that does."""
        found: set[str] = set()
        for name, inside in self.contents.items():
            if set(inside) & set(memory_ids) or self.parents[name] in found:
                found.add(name)
        return found
