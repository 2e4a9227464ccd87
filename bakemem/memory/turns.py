"""The queue of observed turns: written before anything is read out of them, so that a crash loses none.

Knows no extractor; who reads the turns takes the rows away.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from bakemem.memory import records, schema
from bakemem.memory.database import Database
from bakemem.memory.keys import check_storable, storable
from bakemem.types import Turn

_TICK = timedelta(microseconds=1)
_BEGUN = "its reading began and has not ended"

Claim = Callable[[sa.Connection], bool]
"""Asked within a transaction whether turns are to be written in it; may write in it what they are to be kept with."""


@dataclass(frozen=True, slots=True)
class Observed:
    """A turn that waits: its place in the queue, when and where it was said, and how often its reading began."""

    seq: int
    turn: Turn
    conversation: str
    at: datetime
    attempts: int = 0
    error: str = ""


class TurnQueue:
    """The observed turns of one namespace that nobody has read yet, oldest first."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, turns: Sequence[Turn], conversation: str = "", claim: Claim | None = None) -> int:
        """Writes turns down, all or none, and none where `claim` says no; how many. Raises InputError for text that
        cannot be stored.
        """
        check_storable(conversation, "The conversation's name")
        for turn in turns:
            check_storable(turn.content, "A turn")
            check_storable(turn.source, "A turn's source")
        if not turns:
            return 0
        with self._database.write() as connection:
            if claim is not None and not claim(connection):
                return 0
            first = self._after_all(connection)
            connection.execute(schema.turns.insert(), [
                {"namespace": self._database.namespace, "conversation": conversation, "role": turn.role,
                 "source": turn.source, "content": turn.content, "at": (first + i * _TICK).isoformat()}
                for i, turn in enumerate(turns)
            ])  # fmt: skip
        return len(turns)

    def _after_all(self, connection: sa.Connection) -> datetime:
        """Now, or just after the newest turn: what is read late goes behind whatever was said after it."""
        table = schema.turns
        query = sa.select(table.c.at).where(self._database.here(table)).order_by(table.c.seq.desc()).limit(1)
        newest = connection.scalar(query)
        return max(records.now(), records.time_of(newest) + _TICK) if newest else records.now()

    def waiting(self, most: int = 100, attempts_below: int | None = None) -> list[Observed]:
        """The oldest turns, at most so many; those that failed often enough are left out with `attempts_below`."""
        table = schema.turns
        query = sa.select(table).where(self._database.here(table)).order_by(table.c.seq).limit(most)
        if attempts_below is not None:
            query = query.where(table.c.attempts < attempts_below)
        with self._database.read() as connection:
            return [
                Observed(row["seq"], Turn(row["role"], row["content"], row["source"]), row["conversation"],
                         records.time_of(row["at"]), row["attempts"], row["error"])
                for row in connection.execute(query).mappings()
            ]  # fmt: skip

    def __len__(self) -> int:
        """How many turns are in the queue."""
        query = sa.select(sa.func.count()).select_from(schema.turns).where(self._database.here(schema.turns))
        with self._database.read() as connection:
            return connection.scalar(query) or 0

    def newest(self) -> int:
        """The number of the turn that was put in last; 0 when none waits."""
        query = sa.select(sa.func.max(schema.turns.c.seq)).where(self._database.here(schema.turns))
        with self._database.read() as connection:
            return connection.scalar(query) or 0

    def holds(self, observed: Observed) -> bool:
        """Whether a turn still waits: it may have been forgotten meanwhile."""
        query = sa.select(schema.turns.c.seq).where(schema.turns.c.seq == observed.seq)
        with self._database.read() as connection:
            return connection.scalar(query) is not None

    def done(self, observed: Observed) -> None:
        """Takes a turn that was read off the queue."""
        with self._database.write() as connection:
            connection.execute(schema.turns.delete().where(schema.turns.c.seq == observed.seq))

    def begin(self, observed: Observed) -> None:
        """Counts the reading of a turn that begins now: where it ends the process, nobody can any more."""
        table = schema.turns
        with self._database.write() as connection:
            connection.execute(
                table.update().where(table.c.seq == observed.seq).values(attempts=table.c.attempts + 1, error=_BEGUN)
            )

    def failed(self, observed: Observed, error: str) -> None:
        """Notes why a turn whose reading began could not be read."""
        table, kept = schema.turns, storable(error[:500])
        with self._database.write() as connection:
            connection.execute(table.update().where(table.c.seq == observed.seq).values(error=kept))

    def give_back(self, observed: Observed) -> None:
        """Leaves a turn as it was before its reading began, which was broken off and is not to count."""
        before = {"attempts": observed.attempts, "error": observed.error}
        with self._database.write() as connection:
            connection.execute(schema.turns.update().where(schema.turns.c.seq == observed.seq).values(before))

    def retry(self, *, died: bool = False) -> None:
        """Lets turns that failed be tried again; those that a process died of only with `died`."""
        table = schema.turns
        again = table.update().where(self._database.here(table)).values(attempts=0)
        with self._database.write() as connection:
            connection.execute(again if died else again.where(table.c.error != _BEGUN))
