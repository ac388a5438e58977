"""When installs may start: windows, in a time zone, and freezes, which close them."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field, PlainSerializer, WithJsonSchema

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

TIME_PATTERN = "^([01][0-9]|2[0-3]):[0-5][0-9]$"
LOCAL_PATTERN = "^[0-9]{4}-[0-9]{2}-[0-9]{2}T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]$"

ITEM_NAME = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"

TimeZoneName = Annotated[
    str, Field(min_length=1, max_length=64, pattern="^[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*$")
]
"""A name of the IANA time zone database, such as Europe/Berlin."""

Date = Annotated[date, WithJsonSchema({"type": "string", "format": "date", "maxLength": 10})]
"""A day of the calendar, such as 2026-12-24."""


def _local(time: datetime) -> str:
    return time.isoformat(timespec="seconds")


LocalTime = Annotated[
    datetime,
    PlainSerializer(_local, return_type=str),
    WithJsonSchema({"type": "string", "maxLength": TEXT}),
    Form(
        LOCAL_PATTERN,
        "this is no date and time: give both without a time zone, such as 2026-12-18T00:00:00; "
        "timeZone says which one is meant",
    ),
    Rule(
        f"!self.matches(r'{LOCAL_PATTERN}') || "
        "timestamp(self + 'Z') > timestamp('1970-01-01T00:00:00Z')",
        "this is no day of the calendar: give one that exists, such as 2026-12-18T00:00:00",
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


WINDOW_ONE_OF = "a window recurs in one way: give exactly one of daily, weekly and monthly"
INTERVAL_NEEDS_START = (
    "interval counts from startDate: give the day on which, or in whose week or month, the first "
    "window is"
)
WINDOW_ENDS_FIRST = "endDate is before startDate: the window would never open"


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
    start_time: Annotated[
        str,
        Field(max_length=TEXT),
        Form(
            TIME_PATTERN,
            "startTime is no time of day: give hours and minutes of 24 hours in quotes, such as "
            '"22:00"',
        ),
    ]
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
            f"duration is zero, or longer than {format_go(WINDOW_LONGEST)}: give the time for "
            "which installs may run, or schedule: {always: {}} for any time",
        ),
    ]
    """How long it is, in Go's notation, as time passes: a change of the clock neither lengthens nor
    shortens it."""


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


Freezes = Annotated[tuple[Freeze, ...], ListMap("name"), Field(max_length=FREEZES_MOST)]
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
        ListMap("name"),
        Field(min_length=1, max_length=WINDOWS_MOST),
    ] = ()
    """When installs may start. An install starts only if its maximumDuration fits before the window
    ends, or a freeze begins. Windows may overlap."""
    always: Always | None = None
    """In place of windows: install whenever a machine is due, at any time."""
    freezes: Freezes = ()
    """Times in which nothing is installed, whatever the windows say."""
