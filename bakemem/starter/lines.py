"""Where lines begin in token ids, and how the beginning of a line is found from words that stand later in it.

`Whose dog is Rex?` is answered by what stands before `Rex`. Three steps lead there, each of which can be shown in token
ids: a word's own line and its beginning, the earlier line that a word of the user's was read in, and, where an answer
says a token of such a beginning, the user's word that it comes from. The same heads follow lists of keys (`lists.py`),
in places where a line's beginning is of no use. Knows token ids; knows no model.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from transformers import PreTrainedTokenizerFast

from bakemem.starter.lists import Lists
from bakemem.starter.tokenizer import END, ROLES

BEGINNING = 4
"""Tokens of a line that are its beginning: `The user·'s·dog`, `Mu·sa·ha·has`, `ge·t·_·we`."""
LONGEST_MATCH = 3  # tokens: a made-up name


@dataclass(frozen=True, slots=True)
class Pointer:
    """At `place` the `nth` token of a line's beginning (or of a key), which is `token`, can be known from `source`."""

    place: int
    nth: int
    source: int
    token: int


class Pointers(NamedTuple):
    """The pointers of a conversation, by the step that follows them."""

    own: list[Pointer]
    """From each place to the beginning of its own line, as far as it was read."""
    earlier: list[Pointer]
    """From the user's words to where they were read before, if in one other line alone, and so to its beginning."""
    fetched: list[Pointer]
    """From the place before an answer's token to the user's last word that points to it (a space makes no odds)."""
    before: list[Pointer]
    """From a listed key to the one before it, and from where an answer goes on to the key that it wrote last."""
    next: list[Pointer]
    """From where an answer goes on after a key to what is listed behind it."""


class Lines:
    """Finds the lines (of a prompt, or sentences) of a conversation, and what points to their beginnings."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        ids: dict[str, int] = tokenizer.get_vocab()
        self._lists = Lists(tokenizer)
        self._roles = {ids[role]: role for role in ROLES}
        self._breaks = {*self._roles, *(i for text, i in ids.items() if "Ċ" in text)}
        self._bullet, self._end = ids["-"], ids[END]
        self._stops = {ids[mark] for mark in ".?!"}
        self._plain = {i: ids.get(text.removeprefix("Ġ"), i) for text, i in ids.items()}
        self._capitals = {i for text, i in ids.items() if re.match('Ġ["A-Z]', text)}

    def starts(self, ids: Sequence[int]) -> list[int]:
        """For each place where its line begins: after a role, a line break (and a bullet), or a sentence's end."""
        starts: list[int] = []
        for place, token in enumerate(ids):
            before = ids[place - 1] if place else self._bullet
            begins = (
                place == 0
                or before in self._breaks
                or (before == self._bullet and starts[-1] == place - 1)
                or (before in self._stops and token in self._capitals)
            )
            starts.append(place if begins else starts[-1])
        return starts

    def pointers(self, ids: Sequence[int]) -> Pointers:
        """All sorts of them."""
        starts, follows = self.starts(ids), list(self._lists.following(ids))
        keys = {n.listed: n.before for n in follows} | {n.place: n.written for n in follows}
        own = self._looking_at(ids, {place: (line, place) for place, line in enumerate(starts) if place not in keys})
        earlier = [Pointer(place, nth, at, ids[line + nth])
                   for place, line, at in self._matches(ids, starts)
                   for nth in range(min(BEGINNING, at - line))]  # fmt: skip
        after = [Pointer(n.place, BEGINNING - 1, n.listed, ids[n.listed]) for n in follows]
        return Pointers(own, earlier, self._fetched(ids, earlier), self._looking_at(ids, keys), after)

    def _looking_at(self, ids: Sequence[int], spans: Mapping[int, tuple[int, int]]) -> list[Pointer]:
        """From each place to the first tokens of its span, `start` to `stop`."""
        return [Pointer(place, nth, start + nth, ids[start + nth])
                for place, (start, stop) in spans.items()
                for nth in range(min(BEGINNING, stop - start))]  # fmt: skip

    def _matches(self, ids: Sequence[int], starts: Sequence[int]) -> Iterator[tuple[int, int, int]]:
        """Places of the user's words, the one other line in which they were read before, and where in it."""
        role = ""
        read: defaultdict[tuple[int, ...], dict[int, int]] = defaultdict(dict)  # words to line to place
        for place, token in enumerate(ids):
            role = self._roles.get(token, role)
            words = [tuple(ids[first : place + 1])
                     for first in range(max(starts[place], place + 1 - LONGEST_MATCH), place + 1)]  # fmt: skip
            if role == "<|user|>" and token not in self._roles and token != self._end:
                others = ({line: at for line, at in read[w].items() if line != starts[place]} for w in words)
                longest = next((lines for lines in others if lines), {})
                if len(longest) == 1:
                    [(line, at)] = longest.items()
                    yield place, line, at
            for w in words:
                read[w][starts[place]] = place

    def _fetched(self, ids: Sequence[int], earlier: Sequence[Pointer]) -> list[Pointer]:
        known: dict[tuple[int, int], int] = {}  # of the last user turn: nth and token to place
        at: defaultdict[int, list[Pointer]] = defaultdict(list)
        for pointer in earlier:
            at[pointer.place].append(pointer)
        found, role = [], ""
        for place, token in enumerate(ids[:-1]):
            role = self._roles.get(token, role)
            if self._roles.get(token) == "<|user|>":
                known = {}
            known |= {(p.nth, self._plain[p.token]): place for p in at[place]}
            said = self._plain[ids[place + 1]]
            if role == "<|assistant|>":
                found += [Pointer(place, nth, known[nth, said], ids[place + 1])
                          for nth in range(BEGINNING) if (nth, said) in known]  # fmt: skip
        return found
