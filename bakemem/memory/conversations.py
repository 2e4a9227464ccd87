"""The log of conversations: what the user said, written before it is answered, and the reply, written after it.

Text is redacted before it is stored; what is forgotten leaves no row. Knows no model and no queue.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from bakemem.errors import InputError
from bakemem.memory import records, schema
from bakemem.memory.journal import Journal
from bakemem.memory.keys import check_storable, clean_conversation, storable
from bakemem.memory.turns import Claim
from bakemem.memory.unsaid import Unsaid

MAX_SAID = 1_000_000
_SLICE = 500  # numbers in one statement: some databases allow a thousand parameters


@dataclass(frozen=True, slots=True)
class Exchange:
    """What a user said, as it is kept, and the reply; None where there was none, or none that may be kept.

    `mark` is the number of the journal's last event when it was written, and known only then.
    """

    seq: int
    conversation: str
    text: str
    reply: str | None
    at: datetime
    mark: int = 0


class Conversations:
    """The logged conversations of one namespace; without `redact` text is kept as it is."""

    def __init__(self, journal: Journal, redact: Callable[[str], str] = str) -> None:
        self._journal, self._redact = journal, redact
        self._trying = set[int]()  # the exchanges that may yet be withdrawn

    def ask(self, conversation: str, text: str, *, trying: bool = False) -> Exchange:
        """Writes down what a user says; with `trying` it is not `unheard` before it was `tried`.

        Raises InputError when it is empty, too long, or must not be stored.
        """
        name, events, table = clean_conversation(conversation), schema.events, schema.exchanges
        if not text.strip():
            raise InputError("Nothing was said: say something.")
        if len(text) > MAX_SAID:
            raise InputError(f"The text has {len(text):,} characters; at most {MAX_SAID:,} can be said at once.")
        check_storable(text, "The text")
        at, kept = records.now(), self._redact(text)
        row = {"namespace": self._journal.namespace, "conversation": name, "text": kept, "at": at.isoformat()}
        with self._journal.write() as connection:
            mark = connection.scalar(sa.select(sa.func.max(events.c.seq)).where(self._journal.here(events)))
            seq = connection.execute(table.insert().values(row).returning(table.c.seq)).scalar_one()
            if trying:
                self._trying.add(seq)  # before anybody else sees the row
        return Exchange(seq, name, kept, None, at, mark or 0)

    def answer(self, asked: Exchange, reply: str) -> None:
        """Writes the reply down, unless redaction refuses it, or something was forgotten since, which it may quote."""
        events, table = schema.events, schema.exchanges
        try:
            kept = self._redact(storable(reply.replace("\0", "\N{REPLACEMENT CHARACTER}")))
        except InputError:
            return
        forgotten = sa.exists().where(self._journal.here(events), events.c.seq > asked.mark,
                                      events.c.new == "forgotten")  # fmt: skip
        with self._journal.write() as connection:
            connection.execute(table.update().where(table.c.seq == asked.seq, ~forgotten).values(reply=kept))

    def tried(self, asked: Exchange) -> None:
        """Lets everybody observe what is not withdrawn by now."""
        self._trying.discard(asked.seq)

    def withdraw(self, asked: Exchange) -> None:
        """Takes back what no model can answer."""
        with self._journal.write() as connection:
            connection.execute(schema.exchanges.delete().where(schema.exchanges.c.seq == asked.seq))

    def tail(self, conversation: str, most: int, first: int = 0) -> list[Exchange]:
        """The last exchanges, from a number on, at most so many, oldest first; reads no others."""
        table = schema.exchanges
        return self._some(most, table.c.conversation == conversation, table.c.seq >= first)

    def unheard(self) -> list[Exchange]:
        """What was not observed yet, in any conversation, oldest first; nothing that may yet be withdrawn."""
        return [e for e in self._some(None, schema.exchanges.c.heard.is_(False)) if e.seq not in self._trying]

    def claim(self, asked: Exchange) -> Claim:
        """Marks as heard within a transaction; says whether it was not heard before, and is still there."""
        table = schema.exchanges
        marked = table.update().where(table.c.seq == asked.seq, table.c.heard.is_(False)).values(heard=True)
        return lambda connection: connection.execute(marked).rowcount == 1

    def heard(self, asked: Exchange) -> None:
        """Marks what is not to be observed."""
        with self._journal.write() as connection:
            self.claim(asked)(connection)

    def _some(self, most: int | None, *where: sa.ColumnElement[bool]) -> list[Exchange]:
        table = schema.exchanges
        query = sa.select(table).where(self._journal.here(table), *where).order_by(table.c.seq.desc()).limit(most)
        with self._journal.read() as connection:
            rows = connection.execute(query).mappings()
            return [Exchange(row["seq"], row["conversation"], row["text"], row["reply"], records.time_of(row["at"]))
                    for row in rows][::-1]  # fmt: skip


def erase_exchanges(
    connection: sa.Connection, journal: Journal, unsaid: Unsaid, conversation: str | None, everything: bool
) -> None:
    """Deletes, within a transaction, the exchanges that hold what is forgotten, or a whole conversation, or all."""
    table = schema.exchanges
    if not (unsaid or everything or conversation is not None):
        return
    rows = connection.execute(sa.select(table).where(journal.here(table))).mappings()
    gone = [
        row["seq"] for row in rows
        if everything or row["conversation"] == conversation or unsaid.holds(row["text"])
        or unsaid.holds(row["reply"] or "")
    ]  # fmt: skip
    for start in range(0, len(gone), _SLICE):
        connection.execute(table.delete().where(table.c.seq.in_(gone[start : start + _SLICE])))
