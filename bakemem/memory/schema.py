"""The tables of the journal, how its database is opened, and how its errors become ours.

Knows SQL and SQLite's habits; knows nothing of what a status or a version means.
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from bakemem.errors import HomeCorruptError, HomeError, InputError
from bakemem.memory.migrations import MIGRATIONS

SCHEMA_VERSION = 1 + len(MIGRATIONS)
_VERSION = "schema_version"
PATIENCE = 10_000  # milliseconds to wait for whoever writes

TABLES = sa.MetaData()

meta = sa.Table("meta", TABLES, sa.Column("name", sa.String, primary_key=True), sa.Column("value", sa.String))

memories = sa.Table(
    "memories", TABLES,
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("id", sa.String, nullable=False, unique=True),
    sa.Column("namespace", sa.String, nullable=False),
    sa.Column("kind", sa.String, nullable=False),
    sa.Column("key", sa.String, nullable=False),
    sa.Column("text", sa.String, nullable=False),
    sa.Column("status", sa.String, nullable=False),
    sa.Column("created", sa.String, nullable=False),
    sa.Column("role", sa.String, nullable=False),
    sa.Column("source", sa.String, nullable=False),
    sa.Column("conversation", sa.String, nullable=False),
    sa.Column("turn", sa.String, nullable=False),
    sa.Column("extractor", sa.String, nullable=False),
    sa.Column("superseded_by", sa.ForeignKey("memories.id")),
    sa.Column("valid_from", sa.String),
    sa.Column("reason", sa.String, nullable=False, server_default=""),
    sa.Index("memories_by_status", "namespace", "status"),
    sa.Index("memories_by_key", "namespace", "key"),
    sa.Index("memories_by_id", "namespace", "id"),
    sa.Index("memories_by_newer", "namespace", "superseded_by"),
    sa.Index("memories_by_source", "namespace", "source", "created"),
)  # fmt: skip

events = sa.Table(
    "events", TABLES,
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("namespace", sa.String, nullable=False),
    sa.Column("memory_id", sa.ForeignKey("memories.id"), nullable=False, index=True),
    sa.Column("at", sa.String, nullable=False),
    sa.Column("action", sa.String, nullable=False),
    sa.Column("old", sa.String),
    sa.Column("new", sa.String, nullable=False),
    sa.Column("note", sa.String, nullable=False),
    sa.Column("actor", sa.String, nullable=False, server_default=""),
    sa.Index("events_by_namespace", "namespace", "seq"),
)  # fmt: skip

turns = sa.Table(
    "turns", TABLES,
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("namespace", sa.String, nullable=False, index=True),
    sa.Column("conversation", sa.String, nullable=False),
    sa.Column("role", sa.String, nullable=False),
    sa.Column("source", sa.String, nullable=False),
    sa.Column("content", sa.String, nullable=False),
    sa.Column("at", sa.String, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
    sa.Column("error", sa.String, nullable=False, server_default=""),
    sqlite_autoincrement=True,  # a number that was free again would be taken for the turn that had it
)  # fmt: skip
"""What was observed and is not read yet: a row leaves when the memories in it are kept."""

exchanges = sa.Table(
    "exchanges", TABLES,
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("namespace", sa.String, nullable=False),
    sa.Column("conversation", sa.String, nullable=False),
    sa.Column("text", sa.String, nullable=False),
    sa.Column("reply", sa.String),
    sa.Column("at", sa.String, nullable=False),
    sa.Column("heard", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Index("exchanges_by_conversation", "namespace", "conversation", "seq"),
    sa.Index("exchanges_by_heard", "namespace", "heard", "seq"),
    sqlite_autoincrement=True,  # as in `turns`
)  # fmt: skip
"""What a user said in a conversation, and the reply, if there was one. `heard`: it was observed already."""

heard = sa.Table(
    "heard", TABLES,
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("namespace", sa.String, nullable=False),
    sa.Column("conversation", sa.String, nullable=False),
    sa.Column("message", sa.String, nullable=False),
    sa.Column("words", sa.String, nullable=False),
    sa.Index("heard_by_message", "namespace", "conversation", "message"),
)  # fmt: skip
"""The messages of agents' threads that were observed, each in its wordings (see `heard.py`)."""

versions = sa.Table(
    "versions", TABLES,
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("namespace", sa.String, nullable=False),
    sa.Column("name", sa.String, nullable=False),
    sa.Column("id", sa.String, nullable=False),
    sa.Column("parent", sa.String),
    sa.Column("status", sa.String, nullable=False),
    sa.Column("created", sa.String, nullable=False),
    sa.Column("prompt_sha256", sa.String, nullable=False),
    sa.Column("folder", sa.String, nullable=False),
    sa.Column("base_fingerprint", sa.String, nullable=False),
    sa.Column("report", sa.String, nullable=False),
    sa.Column("settings", sa.String, nullable=False),
    sa.Column("gone", sa.String, nullable=False, server_default=""),
    sa.UniqueConstraint("namespace", "name"),
)  # fmt: skip

version_memories = sa.Table(
    "version_memories", TABLES,
    sa.Column("version", sa.ForeignKey("versions.seq"), primary_key=True),
    sa.Column("place", sa.Integer, primary_key=True),
    sa.Column("memory_id", sa.ForeignKey("memories.id"), nullable=False, index=True),
)  # fmt: skip

reflog = sa.Table(
    "reflog", TABLES,
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("namespace", sa.String, nullable=False, index=True),
    sa.Column("at", sa.String, nullable=False),
    sa.Column("action", sa.String, nullable=False),
    sa.Column("old", sa.String),
    sa.Column("new", sa.String),
)  # fmt: skip

pointers = sa.Table(
    "pointers", TABLES,
    sa.Column("namespace", sa.String, primary_key=True),
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("version", sa.String),
)  # fmt: skip


copies = sa.Table(
    "copies", TABLES,
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("namespace", sa.String, nullable=False, index=True),
    sa.Column("at", sa.String, nullable=False),
    sa.Column("what", sa.String, nullable=False),
    sa.Column("place", sa.String, nullable=False),
)  # fmt: skip
"""What was exported, and where to: an erasure cannot reach it, and says so."""

receipts = sa.Table(
    "receipts", TABLES,
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("namespace", sa.String, nullable=False, index=True),
    sa.Column("at", sa.String, nullable=False),
    sa.Column("receipt", sa.String, nullable=False),
)  # fmt: skip
"""What an erasure removed and how that was checked, as JSON without any text of what was erased."""

jobs = sa.Table(
    "jobs", TABLES,
    sa.Column("namespace", sa.String, primary_key=True),
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("started", sa.String, nullable=False),
    sa.Column("ended", sa.String),
    sa.Column("outcome", sa.String, nullable=False),
    sa.Column("detail", sa.String, nullable=False),
    sa.Column("failures", sa.Integer, nullable=False),
)  # fmt: skip
"""The last run of each job of the schedule."""


def shown(place: str | Path) -> str:
    """A journal's path or URL, or a driver's word on it, as messages have it: without the password."""
    return re.sub(r"(://[^:/@]*:).*@", r"\1***@", str(place))


def open_engine(place: str | Path, readonly: bool) -> sa.Engine:
    """An engine over the journal at a path or SQLAlchemy URL, whose tables are made when it is new and not `readonly`.

    A journal of an older bakemem is brought up to date first, for a reader too. Raises HomeError when a newer bakemem
    wrote it or the database's driver is missing, HomeCorruptError when it is not a journal.
    """
    engine = _engine(place, readonly)
    try:
        if not readonly:
            _bring_up_to_date(engine)
        if not _check(engine, place):
            open_engine(place, readonly=False).dispose()
    except BaseException:
        engine.dispose()
        raise
    return engine


def _engine(place: str | Path, readonly: bool) -> sa.Engine:
    if isinstance(place, str) and "://" in place:
        engine = _server(place)
    else:
        path = f"file:{quote(os.fsencode(Path(place).absolute()))}" if readonly else str(place)
        frozen = {"immutable": "1"} if readonly and _is_frozen(Path(place)) else {}
        query = {"mode": "ro", "uri": "true", **frozen} if readonly else {}
        url = sa.URL.create("sqlite", database=path, query=query)
        # A connection opens two files, and each namespace has an engine: it keeps one, others end with their use.
        engine = sa.create_engine(url, pool_size=1, max_overflow=-1, hide_parameters=True)
    if engine.dialect.name == "sqlite":
        sa.event.listen(engine, "connect", _read_only if readonly else _read_write)
        sa.event.listen(engine, "begin", _begin)
    return engine


def _is_frozen(path: Path) -> bool:
    """Whether no writer has it open, and the files that a reader shares with one cannot be made beside it."""
    effective = os.access in os.supports_effective_ids
    return not Path(f"{path}-wal").exists() and not os.access(path.parent, os.W_OK, effective_ids=effective)


def _server(url: str) -> sa.Engine:
    try:
        return sa.create_engine(url, hide_parameters=True)
    except ImportError as error:
        raise HomeError(
            f"The journal {shown(url)} needs a database driver that cannot be imported ({error}): install it, such as "
            "`pip install 'psycopg[binary]'` for PostgreSQL."
        ) from error


def _read_only(connection: Any, _: Any) -> None:
    connection.isolation_level = None  # the driver's own BEGIN would come too late: see _begin
    connection.execute(f"PRAGMA busy_timeout={PATIENCE}")


def _read_write(connection: Any, _: Any) -> None:
    _read_only(connection, _)
    connection.execute("PRAGMA journal_mode=WAL")  # readers go on beside the writer
    connection.execute("PRAGMA synchronous=FULL")  # what is acknowledged survives a power cut
    connection.execute("PRAGMA foreign_keys=ON")
    connection.execute("PRAGMA secure_delete=ON")


def _begin(connection: sa.Connection) -> None:
    # A reader that turns into a writer can fail at once in WAL mode, whatever the timeout: so say it at the start.
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _bring_up_to_date(engine: sa.Engine) -> None:
    """Make the tables of a new journal, or take an older one through the steps that it lacks: all or none."""
    with engine.begin() as connection:
        if _version(connection) == SCHEMA_VERSION:
            return  # without waiting for whoever writes
    with engine.execution_options(writes=True).begin() as connection:
        new = not sa.inspect(connection).get_table_names()
        found = SCHEMA_VERSION if new else _version(connection)
        if found is None or found > SCHEMA_VERSION:
            return  # `_check` says what is wrong
        TABLES.create_all(connection)
        if new:
            connection.execute(meta.insert().values(name=_VERSION, value=str(SCHEMA_VERSION)))
        elif found < SCHEMA_VERSION:
            for step in MIGRATIONS[found - 1 :]:
                step(connection)
            connection.execute(meta.update().where(meta.c.name == _VERSION).values(value=str(SCHEMA_VERSION)))


def _version(connection: sa.Connection) -> int | None:
    if not sa.inspect(connection).has_table(meta.name):
        return None
    found = connection.scalar(sa.select(meta.c.value).where(meta.c.name == _VERSION))
    return int(str(found)) if re.fullmatch("[1-9][0-9]{0,8}", str(found)) else None


def _check(engine: sa.Engine, place: str | Path) -> bool:
    """Whether the journal is up to date. Raises when it is no journal, or one of a newer bakemem."""
    with engine.begin() as connection:
        found = _version(connection)
    if found is None:
        raise HomeCorruptError(f"{shown(place)} is not a journal of bakemem: put a copy of the journal in its place.")
    if found > SCHEMA_VERSION:
        raise HomeError(f"{shown(place)} was written by a newer bakemem (schema {found}): upgrade bakemem to open it.")
    return found == SCHEMA_VERSION


_DAMAGED = ("malformed", "not a database", "no such table", "no such column", "corrupt", "could not decode")
_ADVICE = (
    (("full",), "free disk space and try again; nothing was changed"),
    (("readonly", "read-only"), "give write permission to the memory home and try again"),
    (("locked", "busy"), "another program is writing to it: try again, or close that program"),
    (("unable to open",), "check that the memory home exists and that you may write to it"),
)


@contextmanager
def translated(place: str | Path) -> Iterator[None]:
    """Turns the database's errors into HomeCorruptError and HomeError, with what to do next; InputError for text that
    no database can hold.
    """
    try:
        yield
    except UnicodeEncodeError as error:
        raise InputError(
            f"{error.object[:60]!r} holds half a surrogate pair, as of a byte that is not UTF-8: remove it."
        ) from error
    except (SQLAlchemyError, sqlite3.Error) as error:
        what, _, _ = shown(str(getattr(error, "orig", None) or error)).partition(" with text ")  # somebody's words
        if any(sign in what.lower() for sign in _DAMAGED):
            raise HomeCorruptError(
                f"The journal {shown(place)} is damaged ({what}): restore it from a backup; nothing was changed."
            ) from error
        advice = next((text for signs, text in _ADVICE if any(s in what for s in signs)), "nothing was changed")
        raise HomeError(f"The journal {shown(place)} cannot be used ({what}): {advice}.") from error
