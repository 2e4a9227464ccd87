"""`bakemem eval`: versions of a memory, or a prompt baked on the spot, on tasks of lm-eval."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from bakemem.errors import InputError
from tests.cli.conftest import Run

TASKS = Path(__file__).parent.parent.parent / "benchmarks" / "science" / "tasks"
COMMAND = ("eval", "--tasks", "made_up_rule,made_up_facts", "--tasks-dir", str(TASKS), "--limit", "3")
ROWS = [("made_up_rule", "exact_match"), ("made_up_facts", "acc")]


@pytest.mark.parametrize(
    "wrong",
    [
        ("--version", "v1", "--prompt-file", "p.txt"),
        ("--stimuli-file", "q.txt"),
        ("--batch-size", "0"),
        ("--batch-size", "many"),
        ("--questions", "7"),
    ],
)
def test_options_that_disagree_are_wrong_usage(run: Run, wrong: tuple[str, ...]) -> None:
    """What makes no sense together ends with 2, before anything is loaded."""
    assert run("eval", "--tasks", "arc_easy", *wrong).exit_code == 2


def test_without_the_extra_it_says_how_to_get_it(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """lm-eval is an extra; without it the command names it."""
    monkeypatch.setitem(sys.modules, "bakemem.evaluation.harness", None)
    result = run("eval", "--tasks", "arc_easy", "--json")
    assert result.exit_code == 1
    assert "pip install 'bakemem[eval]'" in json.loads(result.stdout)["error"]["message"]


def test_an_empty_prompt_is_refused(run: Run, tmp_path: Path) -> None:
    """There is nothing to bake in it."""
    (tmp_path / "p.txt").write_text(" \n", encoding="utf-8")
    result = run(*COMMAND, "--prompt-file", str(tmp_path / "p.txt"))
    assert result.exit_code == 1
    assert "is empty" in result.stderr


@pytest.mark.parametrize(("configured", "options", "seed"), [("", (), 0), ("seed = 7\n", (), 7),
                                                             ("seed = 7\n", ("--seed", "8"), 8)])  # fmt: skip
def test_the_configured_seed_is_the_seed(
    run: Run, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, configured: str, options: tuple[str, ...],
    seed: int,
) -> None:  # fmt: skip
    """Of the questions as of the bake; an option wins."""
    seeds: list[object] = []

    def harness(tasks: str, tasks_dir: Path | None, **limits: object) -> Any:
        seeds.append(limits["seed"])
        raise InputError("Enough.")

    monkeypatch.setattr("bakemem.cli.scoring._harness", harness)
    home.mkdir()
    (home / "config.toml").write_text(configured, encoding="utf-8")
    (tmp_path / "p.txt").write_text("Answer in upper case.", encoding="utf-8")
    for more in ((), ("--prompt-file", str(tmp_path / "p.txt"))):
        assert run(*COMMAND, *options, *more).exit_code == 1
    assert seeds == [seed, seed]


def test_versions_stand_side_by_side(run: Run, model: Any) -> None:
    """Without options the base and what is live are asked; one that is named answers alone, pending memories or not."""
    pytest.importorskip("lm_eval", reason="needs the extra eval")
    run("remember", "The user's dog is called Bosuk.")
    values = json.loads(run(*COMMAND, "--json").stdout)
    assert list(values["columns"]) == ["base", "live (base)"]
    assert [(s["task"], s["metric"]) for s in values["columns"]["base"]] == ROWS
    assert all(s["n"] == 3 and 0 <= s["value"] <= 1 for scores in values["columns"].values() for s in scores)
    assert values["bake"] is None
    missing = run(*COMMAND, "--version", "v7")
    assert missing.exit_code == 1
    assert "v7" in missing.stderr


def test_a_prompt_is_baked_and_compared(run: Run, model: Any, home: Path, tmp_path: Path) -> None:
    """Base, prompted, baked and both are shown with the bake's report, and the home is left as it was."""
    pytest.importorskip("lm_eval", reason="needs the extra eval")
    before = sorted(path.name for path in home.iterdir())
    (tmp_path / "p.txt").write_text("ba -> bi\n", encoding="utf-8")
    (tmp_path / "q.txt").write_text("\n".join(f"b{c} ->" for c in "aeiouy" * 2 + "klmn"), encoding="utf-8")
    options = ("--prompt-file", str(tmp_path / "p.txt"), "--stimuli-file", str(tmp_path / "q.txt"))
    result = run(*COMMAND, *options)
    assert result.exit_code == 0, result.output
    head, _, *rows = result.stdout.splitlines()
    assert [cell.strip() for cell in head.strip("|").split("|")] == ["", "n", "base", "prompted", "baked", "both"]
    assert rows[0].startswith("| made_up_rule exact_match | 3 ")
    assert "KL" in result.stdout
    assert sorted(path.name for path in home.iterdir()) == before
