"""A policy that this version cannot read: nothing is claimed for it, and nothing forgotten."""

from __future__ import annotations

from typing import Any

import pytest
from fakes import IMAGE, MINUTE, OF_ANOTHER_VERSION, SECOND, World, machine, numbered
from run_fleet import FIRST, Fleet

from azpatch.azure.port import Retry
from azpatch.domain.facts import GuestStatus, InstallationResult
from azpatch.kube.port import PATCH_POLICY, PATCH_RUN, KubeError, Object, Unavailable

SOON = 20 * SECOND
TARGET: dict[str, Any] = {"target": {"galleryImage": {"id": IMAGE}}}
RUNS = InstallationResult(GuestStatus.IN_PROGRESS, activity_id="someone")
MACHINES = [numbered(number) for number in (1, 2)]


def written_by_another_version(fleet: Fleet) -> Object:
    """The policy is edited so that this version cannot read it; how it was."""
    (before,) = fleet.world.kube.all(PATCH_POLICY)
    meta = {name: before["metadata"][name] for name in ("name", "namespace")}
    spec = {**before["spec"], "install": OF_ANOTHER_VERSION}
    fleet.world.kube.put(PATCH_POLICY, {"metadata": meta, "spec": spec})
    return before


def put_back(fleet: Fleet, before: Object) -> None:
    """Somebody undoes the edit: another generation."""
    meta = {name: before["metadata"][name] for name in ("name", "namespace")}
    fleet.world.kube.put(PATCH_POLICY, {"metadata": meta, "spec": before["spec"]})


def upgraded(fleet: Fleet, before: Object) -> None:
    """The next version reads what this one cannot: the object is the same, and its generation."""
    (now,) = fleet.world.kube.all(PATCH_POLICY)
    fleet.world.kube.put(PATCH_POLICY, {**now, "spec": before["spec"]})


# --- someone else's install -----------------------------------------------------------------------


def someone_installs() -> World:
    """Two machines are due, and someone installs on both."""
    world = World()
    world.policy(**TARGET)
    for id_ in MACHINES:
        world.azure.add(machine(id=id_))
        world.due(id_)
        world.azure.change(id_, installation=RUNS)
    return world


async def test_someone_elses_install_holds_its_slot_while_the_policy_cannot_be_read() -> None:
    world = someone_installs()
    async with world.operator_runs():
        await world.passes(30 * MINUTE)
        busy = next(id_ for id_ in MACHINES if world.ready(id_) == "ForeignOperation")
        (waits,) = {*MACHINES} - {busy}
        world.azure.change(waits, installation=None)
        await world.passes(5 * MINUTE)
        assert world.ready(waits) == "WaitingForSlot"
        world.policy(**TARGET, install=OF_ANOTHER_VERSION)
        await world.passes(MINUTE)
        assert world.ready(waits) == world.ready(busy) == "InvalidSpec"
        world.policy(**TARGET)
        await world.passes(30 * MINUTE)
        assert world.azure.posts == [], "the slot is the foreign install's"
        world.azure.change(busy, installation=None)
        await world.passes(5 * MINUTE)
    assert len(world.azure.posts) == 1


async def test_it_does_not_when_another_policy_has_taken_the_machine_over() -> None:
    """That one looks at it itself."""
    world = someone_installs()
    async with world.operator_runs():
        await world.passes(30 * MINUTE)
        busy = next(id_ for id_ in MACHINES if world.ready(id_) == "ForeignOperation")
        world.policy(**TARGET, install=OF_ANOTHER_VERSION)
        await world.passes(MINUTE)
        assert world.said_of(busy) == {"web-linux": "InvalidSpec"}
        world.policy(name="one", target={"virtualMachine": {"id": busy}})
        await world.passes(5 * MINUTE)
    assert world.said_of(busy) == {"web-linux": "InvalidSpec", "one": "ForeignOperation"}


# --- the version that can read it -----------------------------------------------------------------


@pytest.mark.parametrize("read_at_once", [True, False], ids=["at once", "the inventory later"])
async def test_after_an_upgrade_no_run_is_made_by_what_was_said_before_the_policy_was_read(
    read_at_once: bool,
) -> None:
    fleet = Fleet(2)
    async with fleet.world.operator_runs():
        await fleet.until(17)
        before = written_by_another_version(fleet)
        await fleet.passes(MINUTE)
        assert {fleet.world.ready(id_) for id_ in MACHINES} == {"InvalidSpec"}
    upgraded(fleet, before)
    grants = [{"name": "web", "namespaces": {"names": ["web"]}, "access": "Read"}]
    fleet.world.subscription(grants=grants)
    await fleet.until(18, 1)
    if not read_at_once:
        fleet.world.azure.broken["snapshot"] = Retry("HTTP503", "Later.")
    async with fleet.world.operator_runs():
        await fleet.passes(3 * MINUTE)
        fleet.world.azure.broken.clear()
        await fleet.passes(10 * MINUTE)
        assert {fleet.world.ready(id_) for id_ in MACHINES} == {"AccessTooLow"}
    assert fleet.world.runs() == []


async def test_nor_where_the_same_operator_can_read_it_after_all() -> None:
    """Another schema in the cluster may leave out what could not be read: no new generation."""
    fleet = Fleet(2)
    async with fleet.world.operator_runs():
        await fleet.until(17)
        before = written_by_another_version(fleet)
        await fleet.until(18, 1)
        grants = [{"name": "web", "namespaces": {"names": ["web"]}, "access": "Read"}]
        fleet.world.subscription(grants=grants)
        await fleet.passes(MINUTE)
        upgraded(fleet, before)
        await fleet.passes(10 * MINUTE)
        assert {fleet.world.ready(id_) for id_ in MACHINES} == {"AccessTooLow"}
    assert fleet.world.runs() == []


async def test_after_an_upgrade_the_run_is_made_when_its_machines_have_been_decided() -> None:
    fleet = Fleet(2)
    async with fleet.world.operator_runs():
        await fleet.until(17)
        before = written_by_another_version(fleet)
        await fleet.passes(MINUTE)
    upgraded(fleet, before)
    await fleet.until(18, 1)
    async with fleet.world.operator_runs():
        await fleet.passes(30 * MINUTE)
    assert fleet.seen == ("Succeeded", "Complete")


# --- what is said meanwhile -----------------------------------------------------------------------


async def test_its_run_says_that_it_waits_until_the_policy_can_be_read_and_goes_on() -> None:
    fleet = Fleet(2, maxUnavailable=1)
    async with fleet.world.operator_runs():
        await fleet.until(18, 3)
        status = fleet.run.status
        assert fleet.seen == ("Running", "RunUnderWay")
        before = written_by_another_version(fleet)
        await fleet.passes(30 * MINUTE)
        assert fleet.seen == ("Running", "InvalidSpec")
        assert fleet.run.status.replace(conditions=()) == status.replace(conditions=())
        conditions = {c.type: c.status for c in fleet.run.status.conditions}
        assert conditions == {"Ready": "False", "Stalled": "True"}
        assert len(fleet.installs) == 1
        put_back(fleet, before)
        await fleet.passes(MINUTE)
        stalled = [note for reason, note, _ in fleet.world.kube.events if reason == "RunPaused"]
        assert stalled == [], "the policy takes a run that has waited for it for none that stopped"
        await fleet.passes(60 * MINUTE)
    assert fleet.seen == ("Succeeded", "Complete")
    assert len(fleet.installs) == 2


async def test_a_run_does_not_begin_without_machines_because_they_waited_for_the_policy() -> None:
    fleet = Fleet(2)

    def refuse(line: str) -> KubeError | None:
        return Unavailable("etcd is away") if line == "status PatchTarget" else None

    async with fleet.world.operator_runs():
        await fleet.until(17, 59)
        fleet.world.kube.refuse = refuse
        await fleet.until(18, 3)
        assert fleet.seen == ("Waiting", "RecordingMembers")
        before = written_by_another_version(fleet)
        await fleet.passes(30 * MINUTE)
        put_back(fleet, before)
        await fleet.passes(2 * MINUTE)
        assert fleet.seen == ("Waiting", "RecordingMembers")
        fleet.world.kube.refuse = lambda _line: None
        await fleet.passes(30 * MINUTE)
    assert fleet.seen == ("Succeeded", "Complete")
    assert len(fleet.installs) == 2


async def test_a_persons_run_that_waits_says_so_too() -> None:
    fleet = Fleet(1)
    async with fleet.world.operator_runs():
        await fleet.until(13)
        fleet.world.asks(operation="Install")
        await fleet.passes(5 * MINUTE)
        assert fleet.seen == ("Waiting", "WaitingForWindow")
        before = written_by_another_version(fleet)
        await fleet.passes(5 * MINUTE)
        assert fleet.seen == ("Waiting", "InvalidSpec")
        put_back(fleet, before)
        await fleet.passes(5 * MINUTE)
        assert fleet.seen == ("Waiting", "WaitingForWindow")


async def test_it_tells_no_numbers_that_nobody_counts_and_forgets_no_run() -> None:
    fleet = Fleet(2, maxUnavailable=1)
    async with fleet.world.operator_runs():
        await fleet.until(18, 3)
        assert fleet.world.told().status.machines is not None
        before = written_by_another_version(fleet)
        await fleet.passes(MINUTE)
        (raw,) = fleet.world.kube.all(PATCH_POLICY)
        assert raw["status"].keys() == {
            "observedGeneration",
            "conditions",
            "currentRun",
            "lastScheduleTime",
        }
        (run,) = fleet.world.kube.all(PATCH_RUN)
        assert run["metadata"]["name"] == FIRST
        put_back(fleet, before)
        await fleet.passes(MINUTE)
    machines = fleet.world.told().status.machines
    assert machines is not None
    assert machines.matched == 2
