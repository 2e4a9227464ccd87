"""Which questions an exam about many facts asks."""

from __future__ import annotations

import random

from bakemem.baking import Stimuli
from bakemem.starter import make_facts
from bakemem.types import Stimulus, Turn
from benchmarks.science.exam import KINDS, questions, trained_on
from benchmarks.science.lab import memories_of


def test_no_question_is_asked_that_the_bake_trained_on() -> None:
    """It is worded anew, and left out only where every wording was seen."""
    facts = make_facts(random.Random(0), 8, held_out=True)
    memories = memories_of(*facts)
    free = questions(random.Random(1), facts, memories)
    assert len(free) == len(KINDS) * len(facts)
    trained = Stimuli(tuple(Stimulus((Turn("user", q.text),), q.kind) for q in free), ())
    asked = questions(random.Random(1), facts, memories, seen=trained_on(trained))
    assert not {q.text for q in asked} & {q.text for q in free}
    assert [(q.memory, q.kind) for q in asked] == [(q.memory, q.kind) for q in free]

    class Everything(frozenset[str]):
        """Holds every text."""

        def __contains__(self, text: object) -> bool:
            return True

    assert questions(random.Random(1), facts, memories, seen=Everything()) == []
