"""What to do now, and why, or what is waited for and until when: one plain function of a state, rules and a time.

Knows no clock, no thread, no memory and no files: what it looks at is given to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, tzinfo
from typing import Literal

from apscheduler.triggers.cron import CronTrigger

from bakemem.memory import Job
from bakemem.schedule.hours import Hours

Action = Literal["", "bake", "ground", "check", "gc", "meter"]
"""What may be due: `ground` is a bake from the base, `meter` the forgetting meter; empty: nothing."""

BY_HAND = "by hand"
"""Among the jobs: the last accepted bake that somebody asked for since the schedule's own."""

LONGEST_RETRY = timedelta(days=7)
"""The most that is waited for another try with the same memories."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The settings of the schedule. Of those that ask for something, 0 or None never does.

    `memories`, `tokens`, `age`: of what is pending; `cron`: times; `hours` and `idle`: when it is allowed, in either;
    `load`: the most a CPU; `retry`: the first wait after a failure; `adherence`: the least share, and `meter_pause`
    between two measurements; `check`, `keep` (of gc) and `ground` (warm bakes before a cold one) are for the night.
    """

    hours: Hours
    memories: int = 0
    tokens: int = 0
    age: timedelta | None = None
    cron: CronTrigger | None = None
    idle: timedelta | None = None
    load: float = 0.0
    retry: timedelta = timedelta(minutes=30)
    adherence: float = 0.0
    meter_pause: timedelta = timedelta(minutes=30)
    check: bool = False
    keep: int = 0
    ground: int = 0


@dataclass(frozen=True, slots=True)
class Waiting:
    """One pending memory: since when, and how many tokens it takes in the prompt."""

    since: datetime
    tokens: int = 0


@dataclass(frozen=True, slots=True)
class State:
    """What a decision looks at.

    `pending`: the longest first; `jobs`: their last runs; `talked`: when somebody did last; `deep`: whether there is a
    conversation to measure at; `load` a CPU, if known; `busy`: a bake runs; `rolled`: how many bakes in a row went on
    from the one before.
    """

    pending: tuple[Waiting, ...] = ()
    jobs: Mapping[str, Job] = field(default_factory=dict)
    talked: datetime | None = None
    deep: bool = False
    load: float | None = None
    busy: bool = False
    rolled: int = 0

    @property
    def attempt(self) -> Job | None:
        """The last bake, warm or cold, or by hand."""
        return self._last("bake", "ground", BY_HAND)

    def _last(self, *names: str) -> Job | None:
        tried = [self.jobs[name] for name in names if name in self.jobs]
        return max(tried, key=lambda job: job.started, default=None)

    @property
    def untried(self) -> tuple[Waiting, ...]:
        """What is pending and was in no bake of the schedule yet. What one left over waits for new company."""
        last = self._last("bake", "ground")
        return tuple(one for one in self.pending if last is None or one.since > last.started)

    @property
    def hopeful(self) -> bool:
        """Whether a bake may help: not where an accepted one has left over all that is pending."""
        last = self.attempt
        return bool(self.untried if last is not None and last.outcome == "done" else self.pending)

    @property
    def fading(self) -> bool:
        """Whether the meter found, since the last bake, that the prompt is heeded no more, and a bake may help."""
        meter, last = self.jobs.get("meter"), self.attempt
        found = meter is not None and meter.outcome == "fading" and (last is None or meter.started > last.started)
        return found and self.hopeful


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do now, if anything, what asks for it, and, if not, what is waited for, until when where known."""

    action: Action = ""
    why: tuple[str, ...] = ()
    waits_for: str = ""
    until: datetime | None = None


def in_words(decision: Decision, zone: tzinfo) -> str:
    """The decision as a person says it, with times of that zone."""
    until = f", until {decision.until.astimezone(zone):%Y-%m-%d %H:%M}" if decision.until else ""
    what = f"{decision.action} is due" if decision.action else f"waits for {decision.waits_for}{until}"
    return f"{what}: {'; '.join(decision.why)}" if decision.why else what


def decide(state: State, rules: Rules, now: datetime) -> Decision:
    """The first thing that is due: a cold bake, a bake, a check, gc; or, at any hour, a measurement."""
    if state.busy:
        return Decision(waits_for="the bake that runs")
    # What is said to have run later than now ran before the clock was set back.
    jobs = {name: job for name, job in state.jobs.items() if job.started <= now}
    state = replace(state, jobs=jobs, pending=_aged(state.pending, rules, now))
    closed, loaded = _closed(state, rules, now), _loaded(state, rules)
    if not closed and not loaded and _ground_is_due(state, rules, now):
        return Decision("ground", (f"{state.rolled} bakes went on from one another ({rules.ground} are enough)",))
    bake = _bake(state, rules, now, closed or loaded)
    if bake.action:
        return bake
    if not closed and rules.check and _not_this_night(state, rules, now, "check"):
        return Decision("check", ("it is done once a night",))
    if not closed and rules.keep and _not_this_night(state, rules, now, "gc"):
        return Decision("gc", ("it is done once a night",))
    if not loaded and _measures(state, rules, now):
        return Decision("meter", ("people talked since it last asked",))
    return bake


def _aged(pending: tuple[Waiting, ...], rules: Rules, now: datetime) -> tuple[Waiting, ...]:
    """What is said to wait since later than now was told by a clock that was ahead: it is taken to be old enough."""
    old = now - (rules.age or timedelta(days=1))
    aged = [one if one.since <= now else replace(one, since=old) for one in pending]
    return tuple(sorted(aged, key=lambda one: one.since))


def _bake(state: State, rules: Rules, now: datetime, barred: Decision | None) -> Decision:
    if not state.pending:
        return Decision(waits_for="something to bake")
    new, last = tuple(_asks(state, rules, now)), state.attempt
    why = (*_fades(state), *new)
    again = now
    if last and last.outcome in ("refused", "failed"):
        # What is new may make the difference, and is worth an early try; else each failure doubles the wait.
        pause = rules.retry if new else min(LONGEST_RETRY, rules.retry * 2 ** min(last.failures - 1, 20))
        again = (last.ended or last.started) + pause
        why = why or (f"the last bake {'was refused' if last.outcome == 'refused' else 'failed'}",)
    elif last and last.outcome == "stopped":
        why = why or ("the bake that was stopped goes on",)
    if not why:
        return Decision(waits_for="more to bake", until=_asks_at(state, rules))
    if last and again > now:
        return Decision("", why, f"another try ({last.failures} in vain)", again)
    return Decision("", why, barred.waits_for, barred.until) if barred else Decision("bake", why)


def _fades(state: State) -> Iterator[str]:
    if state.fading:
        yield f"the prompt is heeded no more in a long conversation ({state.jobs['meter'].detail})"


def _asks(state: State, rules: Rules, now: datetime) -> Iterator[str]:
    """Why what is new asks for a bake."""
    new = state.untried
    if not new:
        return
    tokens, oldest = sum(one.tokens for one in new), new[0].since
    if rules.memories and len(new) >= rules.memories:
        yield f"{len(new)} memories wait ({rules.memories} are enough)"
    if rules.tokens and tokens >= rules.tokens:
        yield f"they take about {tokens} tokens of the prompt ({rules.tokens} are enough)"
    if rules.age is not None and now - oldest >= rules.age:
        yield f"the oldest has waited for {_hours(now - oldest)} ({_hours(rules.age)} are enough)"
    if (fires := _fires(rules, oldest)) and fires <= now:
        yield f"it was time at {fires:%Y-%m-%d %H:%M}"


def _asks_at(state: State, rules: Rules) -> datetime | None:
    """When time alone asks for a bake."""
    if not state.untried:
        return None
    oldest = state.untried[0].since
    times = (oldest + rules.age if rules.age is not None else None, _fires(rules, oldest))
    return min((at for at in times if at), default=None)


def _fires(rules: Rules, since: datetime) -> datetime | None:
    """The first of the cron times after that: one before the oldest memory has nothing to bake, and those that were
    missed are made up for by the next bake, however many there were.
    """
    found: datetime | None = rules.cron.get_next_fire_time(None, since) if rules.cron else None
    return found


def _closed(state: State, rules: Rules, now: datetime) -> Decision | None:
    """What is waited for when it is neither quiet nor idle; with quiet hours all day, when it is not idle."""
    hours, idle = rules.hours, rules.idle
    if hours.holds(now) and not (hours.whole and idle):
        return None
    rests = state.talked + idle if state.talked and idle else None
    if idle and (rests is None or rests <= now):
        return None
    times = {} if hours.whole else {hours.opens(now): "quiet hours"}
    if rests:
        times[rests] = "nobody to talk"
    return Decision(waits_for=" or ".join(times.values()), until=min(times))


def _loaded(state: State, rules: Rules) -> Decision | None:
    if rules.load and state.load is not None and state.load > rules.load:
        return Decision(waits_for=f"a less loaded machine ({state.load:.2f} a CPU, at most {rules.load:g})")
    return None


def _not_this_night(state: State, rules: Rules, now: datetime, name: str) -> bool:
    """One that was missed is made up for once, in the next quiet or idle minute."""
    return name not in state.jobs or state.jobs[name].started < rules.hours.opened(now)


def _ground_is_due(state: State, rules: Rules, now: datetime) -> bool:
    if not rules.ground or state.rolled < rules.ground:
        return False
    last = state.jobs.get("ground")
    if last is None or last.outcome == "stopped":
        return True
    rested = not last.failures or now - last.started >= timedelta(days=2 ** min(last.failures, 5))
    return rested and _not_this_night(state, rules, now, "ground")


def _measures(state: State, rules: Rules, now: datetime) -> bool:
    """Whether the forgetting meter is to ask: people talked since it did, and it has not asked for a bake already."""
    if not (rules.adherence and state.hopeful and state.deep and state.talked) or state.fading:
        return False
    last = state.jobs.get("meter")
    return last is None or (state.talked > last.started and now - last.started >= rules.meter_pause)


def _hours(span: timedelta) -> str:
    return f"{span / timedelta(hours=1):.3g} hours"
