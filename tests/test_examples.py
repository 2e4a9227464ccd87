"""Examples run as a user runs them, with smaller bakes; what they print must be true. Two take longer and do not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
EXAMPLES = Path(__file__).parent.parent / "examples"


def run_example(name: str, *args: str) -> str:
    """What the example prints; an error of it is the test's."""
    done = subprocess.run([sys.executable, EXAMPLES / name, *args], capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_langchain_agent() -> None:
    """What was told in one thread is known in another, from the weights."""
    out = run_example("langchain_agent.py", "--quick")
    assert "learned: user.dog, tovi.town" in out
    tuesday = out[out.index("tuesday") :]
    assert "Bosuk" in tuesday
    assert "Ramel" in tuesday


def test_langgraph_chat() -> None:
    """The second thread knows what the first was told, and nothing that nobody told."""
    out = run_example("langgraph_chat.py", "--quick")
    one, other = out[out.index("two  ") :].splitlines()[1::2]
    assert "You live in Ramel." in one
    assert "I do not know that." in other


def test_support() -> None:
    """Ten customers know their own towns, baked or not, and nobody another's."""
    assert "10 of 10 know where they live, 0 were told of another" in run_example(
        "support.py", "--bakes", "1", "--quick"
    )


def test_persona() -> None:
    """The baked persona holds to the end of a conversation."""
    prompted, baked = run_example("persona.py", "--turns", "12", "--quick").splitlines()[-2:]
    assert prompted.startswith("prompted")
    assert baked.endswith("12 of 12")
