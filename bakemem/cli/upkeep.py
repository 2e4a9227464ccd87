"""The commands that keep a home in order: gc and check.

Knows how to print; what is sound and what may go, others know.
"""

from __future__ import annotations

from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bakemem.cli.frame import FAILED, Command, Place, place
from bakemem.cli.text import clean, count, one_line, print_json

if TYPE_CHECKING:
    from bakemem.upkeep import Problem


@click.command(cls=Command)
@click.option("--keep", type=click.IntRange(0), default=5, show_default=True, metavar="N",
              help="How many of the newest versions stay.")  # fmt: skip
@click.option("--now", is_flag=True, help="Destroy them.  [default: only say what would go]")
@place
def gc(where: Place, keep: int, now: bool) -> None:
    """Destroy the adapters of old versions, or say which would go.

    Kept are the version that is live, the one that the gate refused last, those with a tag, the one that a rollback of
    the last move leads to, the newest N, whichever alone holds a held memory, and what learned what was forgotten
    (`bakemem erase` destroys it). The others stay in the log, but never serve again. No memory is touched. Without
    --now it only reads.
    """
    from bakemem.upkeep import spared
    from bakemem.versions import VersionStore

    with where.journal() as journal:
        state = journal.state()
    stay = spared(state, keep)
    store = VersionStore(where.home, where.namespace)
    there = [v.name for v in state.versions if not v.gone]
    sizes = {name: _bytes(store.folder(name)) for name in there}
    gone = [name for name in there if name not in stay]
    if now:
        with where.records() as memory:
            gone = [version.name for version in memory.gc(keep, dry_run=False)]
    freed = {name: sizes.get(name, 0) for name in gone}
    if where.as_json:
        print_json({"destroyed": now, "versions": freed, "bytes": sum(freed.values()), "kept": stay})
        return
    for name, size in freed.items():
        click.echo(f"{name:4}  {size / 1e6:.1f} MB")
    for name, reason in stay.items():
        click.echo(f"{name:4}  kept: {reason}")
    verb = "destroyed" if now else "would go; --now destroys them"
    click.echo(f"{count(len(freed), 'version')}, {sum(freed.values()) / 1e6:.1f} MB: {verb}.")


@click.command(cls=Command)
@click.option("--repair", is_flag=True, help="Remove what a crash left. Nothing else is ever changed.")
@click.option("--all", "everyone", is_flag=True, help="Every namespace of the home.")
@place
@click.pass_context
def check(ctx: click.Context, where: Place, repair: bool, everyone: bool) -> None:
    """Look for damage in journal and versions.

    The journal's database, its rules, and the files of every version are read and compared. Without --repair nothing
    is written, and it works while another process bakes. An error breaks a promise of the memory, a note does not.
    Exit code 1: there are errors.
    """
    from bakemem.memory import HomeLock, Journal, namespaces
    from bakemem.opening import read_journal
    from bakemem.upkeep import check as examine
    from bakemem.versions import VersionStore

    found: dict[str, list[Problem]] = {}
    with ExitStack() as stack:
        journal: Journal = stack.enter_context(where.journal())
        if repair:
            stack.enter_context(HomeLock(where.home))
        for name in {where.namespace, *namespaces(journal)} if everyone else {where.namespace}:
            one = read_journal(where.home, name)
            stack.callback(one.close)
            found[name] = examine(one, VersionStore(where.home, name), repair=repair)
    sound = not any(problem.severity == "error" for problems in found.values() for problem in problems)
    if where.as_json:
        print_json({"sound": sound, "namespaces": found})
    else:
        _print_found(found, sound)
    if not sound:
        ctx.exit(FAILED)


def _bytes(folder: Path) -> int:
    total = 0
    for path in folder.glob("*"):
        with suppress(FileNotFoundError):  # another process may be at it
            total += path.stat().st_size
    return total


def _print_found(found: dict[str, list[Problem]], sound: bool) -> None:
    for namespace, problems in found.items():
        if len(found) > 1 and problems:
            click.echo(one_line(namespace))
        for problem in problems:
            head = click.style(f"{problem.severity:5}", fg="red" if problem.severity == "error" else "yellow")
            advice = "removed" if problem.repaired else problem.advice
            click.echo(f"{head}  {one_line(problem.where)}: {one_line(problem.what)}\n       → {clean(advice)}")
    if sound:
        click.echo("Sound.")
