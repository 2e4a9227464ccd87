"""The command schedule, as a person uses it: what is waited for, what ran, and running it."""

from __future__ import annotations

import json
import signal
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from bakemem.memory import Jobs
from bakemem.schedule import SCHEDULE
from tests.cli.conftest import Keeper, Run
from tests.cli.test_stopping import SETTINGS, start

ALWAYS = 'bake_memories = 1\nmost_load = 0\nquiet_hours = ""\nidle_minutes = 0\nnightly_check = false\n'


def test_it_tells_what_is_waited_for(run: Run, baked: Keeper) -> None:
    """Without any model, and that nothing runs, with what to do about it."""
    (baked.home / "config.toml").write_text("keep_versions = 0\nnightly_check = false", encoding="utf-8")
    Jobs(baked.journal).end(replace(Jobs(baked.journal).begin("check", datetime.now(UTC)), ended=datetime.now(UTC),
                                    outcome="failed", detail="2 errors", failures=3))  # fmt: skip
    result = run("schedule")
    assert result.exit_code == 0
    assert "No schedule runs: `bakemem schedule --run`" in result.stdout
    assert "waits for more to bake, until" in result.stdout
    assert "Pending: 1 memory, about 7 tokens" in result.stdout
    assert "failed: 2 errors (3 in a row)" in result.stdout
    answer = json.loads(run("schedule", "--json").stdout)
    assert (answer["running"], answer["waits_for"], answer["pending"], answer["bakes_since_base"]) == (
        False, "more to bake", 1, 1)  # fmt: skip
    assert answer["jobs"]["check"]["failures"] == 3


def test_the_start_counts_as_talk(run: Run, baked: Keeper) -> None:
    """As for a schedule that begins: outside of quiet hours it waits until nobody talked for a while."""
    rules = 'bake_memories = 1\nquiet_hours = ""\nmost_load = 0\nnightly_check = true\nkeep_versions = 0\n'
    (baked.home / "config.toml").write_text(f"{rules}idle_minutes = 30\n", encoding="utf-8")
    answer = json.loads(run("schedule", "--json").stdout)
    assert answer["action"] == ""
    assert answer["until"] is not None


def test_it_tells_of_one_that_runs(run: Run, baked: Keeper) -> None:
    """In its own words, which a reader beside it cannot know."""
    jobs, now = Jobs(baked.journal), datetime.now(UTC)
    jobs.end(replace(jobs.begin(SCHEDULE, now), ended=now, detail="waits for nobody to talk"))
    jobs.begin("bake", now)
    said = run("schedule").stdout
    assert "runs since" in said
    assert "waits for nobody to talk" in said
    assert "has not ended" in said


@pytest.mark.parametrize("arguments", [(), ("--run",)])
def test_a_missing_home_is_explained_and_not_made(run: Run, home: Any, arguments: tuple[str, ...]) -> None:
    """As for every command that needs one."""
    assert run("schedule", *arguments).exit_code == 1
    assert not home.exists()


def test_a_bad_setting_is_explained(run: Run, baked: Keeper) -> None:
    """Which one, and how to write it."""
    (baked.home / "config.toml").write_text('bake_cron = "nightly"', encoding="utf-8")
    result = run("schedule")
    assert (result.exit_code, "as in crontab" in result.stderr) == (1, True)


@pytest.mark.slow
def test_run_bakes_until_it_is_told_to_end(run: Run, keeper: Keeper) -> None:
    """SIGTERM ends it within seconds, and it says what is live."""
    keeper.remember("The user's dog is called Bosuk.", key="user.dog")
    settings = SETTINGS.format(steps=10, questions=4)
    (keeper.home / "config.toml").write_text(settings + ALWAYS, encoding="utf-8")
    with start(keeper.home, "--run", command="schedule") as process:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "")
        assert any("bake" in line and "v1 is live." in line for line in lines)
        assert json.loads(run("schedule", "--json").stdout)["running"]
        told = time.monotonic()
        process.send_signal(signal.SIGTERM)
        said = process.stderr.read() if process.stderr else ""
        assert process.wait(timeout=60) == 143
    assert time.monotonic() - told < 7
    assert "Nothing was lost: v1 is live" in said
    assert not json.loads(run("schedule", "--json").stdout)["running"]
