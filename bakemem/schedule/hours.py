"""Quiet hours by the local clock: whether it is quiet now, since when, and when it will be.

Knows times and zones. Hours are read off the clock on the wall, so a change to or from summer time moves them with it:
an hour that is there twice is quiet twice, and one that is skipped is not there to be quiet.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta, tzinfo

_DAYS = 8
_MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Hours:
    """From `start` until `end` of each day, over midnight where the end is not after the start; the same: all day."""

    start: time
    end: time
    zone: tzinfo

    @property
    def whole(self) -> bool:
        """Whether they are the whole day."""
        return self.start == self.end

    def holds(self, now: datetime) -> bool:
        """Whether it is quiet."""
        clock = now.astimezone(self.zone).time()
        if self.start < self.end:
            return self.start <= clock < self.end
        return clock >= self.start or clock < self.end

    def opens(self, now: datetime) -> datetime:
        """When they begin next, be it for the second time of a night."""
        return min(at for at in (*self._openings(now, range(_DAYS)), *self._again(now)) if at > now)

    def opened(self, now: datetime) -> datetime:
        """When they began last; a night in which they do so twice began the first time."""
        return next(at for at in self._openings(now, range(1, -_DAYS, -1)) if at <= now)

    def _openings(self, now: datetime, days: range) -> list[datetime]:
        """When they begin on these days from today on, in UTC; where the clock skips that time, when it has skipped."""
        today = now.astimezone(self.zone).date()
        dates = [today + timedelta(days=n) for n in days]
        times = [self._there(datetime.combine(date, self.start, self.zone)) for date in dates]
        return [at for at in times if self.holds(at)]

    def _again(self, now: datetime) -> list[datetime]:
        """When they begin a second time, today or tomorrow, in UTC: where the clock is set back out of them."""
        today = now.astimezone(self.zone).date()
        days = [today + timedelta(days=n) for n in range(3)]
        starts = [datetime.combine(day, self.start, self.zone).replace(fold=1) for day in days[:2]]
        first, last = (datetime.combine(day, time(), self.zone).astimezone(UTC) for day in (days[0], days[2]))
        set_back = [self._changed(last)] if last - first > timedelta(days=2) else []
        times = [*(start.astimezone(UTC) for start in starts), *set_back]
        return [at for at in times if self.holds(at) and not self.holds(at - _MINUTE)]

    def _there(self, wanted: datetime) -> datetime:
        """A time of the clock on the wall in UTC; where it is skipped, the minute after the skip."""
        at = wanted.astimezone(UTC)
        return at if at.astimezone(self.zone).time() == wanted.time() else self._changed(at)

    def _changed(self, at: datetime) -> datetime:
        """The minute from which on the clock has gone as it goes then."""
        offset = at.astimezone(self.zone).utcoffset()
        while (at - _MINUTE).astimezone(self.zone).utcoffset() == offset:
            at -= _MINUTE
        return at
