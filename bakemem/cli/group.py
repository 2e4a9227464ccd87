"""The group of all commands: their order, and what programs read where one is used wrongly or fails unexpectedly.

Knows no command, and no error of ours: those, each command explains.
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import click

from bakemem.cli.text import one_line, print_error

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class InOrder(click.Group):
    """A group that lists its commands in the order of a first day with them; with --json, every error is an object."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, as they were added."""
        return list(self.commands)

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Reads the options before the command."""
        as_json = "--json" in args
        with _told(as_json):
            context = super().make_context(info_name, args, parent, **extra)
        context.obj = as_json
        return context

    def invoke(self, ctx: click.Context) -> Any:
        """Reads the options of the command, and runs it."""
        with _told(ctx.obj):
            return super().invoke(ctx)


@contextmanager
def _told(as_json: bool) -> Iterator[None]:
    """Prints as an object what goes on to click, which explains wrong usage, or to Python, which prints a traceback."""
    try:
        yield
    except click.exceptions.Exit:
        raise
    except click.UsageError as error:
        if as_json:
            print_error("UsageError", one_line(error.format_message()))
        raise
    except Exception as error:
        if getattr(error, "errno", None) == errno.EPIPE:  # nobody reads any more, and click ends quietly
            raise
        full = getattr(error, "errno", None) in _FULL
        advice = ("Free space, or write elsewhere." if full
                  else "This should not happen: please report it, with the traceback on standard error.")  # fmt: skip
        message = f"{one_line(str(error))}. {advice}"
        if as_json:
            with suppress(OSError):  # standard output may be what is full
                print_error(type(error).__name__, message)
        if full:
            click.echo(f"bakemem: {message}", err=True)
            sys.stdout = None  # or Python tries once more, when it ends, to write what is left
            raise click.exceptions.Exit(1) from error
        raise
