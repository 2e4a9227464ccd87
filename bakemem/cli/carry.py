"""The commands that move memories and rebuild the index: export, import, reindex.

Knows files and standard input; the format, others know.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from bakemem.cli.frame import Command, Place, place, waiting
from bakemem.cli.text import count, print_json
from bakemem.errors import InputError


@click.command(cls=Command)
@click.argument("file", default="-")
@place
def export(where: Place, file: str) -> None:
    """Write all memories with their history as JSON Lines to FILE, or to standard output.

    Tombstones and versions are left out. Works while another process writes.
    """
    from bakemem.memory import export as exported

    with where.journal() as journal:
        lines = list(exported(journal))
    if file == "-":
        for line in lines:
            click.echo(line)
        return
    try:
        Path(file).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    except OSError as error:
        raise InputError(f"{file} cannot be written: {error.strerror or error}.") from error
    if where.as_json:
        print_json({"file": file, "memories": len(lines)})
    else:
        click.echo(f"{count(len(lines), 'memory')} written to {file}.")


@click.command("import", cls=Command)
@click.argument("file")
@place
def load(where: Place, file: str) -> None:
    """Take in memories from a FILE that `bakemem export` wrote; `-` reads standard input. All of them, or none.

    Those that are here already are left alone. What was baked elsewhere waits in the prompt, as no version here
    holds it.
    """
    with where.memory() as memory, _lines(file) as lines:
        loaded = memory.load(lines)
    if where.as_json:
        print_json(loaded)
    else:
        click.echo(f"{count(len(loaded), 'memory')} taken in.")


@contextmanager
def _lines(file: str) -> Iterator[Iterable[str]]:
    try:
        if file == "-":
            yield sys.stdin
        else:
            with Path(file).open(encoding="utf-8") as lines:
                yield lines
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file} cannot be read: {error}. Name a file that `bakemem export` wrote.") from error


@click.command(cls=Command)
@place
def reindex(where: Place) -> None:
    """Build the meaning index anew from the journal.

    Nobody needs to: where it is missing, damaged, or of another embedder, it is rebuilt by itself.
    """
    with where.memory(must_exist=True) as memory, waiting("Building the index …"):
        n = memory.reindex()
    if where.as_json:
        print_json({"memories": n})
    else:
        click.echo(f"{count(n, 'memory')} in the index.")
