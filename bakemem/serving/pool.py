"""Engines that several users in one process share. Knows keys and counts; knows no models."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Hashable

from bakemem.serving.engine import LocalEngine


class Pool:
    """One engine for each key, made when it is first borrowed and closed when its last user has left."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._engines: dict[Hashable, LocalEngine] = {}
        self._users: Counter[Hashable] = Counter()

    def borrow(self, key: Hashable, make: Callable[[], LocalEngine]) -> LocalEngine:
        """The engine of that key; whoever borrows it leaves it once."""
        with self._guard:  # a base is loaded once, whoever waits for it
            if key not in self._engines:
                self._engines[key] = make()
            self._users[key] += 1
            return self._engines[key]

    def leave(self, key: Hashable) -> None:
        """One user less."""
        with self._guard:
            self._users[key] -= 1
            left = self._engines.pop(key) if not self._users[key] else None
        if left is not None:
            left.close()
