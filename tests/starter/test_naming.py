"""Names of any spelling, and which of them training never shows."""

from __future__ import annotations

import random

from bakemem.names import near_name
from bakemem.starter.naming import REAL_NAMES, english_word, is_held_out, make_name, spelled_name


def test_training_shows_none_of_the_exams_names() -> None:
    """The exam has a tenth of what is made up, and names that people have."""
    rng = random.Random(0)
    shown, asked = ({make_name(rng, held_out) for _ in range(3000)} for held_out in (False, True))
    assert not shown & asked
    assert not any(is_held_out(name) for name in shown)
    assert all(map(is_held_out, asked))
    assert 0.1 < sum(name in REAL_NAMES for name in (make_name(rng, True) for _ in range(1000))) / 1000 < 0.3
    assert not shown & set(REAL_NAMES)


def test_names_are_single_words_of_any_spelling() -> None:
    """Whatever is drawn can be said, asked about, and changed by one letter."""
    rng = random.Random(1)
    names = [make_name(rng, held_out) for held_out in (False, True) for _ in range(1000)]
    names += [spelled_name(rng) for _ in range(1000)]
    assert all(name.isalpha() and name == name.capitalize() and 2 <= len(name) <= 12 for name in names)
    assert all(near_name(rng, name) != name for name in names)
    assert any(not name.isascii() for name in names)


def test_english_words_keep_to_their_side_of_the_split() -> None:
    """A tenth of them is kept for the exam of tools."""
    rng = random.Random(2)
    for held_out in (False, True):
        assert all(is_held_out(english_word(rng, held_out)) == held_out for _ in range(300))
