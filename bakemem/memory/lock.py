"""One writer per memory home: a lock of the operating system, which dies with its process.

Knows no journal and no index; it only says who owns the home.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import sys
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

from bakemem.errors import HomeError, HomeLockedError

if sys.platform == "win32":
    import msvcrt

    _FAR = 1 << 30  # Windows locks bytes against reading too: lock one beyond the text, so that others can read it

    def _lock(handle: int) -> None:
        os.lseek(handle, _FAR, os.SEEK_SET)
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)

    def _unlock(handle: int) -> None:
        pass  # closing does it
else:
    import fcntl

    def _lock(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _unlock(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_UN)  # closing would leave it to a process that was forked meanwhile


@dataclass
class _Held:
    """A lock of this process, and the namespaces that share it."""

    handle: int
    process: int
    namespaces: set[str]


_HELD: dict[Path, _Held] = {}
_GUARD = threading.Lock()


class HomeLock:
    """Owns a namespace of a memory home for writing, or all of it (None), until `release` or the end of the process.

    `acquire` never waits. Namespaces of one process share the home; any other holder gets HomeLockedError at once, and
    a home that cannot be written gets HomeError. A file left by a dead process is no obstacle: the lock, not the file,
    counts.
    """

    def __init__(self, home: Path, namespace: str | None = None) -> None:
        self._home, self._namespace = home.absolute(), namespace or ""
        self._held: _Held | None = None

    def acquire(self) -> HomeLock:
        """Takes the lock and writes pid, host and time into the file `lock`. Raises HomeLockedError, HomeError."""
        with _GUARD:
            place = self._home.resolve()
            held = _HELD.get(place)
            if held is None or held.process != os.getpid():  # a lock that was forked is the parent's
                held = _HELD[place] = _Held(self._take(), os.getpid(), set())
            elif self._held or not self._namespace or held.namespaces & {"", self._namespace}:
                raise HomeLockedError(self._who())
            held.namespaces.add(self._namespace)
            self._held = held
        return self

    def _take(self) -> int:
        try:
            self._home.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle = os.open(self._home / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise HomeError(f"The memory home {self._home} cannot be opened for writing ({error}).") from error
        try:
            _lock(handle)
            owner = {"pid": os.getpid(), "host": socket.gethostname(), "since": datetime.now(UTC).isoformat()}
            os.ftruncate(handle, 0)
            os.lseek(handle, 0, os.SEEK_SET)
            os.write(handle, json.dumps(owner).encode())
        except OSError as error:
            os.close(handle)
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK):
                raise HomeLockedError(self._who()) from None
            raise HomeError(f"The memory home {self._home} cannot be locked ({error}).") from error
        return handle

    def release(self) -> None:
        """Gives the lock back; does nothing when it is not held."""
        # The file stays: removing it would let two processes lock two files of the same name.
        with _GUARD:
            held, self._held = self._held, None
            if held is not None:
                held.namespaces.discard(self._namespace)
                if not held.namespaces:
                    if held.process == os.getpid():
                        _unlock(held.handle)
                    os.close(held.handle)
                    for place in [place for place, one in _HELD.items() if one is held]:
                        del _HELD[place]

    def _who(self) -> str:
        try:
            owner = json.loads((self._home / "lock").read_text())
            who = f"process {owner['pid']} on {owner['host']} since {owner['since']}"
        except (OSError, ValueError, KeyError, TypeError):
            who = "another process"
        return (
            f"The memory home {self._home} is in use for writing by {who}: close that one, or use another home. "
            "Reading (log, show, memories) works beside it."
        )

    def __enter__(self) -> HomeLock:
        return self.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
