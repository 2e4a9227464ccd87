"""Who may use the model now: replies first, and everything else for a bounded share of the time beside them.

Knows threads and clocks; knows no models.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Turnstile:
    """A re-entrant lock. Bakes and other long work take it with `with`, a step at a time; replies with `replying()`.

    While replies run, other work that held it for t seconds takes it again only after replies have held it for
    t · (1 − share) / share, so that it gets at most `share` of the time: 1 is turn by turn.
    """

    def __init__(self, share: float = 0.5, clock: Callable[[], float] = time.monotonic) -> None:
        self.share = share
        self._clock = clock
        self._changed = threading.Condition()
        self._holder: int | None = None
        self._depth = 0
        self._since = 0.0
        self._others = 0  # other work that waits
        self._replies = 0  # replies' steps that wait
        self._busy = False
        self._reply_was_last = False
        self._debt = 0.0  # seconds that replies are owed

    def busy(self, running: bool) -> None:
        """Replies run, or none does any more: then nothing is owed."""
        with self._changed:
            self._busy = running
            if not running:
                self._debt = 0.0
            self._changed.notify_all()

    def __enter__(self) -> Turnstile:
        me = threading.get_ident()
        with self._changed:
            if self._holder != me:
                self._others += 1
                try:
                    self._changed.wait_for(self._other_may)
                finally:
                    self._others -= 1
                self._hold(me, reply=False)
            self._depth += 1
        return self

    def __exit__(self, *exception: object) -> None:
        with self._changed:
            self._depth -= 1
            if not self._depth:
                if self._busy:
                    self._debt += (self._clock() - self._since) * (1 - self.share) / self.share
                self._holder = None
                self._changed.notify_all()

    @contextmanager
    def replying(self) -> Iterator[None]:
        """One step of replies; waits for at most one step of other work."""
        me = threading.get_ident()
        if self._holder == me:
            yield
            return
        with self._changed:
            self._replies += 1
            try:
                self._changed.wait_for(self._reply_may)
            finally:
                self._replies -= 1
            self._hold(me, reply=True)
            self._depth = 1
        try:
            yield
        finally:
            with self._changed:
                self._depth = 0
                self._debt = max(0.0, self._debt - (self._clock() - self._since))
                self._holder = None
                self._changed.notify_all()

    def let_pass(self) -> bool:
        """Whoever holds it between two steps lets replies pass, if any wait; whether any did."""
        with self._changed:
            if not self._replies or self._holder != threading.get_ident():
                return False
            depth, self._depth = self._depth, 1
        self.__exit__()
        self.__enter__()
        self._depth = depth
        return True

    @property
    def _owes(self) -> bool:
        return self._busy and self._debt > 0.0

    def _other_may(self) -> bool:
        return self._holder is None and not self._owes and (self._reply_was_last or not self._replies)

    def _reply_may(self) -> bool:
        return self._holder is None and (self._owes or not self._others or not self._reply_was_last)

    def _hold(self, me: int, *, reply: bool) -> None:
        self._holder, self._since, self._reply_was_last = me, self._clock(), reply
