"""Which key comes next in a JSON object, found where the prompt lists the keys.

`f(day: string, hour: integer)` and `the keys 'day' and 'hour'` both say that `hour` follows `day`, and the signature
that nothing follows `hour`. So what is listed can know the key before it, and an answer that goes on can know the key
that it wrote last: of both together comes what is next. Knows token ids; knows no model.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from transformers import PreTrainedTokenizerFast

from bakemem.starter.tokenizer import ROLES

APART = 7  # tokens that may stand between two listed keys: `: integer, ?`, `' and '`


class Span(NamedTuple):
    """Tokens `start` to `stop`, without the latter."""

    start: int
    stop: int


class Next(NamedTuple):
    """At `place` an answer goes on after the key `written`; what is next is `listed`, right behind `before`."""

    place: int
    written: Span
    before: Span
    listed: int


class Lists:
    """Finds the keys that an answer writes, and where they were listed."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        ids: dict[str, int] = tokenizer.get_vocab()
        self._text = {i: text for text, i in ids.items()}
        self._roles = {ids[role]: role for role in ROLES}
        self._opens, self._commas = {ids['{"'], ids['Ġ"']}, {ids[","], ids['",']}
        self._colon, self._last, self._break = ids['":'], ids[")"], ids["Ċ"]
        self._closes = {i for text, i in ids.items() if re.fullmatch(r'"?}+', text)}
        self._inside = {i for text, i in ids.items() if re.match(r"[A-Za-z0-9_]", text)}  # goes on with a word

    def following(self, ids: Sequence[int]) -> Iterator[Next]:
        """Where an answer writes a key that stands in a list of the prompt behind the one that was written before it.

        The places are the one that opens the key and the end of the value before it; then, in a call, the end of the
        last value. The tool's name counts as the key before the first.
        """
        marks = [place for place, token in enumerate(ids) if token in self._roles]
        told: list[int] = []
        for start, stop in pairwise([*marks, len(ids)]):
            if self._roles[ids[start]] != "<|assistant|>":
                told += range(start, stop)
                continue
            breaks = [place for place in range(start, stop) if ids[place] == self._break]
            for begin, end in pairwise([start, *breaks, stop]):
                yield from self._of_object(ids, told, begin, end)

    def _of_object(self, ids: Sequence[int], told: Sequence[int], start: int, stop: int) -> Iterator[Next]:
        written: Span | None = None
        listed: Span | None = None
        for key in self._keys(ids, start, stop):
            before, listed = (written and self._listed(ids, told, written, key)) or (None, None)
            if written and before and listed:
                opened = key.start - 1
                ends = [opened - 2] if ids[opened - 1] in self._commas else []
                yield from (Next(place, written, before, listed.start) for place in (*ends, opened))
            written = self._name(ids, key) if self._said(ids, key) == "arguments" else key
        if written and listed:
            close = next((p for p in range(listed.stop, listed.stop + APART + 1) if ids[p] == self._last), None)
            end = next(p for p in range(stop - 1, start, -1) if ids[p] not in self._closes)
            if close and end < stop - 1:
                yield Next(end, written, listed, close)

    def _keys(self, ids: Sequence[int], start: int, stop: int) -> Iterator[Span]:
        opened = start
        for place in range(start, stop):
            if ids[place] in self._opens:
                opened = place
            elif ids[place] == self._colon and start < opened < place - 1:
                yield Span(opened + 1, place)

    def _name(self, ids: Sequence[int], arguments: Span) -> Span | None:
        """The tool's name, which is the value before `"arguments"`."""
        stop = arguments.start - 2
        start = next((place for place in range(stop, 0, -1) if ids[place] in self._opens), stop) + 1
        return Span(start, stop) if start < stop else None

    def _said(self, ids: Sequence[int], span: Span) -> str:
        return "".join(self._text[i] for i in ids[span.start : span.stop])

    def _listed(self, ids: Sequence[int], told: Sequence[int], before: Span, key: Span) -> tuple[Span, Span] | None:
        firsts, seconds = (self._occurrences(ids, told, self._said(ids, span)) for span in (before, key))
        near = ((first, second) for first in firsts for second in seconds if 0 < second.start - first.stop <= APART)
        return next(near, None)

    def _occurrences(self, ids: Sequence[int], told: Sequence[int], word: str) -> list[Span]:
        """Where a word was told, which is cut otherwise behind a space."""
        found = []
        for place in told:
            text, end = self._text[ids[place]], place + 1
            if not text.startswith("Ġ") and ids[place - 1] in self._inside:
                continue
            text = text.removeprefix("Ġ")
            while text != word and word.startswith(text) and end < len(ids):
                text, end = text + self._text[ids[end]], end + 1
            if text == word and (end == len(ids) or ids[end] not in self._inside):
                found.append(Span(place, end))
        return found
