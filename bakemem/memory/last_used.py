"""What a process keeps open at most: the meaning indexes that were used last.

Knows no index: whatever can be closed until it is asked again will do.
"""

from __future__ import annotations

import sys
import threading
from functools import cache
from typing import Protocol

_MOST = 32
_SHARE = 32  # an index of Chroma opens 12 files (and 7 threads): two thirds of what may be open are left to others

if sys.platform == "win32":

    def most_open() -> int:
        """How many may be open at once."""
        return _MOST
else:
    import resource

    def most_open() -> int:
        """How many may be open at once: 32, and fewer where `ulimit -n` is under 1,024."""
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return _MOST if files == resource.RLIM_INFINITY else max(1, min(_MOST, files // _SHARE))


class CanRest(Protocol):
    """What opens itself when it is asked."""

    def rest(self) -> None:
        """Closes until it is asked again; does nothing, and never waits, while it is in use."""


class LastUsed:
    """What is open, the longest unused first. Threads may share it."""

    def __init__(self) -> None:
        self._guard = threading.RLock()
        self._open: dict[CanRest, None] = {}

    def use(self, one: CanRest) -> None:
        """Notes that one is used, before it opens: where that makes too many, others rest."""
        with self._guard:
            self._open.pop(one, None)
            others = list(self._open)
            self._open[one] = None
        most = most_open()
        for other in others:
            if len(self._open) <= most:
                return
            other.rest()

    def closed(self, one: CanRest) -> None:
        """Notes that one is not open any more."""
        with self._guard:
            self._open.pop(one, None)


@cache
def last_used(process: int) -> LastUsed:
    """What is open in a process: a forked one leaves its parent's alone."""
    return LastUsed()
