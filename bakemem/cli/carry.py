"""The commands that carry memories and versions out and in, and rebuild the index: export, import, pack, unpack …

Knows files and standard input; the format, others know.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TextIO

import click

from bakemem.cli.frame import MAX_INPUT, Command, Place, place, waiting
from bakemem.cli.text import count, one_line, print_json, print_superseded, version_values, when
from bakemem.errors import HomeError, InputError


@click.command(cls=Command)
@click.argument("file", default="-")
@place
def export(where: Place, file: str) -> None:
    """Write all memories with their history as JSON Lines to FILE, or to standard output (--json or not).

    A FILE that is there is replaced when the new one is whole; only you may read it. Tombstones and versions are left
    out. It is noted down that a copy was made (see `bakemem copies`). Works while another process writes; then a
    warning says that it could not be noted.
    """
    from bakemem.memory import export as exported
    from bakemem.versions import placed

    with where.journal() as journal:
        lines = list(exported(journal))
    if file == "-":
        _note_copy(where, "standard output")  # first: who reads it may take what is wanted and go
        for line in lines:
            click.echo(line)
        return
    with placed(Path(file), force=True) as out:
        noted = _note_copy(where, str(Path(file).absolute()))  # before a byte is there
        out.writelines(f"{line}\n".encode() for line in lines)
    if where.as_json:
        print_json({"file": file, "memories": len(lines), "noted": noted})
    else:
        click.echo(f"{count(len(lines), 'memory')} written to {file}.")


def _note_copy(where: Place, file: str) -> bool:
    """Whether it could be noted down that the memories were copied there; a warning says why not."""
    from bakemem.memory import Ledger
    from bakemem.opening import own_journal

    try:
        with own_journal(where.home, where.namespace) as journal:
            Ledger(journal).note_copy("memories", file)
    except (HomeError, InputError) as error:
        click.echo(
            f"bakemem: this copy is not noted down, so no erasure will name it. {one_line(str(error))}", err=True
        )
        return False
    return True


@click.command("import", cls=Command)
@click.argument("file")
@place
def load(where: Place, file: str) -> None:
    """Take in memories from a FILE that `bakemem export` wrote; `-` reads standard input. All of them, or none.

    Those that are here already are left alone. What was baked elsewhere waits in the prompt, as no version here
    holds it.
    """
    with _opened(file) as stream, where.records(must_exist=False) as memory:
        loaded = memory.load(_lines(stream, file))
    if where.as_json:
        print_json(loaded)
    else:
        click.echo(f"{count(len(loaded), 'memory')} taken in.")


def _opened(file: str) -> AbstractContextManager[TextIO]:
    if file == "-":
        return nullcontext(sys.stdin)
    try:
        return Path(file).open(encoding="utf-8-sig")
    except OSError as error:
        raise _unreadable(file, error) from error


def _lines(stream: TextIO, file: str) -> Iterator[str]:
    """The lines, none of which is without end."""
    try:
        while line := stream.readline(MAX_INPUT):
            if len(line) == MAX_INPUT and not line.endswith("\n"):
                raise InputError(f"{file} has a line larger than {MAX_INPUT >> 20} MiB: no memory is as large.")
            yield line
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(file, error) from error


def _unreadable(file: str, error: Exception) -> InputError:
    return InputError(f"{file} cannot be read: {error}. Name a file that `bakemem export` wrote.")


@click.command(cls=Command)
@click.argument("version")
@click.argument("file")
@click.option("--force", is_flag=True, help="Replace FILE if it is there.")
@place
def pack(where: Place, version: str, file: str, force: bool) -> None:
    """Write a version with its memories to FILE, for another home.

    The file holds the text of these memories. It is noted down that a copy was made (see `bakemem copies`).
    """
    with where.records() as memory:
        packed = memory.pack(version, file, force=force)
    if where.as_json:
        print_json({"version": packed.name, "file": file, "memories": len(packed.memory_ids)})
    else:
        click.echo(f"{packed.name} with {count(len(packed.memory_ids), 'memory')} written to {file}.")


@click.command(cls=Command)
@click.argument("file")
@place
def unpack(where: Place, file: str) -> None:
    """Take in a version from a FILE that `bakemem pack` wrote.

    It becomes the next version and does not serve before a `bakemem rollback` to it; until then its memories are held.
    One whose key another memory has here is superseded by that one, and what was superseded where it comes from stays
    so. A version serves only on the base that it was baked on.
    """
    with where.records(must_exist=False) as memory:
        known = {v.name for v in memory.versions()}
        version, live, model = memory.unpack(file), memory.live, memory.config.model
        old = [m for m in memory.memories("superseded") if m.id in version.memory_ids]
    new = version.name not in known
    if where.as_json:
        print_json({**version_values(version, live), "new": new})
        return
    held = count(len(version.memory_ids), "memory")
    click.echo(f"{version.name} with {held} taken in." if new else f"It is here already: {version.name}.")
    print_superseded(old if new else ())
    base = str(version.settings.get("model", version.adapter.base_fingerprint))
    if base != model:
        click.echo(f"It was baked on {one_line(base)} and serves on that base only; here the model is {model}.")
    if version.status == "rejected":
        click.echo("The gate refused it: it never serves.")
    elif new:
        click.echo(f"`bakemem rollback {version.name}` lets it serve.")


@click.command(cls=Command)
@place
def copies(where: Place) -> None:
    """List what was copied out of the home: when, what, and where to.

    An erasure cannot reach such a copy: whoever has it must delete it.
    """
    from bakemem.memory import Ledger

    with where.journal() as journal:
        found = Ledger(journal).copies()
    if where.as_json:
        print_json(found)
    elif found:
        for copy in found:
            click.echo(f"{when(copy.at)}  {copy.what:8}  {one_line(copy.place)}")
    else:
        click.echo("Nothing was copied out.", err=True)


@click.command(cls=Command)
@place
def reindex(where: Place) -> None:
    """Build the meaning index anew from the journal.

    Nobody needs to: where it is missing, damaged, or of another embedder, it is rebuilt by itself.
    """
    with where.records() as memory, waiting("Building the index …"):
        n = memory.reindex()
    if where.as_json:
        print_json({"memories": n})
    else:
        click.echo(f"{count(n, 'memory')} in the index.")
