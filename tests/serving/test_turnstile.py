"""Who may use the model: replies first, other work for its share of the time."""

from __future__ import annotations

import threading
import time

import pytest

from bakemem.serving.turnstile import Turnstile


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """The time now."""
        return self.now


def began(lock: Turnstile, replying: bool = False) -> threading.Event:
    """Another thread takes the lock for a moment; set once it had it."""
    had = threading.Event()

    def take() -> None:
        with lock.replying() if replying else lock:
            had.set()

    threading.Thread(target=take, daemon=True).start()
    return had


def test_one_thread_at_a_time() -> None:
    """Whatever it does; and the holder may take it again."""
    lock = Turnstile()
    with lock, lock, lock.replying():
        other, reply = began(lock), began(lock, replying=True)
        assert not other.wait(0.05)
        assert not reply.is_set()
    assert other.wait(1)
    assert reply.wait(1)


@pytest.mark.parametrize(("share", "owed"), [(0.5, 2.0), (0.25, 6.0), (0.8, 0.5)])
def test_other_work_waits_until_replies_had_their_time(share: float, owed: float) -> None:
    """After two seconds of it: as long again at a half, three times as long at a quarter."""
    clock = Clock()
    lock = Turnstile(share, clock)
    lock.busy(True)
    with lock:
        clock.now += 2.0
    other = began(lock)
    with lock.replying():
        clock.now += owed - 0.01
    assert not other.wait(0.05)
    with lock.replying():
        clock.now += 0.02
    assert other.wait(1)


def test_nothing_is_owed_when_no_reply_runs() -> None:
    """Neither before nor after they have ended."""
    clock = Clock()
    lock = Turnstile(0.5, clock)
    with lock:
        clock.now += 9.0
    assert began(lock).wait(1)
    lock.busy(True)
    with lock:
        clock.now += 9.0
    other = began(lock)
    assert not other.wait(0.05)
    lock.busy(False)
    assert other.wait(1)


def test_neither_starves_the_other_at_equal_turns() -> None:
    """With a share of 1 nothing is owed, and two that never pause go turn by turn."""
    lock, counts, stop = Turnstile(1.0), {"other": 0, "reply": 0}, threading.Event()
    lock.busy(True)

    def work(name: str) -> None:
        while not stop.is_set():
            with lock.replying() if name == "reply" else lock:
                counts[name] += 1
                time.sleep(0.001)

    threads = [threading.Thread(target=work, args=[name]) for name in counts]
    for thread in threads:
        thread.start()
    time.sleep(0.3)
    stop.set()
    for thread in threads:
        thread.join()
    assert min(counts.values()) > 0.7 * max(counts.values())


def test_who_holds_it_lets_replies_pass() -> None:
    """Between two steps, if any wait; and holds it again as deep as before."""
    lock = Turnstile()
    with lock, lock:
        assert not lock.let_pass()
        reply = began(lock, replying=True)
        deadline = time.monotonic() + 1
        while not lock.let_pass():
            assert time.monotonic() < deadline
        assert reply.wait(1)
        other = began(lock)
        assert not other.wait(0.05)
    assert other.wait(1)
