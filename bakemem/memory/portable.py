"""Memories as JSON Lines and back, history included: for backups, moves and other people's tools.

Knows the journal's tables. Versions stay behind: their weights are files of their own.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator
from typing import Any, get_args

import sqlalchemy as sa

from bakemem.errors import HomeCorruptError, InputError
from bakemem.memory import records, schema
from bakemem.memory.journal import Journal
from bakemem.memory.keys import check_storable, clean_key, clean_text
from bakemem.types import Kind, Memory, Role, Status

FORMAT = "bakemem-memory-1"
ALIVE: frozenset[Status] = frozenset({"pending", "baked", "held"})


def export(journal: Journal) -> Iterator[str]:
    """One line a memory, oldest first: the memory, its provenance and its history. Tombstones are left out."""
    for memory in journal.memories():
        if memory.status != "forgotten":
            row = records.memory_row(memory)
            del row["namespace"]
            history = [records.event_row(event) for event in journal.history(memory.id)]
            yield json.dumps({"format": FORMAT, **row, "history": history}, sort_keys=True)


def load(journal: Journal, lines: Iterable[str]) -> list[Memory]:
    """Takes exported memories in, all or none, under their own ids; those that are here already are left alone.

    What was baked or held elsewhere becomes pending, as no version here holds it. Raises InputError, which names the
    line, for anything that `export` would not have written.
    """
    parsed = [_parse(line, n, journal.namespace) for n, line in enumerate(lines, start=1) if line.strip()]
    if len({memory.id for memory, _ in parsed}) < len(parsed):
        raise InputError("The same memory stands there twice. Nothing was taken in.")
    with journal.write() as connection:
        every = connection.execute(sa.select(schema.memories.c.id, schema.memories.c.namespace))
        owners = {row.id: row.namespace for row in every}
        if foreign := [m.id for m, _ in parsed if owners.get(m.id, journal.namespace) != journal.namespace]:
            raise InputError(f"Memory {foreign[0]} is in another namespace of this home. Nothing was taken in.")
        new = [(memory, history) for memory, history in parsed if memory.id not in owners]
        here = {m.id for m, _ in new} | {i for i, owner in owners.items() if owner == journal.namespace}
        for memory, history in new:
            _check_rivals(connection, journal, memory)
            alive = {"status": "pending" if memory.status in ALIVE else memory.status, "superseded_by": None}
            connection.execute(schema.memories.insert().values({**records.memory_row(memory), **alive}))
            rows = [{**records.event_row(e), "memory_id": memory.id, "namespace": journal.namespace} for e in history]
            if rows:
                connection.execute(schema.events.insert(), rows)
        for memory, _ in new:  # now that all are there
            if memory.superseded_by in here:
                named = schema.memories.c.id == memory.id
                connection.execute(schema.memories.update().where(named).values(superseded_by=memory.superseded_by))
        return [journal.one(connection, memory.id) for memory, _ in new]


def _check_rivals(connection: sa.Connection, journal: Journal, memory: Memory) -> None:
    if memory.status in ALIVE:
        for rival in journal.of_key(connection, memory.key):
            if rival.status in ALIVE:
                raise InputError(
                    f"Memory {memory.id} has the key {memory.key}, which {rival.id} has here: forget or supersede one "
                    "of them first. Nothing was taken in."
                )


def _parse(line: str, n: int, namespace: str) -> tuple[Memory, list[records.Event]]:
    try:
        values: dict[str, Any] = json.loads(line)
        if values.pop("format") != FORMAT:
            raise ValueError(f"its format is not {FORMAT}")
        history = [records.event_of({"memory_id": values["id"], **event}) for event in values.pop("history")]
        memory = records.memory_of({**values, "namespace": namespace})
        for text in (*values.values(), *(v for event in history for v in records.event_row(event).values())):
            if text is not None:
                check_storable(text, "It")
        known = memory.kind in get_args(Kind) and memory.status in get_args(Status) and memory.status != "forgotten"
        if not known or clean_key(memory.key) != memory.key or clean_text(memory.text) != memory.text:
            raise ValueError("kind, status, key or text are not those of a memory")
        if memory.provenance.role not in get_args(Role):
            raise ValueError("nobody has that role")
        if set(values) != {f.name for f in dataclasses.fields(Memory)} - {"namespace", "provenance"} | {
            f.name for f in dataclasses.fields(memory.provenance)
        }:
            raise ValueError("fields are missing or unknown")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, HomeCorruptError, InputError) as error:
        raise InputError(f"Line {n} is not an exported memory ({error}). Nothing was taken in.") from error
    return memory, history
