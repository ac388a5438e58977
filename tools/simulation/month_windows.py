"""Windows and freezes of worlds that last for weeks: around a change of the clock, or by the month.

Changes are read off the time zone itself, day by day, as the judge's calendar reads everything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

from judging.calendar_by_day import NTH, WEEKDAYS, begins_on, opened

Raw = dict[str, Any]

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)

ZONES = (
    "Europe/Berlin",
    "America/New_York",
    "Australia/Sydney",
    "Australia/Lord_Howe",  # by half an hour
    "America/Santiago",  # at midnight
    "Pacific/Chatham",
)
"""Where clocks change, north and south of the equator."""

ELSEWHERE = (*ZONES, "UTC", "Asia/Kolkata")

ROOM = (20 * MINUTE, 20 * MINUTE, 35 * MINUTE, 50 * MINUTE, 2 * HOUR)
"""How much longer than an install a window is: mostly by less than a clock changes."""


@dataclass(frozen=True)
class Change:
    """Of the clock in a zone."""

    zone: str
    at: datetime
    """UTC."""
    by: timedelta
    """How much later the clock shows, at once; negative: earlier."""

    @property
    def wall(self) -> datetime:
        """What the clock shows at that moment, had it not been changed."""
        return (self.at - MINUTE).astimezone(ZoneInfo(self.zone)).replace(tzinfo=None) + MINUTE

    @property
    def doubtful(self) -> datetime:
        """A local time that does not come, or comes twice."""
        return self.wall + self.by / 2


@cache
def changes(zone: str, year: int) -> tuple[Change, ...]:
    """All of a year."""
    there, found = ZoneInfo(zone), []
    at = datetime(year, 1, 1, tzinfo=UTC)
    while at.year == year:
        if _offset(at, there) != _offset(at + DAY, there):
            minute = at
            while _offset(minute, there) == _offset(at, there):
                minute += MINUTE
            found.append(Change(zone, minute, _offset(minute, there) - _offset(at, there)))
        at += DAY
    return tuple(found)


def _offset(at: datetime, zone: ZoneInfo) -> timedelta:
    return at.astimezone(zone).utcoffset() or timedelta(0)


@dataclass(frozen=True)
class Span:
    """Of a world."""

    start: datetime
    end: datetime


# --- windows --------------------------------------------------------------------------------------


def at_change(random: Random, name: str, needed: timedelta, change: Change) -> Raw:
    """A window that begins at a time which does not come that day, or comes twice; or one that is
    open when the clock is changed."""
    begins = change.doubtful
    if random.random() < 0.5:
        begins = change.wall - random.choice((15, 40, 40, 90, 180)) * MINUTE
    length = needed + random.choice(ROOM)
    if begins + length < change.wall + 20 * MINUTE:
        length = change.wall - begins + needed
    window = {"name": name, "startTime": f"{begins:%H:%M}", "duration": _go(length)}
    return {**window, **_falls_on(random, begins.date())}


def _falls_on(random: Random, day: date) -> Raw:
    """A recurrence that has the day."""
    weekday = WEEKDAYS[day.weekday()]
    found: list[Raw] = [
        {"weekly": {"days": [weekday]}},
        {"weekly": {"days": [weekday]}, "interval": 2, "startDate": str(day - 28 * DAY)},
        {"daily": {}, "interval": 5, "startDate": str(day - 20 * DAY)},
        {"daily": {}, "startDate": str(day - DAY), "endDate": str(day + DAY)},
        {"monthly": {"day": day.day}},
        {"monthly": _nth(day, random.choice((0, 0, 3, -2, 9)))},
    ]
    return random.choice(found)


def _nth(day: date, offset: int) -> Raw:
    """The day as that many days after a weekday of its month, or of the one before or after."""
    base = day - offset * DAY
    last = (base + 7 * DAY).month != base.month
    said: Raw = {"nth": "Last" if last else NTH[(base.day - 1) // 7]}
    said["weekday"] = WEEKDAYS[base.weekday()]
    return {**said, "offsetDays": offset} if offset else said


def by_month(random: Random, name: str, needed: timedelta, span: Span) -> Raw:
    """A window that has its day by another rule. It opens at some time, or would have soon after
    the end: that it does not open is worth looking at, too."""
    while True:
        minutes = random.choice((0, 17, 30, 59))
        window = {
            "name": name,
            "startTime": f"{random.choice((0, 2, 2, 9, 13, 22, 23)):02}:{minutes:02}",
            "duration": _go(needed + random.choice((*ROOM, 5 * HOUR))),
            **random.choice(RULES)(random, span),
        }
        days = ((span.start + number * DAY).date() for number in range(2, 70))
        if any(begins_on(window, day) for day in days):
            return window


def _end_of_month(random: Random, span: Span) -> Raw:
    """On a day that a month of the span does not have, if one does not."""
    days = [(span.start + number * DAY).date() for number in range(2, (span.end - span.start).days)]
    last = [day.day for day in days if (day + DAY).month != day.month]
    lacked = [day for day in (29, 30, 31) if any(day > one for one in last)]
    return {"monthly": {"day": random.choice(lacked or [31])}}


def _of_month(random: Random, span: Span) -> Raw:
    said = {"nth": random.choice((*NTH, "Last")), "weekday": random.choice(WEEKDAYS)}
    offset = random.choice((0, 0, 0, 3, -4, 12))
    return {"monthly": {**said, "offsetDays": offset} if offset else said}


def _every_other_week(random: Random, span: Span) -> Raw:
    anchor = span.start.date() - random.randint(0, 40) * DAY
    days = random.sample(WEEKDAYS, random.choice((1, 2)))
    return {"weekly": {"days": days}, "interval": 2, "startDate": str(anchor)}


def _bounded(random: Random, span: Span) -> Raw:
    first = span.start.date() + random.randint(3, 14) * DAY
    last = first + random.randint(7, 25) * DAY
    weekly = {"days": [random.choice(WEEKDAYS)]}
    return {"weekly": weekly, "startDate": str(first), "endDate": str(last)}


def _every_few_days(random: Random, span: Span) -> Raw:
    anchor = span.start.date() - random.randint(0, 90) * DAY
    return {"daily": {}, "interval": random.randint(4, 11), "startDate": str(anchor)}


RULES: tuple[Callable[[Random, Span], Raw], ...] = (
    _end_of_month,
    _end_of_month,
    _end_of_month,
    _of_month,
    _of_month,
    _every_other_week,
    _bounded,
    _every_few_days,
)


# --- freezes --------------------------------------------------------------------------------------


def freezes(random: Random, schedule: Raw, span: Span, change: Change) -> Iterator[Raw]:
    """One or two that meet a window of the schedule, in any zone; some are over the change."""
    opens = [start for start, _, _ in opened(schedule, span.start + DAY, span.end)]
    if not opens:
        return
    near = [start for start in opens if abs(start - change.at) < 2 * DAY]
    for number in range(random.choice((1, 1, 2))):
        meant = random.choice(near if near and random.random() < 0.5 else opens)
        start = meant + random.choice((-30, -3, -1, 0.25, 0.5)) * HOUR
        yield freeze(random, f"freeze-{number}", start, random.choice((1.5, 4, 4, 30, 60)) * HOUR)


def freeze(random: Random, name: str, start: datetime, length: timedelta) -> Raw:
    """In some zone."""
    zone = random.choice(ELSEWHERE)
    ends = [at.astimezone(ZoneInfo(zone)) for at in (start, start + length)]
    first, last = (f"{at:%Y-%m-%dT%H:%M:00}" for at in ends)
    return {"name": name, "start": first, "end": last, "timeZone": zone}


def _go(length: timedelta) -> str:
    return f"{length // MINUTE}m"
