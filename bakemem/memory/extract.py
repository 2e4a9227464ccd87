"""Memories out of a user's turn: the model proposes JSON lines, and plain checks decide.

Model output is data, never trusted. Knows no model (a generate function is given) and no storage.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from bakemem.errors import ContextError, InputError
from bakemem.memory.admit import READ
from bakemem.memory.grounding import is_grounded, respelled, stems
from bakemem.memory.keys import MAX_KEY, MAX_TEXT, clean_key, clean_text, slug_key
from bakemem.prompts import EXTRACT_SYSTEM
from bakemem.types import Draft, Memory, Turn

MAX_TURN = 4_000
MAX_DRAFTS = 16
_NO_CHARACTER = "\ufffd"  # bytes that make no text: a model stopped in the middle of a character
_UNFINISHED = re.compile(r"\b(?:is|are|was|were|called|named|the|a|an|of|and)[.!?]?$", re.IGNORECASE)

Generate = Callable[[list[list[Turn]]], list[str]]
"""Answers of the base model, adapter off, one for each conversation."""


class Extractor(Protocol):
    """Reads memories out of a turn.

    May be slow (a model runs) and may find nothing or miss something; it must never give a draft from the assistant's
    own words, and takes the words of tools, documents and pages as data: `admit.py` decides what they may teach. May
    raise ModelError; the caller keeps the turn and tries again later.
    """

    def extract(self, turn: Turn) -> list[Draft]:
        """The drafts in one turn, in the order in which they were said."""

    def same(self, draft: Draft, memory: Memory) -> bool:
        """Whether a new draft speaks of the same thing as a memory of another key, and so takes its place."""


class ModelExtractor:
    """Lets the base model propose memories and keeps those that the turn itself bears out.

    `rejected` counts what was dropped, by reason, since the extractor was made.
    """

    def __init__(self, generate: Generate) -> None:
        self._generate = generate
        self.rejected: Counter[str] = Counter()

    def extract(self, turn: Turn) -> list[Draft]:
        """The drafts in a turn. Raises what the generate function raises, such as ModelError."""
        reason = unreadable(turn)
        if reason:
            self.rejected[reason] += 1
            return []
        try:
            [output] = self._generate([[Turn("system", EXTRACT_SYSTEM), Turn("user", turn.content)]])
        except ContextError:
            self.rejected["turn too long"] += 1
            return []
        return self.parse(output, turn)

    def same(self, draft: Draft, memory: Memory) -> bool:
        """Whether the model finds one and the same key in both texts, as alone it would have."""
        found = [self.extract(Turn("user", text)) for text in (draft.text, memory.text)]
        return len(found[0]) == len(found[1]) == 1 and found[0][0].key == found[1][0].key

    def parse(self, output: str, turn: Turn) -> list[Draft]:
        """The drafts in a model's output about a turn; the rest is counted in `rejected`."""
        return checked_drafts(output, turn, self.rejected)


def unreadable(turn: Turn) -> str:
    """The reason for which nothing may be read out of a turn; empty when a model may look at it."""
    if turn.role not in READ:
        return f"said by the {turn.role}"
    if not turn.content.strip():
        return "empty turn"
    return "turn too long" if len(turn.content) > MAX_TURN else ""


def checked_drafts(proposed: object, turn: Turn, rejected: Counter[str]) -> list[Draft]:
    """The drafts in what a model proposed about a turn; the reasons for dropping the rest are added to `rejected`.

    `proposed` is text (JSON objects, one a line, or one JSON list) or a list of objects that are parsed already.
    """
    drafts: list[Draft] = []
    for item in _items(proposed):
        draft = _draft(item, turn)
        twin = next((d for d in drafts if isinstance(draft, Draft) and d.text == draft.text), None)
        if twin and isinstance(draft, Draft):
            drafts[drafts.index(twin)] = max(twin, draft, key=_key_in_text)
            draft = "repeated"
        elif isinstance(draft, Draft) and len(drafts) == MAX_DRAFTS:
            draft = "too many"
        if isinstance(draft, Draft):
            drafts.append(draft)
        else:
            rejected[draft] += 1
    return drafts


def _key_in_text(draft: Draft) -> int:
    """How much of the key is in the text: of two keys for one text, the fitting one is known by that."""
    return len(stems(re.sub(r"[.-]", " ", draft.key)) & stems(draft.text))


def _items(proposed: object) -> Iterator[Any]:
    """The JSON values in an output: one a line, or one list; None for what is not JSON."""
    whole = _json(proposed) if isinstance(proposed, str) else proposed
    if isinstance(whole, list):
        yield from whole
        return
    if not isinstance(proposed, str):
        yield None
        return
    for line in proposed.splitlines():
        line = line.strip().rstrip(",")
        if line and not line.startswith("```") and line not in ("[", "]") and line.rstrip(".").lower() != "none":
            yield _json(line)


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _draft(item: Any, turn: Turn) -> Draft | str:
    """The draft in one JSON value, or the reason for which it is dropped."""
    if not isinstance(item, dict) or not all(isinstance(item.get(k), str) for k in ("kind", "key", "text")):
        return "malformed"
    kind = item["kind"].strip().lower()
    if kind not in ("instruction", "fact"):
        return "unknown kind"
    try:
        text = clean_text(item["text"])
    except InputError:
        return "empty text" if not item["text"].strip() else "bad text"
    if _NO_CHARACTER in text and _NO_CHARACTER not in turn.content:
        return "bad text"
    try:
        key = clean_key(item["key"])
    except InputError:
        key = slug_key(text, "fact" if kind == "fact" else "instruction")
    if kind == "fact" and _UNFINISHED.search(text):
        return "unfinished"
    draft = respelled(Draft("fact" if kind == "fact" else "instruction", key, text), turn.content)
    if len(draft.key) > MAX_KEY or len(draft.text) > MAX_TEXT:  # a longer name took the place of a shorter one
        return "bad text"
    return draft if is_grounded(draft, turn.content) else "not grounded"
