"""Writes the generated pages of docs/: `python docs/generate.py`, or `--check` to see whether they have drifted.

A page is a function without arguments that returns Markdown; PAGES names the file of each.
"""

from __future__ import annotations

import argparse
import sys
import typing
from collections.abc import Callable, Iterator
from pathlib import Path

import click
from pydantic.fields import FieldInfo

from bakemem import Config
from bakemem.cli import main as cli

DOCS = Path(__file__).parent
NOTE = "<!-- Written by docs/generate.py: change the code, then run `make docs`. -->\n"
WIDTH = 100


def cli_page() -> str:
    """The help of every command."""
    parts = [NOTE, "# The command line\n", _help(cli, "bakemem", None)]
    context = click.Context(cli, info_name="bakemem")
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        assert command is not None
        parts += [f"## bakemem {name}\n", _help(command, name, context)]
    return "\n".join(parts)


def _help(command: click.Command, name: str, parent: click.Context | None) -> str:
    context = click.Context(command, info_name=name, parent=parent, terminal_width=WIDTH, max_content_width=WIDTH,
                            help_option_names=["-h", "--help"])  # fmt: skip
    lines = [line.rstrip() for line in command.get_help(context).splitlines()]
    return "\n".join(["```text", *lines, "```\n"])


def config_page() -> str:
    """Every setting, with its type, default and meaning."""
    rows = [_row(name, field) for name, field in Config.model_fields.items()]
    return "\n".join([
        NOTE,
        "# Settings\n",
        "From the weakest to the strongest: the default, `config.toml` in the memory home, a variable of the",
        "environment (`BAKEMEM_` and the name in upper case, such as `BAKEMEM_MODEL`), an argument of `bakemem.open`",
        "or an option of a command. An unknown setting is an error, and so",
        "is a variable that looks like a misspelt one.\n",
        "| setting | type | default | what it is |",
        "|---|---|---|---|",
        *rows,
        "",
    ])  # fmt: skip


def _row(name: str, field: FieldInfo) -> str:
    default = field.get_default(call_default_factory=True, validated_data={})
    shown = "unset" if default is None else f"`{str(default).lower() if isinstance(default, bool) else default}`"
    cells = [f"`{name}`", _type(field), shown, field.description or ""]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _type(field: FieldInfo) -> str:
    """The type as a person says it, with its bounds."""
    options = [a for a in typing.get_args(field.annotation) or (field.annotation,) if a is not type(None)]
    if typing.get_origin(field.annotation) is typing.Literal:
        return ", ".join(f"`{option}`" for option in options)
    if typing.get_origin(field.annotation) is dict:
        return "table"
    words = {bool: "true or false", int: "integer", float: "number", str: "text"}
    return " ".join([words.get(options[0], str(options[0])), *_bounds(field)])


def _bounds(field: FieldInfo) -> Iterator[str]:
    for sign, attribute in (("≥", "ge"), (">", "gt"), ("≤", "le"), ("<", "lt")):
        for rule in field.metadata:
            if (bound := getattr(rule, attribute, None)) is not None:
                yield f"{sign} {int(bound) if bound == int(bound) else bound}"


PAGES: dict[str, Callable[[], str]] = {"cli.md": cli_page, "config.md": config_page}


def drifted() -> list[str]:
    """The names of the pages that are not what would be written now."""
    return [name for name, page in PAGES.items() if not _same(DOCS / name, page())]


def _same(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8") == text


def main() -> None:
    """The command line of this script."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 when a page has drifted")
    if parser.parse_args().check:
        stale = drifted()
        sys.exit(f"Drifted: {', '.join(stale)}. Run `make docs`." if stale else 0)
    for name, page in PAGES.items():
        (DOCS / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
