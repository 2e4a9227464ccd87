"""Asks a model questions and compares its answers; follows it through long conversations.

Knows questions and answers; knows no training and no thresholds.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from bakemem.baking.generate import Progress, generate
from bakemem.baking.weights import adapter, breather
from bakemem.kv import roomy_cache
from bakemem.template import ChatTemplate
from bakemem.types import Turn


def answers(
    model: PreTrainedModel, template: ChatTemplate, conversations: Sequence[Sequence[Turn]], *,
    adapter_name: str | None, lock: AbstractContextManager[object], max_new_tokens: int = 64,
    temperature: float = 0.0, seed: int = 0, progress: Progress | None = None,
) -> list[str]:  # fmt: skip
    """The text that the model answers to each conversation, with the named adapter or as the base."""
    with lock, adapter(model, adapter_name):
        made = generate(model, template, conversations, max_new_tokens=max_new_tokens, temperature=temperature,
                        seed=seed, breathe=breather(lock, model, adapter_name), progress=progress)  # fmt: skip
    return [template.decode(ids) for ids in made]


def same(a: str, b: str) -> bool:
    """Whether two answers are the same but for white space."""
    return " ".join(a.split()) == " ".join(b.split())


def share(flags: Sequence[bool]) -> float:
    """The share of true ones; 1.0 of none, because nothing failed."""
    return sum(flags) / len(flags) if flags else 1.0


@dataclass
class LongConversations:
    """Several conversations that grow side by side, with the model's own replies kept, in one key-value cache.

    A cache belongs to one adapter: it is made for `adapter_name` and never used with another. Conversations may differ
    in length: what one lacks is masked out.
    """

    model: PreTrainedModel
    template: ChatTemplate
    systems: Sequence[str]
    adapter_name: str | None
    lock: AbstractContextManager[object]
    max_new_tokens: int = 48

    def __post_init__(self) -> None:
        """Start with empty caches."""
        self._cache = roomy_cache()
        self._mask: list[list[int]] = [[] for _ in self.systems]
        self._begun = False
        self._unended = [False] * len(self.systems)

    def say(self, texts: Sequence[str], keep: bool = True) -> list[str]:
        """Each conversation gets its user text and answers greedily; with `keep=False` the turn leaves no trace."""
        before = len(self._mask[0])
        with self.lock, adapter(self.model, self.adapter_name), torch.no_grad():
            made = self._decode([self._piece(i, text) for i, text in enumerate(texts)])
        if keep:
            self._begun = True
            self._unended = [not self.template.ended(ids) for ids in made]
        else:
            self._cache.crop(before - len(self._mask[0]))
            self._mask = [row[:before] for row in self._mask]
        return [self.template.decode(ids) for ids in made]

    def _piece(self, i: int, text: str) -> list[int]:
        """The ids between the last answer (or nothing) and the next one."""
        if not self._begun:
            system = [Turn("system", self.systems[i])] if self.systems[i] else []
            return self.template.prompt_ids([*system, Turn("user", text)])
        return [self.template.end_id] * self._unended[i] + self.template.next_ids(text)

    def _decode(self, fed: Sequence[Sequence[int]]) -> list[list[int]]:
        tokens = self._forward(fed)
        made: list[list[int]] = [[] for _ in fed]
        alive = [True] * len(made)
        for _ in range(self.max_new_tokens):
            step: list[list[int]] = []
            for i, token in enumerate(tokens):
                if not alive[i]:
                    step.append([])
                    continue
                alive[i] = token not in self.template.stop_ids
                made[i].append(token if alive[i] else self.template.end_id)
                step.append([made[i][-1]])
            tokens = self._forward(step)
            if not any(alive):
                break
        return made

    def _forward(self, fed: Sequence[Sequence[int]]) -> list[int]:
        """Feed ragged ids, padded on the left and masked; the likeliest next token of each conversation."""
        width = max(map(len, fed))
        device = self.model.device
        ids, positions = [], []
        for row, mask in zip(fed, self._mask, strict=True):
            gap, seen = width - len(row), sum(mask)
            ids.append([self.template.end_id] * gap + list(row))
            positions.append([0] * gap + list(range(seen, seen + len(row))))
            mask += [0] * gap + [1] * len(row)
        output = self.model(
            input_ids=torch.tensor(ids, device=device), position_ids=torch.tensor(positions, device=device),
            attention_mask=torch.tensor(self._mask, device=device), past_key_values=self._cache, use_cache=True,
            logits_to_keep=1,
        )  # fmt: skip
        return [int(token) for token in output.logits[:, -1].argmax(-1)]
