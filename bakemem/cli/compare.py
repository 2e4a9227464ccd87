"""The command diff: what changed between two versions, in memories, scores, answers and weights.

Only reads: needs no model, and works while another process writes.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bakemem.cli.frame import Command, Place, place
from bakemem.cli.picture import draw_layers
from bakemem.cli.text import SCORES, one_line, print_json, shorten

if TYPE_CHECKING:
    from bakemem.versions import AnswerChange, LayerChange, VersionDiff

MOST_ANSWERS, MOST_LAYERS = 10, 5
LEAST_MOVE = 5e-4  # of a score: less is not seen in what is printed
ROUNDING = 1e-12  # of a layer's update: a smaller change is none


@click.command(cls=Command)
@click.argument("old")
@click.argument("new")
@click.option("--plot", "file", metavar="FILE.png", type=click.Path(dir_okay=False, path_type=Path),
              help="Draw how much each layer changed; needs the extra 'demo'.")  # fmt: skip
@place
def diff(where: Place, old: str, new: str, file: Path | None) -> None:
    """Show what changed between two versions.

    Lists the memories that NEW has and OLD lacks (+), those that took the place of older ones (~), and those that NEW
    lacks (-); by how much the scores moved; the gate's questions that are answered differently, OLD's answer at the
    left; and the layers of the model that changed most. `base` is the model without any memory: `bakemem diff base v1`
    lists all that v1 holds. OLD and NEW are names such as v1, tags, or beginnings of ids.
    """
    from bakemem.versioned import compare
    from bakemem.versions import VersionStore

    with where.journal() as journal:
        changes = compare(journal, VersionStore(where.home, where.namespace), old, new)
    if file is not None:
        draw_layers(changes, file)
    if where.as_json:
        print_json(changes)
        return
    print_diff(changes)
    if file is not None:
        click.echo(f"picture: {one_line(str(file))}")


def print_diff(changes: VersionDiff) -> None:
    """The changes for a person; on standard error why answers or weights could not be compared."""
    click.echo(f"{changes.old or 'base'} → {changes.new or 'base'}")
    _print_memories(changes)
    for name, delta in changes.scores.items():
        if abs(delta) >= LEAST_MOVE:
            click.echo(f"  {name:10}  {_delta(name, delta)}")
    _print_answers(changes.answers)
    _print_layers(changes.layers)
    for problem in changes.problems:
        click.echo(click.style(one_line(problem), fg="yellow"), err=True)


def _print_memories(changes: VersionDiff) -> None:
    for m in changes.added:
        click.echo(click.style(f"  + {m.id[:8]}  {shorten(m.text, 14)}", fg="green"))
    for was, now in changes.superseded:
        click.echo(click.style(f"  ~ {now.id[:8]}  {_half(was.text, 17)} → {_half(now.text, 17)}", fg="cyan"))
    for m in changes.removed:
        click.echo(click.style(f"  - {m.id[:8]}  {shorten(m.text, 14)}", fg="yellow"))
    if not (changes.added or changes.superseded or changes.removed):
        click.echo("  the same memories")


def _print_answers(answers: Sequence[AnswerChange]) -> None:
    if not answers:
        return
    click.echo(f"\nanswers that changed ({len(answers)}), old | new")
    width = len(_half("x" * 10_000, 7)) if sys.stdout.isatty() else 0
    for answer in answers[:MOST_ANSWERS]:
        click.echo(f"  {shorten(answer.question, 2)}")
        click.echo(f"    {_half(answer.old, 7):{width}} | {_half(answer.new, 7)}")
    if len(answers) > MOST_ANSWERS:
        click.echo(f"  {len(answers) - MOST_ANSWERS} more: --json has them all")


def _print_layers(layers: Sequence[LayerChange]) -> None:
    changed = [layer for layer in layers if layer.change > ROUNDING * max(layer.old, layer.new)]
    most = sorted(changed, key=lambda layer: -layer.change)[:MOST_LAYERS]
    if not most:
        if layers:
            click.echo("  the same weights")
        return
    click.echo(f"\nlayers that changed most (of {len(layers)}): norm of the change; of the update, old → new")
    width = max(len(layer.module) for layer in most)
    for layer in most:
        click.echo(f"  {layer.module:{width}}  {layer.change:8.3g}  {layer.old:8.3g} → {layer.new:.3g}")


def _half(text: str, taken: int) -> str:
    """One line that fits half of the terminal, but for the columns that are taken by something else."""
    columns = shutil.get_terminal_size().columns
    return shorten(text, columns - (columns - taken) // 2)


def _delta(name: str, delta: float) -> str:
    if name in SCORES:
        return f"{delta * 100:+.1f} points"
    return f"{delta:+.1f} s" if name == "seconds" else f"{delta:+.3f} nats"
