"""Forgetting: the text is nowhere in the home, and no version that learned it can serve."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Literal

import pytest

from bakemem.errors import HomeError, InputError, NotFoundError, TransitionError
from bakemem.memory import Conversations, Journal, TurnQueue, forget, unsaid
from bakemem.types import Draft, Memory, Provenance, Turn, Version

MakeVersion = Callable[..., Version]


def traces(home: Path, *words: str) -> list[str]:
    """The files of a home that hold one of the words, in any case."""
    return [
        f"{path.name}: {word}" for path in home.rglob("*") if path.is_file() for word in words
        if word.lower().encode() in path.read_bytes().lower()
    ]  # fmt: skip


def test_the_bytes_are_gone_and_a_tombstone_stays(journal: Journal, tmp_path: Path) -> None:
    """From the memory, its history, what it superseded, the turn, the queue and the write-ahead log."""
    turn = "My dog is called Bosuk and I live in Plinth."
    said = Provenance("user", "user", "talk-zebra", turn)
    journal.add(Draft("fact", "user.dog", "The user's dog is called Quagga."), Provenance(turn="My dog is Quagga."))
    dog = journal.add(Draft("fact", "user.dog", "The user's dog is called Bosuk."), said)
    town = journal.add(Draft("fact", "user.town", "The user lives in Plinth."), said)
    TurnQueue(journal).put([Turn("user", turn)])
    assert traces(tmp_path, "bosuk", "quagga")

    gone = forget(journal, [dog.id])
    assert {m.status for m in gone} == {"forgotten"}
    assert all((m.text, m.key, m.provenance.turn, m.provenance.conversation) == ("", "", "", "") for m in gone)
    assert len(gone) == 2
    assert traces(tmp_path, "bosuk", "quagga") == []
    assert journal.get(town.id).text == "The user lives in Plinth."
    assert len(TurnQueue(journal)) == 0
    assert forget(journal, [dog.id]) == []
    with pytest.raises(TransitionError):
        journal.approve([dog.id])


def test_no_other_memory_keeps_it_in_the_words_that_it_was_said_in(journal: Journal, tmp_path: Path) -> None:
    """Not one that took its place either; the memory stays, and so does a turn that tells nothing of it."""
    dog = journal.add(Draft("fact", "user.dog", "The user's dog is called Bosuk."), Provenance(turn="He is Bosuk."))
    for key, text, turn in (
        ("user.dog", "The user's dog is called Mirko.", "My dog is not Bosuk any more, he is Mirko now."),
        ("user.cat", "The user's cat is called Tarn.", "As I said, my dog is called Bosuk, and my cat Tarn."),
        ("user.town", "The user lives in Plinth.", "I live in Plinth."),
    ):
        journal.add(Draft("fact", key, text), Provenance(turn=turn))
    forget(journal, [dog.id])
    assert {m.text: m.provenance.turn for m in journal.memories("pending")} == {
        "The user's dog is called Mirko.": "",
        "The user's cat is called Tarn.": "",
        "The user lives in Plinth.": "I live in Plinth.",
    }
    assert traces(tmp_path, "bosuk") == []


def test_what_waits_in_other_words_leaves_the_queue_too(journal: Journal, tmp_path: Path) -> None:
    """Else it would be read and learned after all; what tells something else waits on, and so does another's queue."""
    dog = journal.add(Draft("fact", "user.dog", "The user's dog is called Bosuk."), Provenance(turn="He is Bosuk."))
    queue, other = TurnQueue(journal), Journal(tmp_path / "journal.db", "other")
    queue.put([Turn("user", "Bosuk, that is my dog, is ill today."), Turn("user", "I live in Plinth.")], "main")
    TurnQueue(other).put([Turn("user", "My Bosuk barks.")])
    forget(journal, [dog.id])
    assert [o.turn.content for o in queue.waiting()] == ["I live in Plinth."]
    assert len(TurnQueue(other)) == 1
    other.close()


def test_what_is_said_after_the_request_to_forget_is_heard(journal: Journal) -> None:
    """It may be what holds from now on; the request itself leaves the queue, and what was said before it."""
    dog = journal.add(Draft("fact", "user.dog", "The user's dog is called Bosuk."), Provenance(turn="He is Bosuk."))
    queue = TurnQueue(journal)
    said = ["Bosuk is ill.", "Forget that my dog is called Bosuk.", "My dog is called Rex."]
    queue.put([Turn("user", text) for text in said])
    forget(journal, [dog.id], heard=queue.waiting()[1])
    assert [o.turn.content for o in queue.waiting()] == ["My dog is called Rex."]


def test_what_was_never_believed_takes_no_turn_of_another(journal: Journal) -> None:
    """A page that names the user's dog must not be able to silence the user, by being rejected."""
    ill = journal.add(Draft("fact", "dog.health", "The user's dog is ill."), Provenance(turn="Bosuk is ill."))
    page = journal.add(
        Draft("fact", "user.dog", "The user's dog is called Bosuk."), Provenance("web", "web:x"), "quarantined"
    )
    TurnQueue(journal).put([Turn("user", "Bosuk is ill.")])
    forget(journal, [page.id])
    assert len(TurnQueue(journal)) == 1
    assert journal.get(ill.id).provenance.turn == "Bosuk is ill."


@pytest.mark.parametrize(
    ("what", "left"),
    [({"conversation": "first"}, {"b", "c"}), ({"source": "tool:x"}, {"a", "b"}), ({"everything": True}, set())],
)
def test_a_conversation_a_source_or_everything_can_be_forgotten(
    journal: Journal, what: dict[str, object], left: set[str]
) -> None:
    """With what waits in the queue from there; another namespace is not touched."""
    other = Journal(journal._place, "other")
    other.add(Draft("fact", "a", "Fact a."), Provenance(conversation="first", source="tool:x"))
    for key, conversation, source in (("a", "first", "user"), ("b", "second", "user"), ("c", "second", "tool:x")):
        journal.add(Draft("fact", key, f"Fact {key}."), Provenance(conversation=conversation, source=source))
        TurnQueue(journal).put([Turn("user", key, source)], conversation)
    forget(journal, **what)  # type: ignore[arg-type]
    assert {m.key for m in journal.memories("pending")} == left
    assert {o.turn.content for o in TurnQueue(journal).waiting()} == left
    assert len(other.memories("pending")) == 1
    other.close()


@pytest.mark.parametrize(
    ("named", "what", "left"),
    [(["a"], {"source": "tool:x"}, {"b"}), ([], {"conversation": "first", "source": "tool:x"}, {"b"}),
     (["b"], {"conversation": "first"}, {"c"}), ([], {"everything": True, "source": "tool:x"}, set())],
)  # fmt: skip
def test_all_that_is_named_is_forgotten(
    journal: Journal, named: list[str], what: dict[str, object], left: set[str]
) -> None:
    """With what that superseded, if it is not just of a source: one choice does not narrow another."""
    for key, conversation, source in (("a", "first", "user"), ("b", "second", "user"), ("c", "second", "tool:x")):
        for n in (1, 2):
            said = Provenance(conversation=conversation, source=source)
            journal.add(Draft("fact", key, f"Fact {key} {n}."), said)
    forget(journal, [m.id for m in journal.memories("pending") if m.key in named], **what)  # type: ignore[arg-type]
    assert {m.key for m in journal.memories() if m.text} == left


def test_the_live_version_goes_when_it_learned_what_is_forgotten(journal: Journal, make_version: MakeVersion) -> None:
    """The base serves with the rest in its prompt; neither that version nor one that went on from it serves again."""
    dog = journal.add(Draft("fact", "user.dog", "The user's dog is called Bosuk."), Provenance())
    town = journal.add(Draft("fact", "user.town", "The user lives in Plinth."), Provenance())
    journal.commit_version(make_version("v1", [dog, town]), accepted=True)
    moved = journal.add(Draft("fact", "user.town", "The user lives in Tarn."), Provenance())
    journal.commit_version(make_version("v2", [dog, moved], parent="v1"), accepted=True)
    journal.commit_version(make_version("v3", [dog]), accepted=True)

    forget(journal, [moved.id])
    assert journal.live() == "v3"  # cold, and without it
    forget(journal, [dog.id])
    assert journal.live() is None
    assert journal.reflog()[-1].action == "forget"
    for name in ("v1", "v2", "v3"):
        with pytest.raises(InputError, match="forgotten"):
            journal.set_live(name)
        with pytest.raises(InputError, match="forgotten"):
            journal.servable(name)


def test_what_else_the_live_version_knew_returns_to_the_prompt(journal: Journal, make_version: MakeVersion) -> None:
    """Nothing falls between two stools."""
    dog = journal.add(Draft("fact", "user.dog", "The user's dog is called Bosuk."), Provenance())
    town = journal.add(Draft("fact", "user.town", "The user lives in Plinth."), Provenance())
    journal.commit_version(make_version("v1", [dog, town]), accepted=True)
    forget(journal, [dog.id])
    assert [m.id for m in journal.memories("pending")] == [town.id]


def test_unknown_ids_change_nothing(journal: Journal) -> None:
    """All that are named, or none."""
    dog = journal.add(Draft("fact", "user.dog", "The user's dog is called Bosuk."), Provenance())
    with pytest.raises(NotFoundError):
        forget(journal, [dog.id, "ffff"])
    assert journal.get(dog.id) == dog


def test_an_empty_name_is_refused(journal: Journal) -> None:
    """Every explicit memory has none: a variable that is not set must not erase them."""
    journal.add(Draft("fact", "user.dog", "The user's dog is called Bosuk."), Provenance())
    for what in ({"conversation": ""}, {"source": ""}):
        with pytest.raises(InputError, match="empty"):
            forget(journal, **what)
    assert len(journal.memories("pending")) == 1


def make_full(journal: Journal, full: bool) -> None:
    """Leaves no room to compact the file, or gives it back."""
    with journal._engine.connect() as connection:
        raw = connection.connection.driver_connection
        assert raw is not None
        raw.set_authorizer((lambda action, *_: action == sqlite3.SQLITE_ATTACH) if full else None)


def spare_pages(home: Path) -> int:
    """The pages of the file that were deleted and are still in it."""
    with closing(sqlite3.connect(home / "journal.db")) as connection:
        return int(connection.execute("PRAGMA freelist_count").fetchone()[0])


def tell_at_length(journal: Journal) -> str:
    """Keeps a memory that takes many pages; its id."""
    said = Provenance(turn="My dog is called Bosuk. " * 5_000)
    return journal.add(Draft("fact", "user.dog", "The user's dog is called Bosuk."), said).id


@pytest.mark.parametrize("again", [True, False])
def test_where_the_file_cannot_be_compacted_it_is_forgotten_and_that_is_said(
    journal: Journal, tmp_path: Path, again: bool
) -> None:
    """When there is space, the same once more, or a close, removes the traces."""
    dog = tell_at_length(journal)
    make_full(journal, True)
    with pytest.raises(HomeError, match="It is forgotten, but traces of it stay") as said:
        forget(journal, [dog])
    assert "nothing was changed" not in str(said.value)
    assert journal.get(dog).status == "forgotten"
    assert spare_pages(tmp_path)
    make_full(journal, False)
    if again:
        assert forget(journal, [dog]) == []
    else:
        journal.close()
    assert not spare_pages(tmp_path)


def test_a_journal_that_cannot_be_compacted_is_closed_all_the_same(journal: Journal) -> None:
    """And says what stays in it."""
    dog = tell_at_length(journal)
    make_full(journal, True)
    for act in (lambda: forget(journal, [dog]), journal.close):
        with pytest.raises(HomeError, match="traces"):
            act()
    with pytest.raises(HomeError, match="closed"):
        journal.get(dog)


_KILLED = """
import os, sys
from pathlib import Path
from bakemem.memory import Journal, forget
from bakemem.types import Draft, Provenance
journal = Journal(Path(sys.argv[1]) / "journal.db")
journal.compact = lambda: os._exit(9)
dog = journal.add(Draft("fact", "user.dog", "The user's dog is called Bosuk."), Provenance())
forget(journal, [dog.id])
"""


@pytest.mark.parametrize("watched", [False, True])
def test_what_a_killed_process_forgot_is_gone_from_the_files_at_the_next_opening(
    tmp_path: Path, watched: bool
) -> None:  # fmt: skip
    """It was forgotten, and not compacted; beside a reader, when the journal is closed."""
    killed = subprocess.run([sys.executable, "-c", _KILLED, tmp_path], check=False)
    assert (killed.returncode, bool(traces(tmp_path, "bosuk"))) == (9, True)
    with closing(sqlite3.connect(tmp_path / "journal.db")) as reader:
        if watched:
            reader.execute("BEGIN")
            reader.execute("SELECT * FROM memories").fetchall()
        journal = Journal(tmp_path / "journal.db")
        reader.rollback()
        assert bool(traces(tmp_path, "bosuk")) == watched
        journal.close()
        assert traces(tmp_path, "bosuk") == []


def flight(journal: Journal, day: str, source: str = "user", status: Literal["pending", "quarantined"] = "pending",
           ) -> Memory:  # fmt: skip
    """Somebody says when the user flies."""
    said = Provenance("user" if source == "user" else "tool", source)
    return journal.add(Draft("fact", "user.flight", f"The user flies on {day}."), said, status)


def test_dropping_a_source_brings_back_what_it_superseded(journal: Journal, make_version: MakeVersion) -> None:
    """The tool's word goes, and the user's older one holds again: in the prompt, or in the weights that hold it."""
    mine = flight(journal, "Monday")
    journal.commit_version(make_version("v1", [mine]), accepted=True)
    flight(journal, "Friday", "tool:x")
    forget(journal, source="tool:x")
    assert journal.get(mine.id).text == "The user flies on Monday."
    assert (journal.get(mine.id).status, journal.get(mine.id).superseded_by) == ("baked", None)
    journal.commit_version(make_version("v2", [flight(journal, "Sunday", "tool:x")], parent="v1"), accepted=True)
    forget(journal, source="tool:x")
    assert (journal.get(mine.id).status, journal.live()) == ("pending", None)
    assert journal.history(mine.id)[-1].action == "restore"


def test_what_a_source_superseded_stays_so_where_somebody_spoke_after_it(journal: Journal) -> None:
    """Of several one holds: the last that was said; the others are superseded by it."""
    older, guess = flight(journal, "Monday"), flight(journal, "Tuesday", "tool:y", "quarantined")
    flight(journal, "Friday", "tool:x")
    newer = flight(journal, "Saturday")
    forget(journal, source="tool:x")
    assert {m.id: (m.status, m.superseded_by) for m in journal.memories() if m.text} == {
        older.id: ("superseded", newer.id), guess.id: ("superseded", newer.id), newer.id: ("pending", None)
    }  # fmt: skip


def test_what_was_in_quarantine_is_there_again_when_the_source_that_superseded_it_goes(journal: Journal) -> None:
    """It was never approved."""
    guess = flight(journal, "Tuesday", "tool:y", "quarantined")
    flight(journal, "Friday", "tool:x")
    forget(journal, source="tool:x")
    assert journal.get(guess.id).status == "quarantined"


def _meanwhile(monkeypatch: pytest.MonkeyPatch, then: Callable[[], object]) -> None:
    """Has something done each time that the rules over words look at a text."""

    def looked(text: str, real: Callable[[str], str] = unsaid._folded) -> str:
        then()
        return real(text)

    monkeypatch.setattr(unsaid, "_folded", looked)


def test_others_write_while_texts_are_judged(
    journal: Journal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    """A long log takes its time, and the namespaces of a home have one database."""
    dog = journal.add(Draft("fact", "user.dog", "The user's dog is called Bosuk."), Provenance(turn="He is Bosuk."))
    Conversations(journal).ask("main", "Bosuk is ill.")
    Conversations(journal).ask("main", "It rains.")
    TurnQueue(journal).put([Turn("user", "Bosuk, that is my dog.")])
    looks = list[str]()
    with closing(sqlite3.connect(tmp_path / "journal.db", timeout=0, isolation_level=None)) as other:

        def write() -> None:
            other.execute("BEGIN IMMEDIATE")
            other.execute("ROLLBACK")
            looks.append("at one")

        _meanwhile(monkeypatch, write)
        forget(journal, [dog.id])
    assert len(looks) > 4
    assert [e.text for e in Conversations(journal).tail("main", 9)] == ["It rains."]
    assert traces(tmp_path, "bosuk") == []


def test_what_comes_while_texts_are_judged_goes_too(
    journal: Journal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    """A new text that holds it, and what a memory that came since is about, in texts that were judged before."""
    log, queue, came = Conversations(journal), TurnQueue(journal), list[str]()
    crm = Provenance("tool", "tool:crm", turn="Bosuk is the dog.")
    journal.add(Draft("fact", "dog", "The user's dog is called Bosuk."), crm)
    for said in ("My cat is Quagga.", "It rains."):
        log.ask("main", said)
    asked = log.ask("main", "How is my dog?")

    def come() -> None:
        if not came:
            came.append("once")
            log.answer(asked, "Bosuk is well.")
            queue.put([Turn("user", "Bosuk barks."), Turn("user", "I live in Plinth.")])
            journal.add(Draft("fact", "cat", "The user's cat is called Quagga."), crm)
            journal.add(Draft("fact", "town", "The user lives in Plinth."), Provenance(turn="Bosuk lives in Plinth."))

    _meanwhile(monkeypatch, come)
    assert len(forget(journal, source="tool:crm")) == 2
    assert [e.text for e in log.tail("main", 9)] == ["It rains."]
    assert [o.turn.content for o in queue.waiting()] == ["I live in Plinth."]
    assert [m.text for m in journal.memories("pending")] == ["The user lives in Plinth."]
    assert traces(tmp_path, "bosuk", "quagga") == []
