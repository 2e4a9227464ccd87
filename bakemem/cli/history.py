"""The commands about versions: log, show, rollback.

All but rollback only read: they need no model, and work while another process writes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import click

from bakemem.cli.frame import Command, Place, place
from bakemem.cli.graph import lanes
from bakemem.cli.text import (
    SCORES,
    clean,
    count,
    one_line,
    print_json,
    print_memories,
    print_superseded,
    report_lines,
    shorten,
    version_values,
    when,
)  # fmt: skip
from bakemem.errors import HomeCorruptError
from bakemem.types import Memory, Version

BASE = "base"
MOST_LISTED = 6
COLOURS = {
    "live": "green",
    "rejected": "red",
    "tainted": "yellow",
    "collected": "bright_black",
    "erased": "bright_black",
}
TAINTED = "learned what was forgotten since: run `bakemem erase`."


@click.command(cls=Command)
@place
def log(where: Place) -> None:
    """List the versions, newest first.

    Shows at the left which came from which, and what each added to its parent and scored. The version that serves is
    marked live; one that the gate refused is marked rejected, one whose files are destroyed collected (by gc) or
    erased, and one that learned what was forgotten since tainted: these never serve. Tags stand in brackets.
    """
    with where.journal() as journal:
        live, tags, tainted = journal.live(), journal.tags(), {v.name for v in journal.tainted()}
        versions, memories = journal.versions(), journal.memories()
    if where.as_json:
        changes = changes_of(versions, memories)
        listed = [{**_values(v, live, tags, tainted), "added": changes[v.name][0], "removed": changes[v.name][1]}
                  for v in reversed(versions)]  # fmt: skip
        print_json({"live": live, "versions": listed})
    else:
        print_log(versions, memories, live, tags, tainted)


@click.command(cls=Command)
@click.argument("version")
@place
def show(where: Place, version: str) -> None:
    """Show all about one version.

    That is its report, settings, memories and the prompt that it was baked from. VERSION is a name such as v2, a tag,
    the beginning of an id, or live. Of a version whose files are destroyed only what the journal holds is left; the
    prompt of one that learned what was forgotten since is not shown.
    """
    from bakemem.versions import VersionStore

    with where.journal() as journal:
        found, live, memories = journal.version(version), journal.live(), journal.memories()
        tags, tainted = journal.tags(), {v.name for v in journal.tainted()}
    contained = _in_order(found.memory_ids, memories)
    prompt, problem = None, _unreadable(found, tainted)
    if problem is None:
        try:
            prompt = VersionStore(where.home, where.namespace).manifest(found.name).prompt.text
        except HomeCorruptError as error:
            problem = one_line(str(error))
    if where.as_json:
        values = _values(found, live, tags, tainted)
        print_json({**values, "prompt": prompt, "memories": contained, "problem": problem})
        return
    click.echo(_headline(found, live, tags, tainted))
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
@click.argument("version")
@place
def rollback(where: Place, version: str) -> None:
    """Let another version serve, or base.

    VERSION is a name such as v1, a tag, the beginning of an id, or base for none. Nothing is destroyed, and a rollback
    to a newer version undoes it. Memories that only the version left behind knows become held: out of the prompt and
    the answers until `bakemem release` or a rollback brings them back. What they superseded comes back, if the version
    knows it. What a memory superseded that is pending stays so, and the next bake does not teach it again.
    """
    with where.records() as memory:
        was, moved, live = memory.live, memory.rollback(version), memory.live
        inside = [i for v in memory.versions() if v.name == live for i in v.memory_ids]
        old = [m for m in memory.memories("superseded") if m.id in inside]
    held = [m for m in moved if m.status == "held"]
    back = [m for m in moved if m.came_back]
    if where.as_json:
        print_json({"was": was, "live": live, "held": held, "back": back, "superseded": old})
        return
    if was == live:
        click.echo(f"{live or 'base'} was live already.")
    else:
        click.echo(f"{live or 'base'} is live; {was or 'base'} was.")
    for m in held:
        click.echo(f"  held {m.id[:8]}  {shorten(m.text, 18)}")
    for m in back:
        click.echo(f"  back {m.id[:8]}  {shorten(m.text, 18)}")
    if held:
        click.echo("`bakemem release ID` gives a held memory back to the prompt.")
    print_superseded(old)
    if old:
        click.echo(f"{live} knows what is superseded, and the next bake does not: remember it again if it is so.")


def changes_of(
    versions: Sequence[Version], memories: Sequence[Memory]
) -> Mapping[str, tuple[list[Memory], list[Memory]]]:
    """What each version added to its parent, and what it left out; what is forgotten is in neither."""
    held: dict[str | None, set[str]] = {v.name: set(v.memory_ids) for v in versions}
    memories = [m for m in memories if m.status != "forgotten"]
    changes = {}
    for v in versions:
        mine, parent = held[v.name], held.get(v.parent, set())
        changes[v.name] = [m for m in memories if m.id in mine - parent], [m for m in memories if m.id in parent - mine]
    return changes


def print_log(
    versions: Sequence[Version], memories: Sequence[Memory], live: str | None, tags: Mapping[str, str],
    tainted: Collection[str],
) -> None:  # fmt: skip
    """The versions, newest first, with the lanes of their parents at the left, down to the base."""
    if not versions:
        click.echo("There is no version yet: `bakemem bake` makes one.", err=True)
        return
    changes = changes_of(versions, memories)
    drawn = lanes([*((v.name, v.parent or BASE) for v in reversed(versions)), (BASE, BASE)])
    width = max(len(row) for lane in drawn for row in (lane.head, lane.join))
    for v, lane in zip(reversed(versions), drawn, strict=False):
        click.echo(f"{lane.head:{width}}  {_headline(v, live, tags, tainted)}")
        for line in _story(v, changes[v.name], width + 8):
            click.echo(f"{lane.body:{width}}    {line}")
        if lane.join:
            click.echo(lane.join)
    click.echo(f"{drawn[-1].head:{width}}  " + (_marked(BASE, "live") if live is None else BASE))


def _story(version: Version, changed: tuple[list[Memory], list[Memory]], indent: int) -> Iterator[str]:
    report = version.report
    scores = "  ".join(
        f"{name} {'–' if (value := getattr(report, name)) is None else f'{value:.1%}'}" for name in SCORES
    )
    yield f"{scores}  KL {report.kl_before:.3f} → {report.kl_after:.3f} nats"
    for reason in report.reasons:
        yield click.style(f"refused: {one_line(reason)}", fg="red")
    for sign, some, colour in zip("+-", changed, ("green", "yellow"), strict=True):
        for m in some[:MOST_LISTED]:
            yield click.style(f"{sign} {shorten(m.text, indent)}", fg=colour)
        if len(some) > MOST_LISTED:
            yield f"{sign} {len(some) - MOST_LISTED} more: bakemem show {version.name}"


def _headline(version: Version, live: str | None, tags: Mapping[str, str], tainted: Collection[str]) -> str:
    parts = [_marked(version.name, _mark(version, live, tainted)), when(version.created),
             f"parent {version.parent or BASE}", count(len(version.memory_ids), "memory")]  # fmt: skip
    own = _tags_of(version, tags)
    return "  ".join([*parts, *([click.style(f"[{', '.join(own)}]", fg="cyan")] if own else [])])


def _mark(version: Version, live: str | None, tainted: Collection[str]) -> str:
    if version.name == live:
        return "live"
    if version.gone or version.name in tainted:
        return version.gone or "tainted"
    return "rejected" if version.status == "rejected" else ""


def _marked(name: str, mark: str) -> str:
    return click.style(f"{name:4} {mark:9}", fg=COLOURS.get(mark), bold=True)


def _tags_of(version: Version, tags: Mapping[str, str]) -> list[str]:
    return [tag for tag, name in tags.items() if name == version.name]


def _values(version: Version, live: str | None, tags: Mapping[str, str], tainted: Collection[str]) -> dict[str, Any]:
    more = {"tags": _tags_of(version, tags), "gone": version.gone, "tainted": version.name in tainted}
    return {**version_values(version, live), **more}


def _unreadable(version: Version, tainted: Collection[str]) -> str | None:
    """Why the prompt must not or cannot be shown, known before its file is opened."""
    if version.gone:
        why = "it had learned what was forgotten" if version.gone == "erased" else "gc collected them"
        return f"The files of {version.name} are destroyed: {why}."
    return f"{version.name} {TAINTED}" if version.name in tainted else None


def _in_order(memory_ids: Sequence[str], memories: Sequence[Memory]) -> list[Memory]:
    known: dict[str, Any] = {m.id: m for m in memories}
    return [known[i] for i in memory_ids if i in known]
