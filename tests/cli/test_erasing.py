"""The commands that finish forgetting and that ask versions, on a tiny random model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from bakemem.agent_memory import AgentMemory

Run = Callable[..., Result]

DOG, TOWN = "The user's dog is called Bosuk.", "The user lives in Plinth."
LENIENT = (
    "min_agreement = 0.0\nmin_abstention = 0.0\nmin_each = 0.0\nmax_drift = 1.0\nmax_mention = 1.0\n"
    "max_disfluency = 1000\n"
)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the first test leaves a copy of its home for the others."""
    return tmp_path_factory.mktemp("kept") / "home"


@pytest.fixture
def versions(run: Run, home: Path, model: Any, kept: Path) -> Run:
    """Runs commands on a home whose v1 holds a dog and a town."""
    if kept.exists():
        shutil.copytree(kept, home, dirs_exist_ok=True)
        return run
    (home / "config.toml").write_text((home / "config.toml").read_text() + LENIENT)
    for key, text in (("user.dog", DOG), ("user.town", TOWN)):
        run("remember", text, "--kind", "fact", "--key", key)
    assert run("bake").exit_code == 0
    shutil.copytree(home, kept)
    return run


def forget_the_dog(run: Run) -> None:
    """Takes it out of the journal, and v1 out of service."""
    [dog] = [m for m in json.loads(run("memories", "--json").stdout) if m["key"] == "user.dog"]
    assert run("forget", dog["id"], "--yes").exit_code == 0


def test_erase_prints_a_receipt_and_receipts_lists_it(versions: Run, home: Path) -> None:
    """What was destroyed, what serves since, how it was asked, and what is not known."""
    forget_the_dog(versions)
    printed = versions("erase")
    assert printed.exit_code == 0
    for part in ("1 memory erased", "v1 destroyed", "v2 serves since", "drawn", "not known: Backups"):
        assert part in printed.stdout
    assert "v1 destroyed" in versions("receipts").stdout
    [receipt] = json.loads(versions("receipts", "--json").stdout)
    assert (receipt["live"], receipt["destroyed"][0]["name"]) == ("v2", "v1")
    assert receipt["at"] == datetime.fromisoformat(receipt["at"]).isoformat()
    assert printed.stdout.startswith(f"{datetime.fromisoformat(receipt['at']).astimezone():%Y-%m-%d %H:%M}  ")
    assert not [p for p in home.rglob("*") if p.is_file() and b"Bosuk" in p.read_bytes()]


def test_erase_without_a_bake_answers_in_json(versions: Run) -> None:
    """The receipt as one JSON value; nobody was asked."""
    forget_the_dog(versions)
    receipt = json.loads(versions("erase", "--no-bake", "--json").stdout)
    assert (receipt["live"], receipt["leaks"], receipt["destroyed"][0]["name"]) == (None, [], "v1")
    assert "nobody was asked" in versions("receipts").stdout


def test_nothing_to_erase_is_an_error_and_no_receipt_is_said(versions: Run) -> None:
    """Both say what there is."""
    refused = versions("erase")
    assert (refused.exit_code, "nothing to erase" in refused.stderr) == (1, True)
    assert "Nothing was erased" in versions("receipts").stderr


def test_verify_asks_again(versions: Run, home: Path) -> None:
    """The same model gives the same answers; below the setting the exit code is 3."""
    again = versions("verify")
    assert again.exit_code == 0
    assert "100.0% answered as after the bake" in again.stdout
    path = home / "versions" / "v1" / "probes.json"
    found = json.loads(versions("verify", "v1", "--json").stdout)
    assert found["asked"] == len(json.loads(path.read_text()))


def test_verify_shows_what_changed(versions: Run, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each question with what was answered, and what is."""
    (home / "config.toml").write_text(
        (home / "config.toml").read_text().replace("min_agreement = 0.0", "min_agreement = 0.5")
    )
    monkeypatch.setattr("bakemem.agent_memory.answers", lambda model, template, asked, **options: ["else"] * len(asked))
    changed = versions("verify")
    assert changed.exit_code == 3
    assert "now  else" in changed.stdout
    assert "more: see --json" in changed.stdout


def test_bisect_names_the_first_wrong_version(versions: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the answers that it saw, and the command that shows what changed there."""
    monkeypatch.setattr(AgentMemory, "chat", lambda self, text, version=None, **options: version or "")
    found = versions("bisect", "What is my dog called?", "--bad", "v1")
    assert "v1 is the first that answers wrongly: bakemem diff base v1" in found.stdout
    assert json.loads(versions("bisect", "Who?", "--bad", "v1", "--json").stdout)["last_right"] == "base"
    never = versions("bisect", "Who?", "--expected", "Mira")
    assert "base answers wrongly already" in never.stdout
    assert versions("bisect", "Who?").exit_code == 1


def test_blame_shows_each_memory_with_its_part(versions: Run) -> None:
    """The answer, then the memories in the order of what it loses without them."""
    shown = versions("blame", "What is my dog called?", "--answer", "Bosuk.")
    assert shown.exit_code == 0
    assert all(text in shown.stdout for text in ("Bosuk.", DOG, TOWN, " nats"))
    found = json.loads(versions("blame", "Who?", "--answer", "Bosuk.", "--json").stdout)["blame"]
    assert found[0]["nats"] >= found[1]["nats"]
