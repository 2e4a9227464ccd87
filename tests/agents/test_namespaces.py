"""The memories of one home, opened as they are asked for."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import bakemem
from bakemem.agents.namespaces import Namespaces
from bakemem.errors import HomeError, HomeLockedError, InputError


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
