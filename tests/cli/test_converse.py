"""The command chat without a text: conversations in a pipe, at a terminal, and for programs, and how they end."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import bakemem
from bakemem.agent_memory import AgentMemory
from bakemem.cli import converse, main
from bakemem.cli.frame import Terminated
from bakemem.errors import BakeError
from bakemem.memory import Conversations, Exchange, Journal
from tests.memory.test_erase import traces
from tests.talks import DOG, FakeServing, open_talk

Say = Callable[..., Result]
ROOT = Path(__file__).parents[2]
TOLD = "My dog is called Bosuk."


@pytest.fixture
def served() -> list[FakeServing]:
    """What served the commands, one after the other."""
    return []


@pytest.fixture
def say(home: Path, monkeypatch: pytest.MonkeyPatch, served: list[FakeServing]) -> Say:
    """Runs `bakemem chat` (or another command) on a home without weights; what is said goes to its standard input."""
    home.mkdir()

    def opened(where: Path, **_: object) -> AgentMemory:
        memory, serving = open_talk(where, {TOLD: [DOG]})
        served.append(serving)
        return memory

    monkeypatch.setattr(bakemem, "open", opened)

    def call(said: str | bytes, *arguments: str, command: str = "chat") -> Result:
        return CliRunner().invoke(main, [command, *arguments, "--home", str(home)], input=said, catch_exceptions=False)

    return call


def logged(home: Path) -> list[Exchange]:
    """The conversation, as a reader sees it."""
    journal = Journal(home / "journal.db", readonly=True)
    found = Conversations(journal).tail("default", 99)
    journal.close()
    return found


def test_a_pipe_gets_replies_and_nothing_else(say: Say) -> None:
    """No prompt, no colour; what is learned is told quietly, on standard error."""
    result = say(f"{TOLD}\n\n   \nHow \x1b[1m are you?")
    assert result.exit_code == 0
    assert result.stdout == f"You said {TOLD}\nYou said How \N{REPLACEMENT CHARACTER}[1m are you?\n"
    assert result.stderr == "· learned: user.dog\n"


def test_the_next_run_goes_on(say: Say, served: list[FakeServing]) -> None:
    """With the same conversation, unless another is named."""
    for arguments in ((), (), ("--conversation", "work")):
        assert say("Hi.\n", *arguments).exit_code == 0
    assert [len(serving.asked[0]) for serving in served] == [1, 3, 1]


def test_commands_and_errors_do_not_end_it(say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is answered in its turn; a bake may fail or be stopped."""
    outcomes: list[BaseException] = [BakeError("Nothing\nnew."), KeyboardInterrupt()]

    def bake(self: AgentMemory, **given: object) -> Any:
        raise outcomes.pop(0)

    monkeypatch.setattr(AgentMemory, "bake", bake)
    result = say("/remember I live in Plinth.\n/memories\n/bake\n/bake\n/what\n/forget zzzz\n/versions\nHi.\n")
    assert result.exit_code == 0
    kept, listed, base, reply = result.stdout.splitlines()
    assert kept.startswith("learned: fact ")
    assert kept.endswith(": I live in Plinth.")
    assert "pending" in listed
    assert (base, reply) == ("base  live", "You said Hi.")
    told = result.stderr.splitlines()
    assert told[0] == "! Nothing new."
    assert told[1] == "· stopped; base answers"
    assert told[2].startswith("! There is no /what: /help lists")
    assert told[3].startswith("! There is no memory 'zzzz'")


def test_quit_and_an_empty_input_end_it(say: Say) -> None:
    """And what comes after /quit is not said."""
    assert say("/quit\nHi.\n").stdout == ""
    assert (say("").exit_code, say("").output) == (0, "")


def test_a_line_that_begins_with_a_space_is_no_command(say: Say) -> None:
    """So that anything can be said."""
    assert say(" /etc is a folder.\n").stdout == "You said /etc is a folder.\n"


@pytest.mark.parametrize("bad", [b"\xff\xfe", b"a \0 b", b"x" * 5_000])
def test_what_cannot_be_said_is_refused_and_the_next_line_answered(
    say: Say, home: Path, monkeypatch: pytest.MonkeyPatch, bad: bytes
) -> None:
    """Odd bytes, NUL, and a line without an end: one clear line each, and nothing is kept of it."""
    monkeypatch.setattr(converse, "MAX_INPUT", 2_000)
    result = say(bad + b"\nHi.\n")
    assert (result.exit_code, result.stdout) == (0, "You said Hi.\n")
    assert result.stderr.startswith("! ")
    assert len(result.stderr.splitlines()) == 1
    assert [(e.text, e.reply) for e in logged(home)] == [("Hi.", "You said Hi.")]


def test_programs_get_one_object_a_line(say: Say) -> None:
    """For a turn, for a command, and for an error."""
    result = say(f"{TOLD}\n/strength 0.5\n/nothing\n \nForget that my dog is called Bosuk.\n/quit\n", "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    turn, strength, error, empty, forgot, left = (json.loads(line) for line in result.stdout.splitlines())
    [kept] = turn["learned"]
    assert {"kind": "fact", "key": "user.dog", "text": DOG.text} == {k: kept[k] for k in ("kind", "key", "text")}
    assert {k: turn[k] for k in ("reply", "version", "finish", "dropped_turns", "forgotten")} == {
        "reply": f"You said {TOLD}", "version": "base", "finish": "stop", "dropped_turns": 0, "forgotten": [],
    }  # fmt: skip
    assert (strength["command"], strength["value"]) == ("strength", 0.5)
    assert error["error"]["type"] == empty["error"]["type"] == "InputError"
    assert forgot["forgotten"] == [kept["id"]]
    assert left["command"] == "quit"


@pytest.mark.parametrize("stop", [RuntimeError("a bug"), Terminated()], ids=["a bug", "SIGTERM"])
def test_what_ends_it_is_one_more_object_in_a_line(
    say: Say, home: Path, monkeypatch: pytest.MonkeyPatch, stop: BaseException
) -> None:
    """A program that reads line by line can read the last one, too."""

    def bake(self: AgentMemory, **given: object) -> Any:
        raise stop

    monkeypatch.setattr(AgentMemory, "bake", bake)
    result = CliRunner().invoke(main, ["chat", "--json", "--home", str(home)], input="Hi.\n/bake\nHo.\n")
    turn, error = (json.loads(line) for line in result.stdout.splitlines())
    assert turn["reply"] == "You said Hi."
    assert error["error"]["type"] == type(stop).__name__


@pytest.mark.parametrize("arguments", [("--conversation", "default", "--yes"), ("--all", "--yes")])
def test_the_log_can_be_erased_from_outside(say: Say, home: Path, arguments: tuple[str, ...]) -> None:
    """By the command forget, to the last byte."""
    say(f"{TOLD}\nHow is Zilma?\n")
    assert traces(home, "bosuk", "zilma")
    assert say("", *arguments, command="forget").exit_code == 0
    assert traces(home, "bosuk", "zilma") == []


def test_a_second_process_is_told_who_has_the_home(say: Say, home: Path) -> None:
    """With the known error, as a line or as an object."""
    memory, _ = open_talk(home)
    assert say("Hi.\n").exit_code == 1
    assert json.loads(say("Hi.\n", "--json").stdout)["error"]["type"] == "HomeLockedError"
    memory.close()


SCRIPT = """
import fcntl
import signal
import sys
import termios

import bakemem
from bakemem.cli import main
from tests.talks import DOG, echo, open_talk

signal.signal(signal.SIGINT, signal.default_int_handler)  # also where the tests run in the background of a shell
if sys.stdin.isatty():
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)

def answer(request):
    at_length = request.turns[-1].content == "My dog is called Bosuk."
    return echo(request) + " at length" * 10_000 * at_length

bakemem.open = lambda home, **_: open_talk(home, {"My dog is called Bosuk.": [DOG]}, answer=answer, pace=0.02)[0]
main(["chat", *sys.argv[1:]], prog_name="bakemem")
"""
PATIENCE = 300  # seconds, on a busy machine


@contextmanager
def start(home: Path, *arguments: str, **streams: Any) -> Iterator[subprocess.Popen[str]]:
    """A conversation in a process of its own, in which the reply to `TOLD` takes minutes; none outlives its test."""
    home.mkdir(exist_ok=True)
    given = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
    with subprocess.Popen([sys.executable, "-c", SCRIPT, "--home", str(home), *arguments], cwd=ROOT, text=True,
                          errors="replace", env={**os.environ, "PYTHONPATH": "."}, **given) as process:  # fmt: skip
        try:
            yield process
        finally:
            process.kill()


def begin(process: subprocess.Popen[str], line: str) -> None:
    """Says something, and waits until the reply has begun."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{line}\n")
    process.stdin.flush()
    assert process.stdout.read(8) == "You said"


@pytest.mark.slow
def test_ctrl_c_in_a_reply_stops_the_reply_alone(home: Path) -> None:
    """What came of it is kept, and the conversation goes on; the end of the input ends it."""
    with start(home) as process:
        begin(process, TOLD)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate("Hi.\n", timeout=PATIENCE)
    assert (process.returncode, err) == (0, "· learned: user.dog\n")
    assert out.endswith(" …\nYou said Hi.\n")
    first, second = logged(home)
    assert first.reply is not None
    assert first.reply.startswith("You said")
    assert len(first.reply) < 50_000
    assert second.reply == "You said Hi."


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 143)])
def test_signals_while_it_waits_for_a_line_end_it(home: Path, number: signal.Signals, code: int) -> None:
    """Cleanly: Ctrl-C as the end of the input, SIGTERM with its exit code."""
    with start(home) as process:
        begin(process, "Hi.")
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(number)
        _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == code
    assert "Traceback" not in err
    assert [e.reply for e in logged(home)] == ["You said Hi."]


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_signals_in_a_reply_lose_nothing_that_was_said(home: Path, number: signal.Signals, code: int) -> None:
    """Not even SIGKILL: the next run knows it, and learns from it."""
    with start(home) as process:
        begin(process, TOLD)
        process.send_signal(number)
        _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == code, err
    [only] = logged(home)
    assert only.text == TOLD
    assert (only.reply is None) == (number == signal.SIGKILL)
    with start(home) as process:
        _, err = process.communicate("Hi.\n", timeout=PATIENCE)
    assert err in ("", "· learned: user.dog\n")  # SIGTERM leaves a moment in which it may be learned at once
    assert {m.key for m in Journal(home / "journal.db").memories()} == {"user.dog"}


@pytest.mark.slow
def test_at_a_terminal_it_prompts_and_says_where_it_goes_on(home: Path) -> None:
    """With the version that answers in the prompt; Ctrl-D and Ctrl-C where it waits leave."""
    for end in (b"\x04", b"\x03"):
        ours, theirs = pty.openpty()
        with start(home, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True) as process:
            os.close(theirs)
            seen = _until(ours, b"base> ")
            os.write(ours, b"Hi.\n")
            told = _until(ours, b"base> ")
            _until(ours, None, press=end)
            assert process.wait(timeout=PATIENCE) == 0
        os.close(ours)
        assert b"You said Hi." in told
        assert b"/help lists commands" in seen
    assert "goes on from" in seen.decode()


def _until(terminal: int, mark: bytes | None, press: bytes = b"") -> bytes:
    """What a terminal shows until the mark, or until its program ends.

    A key is pressed a moment later, and again when nothing comes of it: a signal just before readline waits for keys is
    not seen until the next one.
    """
    seen = b""
    if press:
        time.sleep(0.5)
        os.write(terminal, press)
    while mark is None or mark not in seen:
        if not select.select([terminal], [], [], 20.0)[0]:
            os.write(terminal, press)
            continue
        try:
            more = os.read(terminal, 4096)
        except OSError:  # the program ended
            more = b""
        if not more:
            assert mark is None, seen
            break
        seen += more
    return seen
