"""Times at the ends of the calendar, which no other zone has: a home that holds them is read like any other."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
from click.testing import Result

from bakemem.assistant import Assistant
from bakemem.orders import obey
from tests.cli.conftest import Keeper
from tests.zones import local_time

Run = Callable[..., Result]


@pytest.fixture(params=["America/New_York", "UTC", "Asia/Tokyo"])
def zone(request: pytest.FixtureRequest) -> Iterator[None]:
    """Local time is behind, the same, or ahead."""
    with local_time(request.param):
        yield


@pytest.fixture(params=["0001-01-01T00:00:00+00:00", "9999-12-31T23:59:00-12:00"])
def dated(request: pytest.FixtureRequest, baked: Keeper) -> Keeper:
    """Every time in the journal is at one end of the calendar, as an import of before let in."""
    with sqlite3.connect(baked.home / "journal.db") as journal:
        for table, column in (("memories", "created"), ("memories", "valid_from"), ("events", "at"),
                              ("versions", "created"), ("reflog", "at")):  # fmt: skip
            journal.execute(f"UPDATE {table} SET {column} = ?", [request.param])
    journal.close()
    return baked


@pytest.mark.usefixtures("zone")
def test_reading_commands_show_them(run: Run, dated: Keeper) -> None:
    """Each ends well, and tells the year."""
    year = dated.journal.memories()[0].created.year
    for arguments in (("history", dated.journal.memories()[0].id), ("log",), ("show", "v1"), ("reflog",)):
        told = run(*arguments)
        assert told.exit_code == 0, arguments
        assert f"{year}-" in told.output, arguments


@pytest.mark.usefixtures("zone")
def test_commands_of_a_conversation_show_them(dated: Keeper) -> None:
    """`/versions` and `/why` do too."""
    versions, memories = dated.journal.versions(), dated.journal.memories()
    found = [SimpleNamespace(memory=memories[0], score=1.0, live=True, span="v1")]
    memory: Any = SimpleNamespace(versions=lambda: versions, to_erase=list, live="v2", why=lambda question: found)
    assistant = cast(Assistant, SimpleNamespace(memory=memory, past=lambda most: []))
    for line in ("/versions", "/why What is my dog called?"):
        assert f"{memories[0].created.year}-" in obey(assistant, line).text
