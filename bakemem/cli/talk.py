"""The command chat: one question, or a conversation that learns as it goes.

Keeps the conversation and what is typed; knows no model and no storage.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import click

from bakemem.cli import history, oven
from bakemem.cli.frame import Command, Finite, Place, place_and_model, read_text
from bakemem.cli.text import clean, noted, one_line, print_json, print_memories, report_lines
from bakemem.errors import BakememError
from bakemem.types import Turn

if TYPE_CHECKING:
    from bakemem.agent_memory import AgentMemory
    from bakemem.serving import Reply

HELP = """\
/bake [from-base]   move what is pending into the weights
/memories           what is remembered
/versions           the versions, newest first
/rollback VERSION   let another version serve, or base
/help               this list
/quit               leave (Ctrl-D too); Ctrl-C stops a reply"""


PATIENCE = 2.0  # seconds between a reply and the next prompt


@dataclass(frozen=True, slots=True)
class Manner:
    """How replies are made: everything that `chat` takes beside the text."""

    system: str | None
    version: str | None
    strength: float
    temperature: float | None
    max_new_tokens: int | None


@click.command(cls=Command)
@click.argument("text", required=False)
@click.option("--system", metavar="TEXT", help="A system prompt of your own; memories need none.")
@click.option("--version-name", metavar="VERSION", help="Who answers: v1, an id, base.  [default: the live version]")
@click.option("--strength", type=Finite(0.0, 4.0), default=1.0, show_default=True,
              help="How much of the baked memory: 0 none, 1 all.")  # fmt: skip
@click.option("--temperature", type=Finite(min=0.0), help="0 takes the likeliest token.  [default: as configured]")
@click.option("--max-new-tokens", type=click.IntRange(1), metavar="N", help="Longest reply.  [default: as configured]")
@place_and_model
def chat(
    where: Place, text: str | None, system: str | None, version_name: str | None, strength: float,
    temperature: float | None, max_new_tokens: int | None,
) -> None:  # fmt: skip
    """Talk with the model and its memory.

    With TEXT (`-` reads standard input): one reply, and nothing is remembered of it. Without: a conversation, in
    which what you tell the model is noted, and in which /help lists what else you can do.

    The live version answers, with the pending memories in its prompt. A version named with --version-name answers
    alone: compare `--version-name base` with `--version-name v1`.
    """
    manner = Manner(system, version_name, strength, temperature, max_new_tokens)
    if text is None:
        if where.as_json:
            raise click.UsageError("--json needs TEXT: one question, one answer.")
        with where.memory(warm=True) as memory:
            Conversation(memory, manner).run()
        return
    if text == "-":
        text = read_text("-")
    with where.memory(warm=True) as memory:
        who = version_name or memory.live or "base"
        pieces = replies(memory, text, [], manner)
        if where.as_json:
            print_json({"reply": "".join(pieces), "version": who})
            return
        for piece in pieces:
            click.echo(clean(piece), nl=False)
        click.echo()


def replies(memory: AgentMemory, text: str, history: list[Turn], manner: Manner) -> Reply:
    """The reply in pieces; the oldest turns of a conversation that is too long for the model are left out."""
    return memory.stream(text, history=history, system=manner.system, version=manner.version, strength=manner.strength,
                         temperature=manner.temperature, max_new_tokens=manner.max_new_tokens, window=True)  # fmt: skip


@dataclass
class Conversation:
    """A conversation at a terminal: replies, notes and commands, until the end of input."""

    memory: AgentMemory
    manner: Manner
    turns: list[Turn] = field(default_factory=list)
    name: str = field(default_factory=lambda: f"chat-{secrets.token_hex(4)}")

    def run(self) -> None:
        """Reads and answers lines; Ctrl-C stops a reply, Ctrl-D ends the conversation."""
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401 (input() can then edit the line)
        click.echo(f"{self.memory.config.model}, with memory in the weights. /help lists commands, Ctrl-D leaves.")
        while True:
            try:
                line = input(f"{self.who}> ").strip()
            except EOFError:
                click.echo()
                return
            except KeyboardInterrupt:
                click.echo("\n· Ctrl-D leaves")
                continue
            if line in ("/quit", "/exit"):
                return
            try:
                if line.startswith("/"):
                    self.obey(line)
                elif line:
                    self.answer(line)
            except BakememError as error:
                click.echo(click.style(f"! {one_line(str(error))}", fg="red"))
            except KeyboardInterrupt:
                click.echo(f"\n· stopped; {self.who} is live")

    @property
    def who(self) -> str:
        """The version that answers."""
        return self.manner.version or self.memory.live or "base"

    def answer(self, text: str) -> None:
        """Streams one reply, keeps it, and notes what the user told."""
        said, dropped = "", 0
        try:
            reply = replies(self.memory, text, self.turns, self.manner)
            for piece in reply:
                said += piece
                click.echo(clean(piece), nl=False)
            dropped = reply.ending.dropped_turns
        except KeyboardInterrupt:
            click.echo(" …", nl=False)
        click.echo()
        if dropped:
            del self.turns[:dropped]
            click.echo(click.style(f"· the oldest {dropped} turns no longer fit, and were dropped", dim=True))
        if said:
            self.turns += [Turn("user", text), Turn("assistant", said)]
        known = {m.id for m in self.memory.memories()}
        gone = {m.id for m in self.memory.memories("forgotten")}
        self.memory.observe([Turn("user", text)], self.name)
        for kept in self.memory.flush(PATIENCE):  # what takes longer is noted after a later turn
            if kept.id not in known:
                click.echo(click.style(f"· noted: {noted(kept)}", dim=True))
        for erased in self.memory.memories("forgotten"):
            if erased.id not in gone:
                click.echo(click.style(f"· forgotten: {erased.kind} {erased.id[:8]}", dim=True))

    def obey(self, line: str) -> None:
        """Runs one `/command`."""
        word, _, rest = line[1:].partition(" ")
        commands: dict[str, Callable[[str], None]] = {
            "bake": self._bake, "memories": self._memories, "versions": self._versions, "rollback": self._rollback,
        }  # fmt: skip
        if word in commands:
            commands[word](rest.strip())
        else:
            click.echo(HELP if word == "help" else f"There is no /{one_line(word)}.\n{HELP}")

    def _bake(self, rest: str) -> None:
        version = oven.run(self.memory, from_base=rest.removeprefix("--") == "from-base")
        oven.print_baked(version, self.memory.live)
        click.echo("\n".join(report_lines(version.report, self.memory.memories())))

    def _memories(self, rest: str) -> None:
        print_memories(self.memory.memories())

    def _versions(self, rest: str) -> None:
        memory = self.memory
        tainted = {v.name for v in memory.to_erase()}
        history.print_log(memory.versions(), memory.memories(), memory.live, memory.tags(), tainted)

    def _rollback(self, rest: str) -> None:
        if rest:
            history.print_rollback(*history.roll_back(self.memory, rest))
        else:
            click.echo("Say which: /rollback v1, or /rollback base.")
