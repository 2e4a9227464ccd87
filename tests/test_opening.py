"""Opening a home: what can be none is refused in words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import bakemem
from bakemem.errors import HomeError
from bakemem.opening import open_records, own_journal, read_journal


def _own(home: str) -> None:
    with own_journal(home):
        pass


@pytest.mark.parametrize("home", ["", "a\0b", "x" * 300, "~nobody-of-that-name/memory"])
@pytest.mark.parametrize("opened", [bakemem.open, read_journal, _own])
def test_a_path_that_can_be_no_home_is_refused(
    opened: Callable[[str], object], home: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By whoever opens it, and nothing is made."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(HomeError, match="choose another folder"):
        opened(home)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("opened", [bakemem.open, read_journal, _own])
def test_a_file_is_no_home(opened: Callable[[str], object], tmp_path: Path) -> None:
    """Whoever opens it is told so, and it stays as it is."""
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(HomeError, match="it is a file, not a folder"):
        opened(str(tmp_path / "notes.txt"))
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_versions_that_cannot_be_listed_are_no_reason_not_to_open(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """That is said, what needs them fails in words of ours, and all else can be done."""
    (tmp_path / "versions").write_text("")
    with open_records(tmp_path) as records:
        assert records.remember("The user's dog is called Bosuk.", key="user.dog").status == "pending"
        assert [p.what for p in records.check() if "listed" in p.what]
    assert "cannot be listed" in caplog.text
