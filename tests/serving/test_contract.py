"""What every engine promises, asked of the one in this process and of the fake."""

from __future__ import annotations

import asyncio
import gc
import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bakemem.errors import AdapterError, BusyError, InputError, ServingError
from bakemem.serving import Base, Engine, Limits, LocalEngine, Reply, Request, Sampling
from bakemem.testing import FakeEngine
from bakemem.types import Turn

ASKED = (Turn("user", "Question 1 about cats?"),)
LONG = Sampling(max_new_tokens=150)
SHORT = Sampling(max_new_tokens=12)


@dataclass
class Case:
    """An engine; `narrow(n)` is another of its kind, in which one reply runs and n of each namespace wait."""

    engine: Engine
    narrow: Callable[[int], Engine]


def told(request: Request) -> str:
    """What the fake answers: long, and another text for each adapter, strength and question."""
    asked = request.turns[-1].content
    return " ".join(f"{request.adapter_id}-{request.strength}-{len(asked)}-{n}" for n in range(1000))


@pytest.fixture(params=["local", "fake"])
def case(request: pytest.FixtureRequest, tiny_base: Base, folders: dict[str, Path]) -> Iterator[Case]:
    """Each kind of engine, with the adapters `one` and `two`."""
    made: list[Engine] = []

    def ready(engine: Engine) -> Engine:
        made.append(engine)
        for name, folder in folders.items():
            engine.attach(name, folder)
        return engine

    if request.param == "fake":
        yield Case(ready(FakeEngine(told, pace=0.002)), lambda n: ready(FakeEngine(told, pace=0.002, waiting=n)))
    else:  # its random answers do not end by themselves
        yield Case(ready(LocalEngine(tiny_base)), lambda n: ready(LocalEngine(tiny_base, Limits(1, n))))
    for engine in made:
        engine.close(0)


def ask(engine: Engine, adapter_id: str | None = None, sampling: Sampling = SHORT, **changes: Any) -> Reply:
    """A reply to the usual question."""
    return engine.submit(Request(ASKED, adapter_id, sampling=sampling, **changes))


def test_each_adapter_answers_as_itself(case: Case) -> None:
    """Base and both adapters differ, at half strength too, and asking one changes no other."""
    wanted: list[tuple[str | None, float]] = [(None, 1.0), ("one", 1.0), ("two", 1.0), ("one", 0.5)]
    first = [ask(case.engine, a, strength=s).text() for a, s in wanted]
    assert len(set(first)) == 4
    assert [ask(case.engine, a, strength=s).text() for a, s in reversed(wanted)] == first[::-1]


def test_replies_that_run_together_are_what_each_is_alone(case: Case) -> None:
    """Eight threads, all adapters and three strengths, questions of different lengths: no reply is mixed."""
    rng = random.Random(0)
    wanted = [
        Request((Turn("user", f"Question {i} about {'cats ' * (i % 7)}?"),), rng.choice([None, "one", "two"]),
                rng.choice([1.0, 0.5, 2.0]), Sampling(max_new_tokens=5 + i % 9))
        for i in range(40)
    ]  # fmt: skip
    alone = [case.engine.submit(request).text() for request in wanted]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda request: case.engine.submit(request).text(), wanted)) == alone


def test_a_reply_that_began_before_its_adapter_left_ends_in_it(case: Case, folders: dict[str, Path]) -> None:
    """New requests are refused meanwhile; afterwards it can be attached again."""
    alone = ask(case.engine, "one", LONG).text()
    reply = ask(case.engine, "one", LONG)
    first = next(reply)
    case.engine.detach("one")
    assert case.engine.attached() == {"two"}
    with pytest.raises(AdapterError):
        ask(case.engine, "one")
    assert first + reply.text() == alone
    case.engine.attach("one", folders["one"])
    assert ask(case.engine, "one", LONG).text() == alone


def test_an_adapter_that_cannot_be_read_changes_nothing(case: Case, tmp_path: Path) -> None:
    """The running reply goes on, and the others answer as before."""
    alone = ask(case.engine, "one", LONG).text()
    reply = ask(case.engine, "one", LONG)
    first = next(reply)
    with pytest.raises(AdapterError):
        case.engine.attach("bad", tmp_path / "nowhere")
    assert case.engine.attached() == {"one", "two"}
    assert first + reply.text() == alone


def test_detaching_the_unknown_is_no_error(case: Case) -> None:
    """It is not there, which is what was wanted."""
    case.engine.detach("never heard of")


@pytest.mark.parametrize("how", ["close", "let go"])
def test_a_reply_that_nobody_reads_frees_its_place(case: Case, how: str) -> None:
    """Closed, or let go of by its reader."""
    engine = case.narrow(5)
    reply = ask(engine, "one", Sampling(max_new_tokens=1800))
    next(reply)
    if how == "close":
        reply.close()
    else:
        del reply
        gc.collect()
    began = time.monotonic()
    ask(engine, "two").text()
    assert time.monotonic() - began < 1.0  # the rest of the first would take longer


def test_what_a_reader_closed_ends_as_cancelled(case: Case) -> None:
    """With the pieces that had come before."""
    reply = ask(case.engine, None, Sampling(max_new_tokens=1800))
    next(reply)
    reply.close()
    reply.text()
    assert reply.ending.finish == "cancelled"


def test_what_is_closed_while_it_waits_ends_at_once(case: Case) -> None:
    """Whoever reads it wakes, while what it waited for goes on; others get their place all the same."""
    engine = case.narrow(5)
    running = ask(engine, "one", Sampling(max_new_tokens=1800))
    next(running)
    waiting, later = ask(engine, "two"), ask(engine, "two")
    with ThreadPoolExecutor(1) as pool:
        read = pool.submit(waiting.text)
        time.sleep(0.05)
        waiting.close()
        assert read.result(5) == ""
    assert (waiting.ending.finish, waiting.ending.completion_tokens) == ("cancelled", 0)
    with pytest.raises(ServingError, match="not ended"):
        _ = running.ending
    running.close()
    assert later.text()


def test_too_many_requests_are_refused(case: Case) -> None:
    """Clearly, and at once; those of another namespace are not."""
    engine = case.narrow(2)
    running = ask(engine, None, LONG)
    next(running)
    replies = [ask(engine) for _ in range(2)]
    with pytest.raises(BusyError, match="wait"):
        ask(engine)
    replies.append(ask(engine, namespace="another"))
    running.close()
    assert all(reply.text() for reply in replies)


@pytest.mark.parametrize("waiting", [0, 2])
def test_only_those_that_wait_are_counted(case: Case, waiting: int) -> None:
    """Of a burst one has the place, also before it is given out; so nobody need be allowed to wait."""
    engine = case.narrow(waiting)
    replies = [ask(engine, None, LONG) for _ in range(1 + waiting)]
    with pytest.raises(BusyError, match="wait"):
        ask(engine)
    for reply in replies:
        reply.close()


def test_places_go_round_between_namespaces(case: Case) -> None:
    """Whoever asks once does not wait for all that another asked before."""
    engine, ended = case.narrow(20), list[str]()

    def read(name: str, reply: Reply) -> None:
        reply.text()
        ended.append(name)

    running = ask(engine, None, LONG)
    next(running)
    asked = [("many", ask(engine, namespace="many", sampling=LONG)) for _ in range(5)]
    asked.append(("one", ask(engine, namespace="one")))
    readers = [threading.Thread(target=read, args=each) for each in asked]
    for reader in readers:
        reader.start()
    running.close()
    for reader in readers:
        reader.join()
    assert ended.index("one") <= 1


def test_asyncio_reads_replies_side_by_side(case: Case) -> None:
    """Each is what it is alone."""
    alone = {name: ask(case.engine, name).text() for name in (None, "one", "two")}

    async def read() -> list[str]:
        return await asyncio.gather(*(ask(case.engine, name).atext() for name in alone))

    assert asyncio.run(read()) == list(alone.values())


def test_a_cancelled_task_frees_its_place(case: Case) -> None:
    """As a client that has gone."""
    engine = case.narrow(5)

    async def leave() -> None:
        task = asyncio.create_task(ask(engine, "one", Sampling(max_new_tokens=1800)).atext())
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(leave())
    began = time.monotonic()
    ask(engine, "two").text()
    assert time.monotonic() - began < 1.0


def test_closing_lets_replies_end(case: Case) -> None:
    """Those that have the time; no other begins."""
    reply = ask(case.engine)
    case.engine.close(10)
    assert reply.text()
    assert reply.ending.completion_tokens == 12
    with pytest.raises(ServingError, match="closed"):
        ask(case.engine)


def test_closing_ends_what_takes_too_long(case: Case) -> None:
    """With an error for its reader, running or waiting."""
    engine = case.narrow(5)
    replies = [ask(engine, "one", Sampling(max_new_tokens=1800)) for _ in range(2)]
    next(replies[0])
    began = time.monotonic()
    engine.close(0.2)
    assert time.monotonic() - began < 2.0
    for reply in replies:
        with pytest.raises(ServingError, match="closed"):
            reply.text()


def test_a_stop_text_ends_a_reply(case: Case) -> None:
    """It is not part of it, and nothing behind it is."""
    whole = ask(case.engine, "one", LONG).text()
    stop = whole[40:46]
    reply = ask(case.engine, "one", Sampling(max_new_tokens=150, stop=("never said", stop)))
    assert reply.text() == whole[: whole.index(stop)].rstrip()
    assert reply.ending.finish == "stop"


def test_an_ending_counts_tokens(case: Case) -> None:
    """There is none before the end."""
    reply = ask(case.engine, "one", LONG)
    next(reply)
    with pytest.raises(ServingError, match="not ended"):
        _ = reply.ending
    reply.text()
    assert (reply.ending.finish, reply.ending.completion_tokens) == ("length", 150)
    assert reply.ending.prompt_tokens > 0


def test_an_adapter_that_is_not_there_is_refused(case: Case) -> None:
    """Before anything waits."""
    with pytest.raises(AdapterError):
        ask(case.engine, "three")


@pytest.mark.parametrize("turns", [
    [], [Turn("user", "  ")], [Turn("user", "a"), Turn("assistant", "b")], [Turn("wizard", "a"), Turn("user", "b")],  # type: ignore[arg-type]
])  # fmt: skip
def test_conversations_without_a_question_are_refused(case: Case, turns: list[Turn]) -> None:
    """Empty ones, and roles that nobody knows."""
    with pytest.raises(InputError):
        case.engine.submit(Request(turns))


@pytest.mark.parametrize("changes", [
    {"stop": ("x",) * 10_000}, {"stop": ("",)}, {"stop": ("x" * 10_000,)}, {"temperature": -1.0}, {"temperature": 99.0},
    {"temperature": float("nan")}, {"top_p": 0.0}, {"top_p": 1.5}, {"max_new_tokens": 0},
])  # fmt: skip
def test_what_cannot_be_sampled_is_refused(case: Case, changes: dict[str, Any]) -> None:
    """At once, by the name of what is wrong."""
    with pytest.raises(InputError, match=next(iter(changes)).split("_")[0].replace("temp", "Temp")):
        ask(case.engine, None, Sampling(**changes))


@pytest.mark.parametrize("strength", [-0.1, 4.5, float("nan"), float("inf")])
def test_a_strength_out_of_range_is_refused(case: Case, strength: float) -> None:
    """Negative memory does not exist."""
    with pytest.raises(InputError, match="Strength"):
        ask(case.engine, "one", strength=strength)
