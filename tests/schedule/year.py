"""A year of a made-up memory under the policy, with a clock that is told what time it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from bakemem.memory import Job, Outcome
from bakemem.schedule import Decision, Hours, Rules, State, Waiting, decide

START = datetime(2026, 1, 1, 12, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
BERLIN = ZoneInfo("Europe/Berlin")
NIGHT = Hours(time(1), time(6), UTC)


def rules(**changes: Any) -> Rules:
    """Bakes of eight memories or after a day, at night or after half an hour of silence."""
    return replace(Rules(NIGHT, memories=8, age=DAY, idle=30 * MINUTE), **changes)


def waiting(*ages: timedelta, now: datetime = START, tokens: int = 10) -> tuple[Waiting, ...]:
    """Pending memories of these ages, the oldest first."""
    return tuple(Waiting(now - age, tokens) for age in sorted(ages, reverse=True))


def job(name: str, started: datetime, outcome: Outcome = "done", failures: int = 0) -> dict[str, Job]:
    """The last run of a job, which took a minute."""
    return {name: Job(name, started, started + MINUTE, outcome, "", failures)}


@dataclass
class Life:
    """A memory and its schedule: `step` lets time pass, and does what the policy says."""

    rules: Rules
    outcome: Callable[[datetime], Outcome] = lambda now: "done"
    takes: timedelta = 5 * MINUTE
    now: datetime = START
    pending: list[Waiting] = field(default_factory=list)
    jobs: dict[str, Job] = field(default_factory=dict)
    talked: datetime | None = None
    load: float | None = None
    rolled: int = 0
    runs_until: datetime | None = None
    runs: list[tuple[datetime, Decision, State]] = field(default_factory=list)

    def state(self) -> State:
        """What the policy sees."""
        busy = self.runs_until is not None and self.now < self.runs_until
        return State(tuple(self.pending), dict(self.jobs), self.talked, self.talked is not None, self.load, busy,
                     self.rolled)  # fmt: skip

    def remember(self, n: int = 1) -> None:
        """Something is told."""
        self.pending += [Waiting(self.now, 10)] * n

    def step(self, span: timedelta = HOUR) -> Decision:
        """Time passes, then the policy is asked."""
        self.now += span
        state = self.state()
        decision = decide(state, self.rules, self.now)
        if decision.action:
            self.runs.append((self.now, decision, state))
            self._do(decision.action)
        return decision

    def _do(self, action: str) -> None:
        bakes = action in ("bake", "ground")
        last = self.jobs.get(action)
        outcome: Outcome = self.outcome(self.now) if bakes else "done"
        failed = outcome in ("refused", "failed")
        failures = (last.failures if last else 0) + 1 if failed else 0
        self.jobs[action] = Job(action, self.now, self.now + self.takes, outcome, "", failures)
        self.runs_until = self.now + self.takes
        if bakes and not failed:
            self.pending.clear()
            self.rolled = 0 if action == "ground" else self.rolled + 1

    def done(self, *names: str) -> list[datetime]:
        """When these were done."""
        return [at for at, decision, _ in self.runs if decision.action in names]


def counts(life: Life) -> Mapping[str, int]:
    """How often each was done."""
    names = [decision.action for _, decision, _ in life.runs]
    return {name: names.count(name) for name in set(names)}
