"""What is asked of the database itself."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from bakemem.memory import Journal, faults, forget, namespaces
from bakemem.types import Draft, Provenance
from tests.memory.conftest import MakeVersion


def test_a_sound_journal_has_no_faults(journal: Journal) -> None:
    """New, and with a memory in it."""
    assert faults(journal) == []
    journal.add(Draft("fact", "user.dog", "The user's dog is called Bosuk."), Provenance())
    assert faults(journal) == []


def test_a_row_that_points_to_nothing_is_a_fault(journal: Journal, tmp_path: Path) -> None:
    """An event of a memory that another program removed."""
    journal.add(Draft("fact", "user.dog", "The user's dog is called Bosuk."), Provenance())
    with sqlite3.connect(tmp_path / "journal.db") as connection:
        connection.execute("DELETE FROM memories")
    connection.close()
    assert faults(journal) == ["row 1 of events points to nothing in memories"]


def test_every_namespace_that_keeps_something_is_listed(journal: Journal, tmp_path: Path) -> None:
    """Once each, in the order of the alphabet; one that keeps nothing is not there."""
    assert namespaces(journal) == []
    for name in ("zoe", "ann", "zoe"):
        other = Journal(tmp_path / "journal.db", name)
        other.add(Draft("fact", "user.dog", f"The user's dog is called {name}."), Provenance())
        other.close()
    assert namespaces(journal) == ["ann", "zoe"]


def test_the_state_is_all_of_a_namespace(journal: Journal, make_version: MakeVersion) -> None:
    """The same that the single questions answer, with what learned something forgotten."""
    dog = journal.add(Draft("fact", "user.dog", "The user's dog is called Bosuk."), Provenance())
    journal.commit_version(make_version("v1", [dog]), accepted=True)
    journal.commit_version(make_version("v2", [], "v1", accepted=False), accepted=False)
    journal.commit_version(make_version("v3"), accepted=True)
    journal.commit_version(make_version("v4", accepted=False), accepted=False)
    journal.tag("good", "v1")
    state = journal.state()
    assert (state.memories, state.versions, state.reflog) == (journal.memories(), journal.versions(), journal.reflog())
    assert state.pointers == {"live": "v3", "candidate": "v4", "good": "v1"}
    assert state.tainted == set()
    forget(journal, [dog.id])
    assert journal.state().tainted == {"v1", "v2"}
