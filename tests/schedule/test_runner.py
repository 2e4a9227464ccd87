"""The schedule at work on a memory that is none: what it does, writes down and survives."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from bakemem.agent_memory import AgentMemory
from bakemem.config import Config
from bakemem.errors import BakeError, ConfigError, HomeError
from bakemem.memory import Job, Jobs, Journal
from bakemem.schedule import SCHEDULE, Schedule, is_running, runner
from bakemem.types import Turn
from bakemem.versions import ORIGIN
from tests.schedule.fake import Clock, FakeMemory
from tests.schedule.year import DAY, HOUR, MINUTE, START


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[FakeMemory]:
    """A memory whose schedule does nothing but bake."""
    made = FakeMemory(tmp_path / "journal.db", nightly_check=False, keep_versions=0)
    yield made
    made.journal.close()


def schedule(memory: FakeMemory, clock: Clock, **options: Any) -> Schedule:
    """A schedule that nobody has started."""
    return Schedule(cast(AgentMemory, memory), clock=clock, **options)


def fail(error: Exception) -> Callable[..., str]:
    """A bake that fails."""

    def bake(progress: object) -> str:
        raise error

    return bake


def test_what_is_due_is_done_and_written_down(memory: FakeMemory) -> None:
    """In loud hours it waits, and the journal tells for what; at night it bakes."""
    clock = Clock()
    made = schedule(memory, clock)
    memory.remember()
    assert made.tick() == ""
    assert memory.jobs.all()[SCHEDULE].detail.startswith(
        "waits for quiet hours or nobody to talk, until 2026-01-01 12:30"
    )
    clock.now += 14 * HOUR
    assert made.tick() == "bake"
    done = memory.jobs.all()["bake"]
    assert (done.outcome, done.detail, done.failures, done.started) == ("done", "v1 is live.", 0, clock.now)
    assert made.tick() == ""


def test_a_start_counts_as_talk(memory: FakeMemory) -> None:
    """A program that starts in the midst of a day does not begin with a bake; half an hour of silence does."""
    clock = Clock()
    made = schedule(memory, clock)
    memory.remember()
    assert made.tick() == ""
    clock.now += 30 * MINUTE
    assert made.tick() == "bake"


def test_talk_by_a_clock_that_was_ahead_counts_from_when_it_is_seen(memory: FakeMemory) -> None:
    """Set back by a year, it holds the bake back for half an hour and not for the year; so does the start itself."""
    clock = Clock()
    made = schedule(memory, clock)
    for talked in (None, clock.now + DAY, clock.now + 2 * DAY):
        clock.now -= 365 * DAY
        memory.talked = talked
        memory.remember(clock.now)
        assert made.tick() == ""
        clock.now += 29 * MINUTE
        assert made.tick() == ""
        clock.now += MINUTE
        assert made.tick() == "bake"


def test_an_error_ends_the_bake_and_not_the_schedule(memory: FakeMemory) -> None:
    """It says what to do next, and the bake is tried again after longer and longer pauses."""
    clock, told = Clock(), list[Job]()
    made = schedule(memory, clock, tell=told.append)
    memory.remember()
    clock.now += HOUR
    memory.bakes = [fail(BakeError("The disk is full: make room.")), fail(RuntimeError("CUDA out of memory"))]
    assert made.tick() == "bake"
    assert memory.jobs.all()["bake"].detail == "The disk is full: make room."
    assert made.tick() == ""
    clock.now += 30 * MINUTE
    assert made.tick() == "bake"
    failed = memory.jobs.all()["bake"]
    assert failed.failures == 2
    assert failed.detail.startswith("RuntimeError: CUDA out of memory. It is tried again")
    clock.now += 30 * MINUTE
    assert made.tick() == ""
    clock.now += 30 * MINUTE
    assert made.tick() == "bake"
    assert [job.outcome for job in told] == ["", "failed", "", "failed", "", "done"]
    assert memory.jobs.all()["bake"].failures == 0


def test_who_cannot_be_told_of_a_job_ends_none(memory: FakeMemory, caplog: pytest.LogCaptureFixture) -> None:
    """Such as a pipe whose reader has gone; the log says so."""

    def tell(job: Job) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    clock = Clock()
    made = schedule(memory, clock, tell=tell)
    memory.remember()
    clock.now += HOUR
    assert made.tick() == "bake"
    assert memory.jobs.all()["bake"].outcome == "done"
    assert "Broken pipe" in caplog.text
    assert "could not be followed" not in caplog.text


def test_a_refused_bake_is_tried_with_another_seed(memory: FakeMemory) -> None:
    """Each refusal in a row counts, and the report's reason is told."""
    clock = Clock()
    made = schedule(memory, clock)
    memory.bakes = [lambda progress: "rejected", lambda progress: "rejected"]
    memory.remember()
    for _ in range(3):
        clock.now += 2 * HOUR
        assert made.tick() == "bake"
        if memory.bakes:
            assert "agreement is 50%" in memory.jobs.all()["bake"].detail
    assert [asked["seed"] for asked in memory.asked] == [0, 1, 2]
    clock.now += 14 * HOUR
    memory.remember(clock.now)
    assert made.tick() == "bake"
    assert memory.asked[-1]["seed"] == 0


def test_a_process_that_died_in_a_bake_has_failed(memory: FakeMemory) -> None:
    """The next one backs off, so that what kills it does not kill it each minute."""
    clock = Clock()
    memory.remember(START - DAY)
    memory.jobs.begin("bake", START)
    made = schedule(memory, clock)
    clock.now += 29 * MINUTE
    assert made.decision().waits_for == "another try (1 in vain)"
    clock.now += 2 * MINUTE
    assert made.tick() == "bake"
    assert memory.jobs.all()["bake"].failures == 0


def test_the_state_survives_a_restart(memory: FakeMemory) -> None:
    """A second schedule on the same journal does not do again what the first did."""
    clock = Clock()
    memory.config = Config(time_zone="UTC", bake_memories=1, most_load=0.0)
    clock.now += 14 * HOUR
    memory.remember()
    first = schedule(memory, clock)
    clock.now += HOUR
    assert [first.tick() for _ in range(4)] == ["bake", "check", "gc", ""]
    second = schedule(memory, clock)
    clock.now += HOUR
    assert second.tick() == ""


def test_damage_and_fading_are_told(memory: FakeMemory) -> None:
    """A check with errors has failed; a meter below the threshold asks for a bake."""
    clock = Clock()
    memory.config = Config(time_zone="UTC", bake_memories=5, most_load=0.0, keep_versions=0)
    memory.problems = [SimpleNamespace(severity="error"), SimpleNamespace(severity="note")]
    memory.remember()
    memory.talked, memory.conversation = START, (Turn("user", "Hello."),)
    made = schedule(memory, clock)
    assert made.tick() == "meter"
    assert memory.jobs.all()["meter"].outcome == "fading"
    clock.now += 30 * MINUTE
    assert made.tick() == "bake"
    assert made.tick() == "check"
    assert memory.jobs.all()["check"].detail == "1 errors: `bakemem check` tells them."


def test_a_journal_that_fails_is_survived(memory: FakeMemory, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is nowhere to write it down but the log; the next tick tries again."""
    clock = Clock()
    made = schedule(memory, clock)
    memory.remember()
    clock.now += 14 * HOUR

    def full(job: Job) -> None:
        raise HomeError("The journal cannot be used (disk full).")

    with monkeypatch.context() as patch:
        patch.setattr(memory.jobs, "end", full)
        assert made.tick() == ""
    assert made.tick() == "bake"


def test_stop_ends_a_bake_at_its_next_step(memory: FakeMemory) -> None:
    """It returns when nothing runs any more, a second time too, and the bake is no failure."""
    clock, began = Clock(), threading.Event()

    def endless(progress: Callable[..., None]) -> str:
        began.set()
        while True:
            progress("bake", 1, 100, 0.5)
            threading.Event().wait(0.001)

    memory.bakes = [endless]
    memory.remember()
    made = schedule(memory, clock)
    clock.now += HOUR
    memory.talked = START - HOUR
    made.start()
    assert began.wait(10)
    assert made.tick() == ""  # never two at once
    memory.closers[0]()
    made.stop()
    ended = memory.jobs.all()
    assert (ended["bake"].outcome, ended["bake"].failures) == ("stopped", 0)
    assert not is_running(ended, clock.now)
    memory.pending.clear()
    assert made.start().start() is made
    made.stop()


def test_a_job_may_stop_the_schedule_that_runs_it(memory: FakeMemory) -> None:
    """Such as one that closes the memory when a bake has ended: nothing waits for itself."""
    clock, ended = Clock(), threading.Event()

    def tell(job: Job) -> None:
        if job.ended:
            made.stop()
            ended.set()

    memory.remember()
    memory.talked = START - HOUR
    made = schedule(memory, clock, tell=tell)
    made.start()
    assert ended.wait(10)
    made.stop()
    assert memory.jobs.all()["bake"].outcome == "done"


def test_whether_one_runs_is_seen_in_the_journal(memory: FakeMemory) -> None:
    """One that was seen lately, or is at work; not one that ended, or died."""
    clock = Clock()
    made = schedule(memory, clock)
    assert not is_running(memory.jobs.all(), clock.now)
    made.tick()
    assert is_running(memory.jobs.all(), clock.now + 5 * MINUTE)
    assert not is_running(memory.jobs.all(), clock.now + HOUR)
    memory.jobs.begin("bake", clock.now + MINUTE)
    assert is_running(memory.jobs.all(), clock.now + HOUR)
    assert not is_running(memory.jobs.all(), clock.now + DAY), "it was killed in the bake"


def test_one_that_died_by_a_clock_that_was_ahead_does_not_run(memory: FakeMemory) -> None:
    """Though it was seen later than now; one that lives is seen again at its next tick."""
    clock = Clock()
    made = schedule(memory, clock)
    clock.now += 365 * DAY
    made.tick()
    assert is_running(memory.jobs.all(), clock.now - MINUTE), "two clocks need not be quite the same"
    clock.now -= 365 * DAY
    assert not is_running(memory.jobs.all(), clock.now)
    made.tick()
    assert is_running(memory.jobs.all(), clock.now)


def test_a_long_bake_is_seen_from_time_to_time(memory: FakeMemory) -> None:
    """Whoever looks knows that the schedule lives, hours after the bake began."""
    clock = Clock()
    seen = list[bool]()

    def long(progress: Callable[..., None]) -> str:
        for step in range(20):
            clock.now += 30 * MINUTE
            progress("train", step, 20, None)
            seen.append(is_running(memory.jobs.all(), clock.now + MINUTE))
        return "accepted"

    memory.remember()
    memory.talked = START - HOUR
    memory.bakes.append(long)
    assert schedule(memory, clock).tick() == "bake"
    assert seen == [True] * 20


def test_a_bake_by_hand_answers_what_asked_for_one(memory: FakeMemory) -> None:
    """A bake that failed is not tried again for its own sake once somebody has baked: what is new waits for company."""
    clock = Clock()
    memory.config = memory.config.model_copy(update={"bake_memories": 2})
    made = schedule(memory, clock)
    memory.remember(START)
    memory.jobs.end(Job("bake", START, START + MINUTE, "failed", "", 1))
    memory.jobs.end(Job("meter", START + MINUTE, START + MINUTE, "fading", "2 of 4"))
    assert made.decision(START + HOUR).why
    memory.bake(from_base=False, seed=0, progress=lambda *step: None)
    memory.made[-1].created = START + 2 * HOUR
    memory.remember(START + 3 * HOUR)
    assert made.decision(START + 4 * HOUR).waits_for == "more to bake"
    memory.remember(START + 4 * HOUR)
    assert "2 memories wait" in made.decision(START + 5 * HOUR).why[0]


def test_a_version_from_elsewhere_is_no_bake_by_hand(memory: FakeMemory) -> None:
    """What was refused is tried again, with another seed, whatever is unpacked meanwhile."""
    clock, made = Clock(), schedule(memory, Clock())
    memory.remember(START)
    memory.jobs.end(Job("bake", START, START + MINUTE, "refused", "", 1))
    memory.made += [
        SimpleNamespace(name="v1", status="rejected", parent=None, created=START, settings={}),
        SimpleNamespace(name="v2", status="accepted", parent=None, created=START + HOUR, settings={ORIGIN: "1" * 12}),
    ]
    clock.now = START + 14 * HOUR
    assert made.decision(clock.now).why == ("the last bake was refused",)
    assert schedule(memory, clock).tick() == "bake"
    assert memory.asked == [{"from_base": False, "seed": memory.config.seed + 1}]


def test_one_that_lives_is_seen_from_time_to_time(memory: FakeMemory) -> None:
    """And not each minute: nothing is written where nothing changed."""
    clock, written = Clock(), list[Job]()
    made = schedule(memory, clock)
    end = memory.jobs.end
    memory.jobs.end = lambda job: (written.append(job), end(job))  # type: ignore[method-assign, assignment, func-returns-value]
    for _ in range(60):
        made.tick()
        clock.now += timedelta(minutes=1)
    assert 5 <= len(written) <= 7


@pytest.mark.parametrize(
    ("settings", "word"),
    [({"bake_cron": "each night"}, "as in crontab"), ({"bake_cron": "0 0 30 2 *"}, "it never comes"),
     ({"bake_cron": "0 3 * * 1-5"}, "mon-fri"), ({"bake_cron": "0 3 * * */2"}, "every so many"),
     ({"bake_cron": "0 3 1 * mon"}, "both"),
     ({"time_zone": "Mars/Olympus"}, "Europe/Berlin"),
     ({"time_zone": "../../etc/passwd"}, "Europe/Berlin")],
)  # fmt: skip
def test_a_bad_setting_is_told_before_anything_runs(memory: FakeMemory, settings: dict[str, Any], word: str) -> None:
    """With how to write it."""
    memory.config = memory.config.model_copy(update=settings)
    with pytest.raises(ConfigError, match=word):
        schedule(memory, Clock())


def test_a_stop_right_after_the_start_fails_in_no_thread(memory: FakeMemory, monkeypatch: pytest.MonkeyPatch) -> None:
    """The waker's thread may have begun its first tick just then."""
    failed: list[threading.ExceptHookArgs] = []
    begun = threading.Event()

    def slowly() -> float:
        begun.set()
        time.sleep(0.1)
        return 0.0

    monkeypatch.setattr(threading, "excepthook", failed.append)
    with schedule(memory, Clock(), load=slowly):
        assert begun.wait(5)
    time.sleep(0.2)
    assert failed == []


def test_a_thread_that_could_not_be_started_is_started_by_the_next_call(
    memory: FakeMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the schedule would look as if it ran."""

    def no_more_threads(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    ended = threading.Event()
    memory.remember()
    clock = Clock()
    made = schedule(memory, clock, tell=lambda job: ended.set())
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_more_threads)
        with pytest.raises(RuntimeError):
            made.start()
    monkeypatch.setattr(runner, "_TICK", timedelta(milliseconds=5))
    made.start()
    clock.now += 14 * HOUR
    assert ended.wait(5)
    made.stop()


def test_it_wakes_on_when_the_clock_is_set_back(memory: FakeMemory, monkeypatch: pytest.MonkeyPatch) -> None:
    """By an hour, as by NTP after a wrong clock: what is due after that is done when it is due."""
    monkeypatch.setattr(runner, "_TICK", timedelta(milliseconds=5))
    clock, ended = Clock(), threading.Event()
    with schedule(memory, clock, tell=lambda job: ended.set()):
        clock.now -= HOUR
        memory.remember(clock.now)
        assert not ended.wait(0.1)
        clock.now += 14 * HOUR
        assert ended.wait(5)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_process_that_was_forked_beside_a_job_ends(tmp_path: Path) -> None:
    """The schedule and its thread are its parent's: it neither waits for it nor says that it was stopped."""
    program = f"""
import os, sys, threading
from pathlib import Path
from tests.schedule.fake import Clock, FakeMemory
from tests.schedule.test_runner import schedule
memory, begun, go = FakeMemory(Path({str(tmp_path / "journal.db")!r})), threading.Event(), threading.Event()
def load():
    begun.set()
    go.wait(60)
    return 0.0
made = schedule(memory, Clock(), load=load).start()
begun.wait(10)
if (child := os.fork()) == 0:
    sys.exit(7)
_, status = os.waitpid(child, 0)
go.set()
made.stop()
sys.exit(os.waitstatus_to_exitcode(status))
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=Path(__file__).parents[2], timeout=60, check=False)
    assert done.returncode == 7


def test_a_program_that_ends_in_a_bake_stops_it_first(tmp_path: Path) -> None:
    """As `stop` does: what is baked so far is kept, though nobody has closed anything."""
    program = f"""
import threading
from datetime import timedelta
from pathlib import Path
from tests.schedule.fake import Clock, FakeMemory
from tests.schedule.test_runner import schedule
memory = FakeMemory(Path({str(tmp_path / "journal.db")!r}), nightly_check=False, keep_versions=0)
begun = threading.Event()
memory.remember()
def bake(progress):
    begun.set()
    for step in range(10_000):
        threading.Event().wait(0.01)
        progress("bake", step, 10_000, None)
memory.bakes, clock = [bake], Clock()
made = schedule(memory, clock)
clock.now += timedelta(hours=14)
made.start()
begun.wait(10)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=Path(__file__).parents[2], timeout=60, check=False)
    journal = Journal(tmp_path / "journal.db")
    assert (done.returncode, Jobs(journal).all()["bake"].outcome) == (0, "stopped")
    journal.close()
