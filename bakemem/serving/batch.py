"""Rows of one adapter and strength that decode together. Their keys and values are aligned at the right.

Knows rows and the model's cache; which adapter is active is the caller's business. Shapes: B rows, L places, V tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from inspect import signature

import torch
from torch import Tensor
from torch.nn import functional
from transformers import Cache, DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

from bakemem.kv import roomy_cache
from bakemem.serving.row import Row

Layers = list[tuple[Tensor, Tensor]]
"""Keys and values of each layer, of shape (B, heads, L, size)."""


def layers_of(cache: Cache) -> Layers:
    """What a cache of attention layers holds."""
    met = [layer for layer in cache.layers if isinstance(layer, DynamicLayer)]
    return [(layer.keys, layer.values) for layer in met if layer.keys is not None and layer.values is not None]


def cache_of(layers: Layers) -> Cache:
    """A cache that holds these, and grows in place."""
    cache = roomy_cache()
    for i, (keys, values) in enumerate(layers):
        cache.update(keys, values, i)
    return cache


@torch.no_grad()
def read(model: PreTrainedModel, ids: Sequence[int], cache: Cache) -> Tensor:
    """Read tokens behind what the cache holds of one row; the logits after the last, of shape (V), on the CPU."""
    ids_1_T = torch.tensor([list(ids)], device=model.device)
    made = model(input_ids=ids_1_T, past_key_values=cache, use_cache=True, logits_to_keep=1)
    logits: Tensor = made.logits[0, -1].float().cpu()
    return logits


@torch.no_grad()
def read_together(model: PreTrainedModel, prompts: Sequence[Sequence[int]]) -> tuple[Tensor, Cache]:
    """Read whole prompts at once: the logits after each, of shape (B, V), on the CPU, and the cache of all."""
    cache, lengths, width = roomy_cache(), [len(prompt) for prompt in prompts], max(map(len, prompts))
    ids_B_T = torch.tensor([[0] * (width - len(prompt)) + list(prompt) for prompt in prompts], device=model.device)
    gaps_B_1 = torch.tensor([[width - n] for n in lengths], device=model.device)
    places_B_T = torch.arange(width, device=model.device)[None] - gaps_B_1
    made = model(input_ids=ids_B_T, attention_mask=(places_B_T >= 0).long(), position_ids=places_B_T.clamp(min=0),
                 past_key_values=cache, use_cache=True, logits_to_keep=1)  # fmt: skip
    logits: Tensor = made.logits[:, -1].float().cpu()
    return logits, cache


class Batch:
    """Rows that have drawn a token which the model has not read yet, and the cache that has read all before it."""

    def __init__(self, rows: Sequence[Row] = (), cache: Cache | None = None) -> None:
        self.rows = list(rows)
        self._cache = cache
        self._lengths = [len(row.prompt) for row in rows]

    def absorb(self, other: Batch) -> None:
        """The other's rows join these; the other is not used any more."""
        if self._cache is None or other._cache is None:
            self._cache = self._cache or other._cache
        else:
            ours, theirs = layers_of(self._cache), layers_of(other._cache)
            width = max(ours[0][0].shape[-2], theirs[0][0].shape[-2])
            self._cache = cache_of([
                (_beside(a, c, width), _beside(b, d, width)) for (a, b), (c, d) in zip(ours, theirs, strict=True)
            ])  # fmt: skip
        self.rows += other.rows
        self._lengths += other._lengths

    @torch.no_grad()
    def step(self, model: PreTrainedModel) -> Tensor:
        """The logits behind each row's last token, of shape (B, V), on the CPU."""
        lengths_B_1 = torch.tensor(self._lengths, device=model.device)[:, None]
        width = max(self._lengths) + 1
        more = {}
        if min(self._lengths) < width - 1:
            places_1_L = torch.arange(width, device=model.device)[None]
            more = {"attention_mask": (places_1_L >= width - 1 - lengths_B_1).long(), "position_ids": lengths_B_1}
        elif isinstance(self._cache, DynamicCache) and "position_ids" in signature(model.forward).parameters:
            more = {"position_ids": lengths_B_1}  # a hybrid's one row: Bamba would count it from zero at every token
        ids_B_1 = torch.tensor([row.made[-1:] for row in self.rows], device=model.device)
        made = model(input_ids=ids_B_1, past_key_values=self._cache, use_cache=True, logits_to_keep=1, **more)
        self._lengths = [n + 1 for n in self._lengths]
        logits: Tensor = made.logits[:, -1].float().cpu()
        return logits

    def keep(self, rows: Sequence[int]) -> None:
        """Only these rows, by their places, stay."""
        if len(rows) == len(self.rows):
            return
        self.rows, self._lengths = [self.rows[i] for i in rows], [self._lengths[i] for i in rows]
        if not rows or self._cache is None:
            self._cache = None
            return
        width, kept = max(self._lengths), list(rows)
        self._cache = cache_of([
            (keys[kept, :, -width:], values[kept, :, -width:]) for keys, values in layers_of(self._cache)
        ])  # fmt: skip

    def layers(self, i: int) -> Layers:
        """A copy of what has been read of one row: all of it but its last token."""
        n = self._lengths[i]
        ours = layers_of(self._cache or roomy_cache())
        return [(keys[i : i + 1, :, -n:].clone(), values[i : i + 1, :, -n:].clone()) for keys, values in ours]


def _beside(ours: Tensor, theirs: Tensor, width: int) -> Tensor:
    return torch.cat([functional.pad(state, (0, 0, width - state.shape[-2], 0)) for state in (ours, theirs)])
