"""What is the user's in a message that other middleware has written to."""

from __future__ import annotations

import pytest

from bakemem.agents.hearing import turn_of
from bakemem.types import Turn

UPPER = "Always answer in upper case."


@pytest.mark.parametrize(
    ("said", "now", "role", "text"),
    [
        ("I am ada@example.org.", "I am [REDACTED_EMAIL].", "user", "I am [REDACTED_EMAIL]."),
        ("I am ada@example.org.", "I am <email_hash:0a1b2c3d>.", "user", "I am <email_hash:0a1b2c3d>."),
        ("I am ada@example.org.", "I am ada@****.org.", "user", "I am ada@****.org."),
        ("Card 4111 1111 1111 1111?", "Card **** **** **** 1111?", "user", "Card **** **** **** 1111?"),
        ("A long story, and so on.", "A long story", "user", "A long story"),
        ("I live in Tarn.", f"{UPPER} I live in Tarn.", "user", "I live in Tarn."),
        ("I am ada@example.org.", f"I am [REDACTED_EMAIL]. {UPPER}", "document", f"I am [REDACTED_EMAIL]. {UPPER}"),
        ("", UPPER, "user", ""),
        (None, UPPER, "document", UPPER),
    ],
)
def test_what_is_the_users_in_a_message_that_was_written_to(said: str | None, now: str, role: str, text: str) -> None:
    """Redacted or shortened it is as it reads now; with more around it, as it was said; else it is a document's."""
    assert turn_of(said, now) == Turn(role, text)  # type: ignore[arg-type]
