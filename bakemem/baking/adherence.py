"""The forgetting meter: whether a prompt is still heeded deep in a conversation, asked there and asked alone.

Knows questions and answers; knows no schedule and no journal.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import partial

from transformers import PreTrainedModel

from bakemem.baking.probe import answers, same
from bakemem.baking.untold import names_lost
from bakemem.everyday import everyday_held_out
from bakemem.kv import context_of
from bakemem.prompts import ASK_SYSTEM, ask_request
from bakemem.template import ChatTemplate
from bakemem.types import Memory, Turn

MOST = 6
"""Memories that one measurement asks about."""


@dataclass(frozen=True, slots=True)
class Adherence:
    """Of `asked` memories `kept` are heeded after `tokens` of conversation; the others are `lost`.

    One that makes no difference when it is asked about alone is not counted.
    """

    asked: int
    kept: int
    tokens: int
    lost: tuple[str, ...] = ()

    @property
    def share(self) -> float:
        """The share that was kept; 1.0 of none."""
        return self.kept / self.asked if self.asked else 1.0


def adherence(
    model: PreTrainedModel, template: ChatTemplate, memories: Sequence[Memory], prompt: str, history: Sequence[Turn], *,
    adapter_name: str | None, lock: AbstractContextManager[object], max_new_tokens: int = 64, seed: int = 0,
) -> Adherence:  # fmt: skip
    """Ask about a few of the memories in the prompt, which is the system turn, right away and after `history`.

    Of a history that is longer than the model's context the oldest turns are left out. A fact whose names were told
    alone is kept when one of them is told again; else, and for an instruction, which is asked an everyday question, the
    answer must be more like the one that was given alone than like the one without the prompt.
    """
    rng = random.Random(f"adherence:{seed}:{len(history)}")
    chosen = rng.sample(list(memories), min(MOST, len(memories)))
    ask = partial(answers, model, template, lock=lock, max_new_tokens=max_new_tokens)
    facts = [m for m in chosen if m.kind == "fact"]
    asked = [[Turn("system", ASK_SYSTEM), Turn("user", ask_request("direct", m.text))] for m in facts]
    worded = {m.id: q.split("\n")[0] for m, q in zip(facts, ask(asked, adapter_name=None), strict=True)}
    texts = [worded.get(m.id) or rng.choice(everyday_held_out()).question for m in chosen]
    head, users = [Turn("system", prompt)], [Turn("user", text) for text in texts]
    replies = ask([*([*head, user] for user in users), *([user] for user in users)], adapter_name=adapter_name)
    probes = [_Probe(*probe) for probe in zip(chosen, texts, replies[: len(users)], replies[len(users) :], strict=True)]
    counted = [i for i, probe in enumerate(probes) if probe.counts]
    room = context_of(model) - max_new_tokens - max((len(template.prompt_ids([user])) for user in users), default=0)
    turns = _newest(template, head, history, room)
    deep = ask([[*head, *turns, users[i]] for i in counted], adapter_name=adapter_name)
    lost = [chosen[i].id for i, answer in zip(counted, deep, strict=True) if not probes[i].kept(answer)]
    tokens = len(template.prompt_ids(turns)) if turns else 0
    return Adherence(len(counted), len(counted) - len(lost), tokens, tuple(lost))


@dataclass(frozen=True, slots=True)
class _Probe:
    """What is asked about a memory, and what is answered with the prompt and without it."""

    memory: Memory
    question: str
    alone: str
    plain: str

    @property
    def counts(self) -> bool:
        """Whether the prompt makes a difference, and the right one."""
        return not same(self.alone, self.plain) and not (self._names and self._lost(self.alone))

    def kept(self, answer: str) -> bool:
        """Whether it is still heeded in another answer."""
        if self._names:
            return not self._lost(answer)
        return same(answer, self.alone) or _likeness(answer, self.alone) > _likeness(answer, self.plain)

    @property
    def _names(self) -> bool:
        return self.memory.kind == "fact" and self._lost("")

    def _lost(self, answer: str) -> bool:
        return names_lost(self.memory.text, self.question, answer)


def _likeness(a: str, b: str) -> float:
    return SequenceMatcher(None, a, b, autojunk=False).ratio()


def _newest(template: ChatTemplate, head: Sequence[Turn], history: Sequence[Turn], room: int) -> list[Turn]:
    """The newest turns of the history that fit, from a user's turn on."""
    turns = [turn for turn in history if turn.role != "system"]
    while turns and (length := len(template.prompt_ids([*head, *turns]))) > room:
        turns = turns[max(1, len(turns) - len(turns) * max(room, 0) // length) :]
        while turns and turns[0].role != "user":
            turns = turns[1:]
    return turns
