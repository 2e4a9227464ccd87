"""What left the home and what was erased from it, as rows beside the journal's.

Knows no memories and no versions: it keeps what it is told.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from bakemem.memory import records, schema
from bakemem.memory.database import Database
from bakemem.memory.keys import check_storable
from bakemem.memory.records import Copy


class Ledger:
    """The copies and the receipts of one namespace."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def note_copy(self, what: str, place: str) -> None:
        """Writes down that `what` (such as `v2` or `memories`) was written to `place`. Raises InputError.

        Its time is never before that of a memory, which a clock that was ahead may have given: an erasure names what
        was copied since.
        """
        check_storable(place, "The name of the file")
        created = sa.select(schema.memories.c.created).where(self._database.here(schema.memories))
        with self._database.write() as connection:
            at = max([records.now(), *map(records.time_of, connection.scalars(created))])
            row = {"namespace": self._database.namespace, "at": at.isoformat(), "what": what, "place": place}
            connection.execute(schema.copies.insert().values(row))

    def copies(self, since: datetime | None = None) -> list[Copy]:
        """What was copied out, since then if a time is given; oldest first."""
        table = schema.copies
        with self._database.read() as connection:
            rows = connection.execute(sa.select(table).where(self._database.here(table)).order_by(table.c.seq))
            found = [Copy(records.time_of(row["at"]), row["what"], row["place"]) for row in rows.mappings()]
        return [copy for copy in found if since is None or copy.at >= since]

    @staticmethod
    def insert_receipt(connection: sa.Connection, namespace: str, receipt: Mapping[str, Any]) -> None:
        """Keeps the receipt of an erasure within the transaction that records it; it holds no text of what is gone."""
        row = {"namespace": namespace, "at": records.now().isoformat(),
               "receipt": json.dumps(dict(receipt), ensure_ascii=False, default=str)}  # fmt: skip
        connection.execute(schema.receipts.insert().values(row))

    def receipts(self) -> list[dict[str, Any]]:
        """The receipts of all erasures, oldest first. Raises HomeCorruptError when one cannot be read."""
        table = schema.receipts
        with self._database.read() as connection:
            rows = connection.execute(sa.select(table).where(self._database.here(table)).order_by(table.c.seq))
            return [records.object_of(row["receipt"], "A receipt") for row in rows.mappings()]
