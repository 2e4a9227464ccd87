"""What may be a namespace, a key and a text of a memory, and the guesses for a memory told without kind or key.

Knows no storage and no model: plain rules over strings.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Sequence
from typing import Literal

from bakemem.errors import InputError
from bakemem.types import Kind

MAX_KEY = 200
MAX_TEXT = 2_000

_KEY = re.compile(r"\w+(?:[.-]\w+)*")
_WORD = re.compile(r"\w+(?:['’]\w+)*")

_IMPERATIVES = frozenset(
    "add address adopt always answer avoid be begin call close do don't end explain finish format give greet include "
    "join keep make mention never open please prefer put refer remember repeat reply respond return say sign sound "
    "speak spell start stop talk tell thank translate treat use wrap write".split()
)
# "The start of project X is in May" told as "Start of project X: May" is a fact.
_NOUN_SIGNS = frozenset("of is was are were date time day".split())
_ORDERS = re.compile(
    r"(from now on|you (must|should|shall|may not|can ?not|are to)|i (want|need|would like|'d like) you to|let us|"
    r"your (mood|tone|style|name)|in (every|each|all) (answer|reply|response))\b"
    r"|.*\b(every|each|all|your) (answer|reply|replie|response|sentence)s? (must|should|shall|has to|have to)\b"
)
# List and quote marks before a sentence: "- ", "> ", "1. ", "a) ", "[x] ".
_MARKS = re.compile(r"(?:[\W_]|(?:\d+(?:\.\d+)*|[a-z])[.):\]]+ )*", re.IGNORECASE)
# Cyrillic, Greek and Latin letters that are taken for plain ones, as Unicode's confusables.txt has them.
_LOOK_ALIKES = str.maketrans(
    "авсԁеһнігјкӏмпорԛѕтѵхуԝαβεικνορστυχγωıɡɑАВСЕНІЈКМОРЅТУХԜΑΒΕΖΗΙΚΜΝΟΡΤΥΧ",
    "abcdehhirjklmnopqstvxywabeikvopotuxywigaABCEHIJKMOPSTYXWABEZHIKMNOPTYX",
)
_FILLERS = frozenset("a an the is are am was of to in on at user user's users".split())


def clean_text(text: str, what: str = "A memory's text", limit: int = MAX_TEXT) -> str:
    """The text without white space around it. Raises InputError when it is empty, too long or cannot be stored."""
    text = text.strip()
    if len(text) > limit:
        raise InputError(f"{what} has {len(text):,} characters; at most {limit:,} fit. Split it into several memories.")
    if not visible(text).strip():
        raise InputError(f"{what} is empty: say what should be remembered.")
    check_storable(text, what)
    return text


def check_storable(text: str, what: str) -> None:
    """Raises InputError for a NUL or a lone surrogate, which no database can hold."""
    if "\0" in text or any("\ud800" <= c <= "\udfff" for c in text):
        raise InputError(f"{what} holds a NUL or half a surrogate pair: remove it and try again.")


def storable(text: str) -> str:
    """The text with a ? for each lone surrogate, which no database, log or prompt can hold."""
    return text.encode(errors="replace").decode()


def check_one_of(value: str, allowed: Sequence[str], what: str) -> None:
    """Raises InputError for a value that is none of those."""
    if value not in allowed:
        raise InputError(f"{value!r} is no {what}: choose one of {', '.join(allowed)}.")


def clean_key(key: str) -> str:
    """The key in lower case. Raises InputError when it is not a slug such as `user.dog` or `style.answer-case`."""
    slug = unicodedata.normalize("NFC", key.strip().lower())
    if len(slug) > MAX_KEY or not _KEY.fullmatch(slug):
        raise InputError(
            f"{key[:60]!r} is no memory key: use letters, digits and _ joined by dots or dashes, such as user.dog, "
            f"at most {MAX_KEY} characters."
        )
    return slug


def clean_namespace(namespace: str) -> str:
    """The namespace as given. Raises InputError when it is empty, too long or not printable."""
    if not namespace.strip() or len(namespace) > MAX_KEY or not namespace.isprintable():
        raise InputError(
            f"{namespace[:60]!r} is no namespace: use 1 to {MAX_KEY} printable characters, such as default or user-42."
        )
    return namespace


def clean_conversation(name: str) -> str:
    """The name as given. Raises InputError when it is empty, too long or not printable."""
    if not name.strip() or len(name) > MAX_KEY or not name.isprintable():
        shown = name[:60].encode("unicode_escape").decode()
        raise InputError(
            f"“{shown}” is no name for a conversation: use 1 to {MAX_KEY} printable characters, such as main."
        )
    return name


def visible(text: str, form: Literal["NFC", "NFKC"] = "NFC") -> str:
    """The text in a normal form, without signs that show nothing, such as a zero-width space."""
    text = unicodedata.normalize(form, text)
    return text if text.isprintable() else "".join(c for c in text if unicodedata.category(c) != "Cf")


def plain(text: str) -> str:
    """The text as rules over words read it: one line, in NFKC, no signs that show nothing, no marks before it.

    Letters of other scripts that look like Latin ones are those, so that none of them hides a word.
    """
    return _MARKS.sub("", " ".join(visible(text, "NFKC").split()), count=1).translate(_LOOK_ALIKES)


def infer_kind(text: str) -> Kind:
    """Whether a sentence tells the agent what to do (instruction) or what is so (fact), by its first words."""
    text = plain(text)
    words = [w.lower().replace("’", "'") for w in _WORD.findall(text)[:2]]
    if not words:
        return "fact"
    ordered = _ORDERS.match(text.lower()) is not None
    noun = len(words) > 1 and words[1] in _NOUN_SIGNS
    return "instruction" if ordered or (words[0] in _IMPERATIVES and not noun) else "fact"


def slug_key(text: str, kind: Kind) -> str:
    """A key for a memory told without one: its kind, its first telling words, and a short hash of the text."""
    words = [unicodedata.normalize("NFC", w.lower()) for w in _WORD.findall(text)]
    telling = [re.sub(r"\W", "", w)[:20] for w in words if w.replace("’", "'") not in _FILLERS][:4]
    digest = hashlib.sha256(" ".join(text.split()).encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return clean_key(f"{kind}.{'-'.join([*telling, digest])}")
