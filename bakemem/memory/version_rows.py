"""The versions of one namespace as rows: which there are, what points to them, which learned what was forgotten.

Moves no memory. Knows no files of versions.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

import sqlalchemy as sa

from bakemem.errors import HomeCorruptError, InputError, NotFoundError
from bakemem.memory import records, schema
from bakemem.memory.memories import SLICE, Memories, not_found
from bakemem.memory.records import ReflogEntry, State
from bakemem.types import Memory, Version

_LIVE, CANDIDATE = "live", "candidate"
NAME = re.compile(r"v[1-9][0-9]*")
_TAG = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,63}")
_NO_TAG = re.compile(r"live|candidate|base|v[0-9]*|[0-9a-f]{4,12}", re.IGNORECASE)


class VersionRows(Memories):
    """The versions of a journal, their tags, and the pointer to the one that serves."""

    def next_version_name(self, taken: Collection[str] = ()) -> str:
        """The name of the next version: v1, v2 …; none is used twice in a namespace, nor one that is `taken`.

        Raises HomeCorruptError where a version's name is none of these.
        """
        with self.read() as connection:
            names = self._names(connection)
        if odd := [name for name in names if not NAME.fullmatch(name)]:
            raise HomeCorruptError(f"The journal holds {odd[0]!r} for a version's name: restore it from a backup.")
        return f"v{max((int(n[1:]) for n in (*names, *taken)), default=0) + 1}"

    def versions(self) -> list[Version]:
        """All versions, oldest first, rejected ones too."""
        with self.read() as connection:
            return self._versions(connection)

    def version(self, name: str) -> Version:
        """The version with that name or tag, the beginning of whose id that is, `live`, or `candidate`, which is what
        the gate refused last, if nothing was accepted since. Raises NotFoundError.
        """
        with self.read() as connection:
            return self._version(connection, name)

    def name_of(self, version_id: str) -> str | None:
        """The name of the version with that id; None where there is none."""
        table = schema.versions
        named = sa.select(table.c.name).where(self.here(table), table.c.id == version_id).order_by(table.c.seq)
        with self.read() as connection:
            return connection.scalar(named.limit(1))

    def live(self) -> str | None:
        """The name of the version that serves; None is the base."""
        with self.read() as connection:
            return self._live(connection)

    def serving(self) -> tuple[Version | None, list[Memory]]:
        """What answers at one moment: the live version (None is the base), and the pending memories for its prompt."""
        with self.read() as connection:
            name = self._live(connection)
            version = self._version(connection, name) if name else None
            return version, self.select(connection, schema.memories.c.status == "pending")

    def servable(self, name: str) -> Version:
        """A version that may serve. Raises NotFoundError, and InputError as `set_live` does."""
        with self.read() as connection:
            return self._servable(connection, name)

    def tag(self, tag: str, version: str) -> Version:
        """Gives a version a name of the user's own, or moves the name to it. Raises InputError, NotFoundError."""
        if not _TAG.fullmatch(tag) or _NO_TAG.fullmatch(tag):
            raise InputError(
                f"{tag!r} cannot be a tag: take letters, digits, '.', '_' and '-', a letter first, at most 64, and not "
                "live, candidate, base, or what looks like a version's name or id."
            )
        with self.write() as connection:
            found = self._version(connection, version)
            if found.gone:
                raise InputError(
                    f"Version {found.name} was destroyed ({found.gone}): there is nothing to keep a name for."
                )
            self._point(connection, tag, found.name)
        return found

    def untag(self, tag: str) -> None:
        """Takes a tag away. Raises NotFoundError."""
        with self.write() as connection:
            tags = self._tags(connection)
            if tag not in tags:
                raise NotFoundError(not_found("tag", tag, [], tags))
            self._point(connection, tag, None)

    def tags(self) -> dict[str, str]:
        """The names of the user's own, and the versions that they are for."""
        with self.read() as connection:
            return self._tags(connection)

    def tainted(self) -> list[Version]:
        """The versions that learned what was forgotten since and are not destroyed yet, oldest first."""
        with self.read() as connection:
            lost = self._learned_forgotten(connection)
            left = self._names(connection, schema.versions.c.gone == "")
            return [self._version(connection, name) for name in left if name in lost]

    def reflog(self) -> list[ReflogEntry]:
        """Every move of the live pointer, oldest first."""
        log = schema.reflog
        with self.read() as connection:
            rows = connection.execute(sa.select(log).where(self.here(log)).order_by(log.c.seq))
            return [records.reflog_of(row) for row in rows.mappings()]

    def moment(self) -> str:
        """A name for what is remembered and what serves: another one after each change, and never one of before."""
        log = schema.reflog
        with self.read() as connection:
            moved = connection.scalar(sa.select(sa.func.max(log.c.seq)).where(self.here(log)))
        return f"{moved or 0} {self.last_change()}"

    def state(self) -> State:
        """All of this namespace as it was at one moment, whatever a writer does meanwhile."""
        pointers = schema.pointers
        with self.read() as connection:
            rows = connection.execute(sa.select(pointers).where(self.here(pointers))).mappings()
            named = {row["name"]: row["version"] for row in rows}
            log = connection.execute(sa.select(schema.reflog).where(self.here(schema.reflog)).order_by(sa.text("seq")))
            moves = [records.reflog_of(row) for row in log.mappings()]
            memories, versions = self.select(connection), self._versions(connection)
            lost = self._learned_forgotten(connection)
        return State(memories, versions, named, moves, frozenset(lost))

    # Inside a transaction

    def _servable(self, connection: sa.Connection, name: str) -> Version:
        version = self._version(connection, name)
        if version.status != "accepted":
            reasons = "; ".join(version.report.reasons) or "see its report"
            raise InputError(f"Version {version.name} was rejected by the gate ({reasons}): it never serves.")
        if version.gone == "collected":
            raise InputError(f"Version {version.name} was collected by gc, its weights are destroyed: it never serves.")
        if version.gone == "erased" or version.name in self._learned_forgotten(connection):
            raise InputError(f"Version {version.name} learned what was forgotten since: it never serves again.")
        return version

    def learned(self, connection: sa.Connection, memory_ids: Collection[str]) -> set[str]:
        """The versions that were baked with one of these memories, and those that went on from such a version."""
        table, links = schema.versions, schema.version_memories
        wanted, told, learned = list(memory_ids), set[int](), set[str]()
        for start in range(0, len(wanted), SLICE):
            holds = links.c.memory_id.in_(wanted[start : start + SLICE])
            told.update(connection.scalars(sa.select(links.c.version).where(holds).distinct()))
        if told:
            parents = sa.select(table.c.seq, table.c.name, table.c.parent).where(self.here(table))
            for seq, name, parent in connection.execute(parents.order_by(table.c.seq)):  # parents come first
                if seq in told or parent in learned:
                    learned.add(name)
        return learned

    def _learned_forgotten(self, connection: sa.Connection) -> set[str]:
        table = schema.memories
        gone = connection.scalars(sa.select(table.c.id).where(self.here(table), table.c.status == "forgotten"))
        return self.learned(connection, gone.all())

    def _live(self, connection: sa.Connection) -> str | None:
        pointers = schema.pointers
        query = sa.select(pointers.c.version).where(self.here(pointers), pointers.c.name == _LIVE)
        return connection.scalar(query)

    def _tags(self, connection: sa.Connection) -> dict[str, str]:
        pointers = schema.pointers
        own = sa.select(pointers).where(self.here(pointers), pointers.c.name.not_in((_LIVE, CANDIDATE)))
        return {row["name"]: row["version"] for row in connection.execute(own.order_by(pointers.c.name)).mappings()}

    def _point(self, connection: sa.Connection, pointer: str, version: str | None) -> None:
        pointers = schema.pointers
        connection.execute(pointers.delete().where(self.here(pointers), pointers.c.name == pointer))
        if version is not None:
            connection.execute(pointers.insert().values(namespace=self.namespace, name=pointer, version=version))

    def _move_live(self, connection: sa.Connection, new: str | None, action: str) -> None:
        old = self._live(connection)
        self._point(connection, _LIVE, new)
        self._log(connection, action, old, new)

    def _log(self, connection: sa.Connection, action: str, old: str | None, new: str | None) -> None:
        connection.execute(schema.reflog.insert().values(
            namespace=self.namespace, at=records.now().isoformat(), action=action, old=old, new=new
        ))  # fmt: skip

    def _names(self, connection: sa.Connection, *where: sa.ColumnElement[bool]) -> Sequence[str]:
        table = schema.versions
        return connection.scalars(sa.select(table.c.name).where(self.here(table), *where).order_by(table.c.seq)).all()

    def _versions(self, connection: sa.Connection, *where: sa.ColumnElement[bool]) -> list[Version]:
        table, links = schema.versions, schema.version_memories
        contained: dict[int, list[str]] = {}
        joined = sa.select(links.c.version, links.c.memory_id).join(table).where(self.here(table), *where)
        for seq, memory_id in connection.execute(joined.order_by(links.c.version, links.c.place)):
            contained.setdefault(seq, []).append(memory_id)
        rows = connection.execute(sa.select(table).where(self.here(table), *where).order_by(table.c.seq)).mappings()
        return [records.version_of(row, contained.get(row["seq"], ()), self._root) for row in rows]

    def _version(self, connection: sa.Connection, name: str) -> Version:
        if name == _LIVE:
            live = self._live(connection)
            if live is None:
                raise NotFoundError("No version is live: the base serves. Bake one, or name one.")
            name = live
        pointers, table = schema.pointers, schema.versions
        query = sa.select(pointers.c.version).where(self.here(pointers), pointers.c.name == name)
        name = connection.scalar(query) or name
        found = self._versions(connection, table.c.name == name)
        if not found and name:
            found = self._versions(connection, table.c.id.startswith(name.lower(), autoescape=True))
        if len(found) == 1:
            return found[0]
        raise NotFoundError(not_found("version", name, [v.name for v in found], self._names(connection)))
