"""Wrong usage and what should not happen: with --json, standard output holds a value all the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
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


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize(("arguments", "unbuffered"), [(("memories",), ""), (("memories", "--json"), ""),
                                                       (("log", "--help"), "1")])  # fmt: skip
def test_a_full_device_is_one_line(baked: Any, arguments: tuple[str, ...], unbuffered: str) -> None:
    """On standard error, and Python has nothing to add when it ends."""
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        run = subprocess.run([sys.executable, "-m", "bakemem", *arguments], stdout=full, stderr=subprocess.PIPE,
                             text=True, check=False, env={**os.environ, "BAKEMEM_HOME": str(baked.home),
                                                          "PYTHONUNBUFFERED": unbuffered})  # fmt: skip
    assert run.returncode == 1
    assert run.stderr.startswith("bakemem: [Errno 28] No space left on device. Free space")
    assert len(run.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "arguments",
    [("memories",), ("remember", "x", "--kind", "fact", "--key", "x"), ("observe", "-")],
    ids=lambda a: a[0],
)
def test_closed_streams_are_like_the_null_device(baked: Any, arguments: tuple[str, ...]) -> None:
    """As a job without a terminal may get them: what is done is done, and what is read is empty."""
    run = subprocess.run(["sh", "-c", '"$0" -m bakemem "$@" <&- >&- 2>&-', sys.executable, *arguments], check=False,
                         env={**os.environ, "BAKEMEM_HOME": str(baked.home)})  # fmt: skip
    assert run.returncode == (1 if arguments[0] == "observe" else 0)


def test_help_is_no_error() -> None:
    """Nor is a plain end of a command."""
    assert "error" not in CliRunner().invoke(main, ["log", "--help", "--json"]).stdout
