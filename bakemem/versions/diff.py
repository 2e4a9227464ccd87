"""What changed from one version to another: memories and scores.

Knows no weights and no storage; None stands for the base, which holds nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from bakemem.types import Memory, Report, Version


@dataclass(frozen=True, slots=True)
class VersionDiff:
    """From version `old` to version `new` (None: the base); `scores` are the new report's figures less the old's."""

    old: str | None
    new: str | None
    added: tuple[Memory, ...]
    removed: tuple[Memory, ...]
    scores: Mapping[str, float]


def diff(old: Version | None, new: Version | None, memories: Iterable[Memory]) -> VersionDiff:
    """Compares two versions; `memories` are those of their namespace, in the order in which to list them.

    Memories that are in neither list of `memories` (erased ones) are left out; scores are empty beside the base.
    """
    before = set(old.memory_ids) if old else set()
    after = set(new.memory_ids) if new else set()
    listed = list(memories)
    return VersionDiff(
        old=old.name if old else None,
        new=new.name if new else None,
        added=tuple(m for m in listed if m.id in after - before),
        removed=tuple(m for m in listed if m.id in before - after),
        scores=_deltas(old.report, new.report) if old and new else {},
    )


def _deltas(old: Report, new: Report) -> dict[str, float]:
    pairs = ((f.name, getattr(old, f.name), getattr(new, f.name)) for f in dataclasses.fields(Report))
    return {name: after - before for name, before, after in pairs if isinstance(before, float) and after is not None}
