"""When each recurring job ran last and how it ended, as rows of the journal: a restart goes on from there.

Knows no schedule and no job: it keeps what it is told.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import sqlalchemy as sa

from bakemem.memory import records, schema
from bakemem.memory.database import Database
from bakemem.memory.keys import storable

Outcome = Literal["", "done", "refused", "failed", "stopped", "fading"]
"""How a run ended; empty while it runs, or when its process died in it; `fading`: the forgetting meter wants a bake."""
_LONGEST = 300


@dataclass(frozen=True, slots=True)
class Job:
    """The last run of a job; `failures` is how many in a row were refused or failed."""

    name: str
    started: datetime
    ended: datetime | None = None
    outcome: Outcome = ""
    detail: str = ""
    failures: int = 0


class Jobs:
    """The last runs of one namespace."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self) -> dict[str, Job]:
        """The last run of each job, by its name."""
        with self._database.read() as connection:
            return {job.name: job for job in self._select(connection)}

    def begin(self, name: str, at: datetime) -> Job:
        """Notes that a job runs. One that never ended was cut short by the end of its process: a failure."""
        with self._database.write() as connection:
            last = next((job for job in self._select(connection) if job.name == name), None)
            cut_short = last is not None and last.ended is None
            return self._put(connection, Job(name, at, failures=(last.failures if last else 0) + cut_short))

    def end(self, job: Job) -> None:
        """Notes how a run ended; of `detail` the first 300 characters are kept."""
        with self._database.write() as connection:
            self._put(connection, job)

    def _put(self, connection: sa.Connection, job: Job) -> Job:
        table = schema.jobs
        connection.execute(table.delete().where(self._database.here(table), table.c.name == job.name))
        connection.execute(table.insert().values(
            namespace=self._database.namespace, name=job.name, started=_text(job.started),
            ended=_text(job.ended) if job.ended else None, outcome=job.outcome, detail=storable(job.detail[:_LONGEST]),
            failures=job.failures,
        ))  # fmt: skip
        return job

    def _select(self, connection: sa.Connection) -> list[Job]:
        table = schema.jobs
        rows = connection.execute(sa.select(table).where(self._database.here(table)).order_by(table.c.name)).mappings()
        return [
            Job(row["name"], records.time_of(row["started"]), records.time_of(row["ended"]) if row["ended"] else None,
                row["outcome"], row["detail"], row["failures"])
            for row in rows
        ]  # fmt: skip


def _text(time: datetime) -> str:
    return time.astimezone(UTC).isoformat()
