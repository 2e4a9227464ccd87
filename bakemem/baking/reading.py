"""What the teacher of each stimulus reads: the shard that tells of it, or, for work for programs, instructions alone.

Knows prompts and answers; knows no training.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager

from transformers import PreTrainedModel

from bakemem.baking.probe import answers
from bakemem.baking.rollout import prompted
from bakemem.baking.tasks import TASK, brackets
from bakemem.baking.untold import TOLD
from bakemem.prompts import instructions_in
from bakemem.template import ChatTemplate
from bakemem.types import Prompt, Stimulus

WITHOUT_FACTS = frozenset({TASK, TOLD})
"""Kinds of stimuli that are answered from what stands before or in the question: no fact matters to them."""


def prompts_for(
    stimuli: Sequence[Stimulus], shards: Sequence[Prompt], spoiled: Collection[int] = frozenset()
) -> list[str]:
    """What the teacher of each stimulus reads. Facts that do not matter can only take its mind off a task, or off what
    it was just told, so it reads the instructions there, and nothing where those have `spoiled` the answer (indices of
    stimuli).
    """
    instructions = instructions_in(shards[0].text)
    return [("" if i in spoiled else instructions) if s.kind in WITHOUT_FACTS else shard_for(s, shards, i)
            for i, s in enumerate(stimuli)]  # fmt: skip


def shard_for(stimulus: Stimulus, shards: Sequence[Prompt], i: int) -> str:
    """The shard that holds most of what the stimulus is about; another one each time when it is about nothing."""
    about = set(stimulus.memory_ids)
    if not about:
        return shards[i % len(shards)].text
    return max(shards, key=lambda shard: len(about & set(shard.memory_ids))).text


def spoiled(
    model: PreTrainedModel, template: ChatTemplate, stimuli: Sequence[Stimulus], shards: Sequence[Prompt], *,
    lock: AbstractContextManager[object], max_new_tokens: int = 64,
) -> list[int]:  # fmt: skip
    """The indices of tasks whose answers a program reads no more when the instructions stand before them.

    An instruction may change what is in a call or an object, but not make it none.
    """
    instructions = instructions_in(shards[0].text)
    asked = {i: s for i, s in enumerate(stimuli) if s.kind == TASK} if instructions else {}
    if not asked:
        return []
    conversations = [prompted(s, read) for read in ("", instructions) for s in asked.values()]
    replies = answers(model, template, conversations, adapter_name=None, lock=lock, max_new_tokens=max_new_tokens)
    plain, told = replies[: len(asked)], replies[len(asked) :]
    return [i for i, a, b in zip(asked, plain, told, strict=True) if brackets(a) and brackets(a) != brackets(b)]
