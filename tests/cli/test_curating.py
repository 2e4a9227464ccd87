"""The commands that decide about memories and move them, as a person uses them on a home without a model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import pytest

from bakemem.memory import HomeLock
from bakemem.types import Draft, Provenance
from tests.cli.conftest import DOG, TOWN, Keeper, Run

FLIGHT = "The user flies on Monday."


@pytest.fixture
def waiting(keeper: Keeper) -> str:
    """A fact from a tool in quarantine; its id."""
    said = Provenance("tool", "tool:mail", "talk", FLIGHT)
    return keeper.journal.add(Draft("fact", "user.flight", FLIGHT), said, "quarantined", reason="not trusted").id


def test_quarantine_is_listed_with_reasons_and_emptied_by_a_person(run: Run, keeper: Keeper, waiting: str) -> None:
    """Approve lets out, reject erases."""
    assert "not trusted" in run("quarantine").stdout
    assert run("approve", waiting[:8]).exit_code == 0
    assert [m.text for m in keeper.journal.memories("pending")] == [FLIGHT]
    assert json.loads(run("quarantine", "--json").stdout) == []
    result = run("reject", waiting)
    assert result.exit_code == 1
    assert "not in quarantine" in result.stderr


def test_a_rejected_memory_is_erased(run: Run, keeper: Keeper, waiting: str) -> None:
    """Its tombstone has no text."""
    [gone] = json.loads(run("reject", waiting, "--json").stdout)
    assert (gone["status"], gone["text"]) == ("forgotten", "")


@pytest.mark.parametrize("line", [["forget"], ["forget", "--conversation"], ["history"], ["approve"]])
def test_a_byte_that_is_no_text_is_refused_in_words(run: Run, keeper: Keeper, line: list[str]) -> None:
    """Python gives such a byte of the command line as half a surrogate pair."""
    result = run(*line, "talk\udcff", *(["--yes"] if line[0] == "forget" else []))
    assert (result.exit_code, "surrogate pair" in result.stderr) == (1, True)


def test_a_source_can_be_dropped_whole(run: Run, keeper: Keeper, waiting: str) -> None:
    """After a question, or with --yes; with --json never without."""
    keeper.remember(DOG, key="user.dog")
    assert run("drop", "--source", "tool:mail", "--json").exit_code == 1
    assert run("drop", "--source", "tool:mail", stdin="n\n").exit_code == 1
    assert keeper.journal.memories("quarantined")
    assert run("drop", "--source", "tool:mail", "--yes").exit_code == 0
    assert [m.text for m in keeper.journal.memories() if m.text] == [DOG]


def test_what_a_dropped_source_had_superseded_is_named(run: Run, keeper: Keeper) -> None:
    """It counts again, which nobody would guess from what was erased."""
    keeper.remember(DOG, key="user.dog")
    mail, wolf = Provenance("tool", "tool:mail"), Draft("fact", "user.dog", "The user's dog is called Wolf.")
    keeper.journal.add(wolf, mail)
    result = run("drop", "--source", "tool:mail", "--yes")
    assert result.exit_code == 0
    assert DOG in result.stdout[result.stdout.index("Again what they were before:") :]
    assert "Wolf" not in result.stdout
    keeper.journal.add(Draft("fact", "tovi.town", TOWN), mail)
    assert "Again" not in run("drop", "--source", "tool:mail", "--yes").stdout


def test_forget_erases_and_the_base_takes_over(run: Run, baked: Keeper) -> None:
    """What was baked beside it returns to the prompt; the version cannot be rolled back to."""
    dog = next(m for m in baked.journal.memories() if m.text == DOG)
    result = run("forget", dog.id[:8])
    assert result.exit_code == 0
    assert baked.journal.live() is None
    assert {m.text for m in baked.journal.memories("pending")} == {TOWN, "Always answer in upper case."}
    again = run("rollback", "v2")
    assert again.exit_code == 1
    assert "forgotten" in again.stderr


@pytest.mark.parametrize(
    "arguments", [(), ("--conversation", "", "--yes"), ("--all", "--conversation", "x", "--yes"), ("--all", "abcd")]
)
def test_forget_wants_to_know_what(run: Run, keeper: Keeper, arguments: tuple[str, ...]) -> None:
    """An empty name must not be taken for everything without one, nor everything for the narrower word beside it."""
    keeper.remember(DOG)
    assert run("forget", *arguments).exit_code == 1
    assert keeper.journal.memories("pending")


@pytest.mark.parametrize("line", [("forget", "--all"), ("drop", "--source", "user")])
def test_the_home_is_free_until_the_question_is_answered(
    run: Run, keeper: Keeper, home: Path, monkeypatch: pytest.MonkeyPatch, line: tuple[str, ...]
) -> None:
    """Somebody may take long; whoever writes meanwhile is not refused."""
    keeper.remember(DOG)
    asked = []

    def confirm(text: str, **kwargs: object) -> bool:
        asked.append(text)
        HomeLock(home).acquire().release()
        return True

    monkeypatch.setattr("click.confirm", confirm)
    assert run(*line).exit_code == 0
    assert len(asked) == 1
    assert [m.text for m in keeper.journal.memories()] == [""]


@pytest.mark.parametrize("line", [("forget", "--all"), ("drop", "--source", "user")])
def test_a_question_that_nobody_answers_names_the_option(run: Run, keeper: Keeper, line: tuple[str, ...]) -> None:
    """As where there is no terminal; a no changes nothing, and Ctrl-C is told as everywhere."""
    keeper.remember(DOG)
    told = run(*line, stdin="")
    assert (told.exit_code, "say --yes" in told.stderr) == (1, True)
    assert run(*line, stdin="n\n").exit_code == 1
    assert [m.text for m in keeper.journal.memories()] == [DOG]


def test_ctrl_c_at_a_question_is_ctrl_c(run: Run, keeper: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
    """Click makes one thing of it and of an end of the input."""
    keeper.remember(DOG)

    def stop(text: str, **kwargs: object) -> bool:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            raise click.Abort from None  # as it does

    monkeypatch.setattr("click.confirm", stop)
    told = run("forget", "--all")
    assert (told.exit_code, "Nothing was lost" in told.stderr) == (130, True)


def test_forget_all_empties_one_namespace_only(run: Run, keeper: Keeper, home: Path) -> None:
    """After a question."""
    keeper.remember(DOG)
    other = Keeper(home, "other")
    other.remember(TOWN)
    assert run("forget", "--all", stdin="y\n").exit_code == 0
    assert keeper.journal.memories("pending") == []
    assert len(other.journal.memories("pending")) == 1


def test_edit_history_and_why_tell_where_a_memory_is_from(run: Run, keeper: Keeper) -> None:
    """The chain of what superseded what, who did it, and the turn."""
    dog = keeper.remember(DOG, key="user.dog")
    [edited] = json.loads(run("edit", dog.id, "The user's dog is called Tarin.", "--json").stdout)
    told = json.loads(run("history", edited["id"], "--json").stdout)
    assert [m["text"] for m in told["chain"]] == ["The user's dog is called Tarin.", DOG]
    assert [e["actor"] for e in told["events"]] == ["operator"]
    assert "supersede" in run("history", dog.id).stdout
    [reason, *_] = json.loads(run("why", "What is my dog called?", "--json").stdout)
    assert (reason["memory"]["id"], reason["live"]) == (edited["id"], False)
    assert "in the prompt" in run("why", "What is my dog called?").stdout


def test_why_lists_no_year_of_versions(run: Run, keeper: Keeper) -> None:
    """Few are named; of many the first and the last, and how many there are."""
    keeper.remember(DOG, key="user.dog")
    keeper.bake()
    keeper.bake()
    assert "in the live version (v1, v2);" in run("why", "dog").stdout
    keeper.bake()
    keeper.bake()
    assert "in the live version (v1 … v4, 4 versions);" in run("why", "dog").stdout


def test_memories_can_be_narrowed_down(run: Run, keeper: Keeper, waiting: str) -> None:
    """By source, kind, text and time."""
    keeper.remember(DOG, key="user.dog")
    keeper.remember("Always be happy.", "instruction")

    def texts(*arguments: str) -> list[str]:
        return [m["text"] for m in json.loads(run("memories", "--json", *arguments).stdout)]

    assert texts("--source", "tool:mail") == [FLIGHT]
    assert texts("--kind", "instruction") == ["Always be happy."]
    assert texts("--text", "DOG") == [DOG]
    assert texts("--since", "2999-01-01") == []
    assert len(texts("--since", "2000-01-01")) == 3


def test_what_is_exported_can_be_imported_elsewhere(run: Run, keeper: Keeper, tmp_path: Path) -> None:
    """By file or by pipe; a second time nothing is new, and a bad file is refused."""
    keeper.remember(DOG, key="user.dog")
    file = tmp_path / "memories.jsonl"
    assert "1 memory written" in run("export", str(file)).stdout
    assert run("export").stdout == file.read_text(encoding="utf-8")
    assert "0 memories taken in." in run("import", str(file)).stdout
    run("forget", "--all", "--yes")
    file.write_text("{}\n", encoding="utf-8")
    result = run("import", str(file))
    assert result.exit_code == 1
    assert "Line 1" in result.stderr
    assert run("import", str(tmp_path / "none")).exit_code == 1


def test_reindex_says_how_many_it_holds(run: Run, keeper: Keeper) -> None:
    """Built anew from the journal."""
    keeper.remember(DOG)
    assert json.loads(run("reindex", "--json").stdout) == {"memories": 1}


def test_observe_puts_what_a_tool_says_into_quarantine(run: Run, model: Any) -> None:
    """With the source that the turn names."""
    model.says = {"You fly on Monday.": [Draft("fact", "user.flight", FLIGHT)]}
    turn = json.dumps({"role": "tool", "content": "You fly on Monday.", "source": "tool:mail"})
    result = run("observe", "-", stdin=turn)
    assert "quarantined" in result.stdout
    [memory] = json.loads(run("quarantine", "--json").stdout)
    assert memory["provenance"]["source"] == "tool:mail"


def test_observe_says_what_the_user_had_erased(run: Run, keeper: Keeper, model: Any) -> None:
    """A spoken “forget” is obeyed, and that is told."""
    keeper.remember(DOG, key="user.dog")
    result = run("observe", "-", stdin="user: Forget that my dog is called Bosuk.")
    assert "1 memory erased, as the user asked." in result.stdout
    assert [m.text for m in keeper.journal.memories() if m.text] == []
