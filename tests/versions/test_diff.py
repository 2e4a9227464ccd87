"""What changed between two versions is told in memories and scores."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bakemem.types import Memory, Version
from bakemem.versions import Manifest, diff

MEMORIES = [
    Memory(i, "default", "fact", i, f"Text {i}.", "baked", datetime(2025, 1, 1, tzinfo=UTC)) for i in ("a", "b", "c")
]


@pytest.fixture
def versions(make_manifest: Callable[..., Manifest]) -> tuple[Version, Version]:
    """v1 with a and b; v2 with b, c and one that was erased, less faithful to its teacher."""
    one = make_manifest("v1").version(Path("v1"))
    report = dataclasses.replace(one.report, agreement=0.93)
    return (
        dataclasses.replace(one, memory_ids=("a", "b")),
        dataclasses.replace(one, name="v2", memory_ids=("c", "b", "erased"), report=report),
    )


def test_added_and_removed_memories_and_score_changes(versions: tuple[Version, Version]) -> None:
    """In the order of the given memories; what was erased is not listed."""
    change = diff(*versions, MEMORIES)
    assert (change.old, change.new) == ("v1", "v2")
    assert [m.id for m in change.added] == ["c"]
    assert [m.id for m in change.removed] == ["a"]
    assert change.scores["agreement"] == pytest.approx(-0.05)
    assert change.scores["recall"] == 0


def test_the_base_holds_nothing(versions: tuple[Version, Version]) -> None:
    """From the base everything is added, to it everything removed, and there are no scores to compare."""
    up, down = diff(None, versions[0], MEMORIES), diff(versions[0], None, MEMORIES)
    assert [m.id for m in up.added] == [m.id for m in down.removed] == ["a", "b"]
    assert up.removed == down.added == ()
    assert up.scores == down.scores == {}
    assert diff(None, None, MEMORIES).added == ()
