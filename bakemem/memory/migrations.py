"""How an older journal is brought up to date, one step a schema version; a step only adds, so older readers go on.

Knows tables and columns, not what they mean.
"""

from __future__ import annotations

from collections.abc import Callable

import sqlalchemy as sa


def _to_2(connection: sa.Connection) -> None:
    """The queue of observed turns; when a memory began to hold; why it is in quarantine; who did what."""
    for table, column in (
        ("memories", "valid_from VARCHAR"),
        ("memories", "reason VARCHAR DEFAULT '' NOT NULL"),
        ("events", "actor VARCHAR DEFAULT '' NOT NULL"),
    ):
        connection.execute(sa.text(f"ALTER TABLE {table} ADD COLUMN {column}"))
    connection.execute(sa.text("UPDATE memories SET valid_from = created"))


MIGRATIONS: tuple[Callable[[sa.Connection], None], ...] = (_to_2,)
"""The n-th (from 0) takes a journal of schema n + 1 to n + 2. New tables are made beside them."""
