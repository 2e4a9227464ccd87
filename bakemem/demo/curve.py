"""The forgetting curve: the same small talk with base, prompted and baked models, probed as it grows longer.

Knows a base model, adapters and questions; knows no memories.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bakemem.baking import LongConversations, same, share
from bakemem.demo.story import Question
from bakemem.serving import Base

TURNS = (1, 4, 8, 16, 32, 64)


@dataclass(frozen=True, slots=True)
class Point:
    """What was kept at one turn: shares of instructed answers in the right form, and of facts recalled."""

    turn: int
    instruction: float
    facts: float


def forgetting_curve(
    base: Base, adapter_id: str | None, system: str, small_talk: Sequence[Question], known: Sequence[Question], *,
    conversations: int = 12, turns: Sequence[int] = TURNS, facts_each: int = 3, seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> list[Point]:  # fmt: skip
    """Hold `conversations` dialogues of everyday small talk, the model's own replies kept, and probe them at `turns`.

    A probe leaves no trace. The instruction is kept when the small-talk answer of that turn is right in the instructed
    form; a fact is recalled when the answer holds its value.
    """
    rng = random.Random(f"curve:{seed}")
    talk = LongConversations(base.model, base.template, [system] * conversations, adapter_id, base.lock)
    points = []
    for turn in range(1, max(turns) + 1):
        asked = [rng.choice(small_talk) for _ in range(conversations)]
        if turn in turns:
            recalled = []
            for n in range(facts_each):
                probes = [known[(i + n) % len(known)] for i in range(conversations)]
                replies = talk.say([probe.text for probe in probes], keep=False)
                recalled += [probe.value.lower() in r.lower() for probe, r in zip(probes, replies, strict=True)]
        replies = talk.say([question.text for question in asked])
        if turn in turns:
            kept = [same(question.right, reply) for question, reply in zip(asked, replies, strict=True)]
            points.append(Point(turn, share(kept), share(recalled)))
        if progress:
            progress(turn, max(turns))
    return points
