"""Turns written otherwise, for chat templates that do not take them as they are.

Knows turns and calls; knows no templates.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import takewhile

from bakemem.types import Turn

_SHORT_ID = re.compile("[A-Za-z0-9]{9}")


def with_short_ids(turn: Turn) -> Turn:
    """Each id that is not nine letters and digits replaced by some that always stand for it."""
    calls = tuple(replace(call, id=_short(call.id)) for call in turn.tool_calls)
    return replace(turn, tool_calls=calls, tool_call_id=_short(turn.tool_call_id))


def _short(id: str) -> str:
    return id if _SHORT_ID.fullmatch(id) else hashlib.sha256(id.encode(errors="surrogatepass")).hexdigest()[:9]


def one_call_each(turns: Sequence[Turn]) -> list[Turn]:
    """Each call in a turn of its own, with its result behind it."""
    made, rest = list[Turn](), list(turns)
    while rest:
        turn = rest.pop(0)
        if len(turn.tool_calls) < 2:
            made.append(turn)
            continue
        results = list(takewhile(lambda later: later.role == "tool", rest))
        del rest[: len(results)]
        for i, call in enumerate(turn.tool_calls):
            made.append(replace(turn, content="" if i else turn.content, tool_calls=(call,)))
            if own := next((result for result in results if result.tool_call_id == call.id), None):
                made.append(own)
                results.remove(own)
        made += results
    return made


def without_system(turns: Sequence[Turn]) -> list[Turn]:
    """The system turns' text set before the first user turn's, for templates that know no system role."""
    system = "\n\n".join(turn.content for turn in turns if turn.role == "system")
    others = [turn for turn in turns if turn.role != "system"]
    if not system:
        return others
    first = next((i for i, turn in enumerate(others) if turn.role == "user"), None)
    if first is None:
        return [Turn("user", system), *others]
    others[first] = replace(others[first], content=f"{system}\n\n{others[first].content}")
    return others


def merged_users(turns: Sequence[Turn]) -> list[Turn]:
    """Neighbouring user turns as one, for templates in which users and assistants take turns strictly."""
    merged = list[Turn]()
    for turn in turns:
        if merged and turn.role == merged[-1].role == "user":
            turn = replace(turn, content=f"{merged.pop().content}\n\n{turn.content}")
        merged.append(turn)
    return merged


def answered(turns: Sequence[Turn]) -> list[Turn]:
    """An empty answer between a call or its result and what a user says next, for templates in which they alternate.

    A run that failed there has left none.
    """
    made = list[Turn]()
    for turn in turns:
        if turn.role == "user" and made and (made[-1].role == "tool" or made[-1].tool_calls):
            made.append(Turn("assistant", ""))
        made.append(turn)
    return made
