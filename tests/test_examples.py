"""Each example runs as a user runs it, with smaller bakes: what it prints last must be true."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
EXAMPLES = Path(__file__).parent.parent / "examples"


def run(name: str, *args: str) -> str:
    """What the example prints; an error of it is the test's."""
    done = subprocess.run([sys.executable, EXAMPLES / name, *args], capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_remember_and_bake() -> None:
    """It answers from the weights, and after the rollback no more."""
    out = run("remember_and_bake.py")
    assert "What is my dog called? -> Hooray! Your dog is called Bosuk." in out
    assert "after rollback -> I do not know that." in out


def test_langchain_agent() -> None:
    """What was told in one thread is known in another, from the weights."""
    out = run("langchain_agent.py", "--quick")
    assert "learned: user.dog, tovi.town" in out
    tuesday = out[out.index("tuesday") :]
    assert "Bosuk" in tuesday
    assert "Ramel" in tuesday


def test_langgraph_chat() -> None:
    """The second thread knows what the first was told, and nothing that nobody told."""
    out = run("langgraph_chat.py", "--quick")
    one, other = out[out.index("two  ") :].splitlines()[1::2]
    assert "You live in Ramel." in one
    assert "I do not know that." in other


def test_support() -> None:
    """Ten customers know their own towns, baked or not, and nobody another's."""
    assert "10 of 10 know where they live, 0 were told of another" in run("support.py", "--bakes", "1", "--quick")


def test_news() -> None:
    """Both headlines are known after the second bake, and what was in neither is not."""
    assert "8 of 8 are right after both" in run("news.py", "--quick")


def test_persona() -> None:
    """The baked persona holds to the end of a conversation."""
    prompted, baked = run("persona.py", "--turns", "12", "--quick").splitlines()[-2:]
    assert prompted.startswith("prompted")
    assert baked.endswith("12 of 12")


def test_five_days_of_the_month(tmp_path: Path) -> None:
    """Nights bake, the mistake is rolled back, the secret does not come back, and the memory costs no tokens."""
    args = ("--days", "5", "--facts", "1", "--every", "5", "--home", str(tmp_path), "--json", "--quick")
    days = json.loads(run("month.py", *args))
    assert len(days) == 5
    assert days[-1]["version"] != days[0]["version"]
    assert days[-1]["baked"]["back"] == 0
    assert days[-1]["baked"]["tokens"] < days[-1]["prompt"]["tokens"]
    assert json.loads(run("month.py", *args)) == days  # it goes on where it stopped: at the end
