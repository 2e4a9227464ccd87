"""When something is due, as a pure function: each rule, the order among them, and a year of them."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from apscheduler.triggers.cron import CronTrigger
from hypothesis import given, settings
from hypothesis import strategies as st

from bakemem.memory import Job, Outcome
from bakemem.schedule import Hours, Rules, State, decide, in_words
from tests.schedule.year import BERLIN, DAY, HOUR, MINUTE, NIGHT, START, Life, counts, job, rules, waiting

NINE = [HOUR] * 9
HALF_PAST = CronTrigger.from_crontab("30 1 * * *", UTC)


def at(hour: int, minute: int = 0) -> datetime:
    """A time of the second day."""
    return datetime(2026, 1, 2, hour, minute, tzinfo=UTC)


def test_nothing_is_baked_when_nothing_waits() -> None:
    """Whatever the hour."""
    found = decide(State(), rules(), at(2))
    assert (found.action, found.waits_for) == ("", "something to bake")


@pytest.mark.parametrize(
    ("state", "changes", "word"),
    [
        (State(waiting(*[HOUR] * 8, now=at(2))), {}, "8 memories wait (8 are enough)"),
        (State(waiting(HOUR, now=at(2), tokens=500)), {"tokens": 400}, "about 500 tokens"),
        (State(waiting(25 * HOUR, now=at(2))), {}, "waited for 25 hours"),
        (State(waiting(2 * HOUR, now=at(2))), {"cron": HALF_PAST}, "at 2026-01-02 01:30"),
        (State(waiting(HOUR, now=at(2)), job("meter", at(1, 30), "fading")), {}, "heeded no more"),
    ],
)  # fmt: skip
def test_each_rule_asks_for_a_bake_and_says_why(state: State, changes: dict[str, object], word: str) -> None:
    """Any one of them is enough; without it, it is waited for more."""
    found = decide(state, rules(**changes), at(2))
    assert found.action == "bake"
    assert word in found.why[0]
    assert decide(State(waiting(HOUR, now=at(2))), rules(), at(2)).waits_for == "more to bake"


def test_zero_turns_each_rule_off() -> None:
    """A memory then waits for ever, and no time is told."""
    state = State(waiting(*[300 * DAY] * 50), talked=START, deep=True)
    found = decide(state, Rules(NIGHT), at(2))
    assert (found.action, found.waits_for, found.until) == ("", "more to bake", None)


def test_what_is_waited_for_is_told_with_its_time() -> None:
    """The age of the oldest or the next cron time, whichever is first."""
    state = State(waiting(HOUR, now=at(2)))
    assert decide(state, rules(), at(2)).until == at(1) + DAY
    cron = CronTrigger.from_crontab("0 12 * * *", UTC)
    assert decide(state, rules(cron=cron), at(2)).until == at(12)


def test_a_bake_waits_for_quiet_hours_or_silence() -> None:
    """Whichever comes first, and the reason why it is due is told."""
    busy_talk = State(waiting(*NINE, now=at(14)), talked=at(13, 50))
    found = decide(busy_talk, rules(), at(14))
    assert (found.action, found.until) == ("", at(14, 20))
    assert in_words(found, UTC) == (
        "waits for quiet hours or nobody to talk, until 2026-01-02 14:20: 9 memories wait (8 are enough)"
    )
    assert decide(busy_talk, rules(), at(14, 20)).action == "bake"
    assert decide(busy_talk, rules(idle=None), at(14, 20)).until == at(1) + DAY
    chat_at_night = State(waiting(*NINE, now=at(2)), talked=at(2))
    assert decide(chat_at_night, rules(), at(2)).action == "bake"


def test_without_quiet_hours_only_silence_counts() -> None:
    """And without both it bakes at any time."""
    all_day = Hours(time(0), time(0), UTC)
    state = State(waiting(*NINE, now=at(14)), talked=at(14))
    assert decide(state, rules(hours=all_day), at(14)).waits_for == "nobody to talk"
    assert decide(state, rules(hours=all_day, idle=None), at(14)).action == "bake"


def test_a_loaded_machine_and_a_running_bake_are_waited_for() -> None:
    """A load that is not known does not count."""
    pending = waiting(*NINE, now=at(2))
    loaded = decide(State(pending, load=1.5), rules(load=1.0), at(2))
    assert (loaded.action, "1.50 a CPU, at most 1" in loaded.waits_for) == ("", True)
    assert decide(State(pending), rules(load=1.0), at(2)).action == "bake"
    assert decide(State(pending, busy=True), rules(check=True), at(2)).waits_for == "the bake that runs"


def test_what_a_bake_left_over_waits_for_company() -> None:
    """It is not tried again for its own sake, however old it becomes."""
    left = State(waiting(40 * DAY, now=at(2)), job("bake", at(2) - DAY))
    assert decide(left, rules(), at(2)).waits_for == "more to bake"
    new = State(waiting(40 * DAY, *[HOUR] * 8, now=at(2)), left.jobs)
    assert decide(new, rules(), at(2)).action == "bake"


def test_a_failed_bake_is_tried_again_later_and_later() -> None:
    """Half an hour, an hour, two …, a week at most; what is new is worth an early try."""
    for failures, pause in ((1, 30 * MINUTE), (2, HOUR), (5, 8 * HOUR), (30, 7 * DAY)):
        ended = at(2, 1)
        last = Job("bake", at(2), ended, "refused", "", failures)
        state = State(waiting(30 * HOUR, now=at(2)), {"bake": last})
        found = decide(state, rules(), at(2, 10))
        assert (found.action, found.until) == ("", ended + pause)
        assert found.why == ("the last bake was refused",)
        assert decide(state, rules(hours=Hours(time(0), time(0), UTC)), ended + pause).action == "bake"
    new = State((*state.pending, *waiting(*[MINUTE] * 8, now=at(2, 10))), state.jobs)
    assert decide(new, rules(), at(2, 10)).until == at(2, 31)


def test_a_stopped_bake_goes_on_at_the_next_chance() -> None:
    """Without a pause, but not in loud hours."""
    state = State(waiting(30 * HOUR, now=at(2)), job("bake", at(2), "stopped"), talked=at(11, 59))
    assert decide(state, rules(), at(2, 5)).action == "bake"
    assert decide(state, rules(), at(12)).waits_for.startswith("quiet hours")


def test_a_clock_that_was_set_back_stops_nothing() -> None:
    """What is said to have run in the future has run in the past."""
    state = State(
        waiting(*NINE, now=at(2)), {**job("bake", at(2) + 900 * DAY, "failed", 3), **job("check", at(2) + DAY)}
    )
    assert decide(state, rules(check=True), at(2)).action == "bake"
    assert decide(State((), job("check", at(2) + DAY)), rules(check=True), at(2)).action == "check"


def test_what_was_told_by_a_clock_that_was_ahead_is_old_enough() -> None:
    """It is baked in the next night and not in a year; where a bake leaves it over, in the next one again."""
    ahead = waiting(-300 * DAY, now=at(2))
    for on in (rules(), rules(age=None, cron=HALF_PAST)):
        assert decide(State(ahead), on, at(2)).action == "bake"
        assert decide(State(ahead, job("bake", at(2))), on, at(4)).waits_for == "more to bake"
        assert decide(State(ahead, job("bake", at(2))), on, at(2, 1) + DAY).action == "bake"
    old = decide(State((*ahead, *waiting(30 * HOUR, now=at(2)))), rules(), at(2))
    assert "waited for 30 hours" in old.why[0]


def test_a_night_has_one_check_and_one_gc() -> None:
    """After the bake, and once for all the nights that were missed."""
    life = Life(rules(check=True, keep=5), now=at(1) + 30 * DAY)
    life.remember(9)
    seen = [life.step(MINUTE * 20).action for _ in range(24)]
    assert [action for action in seen if action] == ["bake", "check", "gc"]


def test_after_many_warm_bakes_comes_a_cold_one() -> None:
    """At night, in the place of a warm one, and if it fails not again in the next night."""
    state = State(waiting(*NINE, now=at(2)), rolled=20)
    assert decide(state, rules(ground=20), at(2)).action == "ground"
    assert decide(state, rules(ground=21), at(2)).action == "bake"
    failed = State((), job("ground", at(2), "refused", 1), rolled=20)
    assert decide(failed, rules(ground=20), at(2) + DAY).action == ""
    assert decide(failed, rules(ground=20), at(2) + 2 * DAY).action == "ground"


def test_the_meter_asks_while_people_talk_and_not_too_often() -> None:
    """At any hour, only when there is a conversation and something in the prompt, and until it asked for a bake."""
    base = State(waiting(HOUR), talked=START, deep=True)
    on = rules(adherence=0.7)
    assert decide(base, on, START).action == "meter"
    assert decide(base, rules(), START).action == ""
    for nothing in (State(talked=START, deep=True), State(base.pending, talked=START), State(base.pending, deep=True)):
        assert decide(nothing, on, START).action == ""
    soon = State(base.pending, job("meter", START - 10 * MINUTE), talked=START, deep=True)
    assert decide(soon, on, START).action == ""
    assert decide(soon, on, START + 20 * MINUTE).action == "meter"
    silent = State(base.pending, job("meter", START + MINUTE), talked=START, deep=True)
    assert decide(silent, on, START + 2 * HOUR).action == ""
    faded = State(base.pending, job("meter", START - HOUR, "fading"), talked=START, deep=True)
    assert decide(faded, on, START).why[0].startswith("the prompt is heeded no more")


def test_a_bake_answers_the_meter() -> None:
    """What it found before the bake asks for no second one."""
    jobs = {**job("meter", at(1), "fading"), **job("bake", at(1, 30))}
    assert decide(State(waiting(5 * HOUR, now=at(2)), jobs), rules(), at(2)).action == ""


def test_the_meter_shortens_no_wait_after_a_bake_that_was_refused() -> None:
    """It asks for another try, and each one in vain doubles the wait, whatever it finds meanwhile."""
    jobs = {**job("bake", at(2), "refused", 5), **job("meter", at(2, 31), "fading")}
    found = decide(State(waiting(HOUR, now=at(2)), jobs), rules(), at(3))
    assert (found.action, found.until) == ("", at(2, 1) + 8 * HOUR)
    assert found.why[0].startswith("the prompt is heeded no more")
    new = State(waiting(5 * HOUR, *[MINUTE] * 8, now=at(3)), jobs)
    assert decide(new, rules(), at(3)).action == "bake"


def test_the_meter_asks_no_bake_for_what_one_has_left_over() -> None:
    """A bake was accepted without it, and the next would be too: it waits for company, and is not asked about."""
    jobs, on = {**job("bake", at(2)), **job("meter", at(2, 31), "fading")}, rules(adherence=0.7)
    left = State(waiting(30 * HOUR, now=at(2)), jobs, talked=at(4), deep=True)
    assert (decide(left, on, at(4)).action, decide(left, on, at(4)).waits_for) == ("", "more to bake")
    joined = State((*left.pending, *waiting(MINUTE, now=at(3))), jobs, talked=at(4), deep=True)
    assert decide(joined, on, at(4)).action == "bake"


def test_quiet_hours_follow_the_clock_on_the_wall() -> None:
    """Over midnight, and over both changes of summer time, they begin once a day."""
    hours = Hours(time(23), time(6), BERLIN)
    assert hours.holds(datetime(2026, 1, 1, 23, 30, tzinfo=BERLIN))
    assert not hours.holds(datetime(2026, 1, 1, 12, tzinfo=BERLIN))
    now, openings = START, set[datetime]()
    while now.year == 2026:
        openings.add(hours.opens(now))
        assert hours.opened(now) <= now < hours.opens(now)
        now += timedelta(hours=5)
    assert len(openings) == 365
    assert {at.astimezone(BERLIN).time() for at in openings} == {time(23)}


@pytest.mark.parametrize(("zone", "day", "start", "end", "opens"), [
    ("Europe/Berlin", "2026-03-29", time(2, 30), time(5), "2026-03-29T03:00+02:00"),
    ("Africa/Cairo", "2026-04-24", time(0, 30), time(1, 30), "2026-04-24T01:00+03:00"),
    ("Europe/Berlin", "2026-03-29", time(2, 15), time(2, 45), "2026-03-30T02:15+02:00"),
])  # fmt: skip
def test_hours_whose_start_is_skipped_begin_after_the_skip(
    zone: str, day: str, start: time, end: time, opens: str
) -> None:
    """If anything of them is left: that night has its bake, its check and its gc."""
    hours = Hours(start, end, ZoneInfo(zone))
    evening = datetime.fromisoformat(day).replace(tzinfo=ZoneInfo(zone)) - 4 * HOUR
    assert hours.opens(evening) == datetime.fromisoformat(opens)
    assert hours.opened(datetime.fromisoformat(opens) + MINUTE) == datetime.fromisoformat(opens)


@pytest.mark.parametrize(("zone", "now", "start", "end", "opens"), [
    ("Africa/Cairo", "2026-10-29T21:15Z", time(23, 30), time(0, 30), "2026-10-29T21:30Z"),
    ("Africa/Cairo", "2026-10-29T20:45Z", time(22), time(23, 30), "2026-10-29T21:00Z"),
    ("Europe/Berlin", "2026-10-25T00:50Z", time(2, 10), time(2, 40), "2026-10-25T01:10Z"),
    ("America/Havana", "2026-11-01T04:45Z", time(23), time(0, 30), "2026-11-01T05:00Z"),
    ("Antarctica/Troll", "2026-10-25T00:30Z", time(1), time(2), "2026-10-25T01:00Z"),
])  # fmt: skip
def test_hours_that_the_clock_is_set_back_into_begin_again(
    zone: str, now: str, start: time, end: time, opens: str
) -> None:
    """Where they had ended, or had not begun, by then; it stays one night, which began the first time."""
    hours, at = Hours(start, end, ZoneInfo(zone)), datetime.fromisoformat(now)
    again = hours.opens(at)
    assert again == datetime.fromisoformat(opens)
    assert (hours.holds(at), hours.holds(again - MINUTE), hours.holds(again)) == (False, False, True)
    assert hours.opened(again) == hours.opened(at)


def test_hours_that_go_on_while_the_clock_is_set_back_begin_once() -> None:
    """They just last longer."""
    hours = Hours(time(23), time(1), ZoneInfo("Africa/Cairo"))
    assert hours.opens(datetime.fromisoformat("2026-10-29T19:00Z")) == datetime.fromisoformat("2026-10-29T20:00Z")
    assert hours.opens(datetime.fromisoformat("2026-10-29T20:15Z")) == datetime.fromisoformat("2026-10-30T21:00Z")


def test_a_year_of_a_busy_memory() -> None:
    """A memory each day, talk from nine to five, a machine that is off at weekends: all is baked within days, at
    night or in silence, and one check a night is enough.
    """
    life = Life(rules(check=True, keep=50, ground=20, idle=None))
    while life.now < START + 365 * DAY:
        if life.now.weekday() >= 5:
            life.now += HOUR  # off: no step
            continue
        if life.now.hour == 10 and life.now.minute == 0:
            life.remember()
        if 9 <= life.now.hour < 17:
            life.talked = life.now
        life.step()
        assert all(life.now - one.since <= 4 * DAY for one in life.pending)
    found = counts(life)
    assert all(1 <= time.hour < 6 for time in life.done("bake", "ground", "check", "gc"))
    assert 240 <= found["check"] == found["gc"] <= 262
    assert found["ground"] == pytest.approx((found["bake"] + found["ground"]) / 21, abs=1)


def test_a_run_missed_while_off_is_caught_up_once() -> None:
    """Thirty cron times passed: one bake, one check, one gc."""
    cron = CronTrigger.from_crontab("0 2 * * *", UTC)
    life = Life(rules(cron=cron, age=None, check=True, keep=5), now=START)
    life.remember()
    life.now += 30 * DAY  # off
    for _ in range(12):
        life.step(10 * MINUTE)
    assert counts(life) == {"bake": 1, "check": 1, "gc": 1}


Event = tuple[str, int]
EVENTS = st.lists(
    st.tuples(st.sampled_from(["remember", "talk", "off", "wait", "wait", "wait"]), st.integers(1, 300)),
    min_size=20, max_size=150,
)  # fmt: skip


@settings(max_examples=60)
@given(EVENTS, st.lists(st.sampled_from(["done", "refused", "failed"]), min_size=1, max_size=5), st.booleans(),
       st.integers(1, 500), st.sampled_from([UTC, BERLIN]))  # fmt: skip
def test_no_life_breaks_the_promises(
    events: list[Event], outcomes: list[Outcome], idles: bool, takes: int, zone: object
) -> None:
    """Never two bakes at once, never in loud hours unless idle, never above the load, and one upkeep a night."""
    hours = Hours(time(1), time(6), zone)  # type: ignore[arg-type]
    cron = CronTrigger.from_crontab("0 12 * * *", UTC)
    on = rules(hours=hours, cron=cron, idle=30 * MINUTE if idles else None, load=1.0, check=True, keep=3, ground=2)
    life = Life(on, outcome=lambda now: outcomes[now.toordinal() % len(outcomes)], takes=takes * MINUTE)
    for kind, n in events:
        if kind == "remember":
            life.remember(n % 12 + 1)
        elif kind == "talk":
            life.talked = life.now
        elif kind == "off":
            life.now += n * HOUR
        life.load = n % 3 * 0.8
        life.step(n * MINUTE)
    bakes = life.done("bake", "ground")
    assert all(later - earlier >= life.takes for earlier, later in pairwise(bakes))
    for now, decision, state in life.runs:
        silent = idles and (state.talked is None or now - state.talked >= 30 * MINUTE)
        assert hours.holds(now) or silent
        assert decision.action in ("check", "gc") or (state.load or 0) <= 1.0
        assert decision.why
    for name in ("check", "gc"):
        nights = [hours.opened(now) for now in life.done(name)]
        assert len(nights) == len(set(nights))


@settings(max_examples=30)
@given(st.integers(20, 90), st.integers(1, 600))
def test_the_back_off_is_monotone(step: int, retry: int) -> None:
    """With nothing new to bake, each pause between two tries is as long as the one before or longer, until a week."""
    on = rules(hours=Hours(time(0), time(0), UTC), idle=None, retry=retry * MINUTE)
    life = Life(on, outcome=lambda now: "refused")
    life.remember(9)
    while len(tries := life.done("bake")) < 14 and life.now < START + 100 * DAY:
        life.step(step * MINUTE)
    gaps = [later - earlier for earlier, later in pairwise(tries)]
    slack = step * MINUTE
    assert all(earlier <= later + slack for earlier, later in pairwise(gaps))
    assert max(gaps) <= 7 * DAY + life.takes + slack
    assert len(tries) >= 10
