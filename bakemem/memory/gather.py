"""Reads the observed turns behind the chat: one thread, one queue that survives a crash.

Knows the queue and a function that reads one turn; knows no model and no journal.
"""

from __future__ import annotations

import atexit
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress

from bakemem.errors import HomeError
from bakemem.memory.keys import storable
from bakemem.memory.turns import Claim, Observed, TurnQueue
from bakemem.types import Memory, Turn

_LOG = logging.getLogger(__name__)

ATTEMPTS = 3
"""How often a turn is tried before it is left in the queue for a while."""
PAUSE = 0.2
"""Seconds after a failure, doubled with each."""
REST, MOST_REST = 300.0, 3_600.0
"""Seconds until what is left is tried once more, doubled each time that some of it is left again, and the most."""
MOST_KEPT = 10_000
"""Found memories that are held for a flush which never comes."""


class Gatherer:
    """Takes turns at once and reads them later, in their order; a turn leaves the queue when it was read.

    One that fails is tried again before those behind it, which may correct it or take it back; after some tries it is
    left, until the queue was idle for a while by the `clock` (in seconds).

    A crash or an error in between costs nothing: the turn is read again (so reading must bear a second time), unless
    it was begun `ATTEMPTS` times and the process died of it. With `most_waiting` turns in the queue `offer` waits: a
    chat that is faster than the extraction is slowed down to it.
    """

    def __init__(
        self, queue: TurnQueue, read: Callable[[Observed], list[Memory]], *, most_waiting: int = 1_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._queue, self._read, self._most, self._clock = queue, read, most_waiting, clock
        self._failed: float | None = None  # when one failed last, that was not tried once more since
        self._rest = REST
        self._changed = threading.Condition()
        self._waiting = 0
        self._arrived, self._idle = False, True
        self._closing = threading.Event()
        self._reading: Observed | None = None
        self._reached = 0  # the turn that this thread took last: those before it were read, or are left
        self._kept: deque[Memory] = deque(maxlen=MOST_KEPT)
        self._error: Exception | None = None
        self._thread: threading.Thread | None = None

    def offer(self, turns: Sequence[Turn], conversation: str = "", claim: Claim | None = None) -> None:
        """Writes the turns down, as `TurnQueue.put`, and returns. Raises InputError for text that cannot be stored."""
        if not turns:
            return
        with self._changed:
            self._changed.wait_for(lambda: self._waiting < self._most or self._idle or self._closing.is_set())
        written = self._queue.put(turns, conversation, claim)
        with self._changed:
            self._waiting += written
            self._wake()

    def again(self) -> None:
        """Tries every turn of the queue again, also those in whose reading the process died too often."""
        self._queue.retry(died=True)
        with self._changed:
            self._wake()

    def once_more(self) -> None:
        """Tries what failed some minutes ago again now, and not what a process died of."""
        with self._changed:
            self._rest = REST
            if self._left() == 0:
                self._wake()

    def flush(self, timeout: float | None = None) -> list[Memory]:
        """Waits until all turns were read or failed, at most `timeout` seconds; what was found since the last flush.

        Raises HomeError when the queue could not be used meanwhile.
        """
        with self._changed:
            self.wait(timeout)
            kept = list(self._kept)
            self._kept.clear()
            return kept

    def wait(self, timeout: float | None = None, newest: int | None = None) -> bool:
        """As `flush`, but leaves what was found to the next flush; whether there is nothing more to wait for.

        With `newest` no turn behind that one is waited for, and talk that goes on all the time holds nobody up.
        """
        until = None if timeout is None else time.monotonic() + timeout
        with self._changed:
            if self._thread is None:
                self._error = None  # of a thread that has ended: what still stands in the way comes again
                if len(self._queue):  # also what an earlier process left
                    self._wake()
            # In slices, so that Ctrl-C gets through everywhere.
            while not self._is_over(newest):
                left = 0.2 if until is None else min(0.2, until - time.monotonic())
                if left <= 0:
                    break
                self._changed.wait(left)
            error, self._error = self._error, None
            if error is not None:
                raise error
            return self._is_over(newest)

    def _is_over(self, newest: int | None) -> bool:
        passed = newest is not None and self._reached > newest
        return passed or self._idle or self._closing.is_set()

    def newest(self) -> int:
        """The number of the turn that was observed last; 0 when none waits."""
        return self._queue.newest()

    def close(self) -> None:
        """Stops after the turn that is being read; the others stay in the queue for the next time."""
        with self._changed:
            self._closing.set()
            self._changed.notify_all()
        thread = self._thread
        try:
            if thread is not None and thread is not threading.current_thread():
                thread.join()
        finally:  # also of a wait that was interrupted
            self._give_back()

    def _wake(self) -> None:
        if self._thread is None and not self._closing.is_set():
            thread = threading.Thread(target=self._run, name="bakemem-gather", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:  # the turns are written down: the next offer, or flush, tries it again
                self._error = HomeError(
                    f"Observed turns cannot be read now ({error}), and stay in the queue: end other threads or "
                    "programs, then flush or observe again."
                )
                _LOG.warning("%s", self._error)
                return
            self._thread, self._error, self._reached = thread, None, 0
        self._arrived, self._idle = True, False
        self._changed.notify_all()

    def _run(self) -> None:
        atexit.register(self._give_back)
        try:
            self._work()
        except Exception as error:  # the queue itself: whoever flushes must know, and the next offer begins anew
            _LOG.warning("Observed turns are not read any more (%s); they stay in the queue.", error)
            self._error = error
        finally:
            atexit.unregister(self._give_back)
            with self._changed:
                self._thread, self._idle = None, True
                self._changed.notify_all()

    def _work(self) -> None:
        self._give_back()
        self._queue.retry()  # another start, another chance
        while not self._closing.is_set():
            if self._left() == 0:
                self._queue.retry()
                with self._changed:
                    self._failed, self._rest = None, min(2 * self._rest, MOST_REST)
                    self._waiting = 0  # it holds no new talk up
            for observed in self._queue.waiting(attempts_below=ATTEMPTS):
                if self._closing.is_set():
                    return
                read = self._take(observed)
                self._arrived = True  # there may be more
                if not read:
                    break  # the same one again, if it may be
            with self._changed:
                if not self._arrived:
                    self._waiting, self._idle = len(self._queue), True
                    self._rest = self._rest if self._waiting else REST
                    self._changed.notify_all()
                    self._changed.wait_for(lambda: self._arrived or self._closing.is_set(), self._left())
                    self._idle = False
                self._arrived = False

    def _left(self) -> float | None:
        """Seconds until what failed is tried once more; None where nothing did."""
        return None if self._failed is None else max(0.0, self._failed + self._rest - self._clock())

    def _take(self, observed: Observed) -> bool:
        with self._changed:
            self._reached = observed.seq
            self._changed.notify_all()
        self._queue.begin(observed)
        self._reading = observed
        try:
            kept = self._read(observed)
        except Exception as error:  # a model can raise anything; the turn stays, and the thread goes on
            told = storable(str(error))  # neither a log nor a database holds half a surrogate pair
            _LOG.warning("A turn could not be read (%s); it stays in the queue.", told)
            self._queue.failed(observed, f"{type(error).__name__}: {told}")
            self._reading, self._failed = None, self._clock()
            self._closing.wait(PAUSE * 2**observed.attempts)
            return False
        self._queue.done(observed)
        self._reading = None
        with self._changed:
            self._kept += kept
            self._waiting -= 1
            self._changed.notify_all()
        return True

    def _give_back(self) -> None:
        """A reading that was broken off, or whose end could not be written down, is no attempt."""
        if (reading := self._reading) is not None:
            with suppress(HomeError):
                self._queue.give_back(reading)
                self._reading = None
