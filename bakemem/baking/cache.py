"""Rows of one batch that read their common beginning once.

Knows token ids; which adapter is active is the caller's business.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import torch
from transformers import Cache, PreTrainedModel

from bakemem.kv import roomy_cache

SHARED = 64
"""The shortest beginning, in tokens, that is worth reading once for all rows of a batch: such as the memory prompt."""

PIECE_TOKENS = 2_048
"""Of a batch's prompts, read at once: a reply that waits comes between two pieces."""


def batches(rows: Sequence[Sequence[int]], room: int, batch_tokens: int) -> list[list[int]]:
    """Indices of rows that go together: a common beginning first, then like lengths.

    A batch holds at most `batch_tokens` tokens, `room` for each row's answer among them, but one row at least.
    """
    heads = Counter(tuple(row[:SHARED]) for row in rows)
    made: list[list[int]] = []
    last: tuple[int, ...] | None = None
    keys = [head if heads[head := tuple(row[:SHARED])] > 3 and len(head) == SHARED else () for row in rows]
    for i in sorted(range(len(rows)), key=lambda i: (keys[i], len(rows[i]))):
        if keys[i] != last or (len(made[-1]) + 1) * (len(rows[i]) + room) > batch_tokens:
            made.append([])
        made[-1].append(i)
        last = keys[i]
    return made


def shared_length(rows: Sequence[Sequence[int]]) -> int:
    """How many first tokens all rows have in common, every row's last one left out; 0 when it is not worth it."""
    most = min(map(len, rows)) - 1
    common = next((n for n in range(most) if any(row[n] != rows[0][n] for row in rows)), most)
    return common if common >= SHARED and len(rows) > 1 else 0


def prefilled(
    model: PreTrainedModel, prefix: Sequence[int], n_rows: int, breathe: Callable[[], None] = lambda: None
) -> Cache:
    """A cache of `n_rows` rows that have all read `prefix`, which is run through the model once, in pieces."""
    cache = roomy_cache()
    for start in range(0, len(prefix), PIECE_TOKENS):
        breathe()
        ids_1_T = torch.tensor([list(prefix[start : start + PIECE_TOKENS])], device=model.device)
        model.base_model(input_ids=ids_1_T, past_key_values=cache, use_cache=True)
    if prefix:
        cache.batch_repeat_interleave(n_rows)
    return cache
