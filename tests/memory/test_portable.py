"""Memories out as JSON Lines and in again: exact, all or nothing."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from bakemem.errors import InputError
from bakemem.memory import Journal, export, forget, load
from bakemem.memory.keys import visible
from bakemem.types import Draft, Provenance, Version

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=40).filter(
    lambda text: visible(text).strip()
)
SAID = st.tuples(
    st.sampled_from(["instruction", "fact"]), st.sampled_from(["user.dog", "user.town", "style.case"]), TEXTS,
    st.sampled_from(["pending", "quarantined"]), TEXTS,
)  # fmt: skip
REMEMBERED = {"action": "remember", "at": "2026-01-01T00:00:00+00:00", "old": None, "new": "pending", "note": "",
              "actor": "user"}  # fmt: skip


def fill(journal: Journal) -> None:
    """A superseded, a pending and a quarantined memory."""
    journal.add(Draft("fact", "user.dog", "The user's dog is called Bosuk."), Provenance(turn="My dog is Bosuk."))
    journal.add(Draft("fact", "user.dog", "The user's dog is called Tarin."), Provenance())
    journal.add(Draft("fact", "user.cat", "A cat."), Provenance("tool", "tool:x"), "quarantined", reason="a tool")


@given(st.lists(SAID, max_size=8))
@settings(max_examples=30)
def test_a_round_trip_is_exact(said: list[tuple[str, str, str, str, str]]) -> None:
    """Ids, texts, times, provenance and history: what another home exports is byte for byte what it took in."""
    with tempfile.TemporaryDirectory() as folder:
        one, two = Journal(Path(folder) / "one.db"), Journal(Path(folder) / "two.db", "another")
        for kind, key, text, status, turn in said:
            one.add(Draft(kind, key, text), Provenance(turn=turn), status)  # type: ignore[arg-type]
        lines = list(export(one))
        loaded = load(two, lines)
        assert list(export(two)) == lines
        assert len(loaded) == len(lines)
        assert load(two, lines) == []
        one.close()
        two.close()


def test_a_home_that_was_rolled_back_can_be_imported(
    journal: Journal, make_version: Callable[..., Version], tmp_path: Path
) -> None:
    """What came back is told, what had taken its place is held, in whatever order the lines stand."""
    for n, text in enumerate(("Bosuk.", "Tarin."), start=1):
        told = journal.add(Draft("fact", "user.dog", text), Provenance())
        journal.commit_version(make_version(f"v{n}", [told], parent="v1" if n > 1 else None), accepted=True)
    journal.set_live("v1")
    for name, step in (("a", 1), ("b", -1)):
        other = Journal(tmp_path / f"{name}.db")
        load(other, list(export(journal))[::step])
        assert {m.text: m.status for m in other.memories()} == {"Bosuk.": "pending", "Tarin.": "held"}
        other.release([told.id])
        assert {m.text: m.status for m in other.memories()} == {"Bosuk.": "superseded", "Tarin.": "pending"}
        other.close()


def test_a_home_that_was_rolled_back_over_several_versions_can_be_imported(
    journal: Journal, make_version: Callable[..., Version], tmp_path: Path
) -> None:
    """What is held is not what had taken the place of what came back, but what had taken the place of that."""
    for n, text in enumerate(("Bosuk.", "Tarin.", "Velin."), start=1):
        told = journal.add(Draft("fact", "user.dog", text), Provenance())
        journal.commit_version(make_version(f"v{n}", [told], parent=f"v{n - 1}" if n > 1 else None), accepted=True)
    journal.set_live("v1")
    for name, step in (("a", 1), ("b", -1)):
        other = Journal(tmp_path / f"{name}.db")
        load(other, list(export(journal))[::step])
        assert {m.text: m.status for m in other.memories()} == {
            "Bosuk.": "pending", "Tarin.": "superseded", "Velin.": "held"
        }  # fmt: skip
        other.close()


def test_what_came_back_elsewhere_is_no_second_word_here(
    journal: Journal, make_version: Callable[..., Version], tmp_path: Path
) -> None:
    """What had taken its place there waits here: one of them is to go first, and nothing is taken in."""
    older = journal.add(Draft("fact", "user.dog", "Bosuk."), Provenance())
    journal.commit_version(make_version("v1", [older]), accepted=True)
    newer = journal.add(Draft("fact", "user.dog", "Tarin."), Provenance())
    other = Journal(tmp_path / "other.db")
    load(other, export(journal, [newer.id]))
    journal.commit_version(make_version("v2", [newer], parent="v1"), accepted=True)
    journal.set_live("v1")
    with pytest.raises(InputError, match="forget or supersede"):
        load(other, export(journal))
    assert {m.text: m.status for m in other.memories()} == {"Tarin.": "pending"}
    other.close()


def test_what_is_tied_to_what_was_forgotten_here_comes_without_it_or_not_at_all(
    journal: Journal, make_version: Callable[..., Version], tmp_path: Path
) -> None:
    """What holds elsewhere comes; what that had superseded would have been forgotten with it here."""
    there = Journal(tmp_path / "there.db")
    told = []
    for n, text in enumerate(("Old.", "Bosuk.", "Tarin."), start=1):
        told.append(there.add(Draft("fact", "user.dog", text), Provenance()))
        there.commit_version(make_version(f"v{n}", [told[-1]], parent=f"v{n - 1}" if n > 1 else None), accepted=True)
    load(journal, list(export(there, [told[2].id])))
    forget(journal, [told[2].id])
    assert load(journal, list(export(there))) == []
    there.set_live("v2")
    old, came = load(journal, list(export(there)))
    assert (old.text, old.status, old.superseded_by) == ("Old.", "superseded", came.id)
    assert (came.text, came.status, came.superseded_by) == ("Bosuk.", "pending", None)
    there.close()


def test_what_waits_behind_what_was_forgotten_here_takes_its_place(
    journal: Journal, make_version: Callable[..., Version], tmp_path: Path
) -> None:
    """Held there for one of its key that serves there, and here nothing of the key does: it would be in no prompt."""
    there = Journal(tmp_path / "there.db")
    older = there.add(Draft("fact", "user.dog", "Bosuk."), Provenance())
    there.commit_version(make_version("v1", [older]), accepted=True)
    load(journal, list(export(there)))
    forget(journal, [older.id])
    newer = there.add(Draft("fact", "user.dog", "Tarin."), Provenance())
    there.commit_version(make_version("v2", [newer], parent="v1"), accepted=True)
    there.set_live("v1")
    assert [m.status for m in there.memories()] == ["baked", "held"]
    [came] = load(journal, list(export(there)))
    assert (came.text, came.status) == ("Tarin.", "pending")
    there.close()


def test_the_history_says_when_a_memory_came(journal: Journal, tmp_path: Path) -> None:
    """It waits here since then, however long it waited there, whatever it was there."""
    dog = journal.add(Draft("fact", "user.dog", "The user's dog is called Bosuk."), Provenance())
    other = Journal(tmp_path / "other.db")
    before = datetime.now(UTC)
    load(other, export(journal))
    [(_, since)] = other.waiting()
    assert since >= before > dog.created
    came = other.history(dog.id)[-1]
    assert (came.action, came.old, came.new, came.actor) == ("import", "pending", "pending", "operator")
    other.close()


def test_tombstones_stay_behind(journal: Journal, tmp_path: Path) -> None:
    """What was forgotten is not carried on, and what it superseded names nobody."""
    fill(journal)
    forget(journal, [journal.memories("pending")[0].id])
    assert [json.loads(line)["key"] for line in export(journal)] == ["user.cat"]


@pytest.mark.parametrize(
    "line",
    ["{", "[]", "{}", '{"format": "other"}', "null", '"text"', "\x00"],
)
def test_a_line_that_is_no_memory_is_named_and_nothing_is_taken_in(journal: Journal, tmp_path: Path, line: str) -> None:
    """Whatever is wrong with it."""
    fill(journal)
    other = Journal(tmp_path / "other.db")
    with pytest.raises(InputError, match="Line 2"):
        load(other, [next(iter(export(journal))), line])
    assert other.memories() == []
    other.close()


@pytest.mark.parametrize(
    ("field", "value"),
    [("kind", "order"), ("status", "forgotten"), ("key", "Not A Key"), ("text", ""), ("text", "x" * 9999),
     ("created", "yesterday"), ("text", 5), ("extra", "x"), ("history", "x"), ("turn", "\ud800"), ("turn", None),
     ("created", "0001-01-01T00:00:00+00:00"), ("valid_from", "9999-12-31T23:59:00-12:00"),
     ("history", [{**REMEMBERED, "at": "0001-01-01T00:00:00+00:00"}]),
     ("history", [{**REMEMBERED, "at": "2026-01-01T00:00:00"}]), ("superseded_by", ["x"]),
     ("source", ["x"]), ("reason", {}), ("conversation", None), ("extractor", 1),
     ("history", [{**REMEMBERED, "note": ["x"]}])],
)  # fmt: skip
def test_a_changed_field_is_refused(journal: Journal, tmp_path: Path, field: str, value: object) -> None:
    """An export is data: no value gets in that the journal itself would not have taken."""
    fill(journal)
    first = {**json.loads(next(iter(export(journal)))), field: value}
    other = Journal(tmp_path / "other.db")
    with pytest.raises(InputError, match="Line 1"):
        load(other, [json.dumps(first)])
    other.close()


def test_a_text_that_is_too_long_once_it_is_masked_is_refused(journal: Journal, tmp_path: Path) -> None:
    """No other home could take it in."""
    journal.add(Draft("fact", "user.mails", "a@b.co " * 285), Provenance())
    other = Journal(tmp_path / "other.db")
    with pytest.raises(InputError, match="Line 1: .*at most 2,000"):
        load(other, export(journal), lambda text: text.replace("a@b.co", "[email]"))
    assert other.memories() == []
    other.close()


def test_a_key_that_is_taken_is_refused(journal: Journal, tmp_path: Path) -> None:
    """Two live memories of one key would contradict each other."""
    fill(journal)
    other = Journal(tmp_path / "other.db")
    other.add(Draft("fact", "user.dog", "The user's dog is called Rex."), Provenance())
    with pytest.raises(InputError, match="user.dog"):
        load(other, export(journal))
    assert len(other.memories()) == 1
    other.close()
