"""When installs may start: windows, in a time zone, and freezes, which close them.

What the rules say to the API server the models say again: `azpatch windows` reads manifests that no
API server has seen, and nothing is installed by a window that cannot be.
"""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import date, datetime, time, timedelta
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Self, TypeVar

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    NaiveDatetime,
    PlainSerializer,
    WithJsonSchema,
    model_validator,
)

from azpatch.api.common import TEXT, ApiModel, GoDuration
from azpatch.api.durations import GO_PATTERN, format_go
from azpatch.api.markers import Form, ListMap, Rule

WINDOWS_MOST = 20
FREEZES_MOST = 50

WINDOW_LONGEST = timedelta(days=7)
"""A longer one is a schedule that is always open, which has a word of its own."""

OFFSET_MOST = 30
"""Days: with it every day of a month can be said from any weekday of it."""

INTERVAL_MOST = 366

DATE_PATTERN = "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
TIME_PATTERN = "^([01][0-9]|2[0-3]):[0-5][0-9]$"
LOCAL_PATTERN = "^[0-9]{4}-[0-9]{2}-[0-9]{2}T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]$"

ITEM_NAME = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"

TimeZoneName = Annotated[
    str, Field(min_length=1, max_length=64, pattern="^[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*$")
]
"""A name of the IANA time zone database, such as Europe/Berlin."""


def _to_date(given: Any) -> Any:
    if not isinstance(given, str):
        return given
    with suppress(ValueError):
        if re.match(DATE_PATTERN, given):
            return date.fromisoformat(given)
    raise ValueError("this is no day of the calendar: give one such as 2026-12-24")


Date = Annotated[
    date,
    BeforeValidator(_to_date),
    WithJsonSchema({"type": "string", "format": "date", "maxLength": 10}),
]
"""A day of the calendar, such as 2026-12-24."""


def _local(at: datetime) -> str:
    return at.isoformat(timespec="seconds")


def _clock(at: time) -> str:
    return at.isoformat(timespec="minutes")


NO_TIME_OF_DAY = (
    'startTime is no time of day: give hours and minutes of 24 hours in quotes, such as "22:00"'
)


def _to_clock(given: Any) -> Any:
    if isinstance(given, time):
        return given
    if isinstance(given, str) and re.match(TIME_PATTERN, given):
        return time.fromisoformat(given)
    raise ValueError(NO_TIME_OF_DAY)


TimeOfDay = Annotated[
    time,
    BeforeValidator(_to_clock),
    PlainSerializer(_clock, return_type=str),
    WithJsonSchema({"type": "string", "maxLength": TEXT}),
    Form(TIME_PATTERN, NO_TIME_OF_DAY),
]
"""Hours and minutes, as a clock on the wall shows them."""

NO_LOCAL_TIME = (
    "this is no date and time: give both without a time zone, such as 2026-12-18T00:00:00; "
    "timeZone says which one is meant"
)
NO_SUCH_DAY = "this is no day of the calendar: give one that exists, such as 2026-12-18T00:00:00"


def _to_local(given: Any) -> Any:
    if not isinstance(given, str):
        return given
    if not re.match(LOCAL_PATTERN, given):
        raise ValueError(NO_LOCAL_TIME)
    try:
        return datetime.fromisoformat(given)
    except ValueError:
        raise ValueError(NO_SUCH_DAY) from None


LocalTime = Annotated[
    NaiveDatetime,
    BeforeValidator(_to_local),
    PlainSerializer(_local, return_type=str),
    WithJsonSchema({"type": "string", "maxLength": TEXT}),
    Form(LOCAL_PATTERN, NO_LOCAL_TIME),
    Rule(
        f"!self.matches(r'{LOCAL_PATTERN}') || "
        "timestamp(self + 'Z') > timestamp('1970-01-01T00:00:00Z')",
        NO_SUCH_DAY,
    ),
]
"""A local date and time, as a clock on the wall shows it."""


class Weekday(StrEnum):
    """Days of the week, as Azure spells them."""

    MONDAY = "Monday"
    TUESDAY = "Tuesday"
    WEDNESDAY = "Wednesday"
    THURSDAY = "Thursday"
    FRIDAY = "Friday"
    SATURDAY = "Saturday"
    SUNDAY = "Sunday"


class Nth(StrEnum):
    """Which one of a month, as Azure spells it."""

    FIRST = "First"
    SECOND = "Second"
    THIRD = "Third"
    FOURTH = "Fourth"
    LAST = "Last"


class Daily(ApiModel):
    """Every day."""


class Weekly(ApiModel):
    """On some days of the week."""

    days: Annotated[tuple[Weekday, ...], Field(min_length=1, max_length=7)]
    """The days on which the window begins."""


MONTHLY_ONE_OF = (
    "monthly takes a day of the month, or a weekday: give day, or nth and weekday (and offsetDays)"
)


class Monthly(ApiModel):
    """On one day of the month."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.day) ? !has(self.nth) && !has(self.weekday) && !has(self.offsetDays) : "
            "has(self.nth) && has(self.weekday)",
            MONTHLY_ONE_OF,
        ),
    )

    day: Annotated[int, Field(ge=1, le=31)] | None = None
    """The day of the month. A month that does not have it has no window."""
    nth: Nth | None = None
    """With weekday: which one of the month."""
    weekday: Weekday | None = None
    """With nth: the day of the week."""
    offset_days: Annotated[int, Field(ge=-OFFSET_MOST, le=OFFSET_MOST)] | None = None
    """Days from that weekday to the window, before it if negative: 3 days after the second Tuesday
    is not always the second Friday. It may lead into another month."""

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        of_month, of_week = self.day is not None, (self.nth, self.weekday, self.offset_days)
        whole = self.nth is not None and self.weekday is not None
        if of_week != (None, None, None) if of_month else not whole:
            raise ValueError(MONTHLY_ONE_OF)
        return self


WINDOW_ONE_OF = "a window recurs in one way: give exactly one of daily, weekly and monthly"
INTERVAL_NEEDS_START = (
    "interval counts from startDate: give the day on which, or in whose week or month, the first "
    "window is"
)
WINDOW_ENDS_FIRST = "endDate is before startDate: the window would never open"


NO_SUCH_LENGTH = (
    f"duration is zero, or longer than {format_go(WINDOW_LONGEST)}: give the time for which "
    "installs may run, or schedule: {always: {}} for any time"
)


def _length(given: timedelta) -> timedelta:
    if not timedelta(0) < given <= WINDOW_LONGEST:
        raise ValueError(NO_SUCH_LENGTH)
    return given


class Window(ApiModel):
    """A stretch of time that recurs, in which installs may start. Exactly one of daily, weekly and
    monthly says on which days it begins."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "[has(self.daily), has(self.weekly), has(self.monthly)]"
            ".filter(given, given).size() == 1",
            WINDOW_ONE_OF,
        ),
        Rule(
            "!has(self.interval) || self.interval == 1 || has(self.startDate)", INTERVAL_NEEDS_START
        ),
        Rule(
            "!has(self.startDate) || !has(self.endDate) || self.startDate <= self.endDate",
            WINDOW_ENDS_FIRST,
        ),
    )

    name: Annotated[str, Field(min_length=1, max_length=63, pattern=ITEM_NAME)]
    """Unique in the list; conditions name it."""
    daily: Daily | None = None
    """Every day."""
    weekly: Weekly | None = None
    """On some days of the week."""
    monthly: Monthly | None = None
    """On one day of the month."""
    interval: Annotated[int, Field(ge=1, le=INTERVAL_MOST)] | None = None
    """Every how many days, weeks or months; weeks begin on Monday. Counted from startDate, which is
    then required. Absent: every one."""
    start_date: Date | None = None
    """The first day on which it may begin, in the schedule's time zone."""
    end_date: Date | None = None
    """The last day on which it may begin."""
    start_time: TimeOfDay
    """When it begins, in the schedule's time zone. Where the clock changes: a time that is skipped
    means the first instant after the change, and of one that comes twice the first is meant."""
    duration: Annotated[
        GoDuration,
        Form(
            GO_PATTERN,
            "duration is not a duration: give hours and minutes such as 4h or 3h30m",
        ),
        Rule(
            f"!self.matches(r'{GO_PATTERN}') || duration(self) > duration('0s') && "
            f"duration(self) <= duration('{format_go(WINDOW_LONGEST)}')",
            NO_SUCH_LENGTH,
        ),
        AfterValidator(_length),
    ]
    """How long it is, in Go's notation, as time passes: a change of the clock neither lengthens nor
    shortens it."""

    @model_validator(mode="after")
    def _can_be(self) -> Self:
        if sum(one is not None for one in (self.daily, self.weekly, self.monthly)) != 1:
            raise ValueError(WINDOW_ONE_OF)
        if (self.interval or 1) > 1 and self.start_date is None:
            raise ValueError(INTERVAL_NEEDS_START)
        if self.start_date and self.end_date and self.start_date > self.end_date:
            raise ValueError(WINDOW_ENDS_FIRST)
        return self


FREEZE_ENDS_FIRST = "the freeze ends before it starts: give an end that is later than start"


class Freeze(ApiModel):
    """A time in which nothing is installed. Assessments go on, and what was started before is
    followed to its end."""

    RULES: ClassVar[tuple[Rule, ...]] = (Rule("self.start < self.end", FREEZE_ENDS_FIRST),)

    name: Annotated[str, Field(min_length=1, max_length=63, pattern=ITEM_NAME)]
    """Unique in the list; conditions name it."""
    start: LocalTime
    """When it begins: a local date and time, such as 2026-12-18T00:00:00."""
    end: LocalTime
    """When it ends."""
    time_zone: TimeZoneName | None = None
    """The IANA time zone that start and end are in. Absent: the schedule's, in a PatchPolicy; UTC,
    in an AzureSubscription."""
    reason: Annotated[str, Field(max_length=256)] | None = None
    """Why, for those who wonder that nothing is installed."""

    @model_validator(mode="after")
    def _ends_later(self) -> Self:
        if self.start >= self.end:
            raise ValueError(FREEZE_ENDS_FIRST)
        return self


NamedT = TypeVar("NamedT", Window, Freeze)


def _named_once(items: tuple[NamedT, ...]) -> tuple[NamedT, ...]:
    names = [one.name for one in items]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"two are called {twice}: give each a name of its own")
    return items


Freezes = Annotated[
    tuple[Freeze, ...],
    Field(max_length=FREEZES_MOST),
    AfterValidator(_named_once),
    ListMap("name"),
]
"""Times in which nothing is installed."""


class Always(ApiModel):
    """At any time."""


SCHEDULE_ONE_OF = (
    "a schedule is windows or always: give windows, or always: {} to install whenever a machine is "
    "due"
)


class Schedule(ApiModel):
    """When installs may start: in windows, or always."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule("has(self.windows) != has(self.always)", SCHEDULE_ONE_OF),
    )

    time_zone: TimeZoneName = "UTC"
    """The IANA time zone of the windows, such as Europe/Berlin."""
    windows: Annotated[
        tuple[Window, ...],
        Field(min_length=1, max_length=WINDOWS_MOST),
        AfterValidator(_named_once),
        ListMap("name"),
    ] = ()
    """When installs may start. An install starts only if its maximumDuration fits before the window
    ends, or a freeze begins. Windows may overlap."""
    always: Always | None = None
    """In place of windows: install whenever a machine is due, at any time."""
    freezes: Freezes = ()
    """Times in which nothing is installed, whatever the windows say."""

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        if bool(self.windows) == (self.always is not None):
            raise ValueError(SCHEDULE_ONE_OF)
        return self
