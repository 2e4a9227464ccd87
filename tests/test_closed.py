"""A memory that was closed belongs to whoever opens it next: its old owner changes and reads nothing any more."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest

from bakemem.agent_memory import AgentMemory
from bakemem.assistant import Assistant
from bakemem.errors import BakememError, HomeError, ServingError
from bakemem.memory import Journal
from bakemem.types import Turn
from tests.tiny import OpenMemory

USES: dict[str, Callable[[AgentMemory], object]] = {
    "remember": lambda m: m.remember("The user's cat is called Tarin."),
    "remember with a key": lambda m: m.remember("The user's cat is called Tarin.", key="user.cat"),
    "observe": lambda m: m.observe([Turn("user", "My cat is called Tarin.")]),
    "flush": lambda m: m.flush(),
    "memories": lambda m: m.memories(),
    "recall": lambda m: m.recall("dog"),
    "why": lambda m: m.why("What is my dog called?"),
    "forget": lambda m: m.forget(everything=True),
    "reindex": lambda m: m.reindex(),
    "chat": lambda m: m.chat("Hi."),
    "chat with the base": lambda m: m.chat("Hi.", version="base"),
    "bake": lambda m: m.bake(),
    "live": lambda m: m.live,
    "versions": lambda m: m.versions(),
    "rollback": lambda m: m.rollback("base"),
}


@pytest.mark.parametrize("used_before", [False, True])
def test_nothing_is_done_with_a_closed_memory(open_memory: OpenMemory, tmp_path: Path, used_before: bool) -> None:
    """Each use is an error of ours that says so, and the home stays as it was."""
    memory = open_memory()
    memory.remember("The user's dog is called Bosuk.", key="user.dog")
    if used_before:
        memory.recall("dog")
        memory.chat("Hi.")
    memory.close()
    for name, use in USES.items():
        with pytest.raises((HomeError, ServingError), match="closed"):
            pytest.fail(f"{name} gave {use(memory)}")
    memory.close()  # again does nothing
    journal = Journal(tmp_path / "journal.db", readonly=True)
    assert [m.text for m in journal.memories()] == ["The user's dog is called Bosuk."]
    journal.close()


def test_who_chats_while_it_is_closed_is_told_so(open_memory: OpenMemory) -> None:
    """A loop that asks again and again comes to its end."""
    memory, chatting, ends = open_memory(), threading.Event(), list[BakememError]()

    def chat() -> None:
        try:
            while True:
                memory.chat("Cats?")
                chatting.set()
        except BakememError as error:
            ends.append(error)

    thread = threading.Thread(target=chat, daemon=True)
    thread.start()
    assert chatting.wait(60)
    memory.close()
    thread.join(30)
    assert not thread.is_alive()
    assert len(ends) == 1


def test_a_reply_that_is_read_while_it_is_closed_is_logged(open_memory: OpenMemory) -> None:
    """As far as it came, whoever closes the memory; and what the user said is observed."""
    memory = open_memory(max_new_tokens=200)
    spoken = Assistant(memory).say("Hi.")
    next(spoken)
    closer = threading.Thread(target=memory.close)
    closer.start()
    for _ in spoken:
        pass
    closer.join(30)
    again = open_memory()
    [exchange] = again.conversations.tail("default", 5)
    assert exchange.reply
    assert spoken.said.startswith(exchange.reply)
    assert again.conversations.unheard() == []


def test_a_reply_that_nobody_holds_is_freed_before(open_memory: OpenMemory) -> None:
    """The memory does not hold it until it is closed."""
    memory = open_memory()
    spoken = weakref.ref(Assistant(memory).say("Hi."))
    gc.collect()
    assert spoken() is None


@pytest.mark.parametrize("failing", ["_shadow", "_gatherer"])
def test_a_failure_at_the_close_gives_the_home_free_all_the_same(
    open_memory: OpenMemory, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    """Another may open it, and the old owner is out, whatever went wrong."""

    def fail() -> None:
        raise HomeError("The disk is full.")

    memory = open_memory()
    monkeypatch.setattr(getattr(memory, failing), "close", fail)
    with pytest.raises(HomeError, match="disk is full"):
        memory.close()
    with pytest.raises(HomeError, match="was closed"):
        memory.memories()
    assert open_memory().memories() == []
