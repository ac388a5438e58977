"""When windows open: against a calendar that goes through every day and every minute."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from azpatch.api.schedule import Nth, Schedule, Weekday
from azpatch.domain.windows import (
    Calendar,
    Frozen,
    Occurrence,
    Span,
    UnknownTimeZoneError,
    calendar,
    instant,
)
from judging import calendar_by_day

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
BERLIN = "Europe/Berlin"


def schedule(*windows: dict[str, Any], zone: str = "UTC", **more: Any) -> Schedule:
    named = [
        {"name": f"w{number}", "startTime": "22:00", "duration": "4h", **window}
        for number, window in enumerate(windows)
    ]
    return Schedule.model_validate({"timeZone": zone, "windows": named, **more})


def local_starts(declared: Schedule, since: str, count: int) -> list[str]:
    """The next starts as a clock in the schedule's zone shows them."""
    found, start = calendar(declared), datetime.fromisoformat(since).replace(tzinfo=UTC)
    occurrences = islice(found.occurrences(start, start + 9 * 365 * DAY), count)
    shown = [one.span.start.astimezone(found.zone) for one in occurrences]
    return [f"{at:%a %Y-%m-%d %H:%M %z}" for at in shown]


# --- against an independent calendar ---------------------------------------------------------


def oracle(declared: Schedule, since: datetime, until: datetime) -> list[Occurrence]:
    raw = declared.model_dump(mode="json", exclude_none=True)
    found = calendar_by_day.opened(raw, since, until)
    return [Occurrence(name, Span(start, end)) for start, end, name in found]


def computed(declared: Schedule, since: datetime, until: datetime) -> list[Occurrence]:
    return list(calendar(declared).occurrences(since, until))


AWKWARD = [
    pytest.param([{"daily": {}, "startTime": "02:30"}], id="a time that DST skips and repeats"),
    pytest.param([{"daily": {}, "startTime": "23:30", "duration": "3h"}], id="across midnight"),
    pytest.param(
        [{"monthly": {"nth": "Second", "weekday": "Tuesday", "offsetDays": 3}}],
        id="Patch Tuesday and three days",
    ),
    pytest.param(
        [{"monthly": {"nth": "First", "weekday": "Monday", "offsetDays": -6}}],
        id="an offset into the month before",
    ),
    pytest.param(
        [{"monthly": {"nth": "Last", "weekday": "Sunday", "offsetDays": 30}}],
        id="an offset through the month after",
    ),
    pytest.param([{"monthly": {"day": 31}}], id="a day that not every month has"),
    pytest.param([{"monthly": {"day": 29}, "duration": "48h"}], id="across the end of February"),
    pytest.param(
        [{"weekly": {"days": ["Sunday", "Monday"]}, "interval": 2, "startDate": "2025-01-01"}],
        id="every other week from a Wednesday",
    ),
    pytest.param(
        [{"daily": {}, "interval": 3, "startDate": "2020-02-29"}], id="every third day for years"
    ),
    pytest.param(
        [
            {
                "monthly": {"nth": "Last", "weekday": "Saturday", "offsetDays": 3},
                "interval": 2,
                "startDate": "2026-03-01",
                "endDate": "2026-12-31",
            }
        ],
        id="every other month, bounded",
    ),
    pytest.param(
        [
            {"weekly": {"days": ["Saturday"]}, "duration": "30h"},
            {"daily": {}, "startTime": "00:00", "duration": "6h"},
        ],
        id="windows that overlap",
    ),
    pytest.param([{"daily": {}, "duration": "168h"}], id="each overlaps the next six"),
    pytest.param(
        [{"daily": {}, "startDate": "2026-10-25", "endDate": "2026-10-25", "startTime": "02:00"}],
        id="one time only, at the hour that comes twice",
    ),
]
ZONES = [
    BERLIN,
    "America/New_York",
    "Australia/Lord_Howe",  # Half an hour.
    "Antarctica/Troll",  # Two hours.
    "Africa/Casablanca",  # Standard time in Ramadan.
    "America/Santiago",  # Midnight is skipped.
    "Asia/Kathmandu",
    "Pacific/Chatham",
]


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("windows", AWKWARD)
def test_a_year_of_windows_is_what_an_independent_calendar_computes(
    windows: list[dict[str, Any]], zone: str
) -> None:
    declared = schedule(*windows, zone=zone)
    since = datetime(2026, 2, 11, 9, 30, tzinfo=UTC)
    until = since + 370 * DAY

    assert computed(declared, since, until) == oracle(declared, since, until)


WEEKDAYS = st.sampled_from([str(day) for day in Weekday])
RECURRENCES = st.one_of(
    st.just({"daily": {}}),
    st.builds(lambda days: {"weekly": {"days": days}}, st.lists(WEEKDAYS, min_size=1, max_size=3)),
    st.builds(lambda day: {"monthly": {"day": day}}, st.integers(1, 31)),
    st.builds(
        lambda nth, day, offset: {
            "monthly": {"nth": nth, "weekday": day, "offsetDays": offset},
        },
        st.sampled_from([str(one) for one in Nth]),
        WEEKDAYS,
        st.integers(-30, 30),
    ),
)
DATES = st.dates(date(2024, 1, 1), date(2028, 12, 31))
WINDOWS = st.builds(
    lambda recurrence, start, interval, hour, minute, hours: {
        **recurrence,
        "startDate": (start - 400 * DAY).isoformat(),
        "interval": interval,
        "startTime": f"{hour:02}:{minute:02}",
        "duration": f"{hours}h",
    },
    RECURRENCES,
    DATES,
    st.integers(1, 14),
    st.integers(0, 23),
    st.sampled_from([0, 1, 15, 30, 59]),
    st.sampled_from([1, 4, 26]),
)


@settings(max_examples=200, deadline=None)
@given(
    windows=st.lists(WINDOWS, min_size=1, max_size=3),
    zone=st.sampled_from(ZONES),
    day=DATES,
    hour=st.integers(0, 23),
)
def test_any_windows_are_what_an_independent_calendar_computes(
    windows: list[dict[str, Any]], zone: str, day: date, hour: int
) -> None:
    declared = schedule(*windows, zone=zone)
    since = datetime.combine(day, time(hour), UTC)
    until = since + 100 * DAY

    assert computed(declared, since, until) == oracle(declared, since, until)


# --- in words -------------------------------------------------------------------------------------


def test_a_start_that_is_skipped_is_the_first_instant_after_the_change() -> None:
    daily = schedule({"daily": {}, "startTime": "02:30"}, zone=BERLIN)

    assert local_starts(daily, "2026-03-28T00:00", 3) == [
        "Sat 2026-03-28 02:30 +0100",
        "Sun 2026-03-29 03:00 +0200",
        "Mon 2026-03-30 02:30 +0200",
    ]


def test_of_a_start_that_comes_twice_the_first_is_meant() -> None:
    daily = schedule({"daily": {}, "startTime": "02:30"}, zone=BERLIN)

    assert local_starts(daily, "2026-10-25T00:00", 2) == [
        "Sun 2026-10-25 02:30 +0200",
        "Mon 2026-10-26 02:30 +0100",
    ]


def test_a_window_across_a_change_of_the_clock_has_its_length() -> None:
    daily = schedule({"daily": {}, "startTime": "01:00"}, zone=BERLIN)

    (night,) = computed(
        daily, datetime(2026, 3, 28, 23, tzinfo=UTC), datetime(2026, 3, 29, 12, tzinfo=UTC)
    )

    assert night.span.length == timedelta(hours=4)
    assert night.span.end.astimezone(ZoneInfo(BERLIN)).hour == 6


def test_a_day_that_a_country_skipped() -> None:
    apia = ZoneInfo("Pacific/Apia")
    noon, midnight = (datetime.fromisoformat(f"2011-12-{at}") for at in ("30T12:00", "31T00:00"))

    assert instant(noon, apia) == instant(midnight, apia)


def test_three_days_after_the_second_tuesday_is_not_the_second_friday() -> None:
    tuesdays = schedule({"monthly": {"nth": "Second", "weekday": "Tuesday", "offsetDays": 3}})

    assert local_starts(tuesdays, "2026-05-01T00:00", 1) == ["Fri 2026-05-15 22:00 +0000"]


def test_a_window_that_is_open_already_is_the_first() -> None:
    daily = schedule({"daily": {}})

    assert local_starts(daily, "2026-05-02T01:59", 1) == ["Fri 2026-05-01 22:00 +0000"]
    assert local_starts(daily, "2026-05-02T02:00", 1) == ["Sat 2026-05-02 22:00 +0000"]


def test_windows_whose_last_day_is_over_never_open() -> None:
    ended = schedule({"daily": {}, "endDate": "2026-05-01"})

    assert local_starts(ended, "2026-05-02T12:00", 5) == []


def test_a_window_on_a_day_that_never_comes_is_looked_for_in_vain() -> None:
    never = schedule({"monthly": {"day": 30}, "interval": 12, "startDate": "2026-02-01"})

    assert local_starts(never, "2026-05-02T12:00", 5) == []


def test_a_time_zone_that_nobody_knows() -> None:
    with pytest.raises(UnknownTimeZoneError, match="timeZone Europe/Belin is not in the IANA"):
        calendar(schedule({"daily": {}}, zone="Europe/Belin"))


# --- freezes --------------------------------------------------------------------------------------

MAY = datetime(2026, 5, 1, tzinfo=UTC)
"""A Friday."""


def at(hours: float) -> datetime:
    return MAY + timedelta(hours=hours)


def frozen(*spans: tuple[float, float]) -> Calendar:
    freezes = sorted(Span(at(start), at(end)) for start, end in spans)
    return Calendar(ZoneInfo("UTC"), (), tuple(Frozen(span, "f", None) for span in freezes))


@pytest.mark.parametrize(
    ("spans", "left"),
    [
        pytest.param([], [(10, 20)], id="none"),
        pytest.param([(0, 10)], [(10, 20)], id="one that ends as the window opens"),
        pytest.param([(20, 30)], [(10, 20)], id="one that begins as the window ends"),
        pytest.param([(5, 12)], [(12, 20)], id="one over its beginning"),
        pytest.param([(18, 30)], [(10, 18)], id="one over its end"),
        pytest.param([(12, 13)], [(10, 12), (13, 20)], id="one in the middle"),
        pytest.param([(10, 20)], [], id="one just over it"),
        pytest.param([(0, 30)], [], id="one all over it"),
        pytest.param([(12, 16), (13, 14)], [(10, 12), (16, 20)], id="one inside another"),
        pytest.param([(12, 14), (13, 16)], [(10, 12), (16, 20)], id="two that overlap"),
        pytest.param([(0, 11), (19, 40)], [(11, 19)], id="one at either side"),
    ],
)
def test_what_freezes_leave_of_a_window(
    spans: list[tuple[float, float]], left: list[tuple[float, float]]
) -> None:
    stretches = frozen(*spans).stretches(Span(at(10), at(20)))

    assert stretches == tuple(Span(at(start), at(end)) for start, end in left)


def test_a_freeze_is_read_in_its_own_zone_and_else_in_the_schedules() -> None:
    year_end = {"name": "year-end", "start": "2026-12-18T00:00:00", "end": "2027-01-04T00:00:00"}
    declared = schedule(
        {"daily": {}},
        zone=BERLIN,
        freezes=[year_end, {**year_end, "name": "there", "timeZone": "America/New_York"}],
    )

    here, there = calendar(declared).freezes

    assert here.span.start == datetime(2026, 12, 17, 23, tzinfo=UTC)
    assert there.span.start == datetime(2026, 12, 18, 5, tzinfo=UTC)


def test_of_freezes_that_hold_the_one_that_ends_last_is_told() -> None:
    both = frozen((0, 10), (5, 20))

    assert both.frozen_at(at(7)) == both.freezes[1]
    assert both.frozen_at(at(20)) is None
