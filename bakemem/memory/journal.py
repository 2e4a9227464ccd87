"""The truth: memories, their history, versions and the live pointer of one namespace, in one SQL database.

Each public method that changes something is one transaction. Knows no model, no index and no files of versions.
"""

from __future__ import annotations

import difflib
import re
import secrets
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import sqlalchemy as sa

from bakemem.errors import HomeError, InputError, NotFoundError
from bakemem.memory import records, schema
from bakemem.memory.keys import check_storable, clean_key, clean_namespace, clean_text
from bakemem.memory.records import Event, ReflogEntry
from bakemem.memory.transitions import LIVE, transition
from bakemem.types import Draft, Memory, Provenance, Status, Version

_LIVE_POINTER = "live"


class Journal:
    """The memories and versions of one namespace of a home.

    Every method raises HomeCorruptError when the database is damaged and HomeError when it cannot be used (full disk,
    no permission); then nothing has changed. Methods may be called from several threads.
    """

    def __init__(self, place: str | Path, namespace: str = "default", *, readonly: bool = False) -> None:
        """Opens the journal at a path (or an SQLAlchemy URL), and makes it when it is new and not `readonly`.

        Raises InputError for a bad namespace, HomeError when a read-only journal does not exist or when a newer
        bakemem wrote it, HomeCorruptError when it is damaged.
        """
        self.namespace = clean_namespace(namespace)
        self._place = place
        is_url = isinstance(place, str) and "://" in place
        self._root = Path.cwd() if is_url else Path(place).absolute().parent
        if readonly and not is_url and not Path(place).is_file():
            raise HomeError(f"There is no memory at {place}: remember something there first, or name another home.")
        with schema.translated(place):
            self._engine = schema.open_engine(place, readonly)
            self._writer = self._engine.execution_options(writes=True)

    def close(self) -> None:
        """Closes the database."""
        self._engine.dispose()

    # Memories

    def add(
        self, draft: Draft, provenance: Provenance, status: Literal["pending", "quarantined"] = "pending"
    ) -> Memory:
        """Takes a draft in and returns the memory that now holds it.

        A pending draft supersedes every older memory of its key; with the same kind and text as the live one, that one
        is returned instead, and one that is held is released. A quarantined draft never touches another memory.
        Raises InputError for a text, key or provenance that cannot be kept.
        """
        key, text = clean_key(draft.key), clean_text(draft.text)
        for value in (provenance.source, provenance.conversation, provenance.turn, provenance.extractor):
            check_storable(value, "The provenance")
        with self._write() as connection:
            older = self._select(
                connection, schema.memories.c.key == key, schema.memories.c.status.not_in(["superseded", "forgotten"])
            )
            for memory in older:
                if (memory.kind, memory.text) != (draft.kind, text):
                    continue
                if memory.status in LIVE or memory.status == status:
                    return memory
                if memory.status == "held" and status == "pending":
                    self._move(connection, [memory], "pending", "said again")
                    return self._one(connection, memory.id)
            memory = Memory(
                id=secrets.token_hex(8), namespace=self.namespace, kind=draft.kind, key=key, text=text, status=status,
                created=records.now(), provenance=provenance,
            )  # fmt: skip
            connection.execute(schema.memories.insert().values(records.memory_row(memory)))
            self._note(connection, memory.id, transition(memory.id, None, status), None, status, "")
            if status == "pending":
                self._move(connection, older, "superseded", memory.id)
            return memory

    def memories(self, status: Status | Collection[Status] | None = None) -> list[Memory]:
        """The memories with that status (or one of those; None for all), oldest first."""
        wanted = [status] if isinstance(status, str) else status
        with self._read() as connection:
            if wanted is None:
                return self._select(connection)
            return self._select(connection, schema.memories.c.status.in_(list(wanted)))

    def get(self, memory_id: str) -> Memory:
        """The memory with that id, or the only one whose id begins with it. Raises NotFoundError."""
        with self._read() as connection:
            return self._one(connection, memory_id)

    def history(self, memory_id: str) -> list[Event]:
        """What happened to a memory, oldest first. Raises NotFoundError."""
        with self._read() as connection:
            memory = self._one(connection, memory_id)
            events = schema.events
            rows = connection.execute(sa.select(events).where(events.c.memory_id == memory.id).order_by(events.c.seq))
            return [records.event_of(row) for row in rows.mappings()]

    def release(self, memory_ids: Iterable[str]) -> list[Memory]:
        """Returns held memories to pending: all of them or none. Raises NotFoundError, TransitionError."""
        with self._write() as connection:
            held = {m.id: m for m in (self._one(connection, i) for i in memory_ids)}
            self._move(connection, held.values(), "pending", "")
            return [self._one(connection, i) for i in held]

    # Versions

    def next_version_name(self) -> str:
        """The name of the next version of this namespace: v1, v2 …; a name is never used twice."""
        with self._read() as connection:
            names = connection.scalars(sa.select(schema.versions.c.name).where(self._here(schema.versions))).all()
        return f"v{max((int(n[1:]) for n in names), default=0) + 1}"

    def commit_version(self, version: Version, *, accepted: bool) -> None:
        """Records a baked version: the commit point of a bake.

        Accepted, it becomes live: its pending and held memories become baked, and baked memories that it left out
        return to pending, so that none is lost from both prompt and weights. Rejected, it is recorded and no more.
        Raises InputError when its name, namespace or status does not fit, NotFoundError for an unknown memory or
        parent, TransitionError when an accepted version holds a quarantined or forgotten memory.
        """
        if version.namespace != self.namespace or not re.fullmatch(r"v[1-9][0-9]*", version.name):
            raise InputError(f"{version.name!r} of {version.namespace!r} cannot be kept in {self.namespace!r}.")
        if accepted != (version.status == "accepted"):
            raise InputError(f"Version {version.name} says {version.status}, but the gate says accepted={accepted}.")
        with self._write() as connection:
            taken = {v.name for v in self._versions(connection)}
            if version.name in taken:
                raise InputError(f"Version {version.name} exists already: take the name from next_version_name().")
            if version.parent is not None and version.parent not in taken:
                raise NotFoundError(f"Version {version.name} names the parent {version.parent}, which does not exist.")
            contained = [self._one(connection, i) for i in version.memory_ids]
            table = schema.versions
            row = connection.execute(
                table.insert().values(records.version_row(version, self._root)).returning(table.c.seq)
            )
            seq = row.scalar_one()
            if contained:
                places = [{"version": seq, "place": p, "memory_id": m.id} for p, m in enumerate(contained)]
                connection.execute(schema.version_memories.insert(), places)
            if accepted:
                self._point(connection, version.name, "bake")
                fresh = [m for m in contained if m.status not in ("baked", "superseded")]
                self._move(connection, fresh, "baked", version.name)
                self._move(connection, self._baked_without(connection, version.memory_ids), "pending", version.name)

    def versions(self) -> list[Version]:
        """All versions, oldest first, rejected ones too."""
        with self._read() as connection:
            return self._versions(connection)

    def version(self, name: str) -> Version:
        """The version with that name, the beginning of whose id that is, or `live`. Raises NotFoundError."""
        with self._read() as connection:
            return self._version(connection, name)

    def live(self) -> str | None:
        """The name of the version that serves; None is the base."""
        with self._read() as connection:
            return self._live(connection)

    def set_live(self, name: str | None, action: str = "rollback") -> None:
        """Makes another accepted version live, or the base (None or `base`); nothing is destroyed.

        Memories that it holds become baked (held ones come back, pending ones leave the prompt); baked memories that
        it does not hold become held. What is superseded stays so. Does nothing when it is live already.
        Raises NotFoundError, and InputError for a rejected version.
        """
        with self._write() as connection:
            target = None if name in (None, "base") else self._version(connection, str(name))
            if target is not None and target.status != "accepted":
                reasons = "; ".join(target.report.reasons) or "see its report"
                raise InputError(f"Version {target.name} was rejected by the gate ({reasons}): it never serves.")
            new = None if target is None else target.name
            if new == self._live(connection):
                return
            self._point(connection, new, action)
            contained = [] if target is None else [self._one(connection, i) for i in target.memory_ids]
            note = new or "base"
            self._move(connection, self._baked_without(connection, [m.id for m in contained]), "held", note)
            self._move(connection, [m for m in contained if m.status in ("held", "pending")], "baked", note)

    def reflog(self) -> list[ReflogEntry]:
        """Every move of the live pointer, oldest first."""
        log = schema.reflog
        with self._read() as connection:
            rows = connection.execute(sa.select(log).where(self._here(log)).order_by(log.c.seq))
            return [records.reflog_of(row) for row in rows.mappings()]

    # Inside a transaction

    @contextmanager
    def _read(self) -> Iterator[sa.Connection]:
        with schema.translated(self._place), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def _write(self) -> Iterator[sa.Connection]:
        with schema.translated(self._place), self._writer.begin() as connection:
            yield connection

    def _here(self, table: sa.Table) -> sa.ColumnElement[bool]:
        # Every query passes here or through a memory that did: namespaces cannot see each other.
        here: sa.ColumnElement[bool] = table.c.namespace == self.namespace
        return here

    def _select(self, connection: sa.Connection, *where: sa.ColumnElement[bool]) -> list[Memory]:
        table = schema.memories
        rows = connection.execute(sa.select(table).where(self._here(table), *where).order_by(table.c.seq))
        return [records.memory_of(row) for row in rows.mappings()]

    def _one(self, connection: sa.Connection, memory_id: str) -> Memory:
        ids = schema.memories.c.id
        found = self._select(connection, ids == memory_id)
        if not found and memory_id:
            found = self._select(connection, ids.startswith(memory_id.lower(), autoescape=True))
        if len(found) == 1:
            return found[0]
        known = connection.scalars(sa.select(ids).where(self._here(schema.memories)))
        raise NotFoundError(_not_found("memory", memory_id, [m.id for m in found], known))

    def _move(self, connection: sa.Connection, moved: Iterable[Memory], new: Status, note: str) -> None:
        table = schema.memories
        for memory in moved:
            action = transition(memory.id, memory.status, new)
            values: dict[str, Any] = {"status": new}
            if new == "superseded":
                values["superseded_by"] = note
            connection.execute(table.update().where(table.c.id == memory.id).values(values))
            self._note(connection, memory.id, action, memory.status, new, note)

    def _note(
        self, connection: sa.Connection, memory_id: str, action: str, old: Status | None, new: Status, note: str
    ) -> None:
        connection.execute(schema.events.insert().values(
            namespace=self.namespace, memory_id=memory_id, at=records.now().isoformat(), action=action, old=old,
            new=new, note=note,
        ))  # fmt: skip

    def _baked_without(self, connection: sa.Connection, kept: Collection[str]) -> list[Memory]:
        baked = self._select(connection, schema.memories.c.status == "baked")
        return [m for m in baked if m.id not in set(kept)]

    def _live(self, connection: sa.Connection) -> str | None:
        pointers = schema.pointers
        query = sa.select(pointers.c.version).where(self._here(pointers), pointers.c.name == _LIVE_POINTER)
        return connection.scalar(query)

    def _point(self, connection: sa.Connection, new: str | None, action: str) -> None:
        old, pointers = self._live(connection), schema.pointers
        connection.execute(pointers.delete().where(self._here(pointers), pointers.c.name == _LIVE_POINTER))
        connection.execute(pointers.insert().values(namespace=self.namespace, name=_LIVE_POINTER, version=new))
        connection.execute(schema.reflog.insert().values(
            namespace=self.namespace, at=records.now().isoformat(), action=action, old=old, new=new
        ))  # fmt: skip

    def _versions(self, connection: sa.Connection) -> list[Version]:
        table, links = schema.versions, schema.version_memories
        contained: dict[int, list[str]] = {}
        joined = sa.select(links.c.version, links.c.memory_id).join(table).where(self._here(table))
        for seq, memory_id in connection.execute(joined.order_by(links.c.version, links.c.place)):
            contained.setdefault(seq, []).append(memory_id)
        rows = connection.execute(sa.select(table).where(self._here(table)).order_by(table.c.seq)).mappings()
        return [records.version_of(row, contained.get(row["seq"], ()), self._root) for row in rows]

    def _version(self, connection: sa.Connection, name: str) -> Version:
        if name == "live":
            live = self._live(connection)
            if live is None:
                raise NotFoundError("No version is live: the base serves. Bake one, or name one.")
            name = live
        every = self._versions(connection)
        found = [v for v in every if v.name == name] or [v for v in every if name and v.id.startswith(name.lower())]
        if len(found) == 1:
            return found[0]
        raise NotFoundError(_not_found("version", name, [v.name for v in found], (v.name for v in every)))


def _not_found(what: str, asked: str, several: list[str], known: Iterable[str]) -> str:
    if several:
        return f"{asked!r} begins several ids ({', '.join(several[:5])}): type more of it."
    names = list(known)
    close = difflib.get_close_matches(asked, names, n=3, cutoff=0.3) or names[-3:]
    hint = f"the closest are {', '.join(close)}" if close else f"there is no {what} yet"
    return f"There is no {what} {asked!r}: {hint}."
