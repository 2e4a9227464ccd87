"""One SQL database and one namespace in it: transactions, and the condition that keeps namespaces apart.

Knows no memories and no versions: `memories.py`, `journal.py` and `turns.py` are built on it.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from bakemem.errors import CLOSED, HomeError
from bakemem.memory import schema
from bakemem.memory.keys import clean_namespace


class Database:
    """A journal's file (or any SQLAlchemy URL), opened for one namespace; methods may be called from several threads.

    Every method of it and of what is built on it raises HomeCorruptError when the database is damaged and HomeError
    when it cannot be used (full disk, no permission, closed, in a forked process); then nothing has changed, but for
    what `compact` says.
    """

    def __init__(
        self, place: str | Path, namespace: str = "default", *, readonly: bool = False, root: Path | None = None
    ) -> None:
        """Opens the journal at a path (or an SQLAlchemy URL), and makes it when it is new and not `readonly`.

        `root` is the home, which paths in the journal are relative to; without it the folder of `place`.
        Raises InputError for a bad namespace, HomeError when a read-only journal does not exist or when a newer
        bakemem wrote it, HomeCorruptError when it is damaged.
        """
        self.namespace = clean_namespace(namespace)
        self._place = place
        is_url = isinstance(place, str) and "://" in place
        self._traces = self._closed = False
        self._process = os.getpid()
        self._root = (root or (Path() if is_url else Path(place).parent)).absolute()
        if readonly and not is_url and not Path(place).is_file():
            raise HomeError(f"There is no memory at {place}: remember something there first, or name another home.")
        with schema.translated(place):
            self._engine = schema.open_engine(place, readonly)
            self._writer = self._engine.execution_options(writes=True)
        self._logged = not readonly and not self._empty_log()

    @property
    def root(self) -> Path:
        """The home, which paths in the journal are relative to."""
        return self._root

    @property
    def forked(self) -> bool:
        """Whether this process was forked from the one that opened the database."""
        return self._process != os.getpid()

    def close(self) -> None:
        """Closes the database: from now on another process may write to it, and this object may not."""
        try:
            if self._traces and not self.forked:
                self.compact()
            elif self._logged and not self.forked:
                self._empty_log()
        finally:
            self._closed = True
            self._engine.dispose(close=not self.forked)  # a forked process leaves its parent's files alone

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A transaction that sees one state of the database."""
        self.check_open()
        with schema.translated(self._place), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """A transaction that changes all or nothing."""
        self.check_open()
        with schema.translated(self._place), self._writer.begin() as connection:
            yield connection

    def check_open(self) -> None:
        """Raises HomeError where it was closed, and in a forked process."""
        if self._closed:  # the engine by itself would connect again
            raise HomeError(CLOSED)
        if self.forked:  # SQLite and the threads that read and reply do not survive a fork
            raise HomeError(
                "The memory was opened before this process was forked: open it in the process that uses it."
            )

    def here(self, table: sa.Table) -> sa.ColumnElement[bool]:
        """The rows of this namespace: every query passes here, so that namespaces cannot see each other."""
        here: sa.ColumnElement[bool] = table.c.namespace == self.namespace
        return here

    def _empty_log(self) -> bool:
        """Takes what a killed process left out of the write-ahead log, which may hold what was forgotten just before.

        False where others are in the way or the disk is full: then `close` tries again, and the next opening.
        """
        if self._engine.dialect.name != "sqlite":
            return True
        with suppress(SQLAlchemyError, sqlite3.Error), self._engine.connect() as connection:
            raw = connection.connection.driver_connection
            assert raw is not None
            raw.execute("PRAGMA busy_timeout=100")  # neither an opening nor a close waits for others
            try:
                [busy, *_] = raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                return not busy
            finally:
                raw.execute(f"PRAGMA busy_timeout={schema.PATIENCE}")
        return False

    def compact(self) -> None:
        """Leave no trace of deleted rows in the file or its write-ahead log.

        A reader in the middle of something can hold that up; then `close` tries again. Raises HomeError when it
        cannot be done, as on a full disk: what was deleted before is deleted all the same, and `close` tries again.
        """
        if self._engine.dialect.name != "sqlite":
            return
        self._traces = True
        try:
            with self._engine.connect() as connection:
                raw = connection.connection.driver_connection
                assert raw is not None
                raw.execute("VACUUM")
                [busy, *_] = raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                self._traces = bool(busy)
        except (SQLAlchemyError, sqlite3.Error) as error:
            raise HomeError(
                f"It is forgotten, but traces of it stay in the files of {self._place} ({error}): free disk space, "
                "then forget it once more, or close the memory."
            ) from error
