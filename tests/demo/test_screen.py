"""The demo's pictures come out of any measured curve."""

from __future__ import annotations

from pathlib import Path

import pytest

from bakemem.demo.curve import TURNS, Point
from bakemem.demo.screen import Screen
from bakemem.errors import InputError


def test_the_curve_is_a_table_a_plot_and_a_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each with every row and turn, and no control sequence where the output is no terminal."""
    fading = [1.0, 1.0, 0.75, 0.5, 0.0, 0.0]
    curves = {
        "base": [Point(turn, 0.0, 0.0, 1.0, 0.0) for turn in TURNS],
        "prompted": [Point(turn, 1.0, kept, 1.0, kept) for turn, kept in zip(TURNS, fading, strict=True)],
        "baked": [Point(turn, 1.0, 1.0, 1.0, 1.0) for turn in TURNS],
    }
    Screen().curves(curves, tmp_path / "forgetting.png")
    shown = capsys.readouterr().out
    facts = next(line for line in shown.splitlines() if "facts recalled" in line and "prompted" in line)
    assert [cell.strip() for cell in facts.split("│")[3:-1]] == ["100", "100", "75", "50", "0", "0"]
    assert "\x1b" not in shown
    assert shown.count("p") > 20  # the prompted model's line of the plot
    assert (tmp_path / "forgetting.png").read_bytes().startswith(b"\x89PNG")


def test_a_picture_that_cannot_be_written_after_all_is_an_error_of_ours(tmp_path: Path) -> None:
    """Its folder may be there, and its name too long."""
    pytest.importorskip("matplotlib", reason="needs the extra demo")
    with pytest.raises(InputError, match="cannot be written"):
        Screen(quiet=True).curves({"base": [Point(turn, 0.0, 0.0, 1.0, 0.0) for turn in TURNS]},
                                  tmp_path / f"{'n' * 300}.png")  # fmt: skip
