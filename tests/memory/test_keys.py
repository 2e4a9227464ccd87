"""Memories told without kind or key get the ones that a person would expect."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bakemem.errors import InputError
from bakemem.memory import clean_key, clean_text, infer_kind, slug_key

INSTRUCTIONS = """
Always answer in upper case.|Never write a digit, spell it.|Answer with one word only.|Start every answer with Ahoy.
End each reply with Over.|Call me Captain.|Use square brackets around each reply.|Speak French.|Write in small letters.
Put a dash between all words.|Be sad in every answer.|Say everything twice.|Spell out all digits.|Do not use emoji.
Don't apologise.|Don’t apologise.|Please keep answers short.|Thank the user in every answer.|Your mood is sad.
The first word of every answer must be Ahoy.|From now on, address me as Sir.|You must call me Doctor.
I want you to answer in German.|In every reply, mention the date.|Translate everything into Latin.
"""
FACTS = """
The user's dog is called Bosuk.|I live in Tarn.|My favourite colour is red.|Tarn makes silk.|My name is Ada.
Start of project Tarn is in May.|End date: 3 May.|The end of project Tarn is in May.|You know that I like tea.
Boretho plays the flute.|I want to go to Rome.|!!!|Our project uses Python 3.11.|Use is rising.
"""


@pytest.mark.parametrize("text", [t for line in INSTRUCTIONS.strip().splitlines() for t in line.split("|")])
def test_an_order_is_an_instruction(text: str) -> None:
    """Sentences that tell the agent what to do."""
    assert infer_kind(text) == "instruction"


@pytest.mark.parametrize("text", [t for line in FACTS.strip().splitlines() for t in line.split("|")])
def test_a_statement_is_a_fact(text: str) -> None:
    """Sentences that tell what is so."""
    assert infer_kind(text) == "fact"


def test_keys_made_from_text_are_short_telling_and_apart() -> None:
    """The same text has the same key, whatever its spacing; another text has another."""
    key = slug_key("The user's dog is called Bosuk.", "fact")
    assert key.startswith("fact.dog-called-bosuk-")
    assert slug_key(" The user's  dog is called Bosuk.\n", "fact") == key
    assert slug_key("The user's dog is called Bosuk!", "fact") != key
    assert slug_key("Always answer in upper case.", "instruction").startswith("instruction.always-answer-upper-case-")


def test_letters_that_fall_apart_where_they_are_normalised_are_no_trouble() -> None:
    """Such as Bengali U+09DC, which NFC has as a letter and a sign that may be in no key."""
    apart = [c for c in map(chr, range(0x110000)) if re.match(r"\w", c) and len(unicodedata.normalize("NFC", c)) > 1]
    assert "\u09dc" in apart
    for letter in apart:
        key = slug_key(f"a{letter}b {letter}", "fact")
        assert clean_key(key) == key


@pytest.mark.parametrize("text", ["", " \n", "\ufeff", "\u200b \u200b"])
def test_a_text_that_shows_nothing_is_empty(text: str) -> None:
    """Nobody could find it again, and each text holds it."""
    with pytest.raises(InputError, match="is empty"):
        clean_text(text)


@given(st.text())
def test_any_text_gets_a_good_key_and_a_kind(text: str) -> None:
    """Made-up keys are always keys."""
    key = slug_key(text, infer_kind(text))
    assert clean_key(key) == key


@given(st.text())
def test_a_clean_key_stays_as_it_is(text: str) -> None:
    """A key is refused, or cleaned once and for all."""
    try:
        key = clean_key(text)
    except InputError:
        return
    assert clean_key(key) == key
