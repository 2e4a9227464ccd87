"""Opening a home: what can be none is refused in words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import bakemem
from bakemem.errors import HomeError
from bakemem.opening import own_journal, read_journal


def _own(home: str) -> None:
    with own_journal(home):
        pass


@pytest.mark.parametrize("home", ["a\0b", "x" * 300, "~nobody-of-that-name/memory"])
@pytest.mark.parametrize("opened", [bakemem.open, read_journal, _own])
def test_a_path_that_can_be_no_home_is_refused(
    opened: Callable[[str], object], home: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By whoever opens it, and nothing is made."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(HomeError, match="choose another folder"):
        opened(home)
    assert list(tmp_path.iterdir()) == []
