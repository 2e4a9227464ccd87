"""Questions in a text: plain lines, or JSON Lines of questions and conversations.

Knows only text; whatever it cannot read for certain is an error.
"""

from __future__ import annotations

import json
from typing import Any

from bakemem.errors import InputError
from bakemem.types import Turn

_ROLES = ("system", "user", "assistant")


def parse_questions(text: str, name: str) -> list[tuple[Turn, ...]]:
    """One conversation a line, which ends in a user's turn; `name` says in errors what was read. Raises InputError."""
    as_json = text.lstrip()[:1] == "{"
    found = [
        _conversation(line, f"{name}, line {number}") if as_json else (Turn("user", line.strip()),)
        for number, line in enumerate(text.split("\n"), start=1)
        if line.strip()
    ]
    if not found:
        raise InputError(f"{name} is empty: give one question a line.")
    return found


def _conversation(line: str, where: str) -> tuple[Turn, ...]:
    try:
        item: Any = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: this is not JSON ({error}).") from error
    if isinstance(item, dict) and isinstance(item.get("question"), str) and item["question"].strip():
        return (Turn("user", item["question"]),)
    messages = item.get("messages") if isinstance(item, dict) else None
    if not (isinstance(messages, list) and messages and all(map(_is_message, messages))):
        raise InputError(
            f'{where}: give {{"question": "…"}}, or {{"messages": [{{"role": "user", "content": "…"}}]}}; roles are '
            f"{', '.join(_ROLES)}."
        )
    if messages[-1]["role"] != "user":
        raise InputError(f"{where}: the last message must be the user's.")
    return tuple(Turn(message["role"], message["content"]) for message in messages)


def _is_message(message: object) -> bool:
    return isinstance(message, dict) and message.get("role") in _ROLES and isinstance(message.get("content"), str)
