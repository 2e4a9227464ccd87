"""Clients in a closed loop, and what they saw. Knows no engine."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

CLIENTS = 8


@dataclass
class Load:
    """What clients in a closed loop saw: each asks again as soon as it has its reply."""

    replies: int = 0
    tokens: int = 0
    errors: list[str] = field(default_factory=list)
    mixed: int = 0
    gaps: list[float] = field(default_factory=list)
    first: list[float] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def rate(self) -> float:
        """Tokens a second."""
        return self.tokens / self.seconds

    def add(self, other: Load) -> None:
        """What others saw too; the seconds are their own business."""
        self.replies += other.replies
        self.tokens += other.tokens
        self.mixed += other.mixed
        self.errors += other.errors
        self.gaps += other.gaps
        self.first += other.first


def clients(
    ask: Callable[[int, Load], None], seconds: float, n: int = CLIENTS, over: threading.Event | None = None
) -> Load:
    """`n` threads that ask until the time is over, or the event is set."""
    load, stop, guard = Load(), time.monotonic() + seconds, threading.Lock()
    over = over or threading.Event()

    def run(client: int) -> None:
        i = client
        while time.monotonic() < stop and not over.is_set():
            mine = Load(replies=1)
            try:
                ask(i, mine)
            except Exception as error:  # counted, and told: none is expected
                mine.errors.append(repr(error))
            with guard:
                load.add(mine)
            i += n

    started = time.monotonic()
    with ThreadPoolExecutor(n) as pool:
        list(pool.map(run, range(n)))
    load.seconds = time.monotonic() - started
    return load
