"""Which messages were observed, in which wording: each once, however often an agent's thread is run again from before.

Keeps no text, and of a text too little to tell what it was. Knows no queue's rows and no agents.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import sqlalchemy as sa

from bakemem.memory import schema
from bakemem.memory.database import Database
from bakemem.memory.keys import check_storable
from bakemem.memory.turns import Claim
from bakemem.types import Turn

_ANY = ""  # of what is forgotten not even that much stays, and no wording of the message is heard again


def once(database: Database, conversation: str, message_id: str, turns: Sequence[Turn]) -> Claim:
    """Marks a message of these turns as heard within a transaction; says whether it was not, in these words.

    Raises InputError for an id that cannot be stored.
    """
    check_storable(message_id, "A message's id")
    table, words = schema.heard, {_words(turn.content) for turn in turns}
    row = {"namespace": database.namespace, "conversation": conversation, "message": message_id}
    same = sa.select(table.c.words).where(
        database.here(table), table.c.conversation == conversation, table.c.message == message_id
    )

    def claim(connection: sa.Connection) -> bool:
        known = set(connection.scalars(same))
        if _ANY in known or words <= known:
            return False
        connection.execute(table.insert(), [{**row, "words": new} for new in words - known])
        return True

    return claim


def erase_heard(
    connection: sa.Connection, database: Database, texts: Iterable[str], conversation: str | None, everything: bool
) -> None:
    """Blanks, within a transaction, what is known of these texts; a whole conversation, or all, is not known at all."""
    table, words = schema.heard, {_words(text) for text in texts}
    if everything or conversation is not None:
        there = sa.true() if everything else table.c.conversation == conversation
        connection.execute(table.delete().where(database.here(table), there))
    rows = sa.select(table.c.seq, table.c.words).where(database.here(table), table.c.words != _ANY)
    for seq, kept in connection.execute(rows).all() if words else ():
        if kept in words:
            connection.execute(table.update().where(table.c.seq == seq).values(words=_ANY))


def _words(text: str) -> str:
    """Four digits: enough to see that a message reads otherwise, and too few to hold a guess against."""
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:4]
