"""The memories of one home, opened as they are asked for."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import bakemem
from bakemem.agent_memory import AgentMemory
from bakemem.agents.namespaces import Namespaces
from bakemem.errors import HomeError, HomeLockedError, InputError

CROWD = """
import resource, sys
from concurrent.futures import ThreadPoolExecutor
from bakemem.agents.namespaces import Namespaces

def told(i):
    memories(f"user-{i}").remember(f"The user lives in town {i}.", kind="fact", key="user.town")

def known(i):
    return [memory.text for memory in memories(f"user-{i}").recall("Where does the user live?")]

n = 24
with Namespaces(sys.argv[1], auto_extract=False) as memories, ThreadPoolExecutor(2) as pool:
    told(0), known(0)
    resource.setrlimit(resource.RLIMIT_NOFILE, (160, 160))
    list(pool.map(told, range(n)))
    for i, found in enumerate(pool.map(known, range(n))):
        assert found == [f"The user lives in town {i}."], found
"""


def test_each_namespace_is_opened_once(tmp_path: Path) -> None:
    """By whichever thread comes first; nothing is kept in two of them, and the names are those that hold something."""
    with Namespaces(tmp_path / "home", auto_extract=False) as memories:
        assert memories.names() == []
        with ThreadPoolExecutor(4) as pool:
            assert len({id(m) for m in pool.map(memories, ["alice"] * 8)}) == 1
        memories("alice").remember("The user's dog is called Bosuk.", key="user.dog")
        assert memories("bob").memories() == []
        assert memories.names() == ["alice"]
        assert not memories("bob").config.auto_extract
        with pytest.raises(InputError, match="is no namespace"):
            memories("")


def test_one_that_its_user_closed_is_opened_again(tmp_path: Path) -> None:
    """As at the end of a `with` block: whoever asks next gets one that works."""
    with Namespaces(tmp_path, auto_extract=False) as memories:
        with memories("alice") as memory:
            memory.remember("The user's dog is called Bosuk.", key="user.dog")
        assert [m.key for m in memories("alice").memories()] == ["user.dog"]


def test_all_are_released_where_none_is_named(tmp_path: Path) -> None:
    """Each is opened again when it is asked for."""
    memories = Namespaces(tmp_path)
    old = [memories("alice"), memories("bob")]
    memories.release()
    for memory in old:
        with pytest.raises(HomeError):
            memory.memories()
    assert memories("alice").memories() == []
    memories.close()


def test_closing_lets_go_of_the_home(tmp_path: Path) -> None:
    """Before that nobody else can have it; after it nothing can be asked, and closing again does nothing."""
    memories = Namespaces(tmp_path)
    memories()
    with pytest.raises(HomeLockedError):
        bakemem.open(tmp_path)
    memories.close()
    memories.close()
    with pytest.raises(HomeError, match="were closed"):
        memories()
    bakemem.open(tmp_path).close()


def test_a_released_namespace_is_opened_again_when_it_is_asked_for(tmp_path: Path) -> None:
    """With what was kept in it; the others stay open, and whoever held on to the old memory is told."""
    with Namespaces(tmp_path, auto_extract=False) as memories:
        alice, bob = memories("alice"), memories("bob")
        alice.remember("The user's dog is called Bosuk.", key="user.dog")
        memories.release("alice")
        memories.release("alice")
        memories.release("nobody")
        with pytest.raises(HomeError, match="was closed"):
            alice.memories()
        assert [m.text for m in memories("alice").memories()] == ["The user's dog is called Bosuk."]
        assert memories("bob") is bob


def test_who_asks_for_a_namespace_that_is_being_released_waits_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nobody else does: closing takes as long as a turn that is being read."""
    begun, go_on = threading.Event(), threading.Event()

    def slow(self: AgentMemory, close: Callable[[AgentMemory], None] = AgentMemory.close) -> None:
        begun.set()
        assert go_on.wait(10)
        close(self)

    with Namespaces(tmp_path, auto_extract=False) as memories, ThreadPoolExecutor(2) as pool:
        alice = memories("alice")
        monkeypatch.setattr(AgentMemory, "close", slow)
        released = pool.submit(memories.release, "alice")
        assert begun.wait(10)
        asked = pool.submit(memories, "alice")
        assert memories("bob").memories() == []
        assert not asked.done()
        go_on.set()
        released.result()
        assert asked.result() is not alice
        assert asked.result().memories() == []


def test_who_asks_for_a_namespace_that_is_being_opened_waits_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nobody else does: opening can wait for a writer. What is closed meanwhile ends closed."""
    begun, go_on = threading.Event(), threading.Event()

    def slow(home: Path, namespace: str, open: Callable[..., AgentMemory] = bakemem.open, **settings: Any) -> Any:
        if namespace == "bob":
            begun.set()
            assert go_on.wait(10)
        return open(home, namespace=namespace, **settings)

    memories = Namespaces(tmp_path, auto_extract=False)
    with ThreadPoolExecutor(3) as pool:
        alice = memories("alice")
        monkeypatch.setattr(bakemem, "open", slow)
        bob = pool.submit(memories, "bob")
        assert begun.wait(10)
        again = pool.submit(memories, "bob")
        assert pool.submit(memories, "alice").result(5) is alice
        closed = pool.submit(memories.close)
        assert not again.done()
        assert not closed.done()
        go_on.set()
        closed.result()
    with pytest.raises(HomeError, match="was closed"):
        bob.result().memories()


def test_a_namespace_that_could_not_be_opened_is_tried_again(tmp_path: Path) -> None:
    """Whoever asks next is not kept waiting for the one that failed."""
    with Namespaces(tmp_path) as memories:
        with bakemem.open(tmp_path), pytest.raises(HomeLockedError):
            memories()
        assert memories().memories() == []


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="this system has no such limit")
def test_many_namespaces_share_the_files_that_a_process_may_open(tmp_path: Path) -> None:
    """Two threads use more of them than could be open at once, and each is found again."""
    ran = subprocess.run([sys.executable, "-c", CROWD, tmp_path / "home"], check=False, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
