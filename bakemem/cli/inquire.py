"""The commands that ask versions: verify, bisect, blame. They load the model.

Parses, calls, prints.
"""

from __future__ import annotations

import click

from bakemem.cli.frame import REFUSED, Command, Place, place_and_model
from bakemem.cli.text import one_line, print_json, shorten

MOST_LISTED = 10


@click.command(cls=Command)
@click.argument("version", default="live")
@place_and_model
@click.pass_context
def verify(ctx: click.Context, where: Place, version: str) -> None:
    """Ask a version's held-out questions again.

    Tells how many answers are the same as after its bake, and as the prompted model's then. Greedy decoding gives the
    same answers each time; another machine or number format may turn a few. The exit code is 3 below min_agreement.
    VERSION is a name, a tag, the beginning of an id, live, or candidate.
    """
    with where.memory(must_exist=True, warm=True) as memory:
        found, least = memory.verify(version), memory.config.min_agreement
    if where.as_json:
        print_json(found)
    else:
        click.echo(f"{found.version}: {found.asked} questions, {found.as_baked:.1%} answered as after the bake, "
                   f"{found.as_taught:.1%} as the prompted model did")  # fmt: skip
        for probe, now in found.changed[:MOST_LISTED]:
            click.echo(f"  {shorten(probe.turns[-1].content, 4)}")
            click.echo(f"    was  {shorten(probe.given, 11)}\n    now  {shorten(now, 11)}")
        if len(found.changed) > MOST_LISTED:
            click.echo(f"  {len(found.changed) - MOST_LISTED} more: see --json")
    if found.as_baked < least:
        ctx.exit(REFUSED)


@click.command(cls=Command)
@click.argument("question")
@click.option("--bad", metavar="TEXT", help="A wrong answer holds this, in any case.")
@click.option("--expected", metavar="TEXT", help="A right answer holds this, in any case.")
@click.option("--newest", default="live", show_default=True, metavar="VERSION", help="A version that answers wrongly.")
@place_and_model
def bisect(where: Place, question: str, bad: str | None, expected: str | None, newest: str) -> None:
    """Find the version that first gave a wrong answer.

    Goes back from --newest to the versions that it was baked on, and to the base, by binary search.
    """
    with where.memory(must_exist=True, warm=True) as memory:
        found = memory.bisect(question, bad=bad, expected=expected, newest=newest)
    if where.as_json:
        print_json(found)
        return
    for name, answer in found.answers.items():
        mark = "first wrong" if name == found.first_wrong else "last right" if name == found.last_right else ""
        click.echo(f"  {name:5} {mark:11}  {shorten(answer, 22)}")
    if found.last_right is None:
        click.echo(f"{found.first_wrong} answers wrongly already, and nothing is known before it.")
    else:
        click.echo(f"{found.first_wrong} is the first that answers wrongly: bakemem diff {found.last_right} "
                   f"{found.first_wrong}")  # fmt: skip


@click.command(cls=Command)
@click.argument("question")
@click.option("--answer", metavar="TEXT", help="The answer to explain; else what the live version says.")
@place_and_model
def blame(where: Place, question: str, answer: str | None) -> None:
    """Find the memory, and the turn, that an answer rests on.

    Leaves each memory out of the prompt in turn: the more nats the answer loses, the more it rests on that one. This
    asks the base with the prompt, which is the teacher of the bake.
    """
    with where.memory(must_exist=True, warm=True) as memory:
        said = answer if answer is not None else memory.chat(question, temperature=0.0)
        found = memory.blame(question, answer=said)
    if where.as_json:
        print_json({"question": question, "answer": said, "blame": found})
        return
    click.echo(f"{one_line(said)}")
    for item in found[:MOST_LISTED]:
        click.echo(f"  {item.nats:+8.2f} nats  {item.memory.id[:8]}  {shorten(item.memory.text, 27)}")
        turn = item.memory.provenance.turn
        if item is found[0] and turn and turn != item.memory.text:
            click.echo(f"                 said  {shorten(turn, 23)}")
