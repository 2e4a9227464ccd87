"""Which texts of a conversation must go with a memory that is forgotten: those that it was said in, and those that
hold it.

Takes rather a text too many than one too few. Plain rules over words; knows no storage.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

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
_QUOTED = 16  # characters: a shorter turn, such as "yes", is looked for as a whole


class Unsaid:
    """What is forgotten, as something that a turn holds or does not hold."""

    def __init__(self, memories: Iterable[Memory], turns: Collection[str] = ()) -> None:
        """`turns` are the texts that the memories were said in, and what else must go."""
        self._told = [_Told(memory) for memory in memories if memory.text]
        self._turns = {_folded(text) for text in turns if text.strip()}

    def __bool__(self) -> bool:
        return bool(self._told or self._turns)

    def holds(self, text: str) -> bool:
        """Whether a turn was the source, or holds the text, a name, a number or most of the telling words of one."""
        folded = _folded(text)
        if folded in self._turns or any(len(turn) >= _QUOTED and turn in folded for turn in self._turns):
            return True
        likely = [told for told in self._told if told.may_be_in(folded)]
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

    def may_be_in(self, folded: str) -> bool:
        """Whether a closer look is worth its time: a log can be long, and most of it is about something else."""
        if self._text in folded or any(value in folded for value in self._values):
            return True
        begun, wide = ({one for one in some if one.casefold() in folded} for some in (self._stems, self._pairs))
        return _shared(self._stems, begun) >= _WORDS or _shared(self._pairs, wide) >= _PAIRS

    def is_in(self, folded: str, words: set[str], begun: set[str], wide: set[str]) -> bool:
        if self._text in folded or any(v in (folded if len(v) >= _SHORT else words) for v in self._values):
            return True
        return _shared(self._stems, begun) >= _WORDS or _shared(self._pairs, wide) >= _PAIRS


def _shared(told: set[str], said: set[str]) -> float:
    return len(told & said) / len(told) if told else 0.0


def _folded(text: str) -> str:
    return " ".join(visible(text).casefold().replace("’", "'").split())
