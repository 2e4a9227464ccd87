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


def _to_3(connection: sa.Connection) -> None:
    """Why a version is gone; what a query needs so that it does not read a whole namespace."""
    connection.execute(sa.text("ALTER TABLE versions ADD COLUMN gone VARCHAR DEFAULT '' NOT NULL"))
    for name, on in (
        ("memories_by_id", "memories (namespace, id)"),
        ("memories_by_newer", "memories (namespace, superseded_by)"),
        ("memories_by_source", "memories (namespace, source, created)"),
        ("events_by_namespace", "events (namespace, seq)"),
    ):
        connection.execute(sa.text(f"CREATE INDEX {name} ON {on}"))


def _jobs(connection: sa.Connection) -> None:
    """The table of the schedule's jobs: it is new, so there is nothing to change."""


def _conversations(connection: sa.Connection) -> None:
    """The log of conversations, a new table."""


def _heard(connection: sa.Connection) -> None:
    """What was heard of agents' threads, a new table."""


MIGRATIONS: tuple[Callable[[sa.Connection], None], ...] = (_to_2, _to_3, _jobs, _conversations, _heard)
"""The n-th (from 0) takes a journal of schema n + 1 to n + 2. New tables are made beside them."""
