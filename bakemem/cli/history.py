"""The commands about versions: log, show, diff, rollback.

All but rollback only read: they need no model, and work while another process writes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from bakemem.cli.frame import Command, Place, place
from bakemem.cli.text import (
    SCORES,
    clean,
    count,
    one_line,
    print_json,
    print_memories,
    report_lines,
    shorten,
    version_values,
    when,
)  # fmt: skip
from bakemem.errors import HomeCorruptError
from bakemem.types import Memory, Version

if TYPE_CHECKING:
    from bakemem.agent_memory import AgentMemory
    from bakemem.memory import ReflogEntry
    from bakemem.versions import VersionDiff

MOST_LISTED = 6


@click.command(cls=Command)
@click.option("--reflog", is_flag=True, help="The moves of the live pointer instead.")
@place
def log(where: Place, reflog: bool) -> None:
    """List the versions, newest first.

    Shows what each added to its parent, and what it scored. The version that serves is marked live; one that the
    gate refused is marked rejected and never serves. With --reflog: every bake and rollback that moved the live
    pointer, newest first.
    """
    with where.journal() as journal:
        live = journal.live()
        if reflog:
            moves = journal.reflog()[::-1]
            print_json({"live": live, "reflog": moves}) if where.as_json else print_reflog(moves)
            return
        versions, memories = journal.versions(), journal.memories()
    if where.as_json:
        changes = changes_of(versions, memories)
        listed = [{**version_values(v, live), "added": changes[v.name][0], "removed": changes[v.name][1]}
                  for v in reversed(versions)]  # fmt: skip
        print_json({"live": live, "versions": listed})
    else:
        print_log(versions, memories, live)


@click.command(cls=Command)
@click.argument("version")
@place
def show(where: Place, version: str) -> None:
    """Show all about one version.

    That is its report, settings, memories and the prompt that it was baked from. VERSION is a name such as v2, the
    beginning of an id, or live.
    """
    from bakemem.versions import VersionStore

    with where.journal() as journal:
        found, live, memories = journal.version(version), journal.live(), journal.memories()
    contained = _in_order(found.memory_ids, memories)
    prompt, problem = None, None
    try:
        prompt = VersionStore(where.home.expanduser(), where.namespace).manifest(found.name).prompt.text
    except HomeCorruptError as error:
        problem = one_line(str(error))
    if where.as_json:
        print_json({**version_values(found, live), "prompt": prompt, "memories": contained, "problem": problem})
        return
    click.echo(_headline(found, live))
    click.echo("\n".join(report_lines(found.report, memories)))
    settings = {**found.settings, "base": found.adapter.base_fingerprint, "prompt_sha256": found.prompt_sha256,
                "id": found.id, "folder": found.adapter.folder}  # fmt: skip
    click.echo("\nsettings")
    for name, value in settings.items():
        click.echo(f"  {one_line(name):14}  {one_line(str(value))}")
    click.echo(f"\nmemories ({len(contained)})")
    print_memories(contained)
    click.echo("\nprompt")
    for line in clean(prompt or f"({problem})").splitlines():
        click.echo(f"  {line}")


@click.command(cls=Command)
@click.argument("old")
@click.argument("new")
@place
def diff(where: Place, old: str, new: str) -> None:
    """Show what changed between two versions.

    Lists the memories that NEW has and OLD lacks (+), or the other way round (-), and by how much the scores moved.
    `base` is the model without any memory: `bakemem diff base v1` lists all that v1 holds.
    """
    from bakemem.versions import diff as compare

    with where.journal() as journal:
        a, b = (None if name == "base" else journal.version(name) for name in (old, new))
        changes = compare(a, b, journal.memories())
    print_json(changes) if where.as_json else print_diff(changes)


@click.command(cls=Command)
@click.argument("version")
@place
def rollback(where: Place, version: str) -> None:
    """Let another version serve, or base.

    VERSION is a name such as v1, the beginning of an id, or base for none. Nothing is destroyed, and a rollback to
    a newer version undoes it. Memories that only the version left behind knows become held: out of the prompt and
    the answers until `bakemem release` or a rollback brings them back.
    """
    with where.memory(must_exist=True) as memory:
        was, live, held = roll_back(memory, version)
    if where.as_json:
        print_json({"was": was, "live": live, "held": held})
    else:
        print_rollback(was, live, held)


def roll_back(memory: AgentMemory, version: str) -> tuple[str | None, str | None, list[Memory]]:
    """Moves the live pointer: what was live, what is, and which memories are held since."""
    was, before = memory.live, {m.id for m in memory.memories("held")}
    memory.rollback(version)
    return was, memory.live, [m for m in memory.memories("held") if m.id not in before]


def print_rollback(was: str | None, live: str | None, held: Sequence[Memory]) -> None:
    """Which version serves now, and what it does not know any more."""
    if was == live:
        click.echo(f"{live or 'base'} was live already.")
        return
    click.echo(f"{live or 'base'} is live; {was or 'base'} was.")
    for m in held:
        click.echo(f"  held {m.id[:8]}  {shorten(m.text, 18)}")
    if held:
        click.echo("`bakemem release ID` gives a held memory back to the prompt.")


def changes_of(
    versions: Sequence[Version], memories: Sequence[Memory]
) -> Mapping[str, tuple[list[Memory], list[Memory]]]:
    """What each version added to its parent, and what it left out."""
    held: dict[str | None, set[str]] = {v.name: set(v.memory_ids) for v in versions}
    changes = {}
    for v in versions:
        mine, parent = held[v.name], held.get(v.parent, set())
        changes[v.name] = [m for m in memories if m.id in mine - parent], [m for m in memories if m.id in parent - mine]
    return changes


def print_log(versions: Sequence[Version], memories: Sequence[Memory], live: str | None) -> None:
    """The versions, newest first."""
    if not versions:
        click.echo("There is no version yet: `bakemem bake` makes one.", err=True)
        return
    if live is None:
        click.echo("The base is live; no version serves.")
    changes = changes_of(versions, memories)
    for v in reversed(versions):
        click.echo(_headline(v, live))
        scores = "  ".join(f"{name} {getattr(v.report, name):.1%}" for name in SCORES)
        click.echo(f"    {scores}  KL {v.report.kl_before:.3f} → {v.report.kl_after:.3f} nats")
        for reason in v.report.reasons:
            click.echo(click.style(f"    refused: {one_line(reason)}", fg="red"))
        for sign, changed, colour in zip("+-", changes[v.name], ("green", "yellow"), strict=True):
            for m in changed[:MOST_LISTED]:
                click.echo(click.style(f"    {sign} {shorten(m.text, 6)}", fg=colour))
            if len(changed) > MOST_LISTED:
                click.echo(f"    {sign} {len(changed) - MOST_LISTED} more: bakemem show {v.name}")


def _headline(version: Version, live: str | None) -> str:
    mark = "live" if version.name == live else "rejected" if version.status == "rejected" else ""
    colour = {"live": "green", "rejected": "red"}.get(mark)
    head = click.style(f"{version.name:4} {mark:8}", fg=colour, bold=True)
    held = count(len(version.memory_ids), "memory")
    return f"{head}  {when(version.created)}  parent {version.parent or 'base'}  {held}"


def print_reflog(moves: Sequence[ReflogEntry]) -> None:
    """The moves of the live pointer."""
    if not moves:
        click.echo("The live pointer never moved: the base serves.", err=True)
    for move in moves:
        click.echo(f"{when(move.at)}  {move.action:8}  {move.old or 'base'} → {move.new or 'base'}")


def print_diff(changes: VersionDiff) -> None:
    """The memories that came and went, and by how much the scores moved."""
    click.echo(f"{changes.old or 'base'} → {changes.new or 'base'}")
    for sign, changed, colour in (("+", changes.added, "green"), ("-", changes.removed, "yellow")):
        for m in changed:
            click.echo(click.style(f"  {sign} {m.id[:8]}  {shorten(m.text, 14)}", fg=colour))
    if not (changes.added or changes.removed):
        click.echo("  the same memories")
    for name, delta in changes.scores.items():
        click.echo(f"  {name:10}  {_delta(name, delta)}")


def _delta(name: str, delta: float) -> str:
    if name in SCORES:
        return f"{delta * 100:+.1f} points"
    return f"{delta:+.1f} s" if name == "seconds" else f"{delta:+.3f} nats"


def _in_order(memory_ids: Sequence[str], memories: Sequence[Memory]) -> list[Memory]:
    known: dict[str, Any] = {m.id: m for m in memories}
    return [known[i] for i in memory_ids if i in known]
