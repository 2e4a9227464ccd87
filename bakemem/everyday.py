"""Everyday questions with their known answers: unrelated stimuli for a bake, and a measure of drift.

Knows no model. Four in five may be used as stimuli; the fifth is only ever asked by the gate,
so that drift is measured on questions that no bake has trained on.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files


@dataclass(frozen=True, slots=True)
class Everyday:
    """One everyday question, its full answer, and the answer in one word."""

    question: str
    answer: str
    short: str


@cache
def everyday() -> tuple[Everyday, ...]:
    """All everyday questions, in the order of `everyday.tsv`."""
    text = files("bakemem").joinpath("everyday.tsv").read_text(encoding="utf-8")
    return tuple(Everyday(*line.split("\t")) for line in text.splitlines()[1:])


def everyday_stimuli() -> tuple[Everyday, ...]:
    """The questions that a bake may use as unrelated stimuli: four in five."""
    return tuple(row for i, row in enumerate(everyday()) if i % 5 != 4)


def everyday_held_out() -> tuple[Everyday, ...]:
    """The questions kept for measuring drift: never trained on by a bake."""
    return everyday()[4::5]
