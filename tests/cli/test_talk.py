"""The command chat: one reply, and conversations."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from bakemem.agent_memory import AgentMemory
from bakemem.errors import BakeError
from bakemem.serving import Ending, Reply
from bakemem.types import Draft, Turn

Run = Callable[..., Result]

DOG = "The user's dog is called Bosuk."


@dataclass
class Said:
    """A reply in two pieces, between which Ctrl-C may be pressed."""

    text: str
    interrupted: bool
    ending = Ending("stop", 0, 0)

    def __iter__(self) -> Iterator[str]:
        yield "You said "
        if self.interrupted:
            raise KeyboardInterrupt
        yield f"{self.text}\x1b[0m"


class Replies:
    """Stands for `AgentMemory.stream`: replies in two pieces, and keeps what it was asked with."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.interrupt = False

    def __call__(self, text: str, **options: Any) -> Said:
        """A reply."""
        self.asked.append({"text": text, **options, "history": list(options["history"])})
        return Said(text, self.interrupt)


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
    """Who answers, how strongly, how warm, how long, and under which system prompt."""
    result = run("chat", "Hi.", "--version-name", "base", "--strength", "0.5", "--temperature", "1", "--max-new-tokens",
                 "7", "--system", "Be kind.")  # fmt: skip
    assert result.stdout == "You said Hi.\N{REPLACEMENT CHARACTER}[0m\n"
    assert replies.asked == [{
        "text": "Hi.", "history": [], "system": "Be kind.", "version": "base", "strength": 0.5, "temperature": 1.0,
        "max_new_tokens": 7, "window": True,
    }]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--json",), 2),
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


def test_a_conversation_keeps_its_turns_and_notes_what_is_told(run: Run, replies: Replies, model: Any) -> None:
    """Each reply sees the turns before it; what the user tells is noted once."""
    model.says = {"I have Bosuk.": [Draft("fact", "user.dog", DOG)]}
    result = run("chat", stdin="I have Bosuk.\n\nI have Bosuk.\n")
    assert result.exit_code == 0
    assert result.stdout.count(f"· noted: fact user.dog: {DOG}") == 1
    assert "base> " in result.stdout
    assert replies.asked[0]["history"] == []
    assert replies.asked[1]["history"] == [
        Turn("user", "I have Bosuk."),
        Turn("assistant", "You said I have Bosuk.\x1b[0m"),
    ]
    [memory] = json.loads(run("memories", "--json").stdout)
    assert memory["provenance"]["conversation"].startswith("chat-")


def test_commands_in_a_conversation(run: Run, replies: Replies, baked: Any) -> None:
    """The memory can be read and rolled back while one talks; the prompt shows who answers."""
    result = run("chat", stdin="/versions\n/memories\n/rollback\n/rollback base\nHi.\n/help\n/what\n/quit\nnever\n")
    assert result.exit_code == 0
    parts = ("v3   rejected", DOG, "Say which: /rollback v1", "base is live; v2 was.", "base> ", "There is no /what")
    for part in parts:
        assert part in result.stdout
    assert [asked["text"] for asked in replies.asked] == ["Hi."]


def test_a_bake_in_a_conversation(run: Run, replies: Replies, baked: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """/bake reports, and from-base reaches it."""
    options: list[dict[str, object]] = []

    def bake(self: AgentMemory, **given: object) -> Any:
        options.append(given)
        return self.versions()[1]

    monkeypatch.setattr(AgentMemory, "bake", bake)
    result = run("chat", stdin="/bake\n/bake from-base\n")
    assert result.stdout.count("v2 is live: 2 memories in the weights.") == 2
    assert [o["from_base"] for o in options] == [False, True]


def test_errors_do_not_end_a_conversation(
    run: Run, replies: Replies, baked: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither an error of ours nor Ctrl-C in a bake."""
    outcomes: list[BaseException] = [BakeError("Nothing\nnew."), KeyboardInterrupt()]

    def bake(self: AgentMemory, **given: object) -> Any:
        raise outcomes.pop(0)

    monkeypatch.setattr(AgentMemory, "bake", bake)
    result = run("chat", stdin="/bake\n/bake\n/rollback v7\nHi.\n")
    assert result.exit_code == 0
    assert "! Nothing new." in result.stdout
    assert "stopped; v2 is live" in result.stdout
    assert "! There is no version 'v7'" in result.stdout
    assert replies.asked[-1]["text"] == "Hi."


def test_bytes_that_are_no_text_do_not_end_a_conversation(run: Run, model: Any) -> None:
    """The line is refused, and the next one is answered."""
    result = run("chat", stdin=b"\xff\xfe\nHi.\n")
    assert result.exit_code == 0
    assert "! The text holds lone surrogates" in result.stdout
    assert result.stdout.count("base> ") == 3


def test_ctrl_c_stops_a_reply_only(run: Run, replies: Replies) -> None:
    """What was said stays in the conversation, which goes on."""
    replies.interrupt = True
    result = run("chat", stdin="One.\nTwo.\n")
    assert result.exit_code == 0
    assert replies.asked[1]["history"] == [Turn("user", "One."), Turn("assistant", "You said ")]


def test_oldest_turns_make_room(run: Run, model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A conversation longer than the model reads loses its oldest turns, says so once, and goes on."""
    histories: list[list[Turn]] = []
    stream = AgentMemory.stream

    def streamed(memory: AgentMemory, text: str, **options: Any) -> Reply:
        histories.append(list(options["history"]))
        return stream(memory, text, **options)

    monkeypatch.setattr(AgentMemory, "stream", streamed)
    result = run("chat", "--max-new-tokens", "4", stdin="".join(f"{n} {'x' * 300}\n" for n in range(5)))
    assert "· the oldest 2 turns no longer fit" in result.stdout
    assert "!" not in result.stdout
    assert [turns[0].content[0] for turns in histories[1:]] == ["0", "0", "0", "1"]


def test_python_dash_m_is_the_command(home: Path) -> None:
    """`python -m bakemem` leads to the same commands."""
    import bakemem.__main__
    from bakemem.cli import main

    assert bakemem.__main__.main is main


def test_a_conversation_does_not_outlive_a_sigterm(run: Run, replies: Replies, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C only stops what goes on; SIGTERM ends the command wherever it waits."""

    def read(prompt: str) -> str:
        signal.raise_signal(signal.SIGTERM)
        raise AssertionError("the signal was swallowed")

    monkeypatch.setattr("builtins.input", read)
    result = run("chat")
    assert result.exit_code == 143
    assert "Nothing was lost" in result.stderr
