"""Fifty bakes in a row: what is asked of them, and what becomes of a generation that was superseded whole."""

from __future__ import annotations

from benchmarks.science.lab import rng_of
from benchmarks.science.sequence import EACH, life, living, oldest


def test_the_oldest_generation_is_the_first_that_holds() -> None:
    """By its number: the tenth is not before the second."""
    assert oldest({"generations": {"10": 0.5, "2": 0.75, "30": 1.0}}) == 0.75


def test_a_life_supersedes_some_and_asks_of_nothing_twice() -> None:
    """What holds at the end has a key of its own each, and something was superseded."""
    told = life(rng_of("sequence", 0), 50)
    left = living(told, 49)
    assert len(told) == 50 * EACH > len(left)
    assert len({t.memory.key for t in left}) == len(left)
