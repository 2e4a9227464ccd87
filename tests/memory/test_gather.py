"""The queue of observed turns and the thread that reads it: nothing is lost, nothing waits for the model."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections import defaultdict
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest

from bakemem.errors import HomeError, InputError, ModelError
from bakemem.memory import Gatherer, Journal, Observed, TurnQueue, gather
from bakemem.types import Draft, Memory, Provenance, Turn


class Reader:
    """Keeps each turn as a fact; fails as often as told, and waits while `gate` is closed."""

    def __init__(self, journal: Journal, failures: int = 0) -> None:
        self.journal, self.failures = journal, failures
        self.gate = threading.Event()
        self.gate.set()
        self.read: list[str] = []

    def __call__(self, observed: Observed) -> list[Memory]:
        """One memory a turn."""
        self.gate.wait(10)
        if self.failures:
            self.failures -= 1
            raise ModelError("no model")
        self.read.append(observed.turn.content)
        key = f"key{len(self.read)}"
        return [self.journal.add(Draft("fact", key, observed.turn.content), Provenance(), valid_from=observed.at)]


def test_turns_are_read_in_their_order_and_leave_the_queue(journal: Journal) -> None:
    """`flush` gives what was found since the last one."""
    reader = Reader(journal)
    gatherer = Gatherer(TurnQueue(journal), reader)
    gatherer.offer([Turn("user", "one"), Turn("user", "two")])
    gatherer.offer([Turn("user", "three")])
    assert [m.text for m in gatherer.flush()] == reader.read == ["one", "two", "three"]
    assert gatherer.flush() == []
    assert len(TurnQueue(journal)) == 0
    gatherer.close()


def test_offering_does_not_wait_for_reading(journal: Journal) -> None:
    """A slow model costs the chat nothing; a flush with a timeout comes back, and a later one has the rest."""
    reader = Reader(journal)
    reader.gate.clear()
    gatherer = Gatherer(TurnQueue(journal), reader)
    gatherer.offer([Turn("user", "one")])
    assert gatherer.flush(0.05) == []
    assert len(TurnQueue(journal)) == 1
    reader.gate.set()
    assert [m.text for m in gatherer.flush()] == ["one"]
    gatherer.close()


def test_a_full_queue_slows_the_chat_down(journal: Journal) -> None:
    """Back-pressure: with the limit reached, the next offer waits for a place."""
    reader = Reader(journal)
    reader.gate.clear()
    gatherer = Gatherer(TurnQueue(journal), reader, most_waiting=2)
    gatherer.offer([Turn("user", "one"), Turn("user", "two")])
    third = threading.Thread(target=gatherer.offer, args=([Turn("user", "three")],))
    third.start()
    third.join(0.2)
    assert third.is_alive()
    reader.gate.set()
    third.join(10)
    gatherer.flush()
    assert reader.read == ["one", "two", "three"]
    gatherer.close()


def test_a_turn_that_fails_is_tried_again_and_then_left_for_another_process(tmp_path: Path) -> None:
    """It stays in the queue with its error; the turns behind it are read."""
    journal = Journal(tmp_path / "journal.db")
    reader = Reader(journal, failures=3)
    gatherer = Gatherer(TurnQueue(journal), reader)
    gatherer.offer([Turn("user", "one")])
    assert gatherer.flush() == []
    [left] = TurnQueue(journal).waiting()
    assert (left.attempts, "no model" in left.error) == (3, True)
    gatherer.offer([Turn("user", "two")])
    assert [m.text for m in gatherer.flush()] == ["two"]
    gatherer.close()
    journal.close()

    again = Journal(tmp_path / "journal.db")
    later = Gatherer(TurnQueue(again), Reader(again))
    [memory] = later.flush()
    assert (memory.text, memory.valid_from) == ("one", left.at)
    later.close()
    again.close()


def test_an_error_that_no_database_can_hold_stops_nothing(journal: Journal) -> None:
    """A model may write half a surrogate pair, and the error quote it: the turns behind it are read."""
    queue = TurnQueue(journal)

    def read(observed: Observed) -> list[Memory]:
        if observed.turn.content == "one":
            raise ValueError("the model wrote \ud83d")
        return [journal.add(Draft("fact", "user.two", observed.turn.content), Provenance())]

    gatherer = Gatherer(queue, read)
    gatherer.offer([Turn("user", "one"), Turn("user", "two")])
    assert [m.text for m in gatherer.flush()] == ["two"]
    assert [o.error for o in queue.waiting()] == ["ValueError: the model wrote ?"]
    gatherer.close()


def test_a_turn_that_fails_is_tried_again_before_those_behind_it(journal: Journal) -> None:
    """A later turn may correct it, or take it back: their order is kept."""
    reader = Reader(journal, failures=2)
    gatherer = Gatherer(TurnQueue(journal), reader)
    gatherer.offer([Turn("user", "one"), Turn("user", "two")])
    gatherer.offer([Turn("user", "three")])
    gatherer.flush()
    assert reader.read == ["one", "two", "three"]
    gatherer.close()


def test_turns_that_failed_are_read_when_the_extractor_works_again(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a pause, though nobody says more: an outage of a second must not last until the next start."""
    monkeypatch.setattr(gather, "REST", 0.05)
    reader = Reader(journal, failures=3 * 2)
    gatherer = Gatherer(TurnQueue(journal), reader)
    gatherer.offer([Turn("user", "one")])
    until = time.monotonic() + 30
    while not reader.read and time.monotonic() < until:
        time.sleep(0.01)
    assert [m.text for m in gatherer.flush()] == reader.read == ["one"]
    assert len(TurnQueue(journal)) == 0
    gatherer.close()


def test_who_needs_all_that_was_said_has_it_tried_again(journal: Journal) -> None:
    """As a bake does: what failed some minutes ago, and not what failed just now or what a process died of."""
    queue, now = TurnQueue(journal), [0.0]
    queue.put([Turn("user", "too long for this machine")])
    for _ in range(3):
        queue.begin(queue.waiting()[0])
    reader = Reader(journal, failures=3)
    gatherer = Gatherer(queue, reader, clock=lambda: now[0])
    gatherer.offer([Turn("user", "one"), Turn("user", "two")])
    for read, later in ((["two"], 0.0), (["two"], gather.REST - 1), (["two", "one"], 1.0)):
        now[0] += later
        gatherer.once_more()
        gatherer.flush()
        assert reader.read == read
    assert [o.turn.content for o in queue.waiting()] == ["too long for this machine"]
    gatherer.close()


def test_a_turn_that_always_fails_is_tried_ever_more_rarely(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model may cost money; at least once an hour it has its chance."""
    monkeypatch.setattr(gather, "PAUSE", 0.0)
    queue, now, tries = TurnQueue(journal), [0.0], list[float]()

    def read(observed: Observed) -> list[Memory]:
        tries.append(now[0])
        raise ModelError("no model")

    gatherer = Gatherer(queue, read, clock=lambda: now[0])
    gatherer.offer([Turn("user", "one")])
    for _ in range(300):
        gatherer.flush()
        now[0] += 60
        with gatherer._changed:
            gatherer._arrived = True
            gatherer._idle = False
            gatherer._changed.notify_all()
    gatherer.close()
    rounds = sorted(set(tries))
    assert [later - earlier for earlier, later in pairwise(rounds)][:6] == [300, 600, 1200, 2400, 3600, 3600]


def test_a_word_that_is_read_late_goes_behind_what_was_said_after_it_in_one_breath(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Turns that were observed at once keep their order, also behind those of a moment ago."""
    queue = TurnQueue(journal)
    with monkeypatch.context() as patch:
        patch.setattr("bakemem.memory.records.now", lambda: datetime(2026, 1, 1, tzinfo=UTC))
        queue.put([Turn("user", "I live in Plinth."), Turn("user", "No, in Tarn.")])
        queue.put([Turn("user", "No, in Brae.")])
    late, *soon = queue.waiting()
    for observed in (*soon, late):
        journal.add(Draft("fact", "user.town", observed.turn.content), Provenance(), valid_from=observed.at)
    assert [m.text for m in journal.memories("pending")] == ["No, in Brae."]


def test_neither_a_flush_nor_a_close_waits_for_another_try(journal: Journal) -> None:
    """The turn stays in the queue, and those behind it."""
    reader = Reader(journal, failures=1_000)
    gatherer = Gatherer(TurnQueue(journal), reader)
    gatherer.offer([Turn("user", f"{n}") for n in range(10)])
    began = time.monotonic()
    assert gatherer.flush(0.05) == []
    gatherer.close()
    assert time.monotonic() - began < 1
    assert len(TurnQueue(journal)) == 10


def test_a_closed_gatherer_leaves_the_rest_in_the_queue(journal: Journal) -> None:
    """Ctrl-C loses nothing."""
    reader = Reader(journal)
    reader.gate.clear()
    gatherer = Gatherer(TurnQueue(journal), reader)
    gatherer.offer([Turn("user", "one"), Turn("user", "two")])
    closing = threading.Thread(target=gatherer.close)
    closing.start()
    reader.gate.set()
    closing.join(10)
    assert not closing.is_alive()
    assert len(TurnQueue(journal)) + len(reader.read) == 2


def read_in_another_process(path: Path, ending: str) -> int:
    """Begins to read and ends so in the midst of the first turn; the exit status."""
    program = f"""
import os, sys, threading
from pathlib import Path
from bakemem.memory import Gatherer, Journal, TurnQueue
begun = threading.Event()
def read(observed):
    begun.set()
    threading.Event().wait(60)
gatherer = Gatherer(TurnQueue(Journal(Path({str(path)!r}))), read)
gatherer.wait(0)
begun.wait(10)
{ending}
"""
    return subprocess.run([sys.executable, "-c", program], timeout=60, check=False).returncode


def test_a_turn_that_ends_the_process_is_tried_three_times(journal: Journal, tmp_path: Path) -> None:
    """Then those behind it are read, and it stays in the queue with what happened."""
    queue, reader = TurnQueue(journal), Reader(journal)
    queue.put([Turn("user", "too long for this machine"), Turn("user", "two")])
    for attempts in (1, 2, 3):
        assert read_in_another_process(tmp_path / "journal.db", "os._exit(137)") == 137
        assert [o.attempts for o in queue.waiting()] == [attempts, 0]
    gatherer = Gatherer(queue, reader)
    gatherer.flush()
    gatherer.close()
    [left] = queue.waiting()
    assert (reader.read, left.error) == (["two"], "its reading began and has not ended")


def test_a_turn_that_ended_the_process_is_read_when_somebody_asks(journal: Journal) -> None:
    """As on a machine with more memory; a start by itself does not."""
    queue, reader = TurnQueue(journal), Reader(journal)
    queue.put([Turn("user", "too long for the machine before")])
    for _ in range(3):
        queue.begin(queue.waiting()[0])
    gatherer = Gatherer(queue, reader)
    assert gatherer.flush() == []
    gatherer.again()
    assert [m.text for m in gatherer.flush()] == ["too long for the machine before"]
    assert len(queue) == 0
    gatherer.close()


def test_a_program_that_ends_while_a_turn_is_read_has_not_failed(journal: Journal, tmp_path: Path) -> None:
    """Nobody closed anything, as after Ctrl-C in a script."""
    queue = TurnQueue(journal)
    queue.put([Turn("user", "one")])
    assert read_in_another_process(tmp_path / "journal.db", "sys.exit(3)") == 3
    assert [(o.attempts, o.error) for o in queue.waiting()] == [(0, "")]


def test_a_close_that_is_interrupted_while_a_turn_is_read_has_not_failed(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second Ctrl-C, of someone who does not wait for the model."""
    queue, reader = TurnQueue(journal), Reader(journal)
    reader.gate.clear()
    gatherer = Gatherer(queue, reader)
    gatherer.offer([Turn("user", "one")])
    assert not gatherer.wait(0.3)
    assert [o.attempts for o in queue.waiting()] == [1]

    def interrupted(thread: threading.Thread) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "join", interrupted)
        with pytest.raises(KeyboardInterrupt):
            gatherer.close()
    assert [(o.attempts, o.error) for o in queue.waiting()] == [(0, "")]
    reader.gate.set()
    gatherer.close()


def test_a_turn_that_was_read_has_not_failed_where_the_queue_cannot_be_written(journal: Journal) -> None:
    """A full disk is not its fault, however often it comes."""
    queue, reader = TurnQueue(journal), Reader(journal)
    gatherer = Gatherer(queue, reader)
    works, queue.done = queue.done, _full_disk  # type: ignore[method-assign]
    for n in range(4):
        gatherer.offer([Turn("user", f"{n}")])
        with pytest.raises(HomeError):
            gatherer.flush(10)
    queue.done = works  # type: ignore[method-assign]
    gatherer.flush(10)
    assert reader.read[-4:] == ["0", "1", "2", "3"]
    gatherer.close()


def test_who_waits_for_what_was_said_until_now_is_not_held_up_by_what_is_said_after_it(journal: Journal) -> None:
    """Talk may go on for ever; one that fails and is left does not hold it up either."""
    queue, gates = TurnQueue(journal), defaultdict[str, threading.Event](threading.Event)

    def read(observed: Observed) -> list[Memory]:
        assert gates[observed.turn.content].wait(10)
        if observed.turn.content == "one":
            raise ModelError("no model")
        return []

    gatherer = Gatherer(queue, read)
    gatherer.offer([Turn("user", "one"), Turn("user", "two")])
    newest = gatherer.newest()
    gatherer.offer([Turn("user", "three")])
    gates["one"].set()
    assert not gatherer.wait(0.3, newest)
    gates["two"].set()
    assert gatherer.wait(10, newest)
    assert not gatherer.wait(0.05)
    assert [o.turn.content for o in queue.waiting()] == ["one", "three"]
    gates["three"].set()
    assert gatherer.wait(10)
    assert gatherer.wait(0.05, newest)
    gatherer.close()


def test_an_error_that_is_over_is_not_told_later(journal: Journal) -> None:
    """The next offer began anew, and all is read: neither a flush nor a bake hears of it."""
    queue, reader = TurnQueue(journal), Reader(journal)
    gatherer = Gatherer(queue, reader)
    works, failed = queue.done, threading.Event()

    def locked_once(observed: Observed) -> None:
        queue.done = works  # type: ignore[method-assign]
        failed.set()
        raise HomeError("database is locked")

    queue.done = locked_once  # type: ignore[method-assign]
    gatherer.offer([Turn("user", "one")])
    assert failed.wait(10)
    while gatherer._thread is not None:
        time.sleep(0.01)
    gatherer.offer([Turn("user", "two")])
    while len(queue):
        time.sleep(0.01)
    assert gatherer.wait(10)
    assert reader.read == ["one", "one", "two"]
    gatherer.close()


def test_an_error_is_not_told_once_nothing_waits(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    """All was read before it."""
    real, failed = TurnQueue.__len__, threading.Event()

    def locked_once(queue: TurnQueue) -> int:
        if not failed.is_set():
            failed.set()
            raise HomeError("database is locked")
        return real(queue)

    monkeypatch.setattr(TurnQueue, "__len__", locked_once)
    gatherer = Gatherer(TurnQueue(journal), Reader(journal))
    gatherer.offer([Turn("user", "one")])
    assert failed.wait(10)
    while gatherer._thread is not None:
        time.sleep(0.01)
    assert [m.text for m in gatherer.flush()] == ["one"]
    gatherer.close()


def test_text_that_cannot_be_stored_is_refused_whole(journal: Journal) -> None:
    """All turns of an offer are written down, or none."""
    gatherer = Gatherer(TurnQueue(journal), Reader(journal))
    with pytest.raises(InputError, match="surrogate"):
        gatherer.offer([Turn("user", "fine"), Turn("user", "\ud800")])
    assert len(TurnQueue(journal)) == 0
    gatherer.close()


def test_namespaces_do_not_read_each_others_turns(tmp_path: Path) -> None:
    """Each has its own queue in one file."""
    mine, yours = Journal(tmp_path / "journal.db"), Journal(tmp_path / "journal.db", "yours")
    TurnQueue(mine).put([Turn("user", "mine")])
    assert TurnQueue(yours).waiting() == []
    assert [o.turn.content for o in TurnQueue(mine).waiting()] == ["mine"]
    mine.close()
    yours.close()


def test_a_queue_that_cannot_be_used_is_told_and_the_next_offer_begins_anew(journal: Journal) -> None:
    """A full disk must not leave a flush waiting for ever."""
    queue, reader = TurnQueue(journal), Reader(journal)
    gatherer = Gatherer(queue, reader)
    works, queue.done = queue.done, _full_disk  # type: ignore[method-assign]
    gatherer.offer([Turn("user", "one")])
    with pytest.raises(HomeError):
        gatherer.flush(10)
    queue.done = works  # type: ignore[method-assign]
    gatherer.offer([Turn("user", "two")])
    gatherer.flush(10)
    assert len(queue) == 0
    assert reader.read[-1] == "two"
    gatherer.close()


def _full_disk(observed: Observed) -> None:
    raise HomeError("disk full")


def test_a_thread_that_cannot_be_started_is_told_by_a_flush_and_started_later(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was offered meanwhile is in the queue, and the chat goes on."""
    reader = Reader(journal)
    gatherer = Gatherer(TurnQueue(journal), reader)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", _no_more_threads)
        gatherer.offer([Turn("user", "one")])
        with pytest.raises(HomeError, match="can't start new thread"):
            gatherer.flush(10)
    gatherer.offer([Turn("user", "two")])
    assert [m.text for m in gatherer.flush(10)] == ["one", "two"]
    gatherer.close()


def _no_more_threads(thread: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def test_a_number_is_never_given_to_another_turn(journal: Journal) -> None:
    """Else the end of one reading could take off the queue a turn that nobody has read."""
    queue = TurnQueue(journal)
    queue.put([Turn("user", "one")])
    [first] = queue.waiting()
    queue.done(first)
    queue.put([Turn("user", "two")])
    queue.done(first)
    assert not queue.holds(first)
    assert [o.turn.content for o in queue.waiting()] == ["two"]
