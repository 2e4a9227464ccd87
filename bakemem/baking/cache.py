"""A key-value cache that grows in place, and rows of one batch that read their common beginning once.

Knows token ids and the library's cache layers; which adapter is active is the caller's business.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional
from transformers import Cache, DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

SHARED = 64
"""The shortest beginning, in tokens, that is worth reading once for all rows of a batch: such as the memory prompt."""


def roomy_cache() -> Cache:
    """An empty cache for one model and one adapter, which its layers are added to as they are met."""
    return Cache(layer_class_to_replicate=_RoomyLayer)


def attends(model: PreTrainedModel) -> bool:
    """Whether every layer keeps keys and values; others (linear attention, state spaces) have caches of their own."""
    return all(isinstance(layer, DynamicLayer) for layer in DynamicCache(config=model.config).layers)


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


def prefilled(model: PreTrainedModel, prefix: Sequence[int], n_rows: int) -> Cache:
    """A cache of `n_rows` rows that have all read `prefix`, which is run through the model once."""
    cache = roomy_cache()
    if prefix:
        ids_1_T = torch.tensor([list(prefix)], device=model.device)
        model.base_model(input_ids=ids_1_T, past_key_values=cache, use_cache=True)
        cache.batch_repeat_interleave(n_rows)
    return cache


class _RoomyLayer(DynamicLayer):
    """A cache layer that grows within room set aside: the library's own copies all of it at every token."""

    _room: list[Tensor]

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Write the new states behind the old ones; all of them, as views."""
        states = (key_states, value_states)
        if not self.is_initialized:
            self.lazy_initialization(*states)
            self._room = [state.new_empty(*state.shape[:2], 0, state.shape[3]) for state in states]
        n, room = self.get_seq_length(), self._room[0].shape[-2]
        end = n + key_states.shape[-2]
        if end > room:
            more = end + end // 4 + 16 - room
            self._room = [functional.pad(held, (0, 0, 0, more)) for held in self._room]
        for held, state in zip(self._room, states, strict=True):
            held[:, :, n:end] = state
        self.keys, self.values = (held[:, :, :end] for held in self._room)
        return self.keys, self.values

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeat every row; what was room before is left behind."""
        super().batch_repeat_interleave(repeats)
        self._room = [state for state in (self.keys, self.values) if state is not None]
