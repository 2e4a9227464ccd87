"""The commands about single memories: remember, observe, memories, release, recall.

Knows how to ask and to answer; what a memory is, others know.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import get_args

import click

from bakemem.cli.frame import Command, Place, place, place_and_model, read_text, waiting
from bakemem.cli.text import count, noted, one_line, print_json, print_memories, shorten
from bakemem.cli.turns import parse_turns
from bakemem.errors import InputError
from bakemem.types import Kind, Status

WAITS = "In the prompt until `bakemem bake` moves it into the weights."


@click.command(cls=Command)
@click.argument("text")
@click.option("--kind", type=click.Choice(get_args(Kind)), help="What it is.  [default: inferred from the wording]")
@click.option("--key", metavar="SLUG", help="What it is about, such as user.dog.  [default: inferred]")
@place_and_model
def remember(where: Place, text: str, kind: Kind | None, key: str | None) -> None:
    """Keep one instruction or fact. TEXT `-` reads it from standard input.

    A newer memory with the same key takes the place of the older one, so say `--key user.dog` to change the dog's
    name later. With --key no model is needed.

    \b
      bakemem remember "Always answer in upper case."
      bakemem remember "The user's dog is called Bosuk." --key user.dog
    """  # noqa: D301 (\b is for click)
    if text == "-":
        text = read_text("-")
    with where.records(must_exist=False) if key else where.memory() as memory:
        kept = memory.remember(text, kind=kind, key=key)
    if where.as_json:
        print_json(kept)
    else:
        click.echo(f"{kept.id[:8]}  {noted(kept)}")
        if kept.status == "pending":
            click.echo(WAITS)


@click.command(cls=Command)
@click.argument("file", required=False)
@click.option("--conversation", metavar="NAME", help="What memories say of where they are from.  [default: the file]")
@click.option("--again", is_flag=True, help="Try what could not be read once more. FILE may be left out.")
@place_and_model
def observe(where: Place, file: str | None, conversation: str | None, again: bool) -> None:
    """Read a conversation and keep what should last. FILE `-` reads standard input.

    The file holds one turn a line: JSON objects with role and content, or plain lines that begin with `user: ` or
    `assistant: ` (lines without that go on with the turn before). What the user and the `operator: ` say is kept;
    what is said by a `tool: `, a `document: ` or the `web: ` goes to quarantine, and what the assistant says nowhere.

    \b
      bakemem observe talk.jsonl
      echo "user: My dog is called Bosuk." | bakemem observe -
    """  # noqa: D301 (\b is for click)
    if file is None and not again:
        raise click.UsageError("Missing argument 'FILE'.")
    turns = parse_turns(read_text(file), "standard input" if file == "-" else file) if file else []
    if conversation is None:
        conversation = "" if file in (None, "-") else Path(file).name
    with where.memory(warm=True) as memory:
        gone, waited = len(memory.memories("forgotten")), len(memory.unread())
        if again:
            memory.read_again()
        memory.observe(turns, conversation)
        with waiting("Reading …"):
            found = memory.flush()
        unread, gone = memory.unread(), len(memory.memories("forgotten")) - gone
        dropped = memory.rejected
    for turn in unread:
        click.echo(f"not read: {shorten(turn.turn.content, 40)} ({one_line(turn.error)})", err=True)
    if unread:
        click.echo("They stay in the queue: `bakemem observe --again`.", err=True)
    for reason, n in dropped.items():
        click.echo(f"dropped: {reason} ({n})", err=True)
    if where.as_json:
        print_json(found)
        return
    for kept in found:
        reason = f": {one_line(kept.reason)}" if kept.reason else ""
        where_to = "" if kept.status == "pending" else f"  ({kept.status}{reason})"
        click.echo(f"{kept.id[:8]}  {noted(kept)}{where_to}")
    said = waited + sum(turn.role not in ("assistant", "system") for turn in turns)
    waits = WAITS if any(kept.status == "pending" for kept in found) else ""
    erased = f"{count(gone, 'memory')} erased, as the user asked. " if gone else ""
    click.echo(f"{len(found)} found in {count(said, 'turn')}. {erased}{waits}".rstrip())


@click.command(cls=Command)
@click.option("--status", type=click.Choice(get_args(Status)), help="Only those of one status.")
@click.option("--kind", type=click.Choice(get_args(Kind)), help="Only instructions, or only facts.")
@click.option("--source", metavar="NAME", help="Only what came from there, such as user or tool:calendar.")
@click.option("--since", type=click.DateTime(), help="Only what was kept since, in local time.")
@click.option("--text", help="Only those that hold this text, in upper or lower case.")
@place
def memories(
    where: Place, status: Status | None, kind: Kind | None, source: str | None, since: datetime | None,
    text: str | None,
) -> None:  # fmt: skip
    """List the memories, oldest first.

    A memory is pending (in the prompt), baked (in the weights), superseded (a newer one of its key took its place),
    held (set aside by a rollback: `bakemem release`), quarantined or forgotten. Where the output is no terminal,
    each line holds id, status, kind, key and text with tabs between. Works while another process writes.
    """
    with where.journal() as journal:
        found = journal.memories(status, kind=kind, since=since, text=text, source=source)
    if where.as_json:
        print_json(found)
    elif found:
        print_memories(found)
    else:
        narrowed = any((kind, source, since, text))
        what = "such memory" if narrowed else f"{status} memory" if status else "memory yet"
        click.echo(f'There is no {what}: try `bakemem remember "My dog is called Bosuk."`.', err=True)


@click.command(cls=Command)
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@place
def release(where: Place, ids: tuple[str, ...]) -> None:
    """Give held memories back to the prompt.

    The next bake then takes them in. A rollback holds the memories that only newer versions know; `bakemem memories
    --status held` lists them. The first four characters of an id are enough. All of the IDs are released, or none.
    """
    with where.records() as memory:
        released = memory.release(ids)
    if where.as_json:
        print_json(released)
    else:
        for kept in released:
            click.echo(f"{kept.id[:8]}  {noted(kept)}")
        click.echo(WAITS)


@click.command(cls=Command)
@click.argument("text")
@click.option("-k", type=click.IntRange(1, 1000), default=5, show_default=True, help="How many at most.")
@click.option("--kind", type=click.Choice(get_args(Kind)), help="Only instructions, or only facts.")
@click.option("--source", metavar="NAME", help="Only what came from there.")
@place
def recall(where: Place, text: str, k: int, kind: Kind | None, source: str | None) -> None:
    """Find the memories nearest in meaning to TEXT.

    Searches what is pending or baked, in the index and not in the weights: to ask the model, use `bakemem chat`.
    """
    if not text.strip():
        raise InputError("Say what to look for. All that is kept: `bakemem memories`.")
    with where.records() as memory:
        found = memory.recall(text, k, kind=kind, source=source)
    if where.as_json:
        print_json(found)
    elif found:
        print_memories(found)
    else:
        click.echo(f"No memory{' of that sort' if kind or source else ''} is pending or baked.", err=True)
