"""What was heard of an agent's threads: each wording of a message once, and what stays of it when it is forgotten."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import sqlalchemy as sa

from bakemem.errors import InputError
from bakemem.memory import Journal, TurnQueue, forget, once, schema
from bakemem.types import Draft, Provenance, Turn

DOG, TOWN = "My dog is called Bosuk.", "I live in Tarn."


def hear(journal: Journal, text: str, message: str = "m1", conversation: str = "t1") -> int:
    """How many turns were taken."""
    turns: Sequence[Turn] = [Turn("user", text)]
    return TurnQueue(journal).put(turns, conversation, once(journal, conversation, message, turns))


def keep(journal: Journal, text: str, message: str = "m1") -> str:
    """A memory that was read out of a message; its id."""
    assert hear(journal, text, message)
    queue = TurnQueue(journal)
    queue.done(queue.waiting()[-1])
    key = "k" + "".join(c for c in text if c.isalpha())
    return journal.add(Draft("fact", key, text), Provenance("user", "user", "t1", text)).id


def rows(journal: Journal) -> list[tuple[str, str]]:
    """The messages that are known, with what is known of their words."""
    with journal.read() as connection:
        found = connection.execute(sa.select(schema.heard.c.message, schema.heard.c.words)).all()
    return [(message, words) for message, words in found]


def test_a_message_is_heard_once_in_the_same_words(journal: Journal) -> None:
    """Another wording, message, conversation or namespace is another."""
    assert [hear(journal, DOG), hear(journal, DOG), hear(journal, TOWN), hear(journal, DOG)] == [1, 0, 1, 0]
    assert hear(journal, DOG, "m2") == hear(journal, DOG, conversation="t2") == 1
    other = Journal(journal.root / "journal.db", "other")
    assert hear(other, DOG) == 1
    other.close()


def test_no_text_is_kept_and_nothing_where_the_turn_is_not(journal: Journal) -> None:
    """A message and its turn are written down in one transaction."""
    with pytest.raises(InputError, match="message's id"):
        hear(journal, DOG, "half \ud800")
    with pytest.raises(InputError, match="A turn"):
        hear(journal, "half \ud800")
    assert rows(journal) == []
    hear(journal, DOG)
    [(message, words)] = rows(journal)
    assert (message, len(words)) == ("m1", 4)


def test_what_is_forgotten_is_heard_in_no_wording_and_leaves_no_trace(journal: Journal) -> None:
    """Not even as much as a guess could be held against; of other messages it stays."""
    dog, _ = keep(journal, DOG), keep(journal, TOWN, "m2")
    forget(journal, [dog])
    assert [message for message, words in rows(journal) if not words] == ["m1"]
    assert hear(journal, DOG) == hear(journal, "My dog is Bosuk.") == hear(journal, TOWN, "m2") == 0
    assert hear(journal, "I live in Brae.", "m2") == 1


def test_a_turn_that_waits_and_is_forgotten_leaves_no_trace_either(journal: Journal) -> None:
    """It holds what is forgotten in other words."""
    dog = keep(journal, DOG)
    hear(journal, "Bosuk is my dog.", "m2")
    forget(journal, [dog])
    assert [words for _, words in rows(journal)] == ["", ""]


@pytest.mark.parametrize("how", [{"conversation": "t1"}, {"source": "user"}, {"everything": True}])
def test_with_a_conversation_its_messages_are_not_known_any_more(journal: Journal, how: dict[str, object]) -> None:
    """Nor with all that the user said."""
    keep(journal, DOG)
    hear(journal, TOWN, conversation="t2")
    forget(journal, **how)  # type: ignore[arg-type]
    assert len(rows(journal)) == (1 if "conversation" in how else 0)
