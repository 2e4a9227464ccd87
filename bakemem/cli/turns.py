"""A conversation in a text: JSON Lines, or plain lines such as `user: …`.

Knows only text; whatever it cannot read for certain is an error, because it matters who said what.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import get_args

from bakemem.errors import InputError
from bakemem.types import Role, Turn

ROLES: tuple[Role, ...] = get_args(Role)
_SPEAKER = re.compile(r"([^\s:]+):(?:\s|$)")


def parse_turns(text: str, name: str) -> list[Turn]:
    """The turns of a conversation; `name` says in errors what was read. Raises InputError with the line's number."""
    first = text.lstrip()[:1]
    if not first:
        raise InputError(f"{name} is empty: give a conversation, one turn a line.")
    if first == "[":
        raise InputError(f"{name}, line 1: this is a JSON list; give JSON Lines instead, one object a line.")
    return list(_json_lines(text, name) if first == "{" else _plain_lines(text, name))


def _json_lines(text: str, name: str) -> Iterator[Turn]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{name}, line {number}"
        try:
            item = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{where}: this is not JSON ({error}).") from error
        if not isinstance(item, dict) or not all(isinstance(item.get(k), str) for k in ("role", "content")):
            raise InputError(f'{where}: a turn is an object such as {{"role": "user", "content": "Hello."}}.')
        if not isinstance(item.get("source", ""), str):
            raise InputError(f"{where}: the source of a turn is a text, such as tool:calendar.")
        yield Turn(_role(item["role"], where), item["content"], item.get("source", ""))


def _plain_lines(text: str, name: str) -> Iterator[Turn]:
    """Lines without a role go on with the turn before them, and so do indented ones, whatever they begin with.

    Only a line feed ends a line: pages and documents hold other separators, behind which nobody else speaks.
    """
    role: Role | None = None
    said: list[str] = []
    for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), start=1):
        speaker = _SPEAKER.match(line)
        if speaker:
            if role:
                yield Turn(role, "\n".join(said).strip())
            role = _role(speaker[1].lower(), f"{name}, line {number}", " Indent the line if it goes on with a turn.")
            said = [line[speaker.end() :]]
        elif role:
            said.append(line)
        elif line.strip():
            raise InputError(f"{name}, line {number}: nobody says this; begin a turn with `user: ` or `assistant: `.")
    if role:
        yield Turn(role, "\n".join(said).strip())


def _role(word: str, where: str, hint: str = "") -> Role:
    for role in ROLES:
        if word == role:
            return role
    raise InputError(f"{where}: {word[:40]!r} is no role; they are {', '.join(ROLES)}.{hint}")
