"""The meaning index in step with the journal: opened when it is asked, brought up to date, used by one at a time.

Knows no Chroma: any `Index` will do. What is written to the journal stands even when the index cannot follow.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from bakemem.errors import CLOSED, BakememError, HomeError
from bakemem.memory.journal import Journal
from bakemem.memory.last_used import last_used
from bakemem.memory.recall import Index, recall
from bakemem.types import Memory, Status

_LOG = logging.getLogger(__name__)

INDEXED: tuple[Status, ...] = ("pending", "baked", "held")
"""The memories that the index holds."""


class Shadow:
    """The index of one journal. Any method raises ModelError when the embedder cannot be loaded.

    It is closed while many others are used (see `last_used.py`), and opens when it is asked again.
    """

    def __init__(self, journal: Journal, open_index: Callable[[], Index]) -> None:
        self._journal, self._open = journal, open_index
        self._lock = threading.RLock()
        self._opened: Index | None = None
        self._whole = True  # whether the index has followed every change that ended since it was opened
        self._changing = 0  # how many are under way

    @contextmanager
    def behind(self) -> Iterator[None]:
        """Around a change of the journal and the `follow` or `rebuild` after it: where it does not come to its end, the
        next opening compares the two.
        """
        self._changing += 1
        try:
            yield
        except BaseException:
            self._whole = False
            raise
        finally:
            self._changing -= 1

    def follow(self, memory_ids: Iterable[str]) -> None:
        """Shows these memories, and what they superseded, as the journal has them now.

        Does nothing while the index is not open: it finds them itself when it is.
        """
        with self._lock:
            if self._opened is None:
                return
            now = self._journal.with_older(memory_ids)
            self._index.remove([m.id for m in now if m.status not in INDEXED])
            self._index.put([m for m in now if m.status in INDEXED])

    def near(self, text: str, k: int, score: float) -> list[str]:
        """The ids of at most `k` memories from that cosine on, nearest first."""
        with self._lock:
            return [i for i, found in self._index.search(text, k) if found >= score]

    def recall(
        self, text: str, k: int, only: Callable[[Memory], bool] = lambda memory: True
    ) -> list[tuple[Memory, float]]:
        """The `k` nearest live memories with their scores; `only` narrows down."""
        with self._lock:
            return recall(self._index, self._journal, text, k, only=only)

    def rebuild(self) -> int:
        """Begins anew from the journal, so that no trace of anything else stays; how many memories it holds."""
        with self._lock:
            index, self._opened = self._as_it_is(), None
            try:
                memories = self._journal.memories(INDEXED)
                index.purge(memories)
            except BaseException:  # it may be closed already: the next use opens it, and compares
                last_used(os.getpid()).closed(self)
                index.close()
                raise
            self._opened = index
        return len(memories)

    def rest(self) -> None:
        """Closes the index until it is asked again; does nothing while it is in use."""
        if self._lock.acquire(blocking=False):
            try:
                self._shut()
            except BakememError as error:
                _LOG.warning("An index is compared with its journal when it is opened again (%s).", error)
            finally:
                self._lock.release()

    def close(self) -> None:
        """Closes the index, if it is open; it is not opened any more."""
        with self._lock:
            self._open = _closed
            self._shut()

    def _shut(self) -> None:
        index, self._opened = self._opened, None
        last_used(os.getpid()).closed(self)
        if index is not None and not self._journal.forked:
            try:
                state = self._journal.last_change()  # before `_changing`: a change may begin in between
                if self._whole and not self._changing:
                    index.seal(state)
            finally:
                index.close()

    @property
    def _index(self) -> Index:
        index = self._as_it_is()
        if self._opened is None:
            self._opened = self._in_step(index)
        return self._opened

    def _as_it_is(self) -> Index:
        """The index, which is not compared with the journal when it opens: it may be behind."""
        self._journal.check_open()  # in a forked process Chroma waits for threads that are not there
        last_used(os.getpid()).use(self)
        if self._opened is None:
            self._whole = True  # before the journal is read: a change that fails meanwhile says otherwise
            return self._open()
        return self._opened

    def _in_step(self, index: Index) -> Index:
        try:
            if index.sealed() != self._journal.last_change():
                memories = self._journal.memories(INDEXED)
                if self._may_hold_forgotten(index):
                    index.purge(memories)
                else:
                    index.sync(memories)
        except BaseException:
            index.close()
            raise
        return index

    def _may_hold_forgotten(self, index: Index) -> bool:
        """Where a forgetting was cut short, and where nobody can see."""
        try:
            return not index.ids().isdisjoint(m.id for m in self._journal.memories("forgotten"))
        except HomeError as error:
            _LOG.warning("%s It is built anew from the journal.", error)
            return True


def _closed() -> Index:
    raise HomeError(CLOSED)
