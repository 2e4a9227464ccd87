"""Values as text for a person, or as JSON for a program.

Knows what values look like; knows no command and no storage.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import click

from bakemem.types import Memory, Report, Version

# Control characters, bidirectional overrides and half surrogates: text from elsewhere must not drive the terminal.
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")

SCORES = {
    "agreement": "of held-out answers are the prompted model's",
    "recall": "the same, asked about the memories",
    "abstention": "the same, asked what nobody told",
    "drift": "of everyday answers changed",
    "mention": "of everyday answers bring up a memory unasked",
}


def clean(text: str) -> str:
    """The text without what could drive a terminal; line breaks and tabs stay."""
    return _UNSAFE.sub("\N{REPLACEMENT CHARACTER}", text)


def one_line(text: str) -> str:
    """The text in one line."""
    return clean(" ".join(text.split()))


def shorten(text: str, indent: int = 0) -> str:
    """One line that fits the terminal after `indent` columns; whole where the output is no terminal."""
    line = one_line(text)
    if not sys.stdout.isatty():
        return line
    width = max(20, shutil.get_terminal_size().columns - indent)
    return line if len(line) <= width else line[: width - 1] + "…"


def when(time: datetime) -> str:
    """A time in the zone of the reader."""
    from bakemem.memory import local

    return f"{local(time):%Y-%m-%d %H:%M}"


def count(n: int, noun: str) -> str:
    """`1 memory`, `2 memories`, `3 steps`."""
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{n} {noun if n == 1 else plural}"


def print_json(value: object, *, indent: int | None = 2) -> None:
    """One JSON value on standard output, without `indent` in one line; numbers that JSON lacks become null."""
    values = plain(value)
    text = json.dumps(values, indent=indent, ensure_ascii=False)
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(values, indent=indent)
    click.echo(text)


def print_error(kind: str, message: str) -> None:
    """An error as a program reads it: in one line, as it may end JSON Lines."""
    print_json({"error": {"type": kind, "message": message}}, indent=None)


def plain(value: object) -> Any:
    """The value as JSON holds it."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(v) for v in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, datetime):
        return value.isoformat()
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def version_values(version: Version, live: str | None) -> dict[str, Any]:
    """A version as the JSON of every command shows it."""
    return {
        "name": version.name, "id": version.id, "namespace": version.namespace, "parent": version.parent,
        "status": version.status, "live": version.name == live, "created": version.created,
        "memory_ids": version.memory_ids, "prompt_sha256": version.prompt_sha256, "report": version.report,
        "settings": version.settings, "adapter": version.adapter,
    }  # fmt: skip


def print_memories(memories: Sequence[Memory]) -> None:
    """A table on a terminal; else one memory a line: id, status, kind, key and text, with tabs between."""
    if not sys.stdout.isatty():
        for m in memories:
            click.echo("\t".join((m.id, m.status, m.kind, m.key, one_line(m.text))))
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("id", "status", "kind", "key", "text", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.columns[0].no_wrap = True
    table.columns[3].overflow = "fold"
    table.columns[4].ratio, table.columns[4].overflow, table.columns[4].min_width = 1, "fold", 20
    for m in memories:
        table.add_row(m.id[:8], m.status, m.kind, Text(m.key), Text(one_line(m.text)))
    Console(highlight=False).print(table)


def print_superseded(memories: Sequence[Memory]) -> None:
    """What a version knows that a newer memory took the place of."""
    for m in memories:
        click.echo(f"  superseded {m.id[:8]}  {shorten(m.text, 22)}")


def noted(memory: Memory) -> str:
    """One memory in one line, as it is kept."""
    return f"{memory.kind} {memory.key}: {shorten(memory.text, len(memory.kind) + len(memory.key) + 12)}"


def report_lines(report: Report, memories: Sequence[Memory]) -> list[str]:
    """The figures of a bake, the reasons of a refusal, and the memories that the prompted model cannot recall."""
    lines = []
    for name, what in SCORES.items():
        value = getattr(report, name)
        lines.append(f"  {name:10}  {'–' if value is None else f'{value:.1%}':>7}  {what}")
    lines.append(f"  {'KL':10}  {report.kl_before:.3f} → {report.kl_after:.3f} nats an answer token")
    if report.disfluency is not None:
        lines.append(f"  {'disfluency':10}  {report.disfluency:.3f} nats a token less likely than the prompted model's")
    if report.pursued:
        lines.append(f"  {'pursued':10}  {count(report.pursued, 'round')} of Prompt Pursuit")
    tried = f" (the gate refused; tried {', then '.join(report.efforts)})" if report.efforts else ""
    lines.append(f"  {'effort':10}  {count(report.steps, 'step')}, {report.seconds:.1f} s{tried}")
    lines += [click.style(f"  refused: {one_line(reason)}", fg="red") for reason in report.reasons]
    texts = {m.id: m.text for m in memories}
    asked = {i: [r for r in report.recalls if r.memory_id == i] for i in report.failed}
    for memory_id, kinds in asked.items():
        what = "left in the prompt" if report.accepted else "lost"
        told = ", ".join(f"{r.kind} {r.right} of {r.asked}" for r in kinds)
        text = shorten(texts.get(memory_id, ""), 60)
        lines.append(click.style(f"  {what}: {memory_id[:8]} {text}{f' ({told})' if told else ''}", fg="yellow"))
    for memory_id in report.unteachable:
        text = shorten(texts.get(memory_id, ""), 40)
        lines.append(click.style(f"  the model does not take in {memory_id[:8]}: {text}", fg="yellow"))
    return lines
