"""The commands that decide about memories: quarantine, approve, reject, drop, forget, edit, and why, history.

Knows how to ask and to answer; what may be believed, others know.
"""

from __future__ import annotations

import click

from bakemem.cli.frame import Command, Place, place
from bakemem.cli.gather import WAITS
from bakemem.cli.text import count, noted, one_line, print_json, print_memories, shorten, when
from bakemem.errors import InputError
from bakemem.types import Memory, Version


@click.command(cls=Command)
@place
def quarantine(where: Place) -> None:
    """List what waits for the operator's word, with the reason.

    What tools, documents, web pages and the assistant say is never believed at once: `approve` or `reject` it. Facts
    from a source that is named in the setting `trust` need no approval.
    """
    with where.journal() as journal:
        found = journal.memories("quarantined")
    if where.as_json:
        print_json(found)
    elif found:
        for memory in found:
            click.echo(f"{memory.id[:8]}  {noted(memory)}")
            click.echo(f"          {one_line(memory.reason)}")
    else:
        click.echo("Nothing is in quarantine.", err=True)


@click.command(cls=Command)
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@place
def approve(where: Place, ids: tuple[str, ...]) -> None:
    """Let memories out of quarantine.

    They count from now on as if the user had said them, and take the place of older ones of their keys. The first
    four characters of an id are enough. All of the IDs, or none.
    """
    with where.records() as memory:
        approved = memory.approve(ids)
    _print_kept(where, approved)


@click.command(cls=Command)
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@place
def reject(where: Place, ids: tuple[str, ...]) -> None:
    """Erase memories that are in quarantine.

    A tombstone without text stays. The first four characters of an id are enough. All of the IDs, or none.
    """
    with where.records() as memory:
        gone, learned = memory.reject(ids), memory.to_erase()
    _print_gone(where, gone, learned)


@click.command(cls=Command)
@click.option("--source", required=True, metavar="NAME", help="Where it came from, such as tool:calendar.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@place
def drop(where: Place, source: str, yes: bool) -> None:
    """Erase everything that came from one source, baked or not.

    `bakemem memories --source NAME` shows it first. What it had superseded of others is again what it was before, and
    is named (not with --json). If the live version learned some of it, the base serves with the rest in its prompt
    until the next bake.
    """
    with where.journal() as journal:  # asked before the home is owned: somebody may take long to answer
        n = len([m for m in journal.memories(source=source) if m.status != "forgotten"])
    _confirm(where, f"Erase {count(n, 'memory')} from {source}?", yes or n == 0)
    with where.records() as memory:
        before = {m.id for m in memory.memories("superseded")}
        gone, learned = memory.forget(source=source), memory.to_erase()
        again = [m for m in memory.memories() if m.id in before and m.status not in ("superseded", "forgotten")]
    _print_gone(where, gone, learned)
    if again and not where.as_json:
        click.echo("Again what they were before:")
        print_memories(again)


@click.command(cls=Command)
@click.argument("ids", nargs=-1, metavar="[ID...]")
@click.option("--conversation", metavar="NAME", help="Everything from one conversation.")
@click.option("--all", "everything", is_flag=True, help="Everything in the namespace.")
@click.option("--yes", is_flag=True, help="Do not ask; about ids nothing is asked.")
@place
def forget(where: Place, ids: tuple[str, ...], conversation: str | None, everything: bool, yes: bool) -> None:
    """Erase memories for good: text, history, index, what they superseded, and what was said of them in conversations.

    A tombstone without text stays. If the live version learned one of them, the base serves, with the other memories
    in its prompt, until the next bake; versions that learned it never serve again. There is no way back.
    """
    if not ids and conversation is None and not everything:
        raise InputError("Say what to forget: ids (see `bakemem memories`), --conversation NAME, or --all.")
    if everything and (ids or conversation is not None):
        raise InputError("--all is everything in the namespace: leave it out, or say nothing else.")
    with where.journal():  # there is a home; it is owned once the question is answered
        pass
    if everything or conversation is not None:
        _confirm(where, f"Erase {'everything' if everything else f'conversation {conversation}'} for good?", yes)
    with where.records() as memory:
        gone = memory.forget(ids, conversation=conversation, everything=everything)
        learned = memory.to_erase()
    _print_gone(where, gone, learned)


@click.command(cls=Command)
@click.argument("memory_id", metavar="ID")
@click.argument("text")
@place
def edit(where: Place, memory_id: str, text: str) -> None:
    """Say a memory in other words.

    A new one with TEXT and the same key takes its place; the old one stays in its history, superseded.
    """
    with where.records() as memory:
        kept = memory.edit(memory_id, text)
    _print_kept(where, [kept])


@click.command("history", cls=Command)
@click.argument("memory_id", metavar="ID")
@place
def past(where: Place, memory_id: str) -> None:
    """Show what happened to a memory, and what it superseded.

    With who did it, when, and the turn that it was said in. Works while another process writes.
    """
    with where.journal() as journal:
        chain, events = journal.chain(memory_id), journal.history(memory_id)
    if where.as_json:
        print_json({"chain": chain, "events": events})
        return
    print_memories(chain)
    memory = chain[0]
    if memory.provenance.turn:
        click.echo(f"said by {one_line(memory.provenance.source)}: {shorten(memory.provenance.turn, 20)}")
    for event in events:
        note = f"  {one_line(event.note)}" if event.note else ""
        click.echo(f"{when(event.at)}  {event.action:10}  {event.new:11}  by {event.actor or 'unknown'}{note}")


@click.command(cls=Command)
@click.argument("question")
@click.option("-k", type=click.IntRange(1, 100), default=3, show_default=True, help="How many memories at most.")
@place
def why(where: Place, question: str, k: int) -> None:
    """Show which memories an answer rests on, who said them, and which version learned them.

    Searches the memories by meaning and does not ask the model: it shows what the agent could have known.
    """
    with where.records() as memory:
        found = memory.why(question, k)
    if where.as_json:
        print_json(found)
        return
    if not found:
        click.echo("No memory is near to that.", err=True)
    for reason in found:
        said = reason.memory.provenance
        place_ = f"in the live version ({reason.span})" if reason.live else "in the prompt"
        click.echo(f"{reason.memory.id[:8]}  {reason.score:.2f}  {noted(reason.memory)}")
        turn = f": “{shorten(said.turn, 40)}”" if said.turn else ""
        click.echo(f"          {place_}; said by {one_line(said.source)} {when(reason.memory.created)}{turn}")


def _confirm(where: Place, question: str, sure: bool) -> None:
    if sure:
        return
    if where.as_json:
        raise InputError(f"{question} Say --yes with --json.")
    try:
        click.confirm(question, abort=True)
    except click.Abort as stop:
        if isinstance(stop.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from stop
        if isinstance(stop.__context__, EOFError):
            raise InputError(f"{question} Nobody is there to answer: say --yes.") from stop
        raise


def _print_kept(where: Place, kept: list[Memory]) -> None:
    if where.as_json:
        print_json(kept)
        return
    for memory in kept:
        click.echo(f"{memory.id[:8]}  {noted(memory)}")
    click.echo(WAITS)


def _print_gone(where: Place, gone: list[Memory], learned: list[Version]) -> None:
    if where.as_json:
        print_json(gone)
        return
    click.echo(f"Erased: {', '.join(m.id[:8] for m in gone) or 'nothing'}.")
    if learned:
        names = ", ".join(v.name for v in learned)
        click.echo(f"Learned by {names}: out of service. `bakemem erase` (or the next bake) destroys them.")
