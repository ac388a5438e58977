"""Whether an install may start, and when it may next."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import patch

import pytest

from azpatch.api.schedule import Schedule
from azpatch.domain.attempts import Turn
from azpatch.domain.opening import (
    HORIZON,
    Open,
    Opening,
    Shut,
    Timing,
    opening,
    overdue_since,
    timing,
)
from azpatch.domain.windows import Calendar, Span, calendar

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
TWO_HOURS = 2 * HOUR

SATURDAYS = {"name": "saturdays", "weekly": {"days": ["Saturday"]}}
NIGHTS = {"name": "nights", "daily": {}}
FREEZE = {"name": "peak", "reason": "retail peak"}


def windows(*declared: dict[str, Any], frozen: tuple[str, str] | None = None) -> Calendar:
    """Windows from 22:00 for four hours, UTC."""
    named = [{"startTime": "22:00", "duration": "4h", **one} for one in declared]
    shut = [{**FREEZE, "start": frozen[0], "end": frozen[1]}] if frozen else []
    spec = {"windows": named} if named else {"always": {}}
    return calendar(Schedule.model_validate({**spec, "freezes": shut}))


def at(text: str) -> datetime:
    """In 2026, UTC: `05-02 22:00` is a Saturday."""
    return datetime.fromisoformat(f"2026-{text}").replace(tzinfo=UTC)


def seen(found: Opening) -> tuple[str, datetime | None]:
    """In one word, and until when it is so for an install."""
    if isinstance(found, Open):
        return "Open", found.until
    return found.reason, found.next


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        pytest.param("05-02 21:59", ("WaitingForWindow", at("05-02 22:00")), id="a minute before"),
        pytest.param("05-02 22:00", ("Open", at("05-03 00:00")), id="as it opens"),
        pytest.param("05-03 00:00", ("Open", at("05-03 00:00")), id="it just fits"),
        pytest.param(
            "05-03 00:01", ("WaitingForWindow", at("05-09 22:00")), id="too late by 1 min"
        ),
        pytest.param("05-03 02:00", ("WaitingForWindow", at("05-09 22:00")), id="as it ends"),
    ],
)
def test_an_install_starts_only_if_all_of_it_fits(
    now: str, expected: tuple[str, datetime | None]
) -> None:
    assert seen(opening(windows(SATURDAYS), TWO_HOURS, at(now))) == expected


@pytest.mark.parametrize(
    ("frozen", "now", "expected"),
    [
        pytest.param(
            ("2026-05-03T01:00:00", "2026-05-05T00:00:00"),
            "05-02 22:30",
            ("Open", at("05-02 23:00")),
            id="one that begins in the window must be reached",
        ),
        pytest.param(
            ("2026-05-03T01:00:00", "2026-05-05T00:00:00"),
            "05-02 23:30",
            ("WaitingForWindow", at("05-09 22:00")),
            id="none starts that would run into it",
        ),
        pytest.param(
            ("2026-05-01T00:00:00", "2026-05-02T23:00:00"),
            "05-02 22:30",
            ("Frozen", at("05-02 23:00")),
            id="what it leaves of the window is used",
        ),
        pytest.param(
            ("2026-05-01T00:00:00", "2026-05-03T00:30:00"),
            "05-02 22:30",
            ("Frozen", at("05-09 22:00")),
            id="unless that is too short",
        ),
        pytest.param(
            ("2026-05-01T00:00:00", "2026-05-20T00:00:00"),
            "05-06 12:00",
            ("Frozen", at("05-23 22:00")),
            id="windows all over which it lies are passed over",
        ),
        pytest.param(
            ("2026-05-01T00:00:00", "2036-05-20T00:00:00"),
            "05-06 12:00",
            ("Frozen", None),
            id="one of ten years: no window within sight",
        ),
    ],
)
def test_freezes_close_windows(
    frozen: tuple[str, str], now: str, expected: tuple[str, datetime | None]
) -> None:
    assert seen(opening(windows(SATURDAYS, frozen=frozen), TWO_HOURS, at(now))) == expected


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        pytest.param("05-01 00:00", ("Open", at("05-02 22:00")), id="before a freeze"),
        pytest.param(
            "05-02 23:00", ("Frozen", at("05-04 00:00")), id="none that would run into it"
        ),
        pytest.param("05-03 12:00", ("Frozen", at("05-04 00:00")), id="in it"),
        pytest.param("05-04 00:00", ("Open", None), id="after it"),
    ],
)
def test_a_schedule_that_is_always_open_is_closed_by_freezes_only(
    now: str, expected: tuple[str, datetime | None]
) -> None:
    always = windows(frozen=("2026-05-03T00:00:00", "2026-05-04T00:00:00"))

    found = opening(always, TWO_HOURS, at(now))

    assert (seen(found)[1], found.turn) == (expected[1], None)


def test_of_windows_that_overlap_any_will_do() -> None:
    both = windows(SATURDAYS, {**NIGHTS, "startTime": "23:00", "duration": "8h"})

    assert seen(opening(both, TWO_HOURS, at("05-03 01:00"))) == ("Open", at("05-03 05:00"))


@pytest.mark.parametrize("duration", ["2h", "2h4m"])
def test_a_window_without_room_to_begin_is_told_with_the_arithmetic(duration: str) -> None:
    found = opening(windows({**NIGHTS, "duration": duration}), TWO_HOURS, at("05-02 22:00"))

    assert isinstance(found, Shut)
    assert (found.reason, found.next) == ("WindowTooShort", None)
    assert found.message == (
        "No window is long enough: install.maximumDuration is PT2H, to begin takes up to 5m, and "
        f"the longest window is {duration}. Make a window longer, or maximumDuration shorter."
    )


def test_windows_that_have_all_ended() -> None:
    ended = windows({**NIGHTS, "endDate": "2026-05-01"})

    assert seen(opening(ended, TWO_HOURS, at("05-03 12:00"))) == ("NoWindowLeft", None)


def test_it_says_why_and_when() -> None:
    frozen = ("2026-05-01T00:00:00", "2026-05-20T00:00:00")
    shut = opening(windows(SATURDAYS, frozen=frozen), TWO_HOURS, at("05-06 12:00"))
    waits = opening(windows(SATURDAYS), TWO_HOURS, at("05-06 12:00"))

    assert isinstance(shut, Shut)
    assert isinstance(waits, Shut)
    assert shut.message == (
        "Freeze peak (retail peak) holds until 2026-05-20 00:00 UTC; the next install may start "
        "2026-05-23 22:00 UTC."
    )
    assert waits.message == (
        "An install is due. It may start when window saturdays opens, 2026-05-09 22:00 UTC."
    )


@pytest.mark.parametrize(
    ("now", "turn"),
    [
        pytest.param(
            "05-02 12:00", Turn(None, None, at("05-02 22:00")), id="before a window: in none"
        ),
        pytest.param(
            "05-02 23:00",
            Turn(at("05-02 22:00"), at("05-03 02:00"), at("05-03 22:00")),
            id="in a window",
        ),
        pytest.param(
            "05-03 01:00",
            Turn(at("05-02 22:00"), at("05-03 02:00"), at("05-03 22:00")),
            id="in a window, too late for an install",
        ),
    ],
)
def test_installs_are_counted_by_window(now: str, turn: Turn) -> None:
    assert opening(windows(NIGHTS), TWO_HOURS, at(now)).turn == turn


def test_an_answer_holds_as_long_as_it_says() -> None:
    """Every minute of three days: asked anew only when it says so, the answers are the same."""
    frozen = ("2026-05-03T01:00:00", "2026-05-03T23:30:00")
    found = windows(NIGHTS, {**SATURDAYS, "startTime": "20:00"}, frozen=frozen)
    start = at("05-01 12:00")
    kept = opening(found, TWO_HOURS, start)

    for minute in range(3 * 24 * 60):
        now = start + minute * timedelta(minutes=1)
        if kept.holds_until is not None and now >= kept.holds_until:
            kept = opening(found, TWO_HOURS, now)
        fresh = opening(found, TWO_HOURS, now)
        assert (type(kept), seen(kept), kept.turn) == (type(fresh), seen(fresh), fresh.turn), now


@pytest.mark.parametrize(
    ("declared", "since"),
    [
        pytest.param((NIGHTS,), "05-06 22:00", id="the last but one that has ended"),
        pytest.param((SATURDAYS,), "04-25 22:00", id="weeks ago"),
        pytest.param(({"name": "monthly", "monthly": {"day": 1}},), "04-01 22:00", id="months ago"),
    ],
)
def test_overdue_since_two_whole_windows(declared: tuple[dict[str, Any], ...], since: str) -> None:
    assert overdue_since(windows(*declared), TWO_HOURS, at("05-08 12:00")) == at(since)


def test_overdue_with_a_window_a_year() -> None:
    yearly = {"monthly": {"day": 1}, "interval": 12, "startDate": "2020-01-01", "name": "y"}

    assert (
        overdue_since(windows(yearly), TWO_HOURS, at("05-08 12:00"))
        == at("01-01 22:00") - 365 * DAY
    )


def test_nobody_is_overdue_before_two_windows_have_been() -> None:
    young = {**NIGHTS, "startDate": "2026-05-06"}

    assert overdue_since(windows(young), TWO_HOURS, at("05-08 01:00")) is None
    assert overdue_since(windows(young), TWO_HOURS, at("05-08 02:00")) == at("05-06 22:00")


def test_with_a_schedule_that_is_always_open_who_was_due_for_two_days() -> None:
    assert overdue_since(windows(), TWO_HOURS, at("05-08 12:00")) == at("05-06 12:00")


def test_each_wave_is_overdue_by_its_own_windows() -> None:
    """On a Tuesday, of nights and weekends."""
    now, both = at("05-12 12:00"), windows(NIGHTS, SATURDAYS)
    waves = {"canary": windows(NIGHTS), "rest": windows(SATURDAYS)}

    found = timing([(opening(both, TWO_HOURS, now), both)], TWO_HOURS, now, waves)

    assert found.overdue_since_in("canary") == at("05-10 22:00")
    assert found.overdue_since_in("rest") == at("05-02 22:00")
    assert found.overdue_since_in("without windows of its own") == at("05-10 22:00")
    assert found.overdue_since_in(None) == at("05-10 22:00")


def test_a_wave_that_has_not_had_its_windows_is_not_overdue_though_the_policy_has() -> None:
    now, young = at("05-12 12:00"), {**SATURDAYS, "startDate": "2026-05-09"}

    nights = windows(NIGHTS)
    told = [(opening(nights, TWO_HOURS, now), nights)]
    found = timing(told, TWO_HOURS, now, {"rest": windows(young)})

    assert found.overdue_since_in("rest") is None
    assert found.overdue_since_in(None) is not None


def test_a_window_that_ends_within_another_is_looked_at_when_it_does() -> None:
    """Who missed it may be overdue from then on."""
    long = {**NIGHTS, "name": "long", "startTime": "20:00", "duration": "10h"}
    now, both = at("05-12 23:00"), windows(NIGHTS, long)

    found = timing([(opening(both, TWO_HOURS, now), both)], TWO_HOURS, now)

    assert found.holds_until == at("05-13 02:00")


def test_the_next_stretch_is_what_freezes_leave() -> None:
    frozen = ("2026-05-01T00:00:00", "2026-05-02T23:00:00")

    found = opening(windows(NIGHTS, frozen=frozen), TWO_HOURS, at("05-02 12:00"))

    assert found.span == Span(at("05-02 23:00"), at("05-03 02:00"))


def test_a_policy_in_several_subscriptions_installs_where_it_may_soonest() -> None:
    now = at("05-02 23:00")
    here = windows(NIGHTS)
    there = windows(NIGHTS, frozen=("2026-05-01T00:00:00", "2026-06-01T00:00:00"))

    def told(*calendars: Calendar) -> Timing:
        return timing([(opening(one, TWO_HOURS, now), one) for one in calendars], TWO_HOURS, now)

    both, frozen = told(there, here), told(there)

    assert isinstance(both.opening, Open)
    assert both.next == Span(at("05-02 22:00"), at("05-03 02:00"))
    assert seen(frozen.opening) == ("Frozen", at("06-01 22:00"))
    assert frozen.next == Span(at("06-01 22:00"), at("06-02 02:00"))


def test_what_is_further_away_than_the_horizon_is_not_looked_for() -> None:
    far = (at("05-01 00:00") + HORIZON + DAY).date()

    found = opening(windows({**NIGHTS, "startDate": str(far)}), TWO_HOURS, at("05-01 00:00"))

    assert seen(found) == ("NoWindowLeft", None)


# --- which window counts --------------------------------------------------------------------------


def turn(calendar: Calendar, now: str, needed: timedelta = TWO_HOURS) -> Turn:
    found = opening(calendar, needed, at(now)).turn
    assert found is not None
    return found


def test_windows_that_overlap_count_as_one() -> None:
    """Else a machine could get two installs in each, four in the second."""
    both = windows(NIGHTS, {**NIGHTS, "name": "late", "startTime": "23:00", "duration": "6h"})
    night = (at("05-02 22:00"), at("05-03 05:00"))

    for now in ("05-02 22:30", "05-03 00:00", "05-03 04:59"):
        assert (turn(both, now).start, turn(both, now).end) == night
    assert turn(both, "05-03 01:00").next == at("05-03 22:00")


def test_windows_that_never_leave_a_gap_count_by_the_week() -> None:
    always_open = windows({**NIGHTS, "duration": "30h"})

    first = turn(always_open, "05-06 12:00")

    assert (first.start, first.end) == (at("05-04 00:00"), at("05-11 00:00"))
    assert first.next == at("05-11 00:00")
    assert turn(always_open, "05-10 23:59").start == first.start


def test_a_window_that_no_install_fits_in_does_not_count() -> None:
    short = {**NIGHTS, "name": "short", "startTime": "21:30", "duration": "2h"}

    assert turn(windows(short, NIGHTS), "05-02 22:30").start == at("05-02 22:00")
    assert overdue_since(windows(short, NIGHTS), TWO_HOURS, at("05-03 12:00")) == at("05-01 22:00")


# --- far away, and at the edges -------------------------------------------------------------------


@pytest.mark.parametrize("zone", ["America/New_York", "Pacific/Kiritimati", "UTC"])
def test_a_freeze_for_ever_is_for_ever(zone: str) -> None:
    forever = {"name": "f", "start": "0001-01-01T00:00:00", "end": "9999-12-31T23:59:59"}
    spec = {"always": {}, "freezes": [{**forever, "timeZone": zone}]}

    found = opening(calendar(Schedule.model_validate(spec)), TWO_HOURS, at("05-01 00:00"))

    assert seen(found) == ("Frozen", None)


@pytest.mark.parametrize(
    "window",
    [
        {"monthly": {"nth": "Last", "weekday": "Friday", "offsetDays": -3}},
        {"monthly": {"day": 31}},
        {"weekly": {"days": ["Monday"]}, "interval": 366},
        {"daily": {}, "interval": 366},
    ],
)
def test_windows_at_the_end_of_the_calendar(window: dict[str, Any]) -> None:
    far = {"name": "far", "startDate": "9999-12-30", **window}

    assert seen(opening(windows(far), TWO_HOURS, at("05-01 00:00"))) == ("NoWindowLeft", None)


def test_what_comes_into_sight_is_looked_for_again() -> None:
    ended = opening(windows({**NIGHTS, "endDate": "2026-05-01"}), TWO_HOURS, at("05-03 12:00"))

    assert ended.holds_until == at("05-04 12:00")


def test_a_freeze_of_decades_costs_no_more_than_one_of_a_day() -> None:
    """Its windows are jumped over: counting them took seconds."""
    nights = [{**NIGHTS, "name": f"n{number}"} for number in range(20)]
    decades = windows(*nights, frozen=("2026-05-01T00:00:00", "2030-01-01T00:00:00"))
    asked = Counter[str]()

    with patch.object(Calendar, "stretches", _counting(Calendar.stretches, asked)):
        found = opening(decades, TWO_HOURS, at("05-06 12:00"))

    assert seen(found) == ("Frozen", datetime(2030, 1, 1, 22, tzinfo=UTC))
    assert asked["calls"] < 100


def _counting(real: Any, asked: Counter[str]) -> Any:
    def stretches(self: Calendar, span: Span) -> Any:
        asked["calls"] += 1
        return real(self, span)

    return stretches


def test_of_a_freezes_end_that_comes_twice_the_second_is_meant() -> None:
    berlin = {"name": "f", "start": "2026-10-24T00:00:00", "end": "2026-10-25T02:30:00"}
    spec = {"always": {}, "timeZone": "Europe/Berlin", "freezes": [berlin]}

    (frozen,) = calendar(Schedule.model_validate(spec)).freezes

    assert frozen.span.end == at("10-25 01:30")


def test_a_freeze_in_an_hour_that_is_skipped_closes_nothing() -> None:
    skipped = {"name": "f", "start": "2026-03-29T02:10:00", "end": "2026-03-29T02:50:00"}
    spec = {"always": {}, "timeZone": "Europe/Berlin", "freezes": [skipped]}

    assert calendar(Schedule.model_validate(spec)).freezes == ()
