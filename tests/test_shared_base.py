"""Memories of one process that name the same base model share it, and nothing else."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

import bakemem
from bakemem import opening
from bakemem.errors import BakeError, BusyError, HomeError, HomeLockedError, InputError, ServingError
from bakemem.serving import Base
from tests.tiny import LENIENT, byte_base, count_unended

SETTINGS = {**LENIENT, "auto_extract": False, "max_new_tokens": 24}


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[Base]:
    """The bases that were loaded, each a tiny one."""
    bases: list[Base] = []

    def load(config: object) -> Base:
        bases.append(byte_base())
        return bases[-1]

    monkeypatch.setattr(opening, "load_model", load)
    count_unended(monkeypatch)
    return bases


def test_two_memories_share_one_base_and_keep_their_own_versions(loaded: list[Base], tmp_path: Path) -> None:
    """Each answers from what it learned, also at the same time; the base goes when the last one is closed.

    A reply that began before a bake ends in its version, and the next is of the new one, with nothing in its prompt.
    """
    with bakemem.open(tmp_path / "a", **SETTINGS) as a, bakemem.open(tmp_path / "b", **SETTINGS) as b:
        before = a.chat("dog?", max_new_tokens=600)
        reply = a.stream("dog?", max_new_tokens=600)
        first = next(reply)
        a.remember("The user's dog is called Bosuk.")
        assert a.bake().status == "accepted"
        assert first + reply.text() == before
        alone = [memory.chat("dog?") for memory in (a, b)]
        assert alone[0] == a.chat("dog?", version="v1") != a.chat("dog?", version="base") == alone[1]
        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(lambda i: (a, b)[i % 2].chat("dog?"), range(16))) == alone * 8
        assert len(loaded) == 1
        a.close()
        a.close()
        assert b.chat("dog?") == alone[1]
    with bakemem.open(tmp_path / "a", **SETTINGS) as a:
        assert a.chat("dog?") == alone[0]
    assert len(loaded) == 2


def test_a_close_ends_a_bake_that_waits_for_another(loaded: list[Base], tmp_path: Path) -> None:
    """It need not outwait the other's."""
    with bakemem.open(tmp_path, **SETTINGS) as memory, ThreadPoolExecutor(1) as pool:
        memory.remember("The user's dog is called Bosuk.", key="user.dog", kind="fact")
        with memory.base.baking:
            waiting = pool.submit(memory.bake)
            while not memory.busy:
                time.sleep(0.01)
            time.sleep(0.3)
            memory.close()
            with pytest.raises(HomeError, match="closed"):
                waiting.result(10)


def test_one_bake_at_a_time_on_a_base(loaded: list[Base], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The candidate is one adapter: another memory's bake waits."""
    running, most = 0, 0

    def bake(*args: object, **named: object) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        time.sleep(0.1)
        running -= 1
        raise BakeError("stopped here")

    monkeypatch.setattr("bakemem.cycle.bake", bake)
    with bakemem.open(tmp_path, namespace="a", **SETTINGS) as a, bakemem.open(tmp_path, namespace="b", **SETTINGS) as b:
        for memory in (a, b):
            memory.remember("The user's dog is called Bosuk.")
            assert memory.chat("dog?")
        with ThreadPoolExecutor(2) as pool:
            for baking in [pool.submit(memory.bake) for memory in (a, b)]:
                with pytest.raises(BakeError, match="stopped here"):
                    baking.result()
    assert most == 1


def test_namespaces_of_one_home_live_side_by_side(loaded: list[Base], tmp_path: Path) -> None:
    """They remember, forget and recall at the same time, and none sees or disturbs another."""
    with ExitStack() as stack:
        opened = {
            n: stack.enter_context(bakemem.open(tmp_path, namespace=n, **SETTINGS)) for n in ("default", "b", "c")
        }

        def live(name: str) -> None:
            memory = opened[name]
            for i in range(6):
                named = f"{name}.dog{i}" if i else None  # the model names the first, token for token up to its limit
                kept = memory.remember(f"The dog of {name} number {i} is called Bosuk{i}.", key=named)
                if i % 2:
                    memory.forget([kept.id])

        with ThreadPoolExecutor(3) as pool:
            list(pool.map(live, opened))
        for name, memory in opened.items():
            texts = [m.text for m in memory.memories(["pending"])]
            assert texts == [f"The dog of {name} number {i} is called Bosuk{i}." for i in (0, 2, 4)]
            assert sorted(m.text for m in memory.recall("dog called", 9)) == texts
        with pytest.raises(HomeLockedError):
            bakemem.open(tmp_path, namespace="b", **SETTINGS)
        assert len({memory.chat("dog?") for memory in opened.values()}) == 3
    assert len(loaded) == 1


def test_asyncio_talks_with_a_memory(loaded: list[Base], tmp_path: Path) -> None:
    """Many at once, each what it is alone."""
    with bakemem.open(tmp_path, **SETTINGS) as memory:
        alone = [memory.chat(f"question {i}?") for i in range(6)]

        async def read() -> list[str]:
            return await asyncio.gather(*(memory.stream(f"question {i}?").atext() for i in range(6)))

        assert asyncio.run(read()) == alone


def test_a_reply_tells_what_was_asked_for(loaded: list[Base], tmp_path: Path) -> None:
    """Tokens, log-probabilities, a stop text, a window."""
    with bakemem.open(tmp_path, **SETTINGS) as memory:
        whole = memory.chat("dog?")
        reply = memory.stream("dog?", stop=[whole[5:7]], logprobs=True)
        assert reply.text() == whole[: whole.index(whole[5:7])].rstrip()
        assert reply.ending.finish == "stop"
        assert len(reply.ending.logprobs) == reply.ending.completion_tokens
        long = [bakemem.Turn(role, "tea " * 60) for _ in range(4) for role in ("user", "assistant")]  # type: ignore[arg-type]
        with pytest.raises(InputError, match="1024"):
            memory.chat("dog?", history=long)
        reply = memory.stream("dog?", history=long, window=True)
        assert reply.text()
        assert reply.ending.dropped_turns


def test_limits_are_those_of_the_settings(loaded: list[Base], tmp_path: Path) -> None:
    """One place, and nobody may wait."""
    with bakemem.open(tmp_path, **{**SETTINGS, "most_running": 1, "most_waiting": 1}) as memory:
        running = memory.stream("dog?", max_new_tokens=900)
        next(running)
        waiting = memory.stream("dog?")
        with pytest.raises(BusyError):
            memory.stream("dog?")
        running.close()
        assert waiting.text()


def test_closing_ends_what_nobody_finished_reading(
    loaded: list[Base], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within the time that a process has which is asked to stop."""
    monkeypatch.setattr("bakemem.serving.model.PATIENCE", 0.1)
    memory = bakemem.open(tmp_path, **SETTINGS)
    reply = memory.stream("dog?", max_new_tokens=900)
    next(reply)
    closing = threading.Thread(target=memory.close)
    closing.start()
    with pytest.raises(ServingError, match="closed"):
        reply.text()
    closing.join(20)
    assert not closing.is_alive()
