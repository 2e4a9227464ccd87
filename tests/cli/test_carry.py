"""The commands that carry versions and memories out and in: pack, unpack, copies, and what export notes down."""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bakemem.cli import main
from bakemem.memory import HomeLock
from tests.carrying import DOG, Home

Run = Callable[..., Result]


@pytest.fixture
def filled(home: Path) -> Iterator[Home]:
    """A home whose v1 holds a dog."""
    made = Home(home)
    made.remember(DOG, key="user.dog")
    made.bake()
    yield made
    made._close()


@pytest.fixture
def elsewhere(tmp_path: Path) -> Run:
    """Runs a command on another home."""

    def call(*arguments: str) -> Result:
        return CliRunner().invoke(main, [*arguments, "--home", str(tmp_path / "elsewhere")], catch_exceptions=False)

    return call


def test_a_version_goes_to_another_home(run: Run, elsewhere: Run, filled: Home, tmp_path: Path) -> None:
    """It says how to let it serve; a second time it says that it is there."""
    file = str(tmp_path / "dog.zip")
    assert run("pack", "live", file).stdout == f"v1 with 1 memory written to {file}.\n"
    came = elsewhere("unpack", file).stdout
    assert came == "v1 with 1 memory taken in.\n`bakemem rollback v1` lets it serve.\n"
    assert elsewhere("unpack", file).stdout == "It is here already: v1.\n"
    assert "v1 is live; base was." in elsewhere("rollback", "v1").stdout
    assert DOG in elsewhere("memories", "--status", "baked").stdout
    assert DOG in elsewhere("show", "v1").stdout


def test_json_answers(run: Run, elsewhere: Run, filled: Home, tmp_path: Path) -> None:
    """One value each."""
    file = str(tmp_path / "dog.zip")
    assert json.loads(run("pack", "v1", file, "--json").stdout) == {"version": "v1", "file": file, "memories": 1}
    for new in (True, False):
        came = json.loads(elsewhere("unpack", file, "--json").stdout)
        assert (came["name"], came["live"], came["new"]) == ("v1", False, new)
    assert [c["what"] for c in json.loads(run("copies", "--json").stdout)] == ["v1"]
    assert json.loads(elsewhere("copies", "--json").stdout) == []


def test_another_base_and_a_refused_version_are_told(
    run: Run, elsewhere: Run, filled: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are taken in all the same."""
    file = str(tmp_path / "dog.zip")
    filled.remember("The user has a cat.")
    filled.bake(accepted=False)
    run("pack", "v2", file)
    monkeypatch.setenv("BAKEMEM_MODEL", "other")
    told = elsewhere("unpack", file).stdout
    assert "baked on starter and serves on that base only; here the model is other." in told
    assert "refused it: it never serves" in told
    assert "rollback" not in told


def test_a_file_is_not_replaced_and_a_bad_one_not_taken_in(run: Run, filled: Home, tmp_path: Path) -> None:
    """Unless forced; the error is one line."""
    file = tmp_path / "dog.zip"
    file.write_text("mine")
    assert "there already" in run("pack", "v1", str(file)).stderr
    assert "cannot be unpacked" in run("unpack", str(file)).stderr
    assert file.read_text() == "mine"
    assert run("pack", "v1", str(file), "--force").exit_code == 0
    assert run("unpack", str(file)).stdout == "It is here already: v1.\n"
    assert run("pack", "v9", str(file), "--force").exit_code == 1


@pytest.mark.parametrize("name", ["nothing", "folder", "file/inside", "n" * 5000, "nowhere/file"],
                         ids=lambda name: name[:10])  # fmt: skip
def test_a_path_that_cannot_be_used_is_one_line(run: Run, filled: Home, tmp_path: Path, name: str) -> None:
    """A missing one, a folder, one inside a file, one that is too long: to read as to write."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("mine")
    path = str(tmp_path / name)
    commands = [("unpack", path), ("import", path), ("observe", path)]
    if name != "nothing":
        commands += [("export", path), ("pack", "v1", path, "--force"), ("diff", "base", "v1", "--plot", path)]
    for command in commands:
        told = run(*command, "--json")
        assert told.exit_code in (1, 2), command
        assert json.loads(told.stdout)["error"]["type"] in ("InputError", "UsageError")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_line_without_end_is_not_taken_in(
    run: Run, filled: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is no export is not read whole into memory first."""
    monkeypatch.setattr("bakemem.cli.carry.MAX_INPUT", 5000)
    (tmp_path / "long").write_text("x" * 6000)
    for told in (run("import", str(tmp_path / "long")), run("import", "-", stdin="x" * 6000)):
        assert (told.exit_code, "has a line larger than" in told.stderr) == (1, True)


def test_an_export_with_a_byte_order_mark_is_read(run: Run, elsewhere: Run, filled: Home, tmp_path: Path) -> None:
    """As an editor may put one there."""
    file = tmp_path / "out.jsonl"
    assert run("export", str(file)).exit_code == 0
    file.write_text("\ufeff" + file.read_text(encoding="utf-8"), encoding="utf-8")
    assert elsewhere("import", str(file)).exit_code == 0


@pytest.mark.parametrize("line", ["{}", "[]", "null", "5"])
def test_what_is_no_memory_is_told_in_our_words(run: Run, filled: Home, tmp_path: Path, line: str) -> None:
    """And not in Python's."""
    (tmp_path / "in.jsonl").write_text(line, encoding="utf-8")
    told = run("import", str(tmp_path / "in.jsonl"))
    assert (told.exit_code, "its format is not bakemem-memory-1" in told.stderr) == (1, True)


def test_a_file_that_is_not_there_makes_no_home(elsewhere: Run, tmp_path: Path) -> None:
    """A misspelt name leaves no folder behind."""
    assert elsewhere("import", str(tmp_path / "nothing")).exit_code == 1
    assert not (tmp_path / "elsewhere").exists()


def test_copies_lists_what_left_the_home(run: Run, filled: Home, tmp_path: Path) -> None:
    """Versions and memories, with the file, or standard output."""
    assert run("copies").stdout == ""
    run("pack", "v1", str(tmp_path / "dog.zip"))
    run("export", str(tmp_path / "all.jsonl"))
    run("export")
    assert [line.split(maxsplit=3)[2:] for line in run("copies").stdout.splitlines()] == [
        ["v1", str(tmp_path / "dog.zip")], ["memories", str(tmp_path / "all.jsonl")], ["memories", "standard output"],
    ]  # fmt: skip


def test_a_copy_is_noted_also_where_its_reader_goes(run: Run, filled: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `head` does: what it took has left the home."""

    def broken(*arguments: object, **options: object) -> None:
        raise BrokenPipeError

    with monkeypatch.context() as patch:
        patch.setattr("bakemem.cli.carry.click.echo", broken)
        with pytest.raises(BrokenPipeError):
            run("export")
    assert "standard output" in run("copies").stdout


def test_an_export_is_whole_and_its_owners_alone(
    run: Run, filled: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that fails half way leaves the file of before, and nothing beside it."""
    (tmp_path / "out").mkdir()
    file = tmp_path / "out" / "all.jsonl"
    file.write_text("old")
    file.chmod(0o644)

    def fail(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        told = run("export", str(file))
    assert (told.exit_code, "No space left" in told.stderr) == (1, True)
    assert [(p.name, p.read_text()) for p in file.parent.iterdir()] == [("all.jsonl", "old")]
    assert run("export", str(file)).exit_code == 0
    assert json.loads(file.read_text(encoding="utf-8"))["text"] == DOG
    assert os.name == "nt" or stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are POSIX")
def test_what_is_no_file_is_not_replaced_by_one(run: Run, filled: Home, tmp_path: Path) -> None:
    """A device or a named pipe: root could replace /dev/null."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for command in (("export", str(pipe)), ("pack", "v1", str(pipe), "--force")):
        told = run(*command)
        assert (told.exit_code, "is no file" in told.stderr) == (1, True)
    assert pipe.is_fifo()


def test_an_export_beside_a_writer_warns_that_it_is_not_noted(run: Run, filled: Home, tmp_path: Path) -> None:
    """The memories are written all the same, and nothing but they stands on standard output."""
    with HomeLock(filled.home):
        piped, told = run("export"), run("export", str(tmp_path / "all.jsonl"), "--json")
    assert piped.exit_code == told.exit_code == 0
    assert "not noted down" in piped.stderr
    assert "in use for writing by process" in piped.stderr
    assert piped.stdout == (tmp_path / "all.jsonl").read_text(encoding="utf-8")
    assert json.loads(told.stdout)["noted"] is False
    assert run("copies").stdout == ""
    assert json.loads(run("export", str(tmp_path / "all.jsonl"), "--json").stdout)["noted"] is True
