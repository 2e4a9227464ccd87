"""What is wrong with the demo's options is said before its minutes begin."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import bakemem
from bakemem.demo import run
from bakemem.errors import BakememError, InputError


@pytest.fixture(autouse=True)
def nothing_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    """No memory is opened in these tests."""

    def opened(*arguments: object, **options: object) -> Any:
        raise AssertionError("The demo began.")

    monkeypatch.setattr(bakemem, "open", opened)


@pytest.mark.parametrize("name", ["nowhere/x.png", "x.nosuch", "file/x.png"])
def test_a_picture_that_cannot_be_written_is_refused(tmp_path: Path, name: str) -> None:
    """Its folder is missing, or nobody knows the format."""
    pytest.importorskip("matplotlib", reason="needs the extra demo")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match=r"picture cannot be written to .*say x\.png"):
        run(as_json=True, out=tmp_path / name)


def test_a_home_that_holds_a_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that is named from the user's own folder."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "journal.db").write_bytes(b"")
    for home in (tmp_path / "mine", Path("~/mine")):
        with pytest.raises(BakememError, match="holds a memory already"):
            run(as_json=True, out=tmp_path / "x.png", home=home)
