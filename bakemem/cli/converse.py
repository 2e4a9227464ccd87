"""A conversation by lines: at a terminal, in a pipe, or for a program that reads one JSON object a turn.

Reads and prints; what is said, logged and learned is the assistant's business.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import click

from bakemem.cli import oven
from bakemem.cli.frame import MAX_INPUT
from bakemem.cli.text import clean, one_line, print_error, print_json, report_lines, shorten, when
from bakemem.errors import BakememError, InputError
from bakemem.types import Version

if TYPE_CHECKING:
    from bakemem.assistant import Assistant

PATIENCE = 2.0  # seconds between a reply and the next prompt; what is learned later is told after a later turn


def converse(assistant: Assistant, *, as_json: bool = False) -> None:
    """Answers line by line, until the end of the input, /quit, or Ctrl-C where it waits for a line."""
    at_terminal = sys.stdin.isatty() and sys.stdout.isatty() and not as_json
    if at_terminal:
        _greet(assistant)
    talk = _Objects(assistant) if as_json else _Lines(assistant, patience=PATIENCE if at_terminal else None)
    for line in _lines((lambda: f"{_who(assistant)}> ") if at_terminal else None):
        try:
            if line is None:
                raise InputError(f"The line is larger than {MAX_INPUT >> 20} MiB: split it.")
            if line.startswith("/"):
                if talk.obey(line):
                    return
            elif line.strip() or as_json:  # a program that waits for an object a line gets the error
                talk.say(line.strip())
        except BakememError as error:
            talk.complain(error)
        except KeyboardInterrupt:
            _note(f"stopped; {_who(assistant)} answers")


class _Lines:
    """For a person: the reply on standard output as it comes, and in dim lines on standard error what changed."""

    def __init__(self, assistant: Assistant, patience: float | None) -> None:
        self._assistant, self._patience = assistant, patience

    def say(self, text: str) -> None:
        with self._assistant.say(text) as reply:
            try:
                for piece in reply:
                    click.echo(clean(piece), nl=False)
            except KeyboardInterrupt:
                click.echo(" …", nl=False)
        click.echo()
        if reply.ending is not None and reply.ending.dropped_turns:
            _note(f"the oldest {reply.ending.dropped_turns} turns no longer fit; they stay in the log")
        if learned := self._assistant.learned(self._patience):
            _note(str(learned))

    def obey(self, line: str) -> bool:
        with oven.shown(quiet=False) if line.startswith("/bake") else contextlib.nullcontext() as progress:
            answer = self._assistant.command(line, progress=progress)
        if answer.text:
            click.echo(clean(answer.text))
        if isinstance(answer.value, Version):
            click.echo("\n".join(report_lines(answer.value.report, self._assistant.memory.memories())))
        return answer.command == "quit"

    def complain(self, error: BakememError) -> None:
        click.echo(click.style(f"! {one_line(str(error))}", fg="red"), err=True)


class _Objects:
    """For a program: one JSON object a line, for a turn, a command or an error."""

    def __init__(self, assistant: Assistant) -> None:
        self._assistant = assistant

    def say(self, text: str) -> None:
        who = _who(self._assistant)
        with self._assistant.say(text) as reply, contextlib.suppress(KeyboardInterrupt):
            reply.text()
        learned = self._assistant.learned(None)
        print_json({
            "turn": reply.asked.seq, "reply": reply.said, "version": who,
            "finish": reply.ending.finish if reply.ending else "cancelled",
            "dropped_turns": reply.ending.dropped_turns if reply.ending else 0,
            "learned": [{"id": m.id, "kind": m.kind, "key": m.key, "text": m.text} for m in learned.kept],
            "forgotten": [m.id for m in learned.forgotten],
        }, indent=None)  # fmt: skip

    def obey(self, line: str) -> bool:
        answer = self._assistant.command(line)
        print_json({"command": answer.command, "text": answer.text, "value": answer.value}, indent=None)
        return answer.command == "quit"

    def complain(self, error: BakememError) -> None:
        print_error(type(error).__name__, str(error))


def _lines(prompt: Callable[[], str] | None) -> Iterator[str | None]:
    """The lines of the input, None for one that is too long; Ctrl-C ends them as their end does."""
    if prompt is not None:
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401 (input() can then edit the line)
    while True:
        try:
            line = input(prompt()) if prompt is not None else _read_line()
        except (EOFError, KeyboardInterrupt):
            if prompt is not None:
                click.echo()
            return
        yield line


def _read_line() -> str | None:
    line = sys.stdin.readline(MAX_INPUT)
    if not line:
        raise EOFError
    if len(line) < MAX_INPUT or line.endswith("\n"):
        return line.removesuffix("\n")
    while (more := sys.stdin.readline(MAX_INPUT)) and not more.endswith("\n"):
        pass
    return None


def _greet(assistant: Assistant) -> None:
    click.echo(f"{assistant.memory.config.model}, with memory in the weights. /help lists commands, Ctrl-D leaves.")
    for last in assistant.past(1):
        what = "goes on from" if last.reply is not None else "was not answered, so say it again:"
        _note(f"{what} {when(last.at)}  “{shorten(last.text, 60)}”")


def _who(assistant: Assistant) -> str:
    """The version that answers."""
    return assistant.options.get("version") or assistant.memory.live or "base"


def _note(text: str) -> None:
    click.echo(click.style(f"· {clean(text)}", dim=True), err=True)
