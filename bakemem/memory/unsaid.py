"""Which texts of a conversation must go with a memory that is forgotten: those that it was said in, and those that
hold it.

Takes rather a text too many than one too few. Plain rules over words; knows no storage.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable, Sequence

from bakemem.memory.grounding import (
    ORDINARY,
    names,
    numbers_in,
    opening_name,
    pairs,
    stems,
    telling_words,
    words_of,
)
from bakemem.memory.keys import visible
from bakemem.types import Memory

_WORDS, _PAIRS = 0.6, 0.5  # how much of what is told must occur
_SHORT = 4  # a shorter word is looked for as a word only: it stands inside of others
_HEAD = 4  # characters by which a longer text is looked for first
_QUOTED = 16  # characters: a shorter turn, such as "yes", is looked for as a whole


class Unsaid:
    """What is forgotten, as something that a turn holds or does not hold."""

    def __init__(
        self, memories: Iterable[Memory], turns: Collection[str] = (), before: Unsaid | None = None
    ) -> None:  # fmt: skip
        """`turns` are the texts that the memories were said in, and what else must go.

        What is forgotten with `before` is forgotten here too, and what that has judged is not judged again.
        """
        self._before, self._verdicts = before, dict[str, bool]()
        self._new: dict[str, Memory] = {m.id: m for m in memories if m.text and not (before and m.id in before._new)}
        self._said: set[str] = {text for text in turns if text.strip() and not (before and text in before._said)}
        self._turns = {_folded(text) for text in self._said}
        self._quoted = [turn for turn in self._turns if len(turn) >= _QUOTED]
        self._by_sign: dict[str, list[_Told]] = {}
        for told in map(_Told, self._new.values()):
            for sign in told.signs:
                self._by_sign.setdefault(sign, []).append(told)

    def __bool__(self) -> bool:
        return bool(self._new or self._said or self._before)

    def holds(self, text: str) -> bool:
        """Whether a turn was the source, or holds the text, a name, a number or most of the telling words of one.

        A text is judged once: the same one costs nothing.
        """
        if self._before and self._before.holds(text):
            return True
        if not (self._new or self._said):
            return False
        if text not in self._verdicts:
            self._verdicts[text] = self._judge(text)
        return self._verdicts[text]

    def _judge(self, text: str) -> bool:
        folded = _folded(text)
        if folded in self._turns or any(turn in folded for turn in self._quoted):
            return True
        present = {sign for sign in self._by_sign if sign in folded}
        near = {told for sign in present for told in self._by_sign[sign]}
        likely = [told for told in near if told.may_be_in(folded, present)]
        if not likely:
            return False
        words = {word.casefold().replace("’", "'").removesuffix("'s") for word in words_of(text)}
        begun, wide = stems(text), pairs(text)
        return any(told.is_in(folded, words, begun, wide) for told in likely)


class _Told:
    def __init__(self, memory: Memory) -> None:
        self._text = _folded(memory.text)
        said = names(memory.text, memory.key)
        values = {*said, *numbers_in(memory.text)}
        fact = memory.kind == "fact"
        if fact:
            values.update(opening_name(memory.text, memory.provenance.turn))
        if fact and not said:  # written without capitals, or about something without a name
            values |= {w for w in telling_words(memory.text) if len(w) >= _SHORT} - ORDINARY
        self._values = {value.casefold().replace("’", "'").removesuffix("'s") for value in values}
        self._stems, self._pairs = stems(memory.text), pairs(memory.text)
        self._begun, self._wide = ([one.casefold() for one in some] for some in (self._stems, self._pairs))
        self._whole = [(whole, whole[:_HEAD]) for whole in (self._text, *self._values) if whole]
        self.signs = {*(head for _, head in self._whole), *self._begun, *self._wide}

    def may_be_in(self, folded: str, present: set[str]) -> bool:
        """Whether a closer look is worth its time: a log can be long, and most of it is about something else.

        `present` are the signs that occur in the text; without any of its own there is nothing of it.
        """
        return (
            any(head in present and whole in folded for whole, head in self._whole)
            or _part(self._begun, present) >= _WORDS
            or _part(self._wide, present) >= _PAIRS
        )

    def is_in(self, folded: str, words: set[str], begun: set[str], wide: set[str]) -> bool:
        if self._whole_in(folded) or any(v in (folded if len(v) >= _SHORT else words) for v in self._values):
            return True
        return _shared(self._stems, begun) >= _WORDS or _shared(self._pairs, wide) >= _PAIRS

    def _whole_in(self, folded: str) -> bool:
        if len(self._text) >= _SHORT or any(unicodedata.category(c) == "Lo" for c in self._text):  # as in Chinese
            return self._text in folded
        word = rf"(?<!\w){re.escape(self._text)}(?!\w)"
        return bool(self._text) and re.search(word, folded) is not None  # an older home may hold one that shows nothing


def _shared(told: set[str], said: set[str]) -> float:
    return len(told & said) / len(told) if told else 0.0


def _part(told: Sequence[str], present: set[str]) -> float:
    return sum(one in present for one in told) / len(told) if told else 0.0


def _folded(text: str) -> str:
    return " ".join(visible(text).casefold().replace("’", "'").split())
