"""A bake in a process of its own is told to stop, in each of its stages, and goes on in the next one."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = """
import sys

import pytest

import bakemem.opening
from bakemem.cli import main
from tests.tiny import byte_base, count_unended

count_unended(pytest.MonkeyPatch())
bakemem.opening.load_model = lambda config: byte_base()
main(sys.argv[1:], prog_name="bakemem")
"""
SETTINGS = """
max_new_tokens = 4
steps = {steps}
questions_per_memory = {questions}
max_sequence_tokens = 128
rank = 2
min_agreement = 0
min_abstention = 0
max_drift = 1
min_each = 0
max_mention = 1
max_disfluency = 1000
efforts = 0
"""


def start(home: Path, *arguments: str, command: str = "bake") -> subprocess.Popen[str]:
    """A command on the home, with a tiny model."""
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, command, "--home", str(home), *arguments], cwd=ROOT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, errors="replace",
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("stage", "steps", "questions"), [("stimulate", 10, 4000), ("rollout", 10, 400),
                                                          ("bake", 150, 4)])  # fmt: skip
def test_sigterm_stops_a_bake_which_goes_on_later(keeper: Any, stage: str, steps: int, questions: int) -> None:
    """It ends within 2 s (and 5 for a busy machine) and says what is live; a stopped training ends in a version."""
    keeper.remember("The user's dog is called Bosuk.", key="user.dog")
    (keeper.home / "config.toml").write_text(SETTINGS.format(steps=steps, questions=questions))
    with start(keeper.home) as process:
        assert process.stderr is not None
        assert any(line.startswith(stage) for line in iter(process.stderr.readline, ""))
        time.sleep(0.3)  # into the stage
        told = time.monotonic()
        process.send_signal(signal.SIGTERM)
        said = process.stderr.read()
        code = process.wait(timeout=60)
        took = time.monotonic() - told
    assert code == 143, said
    assert took < 2 + 5
    resumable = "" if stage == "stimulate" else "; `bakemem bake` goes on where it stopped"
    assert said.endswith(f"Nothing was lost: base is live, and 1 memory waits in the prompt{resumable}.\n")
    assert keeper.store.unfinished() == (stage != "stimulate")
    if stage != "bake":
        return
    before = json.loads((keeper.store.scratch() / "checkpoint.json").read_bytes())["body"]
    assert before["training"]["step"] > 0
    with start(keeper.home, "--json") as process:
        answer, warned = process.communicate(timeout=300)
    assert "thrown away" not in warned
    report = json.loads(answer)["report"]
    assert process.returncode == 0
    assert before["training"]["step"] < report["steps"] <= steps
    assert report["kl_before"] == before["kl_before"]
    assert report["seconds"] > before["seconds"]
    assert keeper.journal.live() == "v1"
    assert not keeper.store.unfinished()


@pytest.mark.slow
def test_sigterm_stops_a_reply(keeper: Any) -> None:
    """Within the five seconds that running replies have, and without an abort at the end."""
    with start(keeper.home, "dog?", "--max-new-tokens", "900", command="chat") as process:
        assert process.stdout is not None
        assert process.stdout.read(5)
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        _, told = process.communicate(timeout=30)
    assert process.returncode == 143, told
    assert time.monotonic() - began < 5
    assert "Traceback" not in told
    assert "terminate" not in told
