"""The schedule of a memory at work: it wakes each minute, asks the policy, and does what is due, beside the chat.

Knows no rule and no model. When a job ran last is in the journal, so a restart goes on from there.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING

from bakemem.errors import BakememError
from bakemem.memory import Job, Outcome
from bakemem.schedule.policy import Action, Decision, decide, in_words
from bakemem.schedule.rules import load_per_cpu, rules_of, state_of
from bakemem.versions import ORIGIN

if TYPE_CHECKING:
    from bakemem.agent_memory import AgentMemory

_LOG = logging.getLogger(__name__)

SCHEDULE = "schedule"
"""The row among the jobs that tells since when a schedule runs, when it was seen last, and what it waits for."""
_TICK, _SEEN = timedelta(minutes=1), timedelta(minutes=10)
_LONGEST_STEP = timedelta(hours=2)  # of a job, while which nothing is written down


class _Stopped(KeyboardInterrupt):
    """Ends a bake as Ctrl-C does: what it has so far is kept."""


class Schedule:
    """Bakes a memory when its settings say so, in a thread of its own, from `start` until `stop` (or in a `with` block,
    or until the memory is closed); chat goes on meanwhile.

    `clock` tells the time with its zone, `load` the machine's load a CPU (None: not known); `tell` hears of each job
    that began and of each that ended. An error ends a job, never the schedule: it is in `memory.jobs`, and tried again.
    Raises ConfigError for a time zone or a cron time that there is not.
    """

    def __init__(
        self, memory: AgentMemory, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        load: Callable[[], float | None] = load_per_cpu, tell: Callable[[Job], None] = lambda job: None,
    ) -> None:  # fmt: skip
        self._memory, self._clock, self._load, self._tell = memory, clock, load, tell
        self._rules = rules_of(memory.config)
        self._since = clock()
        self._ahead: tuple[datetime, datetime] | None = None
        self._seen = Job(SCHEDULE, self._since)
        self._stopping = threading.Event()
        self._working = threading.Lock()
        self._worker: int | None = None
        self._thread: threading.Thread | None = None
        self._process = os.getpid()
        memory.at_close(self.stop)

    def start(self) -> Schedule:
        """Begin to wake, at once and then each minute. A second call does nothing."""
        if self._thread is None:
            self._process = os.getpid()
            self._stopping = threading.Event()  # one of its own: a thread that still ends keeps that of before
            self._since = self._clock()
            self._thread = threading.Thread(target=self._wake, args=(self._stopping,), name=SCHEDULE, daemon=True)
            try:
                self._thread.start()
            except RuntimeError:  # no more threads: another call may have one
                self._thread = None
                raise
            atexit.register(self.stop)
        return self

    def stop(self) -> None:
        """Wake no more; returns when nothing runs. A bake ends at its next step, and goes on there another time."""
        atexit.unregister(self.stop)
        if self._process != os.getpid():
            return  # forked since: its thread, and what it may hold, stayed in the other process
        self._stopping.set()
        thread, self._thread = self._thread, None
        if self._worker != threading.get_ident():  # else a job of ours has called this
            while not self._working.acquire(timeout=0.2):  # in slices, so that Ctrl-C gets through everywhere
                pass
            self._working.release()
        if thread is not None:
            try:
                self._note("stopped", "")
            except BakememError as error:
                _LOG.warning("%s", error)

    def decision(self, now: datetime | None = None) -> Decision:
        """What is due now and why, or what is waited for. Raises HomeError."""
        memory = self._memory
        now = now or self._clock()
        jobs = {name: _settled(job) for name, job in memory.jobs.all().items()}
        state = state_of(memory.waiting(), jobs, memory.versions(), memory.live, talked=self._talked(now),
                         deep=bool(memory.conversation), load=self._load(), busy=memory.busy)  # fmt: skip
        return decide(state, self._rules, now)

    def _talked(self, now: datetime) -> datetime:
        """When somebody did last. To be started counts as talk: nobody knows who talked to the process before.

        What is said to have been later than now, by a clock that was ahead, was when that is first seen.
        """
        talked = self._memory.talked or self._since
        if talked <= now:
            return talked
        if self._ahead is None or self._ahead[0] != talked:
            self._ahead = (talked, now)
        return self._ahead[1]

    def tick(self) -> Action:
        """Do the first thing that is due, and return its name: empty when nothing is, or another tick is under way."""
        if not self._working.acquire(blocking=False):
            return ""
        self._worker = threading.get_ident()
        try:
            if self._stopping.is_set():
                return ""
            now = self._clock()
            decision = self.decision(now)
            self._note("", in_words(decision, self._rules.hours.zone))
            if decision.action:
                self._run(decision.action, now)
            return decision.action
        except Exception:  # the journal itself cannot be used: there is nowhere else to write it down
            _LOG.exception("The schedule could not be followed; it is tried again in a minute.")
            return ""
        finally:
            self._worker = None
            self._working.release()

    def _wake(self, stopping: threading.Event) -> None:
        """Ticks until it is stopped. The pause is no matter of the clock, which may be set back."""
        while not stopping.is_set():
            self.tick()
            stopping.wait(_TICK.total_seconds())

    def _note(self, outcome: Outcome, words: str) -> None:
        """Writes down that the schedule is alive, when there is something new to say, or from time to time."""
        now, seen = self._clock(), self._seen
        known = seen.ended and timedelta() <= now - seen.ended < _SEEN  # else the clock was set back, or it is long ago
        if not known or (outcome, words) != (seen.outcome, seen.detail):
            self._seen = Job(SCHEDULE, self._since, now, outcome, words)
            self._memory.jobs.end(self._seen)

    def _run(self, action: Action, now: datetime) -> None:
        job = self._memory.jobs.begin(action, now)
        self._told(job)
        try:
            outcome, detail = self._do(action)
        except _Stopped as stopped:
            outcome, detail = "stopped", str(stopped)
        except Exception as error:
            _LOG.warning("The scheduled %s failed.", action, exc_info=not isinstance(error, BakememError))
            outcome, detail = "failed", _advice(error)
        failures = {"stopped": job.failures, "failed": job.failures + 1, "refused": job.failures + 1}.get(outcome, 0)
        job = replace(job, ended=self._clock(), outcome=outcome, detail=detail, failures=failures)
        self._memory.jobs.end(job)
        self._told(job)

    def _told(self, job: Job) -> None:
        try:
            self._tell(job)
        except Exception:  # it is not the job's fault
            _LOG.warning("Nobody could be told of the scheduled %s.", job.name, exc_info=True)

    def _do(self, action: Action) -> tuple[Outcome, str]:
        memory = self._memory
        if action == "check":
            errors = [problem for problem in memory.check() if problem.severity == "error"]
            return ("failed", f"{len(errors)} errors: `bakemem check` tells them.") if errors else ("done", "Sound.")
        if action == "gc":
            return "done", f"{len(memory.gc(self._rules.keep, dry_run=False))} versions were destroyed."
        if action == "meter":
            found = memory.adherence()
            outcome: Outcome = "fading" if found.share < self._rules.adherence else "done"
            return outcome, f"{found.kept} of {found.asked} are heeded after {found.tokens} tokens of conversation"
        return self._bake(from_base=action == "ground")

    def _bake(self, *, from_base: bool) -> tuple[Outcome, str]:
        """A refused bake would be refused again: the next one has another seed. One that was stopped keeps its own."""
        memory = self._memory
        before = {m.id for m, _ in memory.waiting()}
        versions = [v for v in memory.versions() if ORIGIN not in v.settings]  # not unpacked from elsewhere
        accepted = [i for i, version in enumerate(versions, start=1) if version.status == "accepted"]
        refused = len(versions) - max(accepted, default=0)
        version = memory.bake(from_base=from_base, seed=(memory.config.seed + refused) % 2**32, progress=self._step)
        if version.status != "accepted":
            why, name = "; ".join(version.report.reasons), version.name
            return "refused", f"{name}: {why}. It is tried again with another seed; `bakemem show {name}` tells more."
        left = before & {m.id for m, _ in memory.waiting()}
        stay = f"; {len(left)} stay in the prompt until the next bake" if left else ""
        return "done", f"{version.name} is live{stay}."

    def _step(self, stage: str, done: int, total: int, kl: float | None) -> None:
        if self._stopping.is_set():
            raise _Stopped("It goes on where it stopped.")
        try:
            self._note("", self._seen.detail)
        except BakememError as error:  # the bake may still be kept
            _LOG.warning("%s", error)
        if stage == "wait":  # who knows until when, and whether it may bake then
            raise _Stopped("Another memory bakes on the same base; it goes on after that.")

    def __enter__(self) -> Schedule:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def is_running(jobs: dict[str, Job], now: datetime) -> bool:
    """Whether a schedule was seen lately, or within two hours where it began something that has not ended.

    One that was seen more than a minute later than now was seen by a clock that was ahead: that says nothing.
    """
    seen = jobs.get(SCHEDULE)
    if seen is None or seen.outcome == "stopped" or seen.ended is None:
        return False
    at_work = any(job.ended is None and job.started >= seen.started for job in jobs.values())
    return -_TICK <= now - seen.ended < (_LONGEST_STEP if at_work else _SEEN + 2 * _TICK)


def _settled(job: Job) -> Job:
    """A job that never ended was cut short by the end of its process: nobody else runs jobs of a home that we own."""
    return job if job.ended else replace(job, outcome="failed", failures=job.failures + 1)


def _advice(error: Exception) -> str:
    """What happened; our own errors say what to do next, others cannot."""
    if isinstance(error, BakememError):
        return str(error)
    return f"{type(error).__name__}: {error}. It is tried again; the log has more, and `bakemem bake` shows it by hand."
