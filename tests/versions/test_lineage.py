"""Which versions one goes back to, also where the rows are damaged."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from bakemem.versions import lineage


@pytest.mark.parametrize(("name", "parents", "found"), [
    ("v3", {"v1": None, "v2": "v1", "v3": "v1"}, ["v3", "v1"]),
    ("v2", {"v1": None, "v2": "v1", "v3": "v1"}, ["v2", "v1"]),
    (None, {"v1": None}, []),
    ("v9", {"v1": None}, []),
    ("v2", {"v1": "v9", "v2": "v1"}, ["v2", "v1"]),
    ("v2", {"v1": "v2", "v2": "v1"}, ["v2", "v1"]),
    ("v1", {"v1": "v1"}, ["v1"]),
])  # fmt: skip
def test_it_leads_back_to_the_first(name: str | None, parents: dict[str, str | None], found: list[str]) -> None:
    """It ends at the base, at a parent that is not there, and before it comes round again."""
    versions: list[Any] = [SimpleNamespace(name=n, parent=parent) for n, parent in parents.items()]
    assert [version.name for version in lineage(versions, name)] == found
