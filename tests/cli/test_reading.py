"""The commands that only read: memories, log, show, starter."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click import unstyle
from click.testing import CliRunner, Result

import bakemem
from bakemem.cli import main
from bakemem.memory import forget

Run = Callable[..., Result]

DOG, CASE, TOWN = "The user's dog is called Bosuk.", "Always answer in upper case.", "The user lives in Plinth."
HEAVY = {"torch", "transformers", "peft", "chromadb", "tokenizers", "langchain_core"}


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Standard output is a terminal of 80 columns."""
    monkeypatch.setattr("click.testing._NamedTextIOWrapper.isatty", lambda self: True)
    monkeypatch.setenv("COLUMNS", "80")


def test_help_lists_the_commands_in_the_order_of_use() -> None:
    """`bakemem` alone is `bakemem --help`, and begins with what one does first."""
    alone, asked = CliRunner().invoke(main, []), CliRunner().invoke(main, ["-h"])
    assert alone.exit_code == asked.exit_code == 0
    assert alone.output == asked.output
    names = [line.split()[0] for line in alone.output.partition("Commands:\n")[2].splitlines()]
    assert names == [
        *("chat", "remember", "observe", "memories", "bake", "schedule", "log", "show", "diff", "verify", "rollback"),
        *("reflog", "tag", "release", "recall", "why", "bisect", "blame", "history", "edit", "forget", "erase"),
        *("receipts", "quarantine", "approve", "reject", "drop", "export", "import", "pack", "unpack", "copies"),
        *("reindex", "gc", "check", "eval", "starter", "demo"),
    ]


@pytest.mark.parametrize("name", sorted(main.commands))
def test_every_command_teaches_and_answers_in_json(name: str) -> None:
    """Each command explains itself beyond one line, and takes --home and --json."""
    command = main.commands[name]
    assert len((command.help or "").split()) > 20
    options = {option for parameter in command.params for option in parameter.opts}
    assert {"--home", "--json"} <= options


def test_version_is_the_packages() -> None:
    """`--version` says which bakemem this is."""
    assert CliRunner().invoke(main, ["--version"]).output.split()[-1] == bakemem.__version__


@pytest.mark.parametrize(
    "arguments",
    [("log",), ("show", "v1"), ("diff", "base", "v1"), ("memories",), ("reflog",), ("tag",), ("gc",), ("check",)],
    ids=lambda a: a[0],
)
def test_reading_loads_no_model_library(baked: Any, arguments: tuple[str, ...]) -> None:
    """A log must not wait for torch."""
    told, loaded = loaded_by(baked.home, arguments)
    assert DOG in told or arguments[0] in ("log", "reflog", "tag", "gc", "check")
    assert not HEAVY & loaded


@pytest.mark.parametrize(
    "arguments",
    [("remember", "A cat.", "--key", "user.cat"), ("recall", "dog"), ("why", "dog"), ("rollback", "v1"),
     ("tag", "v1", "a"), ("forget", "--all", "--yes"), ("reindex",), ("gc", "--now"), ("check", "--repair")],
    ids=lambda a: a[0],
)  # fmt: skip
def test_what_needs_no_model_loads_none(baked: Any, arguments: tuple[str, ...]) -> None:
    """Also of the commands that write: a rollback must not wait for torch."""
    _, loaded = loaded_by(baked.home, arguments)
    assert not {"torch", "transformers", "peft"} & loaded


def loaded_by(home: Path, arguments: tuple[str, ...]) -> tuple[str, set[str]]:
    """What a command prints in a process of its own, and the packages that it loads there."""
    code = (
        "import sys; from bakemem.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "finally: print(*{name.partition('.')[0] for name in sys.modules}, file=sys.stderr)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, *arguments, "--home", str(home)], capture_output=True, encoding="utf-8", check=True
    )
    loaded = set(run.stderr.split())
    assert "bakemem" in loaded
    return run.stdout, loaded


@pytest.mark.parametrize("arguments", [("log",), ("memories",), ("show", "v1"), ("rollback", "v1"), ("recall", "dog")])
def test_a_missing_home_is_explained_and_not_made(run: Run, home: Path, arguments: tuple[str, ...]) -> None:
    """Only commands that keep something begin a memory; a misspelt --home leaves no folder behind."""
    result = run(*arguments)
    assert result.exit_code == 1
    assert "There is no memory at" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not home.exists()


def test_an_error_is_an_object_with_json(run: Run) -> None:
    """Programs read errors where they read answers."""
    result = run("log", "--json")
    assert result.exit_code == 1
    error = json.loads(result.stdout)["error"]
    assert error["type"] == "HomeError"
    assert "There is no memory at" in error["message"]
    assert not result.stderr


def test_the_home_may_come_from_the_environment(baked: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """BAKEMEM_HOME names the home when --home does not."""
    monkeypatch.setenv("BAKEMEM_HOME", str(baked.home))
    result = CliRunner().invoke(main, ["log", "--json"])
    assert json.loads(result.stdout)["live"] == "v2"


def test_memories_are_lines_for_programs(run: Run, baked: Any) -> None:
    """Where the output is no terminal, each memory is one line with tabs, whatever its text holds."""
    baked.remember("A text\nin two\tlines \x1b[31mand red", key="user.text")
    lines = [line.split("\t") for line in run("memories").stdout.splitlines()]
    assert [(line[1], line[3], line[4]) for line in lines] == [
        ("baked", "user.dog", DOG), ("baked", "style.case", CASE), ("pending", "user.town", TOWN),
        ("pending", "user.text", "A text in two lines \N{REPLACEMENT CHARACTER}[31mand red"),
    ]  # fmt: skip


@pytest.mark.usefixtures("terminal")
def test_a_table_shows_all_of_a_text(run: Run, baked: Any) -> None:
    """An address is broken, and not cut off."""
    address = f"https://example.org/{'a/very/long/way/' * 8}end"
    baked.remember(f"The report is at {address} today.", key="doc.link")
    told = run("memories").output
    assert address in "".join(line[-40:].replace(" ", "") for line in told.splitlines())


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_no_colour_where_none_is_wanted(home: Path, baked: Any, name: str, value: str) -> None:
    """By the two common signs, also on a terminal."""
    line = ["log", "--home", str(home)]
    plain = CliRunner().invoke(main, line, color=True, env={name: value})
    assert "\x1b" in CliRunner().invoke(main, line, color=True, env={"TERM": "xterm"}).output
    assert "\x1b" not in plain.output


@pytest.mark.usefixtures("terminal")
def test_memories_are_a_table_that_fits_the_terminal(run: Run, baked: Any) -> None:
    """Long keys and texts are broken, and [brackets] are no markup."""
    baked.remember("[bold] " + "word " * 60, key="user." + "long" * 20)
    lines = unstyle(run("memories").stdout).splitlines()
    assert max(map(len, lines)) <= 80
    assert "[bold]" in " ".join(lines)


def test_memories_of_one_status(run: Run, baked: Any) -> None:
    """--status picks, an empty answer says so on standard error, and --json gives everything that is known."""
    pending = json.loads(run("memories", "--status", "pending", "--json").stdout)
    assert [m["text"] for m in pending] == [TOWN]
    assert pending[0]["provenance"]["role"] == "user"
    held = run("memories", "--status", "held")
    assert (held.exit_code, held.stdout) == (0, "")
    assert "no held memory" in held.stderr
    assert run("memories", "--status", "lost").exit_code == 2


def test_namespaces_are_apart(run: Run, baked: Any) -> None:
    """Another namespace of the same home has its own memories, none here."""
    assert json.loads(run("memories", "--namespace", "bob", "--json").stdout) == []


def test_log_tells_the_story(run: Run, baked: Any) -> None:
    """Newest first: what is live, what was rejected and why, the parents, and what each version added."""
    lines = run("log").stdout.splitlines()
    heads = [line.split()[1:] for line in lines if line.startswith("*")]
    assert [(h[0], h[1]) for h in heads[:3]] == [("v3", "rejected"), ("v2", "live"), ("v1", heads[2][1])]
    assert [h[h.index("parent") + 1] for h in heads[:3]] == ["v2", "v1", "base"]
    assert heads[3:] == [["base"]]
    added = [line.partition("+ ")[2] for line in lines if "+ " in line]
    assert added == [TOWN, CASE, DOG]
    assert any("refused: agreement with the prompted model is 50%" in line for line in lines)
    assert any("KL 4.000 → 0.050 nats" in line for line in lines)


def test_log_draws_the_branches(run: Run, baked: Any) -> None:
    """After a rollback, the next version stands in a lane of its own that runs into the one it came from."""
    baked.journal.set_live("v1")
    baked.bake()
    baked.journal.set_live("base")
    lines = run("log").stdout.splitlines()
    assert [line[:7].rstrip() for line in lines if "*" in line or "/" in line] == [
        "*    v4", "| *  v3", "| *  v2", "|/", "*    v1", "*    ba",
    ]  # fmt: skip
    assert lines[-1].split() == ["*", "base", "live"]
    assert all(line.startswith(("| ", "*", "|/")) for line in lines)


@pytest.mark.parametrize("how", ["collected", "erased"])
def test_log_marks_what_is_destroyed_and_what_has_a_tag(run: Run, baked: Any, how: str) -> None:
    """A destroyed version stays in the log under the word that says how; tags stand behind the version."""
    baked.journal.tag("good", "v2")
    baked.journal.tag("best", "v2")
    baked.journal.destroyed(["v1"], how)
    heads = [line for line in run("log").stdout.splitlines() if line.startswith("*")]
    assert heads[1].split()[2] == "live"
    assert heads[1].endswith("[best, good]")
    assert heads[2].split()[1:3] == ["v1", how]
    newest, middle, oldest = json.loads(run("log", "--json").stdout)["versions"]
    assert (newest["gone"], oldest["gone"]) == ("", how)
    assert (middle["tags"], oldest["tags"]) == (["best", "good"], [])


def test_log_says_no_more_of_what_is_forgotten(run: Run, baked: Any) -> None:
    """The memory is listed nowhere, and the versions that learned it are marked until they are erased."""
    dog = baked.journal.memories()[0]
    forget(baked.journal, [dog.id])
    output = run("log").stdout
    assert DOG not in output
    assert not any(line.rstrip().endswith("+") for line in output.splitlines())
    marks = {line.split()[1]: line.split()[2] for line in output.splitlines() if line.startswith("*")}
    assert marks == {"v3": "tainted", "v2": "tainted", "v1": "tainted", "base": "live"}
    assert json.loads(run("log", "--json").stdout)["versions"][0]["tainted"] is True


def test_log_as_json(run: Run, baked: Any) -> None:
    """The same for programs: reports, ids and settings in full."""
    answer = json.loads(run("log", "--json").stdout)
    assert answer["live"] == "v2"
    newest = answer["versions"][0]
    assert (newest["name"], newest["status"], newest["live"]) == ("v3", "rejected", False)
    assert [m["text"] for m in newest["added"]] == [TOWN]
    assert newest["report"]["agreement"] == 0.5
    assert newest["settings"]["rank"] == 16


def test_log_shortens_a_long_list(run: Run, keeper: Any) -> None:
    """A version that added many memories names a few and says where the others are."""
    for n in range(20):
        keeper.remember(f"Fact {n}.")
    keeper.bake()
    output = run("log").stdout
    assert "Fact 5." in output
    assert "Fact 6." not in output
    assert "14 more: bakemem show v1" in output


def test_show_has_everything(run: Run, baked: Any) -> None:
    """Prompt, memories with ids and keys, report, settings, and what the model could not take in."""
    output = run("show", "v3").stdout
    for memory in baked.journal.memories():
        assert f"{memory.id}\tbaked\t" in output or f"{memory.id}\tpending\t" in output
        assert f"- {memory.text}" in output
    for part in ("rejected", "style.case", "agreement", "50.0%", "rank", "base-1", f"does not take in {memory.id[:8]}"):
        assert part in output


def test_show_as_json(run: Run, baked: Any) -> None:
    """The prompt is whole, and `live` names the version that serves."""
    answer = json.loads(run("show", "live", "--json").stdout)
    assert (answer["name"], answer["live"]) == ("v2", True)
    assert answer["prompt"].endswith(f"- {DOG}")
    assert [m["text"] for m in answer["memories"]] == [CASE, DOG]


def test_show_survives_a_damaged_manifest(run: Run, baked: Any) -> None:
    """What the journal knows is shown, and the prompt's place says what is wrong."""
    (baked.home / "versions" / "v1" / "manifest.json").write_bytes(b"\xff{")
    result = run("show", "v1")
    assert result.exit_code == 0
    assert DOG in result.stdout
    assert "cannot be read" in result.stdout


@pytest.mark.parametrize("how", ["collected", "erased"])
def test_show_of_a_destroyed_version(run: Run, baked: Any, how: str) -> None:
    """The journal's report remains; the prompt's place says what became of the files, also while they are there."""
    baked.journal.destroyed(["v1"], how)
    output = run("show", "v1").stdout
    assert output.split()[:2] == ["v1", how]
    assert "98.0%" in output
    assert "The files of v1 are destroyed" in output
    assert f"- {DOG}" not in output
    answer = json.loads(run("show", "v1", "--json").stdout)
    assert (answer["prompt"], answer["gone"], answer["tainted"]) == (None, how, False)


def test_show_keeps_a_forgotten_memory_to_itself(run: Run, baked: Any) -> None:
    """The prompt of a version that learned it is not printed though it is on the disk; the way out is named."""
    dog = baked.journal.memories()[0]
    forget(baked.journal, [dog.id])
    assert DOG in (baked.home / "versions" / "v2" / "manifest.json").read_text(encoding="utf-8")
    for arguments in (("show", "v2"), ("show", "v2", "--json")):
        output = run(*arguments).stdout
        assert DOG not in output
        assert "v2 learned what was forgotten since: run `bakemem erase`" in output
    assert json.loads(output)["tainted"] is True


def test_show_knows_tags(run: Run, baked: Any) -> None:
    """A version is found by its tag, which stands in the headline."""
    baked.journal.tag("good", "v1")
    assert run("show", "good").stdout.splitlines()[0].endswith("[good]")
    assert json.loads(run("show", "good", "--json").stdout)["tags"] == ["good"]


def test_an_unknown_version_names_the_closest(run: Run, baked: Any) -> None:
    """A misspelt name is answered with those that exist."""
    result = run("show", "v22")
    assert result.exit_code == 1
    assert "v2" in result.stderr


@pytest.mark.parametrize("there", [True, False])
def test_starter_says_what_it_is(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool) -> None:
    """What the embedded model can and cannot do, its files, its size, and its measured skills."""
    weights = tmp_path / "weights"
    weights.mkdir()
    if there:
        header = json.dumps({"__metadata__": {}, "a": {"shape": [3, 4]}, "b": {"shape": [5]}}).encode()
        (weights / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
        (weights / "config.json").write_text('{"max_position_embeddings": 2048}', encoding="utf-8")
        report = "# Report\n\n| skill | share |\n|---|---:|\n| recall | 98 % |\n\ntext | more\n"
        (tmp_path / "REPORT.md").write_text(report, encoding="utf-8")
    monkeypatch.setattr("bakemem.starter.STARTER", weights)
    output = run("starter").stdout
    assert "It cannot" in output
    assert str(weights) in output
    answer = json.loads(run("starter", "--json").stdout)
    assert answer["parameters"] == (17 if there else None)
    assert answer["skills"] == ([{"skill": "recall", "share": "98 %"}] if there else [])
    assert ("are missing" in output) != there
    assert ("recall  98 %" in output) == there
