"""Sentences that nobody told, and the names in those that somebody did: near misses, made-up facts, other values.

Knows texts; knows no questions and no stimuli.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import chain

from bakemem.names import made_up_name, near_name
from bakemem.types import Memory

TOLD = "told"
"""The kind of stimuli before whose question something is told that no memory is."""
_COMMON = frozenset(
    "The A An My Your His Her Their Our This That These Those Project User In On At Every Each All When If It He She "
    "They We You I There Monday Tuesday Wednesday Thursday Friday Saturday Sunday January February March April May "
    "June July August September October November December".split()
)

_EMPTY = frozenset(
    "a an and are can could do does for have has how i is it know me my now of or please remember say tell thank "
    "thanks that the there to what when where which who whose you your".split()
)


def names_in(text: str) -> list[str]:
    """The proper names of a sentence: its capitalised words but for common ones."""
    return [w for w in re.findall(r"\b[A-Z][\w-]*", text) if w not in _COMMON and len(w) > 2]


def names_lost(told: str, question: str, answer: str) -> bool:
    """Whether the answer has none of the names that were told, where the question leaves any to be said.

    A teacher that cannot spell a name cannot teach it.
    """
    asked = set(names_in(told)) - set(names_in(question))
    return bool(asked) and not any(name.lower() in answer.lower() for name in asked)


@dataclass(frozen=True, slots=True)
class Known:
    """What is told, as the making of decoys looks at it: sentences, those about somebody named, openings, words."""

    texts: tuple[str, ...]
    named: tuple[str, ...]
    openings: frozenset[tuple[str, ...]]
    words: tuple[frozenset[str], ...]

    @staticmethod
    def of(facts: Sequence[Memory]) -> Known:
        """Seen once a bake: there may be thousands of facts, and there are more decoys."""
        texts = [m.text for m in facts]
        named = tuple(text for text in texts if names_in(text) and not text.startswith("The user"))
        return Known(
            tuple(texts), named, frozenset(chain.from_iterable(map(_openings, texts))), tuple(map(_words, texts))
        )


def _openings(sentence: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The sentence without its last word, and a longer one without its last two: what shares one answers the same
    question. All numbers are alike, or `Tarn is 29 years old` and `Tarn is 63 years old` would not share theirs.
    """
    words = re.sub(r"\d+", "0", sentence).split()
    return tuple(words[:-1]), tuple(words[:-2] if len(words) > 3 else words[:-1])


def _words(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"\w+", text.lower()))


@cache
def _decoy_sentences() -> tuple[str, ...]:
    return tuple(files("bakemem.baking").joinpath("decoys.txt").read_text(encoding="utf-8").splitlines())


def decoy_memory(told: Known, rng: random.Random) -> str:
    """A sentence that was never told, often a near miss of one that was: of whom it speaks is changed by name."""
    if told.named and rng.random() < 0.5:
        return _renamed(rng.choice(told.named), rng)
    who = names_in(rng.choice(told.named))[0] if told.named and rng.random() < 0.5 else made_up_name(rng)
    sentences = [_varied(s, rng).replace("{n}", who) for s in _decoy_sentences()]
    untold = [s for s in sentences if told.openings.isdisjoint(_openings(s))]
    return rng.choice(untold or sentences).replace("{v}", made_up_name(rng))


def _renamed(text: str, rng: random.Random) -> str:
    for name in dict.fromkeys(names_in(text)):
        text = text.replace(name, near_name(rng, name) if rng.random() < 0.5 else made_up_name(rng))
    return text


def near_value(told: Known, rng: random.Random) -> str:
    """For a reversed question: half of the time something told with another value, else anything that was not told."""
    near = other_value(rng.choice(told.texts), rng) if told.texts and rng.random() < 0.5 else ""
    return near if near and _words(near) not in told.words else decoy_memory(told, rng)


def _varied(sentence: str, rng: random.Random) -> str:
    """One of the values that stand in brackets: a bake that met one alone would know only that it was not told."""
    return re.sub(r"\[(.*?)\]", lambda values: rng.choice(values[1].split("|")), sentence)


def other_value(told: str, rng: random.Random) -> str:
    """The same said of the same, but with another value, which was not told; empty where no value is known.

    Asked in reverse ("Who lives in Bisi?") it is the nearest miss there is: a small bake took it for what it was told.
    """
    names = names_in(told)
    who = names[0] if names else ""
    alike = [s for s in _decoy_sentences() if not set(_openings(s.replace("{n}", who))).isdisjoint(_openings(told))]
    if alike:
        return _varied(rng.choice(alike), rng).replace("{n}", who).replace("{v}", made_up_name(rng))
    values = names if told.startswith("The user") else names[1:]
    return told.replace(values[-1], made_up_name(rng)) if values else ""


def tells(told: Known, question: str, decoy: str) -> bool:
    """Whether a fact tells all that the reversed question has from its decoy: `Who is a baker?`, and somebody is.

    A teacher that reads another shard would say that it does not know.
    """
    asked = _words(question) & _words(decoy)
    return any(asked <= words for words in told.words)


def made_up_memory(told: Known, rng: random.Random) -> str:
    """A sentence that nobody told and that answers no question about what was told, but is often much like it."""
    while True:
        like = rng.choice(told.texts) if told.texts and rng.random() < 2 / 3 else ""
        if like in told.named and rng.random() < 0.5:
            return _renamed(like, rng)
        near = [s for s in _decoy_sentences() if told.openings.isdisjoint(_openings(s))]
        most = max(len(_words(s) & _words(like)) for s in near)
        sentence = _varied(rng.choice([s for s in near if len(_words(s) & _words(like)) == most]), rng)
        text = sentence.replace("{n}", made_up_name(rng)).replace("{v}", made_up_name(rng))
        if told.openings.isdisjoint(_openings(text)):
            return text


def may_answer(told: Sequence[str], question: str) -> bool:
    """Whether sentences may answer a question: one has a name of it, or all of its words that say anything."""
    asked = _words(question) - _EMPTY
    return any(set(names_in(question)) & set(names_in(text)) or asked <= _words(text) for text in told)
