"""The memories of one home, opened as they are asked for."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import bakemem
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


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="this system has no such limit")
def test_many_namespaces_share_the_files_that_a_process_may_open(tmp_path: Path) -> None:
    """Two threads use more of them than could be open at once, and each is found again."""
    ran = subprocess.run([sys.executable, "-c", CROWD, tmp_path / "home"], check=False, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
