"""How many meaning indexes a process keeps open."""

from __future__ import annotations

import pytest

from bakemem.memory.last_used import most_open

resource = pytest.importorskip("resource")


def test_as_many_are_open_as_the_files_of_the_process_allow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A third of its descriptors at most, and never more than 32 indexes."""
    for files, most in ((1_024, 32), (256, 8), (20, 1), (1 << 20, 32), (resource.RLIM_INFINITY, 32)):
        monkeypatch.setattr(resource, "getrlimit", lambda which, files=files: (files, files))
        assert most_open() == most
