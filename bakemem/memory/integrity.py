"""Whether the database itself is sound, and whose memories are in it.

Knows SQL; what rows mean, `upkeep.py` asks the journal.
"""

from __future__ import annotations

import sqlalchemy as sa

from bakemem.memory import schema
from bakemem.memory.database import Database

MOST = 20


def faults(database: Database) -> list[str]:
    """What SQLite finds wrong in its file and between its tables, at most 20 of each; other databases see to that.

    Raises HomeCorruptError when it is too damaged to say.
    """
    with database.read() as connection:
        if connection.dialect.name != "sqlite":
            return []
        found = [str(row[0]) for row in connection.exec_driver_sql(f"PRAGMA integrity_check({MOST})")]
        strays = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchmany(MOST)
    broken = [] if found == ["ok"] else [line for text in found for line in text.splitlines()]
    return broken + [f"row {row} of {table} points to nothing in {parent}" for table, row, parent, _ in strays]


def namespaces(database: Database) -> list[str]:
    """The namespaces of which something is kept, in the order of the alphabet."""
    tables = (schema.memories, schema.versions, schema.turns, schema.exchanges, schema.reflog)
    with database.read() as connection:
        return sorted(connection.scalars(sa.union(*(sa.select(table.c.namespace) for table in tables))))
