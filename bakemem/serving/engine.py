"""The engine in this process: who waits, who runs, and the one thread that decodes.

Places go round between the namespaces that wait for one. Knows requests and rows; knows no memories.
"""

from __future__ import annotations

import atexit
import threading
import time
from collections import OrderedDict, deque
from dataclasses import dataclass
from pathlib import Path
from weakref import WeakSet

import torch
from threadpoolctl import threadpool_limits

from bakemem.errors import BusyError, ServingError
from bakemem.serving.base import Base
from bakemem.serving.contract import Request, check
from bakemem.serving.decoder import Decoder
from bakemem.serving.prefix_cache import PrefixCache
from bakemem.serving.reply import Channel, Ending, Reply
from bakemem.serving.row import Row
from bakemem.serving.window import fitted

_IDLE = 5.0  # seconds after which a thread that has nothing to do ends
_NARROW = 256  # the width up to which a token gains nothing from a second thread
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


class LocalEngine:
    """An `Engine` over a base in this process. Its thread begins with a request and ends when it has been idle."""

    def __init__(self, base: Base, limits: Limits = Limits()) -> None:
        self.base, self.limits = base, limits
        self.adapters = base.adapters
        self.adapters.most_bytes = limits.adapter_bytes
        self._prefixes = PrefixCache(limits.prefix_bytes)
        self._changed = threading.Condition()
        self._waiting: OrderedDict[str, deque[Row]] = OrderedDict()  # by namespace; whose turn it is comes first
        self._running: dict[str, set[Row]] = {}
        self._thread: threading.Thread | None = None
        self._closed = False
        _ALIVE.add(self)
        self._decoder = Decoder(base, self._prefixes, limits.chunk, self._leave)  # belongs to the engine's thread

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
        guide = self.base.grammars.guide(request.grammar) if request.grammar else None
        channel = Channel(Ending("cancelled", len(ids), 0, dropped_turns=dropped))
        row = Row(request, channel, ids, room, self.base.template, dropped, guide)
        with self._changed:
            if self._closed:
                raise ServingError("The engine is closed: no reply begins any more.")
            waiting = sum(not other.unwanted for other in self._waiting.get(request.namespace, ()))
            free = self.limits.running - sum(map(len, self._running.values()))  # the thread gives them out later
            free = max(free, request.namespace not in self._running)
            if waiting >= free + self.limits.waiting:
                raise BusyError(f"{waiting - free} requests wait for a place already: ask again later.")
            if self._thread is None:
                self._thread = self._started()
            if request.adapter_id is not None:
                self.adapters.pin(request.adapter_id)
            self._waiting.setdefault(request.namespace, deque()).append(row)
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

    def _started(self) -> threading.Thread:
        """A thread that waits for `_changed`, which the caller holds, and then for rows."""
        thread = threading.Thread(target=self._run, name="bakemem-engine", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            raise ServingError(
                f"No reply can begin now ({error}): end other threads or programs, then ask again."
            ) from error
        return thread

    def _run(self) -> None:
        if self.base.width <= _NARROW and self.base.model.device.type == "cpu":
            torch.get_num_threads()  # asked first, or torch would set its own number at the first operation
            threadpool_limits(1, user_api="openmp")  # of this thread only: a bake beside it keeps its own
        try:
            while self._admit():
                self._decoder.round()
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
                row.channel.begin()
                self._running.setdefault(row.request.namespace, set()).add(row)
                self._decoder.add(row)
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

    def _leave(self, row: Row) -> None:
        """Its place is free, and its adapter needed by one less."""
        request = row.request
        if row not in self._running.get(request.namespace, ()):  # it has left already
            return
        if not row.channel.over:
            row.end("cancelled")
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

    def _give_up(self, error: BaseException) -> None:
        """Nobody waits for ever for a thread that died."""
        self.base.lock.busy(False)
        with self._changed:
            self._thread = None
            for namespace, waiting in self._waiting.items():
                self._running.setdefault(namespace, set()).update(waiting)
            rows = [row for running in self._running.values() for row in running]
            self._waiting.clear()
            self._decoder.clear()
        for row in rows:
            row.channel.end(ServingError(f"The engine failed: {error!r}. Ask again."))
            self._leave(row)

    def _of(self, namespace: str) -> list[Row]:
        return [*self._waiting.get(namespace, ()), *self._running.get(namespace, ())]
