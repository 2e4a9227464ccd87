"""The truth: memories, their history, versions and the live pointer of one namespace, in one SQL database.

Each public method that changes something is one transaction. Knows no model, no index and no files of versions.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Literal

import sqlalchemy as sa

from bakemem.errors import InputError, NotFoundError
from bakemem.memory import records, schema
from bakemem.memory.ledger import Ledger
from bakemem.memory.transitions import LIVE
from bakemem.memory.version_rows import CANDIDATE, NAME, VersionRows
from bakemem.types import Memory, Version


class Journal(VersionRows):
    """The memories and versions of one namespace of a home."""

    def commit_version(self, version: Version, *, accepted: bool) -> None:
        """Records a baked version: the commit point of a bake.

        Accepted, it becomes live: its pending and held memories become baked, and baked memories that it left out
        return to pending, so that none is lost from both prompt and weights. Rejected, it is recorded and no more.
        Raises InputError when its name, namespace or status does not fit, NotFoundError for an unknown memory or
        parent, TransitionError when an accepted version holds a quarantined or forgotten memory.
        """
        if accepted != (version.status == "accepted"):
            raise InputError(f"Version {version.name} says {version.status}, but the gate says accepted={accepted}.")
        with self.write() as connection:
            contained = self.add_version(connection, version)
            if accepted and version.parent is not None:
                self._servable(connection, version.parent)  # else this one learned from it what was forgotten
            if accepted:
                self._move_live(connection, version.name, "bake")
                fresh = [m for m in contained if m.status not in ("baked", "superseded")]
                self.move(connection, fresh, "baked", version.name, "bake")
                self.take_place(connection, fresh, "bake")
                left_out = self._baked_without(connection, version.memory_ids)
                self.move(connection, left_out, "pending", version.name, "bake")
            self._point(connection, CANDIDATE, None if accepted else version.name)

    def set_live(self, name: str | None, action: str = "rollback") -> list[Memory]:
        """Makes another accepted version live, or the base (None or `base`); nothing is destroyed.

        Memories that it holds become baked (held ones come back, pending ones leave the prompt); baked memories that
        it does not hold become held. What is superseded comes back where its version does and what took its place is
        held, and is superseded again where that returns. Returns the memories that this changed. Does nothing when the
        version is live already. Raises NotFoundError, and InputError for a version that was rejected or that learned
        what was forgotten.
        """
        with self.write() as connection:
            target = None if name in (None, "base") else self._servable(connection, str(name))
            contained = [] if target is None else [self.one(connection, i) for i in target.memory_ids]
            new = None if target is None else target.name
            if new == self._live(connection):
                return []
            self._move_live(connection, new, action)
            note, inside = new or "base", {m.id for m in contained}
            left = self._baked_without(connection, inside)
            for memory in left:
                self.move(connection, [memory], "superseded" if memory.came_back else "held", note, "operator")
            back = [m for m in contained if m.status in ("held", "pending")]
            self.move(connection, back, "baked", note, "operator")
            left += self.take_place(connection, back, "operator")
            for memory in contained:
                if self._comes_back(connection, memory, inside):
                    self.move(connection, [memory], "baked", note, "operator")
                    back.append(memory)
            return [self.one(connection, m.id) for m in (*left, *back)]

    def destroyed(
        self, names: Collection[str], why: Literal["collected", "erased"], receipt: Mapping[str, Any] | None = None
    ) -> None:
        """Records that these versions' folders are to be destroyed: they never serve again, and a tombstone stays.

        To be called before the folders go, so that none is missing that the journal still counts on; tags to them
        go with them, and a `receipt` is kept with it (see `Ledger`). Raises NotFoundError, and InputError for the live
        one.
        """
        table = schema.versions
        with self.write() as connection:
            for version in [self._version(connection, name) for name in names]:
                if version.name == self._live(connection):
                    raise InputError(f"Version {version.name} is live: roll back to another one first.")
                if version.gone:
                    continue
                connection.execute(
                    table.update().where(self.here(table), table.c.name == version.name)
                    .values(gone=why, prompt_sha256="")  # a guess at what is forgotten one day could be held against it
                )  # fmt: skip
                pointers = schema.pointers
                connection.execute(pointers.delete().where(self.here(pointers), pointers.c.version == version.name))
                self._log(connection, "erase" if why == "erased" else "collect", version.name, None)
            if receipt is not None:
                Ledger.insert_receipt(connection, self.namespace, receipt)

    # Inside a transaction

    def add_version(self, connection: sa.Connection, version: Version) -> list[Memory]:
        """Writes a version and what it holds, and moves nothing; its memories. Raises InputError, NotFoundError."""
        if version.namespace != self.namespace or not NAME.fullmatch(version.name):
            raise InputError(f"{version.name!r} of {version.namespace!r} cannot be kept in {self.namespace!r}.")
        taken = self._names(connection)
        if version.name in taken:
            raise InputError(f"Version {version.name} exists already: take the name from next_version_name().")
        if version.parent is not None and version.parent not in taken:
            raise NotFoundError(f"Version {version.name} names the parent {version.parent}, which does not exist.")
        contained = [self.one(connection, i) for i in version.memory_ids]
        table = schema.versions
        row = connection.execute(table.insert().values(records.version_row(version, self._root)).returning(table.c.seq))
        seq = row.scalar_one()
        if contained:
            places = [{"version": seq, "place": p, "memory_id": m.id} for p, m in enumerate(contained)]
            connection.execute(schema.version_memories.insert(), places)
        return contained

    def unlearn(self, connection: sa.Connection, memory_ids: Collection[str]) -> None:
        """Takes the live version out of service if it knows one of these; what else it knew returns to the prompt."""
        live = self._live(connection)
        if live is not None and live in self.learned(connection, memory_ids):
            self._move_live(connection, None, "forget")
            self.move(connection, self._baked_without(connection, memory_ids), "pending", "base", "operator")

    def restore(self, connection: sa.Connection, memory: Memory, actor: str) -> None:
        """What was superseded by nothing that is left is what it was before; live, if nothing else of its key is."""
        live = next((m for m in self.of_key(connection, memory.key) if m.status in LIVE), None)
        name = self._live(connection)
        if self.status_before(connection, memory) == "quarantined":
            self.move(connection, [memory], "quarantined", "", actor)
        elif live is None:
            inside = self._version(connection, name).memory_ids if name else ()
            self.move(connection, [memory], "baked" if memory.id in inside else "pending", name or "base", actor)
        else:
            self.tie(connection, memory, live.id)

    def _comes_back(self, connection: sa.Connection, memory: Memory, inside: Collection[str]) -> bool:
        newest = self.newest(connection, memory)
        if newest.status != "held" or newest.id in inside:
            return False
        return not any(m.status in LIVE for m in self.of_key(connection, memory.key))

    def _baked_without(self, connection: sa.Connection, kept: Collection[str]) -> list[Memory]:
        baked = self.select(connection, schema.memories.c.status == "baked")
        return [m for m in baked if m.id not in set(kept)]
