"""A version of another home in the journal, with the memories that it holds: one transaction, and nothing serves more.

Knows the journal and the exported form of memories; the version's files are in their place before this.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence

import sqlalchemy as sa

from bakemem.errors import InputError
from bakemem.memory import records, schema
from bakemem.memory.journal import Journal
from bakemem.memory.portable import ALIVE, Exported, insert, link, parse, unknown
from bakemem.memory.records import Event
from bakemem.types import Memory, Version


def adopt(
    journal: Journal, version: Version, lines: Iterable[str], redact: Callable[[str], str] = str
) -> None:  # fmt: skip
    """Records a version and takes in its memories, which are the exported `lines`; it does not become live.

    Its memories arrive held, with their history: a rollback to the version makes them baked. What was superseded there
    stays so, and what another memory has the key of here is superseded by that one until such a rollback holds it.
    Memories that are here already stay as they are. `redact` may refuse a text but must not change one: the version
    learned it as it is. Raises InputError, and changes nothing, when the lines are not the version's memories, when one
    is refused, differs from what is here under its id or waits in quarantine, or when it would bring back what was
    forgotten.
    """
    parsed = parse(lines, journal.namespace, redact)
    if {memory.id for memory, _ in parsed} != set(version.memory_ids):
        raise InputError("The memories in the file are not those of its version. Nothing was taken in.")
    with journal.write() as connection:
        new = unknown(connection, journal, parsed)
        _check_forgotten(connection, journal, version, new)
        for memory, _ in parsed:
            _check_same(connection, journal, memory)
        arrived = [_arrive(connection, journal, version.name, *exported) for exported in new]
        link(connection, journal, arrived)
        journal.add_version(connection, version)


def _check_forgotten(
    connection: sa.Connection, journal: Journal, version: Version, new: Sequence[Exported]
) -> None:  # fmt: skip
    forgotten = {m.id for m in journal.select(connection, schema.memories.c.status == "forgotten")}
    told = {*version.memory_ids, *(memory.superseded_by for memory, _ in new if memory.status == "superseded")}
    if forgotten & told or version.parent in journal.learned(connection, forgotten):
        raise InputError(
            "This version learned what was forgotten here: it would bring that back. Nothing was taken in."
        )


def _check_same(connection: sa.Connection, journal: Journal, memory: Memory) -> None:
    if memory.status == "quarantined":
        raise InputError(f"Memory {memory.id} was never approved: no version holds such. Nothing was taken in.")
    for known in journal.select(connection, schema.memories.c.id == memory.id):
        if (known.kind, known.key, known.text) != (memory.kind, memory.key, memory.text):
            raise InputError(f"Memory {memory.id} says something else here than in the file. Nothing was taken in.")
        if known.status == "quarantined":
            raise InputError(f"Memory {memory.id} is in quarantine here: approve or reject it. Nothing was taken in.")


def _arrive(connection: sa.Connection, journal: Journal, name: str, memory: Memory, history: list[Event]) -> Memory:
    rival = next((m.id for m in journal.of_key(connection, memory.key) if m.status in ALIVE), None)
    if memory.status == "superseded":
        arrived = memory
    elif rival is not None:
        arrived = dataclasses.replace(memory, status="superseded", superseded_by=rival, reason="")
    else:
        arrived = dataclasses.replace(memory, status="held", superseded_by=None, reason="")
    taken_in = Event(memory.id, records.now(), "unpack", memory.status, arrived.status, name, "operator")
    insert(connection, arrived, [*history, taken_in])
    return arrived
