"""Every call to the disk that a home's work makes, seen one by one: to count them, to fail one, to die at one.

Knows which calls `bakemem.versions.store` and the journal make; what they are for is the scenario's business.
"""

from __future__ import annotations

import errno
import io
import os
import shutil
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol
from unittest import mock

import sqlalchemy as sa

from bakemem.errors import BakememError, HomeError
from bakemem.memory.database import Database
from tests.homes import State, assert_sound, opened, state_of

OS_CALLS = ("open", "fsync", "rename", "replace", "unlink", "rmdir", "mkdir", "ftruncate")
FAILURES = ("kill", "torn", "full", "broken", "flaky")
"""kill -9 before the call, or in the middle of a write; a disk that is full, or gone, from the call on; one EIO."""
_GROWS = ("create", "write", "mkdir", "commit", "vacuum")


class Around(Protocol):
    """Is given each call to the disk in place of the operating system, and makes it or not."""

    def __call__(self, name: str, perform: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Makes the call; `name` is one of OS_CALLS, create, write, commit, committed or vacuum."""


class Writer:
    """A file open for writing, each of whose writes is seen, and reaches the system at once."""

    def __init__(self, file: Any, around: Around) -> None:
        self._file, self._around = file, around

    def write(self, data: bytes) -> int:
        """Writes, and leaves nothing in a buffer of the process."""
        written: int = self._around("write", self._flushed, data)
        return written

    def _flushed(self, data: bytes) -> int:
        self._file.write(data)
        self._file.flush()
        return len(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


@contextmanager
def seen(around: Around) -> Iterator[None]:
    """Leads every call to the disk of this process through `around`."""
    real_open, real_write, real_compact = io.open, Database.write, Database.compact

    def open_file(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        if not set(mode) & set("wxa+"):
            return real_open(file, mode, *args, **kwargs)
        return Writer(around("create", real_open, file, mode, *args, **kwargs), around)

    @contextmanager
    def write(self: Database) -> Iterator[sa.Connection]:
        with real_write(self) as connection:
            yield connection
            around("commit", lambda: None)
        around("committed", lambda: None)

    def compact(self: Database) -> None:
        around("vacuum", real_compact, self)

    with ExitStack() as stack:
        for name in OS_CALLS:
            stack.enter_context(mock.patch.object(os, name, partial(around, name, getattr(os, name))))
        stack.enter_context(mock.patch.object(io, "open", open_file))
        stack.enter_context(mock.patch.object(Database, "write", write))
        stack.enter_context(mock.patch.object(Database, "compact", compact))
        yield


class Trap:
    """Lets calls pass up to the one before `at`, counted from 1, and then does one of FAILURES; notes all of them."""

    def __init__(self, at: int = 0, failure: str = "") -> None:
        self.at, self.failure, self.calls = at, failure, list[str]()

    def __call__(self, name: str, perform: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Makes the call or fails."""
        self.calls.append(name)
        here, after = len(self.calls) == self.at, 0 < self.at < len(self.calls)
        if here and self.failure == "torn":
            perform(args[0][: len(args[0]) // 2])
        if here and self.failure in ("kill", "torn"):
            os.kill(os.getpid(), signal.SIGKILL)
        if self.failure == "full" and ((here or after) and name in _GROWS):
            if name == "write" and here:
                perform(args[0][: len(args[0]) // 2])  # what still fitted
            self._fail(name, errno.ENOSPC)
        if (here and self.failure in ("broken", "flaky")) or (after and self.failure == "broken"):
            self._fail(name, errno.EIO)
        return perform(*args, **kwargs)

    def _fail(self, name: str, code: int) -> None:
        if name == "vacuum":
            raise HomeError("The journal cannot be used (disk I/O error): nothing was changed.")
        if name == "commit":
            raise sqlite3.OperationalError("database or disk is full" if code == errno.ENOSPC else "disk I/O error")
        if name != "committed":
            raise OSError(code, os.strerror(code))

    def applies(self, name: str) -> bool:
        """Whether the failure means anything at such a call."""
        if self.failure == "torn":
            return name == "write"
        if self.failure == "full":
            return name in _GROWS
        return self.failure == "kill" or name != "committed"


@dataclass(frozen=True)
class Scenario:
    """How a home comes to be, and what is then done to it; `erased` is a text that the journal
    must not hold any more after that.
    """

    prepare: Callable[[Path], object]
    act: Callable[[Path], object]
    namespace: str = "default"
    erased: str = ""


class Explorer:
    """Plays a scenario again and again in `folder/home`, each time with a failure at another call."""

    def __init__(self, scenario: Scenario, folder: Path) -> None:
        self.scenario, self.home, self._before = scenario, folder / "home", folder / "before"
        scenario.prepare(self._before)
        self.reset()
        self.old = self._state()
        self.reset()
        trap = Trap()
        with seen(trap):
            scenario.act(self.home)
        self.calls, self.new = trap.calls, self._state()

    def _state(self) -> State:
        with opened(self.home, self.scenario.namespace) as (journal, _):
            return state_of(journal)

    def reset(self) -> None:
        """The home as it was before."""
        shutil.rmtree(self.home, ignore_errors=True)
        shutil.copytree(self._before, self.home)

    def explore(self, failure: str) -> int:
        """Fails at each call that the failure applies to, and checks what is left; how many runs that were.

        Raises AssertionError, with the call, where a home is neither as before nor as after, or not sound.
        """
        places = [k for k, name in enumerate(self.calls, start=1) if Trap(k, failure).applies(name)]
        for k in places:
            self.reset()
            (self._killed if failure in ("kill", "torn") else self._failed)(Trap(k, failure))
            self.check(f"{failure} at call {k} ({self.calls[k - 1]})")
        return len(places)

    def _killed(self, trap: Trap) -> None:
        child = os.fork()
        if child == 0:
            try:
                with seen(trap):
                    self.scenario.act(self.home)
            finally:
                os._exit(1)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status), f"call {trap.at} was never made"

    def _failed(self, trap: Trap) -> None:
        try:
            with seen(trap):
                self.scenario.act(self.home)
        except BakememError:  # nothing else may come out
            pass
        assert len(trap.calls) >= trap.at, f"call {trap.at} was never made"

    def check(self, where: str) -> None:
        """Opens the home: it is as before or as after, and sound."""
        try:
            with opened(self.home, self.scenario.namespace) as (journal, store):
                found = state_of(journal)
                assert found in (self.old, self.new), f"neither old nor new: {found}"
                assert_sound(found, store)
            if found == self.new and self.scenario.erased:
                self._assert_erased()
        except Exception as error:
            raise AssertionError(f"{where}: {error}") from error

    def _assert_erased(self) -> None:
        for path in self.home.glob("journal.db*"):
            assert self.scenario.erased.encode() not in path.read_bytes(), f"{path.name} holds what was forgotten"
