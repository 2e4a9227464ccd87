"""One process, and one object in it, owns a home for writing; the others hear at once who it is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bakemem.errors import HomeError, HomeLockedError
from bakemem.memory import HomeLock

OWNER = """
import sys, time
from pathlib import Path
from bakemem.memory import HomeLock
HomeLock(Path(sys.argv[1])).acquire()
print("locked", flush=True)
time.sleep(60)
"""


def test_a_second_process_is_told_at_once_who_owns_the_home(tmp_path: Path) -> None:
    """The error names the owner's pid without waiting, and the home is free as soon as the owner was killed."""
    owner = subprocess.Popen([sys.executable, "-c", OWNER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    assert owner.stdout.readline() == "locked\n"
    start = time.monotonic()
    with pytest.raises(HomeLockedError, match=f"process {owner.pid} "):
        HomeLock(tmp_path).acquire()
    assert time.monotonic() - start < 1.0
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    owner.stdout.close()
    with HomeLock(tmp_path):
        assert str(os.getpid()) in (tmp_path / "lock").read_text()


def test_the_same_process_cannot_own_a_home_twice(tmp_path: Path) -> None:
    """A second lock, and a second acquire of the same lock, are refused until the first is released."""
    first = HomeLock(tmp_path / "new" / "home").acquire()
    with pytest.raises(HomeLockedError, match=str(os.getpid())):
        HomeLock(tmp_path / "new" / "home").acquire()
    with pytest.raises(HomeLockedError):
        first.acquire()
    first.release()
    first.release()
    with HomeLock(tmp_path / "new" / "home"):
        pass


def test_namespaces_of_one_process_share_a_home(tmp_path: Path) -> None:
    """Each of them once, nobody owns all of it meanwhile, and the home is free when the last has gone."""
    one, two = HomeLock(tmp_path, "one").acquire(), HomeLock(tmp_path / "." / "", "two").acquire()
    for namespace in ("one", "two", None):
        with pytest.raises(HomeLockedError, match=str(os.getpid())):
            HomeLock(tmp_path, namespace).acquire()
    one.release()
    ours = subprocess.run([sys.executable, "-c", OWNER, str(tmp_path)], capture_output=True, text=True, check=False)
    assert "HomeLockedError" in ours.stderr
    HomeLock(tmp_path, "one").acquire().release()
    two.release()
    with HomeLock(tmp_path), pytest.raises(HomeLockedError):
        HomeLock(tmp_path, "one").acquire()


def test_a_home_stays_where_it_was_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program may go on to work elsewhere, as a daemon or a notebook does."""
    monkeypatch.chdir(tmp_path)
    lock = HomeLock(Path("home")).acquire()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    with pytest.raises(HomeLockedError):
        HomeLock(tmp_path / "home").acquire()
    lock.release()
    with HomeLock(tmp_path / "home"), pytest.raises(HomeLockedError):
        HomeLock(tmp_path / "home").acquire()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forking is POSIX")
def test_a_forked_process_keeps_no_home_locked(tmp_path: Path) -> None:
    """It has a copy of the open file, until it ends."""
    lock = HomeLock(tmp_path).acquire()
    child = os.fork()
    if child == 0:
        time.sleep(30)
        os._exit(0)
    try:
        lock.release()
        HomeLock(tmp_path).acquire().release()
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_a_file_left_by_a_dead_process_is_no_obstacle(tmp_path: Path) -> None:
    """The lock counts, not what an old file says, be it readable or not."""
    (tmp_path / "lock").write_bytes(b"\xff not json")
    with HomeLock(tmp_path), pytest.raises(HomeLockedError):
        HomeLock(tmp_path).acquire()


def test_a_home_that_cannot_be_made_is_a_home_error(tmp_path: Path) -> None:
    """A file where the home should be is told as such, and is no lock error."""
    (tmp_path / "home").write_text("a file")
    with pytest.raises(HomeError) as caught:
        HomeLock(tmp_path / "home").acquire()
    assert not isinstance(caught.value, HomeLockedError)
