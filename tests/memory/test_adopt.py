"""A version of another home in the journal: its memories come with it, in one transaction, and nothing serves more."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bakemem.errors import InputError
from bakemem.memory import Journal, adopt, export, forget, load
from bakemem.types import Draft, Memory, Provenance, Version

MakeVersion = Callable[..., Version]


@pytest.fixture
def there(tmp_path: Path) -> Iterator[Journal]:
    """The journal that a version comes from."""
    opened = Journal(tmp_path / "there.db", "theirs")
    yield opened
    opened.close()


def tell(journal: Journal, key: str, text: str) -> Memory:
    """Keeps a fact."""
    return journal.add(Draft("fact", key, text), Provenance(turn=text))


def baked(there: Journal, make_version: MakeVersion, *memories: Memory) -> list[str]:
    """Bakes these there; the lines that a bundle holds."""
    there.commit_version(make_version("v1", memories, namespace="theirs"), accepted=True)
    return list(export(there, [m.id for m in memories]))


def test_memories_arrive_held_and_a_rollback_makes_them_baked(
    there: Journal, journal: Journal, make_version: MakeVersion
) -> None:
    """With their history and one line more; nothing that is here has changed, and none is in the prompt."""
    dog, town = tell(there, "user.dog", "Bosuk."), tell(there, "user.town", "Plinth.")
    cat = tell(journal, "user.cat", "Rex.")
    lines = baked(there, make_version, dog, town)
    adopt(journal, make_version("v1", [dog, town]), lines)
    assert [m.text for m in journal.memories("held")] == ["Bosuk.", "Plinth."]
    assert journal.memories("pending") == [cat]
    assert (journal.live(), journal.reflog()) == (None, [])
    before, [*same, arrived] = there.history(dog.id), journal.history(dog.id)
    assert same == before
    assert (arrived.action, arrived.old, arrived.new, arrived.note) == ("unpack", "baked", "held", "v1")
    journal.set_live("v1")
    assert {m.text for m in journal.memories("baked")} == {"Bosuk.", "Plinth."}


def test_a_key_that_is_taken_here_wins(there: Journal, journal: Journal, make_version: MakeVersion) -> None:
    """The memory that came with the version is superseded by it, also after a rollback to that version."""
    dog = tell(there, "user.dog", "Bosuk.")
    mine = tell(journal, "user.dog", "Tarin.")
    adopt(journal, make_version("v1", [dog]), baked(there, make_version, dog))
    assert [m.id for m in journal.chain(mine.id)] == [mine.id, dog.id]
    journal.set_live("v1")
    assert [(m.text, m.status) for m in journal.memories()] == [("Tarin.", "pending"), ("Bosuk.", "superseded")]


def test_what_was_superseded_there_stays_so(there: Journal, journal: Journal, make_version: MakeVersion) -> None:
    """And is tied to what superseded it, where that is here."""
    dog = tell(there, "user.dog", "Bosuk.")
    there.commit_version(make_version("v1", [dog], namespace="theirs"), accepted=True)
    newer = tell(there, "user.dog", "Tarin.")
    load(journal, export(there, [newer.id]))
    adopt(journal, make_version("v1", [dog]), export(there, [dog.id]))
    arrived = journal.get(dog.id)
    assert (arrived.status, arrived.superseded_by) == ("superseded", newer.id)
    journal.set_live("v1")
    assert journal.get(dog.id).status == "superseded"  # what took its place waits here


def test_a_version_brings_what_it_knows_when_it_serves(
    there: Journal, journal: Journal, make_version: MakeVersion
) -> None:
    """In place of what is baked under that key here, which is held then, and comes back in its turn."""
    dog = tell(there, "user.dog", "Bosuk.")
    mine = tell(journal, "user.dog", "Tarin.")
    journal.commit_version(make_version("v1", [mine]), accepted=True)
    adopt(journal, make_version("v2", [dog]), baked(there, make_version, dog))
    journal.set_live("v2")
    assert [(m.text, m.status) for m in journal.memories()] == [("Tarin.", "held"), ("Bosuk.", "baked")]
    journal.set_live("v1")
    assert [(m.text, m.status) for m in journal.memories()] == [("Tarin.", "baked"), ("Bosuk.", "superseded")]


def test_what_is_here_already_stays_as_it_is(there: Journal, journal: Journal, make_version: MakeVersion) -> None:
    """Status and history."""
    dog, town = tell(there, "user.dog", "Bosuk."), tell(there, "user.town", "Plinth.")
    load(journal, export(there, [dog.id]))
    history = journal.history(dog.id)
    adopt(journal, make_version("v1", [dog, town]), baked(there, make_version, dog, town))
    assert journal.get(dog.id).status == "pending"
    assert journal.history(dog.id) == history
    assert journal.get(town.id).status == "held"


def test_a_version_that_the_gate_refused_stays_refused(
    there: Journal, journal: Journal, make_version: MakeVersion
) -> None:
    """It can be looked at, and never serves."""
    dog = tell(there, "user.dog", "Bosuk.")
    adopt(journal, make_version("v1", [dog], accepted=False), export(there))
    with pytest.raises(InputError, match="rejected by the gate"):
        journal.set_live("v1")


def refused(journal: Journal, version: Version, lines: list[str], complaint: str) -> None:
    """The adoption fails with that, and nothing has changed."""
    before = (journal.memories(), journal.versions(), journal.last_change())
    with pytest.raises(InputError, match=complaint):
        adopt(journal, version, lines)
    assert (journal.memories(), journal.versions(), journal.last_change()) == before


def test_what_was_forgotten_is_not_brought_back(there: Journal, journal: Journal, make_version: MakeVersion) -> None:
    """By its id, or as what a forgotten memory superseded, or through the parent that learned it."""
    dog, town = tell(there, "user.dog", "Bosuk."), tell(there, "user.town", "Plinth.")
    newer = tell(there, "user.dog", "Tarin.")
    load(journal, export(there, [newer.id]))
    version = make_version("v1", [newer])
    journal.commit_version(version, accepted=True)
    forget(journal, [newer.id])
    for lost in (newer, dog):
        refused(journal, make_version("v2", [town, lost]), list(export(there, [town.id, lost.id])), "bring that back")
    refused(journal, make_version("v2", [town], parent="v1"), list(export(there, [town.id])), "bring that back")
    adopt(journal, make_version("v2", [town]), export(there, [town.id]))


def test_what_a_rollback_spared_here_may_come_again(journal: Journal, make_version: MakeVersion) -> None:
    """The version never learned what is forgotten, though that once took the place of what it holds."""
    dog = tell(journal, "user.dog", "Bosuk.")
    journal.commit_version(make_version("v1", [dog]), accepted=True)
    newer = tell(journal, "user.dog", "Tarin.")
    journal.commit_version(make_version("v2", [newer], parent="v1"), accepted=True)
    lines = list(export(journal, [dog.id]))
    journal.set_live("v1")
    forget(journal, [newer.id])
    adopt(journal, make_version("v3", [dog]), lines)
    assert journal.servable("v3").memory_ids == (dog.id,)


@pytest.mark.parametrize("field", ["text", "key", "kind"])
def test_a_memory_that_says_something_else_here_is_refused(
    there: Journal, journal: Journal, make_version: MakeVersion, field: str
) -> None:
    """An id is taken for what it names here."""
    dog = tell(there, "user.dog", "Bosuk.")
    lines = list(export(there))
    load(journal, lines)
    changed = {**json.loads(lines[0]), field: {"text": "Rex.", "key": "user.cat", "kind": "instruction"}[field]}
    refused(journal, make_version("v1", [dog]), [json.dumps(changed)], "something else")


def test_quarantine_is_not_passed_by(there: Journal, journal: Journal, make_version: MakeVersion) -> None:
    """Neither for a memory that waits there, nor for one that waits here."""
    waits = there.add(Draft("fact", "user.dog", "Bosuk."), Provenance("web"), "quarantined")
    version, lines = make_version("v1", [waits]), list(export(there))
    refused(journal, version, lines, "never approved")
    load(journal, lines)
    there.approve([waits.id])
    refused(journal, version, list(export(there)), "in quarantine here")


def test_the_lines_must_be_the_memories_of_the_version(
    there: Journal, journal: Journal, make_version: MakeVersion, tmp_path: Path
) -> None:
    """One too few, one too many, one twice, a broken one, or one of another namespace of this home."""
    dog, town = tell(there, "user.dog", "Bosuk."), tell(there, "user.town", "Plinth.")
    lines = list(export(there))
    version = make_version("v1", [dog, town])
    refused(journal, version, lines[:1], "not those of its version")
    refused(journal, make_version("v1", [dog]), lines, "not those of its version")
    refused(journal, version, [*lines, lines[0]], "twice")
    refused(journal, version, [lines[0], lines[1][:-1]], "Line 2")
    other = Journal(tmp_path / "there.db", "ours")
    refused(other, make_version("v1", [dog, town], namespace="ours"), lines, "another namespace")
    other.close()


def test_all_or_nothing(there: Journal, journal: Journal, make_version: MakeVersion) -> None:
    """When the version cannot be written its memories do not stay."""
    dog = tell(there, "user.dog", "Bosuk.")
    journal.commit_version(make_version("v1"), accepted=True)
    refused(journal, make_version("v1", [dog]), list(export(there)), "exists already")
