"""The experiment on order asks about what changed, and knows an old value when it is said."""

from __future__ import annotations

import random

from bakemem.starter import make_facts
from benchmarks.science.order import changed, questions, says, score


def test_a_value_counts_as_a_word_of_its_own_only() -> None:
    """`red` is not said by `predred`, and a number not by a longer one; case does not matter."""
    assert says("You drive a Red car.", "red")
    assert not says("Your boat is called Predred.", "red")
    assert not says("You are 123 years old.", "12")


def test_no_changed_value_was_there_before() -> None:
    """A new value is none that any of the facts has or had, so that whose it is can be told."""
    for seed in range(20):
        old = make_facts(random.Random(seed), 6, held_out=True)
        new = changed(random.Random(seed), old)
        assert [f.key for f in new] == [f.key for f in old]
        assert len({f.value for f in (*old, *new)}) == len({f.value for f in old}) + len(new)


def test_only_the_newest_answers_are_right() -> None:
    """A model that answers by the new values gets all, one that answers by the old ones gets what did not change."""
    rng = random.Random(0)
    facts = make_facts(rng, 8, held_out=True)
    old, kept = facts[:6], facts[6:]
    new = changed(rng, facts)[:6]
    asked = questions(rng, old, new, kept)
    by_new = score(asked, [q.right for q in asked])
    assert by_new == {"newest": 1, "reversed": 1, "old reversed": 1, "kept": 1, "newest said": 1, "old said": 0}
    stale = [q.right.replace(q.newest, q.old) if q.sort == "newest" else q.right for q in asked]
    assert score(asked, stale) == {**by_new, "newest": 0, "newest said": 0, "old said": 1}
