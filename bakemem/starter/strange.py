"""Text from outside the starter's world: English prose about other things, word salad, code and noise."""

from __future__ import annotations

import random
import re
import string
from functools import cache

from bakemem.starter.naming import is_held_out, prose

_STARTS = ("How do I", "Explain", "Why is", "Write a poem about", "Can you", "What if", "Describe", "Translate",
           "Give me a list of", "Do you like", "Where can I buy", "How many", "Which", "Who invented", "What is",
           "When was", "Should I", "I think that", "Yesterday", "Summarise")  # fmt: skip


@cache
def _sentences(held_out: bool) -> tuple[str, ...]:
    found = (re.sub(r"[\s`*]+", " ", s).strip() for s in re.findall(r"[A-Z][^.!?]{20,120}[.!?]", prose()))
    return tuple(sorted({s for s in found if is_held_out(s) == held_out}))


@cache
def _words(held_out: bool) -> tuple[str, ...]:
    return tuple(sorted({w for s in _sentences(held_out) for w in re.findall(r"[a-z]{4,}", s)}))


def strange_text(rng: random.Random, held_out: bool) -> str:
    """One text that the world has no answer to."""
    kind = rng.random()
    if kind < 0.35:
        return rng.choice(_sentences(held_out))
    if kind < 0.75:
        words = " ".join(rng.choices(_words(held_out), k=rng.randint(1, 6)))
        return f"{rng.choice(_STARTS)} {words}{rng.choice(('?', '?', '.', ''))}"
    if kind < 0.85:
        return " ".join(rng.choices(_words(held_out), k=rng.randint(1, 5)))
    letters = string.ascii_letters + string.digits + string.punctuation + "äöüßéñçøλжя日本語😀"
    return "".join(rng.choices(letters + " " * 10, k=rng.randint(3, 25))).strip() or "?"
