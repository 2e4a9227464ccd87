"""Recall finds what is near in meaning among what the agent knows now."""

from __future__ import annotations

from collections.abc import Callable

from bakemem.memory import Journal
from bakemem.memory.recall import recall
from bakemem.testing import MemoryIndex, ScriptedExtractor
from bakemem.types import Draft, Memory, Provenance, Turn


def test_recall_gives_live_memories_only_nearest_first(journal: Journal) -> None:
    """Superseded and quarantined ones take no place, though the index may still hold them."""
    for n in range(12):
        journal.add(Draft("fact", "user.dog", f"The user's dog is called Bosuk {n}."), Provenance())
    tool = Provenance(role="tool")
    journal.add(Draft("fact", "user.dog", "The user's dog is called Evil."), tool, "quarantined")
    cat = journal.add(Draft("fact", "user.cat", "The user's cat is called Mira."), Provenance())
    index = MemoryIndex()
    index.put(journal.memories())
    found = recall(index, journal, "What is my dog called?", k=2)
    assert [m.text for m, _ in found] == ["The user's dog is called Bosuk 11.", cat.text]
    assert recall(index, journal, "What is my dog called?", k=1) == found[:1]


def test_recall_of_nothing_is_empty(journal: Journal, make_memory: Callable[..., Memory]) -> None:
    """No text, no wish, or an id that only the index knows: no memory."""
    index = MemoryIndex()
    index.put([make_memory("Only in the index.")])
    journal.add(Draft("fact", "a", "Only in the journal."), Provenance())
    assert recall(index, journal, "  ") == recall(index, journal, "index", k=0) == recall(index, journal, "index") == []


def test_the_scripted_extractor_reads_users_only() -> None:
    """The fake keeps the port's promise about roles."""
    draft = Draft("fact", "user.dog", "Bosuk.")
    fake = ScriptedExtractor({"My dog is Bosuk.": [draft]})
    assert fake.extract(Turn("user", "My dog is Bosuk.")) == [draft]
    assert fake.extract(Turn("assistant", "My dog is Bosuk.")) == fake.extract(Turn("user", "Hello.")) == []
