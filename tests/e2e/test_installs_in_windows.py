"""Windows and freezes on the real parts: installs start when they may, and status says when."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from manifests import (
    GALLERY,
    GENERALIZED,
    OPERATOR,
    Manifest,
    azure_subscription,
    grant,
    machine,
    namespace,
    operator_principal,
    person_principal,
    policy,
    subscription,
    vm_id,
)
from world import World

from judging.invariants import OpenTimes, only_in_open_times
from lab.controlplane import ControlPlane

PACE = 120
NS = "shop"
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
NEEDED = 30 * MINUTE

OPENS_SOON, OPENS_LATER, FROZEN, THAWED = "opens-soon", "opens-later", "frozen", "thawed"
FREEZE = {"name": "stock-taking", "reason": "nobody is there"}


def fleet(controlplane: ControlPlane) -> Manifest:
    return {
        "subscriptions": [subscription(1, galleries=[GALLERY]), subscription(2)],
        "principals": [operator_principal(controlplane.token_public_key), person_principal()],
        "machines": [
            *(machine(name, GENERALIZED) for name in (OPENS_SOON, OPENS_LATER, FROZEN)),
            machine(THAWED, GENERALIZED, subscription=2, tags={"ring": "canary"}),
            machine("another", GENERALIZED, subscription=2),
        ],
    }


def daily(opens: datetime, length: timedelta) -> Manifest:
    """A schedule with one window, in UTC."""
    window = {
        "name": "window",
        "daily": {},
        "startTime": f"{opens:%H:%M}",
        "duration": f"{length // MINUTE}m",
    }
    return {"windows": [window]}


def frozen(since: datetime, until: datetime) -> list[Manifest]:
    return [{**FREEZE, "start": f"{since:%Y-%m-%dT%H:%M:00}", "end": f"{until:%Y-%m-%dT%H:%M:00}"}]


class Times:
    """The calendar of the tests, from a whole minute on."""

    def __init__(self, world: World) -> None:
        self.start = world.azure_time().replace(second=0, microsecond=0)
        self.opens = self.start + 50 * MINUTE
        self.opens_later = self.start + 9 * HOUR
        self.freeze_ends = self.start + 70 * MINUTE


def policies(times: Times) -> dict[str, Manifest]:
    always: dict[str, Any] = {"always": {}}
    schedules = {
        OPENS_SOON: daily(times.opens, 3 * HOUR),
        OPENS_LATER: daily(times.opens_later, HOUR),
        FROZEN: {**always, "freezes": frozen(times.start - HOUR, times.freeze_ends)},
        THAWED: always,
    }
    made = {
        name: policy(NS, name, vm_id(name), schedule=schedule)
        for name, schedule in schedules.items()
    }
    canaries = {"azureSubscriptions": ["sub-2"], "tags": {"ring": ["canary"]}}
    made[THAWED]["spec"]["target"] = {"selector": canaries}
    return made


def subscriptions(times: Times, *, thawed: bool) -> list[Manifest]:
    """The second is frozen for a day, until somebody takes the freeze away."""
    freezes = [] if thawed else frozen(times.start - HOUR, times.start + 24 * HOUR)
    return [
        azure_subscription(1, [grant(NS)]),
        azure_subscription(2, [grant(NS)], freezes=freezes),
    ]


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with World("windows", fleet, pace=PACE, seed=6) as world:
        world.start_operator()
        yield world


@pytest.fixture(scope="module")
def times(world: World) -> Times:
    return Times(world)


@pytest.fixture(scope="module")
def declared(world: World, times: Times) -> dict[str, Manifest]:
    made = policies(times)
    world.apply(namespace(NS), *subscriptions(times, thawed=False), *made.values())
    return made


def test_before_its_window_opens_a_policy_says_what_it_waits_for(
    world: World, declared: dict[str, Manifest], times: Times
) -> None:
    later = world.wait_for_reason(declared[OPENS_LATER], "WaitingForWindow")
    frozen = world.wait_for_reason(declared[THAWED], "Frozen")

    window = later["status"]["nextWindow"]
    assert window["start"] == f"{times.opens_later:%Y-%m-%dT%H:%M:00Z}"
    assert f"opens, {times.opens_later:%Y-%m-%d %H:%M} UTC." in _message(later)
    assert "Freeze stock-taking (nobody is there) holds until" in _message(frozen)
    target = world.target(declared[OPENS_LATER])
    assert target is not None
    assert target["status"]["attempts"]["dueSince"]


def test_it_is_installed_on_when_its_window_opens(
    world: World, declared: dict[str, Manifest], times: Times
) -> None:
    install = world.wait_for_install(vm_id(OPENS_SOON), declared[OPENS_SOON])

    assert times.opens <= install.started <= times.opens + 15 * MINUTE


def test_it_is_installed_on_when_the_freeze_ends(
    world: World, declared: dict[str, Manifest], times: Times
) -> None:
    install = world.wait_for_install(vm_id(FROZEN), declared[FROZEN])

    assert times.freeze_ends <= install.started <= times.freeze_ends + 15 * MINUTE


def test_a_freeze_that_is_taken_away_no_longer_holds(
    world: World, declared: dict[str, Manifest], times: Times
) -> None:
    assert world.posts(vm_id(THAWED, 2), "Install") == 0

    world.apply(*subscriptions(times, thawed=True))

    world.wait_for_install(vm_id(THAWED, 2), declared[THAWED])
    (target,) = world.targets(declared[THAWED])
    assert target["spec"]["machineId"].endswith(THAWED), "the other has no such tag"


def test_no_install_was_sent_when_none_may_start(world: World, times: Times) -> None:
    may_start = {
        OPENS_SOON: (times.opens, times.opens + 3 * HOUR),
        OPENS_LATER: (times.opens_later, times.opens_later + HOUR),
        FROZEN: (times.freeze_ends, times.freeze_ends + 24 * HOUR),
    }
    open_times = [
        OpenTimes(frozenset({name}), [stretch], NEEDED) for name, stretch in may_start.items()
    ]

    assert only_in_open_times(world.journal(), open_times, {OPERATOR}) == []


def _message(found: Manifest) -> str:
    return next(str(c["message"]) for c in found["status"]["conditions"] if c["type"] == "Ready")
