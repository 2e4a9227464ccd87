"""The engine in this process: one thread that owns the model while replies run, and batches what goes together.

Rows of the same adapter and strength decode as one batch; the batches take turns, and so do the namespaces that wait
for a place. Long prompts are read a piece at a time, so that running replies do not wait for them. Knows requests and
the model; knows no memories.
"""

from __future__ import annotations

import atexit
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from weakref import WeakSet

from torch import Tensor
from transformers import Cache, DynamicCache, PreTrainedModel

from bakemem.errors import BakememError, BusyError, ServingError
from bakemem.kv import attends, roomy_cache
from bakemem.serving.base import Base
from bakemem.serving.batch import Batch, cache_of, read, read_together
from bakemem.serving.contract import Request, check
from bakemem.serving.prefixes import Prefixes
from bakemem.serving.reply import Channel, Reply
from bakemem.serving.row import Row
from bakemem.serving.window import fitted

Key = tuple[str | None, float, int]
"""Adapter, strength, and 0; or a number of its own for a row that cannot be batched."""
_IDLE = 5.0  # seconds after which a thread that has nothing to do ends
_ALIVE: WeakSet[LocalEngine] = WeakSet()


@atexit.register
def _end_all() -> None:
    """A thread that is still in the model when the interpreter goes would abort the process."""
    for engine in list(_ALIVE):
        engine.close(0)
        if (thread := engine._thread) is not None:
            thread.join(10)


@dataclass(frozen=True, slots=True)
class Limits:
    """How much an engine takes on: replies that run at once, requests of one namespace that wait for a place, prompt
    tokens read between two steps of those that run, and bytes of adapters and of conversations that were read.
    """

    running: int = 32
    waiting: int = 64
    chunk: int = 512
    adapter_bytes: int = 1 << 28
    prefix_bytes: int = 1 << 28


@dataclass(eq=False, slots=True)
class _Reading:
    """A row whose prompt is being read into a cache. There is none before its first piece, unless its beginning was
    `looked` for and found with an earlier reply.
    """

    row: Row
    cache: Cache | None = None
    done: int = 0
    looked: bool = False


class LocalEngine:
    """An `Engine` over a base in this process. Its thread begins with a request and ends when it has been idle."""

    def __init__(self, base: Base, limits: Limits = Limits()) -> None:
        self.base, self.limits = base, limits
        self.adapters = base.adapters
        self.adapters.most_bytes = limits.adapter_bytes
        self._whole = not attends(base.model)  # states that are not keys and values: no batches, pieces or prefixes
        self._prefixes = Prefixes(limits.prefix_bytes)
        self._changed = threading.Condition()
        self._waiting: OrderedDict[str, deque[Row]] = OrderedDict()  # by namespace; whose turn it is comes first
        self._running: dict[str, set[Row]] = {}
        self._thread: threading.Thread | None = None
        self._closed = False
        _ALIVE.add(self)
        # These two belong to the engine's thread.
        self._reading: deque[_Reading] = deque()
        self._batches: dict[Key, Batch] = {}

    # ---- the contract

    def attach(self, adapter_id: str, folder: Path) -> None:
        """Put an adapter beside the running ones, between two of their steps."""
        self.adapters.attach(adapter_id, folder)

    def detach(self, adapter_id: str) -> None:
        """No new reply begins with it; it is unloaded when its last one ends."""
        self.adapters.detach(adapter_id)
        self._prefixes.forget(adapter_id)

    def attached(self) -> set[str]:
        """The adapters that new replies may begin with."""
        return self.adapters.ids()

    def submit(self, request: Request) -> Reply:
        """Begin a reply, or have it wait for a place."""
        check(request)
        ids, room, dropped = fitted(request, self.base.template, self.base.context)
        row = Row(request, Channel(), ids, room, self.base.template, dropped)
        with self._changed:
            if self._closed:
                raise ServingError("The engine is closed: no reply begins any more.")
            waiting = sum(not other.unwanted for other in self._waiting.get(request.namespace, ()))
            if waiting >= self.limits.waiting:
                raise BusyError(f"{waiting} requests wait for a place already: ask again later.")
            if request.adapter_id is not None:
                self.adapters.pin(request.adapter_id)
            self._waiting.setdefault(request.namespace, deque()).append(row)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="bakemem-engine", daemon=True)
                self._thread.start()
            self._changed.notify_all()
        return Reply(row.channel, request.adapter_id)

    def close(self, timeout: float = 5.0) -> None:
        """Begin no more replies; those that have not ended after `timeout` seconds end with ServingError."""
        with self._changed:
            self._closed = True
            namespaces = [*self._waiting, *self._running]
            self._changed.notify_all()
        deadline = time.monotonic() + timeout
        for namespace in namespaces:
            self.drain(namespace, max(0.0, deadline - time.monotonic()))

    def drain(self, namespace: str, timeout: float = 5.0) -> None:
        """As `close`, for the replies of one namespace that are there now."""
        with self._changed:
            if not self._changed.wait_for(lambda: not self._of(namespace), timeout):
                for row in self._of(namespace):
                    row.channel.end(ServingError("The memory was closed before the reply had ended."))

    # ---- the engine's thread

    def _run(self) -> None:
        try:
            while self._admit():
                self._read_prompts()
                for key in list(self._batches):
                    self._step(key)
        except BaseException as error:
            self._give_up(error)
            raise

    def _admit(self) -> bool:
        """Give free places to those who wait, one namespace after the other; False: there is nothing to do any more."""
        with self._changed:
            if not self._running and not self._waiting:
                self.base.lock.busy(False)
                self._changed.wait_for(lambda: self._waiting or self._closed, _IDLE)
                if not self._waiting:
                    self._thread = None
                    return False
            self.base.lock.busy(True)
            while (row := self._next()) is not None:
                self._running.setdefault(row.request.namespace, set()).add(row)
                self._reading.append(_Reading(row))
        return True

    def _next(self) -> Row | None:
        """Who is admitted: while there is a place, and always one of a namespace that has none."""
        places = self.limits.running - sum(map(len, self._running.values()))
        for namespace, waiting in self._waiting.items():
            if waiting and (places > 0 or namespace not in self._running):
                row = waiting.popleft()
                self._waiting.move_to_end(namespace)
                if not waiting:
                    del self._waiting[namespace]
                return row
        return None

    def _read_prompts(self) -> None:
        """Read a piece of the prompts; rows whose prompt is read draw their first token and join a batch."""
        budget = self.limits.chunk
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
            reading.cache = DynamicCache(config=self.base.model.config) if self._whole else roomy_cache()
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
        with self.base.lock.replying(), self.adapters.switched(*_weights(row.request)) as model:
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

    def _leave(self, row: Row) -> None:
        """Its place is free, and its adapter needed by one less."""
        if not row.channel.over:
            row.end("cancelled")
        request = row.request
        if request.adapter_id is not None:
            self.adapters.unpin(request.adapter_id)
            if request.adapter_id not in self.adapters.ids():  # it was detached meanwhile
                self._prefixes.forget(request.adapter_id)
        with self._changed:
            running = self._running[request.namespace]
            running.remove(row)
            if not running:
                del self._running[request.namespace]
            self._changed.notify_all()

    @contextmanager
    def _failing(self, *rows: Row) -> Iterator[None]:
        """What the model fails in inside ends these rows, and no others."""
        try:
            yield
        except Exception as error:
            told = error if isinstance(error, BakememError) else ServingError(f"The model failed in the reply: {error}")
            for row in rows:
                row.channel.end(told)
                if row in self._running.get(row.request.namespace, ()):
                    self._leave(row)

    def _give_up(self, error: BaseException) -> None:
        """Nobody waits for ever for a thread that died."""
        self.base.lock.busy(False)
        with self._changed:
            self._thread = None
            for namespace, waiting in self._waiting.items():
                self._running.setdefault(namespace, set()).update(waiting)
            rows = [row for running in self._running.values() for row in running]
            self._waiting.clear()
            self._reading.clear()
            self._batches.clear()
        for row in rows:
            row.channel.end(ServingError(f"The engine failed: {error!r}. Ask again."))
            self._leave(row)

    def _of(self, namespace: str) -> list[Row]:
        return [*self._waiting.get(namespace, ()), *self._running.get(namespace, ())]


def _weights(request: Request) -> tuple[str | None, float]:
    """What answers: adapter and strength, one name for what is the same."""
    if request.adapter_id is None or request.strength == 0.0:
        return None, 1.0
    return request.adapter_id, request.strength
