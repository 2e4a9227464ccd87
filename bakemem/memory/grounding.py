"""Whether a turn bears out a memory that a model says it read there: plain rules over words.

They stop names and numbers that nobody said; they do not judge meaning. Knows no model.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from dataclasses import replace
from difflib import SequenceMatcher

from bakemem.memory.keys import visible
from bakemem.types import Draft

# Accents and vowel signs, from Latin to Sinhala, are part of a word. Thai and its like have no spaces: signs part them.
_MARKS = "".join(c for c in map(chr, range(0x300, 0xE00)) if unicodedata.category(c) in ("Mn", "Mc"))
_LETTERS = rf"[^\W_]+(?:[{_MARKS}][^\W_]*)*"
_WORD = re.compile(rf"{_LETTERS}(?:['’]{_LETTERS})*")
_STEM, _ENDING = 4, 3
_ALIKE = 0.7  # share of equal letters (difflib's ratio) from which a name that nobody said is another one misspelled
_WIDE = "\u2e80"  # from here on, scripts that are written without spaces
_USER = frozenset(
    f"{who}{ending}" for who in ("user", "nutzer", "benutzer", "anwender") for ending in ("", "s", "n", "in", "innen")
)
_FILLERS = _USER | frozenset(
    "the their his her its and for with that this has have had was were are is be been not but from as an "
    "a of to in on at by or every all who which what when where project town year years old".split()
)
ORDINARY = frozenset(
    "about also always answer answers born called days drinks each eats every favorite favourite from goes hates have "
    "into keeps likes lives loves make makes much named never often only over plays reply says some speaks takes than "
    "that their them then there these they thing things time very wants when will with work works would your".split()
)
# Sentences begin with these, and not with a name. The last line is Dutch, which has “is” in common with English.
_OPENERS = (_FILLERS | ORDINARY) | frozenset(
    "i he she it we you my our your those no both many most few another one everyone everybody someone nobody people "
    "since after before during while if because until once how why whether although though today now here "
    "de het een die".split()
)
_ENGLISH = frozenset("the is are has have and with lives likes loves works called born".split())


def is_grounded(draft: Draft, turn: str) -> bool:
    """Whether every name in the draft was said in the turn, and for a fact every number and what it tells too."""
    said = {form for word in words_of(turn) for form in _forms(word)}
    if not all(_occurs(name, said) for name in _names(draft, turn)):
        return False
    if draft.kind == "instruction":
        return True
    numbers = numbers_in(draft.text)
    if not all(_occurs(number, said) for number in numbers):
        return False
    if numbers or pairs(draft.text) & pairs(turn):
        return True
    about = {part[:_STEM] for part in re.split(r"[.-]", draft.key)}
    told = {word for word in telling_words(draft.text) if word not in ORDINARY}
    news = {word for word in told if word[:_STEM] not in about}  # “dog” alone bears out no dog's name
    return any(_much_said(word, form) for word in news or told or telling_words(draft.text) for form in said)


def _much_said(word: str, form: str) -> bool:
    """Whether a form that was said is that word, but for an ending."""
    return word[:_STEM] == form[:_STEM] and abs(len(word) - len(form)) <= _ENDING


def respelled(draft: Draft, turn: str) -> Draft:
    """The draft with each name that nobody said as the turn has it: a small model drops letters as it copies one.

    Only where one name of the turn that the draft leaves out is much alike, or goes on from it, and no other is; else
    as it was.
    """
    said = {form for word in words_of(turn) for form in _forms(word)}
    text, key = draft.text, draft.key
    for name in dict.fromkeys(map(_bare, _names(draft, turn))):
        if _occurs(name, said):
            continue
        told = {form for word in words_of(text) for form in _forms(word)}
        left = {_bare(w) for w in words_of(turn) if w[:1].isupper() and not _occurs(w, told)}
        alike = [word for word in left if _much_alike(name.lower(), word.lower())]
        if len(alike) != 1:
            return draft
        text = re.sub(rf"\b{re.escape(name)}\b", alike[0], text)
        key = re.sub(rf"\b{re.escape(name.lower())}\b", re.sub("['’]", "", alike[0]).lower(), key)
    return replace(draft, text=text, key=key)


def _much_alike(name: str, word: str) -> bool:
    begun = len(name) >= _STEM and word.startswith(name)
    return begun or SequenceMatcher(None, name, word).ratio() >= _ALIKE


def names(text: str, key: str) -> list[str]:
    """The words with a capital in a memory's text; not those for the user, nor its first unless the key bears it."""
    words = [(place, word) for place, word in enumerate(words_of(text)) if word[:1].isupper() and word != "I"]
    return [w for place, w in words if _forms(w)[1] not in _USER and (place > 0 or _is_subject(w, key))]


def opening_name(text: str, turn: str) -> list[str]:
    """The first word of an English sentence where it may be a name: no usual beginning, nor said in small letters."""
    first, *rest = words_of(text) or [""]
    form = _forms(first)[1]
    named = first[:1].isupper() and form not in _OPENERS and form not in words_of(turn)
    return [first] if named and not _ENGLISH.isdisjoint(rest) else []


def _names(draft: Draft, turn: str) -> list[str]:
    """All names in a draft; an instruction begins with a verb."""
    return names(draft.text, draft.key) + (opening_name(draft.text, turn) if draft.kind == "fact" else [])


def numbers_in(text: str) -> list[str]:
    """The words with a digit in them."""
    return [word for word in words_of(text) if any(c.isdigit() for c in word)]


def telling_words(text: str) -> set[str]:
    """The words of a text that are no fillers, as they are compared: in lower case, without a possessive ending."""
    return {form for word in words_of(text) if len(word) >= 3 for form in _forms(word)[1:] if form not in _FILLERS}


def stems(text: str) -> set[str]:
    """The beginnings of the telling words of a text: `{"dog", "call", "bosu"}`."""
    return {form[:_STEM] for form in telling_words(text)}


def words_of(text: str) -> list[str]:
    """The words of a text, as they stand there, but in NFC and without hidden signs."""
    return _WORD.findall(visible(text))


def _forms(word: str) -> tuple[str, str]:
    """A word as said, and without a possessive ending."""
    folded = word.casefold().replace("’", "'")
    return folded, folded.removesuffix("'s")


def _bare(word: str) -> str:
    """A word as said, without a possessive ending."""
    return re.sub(r"['’]s$", "", word)


def _occurs(word: str, said: set[str]) -> bool:
    return any(form in said for form in _forms(word))


def _is_subject(first: str, key: str) -> bool:
    # The first word of a sentence is capital anyway; but when the key bears it, it is the name of the subject.
    return any(form in re.split(r"[.-]", key) for form in _forms(first))


def pairs(text: str) -> set[str]:
    """Pairs of neighbouring characters of scripts without spaces, which stand in for words."""
    text = visible(text)
    return {a + b for a, b in itertools.pairwise(text) if a >= _WIDE and b >= _WIDE and (a + b).isalpha()}
