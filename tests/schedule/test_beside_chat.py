"""A schedule on a real memory with a tiny model: beside chat, and at the end of it."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bakemem.agent_memory import AgentMemory
from bakemem.schedule import Schedule
from bakemem.serving import Base
from bakemem.types import Turn
from tests.tiny import OpenMemory

ALWAYS = {"bake_memories": 1, "most_load": 0.0, "quiet_hours": "", "idle_minutes": 0.0, "min_adherence": 0.0}


def wait_for(condition: Any, seconds: float = 60.0) -> None:
    """Until it holds; fails when it never does."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it never came"
        time.sleep(0.01)


@pytest.fixture
def memory(open_memory: OpenMemory) -> AgentMemory:
    """A memory with a fact pending, which may be baked at any time."""
    made = open_memory(**ALWAYS)
    made.remember("The user's dog is called Bosuk.", key="user.dog")
    return made


def test_a_memory_bakes_itself_while_people_chat(memory: AgentMemory) -> None:
    """Replies come all the while, and the new version serves in the end."""
    with memory.scheduled():
        replies, until = 0, time.monotonic() + 120
        while memory.live is None and time.monotonic() < until:
            memory.chat(f"Question {replies} about cats?")
            replies += 1
    assert replies > 0
    assert (memory.live, memory.pending_prompt()) == ("v1", "")
    job = memory.jobs.all()["bake"]
    assert (job.outcome, job.detail) == ("done", "v1 is live.")


def test_a_scheduled_bake_queues_behind_no_other_memorys(memory: AgentMemory, tiny_base: Base) -> None:
    """It would begin at an hour when it may not, and keep rollbacks out till then: it ends, and is due again after."""
    made = Schedule(memory, load=lambda: None)
    with tiny_base.baking:  # another namespace bakes on this base, and this one has loaded nothing yet
        assert made.tick() == "bake"
        job = memory.jobs.all()["bake"]
        assert (job.outcome, job.failures) == ("stopped", 0)
        assert job.detail.startswith("Another memory bakes")
        assert made.decision().waits_for == "the bake that runs"
        assert memory.rollback("base") == []
    assert made.decision().action == "bake"


def test_close_in_the_midst_of_a_bake_waits_for_no_end(open_memory: OpenMemory) -> None:
    """Neither for the bake, nor for chat, nor for what is still to be read; the next opening goes on."""
    memory = open_memory(**{**ALWAYS, "steps": 5000})
    memory.remember("The user's dog is called Bosuk.", key="user.dog")
    schedule = memory.scheduled().start()
    chatting = threading.Event()

    def chat() -> None:
        try:
            while True:
                memory.chat("Cats?")
                chatting.set()
        except Exception:  # it was closed
            return

    threads = [threading.Thread(target=chat, daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    wait_for(lambda: memory.busy and chatting.is_set())
    wait_for(memory._store.unfinished)
    closer = threading.Thread(target=memory.close)
    closer.start()
    closer.join(60)
    assert not closer.is_alive()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    schedule.stop()
    again = open_memory(**ALWAYS)
    assert again.jobs.all()["bake"].outcome == "stopped"
    assert again.live is None
    assert again._store.unfinished()


def test_close_does_not_wait_for_turns_to_be_read(open_memory: OpenMemory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bake reads what was observed first; with a slow extractor that may take long, and it is left for later."""
    memory = open_memory(**ALWAYS)
    reads = threading.Event()

    class Slow:
        def extract(self, turn: Turn) -> list[Any]:
            reads.set()
            time.sleep(0.05)
            return []

    monkeypatch.setattr(AgentMemory, "_extractor", Slow())
    memory.remember("The user's dog is called Bosuk.", key="user.dog")
    memory.observe([Turn("user", f"Turn {i}.") for i in range(900)])
    schedule = memory.scheduled().start()
    assert reads.wait(10)
    wait_for(lambda: memory.busy)
    began = time.monotonic()
    schedule.stop()
    assert time.monotonic() - began < 10
    assert memory.unread()
    memory.close()


def test_the_meter_asks_at_the_length_of_the_conversation(memory: AgentMemory) -> None:
    """Of what is pending, after the last reply's history; what was forgotten takes the conversation along."""
    history = [Turn("user", "Hello."), Turn("assistant", "Hello.")] * 20
    memory.chat("And now?", history=history)
    assert memory.conversation == tuple(history)
    found = memory.adherence()
    assert 0 <= found.kept <= found.asked <= 1
    assert found.tokens > 80
    assert memory.adherence([]).tokens == 0
    made = Schedule(memory, clock=lambda: datetime.now(UTC) + timedelta(hours=1))
    assert made.decision().action == "bake"
    memory.forget([memory.memories()[0].id])
    assert memory.conversation == ()
    assert memory.adherence().share == 1.0
