"""The reckoning of who is overdue counts whole windows of the machine's wave."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from judging.overdue import overdue

TUESDAY = datetime(2026, 12, 15, 12, 0, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)

EVENING = {"startTime": "22:00", "duration": "4h"}
NIGHT = {**EVENING, "name": "night", "daily": {}}
WEEKEND = {**EVENING, "name": "weekend", "weekly": {"days": ["Saturday"]}}
SHORT = {**NIGHT, "name": "short", "startTime": "03:00", "duration": "124m"}
NIGHTLY = {"name": "canary", "machines": 1, "windows": ["night"]}
WEEKLY = {"name": "rest", "machines": "100%", "windows": ["weekend"]}


def policy(*windows: dict[str, Any], waves: Any = (NIGHTLY, WEEKLY), **spec: Any) -> dict[str, Any]:
    schedule = {"windows": list(windows)} if windows else {"always": {}}
    install = {"maximumDuration": "PT2H"}
    return {"spec": {"install": install, "schedule": schedule, "rollout": {"waves": waves}, **spec}}


def target(due: timedelta, wave: str | None = None, **status: Any) -> dict[str, Any]:
    part = {"run": {"wave": wave, "state": "Skipped"}} if wave else {}
    attempts = {"dueSince": (TUESDAY - due).isoformat()}
    return {"spec": {"machineId": "/VM"}, "status": {"attempts": attempts, **part, **status}}


@pytest.mark.parametrize(
    ("machine", "late"),
    [
        pytest.param(target(2 * DAY, "canary"), True, id="two nights"),
        pytest.param(target(DAY, "canary"), False, id="one night"),
        pytest.param(target(38 * HOUR, "canary"), True, id="since the first began"),
        pytest.param(target(37 * HOUR, "canary"), False, id="since after the first had begun"),
        pytest.param(target(9 * DAY, "rest"), False, id="one weekend, whatever the nights"),
        pytest.param(target(11 * DAY, "rest"), True, id="two weekends"),
        pytest.param(target(2 * DAY), True, id="in no run, by all windows"),
        pytest.param(target(2 * DAY, "gone"), True, id="in a wave that is gone, likewise"),
        pytest.param(target(9 * DAY, "canary", governs=False), False, id="another policy's"),
    ],
)
def test_who_is_overdue(machine: dict[str, Any], late: bool) -> None:
    assert bool(overdue(policy(NIGHT, WEEKEND), None, [machine], TUESDAY)) is late


def test_a_window_that_no_install_fits_in_does_not_count() -> None:
    short = policy(NIGHT, SHORT, waves=())
    assert not overdue(short, None, [target(38 * HOUR - DAY)], TUESDAY)


def test_a_window_that_is_open_has_not_been_missed() -> None:
    during = TUESDAY + 13 * HOUR
    due = target(15 * HOUR, "canary")
    assert not overdue(policy(NIGHT, WEEKEND), None, [due], during)
    assert overdue(policy(NIGHT, WEEKEND), None, [due], during + HOUR)


def test_the_run_that_is_under_way_has_its_waves_by_terms_of_its_own() -> None:
    run = {"status": {"effective": {"rollout": {"waves": [{**WEEKLY, "windows": ["night"]}]}}}}
    assert not overdue(policy(NIGHT, WEEKEND), None, [target(2 * DAY, "rest")], TUESDAY)
    assert overdue(policy(NIGHT, WEEKEND), run, [target(2 * DAY, "rest")], TUESDAY)


def test_windows_of_a_wave_that_the_schedule_does_not_have_count_as_none() -> None:
    assert overdue(policy(NIGHT), None, [target(2 * DAY, "rest")], TUESDAY)


def test_without_windows_it_is_after_48_hours() -> None:
    always = policy(waves=())
    assert overdue(always, None, [target(48 * HOUR)], TUESDAY)
    assert not overdue(always, None, [target(47 * HOUR)], TUESDAY)


def test_a_policy_that_does_not_install_has_nobody_overdue() -> None:
    assessing = policy(NIGHT)
    del assessing["spec"]["install"]
    assert not overdue(assessing, None, [target(9 * DAY)], TUESDAY)
