"""“Forget that …” and “stop …”: whether a user takes something back, and which memory is meant.

Plain rules over words: what they are not sure of they leave alone. Knows no storage and no model.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from bakemem.memory.grounding import stems
from bakemem.types import Memory

_FORGET = re.compile(
    r"(?:please[:,]? )?(?:you (?:can|may|should) )?"
    r"(?:forget(?: (?:that|about|what|who|where|when|which|how))?"
    # “Don't remember what …” says that the user does not.
    r"|(?:do not|don't|no longer) remember(?! (?:about|what|who|where|when|which|how|why|whether|if)\b)(?: that)?)"
    r":? (?P<what>.+)",
    re.IGNORECASE | re.DOTALL,
)
_STOP = re.compile(
    r"(?:please[:,]? )?(?:stop|quit|you (?:need not|do not need to|don't need to|no longer need to))"
    r" (?P<what>.+?)(?: any ?more| any longer| now)?",
    re.IGNORECASE | re.DOTALL,
)
_NOTHING = frozenset("it this that everything all them".split())
_MORE = re.compile(r"[,;:]|[.!?] |\b(and|but)\b")  # something else is said as well: that is no plain word to obey
_GENERAL = stems("being using doing answering replying always every answers replies name called")
MOST_WORDS = 30


def retraction(text: str) -> tuple[str, bool] | None:
    """What the user takes back, and whether that is an instruction (“stop …”); None for any other message."""
    said = " ".join(text.replace("’", "'").split()).rstrip(".!")
    for pattern, instruction in ((_FORGET, False), (_STOP, True)):
        found = pattern.fullmatch(said)
        if found:
            what = found["what"].rstrip(".!? ")
            plain = what.lower() not in _NOTHING and len(what.split()) <= MOST_WORDS and not _MORE.search(what)
            return (what, instruction) if plain else None
    return None


def meant(what: str, instruction: bool, memories: Sequence[Memory]) -> list[Memory]:
    """The memory that shares the most words with `what`, three in five at least, or several of one key, such as the
    live one and one that a rollback holds; none when it is not clear.
    """
    wanted = stems(what) - _GENERAL
    if not wanted:
        return []
    scored = [
        (len(wanted & stems(f"{memory.text} {memory.key.replace('.', ' ')}")) / len(wanted), memory)
        for memory in memories
        if memory.kind == "instruction" or not instruction
    ]
    best = max((score for score, _ in scored), default=0.0)
    found = [memory for score, memory in scored if score == best]
    return found if best >= 0.6 and len({memory.key for memory in found}) == 1 else []
