"""When the jobs of the schedule ran last, as the journal keeps it, and since when memories wait."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bakemem.memory import Jobs, Journal, forget
from bakemem.types import Draft, Memory, Provenance

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    """A new one."""
    return Journal(tmp_path / "journal.db")


def remember(journal: Journal, key: str) -> Memory:
    """Keeps a fact."""
    return journal.add(Draft("fact", key, f"The {key} is red."), Provenance())


def test_a_run_is_kept_with_its_end(journal: Journal, tmp_path: Path) -> None:
    """By its name, for another process too, and only for its namespace."""
    jobs = Jobs(journal)
    began = jobs.begin("bake", NOW)
    assert (began.ended, began.outcome, jobs.all()) == (None, "", {"bake": began})
    done = replace(began, ended=NOW + timedelta(minutes=5), outcome="done", detail="v1")
    jobs.end(done)
    assert Jobs(Journal(tmp_path / "journal.db", readonly=True)).all() == {"bake": done}
    assert Jobs(Journal(tmp_path / "journal.db", "other")).all() == {}


def test_failures_in_a_row_are_counted_over_restarts(journal: Journal) -> None:
    """A run that never ended, because its process died, is one."""
    jobs = Jobs(journal)
    jobs.end(replace(jobs.begin("bake", NOW), ended=NOW, outcome="failed", failures=1))
    assert jobs.begin("bake", NOW).failures == 1
    assert jobs.begin("bake", NOW).failures == 2


def test_a_long_detail_is_cut(journal: Journal) -> None:
    """An error may quote a whole model."""
    jobs = Jobs(journal)
    jobs.end(replace(jobs.begin("bake", NOW), ended=NOW, outcome="failed", detail="x" * 10_000))
    assert jobs.all()["bake"].detail == "x" * 300


def test_a_detail_that_no_database_can_hold_is_kept_all_the_same(journal: Journal) -> None:
    """An error may quote half a surrogate pair."""
    jobs = Jobs(journal)
    jobs.end(replace(jobs.begin("bake", NOW), ended=NOW, outcome="failed", detail="so \ud83d"))
    assert jobs.all()["bake"].detail == "so ?"


def test_what_is_forgotten_is_in_no_detail(journal: Journal) -> None:
    """An error may quote a memory."""
    jobs, memory = Jobs(journal), remember(journal, "boat")
    jobs.end(replace(jobs.begin("bake", NOW), ended=NOW, outcome="failed", detail=memory.text))
    forget(journal, [memory.id])
    assert jobs.all()["bake"].detail == ""


def test_since_when_a_memory_waits(journal: Journal) -> None:
    """Since it became pending the last time, the longest first; what is not pending is left out."""
    first, second = remember(journal, "boat"), remember(journal, "tree")
    third = journal.add(Draft("fact", "car", "The car is red."), Provenance("tool"), "quarantined")
    found = journal.waiting()
    assert [memory.id for memory, _ in found] == [first.id, second.id]
    assert found[0][1] <= found[1][1]
    journal.approve([third.id])
    assert [memory.id for memory, _ in journal.waiting()] == [first.id, second.id, third.id]
    assert journal.waiting()[2][1] >= found[1][1]
