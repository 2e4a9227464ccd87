"""Questions that lie next to what was told, and were not: other people's dogs, other things of the user, other values.

Knows the made-up world; knows no model.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from bakemem.names import near_name
from bakemem.starter import Fact, ask, make_name
from bakemem.starter.talk import dress
from bakemem.starter.world import ATTRIBUTES, clashes


def near_misses(facts: Sequence[Fact], rng: random.Random) -> list[tuple[str, str]]:
    """Kind and question; every right answer is that it is not known."""
    asked: list[tuple[str, str]] = []
    for fact in facts:
        for kind, missing, way in _around(fact, rng):
            if not any(clashes(missing, known) for known in facts):
                asked.append((kind, dress(rng, ask(rng, missing, way)[0], True)))
        for _ in range(4):
            value = fact.attribute.values(rng, True)
            question = ask(rng, Fact(fact.attribute, fact.subject, value), "reversed")[0]
            if not any(question in _reversed(known) for known in facts):
                asked.append(("other value", dress(rng, question, True)))
    return list(dict.fromkeys(asked))


def questions_of(fact: Fact) -> set[str]:
    """Every question that a fact answers, bare."""
    attribute = fact.attribute
    return {fact.fill(t) for t in (*attribute.direct, *attribute.paraphrase, *attribute.reverse)}


def _around(fact: Fact, rng: random.Random) -> list[tuple[str, Fact, str]]:
    """Facts that nobody told, around one that was told, and how each is asked."""
    attribute = fact.attribute
    others = rng.sample(ATTRIBUTES[attribute.subject], 4 if fact.subject else 12)
    around = [("other attribute", Fact(a, fact.subject, a.values(rng, True)), "direct") for a in others]
    for way in ("direct", "paraphrase"):
        for like in [attribute] if fact.subject else [a for a in ATTRIBUTES["person"] if a.slug == attribute.slug]:
            around += [("other subject", Fact(like, make_name(rng, True), like.values(rng, True)), way)
                       for _ in range(2)]  # fmt: skip
        if fact.subject:
            near = near_name(rng, fact.subject)
            around.append(("name one letter off", Fact(attribute, near, attribute.values(rng, True)), way))
    return around


def _reversed(fact: Fact) -> set[str]:
    return {fact.fill(template) for template in fact.attribute.reverse}
