"""The command chat: one question, or a conversation that is kept and learns as it goes.

Parses and prints; knows no model and no storage.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from bakemem.cli.converse import converse
from bakemem.cli.frame import Command, Finite, Place, place_and_model, read_text
from bakemem.cli.text import clean, print_json

if TYPE_CHECKING:
    from bakemem.chat_options import ChatOptions


@click.command(cls=Command)
@click.argument("text", required=False)
@click.option("--conversation", default="default", show_default=True, metavar="NAME",
              help="Which conversation goes on, without TEXT.")  # fmt: skip
@click.option("--system", metavar="TEXT", help="A system prompt of your own; memories need none.")
@click.option("--version-name", metavar="VERSION", help="Who answers: v1, an id, base.  [default: the live version]")
@click.option("--strength", type=Finite(0.0, 4.0), default=1.0, show_default=True,
              help="How much of the baked memory: 0 none, 1 all.")  # fmt: skip
@click.option("--temperature", type=Finite(0.0, 10.0), help="0 takes the likeliest token.  [default: as configured]")
@click.option("--max-new-tokens", type=click.IntRange(1), metavar="N", help="Longest reply.  [default: as configured]")
@place_and_model
def chat(
    where: Place, text: str | None, conversation: str, system: str | None, version_name: str | None, strength: float,
    temperature: float | None, max_new_tokens: int | None,
) -> None:  # fmt: skip
    """Talk with the model and its memory.

    With TEXT (`-` reads standard input): one reply, and nothing is remembered of it. Without: a conversation, line by
    line, which goes on where it stopped the last time. What you tell the model is learned, what both say is logged in
    the home until `forget` erases it, and /help lists what else you can do. In a pipe there are no prompts, replies go
    to standard output and notes to standard error; --json prints one JSON object for each line.

    The live version answers, with the pending memories in its prompt. A version named with --version-name answers
    alone: compare `--version-name base` with `--version-name v1`.
    """
    options: ChatOptions = {"system": system, "version": version_name, "strength": strength,
                            "temperature": temperature, "max_new_tokens": max_new_tokens, "seed": where.seed,
                            "window": True}  # fmt: skip
    if text is None:
        with where.memory(warm=True) as memory:
            from bakemem.assistant import Assistant

            converse(Assistant(memory, conversation, **options), as_json=where.as_json)
        return
    if text == "-":
        text = read_text("-")
    with where.memory(warm=True) as memory:
        who = version_name or memory.live or "base"
        pieces = memory.stream(text, **options)
        if where.as_json:
            print_json({"reply": "".join(pieces), "version": who})
            return
        for piece in pieces:
            click.echo(clean(piece), nl=False)
        click.echo()
