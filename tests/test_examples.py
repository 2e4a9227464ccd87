"""Examples run as a user runs them, with smaller bakes; what they print must be true. Some are run by hand only."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
EXAMPLES = Path(__file__).parent.parent / "examples"


def run_example(name: str, *args: str) -> str:
    """What the example prints; an error of it is the test's."""
    done = subprocess.run([sys.executable, EXAMPLES / name, *args], capture_output=True, text=True, timeout=840)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_langchain_agent() -> None:
    """What was told in one thread is known in another, from the weights."""
    out = run_example("langchain_agent.py", "--quick")
    assert "learned: user.dog, tovi.town" in out
    tuesday = out[out.index("tuesday") :]
    assert "Bosuk" in tuesday
    assert "Ramel" in tuesday


def test_support() -> None:
    """Ten customers know their own towns, and nobody another's; here all from the prompt."""
    out = run_example("support.py", "--bakes", "0", "--quick")
    assert "10 of 10 know where they live, 0 were told of another" in out
