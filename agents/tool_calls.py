"""Tool calls found in what a model wrote: in the ways of Hermes and Qwen, of Llama 3, and of Mistral.

Knows texts and the names of tools; knows no messages and no models. Sources: the chat templates of the families.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

_TAG = "<tool_call>"  # Hermes, Qwen
_TAGGED = re.compile(r"<tool_call>\s*(.*?)\s*(?:</tool_call>|$)", re.DOTALL)
_MARKS = ("[TOOL_CALLS]", "<|python_tag|>")  # Mistral, Llama 3: special tokens, which decoding leaves out
_NAMED = re.compile(r"\s*([\w.-]+)\s*(?:\[ARGS\])?\s*(?=\{)")  # Mistral since its eleventh tokenizer


@dataclass(frozen=True, slots=True)
class Found:
    """What was written: plain text, calls as names and arguments, and calls that cannot be read."""

    text: str
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)


def find_calls(written: str, names: Collection[str]) -> Found:
    """The calls in a whole answer. Where they bear no mark, only those of tools with these names count."""
    if _TAG in written:
        calls, broken = [], []
        for body in _TAGGED.findall(written):
            one = [call for value in _values(body) if (call := _call(value))]
            calls += one
            broken += [] if one else [body]
        return Found(_TAGGED.sub("", written).strip(), calls, broken)
    text = written.strip()
    for mark in _MARKS:
        if mark in text:
            before, _, body = text.partition(mark)
            return _unmarked(before.strip(), body, names, True) or Found(before.strip(), broken=[body])
    return _unmarked("", text, names, False) or Found(written)


def _unmarked(before: str, body: str, names: Collection[str], marked: bool) -> Found | None:
    if (named := _NAMED.match(body)) and named[1] in names:
        values: list[Any] = [{"name": named[1], "arguments": value} for value in _values(body[named.end() :])]
    elif body.lstrip()[:1] in ("{", "["):
        values = list(_values(body))
    else:
        return None
    calls = [_call(one) for value in values for one in (value if isinstance(value, list) else [value])]
    if not calls or any(call is None or not (marked or call[0] in names) for call in calls):
        return None
    return Found(before, [call for call in calls if call])


def _values(text: str) -> Iterator[Any]:
    """The JSON values at the head of the text, one after the other; Llama 3 puts a `;` between them."""
    decoder, at = json.JSONDecoder(), len(text) - len(text.lstrip())
    while at < len(text):
        try:
            value, at = decoder.raw_decode(text, at)
        except ValueError:
            return
        yield value
        while at < len(text) and text[at] in " \n\r\t;,":
            at += 1


def _call(value: Any) -> tuple[str, dict[str, Any]] | None:
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
        until = min((at for mark in (_TAG, *_MARKS) if (at := written.find(mark)) >= 0), default=len(written))
        for mark in (_TAG, *_MARKS):
            for n in range(min(len(mark), until), 0, -1):
                if until == len(written) and written.endswith(mark[:n]):
                    until -= n
        return len(written[:until].rstrip())
