"""The index in step with the journal: what it shows, and when it has to be compared with it again."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import pytest

from bakemem.errors import ModelError
from bakemem.memory import Journal, Shadow, export, forget, load
from bakemem.testing import MemoryIndex
from bakemem.types import Draft, Memory, Provenance


class Kept(MemoryIndex):
    """An index that outlives its process, and counts how often it was compared with the journal."""

    compared = 0

    def sync(self, memories: Iterable[Memory]) -> int:
        """Counts, and compares."""
        self.compared += 1
        return super().sync(memories)


def say(journal: Journal, key: str, text: str) -> str:
    """The id of a new memory."""
    return journal.add(Draft("fact", key, text), Provenance()).id


def shown(journal: Journal, index: Kept) -> set[str]:
    """What the index shows once it was opened and asked, and closed again."""
    shadow = Shadow(journal, lambda: index)
    shadow.recall("anything", 1)
    shadow.close()
    return index.ids()


def test_an_index_that_was_closed_in_step_is_not_compared_again(journal: Journal) -> None:
    """Opening costs the same whatever the journal holds."""
    index, dog = Kept(), say(journal, "dog", "A dog.")
    assert (shown(journal, index), index.compared) == ({dog}, 1)
    assert (shown(journal, index), index.compared) == ({dog}, 1)


def test_whatever_changed_meanwhile_is_found(journal: Journal, tmp_path: Path) -> None:
    """A memory that was added, superseded, forgotten or imported while the index was closed."""
    index, dog = Kept(), say(journal, "dog", "A dog.")
    assert shown(journal, index) == {dog}
    cat = say(journal, "cat", "A cat.")
    assert shown(journal, index) == {dog, cat}
    other = say(journal, "dog", "Another dog.")
    assert shown(journal, index) == {other, cat}
    forget(journal, [cat])
    assert shown(journal, index) == {other}
    elsewhere = Journal(tmp_path / "other.db")
    owl = say(elsewhere, "owl", "An owl.")
    [line] = export(elsewhere)
    load(journal, [json.dumps({**json.loads(line), "history": []})])  # no event tells of it
    assert shown(journal, index) == {other, owl}
    elsewhere.close()


def test_what_is_superseded_or_approved_moves_at_once(journal: Journal) -> None:
    """The open index drops what a newer memory took the place of, and takes in what was approved."""
    index = Kept()
    shadow = Shadow(journal, lambda: index)
    old = say(journal, "dog", "A dog.")
    shadow.recall("dog", 1)
    new = say(journal, "dog", "Another dog.")
    shadow.follow([new])
    assert index.ids() == {new} != {old}
    tool = journal.add(Draft("fact", "dog", "A third dog."), Provenance(role="tool"), "quarantined")
    shadow.follow([tool.id])
    assert index.ids() == {new}
    journal.approve([tool.id])
    shadow.follow([tool.id])
    assert index.ids() == {tool.id}
    shadow.close()
    assert (shown(journal, index), index.compared) == ({tool.id}, 1)


def test_an_index_that_could_not_follow_is_compared_again(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    """The memory stands in the journal, and the next opening finds it."""
    index = Kept()
    shadow = Shadow(journal, lambda: index)
    shadow.recall("dog", 1)

    def broken(memories: Iterable[Memory]) -> None:
        raise ModelError("no embedder")

    with monkeypatch.context() as patch:
        patch.setattr(index, "put", broken)
        with pytest.raises(ModelError), shadow.behind():
            dog = say(journal, "dog", "A dog.")
            shadow.follow([dog])
        shadow.close()
    assert (shown(journal, index), index.compared) == ({dog}, 2)


def test_a_change_that_was_cut_short_is_compared_again(journal: Journal) -> None:
    """Ctrl-C between the journal and the index: what was forgotten must not stay in the index for good."""
    index, dog = Kept(), say(journal, "dog", "A dog.")
    shadow = Shadow(journal, lambda: index)
    shadow.recall("dog", 1)
    with pytest.raises(KeyboardInterrupt), shadow.behind():
        forget(journal, [dog])
        raise KeyboardInterrupt
    shadow.close()
    assert index.ids() == {dog}
    assert shown(journal, index) == set()


def test_what_one_namespace_learns_leaves_the_others_in_step(tmp_path: Path) -> None:
    """What one namespace learned is no reason to compare the index of another."""
    ours, theirs = Journal(tmp_path / "journal.db", "a"), Journal(tmp_path / "journal.db", "b")
    index, dog = Kept(), say(ours, "dog", "A dog.")
    shown(ours, index)
    say(theirs, "dog", "Their dog.")
    assert (shown(ours, index), index.compared) == ({dog}, 1)
    ours.close()
    theirs.close()


def test_closing_what_was_never_opened_opens_nothing(journal: Journal) -> None:
    """A command that only reads the journal never loads an index."""

    def never() -> MemoryIndex:
        raise AssertionError("opened")

    Shadow(journal, never).close()
