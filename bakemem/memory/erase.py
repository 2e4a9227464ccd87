"""Forgetting in the journal: the text of a memory goes from every row that holds it, and a tombstone stays.

Knows no index, no versions' files and no weights; `AgentMemory.forget` sees to those.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

import sqlalchemy as sa

from bakemem.errors import InputError
from bakemem.memory import schema
from bakemem.memory.conversations import erase_exchanges
from bakemem.memory.heard import erase_heard
from bakemem.memory.journal import Journal
from bakemem.memory.memories import said_at
from bakemem.memory.turns import Observed
from bakemem.memory.unsaid import Unsaid
from bakemem.types import Memory


def forget(
    journal: Journal, memory_ids: Iterable[str] = (), *, conversation: str | None = None, source: str | None = None,
    everything: bool = False, actor: str = "operator", heard: Observed | None = None,
) -> list[Memory]:  # fmt: skip
    """Erase these memories, or all of a conversation, of a source, or of the namespace; the tombstones are returned.

    With a memory go those that it superseded, and what waits in the queue from there; of a source only what is its own:
    what that superseded of others is what it was before. So does each turn that waits or that another memory was said
    in, and each exchange of a logged conversation, that holds it (see `unsaid.py`). If the live version knows one of
    them the base takes its place, and the rest of what it knew returns to the prompt. `heard` is the observed turn that
    asked for it, which is read with that; what waits behind it was said later and stays. The texts are judged first, as
    nobody can write during the one transaction that all the rest is; then the file is compacted. Raises NotFoundError,
    and InputError for an empty name; HomeError also when all that is done, but not compacted.
    """
    if "" in (conversation, source):
        raise InputError("The name of a conversation or source is empty: that would be everything that has none.")
    ids = list(memory_ids)
    with journal.read() as connection:
        judged = _unsaid(_doomed(connection, journal, ids, conversation, source, everything), heard)
        texts = set[str]() if everything else _texts(connection, journal)
    for text in texts:
        judged.holds(text)
    with journal.write() as connection:
        doomed = _doomed(connection, journal, ids, conversation, source, everything)
        journal.unlearn(connection, [m.id for m in doomed])
        journal.move(connection, doomed, "forgotten", "", actor)
        _blank(connection, doomed)
        _untie(connection, journal, doomed, actor)
        unsaid = _unsaid(doomed, heard, judged)  # more may have come since
        _blank_turns(connection, journal, unsaid)
        _empty_queue(connection, journal, unsaid, heard, conversation, source, everything)
        erase_exchanges(connection, journal, unsaid, conversation, everything or source == "user")
        gone = (text for text in texts if unsaid.holds(text))
        erase_heard(connection, journal, gone, conversation, everything or source == "user")
        connection.execute(schema.jobs.update().where(journal.here(schema.jobs)).values(detail=""))  # may quote one
        gone_versions = journal.here(schema.versions) & (schema.versions.c.gone != "")
        connection.execute(schema.versions.update().where(gone_versions).values(prompt_sha256=""))  # an older bakemem's
        tombstones = [journal.one(connection, m.id) for m in doomed]
    journal.compact()
    return tombstones


def _doomed(
    connection: sa.Connection, journal: Journal, memory_ids: Iterable[str], conversation: str | None,
    source: str | None, everything: bool,
) -> list[Memory]:  # fmt: skip
    table = schema.memories
    chosen = [journal.one(connection, i) for i in memory_ids]
    if conversation is not None:
        chosen += journal.select(connection, table.c.conversation == conversation)
    if everything:
        chosen += journal.select(connection)
    doomed = {m.id: m for m in journal.older(connection, chosen)}
    if source is not None:  # what a source superseded is not its own
        doomed |= {m.id: m for m in journal.select(connection, table.c.source == source)}
    return [m for m in doomed.values() if m.status != "forgotten"]


def _unsaid(doomed: Collection[Memory], heard: Observed | None, before: Unsaid | None = None) -> Unsaid:
    said = {m.provenance.turn for m in doomed}
    asked = {heard.turn.content} if heard is not None else set()
    known = [m for m in doomed if m.status != "quarantined"]  # nothing rests on what was never believed
    return Unsaid(known, said | asked, before)


def _texts(connection: sa.Connection, journal: Journal) -> set[str]:
    """All that may hold what is forgotten."""
    columns = (schema.memories.c.turn, schema.turns.c.content, schema.exchanges.c.text, schema.exchanges.c.reply)
    rows = (connection.scalars(sa.select(c).where(journal.here(c.table))) for c in columns)
    return {text or "" for texts in rows for text in texts}


def _blank(connection: sa.Connection, doomed: Collection[Memory]) -> None:
    table, events = schema.memories, schema.events
    nothing = {"key": "", "text": "", "source": "", "conversation": "", "turn": "", "reason": ""}
    for memory in doomed:
        connection.execute(table.update().where(table.c.id == memory.id).values(nothing))
        connection.execute(events.update().where(events.c.memory_id == memory.id).values(note=""))


def _untie(connection: sa.Connection, journal: Journal, doomed: Collection[Memory], actor: str) -> None:
    """What had taken the place of others is forgotten and they are not: what came after it has their place, or they
    are what they were before.
    """
    table, gone, free = schema.memories, {m.id: m for m in doomed}, list[Memory]()
    for memory in journal.select(connection, table.c.superseded_by.is_not(None), table.c.status != "forgotten"):
        newer, passed = memory.superseded_by, set[str]()
        while newer in gone and newer not in passed:  # a damaged home may have a circle
            passed.add(newer)
            newer = gone[newer].superseded_by
        if passed:
            newer = None if newer in passed else newer
            journal.tie(connection, memory, newer)
            free += [memory] if newer is None and memory.status == "superseded" else []
    for memory in sorted(free, key=said_at, reverse=True):
        journal.restore(connection, journal.one(connection, memory.id), actor)


def _blank_turns(connection: sa.Connection, journal: Journal, unsaid: Unsaid) -> None:
    """Others may have been said in the same breath, or in words that tell it too."""
    table = schema.memories
    kept = sa.select(table.c.seq, table.c.turn).where(journal.here(table), table.c.turn != "")
    for seq, turn in connection.execute(kept).all():
        if unsaid.holds(turn):
            connection.execute(table.update().where(table.c.seq == seq).values(turn=""))


def _empty_queue(
    connection: sa.Connection, journal: Journal, unsaid: Unsaid, heard: Observed | None, conversation: str | None,
    source: str | None, everything: bool,
) -> None:  # fmt: skip
    table = schema.turns
    for row in connection.execute(sa.select(table).where(journal.here(table))).mappings().all():
        from_there = everything or row["conversation"] == conversation or row["source"] == source
        later = heard is not None and row["seq"] > heard.seq  # a new word, which may tell what holds now
        if from_there or (not later and unsaid.holds(row["content"])):
            connection.execute(table.delete().where(table.c.seq == row["seq"]))
