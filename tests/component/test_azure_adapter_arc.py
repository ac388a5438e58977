"""The Azure adapter over TLS, against Arc-enabled servers of the simulated Azure.

With each of the seeds another Azure: what nobody has documented about such servers is different.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, TypeVar

import pytest
from prometheus_client import CollectorRegistry

from azpatch.api import MachineKind, OsType
from azpatch.api.target import OperationKind
from azpatch.azure import port
from azpatch.azure.client import SdkAzureClients
from azpatch.azure.cloud import CloudSettings
from azpatch.azure.metrics import AzureMetrics
from azpatch.azure.port import Accepted, AzureClient, Credentials, Progress
from azpatch.clock import SystemClock
from azpatch.domain import ids
from azpatch.domain.facts import GuestStatus
from lab.binaries import ROOT
from lab.folders import run_folder
from lab.processes import AzSim, Clock

T = TypeVar("T")

PACE = 120.0
"""A two-minute assessment takes a second."""

SEEDS = (0, 3)
"""Between the two, each of the drawn facts is one way and the other."""

TENANT = "7e0a2c54-6b1d-4c8e-9a57-3d2f1b0c9e11"
SUBSCRIPTION = "6f1c0000-0000-4000-8000-000000000001"
PEOPLE = {
    "owner": "0d4e0000-0000-4000-8000-000000000001",
    "reader": "0d4e0000-0000-4000-8000-000000000002",
}
READER = json.loads((ROOT / "docs" / "azure-roles" / "reader.json").read_text())["Actions"]

FLEET: dict[str, Any] = {
    "tenants": [{"id": TENANT}],
    "principals": [
        {"name": "owner", "clientId": PEOPLE["owner"], "secret": "owner-secret"},
        {
            "name": "reader",
            "clientId": PEOPLE["reader"],
            "secret": "reader-secret",
            "roleAssignments": [{"scope": f"/subscriptions/{SUBSCRIPTION}", "actions": READER}],
        },
    ],
    "subscriptions": [{"id": SUBSCRIPTION}],
    "machines": [
        {
            "name": "DC-7",
            "group": "rg-dc",
            "arc": {},
            "tags": {"env": "prod"},
            "guest": {
                "os": "Ubuntu",
                "osVersion": "24.04",
                "missing": [
                    {"name": "curl", "version": "8.5"},
                    {"name": "linux-image", "version": "6.8", "classification": "Critical"},
                    {"name": "vim", "version": "9.1", "classification": "Other"},
                ],
            },
        },
        {"name": "away", "group": "rg-dc", "arc": {"status": "Disconnected"}},
        {"name": "broken", "group": "rg-dc", "arc": {}, "guest": {"patchable": False}},
        {"name": "web-1", "group": "rg-dc"},
    ],
}
BODY = {
    "maximumDuration": "PT2H",
    "rebootSetting": "IfRequired",
    "linuxParameters": {"classificationsToInclude": ["Critical", "Security"]},
}


def server(name: str) -> str:
    return (
        f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg-dc"
        f"/providers/Microsoft.HybridCompute/machines/{name}"
    )


@pytest.fixture(scope="module")
def shared_clock() -> Clock:
    return Clock(PACE)


@pytest.fixture(scope="module", params=SEEDS)
def azsim(shared_clock: Clock, request: pytest.FixtureRequest) -> Iterator[AzSim]:
    folder = run_folder("azure-adapter-arc")
    fleet = folder / "fleet.json"
    fleet.write_text(json.dumps(FLEET))
    with AzSim(fleet, folder, shared_clock, seed=request.param) as running:
        yield running


Connect = Callable[[str], AzureClient]


@pytest.fixture
async def connect(azsim: AzSim, shared_clock: Clock) -> AsyncIterator[Connect]:
    """Makes clients of the fleet's principals, closed after the test."""
    clock = SystemClock(shared_clock.origin, shared_clock.pace)
    env = azsim.env
    arm, authority = env["AZSIM_ARM_ENDPOINT"], env["AZURE_AUTHORITY_HOST"]
    cloud = CloudSettings(arm, authority, env["AZSIM_CA_FILE"])
    made: list[AzureClient] = []

    def make(name: str) -> AzureClient:
        clients = SdkAzureClients(cloud, clock, AzureMetrics(CollectorRegistry()))
        credentials = Credentials("ClientSecret", TENANT, PEOPLE[name], f"{name}-secret")
        made.append(clients.client(credentials))
        return made[-1]

    yield make
    for client in made:
        await client.close()


@pytest.fixture
def owner(connect: Connect) -> AzureClient:
    return connect("owner")


async def until(read: Callable[[], Awaitable[T]], done: Callable[[T], bool]) -> T:
    """Reads until it is so, for about a minute."""
    for _ in range(300):
        if done(found := await read()):
            return found
        await asyncio.sleep(0.2)
    pytest.fail(f"still {found}")


async def ended(client: AzureClient, accepted: Accepted) -> Progress:
    return await until(lambda: client.operation(accepted.poll_url), lambda p: not p.running)


async def test_arm_and_resource_graph_describe_a_server_alike(owner: AzureClient) -> None:
    view = await owner.machine(server("dc-7"))
    machines = (await owner.snapshot([SUBSCRIPTION])).machines
    listed = machines[ids.key(server("dc-7"))]

    assert view.machine == listed
    assert (listed.kind, listed.os_type) == (MachineKind.ARC_SERVER, OsType.LINUX)
    assert (listed.arc_status, listed.os_sku) == ("Connected", "Ubuntu 24.04")
    assert (listed.tags, listed.power_state, listed.image) == ({"env": "prod"}, None, None)
    assert listed.vm_id
    assert view.agent_ready
    kinds = [machine.kind for machine in machines.values()]
    assert (len(kinds), kinds.count(MachineKind.VIRTUAL_MACHINE)) == (4, 1)


async def test_a_server_is_assessed_patched_and_assessed_again(
    owner: AzureClient, azsim: AzSim
) -> None:
    machine, key = server("DC-7"), ids.key(server("DC-7"))

    accepted = await owner.assess(machine, "attempt-assess")
    running = await owner.operation(accepted.poll_url)
    assert running.running
    assert running.retry_after
    view = await owner.machine(machine)
    assert (view.assessment, view.installation) == (None, None)
    assessed = (await ended(owner, accepted)).assessment
    assert assessed is not None
    assert (assessed.status, assessed.error) == (GuestStatus.SUCCEEDED, None)
    assert (assessed.critical_and_security, assessed.other) == (2, 1)
    if view.requested is not None:
        assert view.requested.activity_id == assessed.activity_id
        assert view.requested.kind is OperationKind.ASSESS
        assert view.requested.time == assessed.start_time

    rows = await until(
        lambda: owner.assessments([machine]), lambda found: bool(found) and found[key].status.ended
    )
    assert rows[key].start_time == assessed.start_time
    assert (rows[key].critical_and_security, rows[key].detected) == (2, None)
    missing = (await until(lambda: owner.missing_patches([machine]), bool))[key]
    assert {patch.name for patch in missing} == {"curl", "linux-image", "vim"}

    accepted = await owner.install(machine, BODY, "attempt-install")
    entries = [json.loads(line) for line in azsim.journal.read_text().splitlines()]
    (post,) = (e for e in entries if e.get("clientRequestId") == "attempt-install")
    assert (post["method"], post["status"], post["body"]) == ("POST", 202, BODY)
    installed = (await ended(owner, accepted)).installation
    assert installed is not None
    assert (installed.status, installed.error) == (GuestStatus.SUCCEEDED, None)
    assert (installed.installed, installed.not_selected, installed.patches) == (2, 1, None)
    recorded = (
        await until(
            lambda: owner.installations([machine]),
            lambda found: bool(found) and found[key].status.ended,
        )
    )[key]
    assert (recorded.activity_id, recorded.installed) == (installed.activity_id, 2)
    assert recorded.patches is not None
    assert {p.name for p in recorded.patches if p.state == "Installed"} == {"curl", "linux-image"}


async def test_a_server_that_azure_does_not_hear_takes_no_operation(owner: AzureClient) -> None:
    view = await owner.machine(server("away"))
    assert (view.machine.arc_status, view.agent_ready) == ("Disconnected", False)
    with pytest.raises(port.NotStarted):
        await owner.assess(server("away"), "attempt-away")
    with pytest.raises(port.NotStarted):
        await owner.install(server("away"), BODY, "attempt-away")


async def test_an_operation_that_fails_as_a_whole_ends_with_azures_words(
    owner: AzureClient,
) -> None:
    progress = await ended(owner, await owner.install(server("broken"), BODY, "attempt-broken"))
    result = progress.installation
    error = progress.error or (result and result.error)
    assert error
    assert "cannot be patched" in error.message
    assert result is None or result.status is GuestStatus.FAILED


async def test_a_server_that_does_not_exist_is_gone(owner: AzureClient) -> None:
    with pytest.raises(port.Gone):
        await owner.machine(server("never-was"))


async def test_the_reader_role_sees_servers_and_their_results_and_begins_nothing(
    owner: AzureClient, connect: Connect
) -> None:
    reader, key = connect("reader"), ids.key(server("broken"))
    await ended(owner, await owner.assess(server("broken"), "attempt-seen"))
    assert (await reader.machine(server("broken"))).machine.vm_id
    await until(lambda: reader.assessments([key]), bool)
    snapshot = await reader.snapshot([SUBSCRIPTION])
    assert len(snapshot.machines) == 4
    with pytest.raises(port.Denied):
        await reader.assess(server("dc-7"), "attempt-denied")
