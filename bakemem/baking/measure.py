"""How well a model answers what it is asked without the prompt, by the prompted teacher's own answers.

Reads each answer once, token by token as the teacher gave it; writes none. Knows no training and no thresholds.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from bakemem.baking.divergence import Head, tiled_loss
from bakemem.baking.losses import loss_named
from bakemem.baking.pack import pack
from bakemem.baking.rollout import Taught
from bakemem.baking.states import micro_batches, states_of, tokens_of
from bakemem.baking.weights import adapter
from bakemem.template import ChatTemplate


@dataclass(frozen=True, slots=True)
class Measured:
    """`kl`: mean KL per answer token in nats; `agreement`: the share of answers that the model would give greedily.

    The second is exact where the teacher's answers are its greedy ones: a greedy answer is the same if and only if at
    each of its tokens, read so far, that token is the likeliest.
    """

    kl: float
    agreement: float


@torch.no_grad()
def measure(
    model: PreTrainedModel, template: ChatTemplate, taught: Sequence[Taught], head: Head, *,
    adapter_name: str | None, lock: AbstractContextManager[object], max_tokens: int = 1024,
) -> Measured:  # fmt: skip
    """The unprompted model, with the named adapter or as the base, against the teacher; each trajectory on its own."""
    dialogues = [pack(template, [item], max_tokens) for item in taught]
    total, n_tokens, n_same, loss = 0.0, 0, 0, loss_named("forward")
    for batch in micro_batches(dialogues):
        with lock, adapter(model, adapter_name):
            states = states_of(model, template, batch)
            tokens_N = tokens_of(batch)
            student_N_H, teacher_N_H = states.student_N_K_H[:, -1], states.teacher_N_K_H[:, -1]
            total += tiled_loss(student_N_H, teacher_N_H, tokens_N, head, loss).sum().item()
            likeliest_N = head(student_N_H).argmax(-1).cpu()
        lengths = [len(d.positions) for d in batch]
        n_same += sum(bool(right.all()) for right in (likeliest_N == tokens_N).split(lengths))
        n_tokens += sum(lengths)
    return Measured(total / max(1, n_tokens), n_same / max(1, len(dialogues)))
