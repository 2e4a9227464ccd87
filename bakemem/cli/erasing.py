"""The commands that finish forgetting: erase and receipts.

Parses, calls, prints.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import click

from bakemem.cli.frame import Command, Place, place, place_and_model
from bakemem.cli.oven import shown
from bakemem.cli.text import count, one_line, plain, print_json, when


@click.command(cls=Command)
@click.option("--no-bake", is_flag=True, help="Destroy at once; what is known stays in the prompt until the next bake.")
@place_and_model
def erase(where: Place, no_bake: bool) -> None:
    """Destroy the versions that learned what was forgotten.

    `bakemem forget` takes text out of the journal and such versions out of service; this bakes what remains from the
    base, asks the new version for what was forgotten beside a model that never knew it, and then overwrites and
    removes the old versions. It prints a receipt, which the journal keeps (`bakemem receipts`). Cut short at any
    point, it goes on when it is called again. `bakemem bake` after a `forget` does the same.
    """
    with where.memory(must_exist=True) as memory, shown(where.as_json) as progress:
        receipt = memory.erase(bake=not no_bake, progress=progress)
    print_json(receipt) if where.as_json else print_receipt(plain(receipt))


@click.command(cls=Command)
@place
def receipts(where: Place) -> None:
    """List what was erased from versions.

    Each receipt tells which versions were destroyed, what serves since, how often the new version and a model that
    never knew it told what was erased, and what left the home before or cannot be known. It holds no text of it.
    """
    from bakemem.memory import Ledger

    with where.journal() as journal:
        kept = Ledger(journal).receipts()
    if where.as_json:
        print_json(kept)
        return
    if not kept:
        click.echo("Nothing was erased from a version yet.", err=True)
    for receipt in kept:
        print_receipt(receipt)


def print_receipt(receipt: Mapping[str, Any]) -> None:
    """What went, what serves since, how it was asked, and what nobody here can know."""
    destroyed, leaks, copies = receipt["destroyed"], receipt["leaks"], receipt["copies"]
    click.echo(f"{_when(receipt['at'])}  {count(len(receipt['memory_ids']), 'memory')} erased: "
               f"{', '.join(i[:8] for i in receipt['memory_ids'])}")  # fmt: skip
    for version in destroyed:
        click.echo(f"  {version['name']} destroyed, {version['bytes']:,} bytes overwritten and removed")
    click.echo(f"  {receipt['live'] or 'base'} serves since")
    if leaks:
        click.echo("  asked for it, answers that tell it:      since  never knew it")
        for leak in leaks:
            click.echo(f"    {leak['kind']:12} {leak['asked']:5} questions  {leak['told']:12}  {leak['never_knew']:13}")
    else:
        click.echo("  nobody was asked for it: no version was baked since, or none of the old ones could be read")
    if leaks and receipt["not_asked"]:
        click.echo(
            f"  not asked for: {', '.join(i[:8] for i in receipt['not_asked'])}; their text was nowhere any more"
        )
    for copy in copies:
        click.echo(f"  copied out before: {one_line(copy['what'])} to {one_line(copy['place'])} at {_when(copy['at'])}")
    for sentence in receipt["unknown"]:
        click.echo(f"  not known: {sentence}")


def _when(time: str) -> str:
    return when(datetime.fromisoformat(time))
