"""Many facts of the made-up world and questions about them with their right answers, for experiments of memory in bulk.

Knows the world and its wordings; knows no training.
"""

from __future__ import annotations

import random
from collections.abc import Sequence, Set
from dataclasses import dataclass
from statistics import mean

from bakemem.baking import Stimuli
from bakemem.starter import Fact, Talk, ask
from bakemem.types import Memory, Turn
from benchmarks.science.lab import Lab, prompted

KINDS = ("direct", "paraphrase", "reversed")
TRIES = 30


@dataclass(frozen=True)
class Question:
    """A question about one memory, its right answer, and the words that a right answer must hold."""

    memory: str
    kind: str
    text: str
    right: str
    value: str

    def judge(self, answer: str) -> tuple[bool, bool]:
        """Whether it is right to the letter, and whether it holds the value, as a free-spoken model's must."""
        return " ".join(answer.split()) == self.right, self.value.lower() in answer.lower()


def questions(
    rng: random.Random, facts: Sequence[Fact], memories: Sequence[Memory], kinds: Sequence[str] = KINDS,
    seen: Set[str] = frozenset(),
) -> list[Question]:  # fmt: skip
    """One question of each kind about each fact, dressed in words that the starter's training never showed, and not
    among the `seen`; none where `TRIES` draws of its wording are.
    """
    drawn = (
        (_question(rng, fact, memory, kind) for _ in range(TRIES))
        for fact, memory in zip(facts, memories, strict=True)
        for kind in kinds
    )
    return [question for some in drawn if (question := next((q for q in some if q.text not in seen), None))]


def _question(rng: random.Random, fact: Fact, memory: Memory, kind: str) -> Question:
    talk = Talk(rng, True, [fact])
    talk.recall(fact, kind)
    turn, reply = talk.turns
    value = ask(rng, fact, kind)[1].short.rstrip(".")
    return Question(memory.id, kind, turn.content, reply.content, value)


def trained_on(stimuli: Stimuli) -> frozenset[str]:
    """What a bake asked in its training, which no exam of it should ask."""
    return frozenset(stimulus.turns[-1].content for stimulus in stimuli.train)


def by_kind(asked: Sequence[Question], answers: Sequence[str]) -> dict[str, float]:
    """The share of right answers to each kind of question."""
    flags: dict[str, list[bool]] = {}
    for question, answer in zip(asked, answers, strict=True):
        flags.setdefault(question.kind, []).append(question.judge(answer)[0])
    return {kind: mean(of) for kind, of in flags.items()}


def holds_value(asked: Sequence[Question], answers: Sequence[str]) -> float:
    """The share of answers that hold the value: the generous figure, for models that speak freely."""
    return mean(question.judge(answer)[1] for question, answer in zip(asked, answers, strict=True))


def shards_of(lab: Lab, memories: Sequence[Memory]) -> dict[str, str]:
    """Which prompt the teacher reads about each memory."""
    return {memory: shard.text for shard in lab.prompts(memories) for memory in shard.memory_ids}


def read_by(shard_of: dict[str, str], question: Question) -> list[Turn]:
    """The question as the prompted base reads it."""
    return prompted([Turn("user", question.text)], shard_of[question.memory])
