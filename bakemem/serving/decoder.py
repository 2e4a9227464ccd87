"""What the engine's thread does in a round: a piece of the prompts, then one token for each batch.

Rows of the same adapter and strength decode as one batch; prompts that are short are read together, long ones a piece
at a time, so that running replies do not wait for them. Knows rows and the model; knows no threads.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from torch import Tensor
from transformers import Cache, DynamicCache, PreTrainedModel

from bakemem.errors import BakememError, ServingError
from bakemem.kv import attends, roomy_cache
from bakemem.serving.base import Base
from bakemem.serving.batch import Batch, cache_of, read, read_together
from bakemem.serving.contract import Request
from bakemem.serving.prefix_cache import PrefixCache
from bakemem.serving.row import Row

Key = tuple[str | None, float, int]
"""Adapter, strength, and 0; or a number of its own for a row that cannot be batched."""


@dataclass(eq=False, slots=True)
class _Reading:
    """A row whose prompt is being read into a cache. There is none before its first piece, unless its beginning was
    `looked` for and found with an earlier reply.
    """

    row: Row
    cache: Cache | None = None
    done: int = 0
    looked: bool = False


class Decoder:
    """Rows on their way. `leave` is called with each that has ended, perhaps more than once."""

    def __init__(self, base: Base, prefixes: PrefixCache, chunk: int, leave: Callable[[Row], None]) -> None:
        self._base, self._prefixes, self._chunk, self._leave = base, prefixes, chunk, leave
        self._whole = not attends(base.model)  # states that are not keys and values: no batches, pieces or prefixes
        self._reading: deque[_Reading] = deque()
        self._batches: dict[Key, Batch] = {}

    def add(self, row: Row) -> None:
        """One more row, whose prompt is to be read."""
        self._reading.append(_Reading(row))

    def round(self) -> None:
        """A piece of the prompts, and a token for each row that has read its own."""
        self._read_prompts()
        for key in list(self._batches):
            self._step(key)

    def clear(self) -> None:
        """Forget all rows."""
        self._reading.clear()
        self._batches.clear()

    def _read_prompts(self) -> None:
        """Read a piece of the prompts; rows whose prompt is read draw their first token and join a batch."""
        budget = self._chunk
        while self._reading and budget > 0:
            together = self._together(budget)
            with self._failing(*(reading.row for reading in together)):
                if len(together) > 1:
                    budget -= self._read_whole(together)
                elif together:
                    budget -= self._read_piece(together[0], budget)

    def _together(self, budget: int) -> list[_Reading]:
        """The next row, and those beside it whose prompts fit into one forward pass with its own."""
        group: list[_Reading] = []
        width = 0
        for reading in list(self._reading):
            if reading.row.unwanted:
                self._reading.remove(reading)
                self._leave(reading.row)
                continue
            width = max(width, len(reading.row.prompt))
            fits = not group or _weights(reading.row.request) == _weights(group[0].row.request)
            if group and (self._whole or not fits or (len(group) + 1) * width > budget or self._begun(reading)):
                break
            self._reading.remove(reading)
            group.append(reading)
            if self._begun(reading):
                break
        return group

    def _begun(self, reading: _Reading) -> bool:
        """Whether something of the prompt has been read, perhaps with an earlier reply."""
        if not reading.looked and not self._whole:
            reading.row.cached, layers = self._prefixes.longest(_weights(reading.row.request), reading.row.prompt)
            reading.done, reading.looked = reading.row.cached, True
            reading.cache = cache_of(layers) if layers else None
        return reading.cache is not None

    def _read_whole(self, together: list[_Reading]) -> int:
        """Read the prompts of several rows at once; how many places that took."""
        rows = [reading.row for reading in together]
        with self._model(rows[0]) as model:
            logits_B_V, cache = read_together(model, [row.prompt for row in rows])
        self._begin(rows, logits_B_V, cache)
        return len(rows) * max(len(row.prompt) for row in rows)

    def _read_piece(self, reading: _Reading, budget: int) -> int:
        """Read as much of one row's prompt; how many tokens that was."""
        rest = reading.row.prompt[reading.done :]
        piece = rest if self._whole else rest[:budget]
        if reading.cache is None:
            reading.cache = DynamicCache(config=self._base.model.config) if self._whole else roomy_cache()
        with self._model(reading.row) as model:
            logits_V = read(model, piece, reading.cache)
        reading.done += len(piece)
        if len(piece) < len(rest):
            self._reading.append(reading)
        else:
            self._begin([reading.row], logits_V[None], reading.cache)
        return len(piece)

    def _begin(self, rows: list[Row], logits_B_V: Tensor, cache: Cache) -> None:
        """Rows whose prompts are read draw their first token, and join those of the same weights."""
        key = (*_weights(rows[0].request), id(rows[0]) if self._whole else 0)
        fresh, going = Batch(rows, cache), list[int]()
        for i, row in enumerate(rows):
            with self._failing(row):
                if row.take(logits_B_V[i]):
                    going.append(i)
                else:
                    self._leave(row)
        fresh.keep(going)
        if going:
            self._batches.setdefault(key, Batch()).absorb(fresh)

    @contextmanager
    def _model(self, row: Row) -> Iterator[PreTrainedModel]:
        """The model with a row's weights, for one step."""
        with self._base.lock.replying(), self._base.adapters.switched(*_weights(row.request)) as model:
            yield model

    def _step(self, key: Key) -> None:
        """One token for each row of a batch."""
        batch = self._batches[key]
        unwanted = {row for row in batch.rows if row.unwanted}  # asked once: it may change at any time
        batch.keep([i for i, row in enumerate(batch.rows) if row not in unwanted])
        for row in unwanted:
            self._leave(row)
        going: list[int] = []
        if batch.rows:
            with self._failing(*batch.rows):
                with self._model(batch.rows[0]) as model:
                    logits_B_V = batch.step(model)
                for i, row in enumerate(batch.rows):
                    with self._failing(row):
                        if row.take(logits_B_V[i]):
                            going.append(i)
                        else:
                            self._finish(batch, i, key)
        batch.keep(going)
        if not going:
            del self._batches[key]

    def _finish(self, batch: Batch, i: int, key: Key) -> None:
        """A row has ended: what was read of it may serve the next turn of its conversation."""
        row = batch.rows[i]
        if not self._whole:
            layers = batch.layers(i)
            self._prefixes.keep(key[:2], row.read[: layers[0][0].shape[-2]], layers)
        self._leave(row)

    @contextmanager
    def _failing(self, *rows: Row) -> Iterator[None]:
        """What the model fails in inside ends these rows, and no others."""
        try:
            yield
        except Exception as error:
            told = error if isinstance(error, BakememError) else ServingError(f"The model failed in the reply: {error}")
            for row in rows:
                row.channel.end(told)
                self._leave(row)


def _weights(request: Request) -> tuple[str | None, float]:
    """What answers: adapter and strength, one name for what is the same."""
    if request.adapter_id is None or request.strength == 0.0:
        return None, 1.0
    return request.adapter_id, request.strength
