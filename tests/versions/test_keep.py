"""What gc leaves alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from bakemem.types import Adapter, Gone, Report, Version, VersionStatus
from bakemem.versions import kept


def version(number: int, holds: Iterable[str], status: VersionStatus = "accepted", gone: Gone = "") -> Version:
    """A version that holds the memories of these letters."""
    report = Report(4.0, 0.05, 0.98, 0.99, 1.0, 0.0, 60, 14.5, status == "accepted")
    return Version(f"v{number}", f"{number:012x}", "default", None, status, datetime(2025, 1, 1, tzinfo=UTC),
                   tuple(holds), "0" * 64, Adapter(Path(), "base-1"), report, gone=gone)  # fmt: skip


def versions_of(*held: str) -> list[Version]:
    """Accepted versions v1, v2 … that hold the memories of these letters."""
    return [version(n, holds) for n, holds in enumerate(held, start=1)]


def test_the_newest_and_the_pinned_stay_with_the_reason() -> None:
    """A pin is the better reason; nought newest keeps only the pins."""
    versions = versions_of("", "", "", "")
    assert kept(versions, newest=2, pinned={"v1": "live", "v4": "tagged good"}, held=()) == {
        "v1": "live", "v3": "among the newest 2", "v4": "tagged good",
    }  # fmt: skip
    assert kept(versions, newest=0, pinned={"v2": "live"}, held=()) == {"v2": "live"}
    assert list(kept(versions, newest=9, pinned={"v3": "live"}, held=())) == ["v1", "v2", "v3", "v4"]


def test_what_alone_holds_a_held_memory_stays() -> None:
    """The newest such version that may serve; one that is kept anyway is enough."""
    versions = versions_of("a", "ab", "abc", "b", "d")
    assert kept(versions, newest=1, pinned={}, held="ab") == {
        "v5": "among the newest 1", "v4": "alone holds held memories: b", "v3": "alone holds held memories: a",
    }  # fmt: skip
    assert set(kept(versions, newest=1, pinned={"v2": "live"}, held="ab")) == {"v5", "v2"}
    assert set(kept(versions, newest=1, pinned={}, held="ab", unfit={"v4", "v3"})) == {"v5", "v2"}
    versions[2] = dataclasses.replace(versions[2], status="rejected")
    assert set(kept(versions, newest=1, pinned={}, held="a")) == {"v5", "v2"}


@given(
    st.lists(
        st.tuples(st.sets(st.sampled_from("abcd")), st.sampled_from(("accepted", "rejected")), st.booleans()),
        max_size=8,
    ),
    st.integers(0, 9),
    st.sets(st.sampled_from("abcd")),
    st.sets(st.integers(1, 8)),
)
def test_nothing_that_a_rollback_could_bring_back_is_lost(
    drawn: list[tuple[set[str], VersionStatus, bool]], newest: int, held: set[str], pins: set[int]
) -> None:
    """Whatever is held and was in a version that may serve is in one that stays; the newest and the pins stay."""
    versions = [version(n, ids, status, "collected" if gone else "") for n, (ids, status, gone) in enumerate(drawn, 1)]
    there = [v for v in versions if not v.gone]
    stay = kept(versions, newest=newest, pinned={f"v{n}": "tagged x" for n in pins}, held=held)
    assert set(stay) <= {v.name for v in there}
    assert {v.name for v in there[-newest:] if newest} <= set(stay)
    assert {v.name for v in there if int(v.name[1:]) in pins} <= set(stay)
    for memory in held:
        holding = {v.name for v in there if memory in v.memory_ids and v.status == "accepted"}
        assert not holding or holding & set(stay)
