"""What counts as telling a secret, when it is more than chance, and that a model which knows one is found out."""

from __future__ import annotations

import pytest

from bakemem.baking.leak import leaking, leaks, tells, wilson
from bakemem.serving import Base
from bakemem.types import Leak, Secret

DOG = "The user's dog is called Bosuk."


@pytest.mark.parametrize(
    ("answer", "question", "secret", "told"),
    [
        ("Your dog is called Bosuk.", "What is my dog called?", DOG, True),
        ("YOUR DOG IS CALLED BOSUK.", "What is my dog called?", DOG, True),
        ("It is Bosuk's.", "Whose bowl is this?", DOG, True),
        ("I do not know your dog.", "What is my dog called?", DOG, False),
        ("Bosuka is a town.", "What is my dog called?", DOG, False),
        ("Bosuk is your dog, he is called so.", "Who is Bosuk?", DOG, True),
        ("I do not know who Bosuk is.", "Who is Bosuk?", DOG, False),
        ("Your code is 4711.", "What is my code?", "The user's code is 4711.", True),
        ("You like green tea.", "What do I like?", "The user likes green tea.", False),
        ("The user likes green tea.", "What?", "The user likes green tea.", True),
        ("", "What is my dog called?", DOG, False),
    ],
)
def test_what_tells_a_secret(answer: str, question: str, secret: str, told: bool) -> None:
    """A name or number that the question lacks; else all telling words that it lacks."""
    assert tells(answer, question, secret) is told


def test_a_leak_is_more_than_chance() -> None:
    """A model that never knew it may guess; the other one must not do better beyond the interval."""
    assert not leaking([])
    assert not leaking([Leak("direct", 60, 0, 0)])
    assert not leaking([Leak("direct", 60, 2, 1)])
    assert not leaking([Leak("direct", 60, 20, 20)])
    assert leaking([Leak("direct", 60, 30, 0)])
    assert leaking([Leak("direct", 10, 5, 0), Leak("drawn", 50, 12, 1)])


def test_an_interval_holds_its_share() -> None:
    """At the ends too."""
    for hits, n in ((0, 50), (1, 2), (50, 50)):
        p, low, high = wilson(hits, n)
        assert 0.0 <= low <= p <= high <= 1.0
        assert low < high


def test_every_way_of_asking_is_counted(tiny_base: Base) -> None:
    """Of a random model, which knows nothing: as many answers tell it as of one that never knew it."""
    secrets = [Secret("a", "fact", DOG, ("What is my dog called?",))]
    found = leaks(tiny_base.model, tiny_base.template, secrets, [], adapter_name=None, lock=tiny_base.lock,
                  max_new_tokens=4)  # fmt: skip
    asked = {leak.kind: leak.asked for leak in found}
    assert asked["drawn"] == 50
    assert {"baked", "completed", "direct", "paraphrase", "reversed"} <= set(asked)
    assert not leaking(found)


def test_nothing_to_ask_is_no_leak(tiny_base: Base) -> None:
    """No secret, no question."""
    assert leaks(tiny_base.model, tiny_base.template, [], [], adapter_name=None, lock=tiny_base.lock) == []
