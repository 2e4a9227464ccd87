"""The log of conversations: order, claims, redaction, and erasure down to the bytes."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from bakemem.errors import InputError
from bakemem.memory import Conversations, Journal, TurnQueue, forget, namespaces
from bakemem.memory.redact import redacted
from bakemem.types import Draft, Provenance, Turn
from tests.memory.test_erase import traces

DOG = "The user's dog is called Bosuk."


@pytest.fixture
def log(journal: Journal) -> Conversations:
    """The log of a new journal."""
    return Conversations(journal)


def talk(log: Conversations, name: str, *exchanges: tuple[str, str]) -> None:
    """Logs some exchanges."""
    for text, reply in exchanges:
        log.answer(log.ask(name, text), reply)


def lines(log: Conversations, name: str = "main", most: int = 100) -> list[tuple[str, str | None]]:
    """The end of a conversation as pairs of text and reply."""
    return [(e.text, e.reply) for e in log.tail(name, most)]


def test_exchanges_are_kept_in_order_and_read_from_the_end(log: Conversations) -> None:
    """No other conversation's among them; from a number on, if one is given."""
    talk(log, "main", ("One.", "1"), ("Two.", "2"))
    talk(log, "other", ("Three.", "3"))
    log.ask("main", "Four.")
    assert lines(log, most=2) == [("Two.", "2"), ("Four.", None)]
    second = log.tail("main", 2)[0]
    assert [e.text for e in log.tail("main", 9, second.seq)] == ["Two.", "Four."]


def test_namespaces_do_not_see_each_other(log: Conversations, journal: Journal) -> None:
    """One user's talk is not another's."""
    other = Journal(journal._place, "other")
    talk(Conversations(other), "main", ("Mine.", "Yours."))
    assert log.tail("main", 9) == log.unheard() == []
    assert namespaces(journal) == ["other"]
    other.close()


def test_an_exchange_is_claimed_once(log: Conversations, journal: Journal) -> None:
    """It is put into the queue with its mark in one transaction; one that was erased is not claimed at all."""
    asked, erased = log.ask("main", "My dog is Bosuk."), log.ask("main", "Never mind.")
    log.withdraw(erased)
    assert [e.seq for e in log.unheard()] == [asked.seq]
    queue = TurnQueue(journal)
    assert [queue.put([Turn("user", e.text)], "main", log.claim(e)) for e in (asked, asked, erased)] == [1, 0, 0]
    assert (len(queue), log.unheard()) == (1, [])


def test_a_claim_that_fails_half_way_is_none(log: Conversations, journal: Journal) -> None:
    """The mark and the queue's row are one change."""
    asked = log.ask("main", "My dog is Bosuk.")

    def broken(connection: object) -> bool:
        log.claim(asked)(connection)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        TurnQueue(journal).put([Turn("user", asked.text)], "main", broken)
    assert [e.seq for e in log.unheard()] == [asked.seq]


@pytest.mark.parametrize(
    ("text", "why"),
    [("", "say something"), (" \n", "say something"), ("a \0 b", "remove it"), ("half \ud83d of a pair", "remove it"),
     ("x" * 1_000_001, "at most 1,000,000")],
)  # fmt: skip
def test_text_that_cannot_be_kept_is_refused(log: Conversations, text: str, why: str) -> None:
    """And nothing of it is."""
    with pytest.raises(InputError, match=why):
        log.ask("main", text)
    assert lines(log) == []


def test_a_reply_is_mended_so_that_it_can_be_kept(log: Conversations) -> None:
    """What a model says never ends a conversation."""
    log.answer(log.ask("main", "Hi."), "a \0 b \ud83d")
    assert lines(log) == [("Hi.", "a \N{REPLACEMENT CHARACTER} b ?")]


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "x" * 201, "half \ud83d"])
def test_wrong_names_are_refused(log: Conversations, name: str) -> None:
    """With what a name may be."""
    with pytest.raises(InputError, match="no name for a conversation"):
        log.ask(name, "Hi.")


def test_secrets_are_redacted_in_what_both_say(journal: Journal, tmp_path: Path) -> None:
    """As in observed turns; a reply that would have to be refused is not kept."""
    masked = Conversations(journal, lambda text: redacted(text, "mask"))
    masked.answer(masked.ask("main", "I am ada@example.com."), "Hello ada@example.com.")
    assert lines(masked) == [("I am [email].", "Hello [email].")]
    strict = Conversations(journal, lambda text: redacted(text, "refuse"))
    with pytest.raises(InputError, match="must not be stored"):
        strict.ask("main", "I am ada@example.com.")
    strict.answer(strict.ask("main", "Who am I?"), "You are ada@example.com.")
    assert lines(strict)[-1] == ("Who am I?", None)
    assert traces(tmp_path, "ada@example") == []


def test_forgetting_takes_every_exchange_that_holds_it(journal: Journal, log: Conversations, tmp_path: Path) -> None:
    """The words it was said in and replies that quote it, in every conversation, down to the last byte."""
    dog = journal.add(Draft("fact", "user.dog", DOG), Provenance(turn="He is Bosuk.", conversation="main"))
    talk(log, "main", ("He is Bosuk.", "What a name!"), ("Who is it?", "It is BOSUK."), ("It rains.", "So it does."))
    talk(log, "other", ("Bosuk barks.", "Loudly."))
    assert traces(tmp_path, "bosuk")
    forget(journal, [dog.id])
    assert lines(log) == [("It rains.", "So it does.")]
    assert lines(log, "other") == []
    assert [e.text for e in log.unheard()] == ["It rains."]
    assert traces(tmp_path, "bosuk", "what a name") == []


def test_what_was_never_believed_takes_no_exchange(journal: Journal, log: Conversations) -> None:
    """A page that names the user's dog must not be able to have the talk about it erased, by being rejected."""
    page = journal.add(Draft("fact", "user.dog", DOG), Provenance("web", "web:x", turn="Bosuk!"), "quarantined")
    talk(log, "main", ("Bosuk barks.", "Loudly."))
    forget(journal, [page.id])
    assert lines(log) == [("Bosuk barks.", "Loudly.")]


def test_what_a_newer_memory_took_the_place_of_goes_too(journal: Journal, log: Conversations, tmp_path: Path) -> None:
    """Its older values were said as well."""
    journal.add(Draft("fact", "user.dog", "The user's dog is called Quagga."), Provenance(turn="Quagga!"))
    dog = journal.add(Draft("fact", "user.dog", DOG), Provenance(turn="Now it is Bosuk."))
    talk(log, "main", ("Quagga!", "I see."), ("Now it is Bosuk.", "I see."))
    forget(journal, [dog.id])
    assert traces(tmp_path, "bosuk", "quagga") == []


@pytest.mark.parametrize(
    ("what", "left"),
    [({"conversation": "main"}, [("Two.", "2")]), ({"everything": True}, []), ({"source": "user"}, []),
     ({"source": "tool:calendar"}, [("Two.", "2")])],
)  # fmt: skip
def test_a_conversation_a_source_or_all_can_be_forgotten(
    journal: Journal, log: Conversations, what: dict[str, object], left: list[tuple[str, str]]
) -> None:
    """Though no memory came of it."""
    talk(log, "main", ("One.", "1"))
    talk(log, "other", ("Two.", "2"))
    forget(journal, **what)  # type: ignore[arg-type]
    assert lines(log) == ([("One.", "1")] if what == {"source": "tool:calendar"} else [])
    assert lines(log, "other") == left


def test_a_reply_that_was_made_while_something_was_forgotten_is_not_kept(journal: Journal, log: Conversations) -> None:
    """It may quote it, and nobody knows any more what it was."""
    dog = journal.add(Draft("fact", "user.dog", DOG), Provenance(turn="He is Bosuk."))
    asked = log.ask("main", "Who is he?")
    forget(journal, [dog.id])
    log.answer(asked, "He is Bosuk.")
    assert lines(log) == [("Who is he?", None)]
    talk(log, "main", ("And now?", "Nobody."))
    assert lines(log)[-1] == ("And now?", "Nobody.")


def test_a_number_is_never_used_twice(log: Conversations, journal: Journal) -> None:
    """What is claimed late must not be something else."""
    first = log.ask("main", "One.")
    forget(journal, everything=True)
    assert log.ask("main", "Two.").seq > first.seq


def test_a_reader_sees_it_beside_the_writer(journal: Journal, log: Conversations) -> None:
    """And waits for nobody."""
    reader = Journal(journal._place, readonly=True)
    talk(log, "main", ("One.", "1"))
    assert lines(Conversations(reader)) == [("One.", "1")]
    reader.close()


def test_the_end_of_a_long_log_is_read_as_quickly_as_that_of_a_short_one(journal: Journal, log: Conversations) -> None:
    """SQLite takes as many steps for it among 20 exchanges as among 4,000."""

    def steps() -> int:
        taken = 0

        def step() -> int:
            nonlocal taken
            taken += 1
            return 0

        with journal.read() as connection:
            raw = connection.connection.driver_connection
            assert isinstance(raw, sqlite3.Connection)
        raw.set_progress_handler(step, 1)
        assert len(log.tail("main", 16)) == 16
        raw.set_progress_handler(None, 1)
        return taken

    talk(log, "main", *[(f"Question {n}.", f"Answer {n}.") for n in range(20)])
    before = steps()
    with sqlite3.connect(str(journal._place)) as connection:
        connection.executemany(
            "INSERT INTO exchanges (namespace, conversation, text, at) VALUES ('default', 'main', ?, "
            "'2026-01-01T00:00:00+00:00')", [("x",)] * 4_000,
        )  # fmt: skip
    connection.close()
    assert 0 < steps() <= before + 16
