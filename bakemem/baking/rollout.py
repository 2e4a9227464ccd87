"""The prompted teacher's answers, and its distributions over them, computed once for a whole bake.

The teacher is the pristine base with the prompt in its context (in Prompt Pursuit the current weights with it).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from bakemem.baking.cache import batches, prefilled, shared_length
from bakemem.baking.generate import Progress, generate
from bakemem.baking.weights import adapter, breather, hidden_states
from bakemem.kv import attends
from bakemem.prompts import system_text
from bakemem.template import ChatTemplate
from bakemem.types import Stimulus, Trajectory, Turn


@dataclass(frozen=True, slots=True)
class Taught:
    """A trajectory with the teacher's hidden states before each of its tokens, shape (N, K, H), on the CPU.

    The last level gives the teacher's exact distributions; the others show how it came there.
    """

    trajectory: Trajectory
    hidden_N_K_H: Tensor


def prompted(stimulus: Stimulus, prompt: str) -> list[Turn]:
    """The stimulus as the teacher reads it: the caller's system prompt, then the memory prompt, then the turns."""
    turns = list(stimulus.turns)
    caller = turns.pop(0).content if turns[0].role == "system" else None
    text = system_text(caller, prompt)
    return [Turn("system", text), *turns] if text else turns


def rollout(
    model: PreTrainedModel, template: ChatTemplate, stimuli: Sequence[Stimulus], prompts: Sequence[str], *,
    max_new_tokens: int = 64, temperature: float = 1.0, seed: int = 0, lock: AbstractContextManager[object],
    adapter_name: str | None = None, progress: Progress | None = None,
) -> list[Trajectory]:  # fmt: skip
    """One answer of the prompted base to each stimulus; `prompts[i]` is what the teacher of `stimuli[i]` knows.

    With `adapter_name` the answers are those of that adapter (with an empty prompt: the student's own).
    """
    conversations = [prompted(s, p) for s, p in zip(stimuli, prompts, strict=True)]
    with lock, adapter(model, adapter_name):
        answers = generate(model, template, conversations, max_new_tokens=max_new_tokens, temperature=temperature,
                           seed=seed, progress=progress, breathe=breather(lock, model, adapter_name))  # fmt: skip
    return [Trajectory(s, template.decode(a), tuple(a)) for s, a in zip(stimuli, answers, strict=True)]


@torch.no_grad()
def teach(
    model: PreTrainedModel, template: ChatTemplate, trajectories: Sequence[Trajectory], prompts: Sequence[str], *,
    lock: AbstractContextManager[object], adapter_name: str | None = None, batch_tokens: int = 4_096,
) -> list[Taught]:  # fmt: skip
    """The teacher's hidden states over each trajectory; the teacher is the base, or the named adapter (eq. 5)."""
    contexts = [template.prompt_ids(prompted(t.stimulus, p)) for t, p in zip(trajectories, prompts, strict=True)]
    taught: dict[int, Taught] = {}
    for batch in batches(contexts, 128, batch_tokens):
        shared = shared_length([contexts[i] for i in batch]) if attends(model) else 0
        rows = [[*contexts[i], *trajectories[i].token_ids][shared:] for i in batch]
        width = max(map(len, rows))
        ids_B_T = torch.tensor([r + [template.end_id] * (width - len(r)) for r in rows], device=model.device)
        with lock, adapter(model, adapter_name):
            cache = prefilled(model, contexts[batch[0]][:shared], len(rows)) if shared else None
            hidden_B_T_K_H = hidden_states(model, ids_B_T, cache=cache).cpu()
        for row, i in enumerate(batch):
            first = len(contexts[i]) - shared - 1  # the state before the first answer token predicts it
            states = hidden_B_T_K_H[row, first : first + len(trajectories[i].token_ids)].clone()
            taught[i] = Taught(trajectories[i], states)
    return [taught[i] for i in range(len(contexts))]
