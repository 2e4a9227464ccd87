"""One writer per memory home: a lock of the operating system, which dies with its process.

Knows no journal and no index; it only says who owns the home.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import sys
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
else:
    import fcntl

    def _lock(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


class HomeLock:
    """Owns a memory home for writing, from `acquire` to `release` or the end of the process.

    `acquire` never waits. Another holder, in this process or another, gets HomeLockedError at once; a home that
    cannot be written gets HomeError. A file left by a dead process is no obstacle: the lock, not the file, counts.
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        self._handle: int | None = None

    def acquire(self) -> HomeLock:
        """Takes the lock and writes pid, host and time into the file `lock`. Raises HomeLockedError, HomeError."""
        if self._handle is not None:
            raise HomeLockedError(f"{self._home} is already locked by this object: release it first.")
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
        self._handle = handle
        return self

    def release(self) -> None:
        """Gives the lock back; does nothing when it is not held."""
        # The file stays: removing it would let two processes lock two files of the same name.
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

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
