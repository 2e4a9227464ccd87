"""What a bake does beside what it should: memories brought up unasked, and answers that are no longer fluent.

Knows answers; knows no thresholds and no training.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace

import torch
from transformers import PreTrainedModel

from bakemem.baking.divergence import Head
from bakemem.baking.generate import generate
from bakemem.baking.leak import tells
from bakemem.baking.rollout import Taught, teach
from bakemem.baking.weights import adapter, breather
from bakemem.everyday import everyday_held_out
from bakemem.template import ChatTemplate
from bakemem.types import Memory, Trajectory, Turn

DRAWN = 3
"""Answers drawn at temperature 1 to each everyday question, beside the likeliest one."""


def mentions(
    model: PreTrainedModel, template: ChatTemplate, facts: Sequence[Memory], *, adapter_name: str | None,
    lock: AbstractContextManager[object], max_new_tokens: int = 64, seed: int = 0,
) -> float | None:  # fmt: skip
    """The share of answers to everyday questions that tell one of the facts where the base's answer does not.

    Everyday questions that no bake trains on, each answered once greedily and three times at temperature 1.
    """
    if not facts:
        return None
    questions = [row.question for row in everyday_held_out()]

    def ask(name: str | None, temperature: float, asked: Sequence[str]) -> list[str]:
        with lock, adapter(model, name):
            made = generate(model, template, [[Turn("user", text)] for text in asked], temperature=temperature,
                            max_new_tokens=max_new_tokens, seed=seed, breathe=breather(lock, model, name))  # fmt: skip
        return [template.decode(ids) for ids in made]

    plain = ask(None, 0.0, questions)
    given = [*ask(adapter_name, 0.0, questions), *ask(adapter_name, 1.0, questions * DRAWN)]
    told = 0
    for question, answer, base in zip(questions * (1 + DRAWN), given, plain * (1 + DRAWN), strict=True):
        told += any(tells(answer, question, m.text) and not tells(base, question, m.text) for m in facts)
    return told / len(given)


def disfluency(
    model: PreTrainedModel, template: ChatTemplate, head: Head, held_out: Sequence[Taught],
    given: Sequence[Trajectory], prompts: Sequence[str], *, lock: AbstractContextManager[object],
) -> float:  # fmt: skip
    """By how many nats per token the prompted teacher finds the `given` answers less likely than its own.

    `prompts[i]` is what the teacher of `held_out[i]` read. An answer that was cut ends where it was cut, as its own do.
    """
    whole = [replace(t, token_ids=(*template.ids(t.answer), t.token_ids[-1])) if template.ended(t.token_ids) else t
             for t in given]  # fmt: skip
    read = teach(model, template, whole, prompts, lock=lock)
    return _nats(read, head, model.device) - _nats(held_out, head, model.device)


@torch.no_grad()
def _nats(taught: Sequence[Taught], head: Head, device: torch.device) -> float:
    """The mean negative log-likelihood per answer token."""
    total, n = 0.0, 0
    for item in taught:
        logits_N_V = head(item.hidden_N_K_H[:, -1].to(device)).float()
        tokens_N = torch.tensor(item.trajectory.token_ids, device=device)
        total += torch.nn.functional.cross_entropy(logits_N_V, tokens_N, reduction="sum").item()
        n += len(tokens_N)
    return total / max(1, n)
