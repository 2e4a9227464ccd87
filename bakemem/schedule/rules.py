"""The schedule's rules from the settings, and its state from a memory's journal. Knows no clock."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, time, timedelta, tzinfo
from zoneinfo import ZoneInfo

from apscheduler.triggers.cron import CronTrigger
from tzlocal import get_localzone

from bakemem.config import Config
from bakemem.errors import ConfigError
from bakemem.memory import Job
from bakemem.schedule.hours import Hours
from bakemem.schedule.policy import BY_HAND, Rules, State, Waiting
from bakemem.types import Memory, Version
from bakemem.versions import ORIGIN, lineage

_BYTES_A_TOKEN = 4


def rules_of(config: Config) -> Rules:
    """The rules in the settings. Raises ConfigError for a zone or a cron time that there is not."""
    zone = _zone(config.time_zone)
    start, _, end = (config.quiet_hours or "00:00-00:00").partition("-")
    try:
        cron = _cron(config.bake_cron, zone) if config.bake_cron else None
    except ValueError as error:
        raise ConfigError(
            f"bake_cron = {config.bake_cron!r} is no time: {error}. Write it as in crontab, such as '0 3 * * *', and "
            "weekdays by their names: '0 3 * * mon-fri'."
        ) from error
    return Rules(
        hours=Hours(time.fromisoformat(start), time.fromisoformat(end), zone), memories=config.bake_memories,
        tokens=config.bake_tokens, age=timedelta(hours=config.bake_hours) if config.bake_hours else None, cron=cron,
        idle=timedelta(minutes=config.idle_minutes) if config.idle_minutes else None, load=config.most_load,
        retry=timedelta(minutes=config.retry_minutes), adherence=config.min_adherence,
        meter_pause=timedelta(minutes=config.meter_minutes), check=config.nightly_check, keep=config.keep_versions,
        ground=config.ground_every,
    )  # fmt: skip


def state_of(
    waiting: Sequence[tuple[Memory, datetime]], jobs: Mapping[str, Job], versions: Sequence[Version], live: str | None,
    *, talked: datetime | None = None, deep: bool = False, load: float | None = None, busy: bool = False,
) -> State:  # fmt: skip
    """What a decision looks at. Tokens are estimated at four bytes each: no model need be loaded to wait."""
    pending = tuple(Waiting(since, -(-len(memory.text.encode()) // _BYTES_A_TOKEN)) for memory, since in waiting)
    known = {**jobs, BY_HAND: made} if (made := _by_hand(jobs, versions)) else jobs
    return State(pending, known, talked, deep, load, busy, rolled(versions, live))


def _by_hand(jobs: Mapping[str, Job], versions: Sequence[Version]) -> Job | None:
    """The newest accepted version as a job that is done, if it was made after the schedule's last bake had ended."""
    here = (version for version in reversed(versions) if ORIGIN not in version.settings)  # not unpacked from elsewhere
    newest = next((version for version in here if version.status == "accepted"), None)
    tried = [job.ended or job.started for name in ("bake", "ground") if (job := jobs.get(name))]
    if newest is None or not tried or newest.created <= max(tried):
        return None
    return Job(BY_HAND, newest.created, newest.created, "done")


def rolled(versions: Sequence[Version], live: str | None) -> int:
    """How many bakes in a row, back from the live version, went on from the one before."""
    return sum(version.parent is not None for version in lineage(versions, live))


def load_per_cpu() -> float | None:
    """The machine's load of the last minute a CPU; None where the platform does not tell."""
    if not hasattr(os, "getloadavg"):
        return None
    return os.getloadavg()[0] / (os.cpu_count() or 1)


def _cron(text: str, zone: tzinfo) -> CronTrigger:
    """Raises ValueError, for the 30th of February too, and for what APScheduler reads as crontab does not: weekdays by
    number (its 0 is crontab's 1), and days of both kinds (it takes those that are both).
    """
    cron = CronTrigger.from_crontab(text, zone)
    day, weekday = text.split()[2], text.split()[4]
    if re.search(r"\d", weekday):
        raise ValueError("a weekday is a number, or every so many")
    if day != "*" and weekday != "*":
        raise ValueError("it has both days of the month and weekdays")
    if cron.get_next_fire_time(None, datetime(2000, 1, 1, tzinfo=UTC)) is None:
        raise ValueError("it never comes")
    return cron


def _zone(name: str | None) -> tzinfo:
    try:
        return ZoneInfo(name) if name else get_localzone()
    except (KeyError, ValueError, OSError) as error:
        raise ConfigError(f"time_zone = {name!r} is not known: {error}. Give one such as 'Europe/Berlin'.") from error
