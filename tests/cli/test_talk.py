"""The command chat with a text: one reply."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from bakemem.agent_memory import AgentMemory

Run = Callable[..., Result]


class Replies:
    """Stands for `AgentMemory.stream`, and keeps what it was asked with."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []

    def __call__(self, text: str, **options: Any) -> list[str]:
        """A reply in two pieces."""
        self.asked.append({"text": text, **options})
        return ["You said ", f"{text}\x1b[0m"]


@pytest.fixture
def replies(model: Any, monkeypatch: pytest.MonkeyPatch) -> Replies:
    """Replies without a model's words."""
    made = Replies()
    monkeypatch.setattr(AgentMemory, "stream", made)
    return made


def test_one_reply_from_the_model(run: Run, model: Any) -> None:
    """A model answers, for a person and for a program alike, and nothing is remembered."""
    answer = json.loads(run("chat", "Hello.", "--json").stdout)
    assert answer["version"] == "base"
    plain = run("chat", "-", stdin="Hello.")
    assert plain.exit_code == 0
    assert len(plain.stdout) >= 1
    assert json.loads(run("memories", "--json").stdout) == []


def test_options_reach_the_model(run: Run, replies: Replies) -> None:
    """Who answers, how strongly, how warm, how long, under which system prompt, and with which luck."""
    result = run("chat", "Hi.", "--version-name", "base", "--strength", "0.5", "--temperature", "1", "--max-new-tokens",
                 "7", "--system", "Be kind.", "--seed", "4")  # fmt: skip
    assert result.stdout == "You said Hi.\N{REPLACEMENT CHARACTER}[0m\n"
    assert replies.asked == [{
        "text": "Hi.", "system": "Be kind.", "version": "base", "strength": 0.5, "temperature": 1.0,
        "max_new_tokens": 7, "seed": 4, "window": True,
    }]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("Hi.", "--strength", "nan"), 2),
        (("Hi.", "--strength", "4.1"), 2),
        (("Hi.", "--temperature", "inf"), 2),
        (("Hi.", "--max-new-tokens", "0"), 2),
        (("",), 1),
        (("half \ud83d of a pair",), 1),
        (("word " * 5000,), 1),
        (("Hi.", "--version-name", "v9"), 1),
    ],
)
def test_bad_input_is_refused(run: Run, model: Any, arguments: tuple[str, ...], code: int) -> None:
    """Wrong options are wrong usage; text and versions that cannot be used are errors of one line."""
    result = run("chat", *arguments)
    assert result.exit_code == code
    assert code == 2 or len(result.stderr.splitlines()) == 1


def test_python_dash_m_is_the_command(home: Path) -> None:
    """`python -m bakemem` leads to the same commands."""
    import bakemem.__main__
    from bakemem.cli import main

    assert bakemem.__main__.main is main
