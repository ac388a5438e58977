"""The calendar: when the windows of a schedule open, which freezes close them, and for how long.

Instants are UTC. Days and times of day are local to the schedule's time zone.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, reset_tzpath

from dateutil import rrule

from azpatch.api.schedule import WINDOW_LONGEST, Freeze, Monthly, Nth, Schedule, Weekday, Window

DAY = timedelta(days=1)

_FIRST, _LAST = datetime(2, 1, 1), datetime(9998, 12, 31)  # noqa: DTZ001 - of any zone
"""People write the year 9999 for ever; in another time zone that is beyond what can be told."""

_A_MONDAY = datetime(2024, 1, 1, tzinfo=UTC)

FREEZE_ZONE = "UTC"
"""Of a freeze of an AzureSubscription that names none."""

# The same time zones everywhere: those of the tzdata package, whatever the system has.
reset_tzpath(to=())

_WEEKDAYS = dict(
    zip(
        Weekday,
        (rrule.MO, rrule.TU, rrule.WE, rrule.TH, rrule.FR, rrule.SA, rrule.SU),
        strict=True,
    )
)
_NTH = {Nth.FIRST: 1, Nth.SECOND: 2, Nth.THIRD: 3, Nth.FOURTH: 4, Nth.LAST: -1}


class UnknownTimeZoneError(Exception):
    """The IANA time zone database has no such name."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(
            f"timeZone {name} is not in the IANA time zone database: give a name such as "
            "Europe/Berlin, spelt as there"
        )


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """From an instant to another, which is not in it."""

    start: datetime
    end: datetime

    @property
    def length(self) -> timedelta:
        """From its start to its end, as time passes."""
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class Frozen:
    """A freeze in instants."""

    span: Span
    name: str
    reason: str | None


@dataclass(frozen=True, slots=True)
class Occurrence:
    """A window that opens at some time."""

    window: str
    """Its name."""
    span: Span


@dataclass(frozen=True, slots=True)
class Calendar:
    """A schedule's windows and all freezes that close them."""

    zone: ZoneInfo
    windows: tuple[Window, ...]
    """None: the schedule is always open, but for the freezes."""
    freezes: tuple[Frozen, ...]
    """In order of their starts."""

    def occurrences(
        self, since: datetime, until: datetime, names: Collection[str] | None = None
    ) -> Iterator[Occurrence]:
        """The windows that are open at `since` or open later and before `until`, in order of their
        starts; with `names`, of these windows only."""
        chosen = [one for one in self.windows if names is None or one.name in names]
        streams = [_occurrences(window, self.zone, since, until) for window in chosen]
        return heapq.merge(*streams, key=lambda one: (one.span, one.window))

    def chain_at(self, now: datetime, names: Collection[str]) -> Span | None:
        """The window of `names` that is open, with all that overlap it, directly or through others.
        A chain that is longer than the longest window is cut into weeks."""
        chain: Span | None = None
        for one in self.occurrences(now - WINDOW_LONGEST - DAY, now + WINDOW_LONGEST + DAY, names):
            if chain is not None and one.span.start < chain.end:
                chain = Span(chain.start, max(chain.end, one.span.end))
            elif chain is not None and now < chain.end:
                break
            else:
                chain = one.span
        if chain is None or not chain.start <= now < chain.end:
            return None
        if chain.length <= WINDOW_LONGEST:
            return chain
        week = _A_MONDAY + (now - _A_MONDAY) // WINDOW_LONGEST * WINDOW_LONGEST
        return Span(max(chain.start, week), min(chain.end, week + WINDOW_LONGEST))

    def stretches(self, span: Span) -> tuple[Span, ...]:
        """What the freezes leave of it."""
        left: list[Span] = []
        start = span.start
        for freeze in self.freezes:
            closed = freeze.span
            if closed.end <= start:
                continue
            if closed.start >= span.end:
                break
            if closed.start > start:
                left.append(Span(start, closed.start))
            start = closed.end
        if start < span.end:
            left.append(Span(start, span.end))
        return tuple(left)

    def frozen_at(self, instant: datetime) -> Frozen | None:
        """The freeze that holds then; of several the one that ends last."""
        holding = [one for one in self.freezes if one.span.start <= instant < one.span.end]
        return max(holding, key=lambda one: one.span.end, default=None)


def calendar(
    schedule: Schedule, others: Sequence[Frozen] = (), *, own_freezes: bool = True
) -> Calendar:
    """`others`: freezes that the subscription declares; `own_freezes`: the schedule's hold, too.
    Raises UnknownTimeZoneError."""
    own = freezes(schedule.freezes, schedule.time_zone) if own_freezes else ()
    both = sorted((*own, *others), key=lambda one: one.span)
    return Calendar(zone(schedule.time_zone), schedule.windows, tuple(both))


def freezes(declared: Sequence[Freeze], default_zone: str) -> tuple[Frozen, ...]:
    """In instants. An end that comes twice is the second, because a freeze had better last too
    long. Raises UnknownTimeZoneError."""
    found = []
    for freeze in declared:
        where = zone(freeze.time_zone or default_zone)
        span = Span(instant(freeze.start, where), instant(freeze.end, where, last=True))
        if span.start < span.end:  # In an hour that is skipped there is nothing to close.
            found.append(Frozen(span, freeze.name, freeze.reason))
    return tuple(found)


def zone(name: str) -> ZoneInfo:
    """The time zone of this IANA name. Raises UnknownTimeZoneError."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise UnknownTimeZoneError(name) from None


def instant(local: datetime, where: ZoneInfo, *, last: bool = False) -> datetime:
    """When clocks there show this naive time; the first time if they do so twice, or the second
    with `last`; and if they skip it, when they do."""
    local = min(max(local, _FIRST), _LAST)
    early = local.replace(tzinfo=where, fold=0).astimezone(UTC)
    if early.astimezone(where).replace(tzinfo=None) == local:
        return local.replace(tzinfo=where, fold=1).astimezone(UTC) if last else early
    # Read by the clock from before the change it is after it, and the other way round.
    before = local.replace(tzinfo=where, fold=1).astimezone(UTC)
    return _change(before, early, where)


def _change(before: datetime, after: datetime, where: ZoneInfo) -> datetime:
    """The first second with the offset of `after`."""
    offset = after.astimezone(where).utcoffset()
    low, high = 0, int((after - before).total_seconds())
    while high - low > 1:
        middle = (low + high) // 2
        at = (before + timedelta(seconds=middle)).astimezone(where)
        low, high = (low, middle) if at.utcoffset() == offset else (middle, high)
    return before + timedelta(seconds=high)


# --- days -----------------------------------------------------------------------------------------


def _occurrences(
    window: Window, where: ZoneInfo, since: datetime, until: datetime
) -> Iterator[Occurrence]:
    """Those of one window that end after `since` and begin before `until`."""
    # Two days more than a window is long: no clock is further from UTC than one.
    first, last = since.date() - window.duration - 2 * DAY, until.date() + DAY
    for day in _days(window, first, last):
        start = instant(datetime.combine(day, window.start_time), where)
        end = start + window.duration
        if end > since and start < until:
            yield Occurrence(window.name, Span(start, end))


def _days(window: Window, first: date, last: date) -> Iterator[date]:
    """The days on which it begins, of these."""
    first = max(first, window.start_date or first)
    last = min(last, window.end_date or last)
    if first > last:
        return iter(())
    return (day for day in _recurring(window, first, last) if first <= day <= last)


def _recurring(window: Window, first: date, last: date) -> Iterator[date]:
    """The days that the recurrence has, whatever its bounds: all of these, and some around them."""
    anchor, interval = window.start_date or first, window.interval or 1
    if window.monthly is not None:
        return _monthly(window.monthly, anchor, interval, first, last)
    if window.weekly is not None:
        weekdays = [_WEEKDAYS[day] for day in window.weekly.days]
        start = _jump(anchor - anchor.weekday() * DAY, 7 * interval, first)
        return _dates(rrule.WEEKLY, start, last, interval, wkst=rrule.MO, byweekday=weekdays)
    return _dates(rrule.DAILY, _jump(anchor, interval, first), last, interval)


def _monthly(
    monthly: Monthly, anchor: date, interval: int, first: date, last: date
) -> Iterator[date]:
    # An offset leads into another month: begin early enough, and end late enough, for it.
    offset = (monthly.offset_days or 0) * DAY
    wanted, counted = _month(first - offset), _month(anchor)
    start = _first_of(counted + (wanted - counted) // interval * interval)
    if monthly.day is not None:
        return _dates(rrule.MONTHLY, start, last, interval, bymonthday=monthly.day)
    assert monthly.nth is not None
    assert monthly.weekday is not None
    weekday = _WEEKDAYS[monthly.weekday](_NTH[monthly.nth])
    days = _dates(rrule.MONTHLY, start, last - offset, interval, byweekday=weekday)
    return (day + offset for day in days)


def _jump(anchor: date, step: int, first: date) -> date:
    """The last day of `anchor` and every `step` days before and after it that is not after `first`:
    the rule need not count from years ago."""
    return anchor + (first - anchor).days // step * step * DAY


def _month(day: date) -> int:
    """Months since the year 0."""
    return day.year * 12 + day.month - 1


def _first_of(month: int) -> date:
    year, number = divmod(month, 12)
    return date(year, number + 1, 1)


def _dates(
    frequency: Literal[1, 2, 3], start: date, last: date, interval: int, **by: Any
) -> Iterator[date]:
    """What dateutil makes of the rule. Its days have midnights, which mean nothing."""
    midnight, end = datetime.combine(start, time()), datetime.combine(last, time())
    rule = rrule.rrule(frequency, dtstart=midnight, until=end, interval=interval, **by)
    return (at.date() for at in rule)
