"""Names of any spelling, and which of them training never shows."""

from __future__ import annotations

import random

from transformers import PreTrainedTokenizerBase

from bakemem.names import near_name
from bakemem.starter.naming import REAL_NAMES, english_word, is_held_out, make_name, on_side, pieced_name, spelled_name


def test_training_shows_none_of_the_exams_names() -> None:
    """The exam has a tenth of what is made up, and names that people have."""
    rng = random.Random(0)
    shown, asked = ({make_name(rng, held_out) for _ in range(3000)} for held_out in (False, True))
    assert not shown & asked
    assert not any(is_held_out(name) for name in shown)
    assert all(map(is_held_out, asked))
    assert 0.1 < sum(name in REAL_NAMES for name in (make_name(rng, True) for _ in range(1000))) / 1000 < 0.3
    assert not shown & set(REAL_NAMES)


def test_any_piece_of_the_vocabulary_may_stand_in_a_name(tokenizer: PreTrainedTokenizerBase) -> None:
    """What the tokenizer makes of other words too: `Andrew` begins with a piece that no made-up syllable has."""
    rng, seen = random.Random(3), set[str]()
    for _ in range(20_000):
        seen |= set(tokenizer.tokenize(f" {on_side(rng, pieced_name, False)}"))
    for name in REAL_NAMES:
        if name.isascii():
            assert set(tokenizer.tokenize(f" {name}")) <= seen, name


def test_names_are_single_words_of_any_spelling() -> None:
    """Whatever is drawn can be said, asked about, and changed by one letter."""
    rng = random.Random(1)
    names = [make_name(rng, held_out) for held_out in (False, True) for _ in range(1000)]
    names += [make(rng) for make in (spelled_name, pieced_name) for _ in range(1000)]
    assert all(name.isalpha() and name == name.capitalize() and 2 <= len(name) <= 12 for name in names)
    assert all(near_name(rng, name) != name for name in names)
    assert any(not name.isascii() for name in names)


def test_english_words_keep_to_their_side_of_the_split() -> None:
    """A tenth of them is kept for the exam of tools."""
    rng = random.Random(2)
    for held_out in (False, True):
        assert all(is_held_out(english_word(rng, held_out)) == held_out for _ in range(300))
