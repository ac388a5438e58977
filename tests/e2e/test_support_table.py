"""Image kinds by on-demand operations, through the whole operator: what Azure was asked for.

The first four rows are the table of support matrix 2023-05 as Microsoft published it; every other
row is what the rest of the evidence makes of it. All machines lack one security patch.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from manifests import (
    CURL,
    FEATURE,
    GALLERY,
    GENERALIZED,
    GROUP,
    OPERATOR,
    SPECIALIZED,
    Manifest,
    azure_subscription,
    condition,
    grant,
    machine,
    namespace,
    operator_principal,
    person_principal,
    policy,
    reason,
    subscription,
    subscription_id,
    vm_id,
)
from world import World

from judging.claims import status_claims_nothing_else
from judging.invariants import (
    Leave,
    Verdict,
    at_most_one_in_flight,
    only_what_is_granted,
    verdicts_kept,
)
from lab.controlplane import ControlPlane

PACE = 120
NAMESPACE = "table"

REGISTERED, CLOSED, AMBIGUOUS, IGNORED, OPENED = 1, 2, 3, 4, 5
"""Subscriptions, by what is to be found of their preview feature."""

LATEST = 6
"""The subscription that goes by revision 2025-02, which needs no feature."""

AKS_CLUSTER = (
    f"/subscriptions/{subscription_id(1)}/resourceGroups/rg-aks"
    "/providers/Microsoft.ContainerService/managedClusters/shop"
)
WINDOWS_PATCH = {"name": "Cumulative", "kbId": "5034441", "classification": "Security"}
TRY: Manifest = {"linux": {}, "maximumDuration": "PT30M", "onUndeterminedSupport": "Try"}
WINDOWS: Manifest = {"windows": {}, "maximumDuration": "PT30M"}
PROBE: Manifest = {"assessment": {"probeUnsupported": True}}
FROM_WINDOWS: Manifest = {"gallery": "golden/win/1.0.0"}


@dataclass(frozen=True)
class Row:
    """A machine under a policy of its own, and which requests for it must reach Azure."""

    name: str
    image: Manifest
    assess: bool
    install: bool
    supported: str
    """The reason of the PatchTarget's condition Supported in the end."""
    subscription: int = REGISTERED
    machine: Manifest = field(default_factory=dict)
    policy: Manifest = field(default_factory=dict)

    @property
    def id(self) -> str:
        return vm_id(self.name, self.subscription, self.machine.get("group", GROUP))

    @property
    def declared(self) -> Manifest:
        return policy(NAMESPACE, self.name, self.id, **self.policy)

    @property
    def simulated(self) -> Manifest:
        return machine(self.name, self.image, subscription=self.subscription, **self.machine)

    @property
    def verdict(self) -> Verdict:
        return Verdict(self.id, self.assess, self.install)


def guest(**truth: Any) -> Manifest:
    """A machine whose guest differs from the usual."""
    return {"guest": truth}


YES, NO = True, False
ROWS = [
    # Microsoft's table: generalized and specialized both operations, all else none.
    Row("generalized", GENERALIZED, YES, YES, "DetectedSupported"),
    Row("specialized", SPECIALIZED, YES, YES, "DetectedSupported"),
    Row("managed-image", {"managedImage": "golden"}, NO, NO, "ImageNotSupported"),
    Row("attached-disk", {"attachedDisk": True}, NO, NO, "ImageNotSupported"),
    # What the assessment detects decides, where the table leaves room for it.
    Row("detected-unsupported", GENERALIZED, YES, NO, "DetectedUnsupported",
        machine=guest(patchable=False)),
    Row("undetermined-waits", SPECIALIZED, YES, NO, "UnableToDetermine",
        machine=guest(detected="UnableToDetermine")),
    Row("undetermined-tries", SPECIALIZED, YES, YES, "TriedUndetermined",
        machine=guest(detected="UnableToDetermine"), policy={"install": TRY}),
    Row("detected-nothing", GENERALIZED, YES, YES, "AssessedSuccessfully",
        machine=guest(detected="Absent")),
    Row("probed-supported", {"managedImage": "golden"}, YES, YES, "DetectedSupported",
        policy=PROBE),
    Row("probed-unsupported", {"attachedDisk": True}, YES, NO, "DetectedUnsupported",
        machine=guest(patchable=False), policy=PROBE),
    Row("marketplace", {"publisher": "canonical", "offer": "ubuntu", "sku": "server"}, YES, YES,
        "DetectedSupported"),
    Row("marketplace-unsupported", {"publisher": "canonical", "offer": "ubuntu", "sku": "server"},
        YES, NO, "DetectedUnsupported", machine=guest(patchable=False)),
    Row("marketplace-no-rule", {"publisher": "nobody", "offer": "knows", "sku": "it"}, YES, YES,
        "DetectedSupported"),
    Row("marketplace-denied", {"publisher": "RedHat", "offer": "rhel-ha", "sku": "81_gen2"}, NO, NO,
        "ImageNotSupported"),
    Row("image-unknown", {}, YES, YES, "DetectedSupported"),
    # The latest revision serves every custom image, made from the systems that it lists.
    Row("managed-image-later", {"managedImage": "golden"}, YES, YES, "DetectedSupported", LATEST),
    Row("attached-disk-later", {"attachedDisk": True}, YES, NO, "DetectedUnsupported", LATEST,
        machine=guest(patchable=False)),
    Row("system-not-listed", {"managedImage": "golden"}, YES, NO, "SystemNotListed", LATEST,
        machine=guest(detected="UnableToDetermine", os="flatcar", osVersion="4081.2.0"),
        policy={"install": TRY}),
    Row("system-listed", {"managedImage": "golden"}, YES, YES, "TriedUndetermined", LATEST,
        machine=guest(detected="UnableToDetermine", os="ubuntu", osVersion="22.04"),
        policy={"install": TRY}),
    # The preview feature is that of the machine's own subscription.
    Row("generalized-not-registered", GENERALIZED, NO, NO, "PreviewFeatureNotRegistered", CLOSED),
    Row("specialized-not-registered", SPECIALIZED, NO, NO, "PreviewFeatureNotRegistered", CLOSED),
    Row("feature-ambiguous", GENERALIZED, YES, YES, "DetectedSupported", AMBIGUOUS),
    Row("feature-ambiguous-unsupported", GENERALIZED, YES, NO, "DetectedUnsupported", AMBIGUOUS,
        machine=guest(patchable=False)),
    Row("feature-ignored", GENERALIZED, YES, YES, "DetectedSupported", IGNORED),
    # Workloads that guest patching does not serve, on an image that it would.
    Row("scale-set-member", GENERALIZED, NO, NO, "ScaleSetMember", machine={"scaleSet": "web"}),
    Row("aks-node", GENERALIZED, NO, NO, "AKSNode", machine={"group": "rg-nodes"}),
    Row("aks-node-by-tag", GENERALIZED, NO, NO, "AKSNode",
        machine={"group": "MC_shop", "tags": {"aks-managed-poolName": "system"}}),
    Row("windows-client", {"publisher": "MicrosoftWindowsDesktop", "offer": "windows-11",
        "sku": "win11-pro"}, NO, NO, "WindowsClient", machine={"osType": "Windows"},
        policy={"install": WINDOWS}),
    Row("windows-client-license", FROM_WINDOWS, NO, NO, "WindowsClient",
        machine={"osType": "Windows", "licenseType": "Windows_Client"},
        policy={"install": WINDOWS}),
    # What the policy says for the machine's operating system.
    Row("windows", FROM_WINDOWS, YES, YES, "DetectedSupported",
        machine={"osType": "Windows", "missing": [WINDOWS_PATCH]}, policy={"install": WINDOWS}),
    Row("windows-under-linux-policy", FROM_WINDOWS, YES, NO, "DetectedSupported",
        machine={"osType": "Windows", "missing": [WINDOWS_PATCH]}),
]  # fmt: skip

LATER = Row("feature-registered-later", GENERALIZED, YES, YES, "DetectedSupported", OPENED)


def fleet(controlplane: ControlPlane) -> Manifest:
    """Every row's machine. Only the first subscription has the gallery, which serves all."""
    closed = FEATURE | {"state": "NotRegistered"}
    another = FEATURE | {
        "name": "AnotherGuestPatchGallery",
        "displayName": "VM Guest Patch Gallery",
    }
    unlike = FEATURE | {"displayName": None}
    return {
        "subscriptions": [
            subscription(
                REGISTERED,
                galleries=[GALLERY],
                resourceGroups=[{"name": "rg-nodes", "managedBy": AKS_CLUSTER}],
            ),
            subscription(CLOSED, [closed]),
            subscription(AMBIGUOUS, [unlike, another | {"displayName": None}]),
            subscription(IGNORED, [closed]),
            subscription(OPENED, [closed | {"registeringTakes": "5m"}]),
            subscription(LATEST, [closed]),
        ],
        "principals": [operator_principal(controlplane.token_public_key), person_principal()],
        "machines": [row.simulated for row in (*ROWS, LATER)],
    }


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with World("support-table", fleet, pace=PACE, seed=5) as world:
        mine = [grant(NAMESPACE)]
        world.apply(
            namespace(NAMESPACE),
            *(azure_subscription(n, mine) for n in (REGISTERED, CLOSED, AMBIGUOUS, OPENED)),
            azure_subscription(IGNORED, mine, previewFeature={"mode": "Ignore"}),
            azure_subscription(LATEST, mine, supportMatrix="2025-02"),
            *(row.declared for row in (*ROWS, LATER)),
        )
        world.start_operator()
        yield world


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_azure_is_asked_for_what_is_supported_and_for_nothing_else(world: World, row: Row) -> None:
    target = world.wait_for_target(row.declared, row.supported, "Supported")
    if row.install:
        target = world.wait_for_target(row.declared, "Compliant", "Compliant")
    elif row.assess:
        target = world.wait(
            "an assessment has ended",
            lambda: _settled(world.target(row.declared)),
            row.declared,
        )
    assert (world.posts(row.id, "Assess") > 0, world.posts(row.id, "Install") > 0) == (
        row.assess,
        row.install,
    ), world.describe(row.declared)
    installed = [
        event
        for event in world.journal().events("PatchInstalled")
        if event.resource == row.id.lower()
    ]
    assert len(installed) == row.install
    assert reason(target, "Supported") == row.supported


def _settled(target: Manifest | None) -> Manifest | None:
    """The target, once an assessment has ended and nothing is in flight."""
    status = (target or {}).get("status", {})
    return target if "assessment" in status and "operation" not in status else None


def test_a_refused_machine_says_why_and_what_helps(world: World) -> None:
    row = next(row for row in ROWS if row.name == "generalized-not-registered")
    policy = world.wait_for_reason(row.declared, "PreviewFeatureNotRegistered", "Stalled")
    message = condition(policy, "Ready")["message"]
    assert FEATURE["name"] in message
    assert "az feature register" in message
    assert policy["status"]["machines"]["unsupported"] == 1
    subscription = world.wait_for_reason(
        azure_subscription(CLOSED, []), "PreviewFeatureNotRegistered", "PreviewFeature"
    )
    assert subscription["status"]["previewFeature"]["state"] == "NotRegistered"


def test_an_ambiguous_feature_shows_its_candidates(world: World) -> None:
    subscription = world.wait_for_reason(
        azure_subscription(AMBIGUOUS, []), "PreviewFeatureUndetermined", "PreviewFeature"
    )
    assert subscription["status"]["previewFeature"]["candidates"] == [
        "AnotherGuestPatchGallery",
        FEATURE["name"],
    ]


def test_a_windows_machine_is_skipped_where_install_names_linux_only(world: World) -> None:
    row = next(row for row in ROWS if row.name == "windows-under-linux-policy")
    world.wait_for_target(row.declared, "OSNotSelected", "Compliant")
    policy = world.wait(
        "the policy counts it as skipped",
        lambda: _policy_with(world, row.declared, skipped=1),
        row.declared,
    )
    assert policy["status"]["machines"]["nonCompliant"] == 0


def _policy_with(world: World, policy: Manifest, **counts: int) -> Manifest | None:
    now = world.now(policy) or {}
    machines = (now.get("status") or {}).get("machines") or {}
    return now if counts.items() <= machines.items() else None


def test_a_feature_that_is_registered_later_wakes_the_machines_that_wait(world: World) -> None:
    world.wait_for_target(LATER.declared, "PreviewFeatureNotRegistered", "Supported")
    assert world.posts(LATER.id) == 0
    features = f"/subscriptions/{subscription_id(OPENED)}/providers/Microsoft.Features"
    name = f"providers/Microsoft.Compute/features/{FEATURE['name']}"
    world.as_person("POST", f"{features}/{name}/register", version="2021-07-01")
    world.wait_for_target(LATER.declared, "Compliant", "Compliant")
    assert world.posts(LATER.id, "Install") == 1


def test_what_a_request_says_is_what_the_policy_says(world: World) -> None:
    row = next(row for row in ROWS if row.name == "generalized")
    world.wait_for_target(row.declared, "Compliant", "Compliant")
    [request] = world.journal().posts(row.id, "Install", {OPERATOR})
    assert request.body["maximumDuration"] == "PT30M"
    assert request.body["rebootSetting"] == "IfRequired"
    assert request.body["linuxParameters"]["classificationsToInclude"] == ["Critical", "Security"]


def test_all_the_while_nothing_was_sent_that_a_verdict_or_a_grant_forbids(world: World) -> None:
    rows = (*ROWS, LATER)
    journal, targets = world.journal(), world.targets()
    assert len(targets) == len(rows)
    assert verdicts_kept(journal, [row.verdict for row in rows], {OPERATOR}) == []
    assert at_most_one_in_flight(journal, {OPERATOR}) == []
    leaves = [Leave(row.id) for row in rows]
    mine = {OPERATOR: [subscription_id(n) for n in range(1, 7)]}
    assert only_what_is_granted(journal, leaves, mine) == []
    assert status_claims_nothing_else(journal, targets) == []
    assert CURL["name"] in {event.details["name"] for event in journal.events("PatchInstalled")}
