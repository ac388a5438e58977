"""When windows are open, worked out day by day and minute by minute, from manifests as they stand.

Slow, and without a rule that is counted through: what the operator's calendar is held against.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)

WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
NTH = ("First", "Second", "Third", "Fourth")

Raw = Mapping[str, Any]
Opened = tuple[datetime, datetime, str]
"""When a window opens, when it closes, and its name."""


def begins_on(window: Raw, day: date) -> bool:
    """Read off the day itself."""
    start, end = window.get("startDate"), window.get("endDate")
    if (start and day < date.fromisoformat(start)) or (end and day > date.fromisoformat(end)):
        return False
    every, anchor = window.get("interval", 1), date.fromisoformat(start) if start else day
    if "daily" in window:
        return bool((day - anchor).days % every == 0)
    if "weekly" in window:
        weeks = (day.toordinal() - 1) // 7 - (anchor.toordinal() - 1) // 7
        return bool(weeks % every == 0 and WEEKDAYS[day.weekday()] in window["weekly"]["days"])
    monthly = window["monthly"]
    base: date = day - monthly.get("offsetDays", 0) * DAY
    months = (base.year - anchor.year) * 12 + base.month - anchor.month
    if every > 1 and months % every:
        return False
    if "day" in monthly:
        return bool(base.day == monthly["day"])
    if WEEKDAYS[base.weekday()] != monthly["weekday"]:
        return False
    if monthly["nth"] == "Last":
        return (base + 7 * DAY).month != base.month
    return (base.day + 6) // 7 == NTH.index(monthly["nth"]) + 1


@lru_cache(maxsize=10_000)
def first_minute(wanted: datetime, zone: ZoneInfo) -> datetime:
    """The first minute at which a clock there shows that time; else the first that shows a later
    one, found by looking at the clock minute by minute. Judges ask for the same days over and over.
    """
    midnight = datetime.combine(wanted.date(), time(), UTC)
    hours = [(midnight + number * HOUR).astimezone(zone) for number in range(-16, 40)]
    offsets = {at.utcoffset() or timedelta(0) for at in hours}
    candidates = sorted(wanted.replace(tzinfo=UTC) - offset for offset in offsets)
    for at in candidates:
        if at.astimezone(zone).replace(tzinfo=None) == wanted:
            return at
    at = candidates[0] - DAY
    while at.astimezone(zone).replace(tzinfo=None) < wanted:
        at += MINUTE
    return at


def last_minute(wanted: datetime, zone: ZoneInfo) -> datetime:
    """Likewise, the last minute at which a clock there shows that time."""
    first = first_minute(wanted, zone)
    again = (first + number * 15 * MINUTE for number in range(8, 0, -1))
    same = (at for at in again if at.astimezone(zone).replace(tzinfo=None) == wanted)
    return next(same, first)


def opened(schedule: Raw, since: datetime, until: datetime) -> list[Opened]:
    """The windows that end after `since` and begin before `until`, in order."""
    zone = ZoneInfo(schedule.get("timeZone", "UTC"))
    found = []
    for window in schedule.get("windows", ()):
        clock = time.fromisoformat(window["startTime"])
        length = duration(window["duration"])
        for day in _days((since - length - 3 * DAY).date(), (until + 2 * DAY).date()):
            if begins_on(window, day):
                start = first_minute(datetime.combine(day, clock), zone)
                found.append((start, start + length, str(window["name"])))
    return sorted(one for one in found if one[1] > since and one[0] < until)


def may_start(
    schedule: Raw, others: Sequence[Raw], maximum_duration: str, instant: datetime
) -> bool:
    """Whether an install may start then: all of it fits before a window closes or a freeze begins.
    `others`: the freezes of the AzureSubscription."""
    end = instant + duration(maximum_duration)
    own, zone = schedule.get("freezes", ()), schedule.get("timeZone", "UTC")
    spans = [*_frozen(own, zone), *_frozen(others, "UTC")]
    if any(start < end and instant < until for start, until in spans):
        return False
    if "always" in schedule:
        return True
    windows = opened(schedule, instant, instant + MINUTE)
    return any(opens <= instant and end <= closes for opens, closes, _ in windows)


def open_since(
    schedule: Raw, instant: datetime, maximum_duration: str, names: Sequence[str] | None = None
) -> datetime | None:
    """When the window opened that is open then, or the first of those that overlap it, directly or
    through others; of windows that an install fits in, and of these `names` alone. None: none is
    open, or there are no windows."""
    chosen = [
        window
        for window in schedule.get("windows", ())
        if duration(window["duration"]) >= duration(maximum_duration)
        and (names is None or window["name"] in names)
    ]
    began: datetime | None = None
    ended = instant
    for opens, closes, _ in opened({**schedule, "windows": chosen}, instant - 2 * DAY, instant):
        if began is None or opens >= ended:
            began, ended = opens, closes
        ended = max(ended, closes)
    return began if began is not None and began <= instant < ended else None


def _frozen(freezes: Iterable[Raw], zone: str) -> Iterator[tuple[datetime, datetime]]:
    for freeze in freezes:
        there = ZoneInfo(freeze.get("timeZone", zone))
        start, end = (datetime.fromisoformat(freeze[name]) for name in ("start", "end"))
        yield first_minute(start, there), last_minute(end, there)


def _days(first: date, last: date) -> Iterator[date]:
    day = first
    while day <= last:
        yield day
        day += DAY


def duration(text: str) -> timedelta:
    """Of Go's notation, or ISO 8601's."""
    units = {"h": HOUR, "m": MINUTE, "s": timedelta(seconds=1)}
    parts = re.findall(r"([0-9]+)([hms])", text.lower())
    return sum((int(count) * units[unit] for count, unit in parts), timedelta(0))
