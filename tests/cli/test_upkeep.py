"""The commands that keep a home in order, as a person uses them: gc and check."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from bakemem.memory import HomeLock
from tests.cli.conftest import Keeper, Run


@pytest.fixture
def tidy(baked: Keeper) -> Keeper:
    """A home as bakemem leaves it, with v2 live and v3 rejected."""
    shutil.rmtree(baked.home / "source")
    baked.home.chmod(0o700)
    return baked


def answer(run: Run, *arguments: str) -> Any:
    """What a command says in JSON."""
    return json.loads(run(*arguments, "--json").stdout)


def test_a_sound_home_is_said_to_be(run: Run, tidy: Keeper) -> None:
    """In one word, with exit code 0."""
    result = run("check")
    assert (result.exit_code, result.stdout) == (0, "Sound.\n")
    assert answer(run, "check") == {"sound": True, "namespaces": {"default": []}}


def test_a_damage_is_named_with_what_to_do(run: Run, tidy: Keeper) -> None:
    """And the exit code is 1, with --json too."""
    (tidy.store.folder("v2") / "adapter_model.safetensors").write_bytes(b"")
    result = run("check")
    assert result.exit_code == 1
    assert "version v2" in result.stdout
    assert "bakemem rollback" in result.stdout
    result = run("check", "--json")
    assert result.exit_code == 1
    [problem] = json.loads(result.stdout)["namespaces"]["default"]
    assert problem["severity"] == "error"


def test_check_beside_a_writer_reads_and_does_not_repair(run: Run, tidy: Keeper, home: Path) -> None:
    """Without --repair it changes nothing and needs no lock; with it, it needs the home for itself."""
    left = tidy.store.folder("v1").parent / ".tmp-v4-abc"
    left.mkdir()
    with HomeLock(home):
        result = run("check")
        assert (result.exit_code, "cut short" in result.stdout) == (0, True)
        refused = run("check", "--repair")
    assert (refused.exit_code, "in use" in refused.stderr) == (1, True)
    assert left.exists()
    assert "removed" in run("check", "--repair").stdout
    assert not left.exists()
    assert run("check").stdout == "Sound.\n"


def test_check_can_look_at_every_namespace(run: Run, tidy: Keeper, home: Path) -> None:
    """The damage of another one is seen with --all only."""
    other = Keeper(home, "other")
    other.remember("The user's cat is called Tarn.")
    other.bake()
    shutil.rmtree(home / "source")
    shutil.rmtree(other.store.folder("v1"))
    assert run("check").exit_code == 0
    assert answer(run, "check", "--all")["namespaces"].keys() == {"default", "other"}
    result = run("check", "--all")
    assert (result.exit_code, result.stdout.splitlines()[0]) == (1, "other")


@pytest.mark.parametrize("command", ["check", "gc"])
def test_a_missing_home_is_explained_and_not_made(run: Run, home: Path, command: str) -> None:
    """As for every command that only reads."""
    assert run(command).exit_code == 1
    assert not home.exists()


def test_a_journal_that_is_none_is_an_error(run: Run, home: Path) -> None:
    """It cannot even be opened."""
    home.mkdir()
    (home / "journal.db").write_bytes(b"no database at all" * 100)
    result = run("check")
    assert (result.exit_code, "damaged" in result.stderr) == (1, True)


def test_gc_says_first_and_destroys_with_now(run: Run, tidy: Keeper) -> None:
    """Bytes are told; the rows stay in the log."""
    tidy.bake()
    tidy.bake()
    there = sum(p.stat().st_size for p in tidy.store.folder("v1").iterdir())
    told = answer(run, "gc", "--keep", "0")
    assert told["destroyed"] is False
    assert (told["versions"]["v1"], told["kept"]) == (there, {"v5": "live", "v4": "rollback of the last move"})
    assert "--now" in run("gc", "--keep", "0").stdout
    assert tidy.store.folder("v1").exists()
    assert run("gc", "--now").stdout.splitlines()[-1].startswith("0 versions")
    assert answer(run, "gc", "--keep", "0", "--now") == {**told, "destroyed": True}
    assert not tidy.store.folder("v1").exists()
    assert [v.gone for v in tidy.journal.versions()] == ["collected", "collected", "collected", "", ""]


def test_gc_says_what_alone_holds_a_held_memory(run: Run, tidy: Keeper) -> None:
    """It is kept, whatever --keep says, and the reason is told."""
    tidy.journal.set_live("v1")
    tidy.bake()  # v4 goes on from v1 with the town; the instruction is held, and only v2 holds it
    held = tidy.journal.memories("held")[0]
    tidy.bake()
    assert f"v2    kept: alone holds held memories: {held.id[:8]}" in run("gc", "--keep", "0", "--now").stdout
    assert tidy.store.folder("v2").exists()
    assert tidy.journal.memories("held") == [held]
