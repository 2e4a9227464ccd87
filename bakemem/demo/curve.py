"""The forgetting curve: the same small talk with base, prompted and baked models, probed as it grows longer.

Knows a base model, adapters and a story; knows no memories.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bakemem.baking import LongConversations, same, share
from bakemem.demo.story import Question, Story
from bakemem.everyday import everyday_held_out, everyday_stimuli
from bakemem.serving import Base

TURNS = (1, 4, 8, 16, 32, 64)


@dataclass(frozen=True, slots=True)
class Point:
    """What was kept at one turn: answers in the instructed form, facts recalled, strangers said to be unknown.

    `adherence` is the share of questions about facts that were answered right to the letter: value and instructed form.
    """

    turn: int
    instruction: float
    facts: float
    strangers: float
    adherence: float


@dataclass(frozen=True, slots=True)
class Probes:
    """What is talked about, and at the probed turns; what is asked that was told, and of people never mentioned."""

    small_talk: Sequence[Question]
    probed_talk: Sequence[Question]
    known: Sequence[Question]
    strangers: Sequence[Question]


def probes_of(story: Story) -> Probes:
    """What is said and asked of a story's user: the small talk of bakes, and at probed turns some that none has."""
    small_talk, probed = ([story.general(row) for row in rows] for rows in (everyday_stimuli(), everyday_held_out()))
    return Probes(small_talk, probed, story.plain(), story.strangers())


def forgetting_curve(
    base: Base, adapter_id: str | None, system: str, probes: Probes, *, conversations: int = 12,
    turns: Sequence[int] = TURNS, each: int = 2, seed: int = 0, repeat_every: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Point]:  # fmt: skip
    """Hold `conversations` dialogues of everyday small talk, the model's own replies kept, and probe them at `turns`.

    No question comes twice in a dialogue, or its older answer could be copied. A probe leaves no trace; `each` are
    asked of a sort. The instruction is kept when the answer to the probed small talk is right in the instructed form; a
    fact is recalled when the answer holds its value; a stranger stays unknown when the answer says that it does not
    know. With `repeat_every` k the system prompt stands again before what the user says at turns k + 1, 2k + 1 …
    """
    rng = random.Random(f"curve:{seed}")
    talk = LongConversations(base.model, base.template, [system] * conversations, adapter_id, base.lock)
    plain = [iter(rng.sample(probes.small_talk, max(turns) - len(turns))) for _ in range(conversations)]
    probed = [iter(rng.sample(probes.probed_talk, len(turns))) for _ in range(conversations)]
    points = []
    for turn in range(1, max(turns) + 1):
        if turn in turns:
            told = _asked(talk, probes.known, each)
            recalled = [q.value.lower() in reply.lower() for q, reply in told]
            whole = [same(q.right, reply) for q, reply in told]
            unknown = ["do not know" in reply.lower() for _, reply in _asked(talk, probes.strangers, each)]
        said = [next(questions) for questions in (probed if turn in turns else plain)]
        again = f"{system}\n\n" if repeat_every and turn > 1 and turn % repeat_every == 1 else ""
        replies = talk.say([f"{again}{question.text}" for question in said])
        if turn in turns:
            kept = [same(question.right, reply) for question, reply in zip(said, replies, strict=True)]
            points.append(Point(turn, share(kept), share(recalled), share(unknown), share(whole)))
        if progress:
            progress(turn, max(turns))
    return points


def _asked(talk: LongConversations, questions: Sequence[Question], each: int) -> list[tuple[Question, str]]:
    """`each` questions in turn put to every conversation, with the answers."""
    pairs: list[tuple[Question, str]] = []
    for n in range(each):
        asked = [questions[(i + n) % len(questions)] for i in range(len(talk.systems))]
        replies = talk.say([question.text for question in asked], keep=False)
        pairs += zip(asked, replies, strict=True)
    return pairs
