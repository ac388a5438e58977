"""Wrong operators, by how they read a calendar over weeks and changes of the clock; see
`mutations`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import date, datetime, timedelta
from typing import Any
from unittest.mock import patch
from zoneinfo import ZoneInfo

from azpatch.api.schedule import Monthly, Nth, Weekday, Window
from azpatch.domain import policy_machines, windows
from azpatch.domain.opening import Timing
from azpatch.domain.windows import DAY, Occurrence, Span, instant
from azpatch.reconcile import calendars
from azpatch.reconcile.policy_runs import PolicyRuns

Patches = Iterator[AbstractContextManager[Any]]


def _opening(span_of: Callable[[Window, datetime, ZoneInfo], Span | None]) -> Patches:
    """Windows open on the right days, as `span_of` says for a window and its local time."""

    def occurrences(
        window: Window, where: ZoneInfo, since: datetime, until: datetime
    ) -> Iterator[Occurrence]:
        first, last = since.date() - window.duration - 2 * DAY, until.date() + DAY
        for day in windows._days(window, first, last):
            span = span_of(window, datetime.combine(day, window.start_time), where)
            if span is not None and span.end > since and span.start < until:
                yield Occurrence(window.name, span)

    yield patch.object(windows, "_occurrences", occurrences)


def lengths_on_the_wall() -> Patches:
    """A window ends when a clock on the wall has gone on by its duration."""

    def span_of(window: Window, local: datetime, where: ZoneInfo) -> Span:
        return Span(instant(local, where), instant(local + window.duration, where))

    return _opening(span_of)


def skipped_time_dropped() -> Patches:
    """A window that begins at a time which the clock skips that day does not open."""

    def span_of(window: Window, local: datetime, where: ZoneInfo) -> Span | None:
        start = instant(local, where)
        if start.astimezone(where).replace(tzinfo=None) != local:
            return None
        return Span(start, start + window.duration)

    return _opening(span_of)


def repeated_time_second() -> Patches:
    """A window that begins at a time which comes twice opens the second time."""

    def span_of(window: Window, local: datetime, where: ZoneInfo) -> Span:
        start = instant(local, where, last=True)
        return Span(start, start + window.duration)

    return _opening(span_of)


def freeze_in_the_schedules_zone() -> Patches:
    """What time zone a freeze names is not looked at."""
    truly = windows.freezes

    def careless(declared: Any, default_zone: str) -> Any:
        return truly([one.replace(time_zone=None) for one in declared], default_zone)

    for module in (windows, calendars):
        yield patch.object(module, "freezes", careless)


def _monthly(day_of: Callable[[Monthly, date], date | None]) -> Patches:
    """`day_of`: the day that a month has, by its first; None: as it is."""
    truly = windows._monthly

    def days(monthly: Monthly, anchor: date, interval: int, first: date, last: date) -> Any:
        if day_of(monthly, first.replace(day=1)) is None:
            yield from truly(monthly, anchor, interval, first, last)
            return
        month = (first - 40 * DAY).replace(day=1)
        while month <= last + 40 * DAY:
            months = (month.year - anchor.year) * 12 + month.month - anchor.month
            found = day_of(monthly, month)
            if months % interval == 0 and found is not None:
                yield found
            month = (month + 32 * DAY).replace(day=1)

    yield patch.object(windows, "_monthly", days)


def nth_week() -> Patches:
    """The second Tuesday is the Tuesday of the month's second week."""

    def day_of(monthly: Monthly, month: date) -> date | None:
        if monthly.nth in (None, Nth.LAST) or monthly.weekday is None:
            return None
        weeks, days = windows._NTH[monthly.nth] - 1, list(Weekday).index(monthly.weekday)
        monday = month - month.weekday() * DAY
        return monday + timedelta(weeks=weeks, days=days + (monthly.offset_days or 0))

    return _monthly(day_of)


def rolled_over() -> Patches:
    """The 31st of a month that has 30 days is the 1st of the next."""

    def day_of(monthly: Monthly, month: date) -> date | None:
        return None if monthly.day is None else month + (monthly.day - 1) * DAY

    return _monthly(day_of)


def one_run_a_month() -> Patches:
    """A policy that has had a run this month gets no other."""
    made: set[tuple[str, int]] = set()
    truly = PolicyRuns._make

    async def make(self: PolicyRuns, policy: Any, window: datetime) -> None:
        if (policy.metadata.uid, window.month) not in made:
            made.add((policy.metadata.uid, window.month))
            await truly(self, policy, window)

    yield patch.object(PolicyRuns, "_make", make)


def overdue_forgotten() -> Patches:
    """Nobody is counted who missed windows."""
    yield patch.object(policy_machines, "overdue", lambda attempts, since: False)


def overdue_by_the_policys_windows() -> Patches:
    """Who missed windows of the policy is counted, whether they are its wave's or not."""
    yield patch.object(Timing, "overdue_since_in", lambda self, wave: self.overdue_since)


MONTHS: dict[str, tuple[Callable[[], Patches], int, int, str]] = {
    "months: lengths on the wall": (lengths_on_the_wall, 167, 1, "9 claims"),
    "months: a skipped time dropped": (skipped_time_dropped, 27, 1, "9 claims"),
    "months: a repeated time taken at its second": (repeated_time_second, 47, 1, "9 claims"),
    "months: a freeze read in the schedule's zone": (
        freeze_in_the_schedules_zone,
        7,
        1,
        "2, 7 declared",
    ),
    "months: an nth weekday read as one of the nth week": (nth_week, 287, 1, "2, 7 declared"),
    "months: the end of a month rolled over": (rolled_over, 187, 1, "2, 7 declared"),
    "months: one run a month": (one_run_a_month, 7, 1, "9 claims"),
    "months: overdue machines forgotten": (overdue_forgotten, 47, 1, "6 overdue"),
    "months: overdue by the policy's windows": (
        overdue_by_the_policys_windows,
        167,
        1,
        "6 overdue",
    ),
}
"""How to make each, the first seed of those that catch it, their number, and the invariant."""
