"""When the window that is open opened, with those that overlap it."""

from datetime import UTC, date, datetime, time

import pytest

from judging.calendar_by_day import open_since

SCHEDULE = {
    "timeZone": "UTC",
    "windows": [
        {"name": "early", "daily": {}, "startTime": "08:00", "duration": "3h"},
        {"name": "long", "daily": {}, "startTime": "10:00", "duration": "5h"},
        {"name": "short", "daily": {}, "startTime": "14:30", "duration": "90m"},
        {"name": "late", "daily": {}, "startTime": "22:00", "duration": "4h"},
    ],
}


def at(clock: str) -> datetime:
    return datetime.combine(date(2026, 11, 23), time.fromisoformat(clock), UTC)


@pytest.mark.parametrize(
    ("clock", "needed", "names", "since"),
    [
        pytest.param("09:00", "PT1H", None, "08:00", id="one is open"),
        pytest.param("12:00", "PT1H", None, "08:00", id="one that overlaps it opened before"),
        pytest.param("15:30", "PT1H", None, "08:00", id="and one that does through another"),
        pytest.param("15:30", "PT2H", None, None, id="too short a window does not count"),
        pytest.param("12:00", "PT1H", ["long"], "10:00", id="of the named ones alone"),
        pytest.param("17:00", "PT1H", None, None, id="none is open"),
    ],
)
def test_since_when_a_window_is_open(
    clock: str, needed: str, names: list[str] | None, since: str | None
) -> None:
    found = open_since(SCHEDULE, at(clock), needed, names)
    assert found == (None if since is None else at(since))


def test_a_window_that_opened_yesterday() -> None:
    yesterday = at("22:00").replace(day=22)
    assert open_since(SCHEDULE, at("01:00"), "PT1H") == yesterday


def test_without_windows_none_is_open() -> None:
    assert open_since({"always": {}}, at("12:00"), "PT1H") is None
