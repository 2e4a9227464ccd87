"""The lanes at the left of a log: which version came from which, drawn as `git log --graph` draws it.

Knows names and parents only.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Lanes:
    """What stands left of one version: of its first line, of its other lines, and a line below them if lanes join."""

    head: str
    body: str
    join: str


def lanes(parents: Iterable[tuple[str, str]]) -> list[Lanes]:
    """The lanes of versions, given newest first as (name, parent); the root of all comes last, its own parent."""
    waiting: list[str] = []  # by lane, the version that is to come in it
    drawn = []
    for name, parent in parents:
        if name not in waiting:
            waiting.append(name)
        at, n = waiting.index(name), len(waiting)
        join = ""
        if parent in waiting and parent != name:
            low, high = sorted((at, waiting.index(parent)))
            waiting[low] = parent
            del waiting[high]
            join = _join(n, low, high)
        else:
            waiting[at] = parent
        drawn.append(Lanes(" ".join("*" if i == at else "|" for i in range(n)), " ".join("|" * n), join))
    return drawn


def _join(n: int, low: int, high: int) -> str:
    """One of `n` lanes runs into one at its left; those at its right move up: `|/`, `|_|/`, `|/ /`."""
    row = [" "] * (2 * n - 1)
    row[: 2 * high : 2] = "|" * high
    row[2 * low + 1 : 2 * high - 1 : 2] = "_" * (high - low - 1)
    row[2 * high - 1 :: 2] = "/" * (n - high)
    return "".join(row).rstrip()
