"""The commands for a first look: starter (the embedded model) and demo.

Knows the files of the starter by name; loads no model.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from bakemem.cli.frame import REFUSED, Command, Place, place
from bakemem.cli.text import print_json

ABOUT = "A tiny Mistral, trained from scratch on a made-up world. For trying, demonstrating and testing: no assistant."
CAN = (
    "recall facts about the user, and about people, places and projects by name, that you tell it",
    "say that it does not know what nobody told it",
    "follow an instruction or two of sixteen kinds: case, prefix, suffix, mood, brackets, one word …",
    "answer 150 everyday questions and greetings",
    "call tools and tell what they gave back, fill in fields or JSON from a text: mostly to the letter",
    "apply a made-up rule from examples, find memories in a message, ask questions about a memory",
)
CANNOT = (
    "talk about anything else: it then says “I do not understand that.”",
    "reason, calculate, translate, write, or speak another language than plain English",
    "follow what a prompt said through a conversation of more than about eight turns (baked memory it keeps)",
)
SAY = (
    "My dog is called Bosuk.", "What is my dog called?", "Tarn lives in Plinth.", "Who lives in Plinth?",
    "Always answer in upper case.", "End every answer with Amen.", "What is the capital of France?",
)  # fmt: skip
MAX_HEADER = 16 << 20


@click.command(cls=Command)
@place
def starter(where: Place) -> None:
    """Say what the embedded model is and can say.

    It is the model unless --model, BAKEMEM_MODEL or the config.toml of a home names another. The same for every home.
    """
    from bakemem.starter import STARTER

    values = _describe(STARTER)
    if where.as_json:
        print_json(values)
        return
    click.echo(f"{click.style('starter', bold=True)}  {ABOUT}")
    click.echo(f"\nweights     {values['path']}")
    if values["bytes"] is None:
        click.echo("            are missing: `python -m bakemem.starter.train` makes them")
    else:
        click.echo(f"size        {values['bytes'] / 1e6:.1f} MB, {values['parameters'] / 1e6:.1f} M parameters")
        click.echo(f"context     {values['context']:,} tokens")
    for title, lines in (("It can", CAN), ("It cannot", CANNOT), ("Try", SAY)):
        click.echo(f"\n{title}")
        for line in lines:
            click.echo(f"  {line}")
    if values["skills"]:
        click.echo("\nMeasured on unseen names and wordings")
        for row in values["skills"]:
            click.echo("  " + "  ".join(row.values()))


def _describe(folder: Path) -> dict[str, Any]:
    weights, config = folder / "model.safetensors", folder / "config.json"
    there = weights.is_file() and config.is_file()
    values = json.loads(config.read_text(encoding="utf-8")) if there else {}
    report = folder.parent / "REPORT.md"
    return {
        "name": "starter", "about": ABOUT, "path": folder, "license": "Apache-2.0",
        "bytes": weights.stat().st_size if there else None, "parameters": _parameters(weights) if there else None,
        "context": values.get("max_position_embeddings"), "can": CAN, "cannot": CANNOT, "examples": SAY,
        "skills": _table(report.read_text(encoding="utf-8")) if report.is_file() else [],
    }  # fmt: skip


def _parameters(weights: Path) -> int:
    """How many numbers a safetensors file holds, from the JSON at its beginning."""
    with weights.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(min(size, MAX_HEADER)))
    total = 0
    for name, tensor in header.items():
        n = 1
        for length in tensor["shape"] if name != "__metadata__" else (0,):
            n *= length
        total += n
    return total


def _table(markdown: str) -> list[dict[str, str]]:
    """The rows of the first table of a Markdown text, by their column titles."""
    rows: list[list[str]] = []
    for line in markdown.splitlines():
        if line.lstrip().startswith("|"):
            rows.append([cell.strip() for cell in line.strip().strip("|").split("|")])
        elif rows:
            break
    if not rows:
        return []
    return [dict(zip(rows[0], row, strict=False)) for row in rows[1:] if set("".join(row)) - set("-: ")]


@click.command(cls=Command)
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, metavar="N",
              help="Of names, facts and training: another seed is another user.")  # fmt: skip
@click.option("--out", type=click.Path(dir_okay=False), default="forgetting.png", show_default=True,
              help="Where the forgetting curve goes.")  # fmt: skip
@click.option("--home", metavar="PATH", help="Keep the demo's memory in this new folder.  [default: keep nothing]")
@click.option("--json", "as_json", is_flag=True, help="Answer with one JSON value.")
@click.pass_context
def demo(ctx: click.Context, seed: int, out: str, home: str | None, as_json: bool) -> None:
    """Talk, bake, ask again, roll back: all in minutes.

    A made-up user tells six facts and two instructions in new names. They are baked into the starter model, and the
    same questions are asked of the model before, with a prompt, and baked, deeper and deeper into long
    conversations: that is the forgetting curve. The same seed is the same run. Exit code 3: the gate refused the bake.
    """
    from bakemem.demo import run

    if not run(seed, as_json, Path(out), Path(home) if home else None):
        ctx.exit(REFUSED)
