"""The command line: one verb for each thing that a person does with a memory.

Parses, calls, prints. Knows no storage and no model; what needs heavy libraries imports them when it runs.
"""

from __future__ import annotations

import contextlib
import os
import sys

import click

from bakemem import __version__
from bakemem.cli.carry import copies, export, load, pack, reindex, unpack
from bakemem.cli.compare import diff
from bakemem.cli.curate import approve, drop, edit, forget, past, quarantine, reject, why
from bakemem.cli.erasing import erase, receipts
from bakemem.cli.gather import memories, observe, recall, release, remember
from bakemem.cli.group import InOrder
from bakemem.cli.history import log, rollback, show
from bakemem.cli.inquire import bisect, blame, verify
from bakemem.cli.oven import bake
from bakemem.cli.pointers import reflog, tag
from bakemem.cli.schedule import schedule
from bakemem.cli.scoring import evaluate
from bakemem.cli.talk import chat
from bakemem.cli.trying import demo, starter
from bakemem.cli.upkeep import check, gc

__all__ = ["main"]


@click.group(
    cls=InOrder,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="bakemem")
@click.pass_context
def main(ctx: click.Context) -> None:
    """Memory for language-model agents that lives in the weights, not in the prompt.

    What you `remember`, or what `observe` finds in a conversation, waits in the prompt until `bake` moves it into
    the weights; `chat` answers from there. Every bake is a version: `log` lists them, `rollback` undoes them.

    \b
    A first try:
      bakemem remember "The user's dog is called Bosuk."
      bakemem bake
      bakemem chat "What is my dog called?"
      bakemem log
      bakemem rollback base

    A memory lives in a folder, its home: ./memory, or what --home or BAKEMEM_HOME names. Its settings are in
    config.toml there, or in BAKEMEM_* variables.

    Exit codes: 0 done, 1 an error that is explained in one line, 2 wrong usage, 3 a bake that the gate refused
    or a version below what `verify` asks, 130 stopped with Ctrl-C, 143 with SIGTERM. With --json, standard output
    holds one JSON value, errors included; those of export and of a conversation come one a line.
    """  # noqa: D301 (\b is for click)
    _print_anything()
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        ctx.color = False
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def _print_anything() -> None:
    """No text in a memory may break a terminal that lacks its characters; odd bytes of input become errors of ours.

    A stream that is closed, for which Python has None, becomes the null device.
    """
    for name, mode, errors in (("stdout", "w", "backslashreplace"), ("stderr", "w", "backslashreplace"),
                               ("stdin", "r", "surrogateescape")):  # fmt: skip
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 (until the end)
        reconfigure = getattr(getattr(sys, name), "reconfigure", None)
        if reconfigure is not None:
            with contextlib.suppress(OSError, ValueError):  # in use already
                reconfigure(errors=errors)


for _command in (
    chat, remember, observe, memories, bake, schedule, log, show, diff, verify, rollback, reflog, tag, release, recall,
    why, bisect, blame, past, edit, forget, erase, receipts, quarantine, approve, reject, drop, export, load, pack,
    unpack, copies, reindex, gc, check, evaluate, starter, demo,
):  # fmt: skip
    main.add_command(_command)
