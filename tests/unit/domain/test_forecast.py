"""When a run is over at the latest: by hand, against windows of four hours."""

from __future__ import annotations

from datetime import timedelta

import pytest
from domain_builders import DAY, HOUR, NOW

from azpatch.api.schedule import Schedule
from azpatch.domain.forecast import REASSESSED, Ahead, forecast
from azpatch.domain.windows import Calendar, calendar

NEEDED = 105 * timedelta(minutes=1)
"""With the assessment after it two hours."""

ENDS = NOW + 4 * HOUR
"""Of the window that opens now."""


def daily(**more: object) -> Calendar:
    window = {"name": "noon", "daily": {}, "startTime": "12:00", "duration": "4h", **more}
    return calendar(Schedule.model_validate({"windows": [window]}))


def ahead(waiting: int, soak: timedelta = timedelta(0), where: Calendar | None = None) -> Ahead:
    return Ahead(waiting, soak, where or daily())


@pytest.mark.parametrize(
    ("waiting", "at_once", "days"),
    [
        pytest.param(1, 1, 0, id="one machine, one round"),
        pytest.param(2, 1, 0, id="two rounds of two hours fit in four"),
        pytest.param(3, 1, 1, id="the third is for tomorrow"),
        pytest.param(20, 10, 0, id="ten at a time"),
        pytest.param(21, 10, 1, id="and one more"),
    ],
)
def test_it_ends_with_the_window_in_which_the_last_has_its_turn(
    waiting: int, at_once: int, days: int
) -> None:
    assert forecast([ahead(waiting)], at_once, NEEDED, NOW) == ENDS + days * DAY


def test_a_round_may_end_after_the_assessment_is_due_as_long_as_the_install_fits() -> None:
    """Two installs, the second of which begins as late as may be."""
    assert NEEDED + REASSESSED + NEEDED < 4 * HOUR
    assert forecast([ahead(2)], 1, NEEDED, NOW) == ENDS


@pytest.mark.parametrize(
    ("soak", "days"),
    [
        pytest.param(24 * HOUR, 1, id="tomorrow at two there is time for one more"),
        pytest.param(25 * HOUR, 2, id="and at three there is not"),
    ],
)
def test_the_next_wave_begins_when_the_soak_has_gone_by(soak: timedelta, days: int) -> None:
    assert forecast([ahead(1, soak), ahead(1)], 1, NEEDED, NOW) == ENDS + days * DAY


def test_each_wave_has_windows_of_its_own() -> None:
    later = daily(startTime="20:00")
    assert forecast([ahead(1), ahead(1, where=later)], 1, NEEDED, NOW) == NOW + 12 * HOUR


def test_it_does_not_change_as_time_passes_unless_the_run_is_late() -> None:
    assert forecast([ahead(1)], 1, NEEDED, NOW + HOUR) == ENDS
    assert forecast([ahead(1)], 1, NEEDED, NOW + 3 * HOUR) == ENDS + DAY


def test_no_end_is_in_sight_where_the_windows_have_one() -> None:
    last = daily(endDate=f"{NOW:%Y-%m-%d}")
    assert forecast([ahead(2, where=last)], 1, NEEDED, NOW) == ENDS
    assert forecast([ahead(3, where=last)], 1, NEEDED, NOW) is None


def test_with_nobody_waiting_there_is_nothing_to_tell() -> None:
    assert forecast([], 1, NEEDED, NOW) is None
