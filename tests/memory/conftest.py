"""Values for the tests of the memory room: a journal in a fresh home, and versions to commit to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bakemem.memory import Journal
from bakemem.types import Adapter, Memory, Report, Version

MakeVersion = Callable[..., Version]


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    """A new journal."""
    opened = Journal(tmp_path / "journal.db")
    yield opened
    opened.close()


@pytest.fixture
def make_version(tmp_path: Path) -> MakeVersion:
    """Makes a version of some memories, accepted unless told otherwise."""

    def make(
        name: str, memories: Sequence[Memory] = (), parent: str | None = None, accepted: bool = True,
        namespace: str = "default",
    ) -> Version:  # fmt: skip
        report = Report(
            kl_before=4.0, kl_after=0.05, agreement=0.98, recall=0.99, abstention=1.0, drift=0.0, steps=60,
            seconds=14.5, accepted=accepted, reasons=() if accepted else ("agreement 0.50 is under 0.90",),
        )  # fmt: skip
        return Version(
            name=name, id=f"{int(name[1:]):012x}", namespace=namespace, parent=parent,
            status="accepted" if accepted else "rejected", created=datetime.now(UTC),
            memory_ids=tuple(m.id for m in memories), prompt_sha256="0" * 64,
            adapter=Adapter(tmp_path / "versions" / name, "base-1"), report=report, settings={"rank": 16, "seed": 0},
        )  # fmt: skip

    return make


@pytest.fixture
def make_memory() -> Callable[..., Memory]:
    """Makes a memory that no journal holds; each is a minute younger than the one before."""
    made: list[Memory] = []
    noon = datetime(2025, 1, 1, 12, tzinfo=UTC)

    def make(text: str, kind: str = "fact", key: str | None = None, status: str = "pending") -> Memory:
        memory = Memory(
            id=f"{len(made):016x}", namespace="default", kind=kind, key=key or f"key{len(made)}",  # type: ignore[arg-type]
            text=text, status=status, created=noon + len(made) * timedelta(minutes=1),  # type: ignore[arg-type]
        )  # fmt: skip
        made.append(memory)
        return memory

    return make
