"""The commands about names of versions: reflog, which tells where `live` has been, and tag.

Knows how to ask and to answer; which names may be given, the journal knows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import click

from bakemem.cli.frame import Command, Place, place
from bakemem.cli.text import one_line, print_json, when
from bakemem.errors import InputError

if TYPE_CHECKING:
    from bakemem.memory import ReflogEntry

DESTROYED = ("erase", "collect")


@click.command(cls=Command)
@place
def reflog(where: Place) -> None:
    """List the moves of the live pointer, newest first.

    Every bake, rollback and forgetting that changed which version serves, and every version that was destroyed. It
    only reads, and works while another process writes.
    """
    with where.journal() as journal:
        live, moves = journal.live(), journal.reflog()[::-1]
    print_json({"live": live, "reflog": moves}) if where.as_json else _print_reflog(moves)


def _print_reflog(moves: Sequence[ReflogEntry]) -> None:
    if not moves:
        click.echo("The live pointer never moved: the base serves.", err=True)
    for move in moves:
        what = f"{move.old} destroyed" if move.action in DESTROYED else f"{move.old or 'base'} → {move.new or 'base'}"
        click.echo(f"{when(move.at)}  {move.action:8}  {what}")


@click.command(cls=Command)
@click.argument("version", required=False)
@click.argument("name", required=False)
@click.option("--delete", metavar="NAME", help="Take this name away; the version stays.")
@place
def tag(where: Place, version: str | None, name: str | None, delete: str | None) -> None:
    """Give a version a name of your own, or list these names.

    `bakemem tag v7 good` lets every command know v7 as good, and `bakemem gc` keep it; a name that is given again
    moves. VERSION is a name such as v7, another tag, the beginning of an id, or live. Without arguments: the tags.
    """
    if (version is None) != (name is None) or (version is not None and delete is not None):
        raise InputError("Say a version and a name, as in `bakemem tag v7 good`; or --delete NAME alone; or nothing.")
    if version is None and delete is None:
        with where.journal() as journal:
            tags = journal.tags()
        print_json(tags) if where.as_json else _print_tags(tags)
        return
    with where.records() as memory:
        before = memory.tags()
        if delete is not None:
            memory.untag(delete)
            said = f"{delete} names no version any more."
        elif version is not None and name is not None:
            named, was = memory.tag(name, version).name, before.get(name)
            said = f"{name} is {named}" + (f"; it was {was}." if was not in (None, named) else ".")
        tags = memory.tags()
    print_json(tags) if where.as_json else click.echo(one_line(said))


def _print_tags(tags: Mapping[str, str]) -> None:
    if not tags:
        click.echo("No version has a tag: `bakemem tag VERSION NAME` gives it one.", err=True)
    width = max(map(len, tags), default=0)
    for name, version in tags.items():
        click.echo(f"{name:{width}}  {version}")
