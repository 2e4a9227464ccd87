"""A cache of keys and values that grows in place. It belongs to one model and one adapter, and never outlives a change.

In the base layer because baking and serving both decode. Knows the library's cache layers, how long they
may get for a model, and nothing else.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional
from transformers import Cache, DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer


def roomy_cache() -> Cache:
    """An empty cache for one model and one adapter, which its layers are added to as they are met."""
    return Cache(layer_class_to_replicate=_RoomyLayer)


def attends(model: PreTrainedModel) -> bool:
    """Whether every layer keeps keys and values alone; others (linear attention, indexes) have caches of their own."""
    plain = (DynamicLayer, DynamicSlidingWindowLayer)
    return all(type(layer) in plain for layer in DynamicCache(config=model.config).layers)


def context_of(model: PreTrainedModel) -> int:
    """How many positions the model has; a million where its config does not say.

    With LongRoPE they end where its long factors would begin: the longest row of a batch decides on them for all rows.
    """
    config = model.config.get_text_config()
    rope = getattr(config, "rope_parameters", None) or {}
    if rope.get("rope_type") == "longrope":
        return int(rope["original_max_position_embeddings"])
    return int(getattr(config, "max_position_embeddings", 0) or 1_000_000)


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
