"""Memories as JSON Lines and back, history included: for backups, moves and other people's tools.

Knows the journal's tables. Versions travel as files of their own, with their memories in this form: see `adopt.py`.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import datetime
from itertools import chain
from typing import Any, get_args

import sqlalchemy as sa

from bakemem.errors import HomeCorruptError, InputError
from bakemem.memory import records, schema
from bakemem.memory.journal import Journal
from bakemem.memory.keys import check_storable, clean_key, clean_text
from bakemem.memory.records import Event
from bakemem.memory.transitions import LIVE
from bakemem.types import YEARS, Kind, Memory, Role, Status

FORMAT = "bakemem-memory-1"
IMPORT = "import"
ALIVE: frozenset[Status] = frozenset({"pending", "baked", "held"})
MAY_LACK = frozenset({"superseded_by", "valid_from", "old"})
_ID = re.compile(r"[0-9a-f]{8,64}")

Exported = tuple[Memory, list[Event]]
"""A memory with its history, as one line holds it."""


def export(journal: Journal, memory_ids: Collection[str] | None = None) -> Iterator[str]:
    """One line a memory (all, or these), oldest first: the memory, its provenance and its history; no tombstones.

    That it was imported stays out of the history: another home has only to know where it came from at first.
    """
    for memory in journal.memories():
        if memory.status != "forgotten" and (memory_ids is None or memory.id in memory_ids):
            row = records.memory_row(memory)
            del row["namespace"]
            history = [records.event_row(event) for event in journal.history(memory.id) if event.action != IMPORT]
            yield json.dumps({"format": FORMAT, **row, "history": history}, sort_keys=True)


def load(journal: Journal, lines: Iterable[str], redact: Callable[[str], str] = str) -> list[Memory]:
    """Takes exported memories in, all or none, under their own ids; those that are here already are left alone.

    What was baked or held elsewhere becomes pending, as no version here holds it; what is held there while another
    memory of its key is live, and not forgotten here, stays held. What was superseded by what is forgotten here is left
    out too. The history then says when it came.
    Text and turn of each are redacted. Raises InputError, which names the line, for what `redact` refuses and for
    anything that `export` would not have written.
    """
    parsed = parse(lines, journal.namespace, redact)
    with journal.write() as connection:
        gone = {m.id for m in journal.select(connection, schema.memories.c.status == "forgotten")}
        new = _unforgotten(unknown(connection, journal, parsed), gone)
        live, told = {m.key for m, _ in parsed if m.status in LIVE and m.id not in gone}, {m.id for m, _ in parsed}
        for memory, history in new:
            held = memory.status == "held" and memory.key in live
            if not held:
                _check_rivals(connection, journal, memory, told)
            status: Status = "pending" if memory.status in ALIVE and not held else memory.status
            came = Event(memory.id, records.now(), IMPORT, memory.status, status, actor="operator")
            insert(connection, dataclasses.replace(memory, status=status), [*history, came])
        link(connection, journal, [memory for memory, _ in new])
        return [journal.one(connection, memory.id) for memory, _ in new]


def parse(lines: Iterable[str], namespace: str, redact: Callable[[str], str] = str) -> list[Exported]:
    """The memories in exported lines, as of this namespace, redacted. Raises InputError, which names the line."""
    parsed = [_parse(line, n, namespace, redact) for n, line in enumerate(lines, start=1) if line.strip()]
    if len({memory.id for memory, _ in parsed}) < len(parsed):
        raise InputError("The same memory stands there twice. Nothing was taken in.")
    return parsed


# Inside a transaction


def unknown(connection: sa.Connection, journal: Journal, parsed: Iterable[Exported]) -> list[Exported]:
    """Those that are not here yet. Raises InputError for one that is in another namespace of this home."""
    every = connection.execute(sa.select(schema.memories.c.id, schema.memories.c.namespace))
    owners = {row.id: row.namespace for row in every}
    new = []
    for memory, history in parsed:
        if owners.get(memory.id, journal.namespace) != journal.namespace:
            raise InputError(f"Memory {memory.id} is in another namespace of this home. Nothing was taken in.")
        if memory.id not in owners:
            new.append((memory, history))
    return new


def _unforgotten(parsed: Sequence[Exported], forgotten: Collection[str]) -> list[Exported]:
    """Without those that would have been forgotten with what superseded them, had they been here."""
    gone = set(forgotten)
    older = [memory for memory, _ in parsed if memory.status == "superseded"]
    while more := {m.id for m in older if m.superseded_by in gone} - gone:
        gone |= more
    return [(memory, history) for memory, history in parsed if memory.id not in gone]


def insert(connection: sa.Connection, memory: Memory, history: Sequence[Event]) -> None:
    """Writes a memory and its history; `link` says later what superseded it."""
    row = {**records.memory_row(memory), "superseded_by": None}
    connection.execute(schema.memories.insert().values(row))
    rows = [{**records.event_row(e), "memory_id": memory.id, "namespace": memory.namespace} for e in history]
    if rows:
        connection.execute(schema.events.insert(), rows)


def link(connection: sa.Connection, journal: Journal, inserted: Iterable[Memory]) -> None:
    """Ties inserted memories to those that superseded them, where these are here: to be called when all are there."""
    table = schema.memories
    here = set(connection.scalars(sa.select(table.c.id).where(journal.here(table), table.c.status != "forgotten")))
    for memory in inserted:
        if memory.superseded_by in here:
            journal.tie(connection, memory, memory.superseded_by)


def _check_rivals(connection: sa.Connection, journal: Journal, memory: Memory, told: Collection[str]) -> None:
    """Raises InputError where another has its key, but for one of those that are `told` and held."""
    if memory.status in ALIVE:
        for rival in journal.of_key(connection, memory.key):
            if rival.status in ALIVE and not (rival.status == "held" and rival.id in told):
                raise InputError(
                    f"Memory {memory.id} has the key {memory.key}, which {rival.id} has here: forget or supersede one "
                    "of them first. Nothing was taken in."
                )


def _is_time(at: datetime | None) -> bool:
    return at is None or (at.tzinfo is not None and at.year in YEARS)


def _parse(line: str, n: int, namespace: str, redact: Callable[[str], str]) -> Exported:
    try:
        values: Any = json.loads(line)
        if not isinstance(values, dict) or values.pop("format", None) != FORMAT:
            raise ValueError(f"its format is not {FORMAT}")
        history = [records.event_of({"memory_id": values["id"], **event}) for event in values.pop("history")]
        memory = records.memory_of({**values, "namespace": namespace})
        events = [records.event_row(event) for event in history]
        for name, text in chain(values.items(), *(event.items() for event in events)):
            if not isinstance(text, str) and (text is not None or name not in MAY_LACK):
                raise ValueError(f"its {name} is no text")
            check_storable(text or "", "It")
        known = memory.kind in get_args(Kind) and memory.status in get_args(Status) and memory.status != "forgotten"
        if not known or clean_key(memory.key) != memory.key or clean_text(memory.text) != memory.text:
            raise ValueError("kind, status, key or text are not those of a memory")
        if memory.provenance.role not in get_args(Role):
            raise ValueError("nobody has that role")
        if not _ID.fullmatch(memory.id):
            raise ValueError("its id is not one that a memory has")
        if not all(_is_time(at) for at in (memory.created, memory.valid_from, *(event.at for event in history))):
            raise ValueError("one of its times has no zone, or is at the end of the calendar")
        if set(values) != {f.name for f in dataclasses.fields(Memory)} - {"namespace", "provenance"} | {
            f.name for f in dataclasses.fields(memory.provenance)
        }:
            raise ValueError("fields are missing or unknown")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, HomeCorruptError, InputError) as error:
        raise InputError(f"Line {n} is not an exported memory ({error}). Nothing was taken in.") from error
    try:
        if redact(memory.key) != memory.key:
            raise InputError("Its key holds what redaction takes out of a text: give it another one.")
        provenance = dataclasses.replace(memory.provenance, turn=redact(memory.provenance.turn))
        return dataclasses.replace(memory, text=clean_text(redact(memory.text)), provenance=provenance), history
    except InputError as error:
        raise InputError(f"Line {n}: {error} Nothing was taken in.") from error
