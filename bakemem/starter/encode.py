"""Samples as token ids, and token ids in micro-batches. Knows no model."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from transformers import PreTrainedTokenizerFast

from bakemem.starter.curriculum import Sample
from bakemem.starter.tokenizer import END, ROLES

TOKENS_PER_MICRO_BATCH = 2_048
Encoded = tuple[list[int], list[bool]]


class Encoder:
    """Turns samples into token ids and a mask of the tokens that the loss counts: every answer and its end."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self._tokenizer = tokenizer
        ids: dict[str, int] = tokenizer.get_vocab()
        self._end = ids[END]
        self._roles = {role.strip("<|>"): ids[role] for role in ROLES}

    def __call__(self, sample: Sample) -> Encoded:
        """The ids of the conversation, laid out as the chat template does, and which of them are answers."""
        contents = self._tokenizer([turn.content for turn in sample], add_special_tokens=False).input_ids
        ids: list[int] = []
        answer: list[bool] = []
        for turn, content in zip(sample, contents, strict=True):
            ids += [self._roles[turn.role], *content, self._end]
            answer += [False, *[turn.role == "assistant"] * (len(content) + 1)]
        return ids, answer


def micro_batches(samples: list[Encoded], pad: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Length-sorted micro-batches `(ids_B_T, answer_B_T)` of about 2,048 tokens; padding stands on the right."""
    batch: list[Encoded] = []
    for sample in sorted(samples, key=lambda s: len(s[0])):
        if batch and len(sample[0]) * (len(batch) + 1) > TOKENS_PER_MICRO_BATCH:
            yield _pad(batch, pad)
            batch = []
        batch.append(sample)
    if batch:
        yield _pad(batch, pad)


def _pad(batch: list[Encoded], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    longest = math.ceil(max(len(ids) for ids, _ in batch) / 16) * 16
    ids_B_T = torch.full((len(batch), longest), pad)
    answer_B_T = torch.zeros((len(batch), longest), dtype=torch.bool)
    for row, (ids, answer) in enumerate(batch):
        ids_B_T[row, : len(ids)] = torch.tensor(ids)
        answer_B_T[row, : len(ids)] = torch.tensor(answer)
    return ids_B_T, answer_B_T
