"""Conversations that were read before: what has been read of one goes on with its next turn.

Keys and values belong to one adapter at one strength, and are found under no other. Safe for threads. Knows token ids;
knows no models.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence

from bakemem.serving.batch import Layers

Weights = tuple[str | None, float]
"""Adapter and strength."""

WORTH = 64
"""Tokens that a conversation must have read for it to be kept, and share to be gone on with."""


class PrefixCache:
    """The conversations that ended last, up to so many bytes; the least recently used leave first."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._bytes = 0
        self._guard = threading.RLock()
        self._kept: OrderedDict[tuple[Weights, tuple[int, ...]], Layers] = OrderedDict()

    def keep(self, key: Weights, ids: Sequence[int], layers: Layers) -> None:
        """What has been read of a conversation, if that is worth its place."""
        if len(ids) < WORTH or size_of(layers) > self._most_bytes:
            return
        with self._guard:
            self._drop((key, tuple(ids)))
            self._kept[key, tuple(ids)] = layers
            self._bytes += size_of(layers)
            while self._bytes > self._most_bytes:
                self._drop(next(iter(self._kept)))

    def longest(self, key: Weights, ids: Sequence[int]) -> tuple[int, Layers]:
        """How many first tokens have been read before, the last one never, and their keys and values; 0 if few."""
        with self._guard:
            common = {entry: _common(entry[1], ids) for entry in self._kept if entry[0] == key}
            best = max(common, key=lambda entry: common[entry], default=None)
            n = 0 if best is None else min(common[best], len(ids) - 1)
            if best is None or n < WORTH:
                return 0, []
            self._kept.move_to_end(best)
            return n, [(keys[:, :, :n], values[:, :, :n]) for keys, values in self._kept[best]]

    def forget(self, adapter_id: str) -> None:
        """Nothing is left of what an adapter has read."""
        with self._guard:
            for entry in [e for e in self._kept if e[0][0] == adapter_id]:
                self._drop(entry)

    def _drop(self, entry: tuple[Weights, tuple[int, ...]]) -> None:
        if entry in self._kept:
            self._bytes -= size_of(self._kept.pop(entry))


def size_of(layers: Layers) -> int:
    """Bytes."""
    return sum(state.numel() * state.element_size() for layer in layers for state in layer)


def _common(a: Sequence[int], b: Sequence[int]) -> int:
    n = min(len(a), len(b))
    return next((i for i in range(n) if a[i] != b[i]), n)
