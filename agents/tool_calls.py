"""Tool calls found in what a model wrote: in the ways of Hermes and Qwen, of Llama 3, and of Mistral.

Knows texts and the names of tools; knows no messages and no models. Sources: the chat templates of the families.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

_TAG, _END = "<tool_call>", "</tool_call>"  # Hermes, Qwen
_MARKS = (_TAG, "[TOOL_CALLS]", "<|python_tag|>")  # Mistral, Llama 3
_MARK, _STOP = (re.compile("|".join(map(re.escape, marks))) for marks in (_MARKS, (_END, *_MARKS)))
_NAMED = re.compile(r"([\w.-]+)\s*(?:\[CALL_ID]\w*)?(?:\[ARGS])?\s*(?=\{)")  # Mistral since its eleventh tokenizer
_SPACE = " \n\r\t"
_GAP = f"{_SPACE};,"  # Llama 3 puts a `;` between calls
_JSON = json.JSONDecoder(strict=False)  # small models write line breaks into strings

Call = tuple[str, dict[str, Any]]
"""A tool's name and the arguments."""


@dataclass(frozen=True, slots=True)
class Found:
    """What was written: plain text, calls as names and arguments, and calls that cannot be read."""

    text: str
    calls: list[Call] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)


def find_calls(written: str, names: Collection[str]) -> Found:
    """The calls in a whole answer. Where they bear no mark, only those of tools with these names count."""
    found, at = _read(written, 0, names)
    if any(name not in names for name, _ in found) or written[at:].lstrip(_GAP)[:1] in ("{", "["):
        found, at = [], 0  # an answer in JSON that is no call, or not all of it
    text, broken = "", list[str]()
    while mark := _MARK.search(written, at):
        text += written[at : mark.start()]
        calls, at = _read(written, mark.end(), names)
        if not calls or mark[0] == _TAG:  # what cannot be read, and what stands before the tag's end, is no text
            stop = _STOP.search(written, at)
            end = stop.start() if stop else len(written)
            broken += [] if calls else [written[mark.end() : end].strip()]
            at = stop.end() if stop and stop[0] == _END else end
        found += calls
    return Found((text + written[at:]).strip(), found, broken) if found or broken else Found(written)


def _read(text: str, at: int, names: Collection[str]) -> tuple[list[Call], int]:
    """The calls that stand here, one after the other, and where they end."""
    calls, gap = list[Call](), _SPACE
    while True:
        made, end = _one(text, len(text) - len(text[at:].lstrip(gap)), names)
        if not made:
            return calls, at
        calls, at, gap = [*calls, *made], end, _GAP


def _one(text: str, at: int, names: Collection[str]) -> tuple[list[Call], int]:
    """The call, or the list of calls, that begins right here, and where it ends."""
    named = _NAMED.match(text, at)
    known = named if named and named[1] in names else None
    try:
        value, end = _JSON.raw_decode(text, known.end() if known else at)
    except (ValueError, RecursionError):
        return [], at
    whole = {"name": known[1], "arguments": value} if known else value
    values = whole if isinstance(whole, list) else [whole]
    calls = [call for one in values if (call := _call(one))]
    return calls if len(calls) == len(values) else [], end


def _call(value: Any) -> Call | None:
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        return None
    arguments = value.get("arguments", value.get("parameters", {}))
    return (value["name"], arguments) if isinstance(arguments, dict) else None


class Listener:
    """Hears an answer piece by piece and lets through at once what cannot belong to a call.

    `begun` is how the answer was made to begin, which is not heard again; no more than the first `most` calls count.
    """

    def __init__(self, names: Collection[str], begun: str = "", most: int | None = None) -> None:
        self._most = most
        self._names, self._begun, self._written, self._shown = names, begun, begun, 0

    def hear(self, piece: str) -> str:
        """What may be shown of the answer now."""
        self._written += piece
        return self._show(self._plain_until()) if self._names else self._show(len(self._written))

    def end(self) -> Found:
        """What was not shown yet, as text and as calls."""
        if not self._names:
            return Found(self._show(len(self._written)))
        found = find_calls(self._written, self._names)
        if found.calls or found.broken:
            said = self._written[: self._shown].strip()
            return Found(found.text[len(said) :], found.calls[: self._most], found.broken)
        return Found("", broken=[self._written]) if self._begun else Found(self._show(len(self._written)))

    def _show(self, until: int) -> str:
        shown = self._written[self._shown : until]
        self._shown = max(self._shown, until)
        return shown

    def _plain_until(self) -> int:
        """Up to where no call can have begun: not at white space before a tag, nor at what may become one."""
        written = self._written
        head = written.lstrip()
        if not head or head[0] in "{[" or any(name.startswith(head) or head.startswith(name) for name in self._names):
            return 0  # the whole answer may be a call without a tag
        until = min((at for mark in _MARKS if (at := written.find(mark)) >= 0), default=len(written))
        for mark in _MARKS:
            for n in range(min(len(mark), until), 0, -1):
                if until == len(written) and written.endswith(mark[:n]):
                    until -= n
        return len(written[:until].rstrip())
