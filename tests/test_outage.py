"""An extractor that fails for a while: what was said meanwhile is in the next bake."""

from __future__ import annotations

import pytest

from bakemem.errors import InputError, ModelError
from bakemem.types import Draft, Memory, Turn
from tests.tiny import OpenMemory


class Outage:
    """An extractor that is out of order until it is told otherwise."""

    over = False

    def extract(self, turn: Turn) -> list[Draft]:
        """The turn as a fact."""
        if not self.over:
            raise ModelError("429 Too Many Requests")
        return [Draft("fact", "user.dog", turn.content)]

    def same(self, draft: Draft, memory: Memory) -> bool:
        """They are not."""
        return False


def test_what_reads_all_tries_again_what_failed_some_minutes_ago(
    open_memory: OpenMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bake and an erasure, in a process that goes on; no restart is needed."""
    extractor, now = Outage(), [0.0]
    memory = open_memory()
    monkeypatch.setattr(memory, "_make_extractor", lambda: extractor)
    monkeypatch.setattr(memory._gatherer, "_clock", lambda: now[0])
    memory.observe([Turn("user", "The user's dog is called Bosuk.")])
    assert memory.flush() == []
    assert [u.error for u in memory.unread()] == ["ModelError: 429 Too Many Requests"]
    extractor.over, now[0] = True, 600.0
    with pytest.raises(InputError, match="nothing to erase"):
        memory.erase(bake=False)
    assert [m.text for m in memory.flush()] == ["The user's dog is called Bosuk."]
    assert memory.unread() == []
