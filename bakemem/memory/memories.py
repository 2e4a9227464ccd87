"""Memories and their history in the journal: taken in, moved from status to status, found again.

Each public method that changes something is one transaction. Knows no versions (`journal.py` adds them) and no model.
"""

from __future__ import annotations

import difflib
import secrets
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Literal, get_args

import sqlalchemy as sa

from bakemem.errors import NotFoundError
from bakemem.memory import records, schema
from bakemem.memory.database import Database
from bakemem.memory.keys import check_one_of, check_storable, clean_key, clean_text
from bakemem.memory.records import Event
from bakemem.memory.transitions import LIVE, transition
from bakemem.types import Draft, Kind, Memory, Provenance, Role, Status

GONE: tuple[Status, ...] = ("superseded", "forgotten")
SLICE = 500  # ids in one query: some databases allow a thousand parameters
_SHORTEST = 4  # characters of an id that may stand for it: what is named may be forgotten for good


class Memories(Database):
    """The memories of one namespace."""

    def add(
        self, draft: Draft, provenance: Provenance, status: Literal["pending", "quarantined"] = "pending", *,
        reason: str = "", valid_from: datetime | None = None,
    ) -> Memory:  # fmt: skip
        """Takes a draft in and returns the memory that now holds it; it holds from `valid_from` (else from now) on.

        A pending draft supersedes every memory of its key that was not said later, and one that is neither superseded
        nor in quarantine supersedes it where it was (a time yet to come, of a clock that went wrong, does not count).
        With the same kind and text as the live one, that one is returned instead, as it was, and counts as said then:
        it supersedes an older word that a rollback holds. One that is held is released. A quarantined draft (`reason`
        says why) never touches another memory. Raises InputError for a kind, text, key or provenance that cannot be
        kept.
        """
        check_one_of(draft.kind, get_args(Kind), "kind of memory")
        check_one_of(provenance.role, get_args(Role), "role")
        key, text = clean_key(draft.key), clean_text(draft.text)
        for value in (provenance.source, provenance.conversation, provenance.turn, provenance.extractor):
            check_storable(value, "The provenance")
        with self.write() as connection:
            created = records.now()
            said, others = valid_from or created, self.of_key(connection, key)
            for memory in others:
                if (memory.kind, memory.text) != (draft.kind, text):
                    continue
                if memory.status in LIVE or memory.status == status:
                    if status == "pending":
                        self._renew(connection, memory, said)
                        held = [m for m in others if m.status == "held" and said_at(m) < said]
                        return self._take_over(connection, memory, held, provenance.role)
                    return memory
                if memory.status == "held" and status == "pending":
                    self._renew(connection, memory, said)
                    self.move(connection, [memory], "pending", "said again", provenance.role)
                    self.take_place(connection, [memory], provenance.role)
                    return self.one(connection, memory.id)
            memory = Memory(
                id=secrets.token_hex(8), namespace=self.namespace, kind=draft.kind, key=key, text=text, status=status,
                created=created, provenance=provenance, valid_from=said, reason=reason,
            )  # fmt: skip
            connection.execute(schema.memories.insert().values(records.memory_row(memory)))
            verb = transition(memory.id, None, status)
            self._note(connection, memory.id, verb, None, status, reason, provenance.role)
            if status == "pending":
                newer = [m for m in others if said < said_at(m) <= created]
                stays = [m for m in newer if m.status != "quarantined"]
                older = [m for m in others if m not in newer and (m.status == "quarantined" or not stays)]
                self.move(connection, older, "superseded", memory.id, provenance.role)
                if stays:
                    self.move(connection, [memory], "superseded", stays[-1].id, provenance.role)
            return self.one(connection, memory.id)

    def memories(
        self, status: Status | Collection[Status] | None = None, *, kind: Kind | None = None,
        since: datetime | None = None, text: str | None = None, source: str | None = None, key: str | None = None,
    ) -> list[Memory]:  # fmt: skip
        """The memories with that status (or one of those; None for all), oldest first.

        `since` (local time, if it has no zone) leaves out what was kept before, `text` what does not hold it (in any
        case), `source` and `key` all others than just that one's.
        """
        table = schema.memories
        where: list[sa.ColumnElement[bool]] = []
        if status is not None:
            where.append(table.c.status.in_([status] if isinstance(status, str) else list(status)))
        for column, wanted in ((table.c.kind, kind), (table.c.source, source), (table.c.key, key)):
            if wanted is not None:
                where.append(column == wanted)
        with self.read() as connection:
            found = self.select(connection, *where)
        since = since and records.local(since)
        # Here, not in SQL: databases differ in what upper and lower case are, and in how they compare times.
        return [
            m for m in found
            if (since is None or m.created >= since) and (text is None or text.casefold() in m.text.casefold())
        ]  # fmt: skip

    def waiting(self) -> list[tuple[Memory, datetime]]:
        """The pending memories, and since when each of them has been so, the longest first."""
        events, pending = schema.events, schema.memories.c.status == "pending"
        ids = sa.select(schema.memories.c.id).where(self.here(schema.memories), pending)
        moved = sa.select(events.c.memory_id, events.c.at).where(events.c.memory_id.in_(ids), events.c.new == "pending")
        with self.read() as connection:
            memories = self.select(connection, pending)
            since = {i: records.time_of(at) for i, at in connection.execute(moved.order_by(events.c.seq))}
        return sorted(((m, since.get(m.id, m.created)) for m in memories), key=lambda waits: waits[1])

    def some(self, memory_ids: Iterable[str]) -> dict[str, Memory]:
        """The memories with these ids, by id; unknown ones are left out."""
        wanted, found = list(memory_ids), list[Memory]()
        with self.read() as connection:
            for start in range(0, len(wanted), SLICE):
                found += self.select(connection, schema.memories.c.id.in_(wanted[start : start + SLICE]))
        return {m.id: m for m in found}

    def count(self, status: Status) -> int:
        """How many memories have that status."""
        return self._count(schema.memories.c.status == status)

    def recent(self, source: str, since: datetime) -> int:
        """How many memories a source has given since then; what a clock that was ahead dated later than now is none."""
        table, first = schema.memories, since.astimezone(UTC).isoformat()
        return self._count(table.c.source == source, table.c.created.between(first, records.now().isoformat()))

    def _count(self, *where: sa.ColumnElement[bool]) -> int:
        table = schema.memories
        with self.read() as connection:
            query = sa.select(sa.func.count()).select_from(table).where(self.here(table), *where)
            return connection.scalar(query) or 0

    def last_change(self) -> str:
        """A name for the state of the memories: another one after each change; empty before the first."""
        events, table = schema.events, schema.memories
        changed = sa.select(events.c.seq, events.c.memory_id, events.c.at).where(self.here(events))
        newest = sa.select(table.c.seq, table.c.id).where(self.here(table))  # an import need not bring a history
        with self.read() as connection:
            last = [
                connection.execute(query.order_by(column.desc()).limit(1)).first() or ()
                for query, column in ((changed, events.c.seq), (newest, table.c.seq))
            ]
        return " ".join(str(value) for row in last for value in row)

    def get(self, memory_id: str) -> Memory:
        """The memory with that id, or the only one whose id begins with it. Raises NotFoundError."""
        with self.read() as connection:
            return self.one(connection, memory_id)

    def history(self, memory_id: str) -> list[Event]:
        """What happened to a memory, oldest first. Raises NotFoundError."""
        with self.read() as connection:
            memory = self.one(connection, memory_id)
            events = schema.events
            rows = connection.execute(sa.select(events).where(events.c.memory_id == memory.id).order_by(events.c.seq))
            return [records.event_of(row) for row in rows.mappings()]

    def changes(self, after: int | None = None) -> tuple[int, list[Event]]:
        """The number of the last event, and the events after the one with that number (None: none), oldest first."""
        events = schema.events
        with self.read() as connection:
            numbers = sa.select(events.c.seq).where(self.here(events)).order_by(events.c.seq.desc()).limit(1)
            last = connection.scalar(numbers) or 0
            after = last if after is None else after
            rows = connection.execute(
                sa.select(events).where(self.here(events), events.c.seq > after).order_by(events.c.seq)
            )
            return last, [records.event_of(row) for row in rows.mappings()]

    def chain(self, memory_id: str) -> list[Memory]:
        """A memory and those that it superseded one after the other, newest first. Raises NotFoundError."""
        with self.read() as connection:
            return self.older(connection, [self.one(connection, memory_id)])

    def with_older(self, memory_ids: Iterable[str]) -> list[Memory]:
        """The memories with these ids and all that they superseded; unknown ones are left out."""
        known = list(self.some(memory_ids).values())
        with self.read() as connection:
            return self.older(connection, known)

    def release(self, memory_ids: Iterable[str]) -> list[Memory]:
        """Returns held memories to pending, each in place of the live one of its key, if there is one.

        All of them or none. Raises NotFoundError, TransitionError.
        """
        with self.write() as connection:
            held = {m.id: m for m in (self.one(connection, i) for i in memory_ids)}
            self.move(connection, held.values(), "pending", "", "operator")
            self.take_place(connection, list(held.values()), "operator")
            return [self.one(connection, i) for i in held]

    def approve(self, memory_ids: Iterable[str]) -> list[Memory]:
        """Lets memories out of quarantine: pending, as the operator's word of now, each in place of those of its key.

        All of them or none. Raises NotFoundError, and TransitionError for one that is not in quarantine.
        """
        with self.write() as connection:
            approved = {m.id: m for m in (self.one(connection, i) for i in memory_ids)}
            now = records.now().isoformat()
            for memory in approved.values():
                older = [m for m in self.of_key(connection, memory.key) if m.status != "quarantined"]
                self.move(connection, [memory], "pending", "", "operator")
                self.move(connection, older, "superseded", memory.id, "operator")
                named = schema.memories.c.id == memory.id
                connection.execute(schema.memories.update().where(named).values(role="operator", valid_from=now))
            return [self.one(connection, i) for i in approved]

    # Inside a transaction

    def select(self, connection: sa.Connection, *where: sa.ColumnElement[bool]) -> list[Memory]:
        """The memories of this namespace under these conditions, oldest first."""
        table = schema.memories
        rows = connection.execute(sa.select(table).where(self.here(table), *where).order_by(table.c.seq))
        return [records.memory_of(row) for row in rows.mappings()]

    def of_key(self, connection: sa.Connection, key: str) -> list[Memory]:
        """The memories of a key that are neither superseded nor forgotten."""
        return self.select(connection, schema.memories.c.key == key, schema.memories.c.status.not_in(GONE))

    def older(self, connection: sa.Connection, newest: Sequence[Memory]) -> list[Memory]:
        """These memories, and all that they superseded, but what a rollback brought back."""
        found, table = {m.id: m for m in newest}, schema.memories
        last = list(found)
        while last:
            older: list[Memory] = []
            for start in range(0, len(last), SLICE):
                theirs = table.c.superseded_by.in_(last[start : start + SLICE])
                older += self.select(connection, theirs, table.c.status.in_(GONE))
            last = [m.id for m in older if m.id not in found]
            found |= {m.id: m for m in older if m.id not in found}
        return list(found.values())

    def one(self, connection: sa.Connection, memory_id: str) -> Memory:
        """The memory with that id, or the only one whose id begins with it (four characters or more: one slips easily).

        Raises NotFoundError.
        """
        ids = schema.memories.c.id
        if found := self.select(connection, ids == memory_id):
            return found[0]
        if memory_id:
            found = self.select(connection, ids.startswith(memory_id.lower(), autoescape=True))
        if len(found) == 1 and len(memory_id) >= _SHORTEST:
            return found[0]
        known = connection.scalars(sa.select(ids).where(self.here(schema.memories)))
        raise NotFoundError(not_found("memory", memory_id, [m.id for m in found], known))

    def newest(self, connection: sa.Connection, memory: Memory) -> Memory:
        """What took the place of a superseded memory, last of all; any other memory itself."""
        seen = {memory.id}
        while memory.status == "superseded" and memory.superseded_by not in (None, *seen):
            memory = self.one(connection, str(memory.superseded_by))
            seen.add(memory.id)
        return memory

    def take_place(self, connection: sa.Connection, newer: Sequence[Memory], actor: str) -> list[Memory]:
        """Supersedes what else is live under the keys of these, which became live; what it was."""
        newest = {m.key: m.id for m in newer}
        live = self.select(connection, schema.memories.c.status.in_(LIVE))
        older = [m for m in live if m.key in newest and m.id != newest[m.key]]
        for memory in older:
            self.move(connection, [memory], "superseded", newest[memory.key], actor)
        return older

    def move(self, connection: sa.Connection, moved: Iterable[Memory], new: Status, note: str, actor: str) -> None:
        """Changes the status of memories and writes it into their history. Raises TransitionError.

        One that was superseded before is so again by the same.
        """
        table = schema.memories
        for memory in moved:
            action = transition(memory.id, memory.status, new)
            values: dict[str, Any] = {"status": new, "reason": ""}
            why = note
            if new == "superseded":
                values["superseded_by"] = why = memory.superseded_by or note
            connection.execute(table.update().where(table.c.id == memory.id).values(values))
            self._note(connection, memory.id, action, memory.status, new, why, actor)

    def tie(self, connection: sa.Connection, memory: Memory, newer: str | None) -> None:
        """Says which memory superseded one, and nothing else."""
        table = schema.memories
        connection.execute(table.update().where(table.c.id == memory.id).values(superseded_by=newer))

    def status_before(self, connection: sa.Connection, memory: Memory) -> str | None:
        """What a memory was before it got its status; None where the history does not say."""
        events = schema.events
        changed = sa.select(events.c.old).where(
            events.c.memory_id == memory.id, events.c.new == memory.status, events.c.old != memory.status
        )
        return connection.scalar(changed.order_by(events.c.seq.desc()).limit(1))

    def _take_over(self, connection: sa.Connection, memory: Memory, held: Collection[Memory], actor: str) -> Memory:
        """What a rollback brought back is the newest word again, if it was said after what took its place."""
        if not (memory.came_back and held):
            return memory
        self.tie(connection, memory, None)
        self.move(connection, held, "superseded", memory.id, actor)
        return replace(memory, superseded_by=None)

    def _renew(self, connection: sa.Connection, memory: Memory, said: datetime) -> None:
        """Dates a memory that was said again by the last time that it was."""
        if said > said_at(memory):
            table = schema.memories
            renewed = table.update().where(table.c.id == memory.id).values(valid_from=said.isoformat())
            connection.execute(renewed)

    def _note(
        self, connection: sa.Connection, memory_id: str, action: str, old: Status | None, new: Status, note: str,
        actor: str,
    ) -> None:  # fmt: skip
        connection.execute(schema.events.insert().values(
            namespace=self.namespace, memory_id=memory_id, at=records.now().isoformat(), action=action, old=old,
            new=new, note=note, actor=actor,
        ))  # fmt: skip


def said_at(memory: Memory) -> datetime:
    """When it was said last."""
    return memory.valid_from or memory.created


def not_found(what: str, asked: str, several: list[str], known: Iterable[str]) -> str:
    """What is said when a name or the beginning of an id fits none or several, or is too short."""
    if several:
        begun = "several ids" if len(several) > 1 else "an id"
        return f"{asked!r} begins {begun} ({', '.join(several[:5])}): type more of it."
    names = list(known)
    close, newest = difflib.get_close_matches(asked, names, n=3, cutoff=0.3), names[-3:]
    hint = f"the {'closest' if close else 'newest'} are {', '.join(close or newest)}" if names else "there is none yet"
    return f"There is no {what} {asked!r}: {hint}."
