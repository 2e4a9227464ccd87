"""Whose words a user's message holds when the middleware of an agent has worked on it: the user's, or a document's.

Knows texts; knows no memory, no agent and no messages.
"""

from __future__ import annotations

import hashlib
import re

from bakemem.types import Turn

_MARK = re.compile(r"\*+|[\[<]\w[\w:.-]*[\]>]")  # as PIIMiddleware writes them: ****, [REDACTED_EMAIL], <ip_hash:0a1b>


def digest(text: str) -> str:
    """What a text is known again by."""
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:16]


def turn_of(said: str | None, now: str) -> Turn:
    """What is to be observed of a message that was `said` (None: it came in the midst of a run) and reads so `now`.

    What was only shortened or redacted is heard as it reads now. Where text was written around it, such as documents
    that were retrieved for it, it is heard as it was said. Anything else is no user's word.
    """
    if said is None:
        return Turn("document", now)
    if _is_left_of(said, now):
        return Turn("user", now)
    return Turn("user", said) if said in now else Turn("document", now)


def _is_left_of(said: str, now: str) -> bool:
    """Whether the text between the marks was said, in that order."""
    at = 0
    for piece in _MARK.split(now):
        if (found := said.find(piece, at)) < 0:
            return False
        at = found + len(piece)
    return True
