"""Wrong usage and what should not happen: with --json, standard output holds a value all the same."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner

from bakemem.cli import main
from bakemem.memory import Journal

USAGE = [
    ("remember", "x", "--kind", "foo"), ("remember",), ("log", "--nosuch"), ("nosuch",), ("--home", "h", "log"),
    ("eval", "--tasks", "a", "--stimuli-file", "q"), ("chat", "hi", "--strength", "9"),
]  # fmt: skip


@pytest.mark.parametrize("arguments", USAGE, ids=" ".join)
def test_wrong_usage_is_an_object_too(arguments: tuple[str, ...]) -> None:
    """Before any command runs as inside one; the exit code and what a person reads stay as they are."""
    told = CliRunner().invoke(main, [*arguments, "--json"])
    plain = CliRunner().invoke(main, [*arguments])
    assert (told.exit_code, plain.exit_code, plain.stdout) == (2, 2, "")
    error = json.loads(told.stdout)["error"]
    assert error["type"] == "UsageError"
    assert " ".join(error["message"].split()) in " ".join(plain.stderr.split())


def test_what_should_not_happen_is_an_object_too(baked: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The traceback is left to Python, and nothing is added for a person."""

    def broken(self: Journal) -> Any:
        raise RuntimeError("a bug")

    monkeypatch.setattr(Journal, "live", broken)
    told = CliRunner().invoke(main, ["log", "--json", "--home", str(baked.home)])
    assert isinstance(told.exception, RuntimeError)
    assert told.exit_code == 1
    error = json.loads(told.stdout)["error"]
    assert (error["type"], "a bug" in error["message"]) == ("RuntimeError", True)
    assert CliRunner().invoke(main, ["log", "--home", str(baked.home)]).output == ""


def test_help_is_no_error() -> None:
    """Nor is a plain end of a command."""
    assert "error" not in CliRunner().invoke(main, ["log", "--help", "--json"]).stdout
