"""The Azure adapter through Microsoft's SDKs over TLS, against the simulated Azure."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import jwt
import pytest
from prometheus_client import CollectorRegistry

from azpatch.api import DetectedState, OsType
from azpatch.azure import port
from azpatch.azure.client import SdkAzureClients
from azpatch.azure.cloud import CloudSettings
from azpatch.azure.metrics import AzureMetrics
from azpatch.azure.port import AzureClient, Credentials
from azpatch.clock import SystemClock
from azpatch.domain import ids
from azpatch.domain.facts import GuestStatus, RebootStatus
from lab.folders import run_folder
from lab.processes import AzSim, Clock

T = TypeVar("T")

PACE = 120.0
"""A two-minute assessment takes a second."""

TENANT = "7e0a2c54-6b1d-4c8e-9a57-3d2f1b0c9e11"
SUBSCRIPTION = "6f1c0000-0000-4000-8000-000000000001"
OTHER_SUBSCRIPTION = "6f1c0000-0000-4000-8000-000000000002"
OWNER = "0d4e0000-0000-4000-8000-000000000001"
NOBODY = "0d4e0000-0000-4000-8000-000000000002"
POD = "0d4e0000-0000-4000-8000-000000000003"
NODE = "0d4e0000-0000-4000-8000-000000000004"
ISSUER = "https://oidc.example/cluster"
SUBJECT = "system:serviceaccount:azpatch:azpatch"
CLUSTER = (
    f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg-k8s/providers"
    "/Microsoft.ContainerService/managedClusters/k8s"
)
MANY = 1203

FLEET: dict[str, Any] = {
    "tenants": [{"id": TENANT}],
    "principals": [
        {"name": "owner", "clientId": OWNER, "secret": "owner-secret"},
        {"name": "nobody", "clientId": NOBODY, "secret": "nobody-secret", "roleAssignments": []},
        {
            "name": "pod",
            "clientId": POD,
            "federatedSubjects": [{"issuer": ISSUER, "subject": SUBJECT}],
        },
        {"name": "node", "clientId": NODE, "managedIdentity": True},
    ],
    "subscriptions": [
        {
            "id": SUBSCRIPTION,
            "displayName": "prod",
            "features": [
                {
                    "name": "SomeGalleryGuestPatchPreview",
                    "displayName": "VM Guest Patch Gallery Image Preview",
                    "state": "Registered",
                },
                {"name": "Quick", "registeringTakes": "4m"},
                {"name": "Guarded", "approval": "ApprovalRequired"},
            ],
            "resourceGroups": [{"name": "MC_k8s", "managedBy": CLUSTER}],
            "galleries": [
                {
                    "name": "images",
                    "group": "rg-images",
                    "images": [{"name": "golden", "osState": "Specialized"}],
                }
            ],
        },
        {"id": OTHER_SUBSCRIPTION, "displayName": "many"},
    ],
    "machines": [
        {
            "name": "Web-1",
            "group": "RG-Web",
            "zone": "2",
            "tags": {"env": "prod"},
            "guest": {
                "missing": [
                    {"name": "curl", "version": "8.5", "classification": "Security"},
                    {
                        "name": "linux-image",
                        "version": "6.8",
                        "classification": "Critical",
                        "rebootBehavior": "AlwaysRequiresReboot",
                    },
                    {"name": "vim", "version": "9.1", "classification": "Other"},
                ]
            },
        },
        {"name": "golden-1", "group": "rg-web", "image": {"gallery": "images/golden"}},
        {
            "name": "silent-1",
            "group": "rg-web",
            "image": {"attachedDisk": True},
            "agent": {"ready": False},
        },
        {"name": "node-1", "group": "MC_k8s", "power": "deallocated"},
        {
            "name": "unsupported-1",
            "group": "rg-web",
            "osType": "Windows",
            "guest": {"patchable": False},
        },
        {"name": "many-{n}", "count": MANY, "subscription": OTHER_SUBSCRIPTION, "group": "rg-many"},
    ],
}


def vm(name: str, group: str = "rg-web") -> str:
    return (
        f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{group}"
        f"/providers/Microsoft.Compute/virtualMachines/{name}"
    )


@pytest.fixture(scope="module")
def shared_clock() -> Clock:
    return Clock(PACE)


@pytest.fixture(scope="module")
def azsim(shared_clock: Clock) -> Iterator[AzSim]:
    folder = run_folder("azure-adapter")
    fleet = folder / "fleet.json"
    fleet.write_text(json.dumps(FLEET))
    with AzSim(fleet, folder, shared_clock) as running:
        yield running


@pytest.fixture
def cloud(azsim: AzSim) -> CloudSettings:
    arm = azsim.env["AZSIM_ARM_ENDPOINT"]
    return CloudSettings(arm, azsim.env["AZURE_AUTHORITY_HOST"], azsim.env["AZSIM_CA_FILE"])


Connect = Callable[..., AzureClient]


@pytest.fixture
async def connect(cloud: CloudSettings, shared_clock: Clock) -> AsyncIterator[Connect]:
    """Makes clients of the simulated cloud, closed after the test."""
    clock = SystemClock(shared_clock.origin, shared_clock.pace)
    made: list[AzureClient] = []

    def make(credentials: Credentials, settings: CloudSettings = cloud) -> AzureClient:
        metrics = AzureMetrics(CollectorRegistry())
        made.append(SdkAzureClients(settings, clock, metrics).client(credentials))
        return made[-1]

    yield make
    for client in made:
        await client.close()


@pytest.fixture
def owner(connect: Connect) -> AzureClient:
    return connect(Credentials("ClientSecret", TENANT, OWNER, "owner-secret"))


@pytest.fixture
def nobody(connect: Connect) -> AzureClient:
    return connect(Credentials("ClientSecret", TENANT, NOBODY, "nobody-secret"))


async def until(read: Callable[[], Awaitable[T]], done: Callable[[T], bool]) -> T:
    """Reads until it is so, for about a minute."""
    for _ in range(300):
        if done(found := await read()):
            return found
        await asyncio.sleep(0.2)
    pytest.fail(f"still {found}")


def sent(azsim: AzSim, **wanted: object) -> list[dict[str, Any]]:
    """The requests in azsim's journal with these values."""
    entries = [json.loads(line) for line in azsim.journal.read_text().splitlines()]
    return [
        entry
        for entry in entries
        if entry["kind"] == "request"
        and all(entry.get(name) == value for name, value in wanted.items())
    ]


async def test_a_snapshot_shows_what_each_machine_is(owner: AzureClient) -> None:
    snapshot = await owner.snapshot([SUBSCRIPTION])
    machines = snapshot.machines
    assert len(machines) == 5
    web = machines[ids.key(vm("web-1"))]
    assert web.image is not None
    assert (web.image.publisher, web.image.id) == ("canonical", None)
    assert (web.os_type, web.power_state) == (OsType.LINUX, "Running")
    assert (web.zones, web.tags) == (("2",), {"env": "prod"})
    assert web.vm_id
    assert web.time_created is not None
    golden = machines[ids.key(vm("golden-1"))]
    assert golden.image is not None
    assert golden.image.id is not None
    assert golden.computer_name is None
    definition = ids.key(golden.image.id).partition("/versions/")[0]
    assert snapshot.definitions[definition].os_state == "Specialized"
    silent = machines[ids.key(vm("silent-1"))]
    assert (silent.image, silent.os_disk_create_option) == (None, "Attach")
    node = machines[ids.key(vm("node-1", "MC_k8s"))]
    assert (node.group_managed_by, node.power_state) == (CLUSTER, "Deallocated")
    assert web.group_managed_by is None


async def test_a_snapshot_of_many_machines_has_every_page(owner: AzureClient) -> None:
    snapshot = await owner.snapshot([SUBSCRIPTION, OTHER_SUBSCRIPTION])
    assert len(snapshot.machines) == MANY + 5


@pytest.mark.parametrize("name", ["Web-1", "golden-1", "silent-1"])
async def test_arm_and_resource_graph_describe_a_machine_alike(
    name: str, owner: AzureClient
) -> None:
    view = await owner.machine(vm(name))
    listed = (await owner.snapshot([SUBSCRIPTION])).machines[ids.key(vm(name))]
    assert replace(view.machine, id="") == replace(listed, id="")
    assert ids.key(view.machine.id) == ids.key(listed.id)
    assert view.agent_ready is (name != "silent-1")


async def test_a_deallocated_machine_has_no_ready_agent(owner: AzureClient) -> None:
    view = await owner.machine(vm("node-1", "MC_k8s"))
    assert (view.machine.power_state, view.agent_ready) == ("Deallocated", False)


async def test_a_machine_that_does_not_exist_is_gone(owner: AzureClient) -> None:
    with pytest.raises(port.Gone):
        await owner.machine(vm("never-was"))


async def test_a_machine_is_assessed_patched_and_assessed_again(
    owner: AzureClient, azsim: AzSim
) -> None:
    machine = vm("Web-1")

    accepted = await owner.assess(machine, "attempt-assess")
    running = await owner.machine(machine)
    assert running.assessment is not None
    assert running.assessment.status is GuestStatus.IN_PROGRESS
    assert running.assessment.activity_id == accepted.operation_id
    progress = await until(lambda: owner.operation(accepted.poll_url), lambda p: not p.running)
    assert progress.assessment is not None
    assert progress.assessment.status is GuestStatus.SUCCEEDED
    assert progress.assessment.activity_id == accepted.operation_id
    assert progress.assessment.critical_and_security == 2
    assert progress.assessment.other == 1

    def ended(row: Any) -> bool:
        return bool(row) and next(iter(row.values())).status is GuestStatus.SUCCEEDED

    rows = await until(lambda: owner.assessments([machine]), ended)
    row = rows[ids.key(machine)]
    assert row.detected is DetectedState.SUPPORTED
    assert (row.critical_and_security, row.other) == (2, 1)
    missing = (await until(lambda: owner.missing_patches([machine]), bool))[ids.key(machine)]
    assert {patch.name: patch.classifications for patch in missing} == {
        "curl": ("Security",),
        "linux-image": ("Critical",),
        "vim": ("Other",),
    }

    body = {
        "maximumDuration": "PT2H",
        "rebootSetting": "IfRequired",
        "linuxParameters": {"classificationsToInclude": ["Critical", "Security"]},
    }
    accepted = await owner.install(machine, body, "attempt-install")
    (post,) = sent(azsim, method="POST", clientRequestId="attempt-install")
    assert post["path"].lower() == f"{machine}/installPatches".lower()
    assert post["body"] == body
    progress = await until(lambda: owner.operation(accepted.poll_url), lambda p: not p.running)
    result = progress.installation
    assert result is not None
    assert result.status is GuestStatus.SUCCEEDED
    assert result.activity_id == accepted.operation_id
    assert (result.installed, result.not_selected, result.failed) == (2, 1, 0)
    assert result.reboot_status is RebootStatus.COMPLETED
    assert result.error is None

    rows_of_installs = await until(lambda: owner.installations([machine]), ended)
    recorded = rows_of_installs[ids.key(machine)]
    assert recorded.activity_id == accepted.operation_id
    assert recorded.patches is not None
    states = {patch.name: patch.state for patch in recorded.patches}
    assert states == {"curl": "Installed", "linux-image": "Installed", "vim": "NotSelected"}
    by_id = await owner.installs({machine: accepted.operation_id.upper()})
    assert by_id == {ids.key(machine): recorded}
    assert await owner.installs({machine: "of-nobody"}) == {}
    view = await owner.machine(machine)
    assert view.installation is not None
    assert view.installation.activity_id == accepted.operation_id


async def test_azure_says_in_resource_graph_that_a_guest_is_unsupported(
    owner: AzureClient,
) -> None:
    machine = vm("unsupported-1")
    accepted = await owner.assess(machine, "attempt-unsupported")
    await until(lambda: owner.operation(accepted.poll_url), lambda p: not p.running)
    rows = await until(
        lambda: owner.assessments([machine]),
        lambda found: bool(found) and found[ids.key(machine)].status.ended,
    )
    assert rows[ids.key(machine)].detected is DetectedState.UNSUPPORTED


async def test_an_operation_on_a_stopped_machine_does_not_start(owner: AzureClient) -> None:
    with pytest.raises(port.NotStarted):
        await owner.assess(vm("node-1", "MC_k8s"), "attempt-stopped")


async def test_a_refused_body_does_not_start_and_is_sent_once(
    owner: AzureClient, azsim: AzSim
) -> None:
    body = {"maximumDuration": "PT9H", "rebootSetting": "IfRequired", "linuxParameters": {}}
    with pytest.raises(port.NotStarted):
        await owner.install(vm("golden-1"), body, "attempt-refused")
    assert len(sent(azsim, clientRequestId="attempt-refused")) == 1


async def test_features_come_with_the_name_that_the_portal_shows(owner: AzureClient) -> None:
    features = {feature.name: feature for feature in await owner.features(SUBSCRIPTION)}
    feature = features["SomeGalleryGuestPatchPreview"]
    assert (feature.state, feature.display_name) == (
        "Registered",
        "VM Guest Patch Gallery Image Preview",
    )


@pytest.mark.parametrize(
    ("feature", "states"), [("Quick", ["Registering", "Registered"]), ("Guarded", ["Pending"])]
)
async def test_a_feature_is_registered_by_one_post_and_goes_through_azures_states(
    feature: str, states: list[str], owner: AzureClient, azsim: AzSim
) -> None:
    async def state() -> str:
        found = {one.name: one.state for one in await owner.features(SUBSCRIPTION)}
        return found[feature]

    assert await state() == "NotRegistered"
    await owner.register_feature(SUBSCRIPTION, feature, f"register-{feature}")
    for expected in states:
        await until(state, lambda found, expected=expected: found == expected)  # type: ignore[misc]
    (request,) = sent(azsim, clientRequestId=f"register-{feature}")
    assert (request["method"], request["status"], request["body"]) == ("POST", 200, None)


async def test_compute_is_registered_anew_by_one_post(owner: AzureClient, azsim: AzSim) -> None:
    await owner.register_compute(SUBSCRIPTION, "register-compute")
    (request,) = sent(azsim, clientRequestId="register-compute")
    assert request["path"] == f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Compute/register"
    assert request["status"] == 200


async def test_a_registration_needs_its_right_and_a_feature(
    owner: AzureClient, nobody: AzureClient
) -> None:
    with pytest.raises(port.Denied):
        await nobody.register_feature(SUBSCRIPTION, "Quick", "register-denied")
    with pytest.raises(port.Denied):
        await nobody.register_compute(SUBSCRIPTION, "register-denied")
    with pytest.raises(port.Gone, match="FeatureNotFound"):
        await owner.register_feature(SUBSCRIPTION, "Missing", "register-missing")


async def test_permissions_are_those_of_the_role(owner: AzureClient, nobody: AzureClient) -> None:
    scope = f"/subscriptions/{SUBSCRIPTION}"
    assert [entry.actions for entry in await owner.permissions(scope)] == [("*",)]
    assert [action for entry in await nobody.permissions(scope) for action in entry.actions] == []


async def test_without_rights_arm_denies_and_resource_graph_is_empty(nobody: AzureClient) -> None:
    snapshot = await nobody.snapshot([SUBSCRIPTION])
    assert (snapshot.machines, snapshot.definitions, snapshot.assessments) == ({}, {}, {})
    with pytest.raises(port.Denied):
        await nobody.machine(vm("golden-1"))
    with pytest.raises(port.Denied):
        await nobody.assess(vm("golden-1"), "attempt-denied")


async def test_a_wrong_secret_is_a_failed_sign_in_that_does_not_show_it(connect: Connect) -> None:
    client = connect(Credentials("ClientSecret", TENANT, OWNER, "hush-hush"))
    with pytest.raises(port.SignInFailed) as caught:
        await client.assess(vm("golden-1"), "attempt-wrong-secret")
    assert "hush" not in str(caught.value)


async def test_a_pod_signs_in_with_its_projected_token(
    connect: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime.now(UTC)
    claims = {
        "iss": ISSUER,
        "sub": SUBJECT,
        "aud": "api://AzureADTokenExchange",
        "iat": now - timedelta(minutes=1),
        "nbf": now - timedelta(minutes=1),
        "exp": now + timedelta(hours=9),
    }
    token = tmp_path / "azure-identity-token"
    token.write_text(jwt.encode(claims, "k" * 32, algorithm="HS256"))
    monkeypatch.setenv("AZURE_FEDERATED_TOKEN_FILE", str(token))
    monkeypatch.setenv("AZURE_CLIENT_ID", POD)
    client = connect(Credentials("WorkloadIdentity", TENANT))
    assert (await client.machine(vm("golden-1"))).machine.vm_id


async def test_a_node_signs_in_at_the_instance_metadata_service(
    connect: Connect, azsim: AzSim, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "AZURE_POD_IDENTITY_AUTHORITY_HOST"
    monkeypatch.setenv(name, azsim.env[name])
    client = connect(Credentials("ManagedIdentity", TENANT, NODE))
    assert (await client.machine(vm("golden-1"))).machine.vm_id


async def test_an_arm_whose_certificate_nobody_trusts_gets_no_token(
    connect: Connect, cloud: CloudSettings, azsim: AzSim
) -> None:
    before = len(sent(azsim))
    client = connect(
        Credentials("ClientSecret", TENANT, OWNER, "owner-secret"), replace(cloud, ca_file=None)
    )
    with pytest.raises(port.SignInFailed):
        await client.machine(vm("golden-1"))
    assert len(sent(azsim)) == before


async def test_no_secret_token_or_signed_url_is_logged(
    owner: AzureClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    accepted = await owner.assess(vm("golden-1"), "attempt-logged")
    await owner.operation(accepted.poll_url)
    signature = accepted.poll_url.partition("?")[2]
    assert len(signature) > 100
    for secret in ("owner-secret", "eyJ", signature, signature[-40:]):
        assert secret not in caplog.text
