"""Fleets and custom resources, drawn by seed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from random import Random
from typing import Any

from azpatch.kube.port import AZURE_SUBSCRIPTION, PATCH_POLICY, Kind, Object
from judging.support import Truth
from simulation import images, matrices
from simulation.images import Built, subscription_id
from simulation.pace import DAYS, Pace

Raw = dict[str, Any]

TENANT = "7e0a2c54-6b1d-4c8e-9a57-3d2f1b0c9e11"
OPERATOR = "azpatch"
OPERATOR_CLIENT = "c11e0000-0000-4000-8000-000000000001"
OPERATOR_SECRET = "the operator's"
SECRET_NAME = "azure"

GROUP, OTHER_GROUP = "rg-sim", "rg-other"
NAMESPACES = ("shop", "bank")

FEATURE = {
    "name": "VMGuestPatchGallerySim",
    "displayName": "VM Guest Patch Gallery Image Preview",
    "state": "Registered",
}
CLOSED = {**FEATURE, "state": "NotRegistered"}
NAMELESS = {"name": "VMGuestPatchGallerySim", "state": "Registered"}
ANOTHER = {"name": "AnotherGuestPatchGallery", "state": "Registered"}
FEATURES: Sequence[Sequence[dict[str, Any]]] = (
    *([FEATURE],) * 9,
    *([CLOSED],) * 2,
    [NAMELESS, ANOTHER],
    [],
)
"""What a subscription may have: mostly the feature, sometimes one that nobody registered, two of
which either might be meant, or none."""

SIZES = (3, 3, 3, 3, 4, 4, 4, 5, 5, 6, 8, 20)
"""Machines of a fleet. Most are small: what can go wrong needs few, and two policies that share
them; more seeds find more than more machines."""

LARGE_ONE_IN = 50
"""One fleet in so many is large."""


START = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
"""A Monday, with no change of any clock for months."""


@dataclass(frozen=True)
class Fleet:
    """What a simulation begins with."""

    azure: dict[str, Any]
    """azsim's fleet file."""
    subscriptions: Sequence[Object]
    policies: Sequence[Object]
    matrices: Mapping[str, str] = field(default_factory=dict)
    """Support matrices of the organisation's own: the text by the name of its ConfigMap."""
    truths: Mapping[str, Truth] = field(default_factory=dict)
    """What each machine is, by its key."""
    start: datetime = START
    pace: Pace = DAYS


VM_TYPE, ARC_TYPE = "Microsoft.Compute/virtualMachines", "Microsoft.HybridCompute/machines"


def machine_id(name: str, subscription: int = 1, group: str = GROUP) -> str:
    """A machine's resource id."""
    return (
        f"/subscriptions/{subscription_id(subscription)}/resourceGroups/{group}"
        f"/providers/{VM_TYPE}/{name}"
    )


def draw(random: Random, *, large: bool) -> Fleet:
    """A fleet of 3 to 20 machines, or some hundred, in one or two subscriptions."""
    # Most are small: what can go wrong needs few machines, and two policies that share them.
    count = (
        random.randint(30, 80) if large else random.choice((3, 3, 3, 3, 4, 4, 4, 5, 5, 6, 8, 20))
    )
    subscriptions = random.choice((1, 1, 2))
    names = [f"vm-{number}" for number in range(1, count + 1)]
    drawn = [_machine(random, name, subscriptions) for name in names]
    texts = {f"matrix-{number}": matrices.own(random) for number in range(1, subscriptions + 1)}
    owned = [declared(random, number) for number in range(1, subscriptions + 1)]
    return Fleet(
        azure={
            "principals": [operator(range(1, subscriptions + 1))],
            "subscriptions": [
                *(
                    subscription(number, random.choice(FEATURES))
                    for number in range(1, subscriptions + 1)
                ),
                vault(),
            ],
            "machines": [machine for machine, _ in drawn],
            "resourceGraph": {
                "lag": f"{random.choice((5, 20, 60))}s",
                "tailLag": f"{random.choice((2, 10))}m",
                "tailShare": random.choice((0, 0.05, 0.3)),
            },
        },
        subscriptions=owned,
        policies=list(_policies(random, drawn)),
        matrices={
            name: text
            for name, text in texts.items()
            if any(name in str(raw["spec"].get("supportMatrixRef")) for raw in owned)
        },
        truths={id_of(machine).lower(): truth_of(machine, built) for machine, built in drawn},
    )


def operator(subscriptions: Iterable[int]) -> dict[str, Any]:
    """Who the operator is to azsim: owner of these subscriptions, and nobody elsewhere."""
    return {
        "name": OPERATOR,
        "clientId": OPERATOR_CLIENT,
        "tenantId": TENANT,
        "secret": OPERATOR_SECRET,
        "roleAssignments": [
            {"scope": f"/subscriptions/{subscription_id(number)}", "role": "Owner"}
            for number in subscriptions
        ],
    }


def subscription(number: int, features: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A subscription of the fleet file; the first has the gallery that serves all."""
    return {
        "id": subscription_id(number),
        "features": list(features),
        "resourceGroups": [images.nodes_group(number)],
        "galleries": [images.gallery(images.GALLERY, images.DEFINITIONS)] if number == 1 else [],
    }


def vault() -> dict[str, Any]:
    """The subscription whose gallery the operator may not read."""
    return {
        "id": subscription_id(images.VAULT_SUBSCRIPTION),
        "galleries": [images.gallery(images.VAULT, images.SEALED)],
    }


def id_of(machine: Mapping[str, Any]) -> str:
    """The resource id of a machine of the fleet file."""
    id_ = machine_id(machine["name"], int(machine["subscription"][-12:]), machine["group"])
    return id_ if "arc" not in machine else id_.replace(VM_TYPE, ARC_TYPE)


def truth_of(machine: Mapping[str, Any], built: Built) -> Truth:
    """What it is: its kind, and its guest."""
    guest = machine["guest"]
    return replace(
        built.truth,
        os_name=guest.get("os"),
        os_version=guest.get("osVersion"),
        detects=images.detected(guest),
    )


# --- machines -------------------------------------------------------------------------------------


def patch(random: Random, number: int, *, windows: bool = False) -> dict[str, Any]:
    """A patch that a guest lacks."""
    made: dict[str, Any] = {
        "name": f"package-{number}",
        "classification": random.choice(("Security", "Critical", "Security", "Other")),
        "rebootBehavior": random.choice(
            ("NeverReboots", "NeverReboots", "AlwaysRequiresReboot", "CanRequestReboot")
        ),
    }
    if windows:
        return {**made, "kbId": f"50{number:05d}"}
    return {**made, "version": f"1.{number}"}


def guest(random: Random, *, windows: bool = False, missing: tuple[int, int] = (0, 5)) -> Raw:
    """What runs on a machine: what it lacks, how long it takes, what it fails at."""
    made: Raw = {
        "missing": [
            patch(random, number, windows=windows)
            for number in random.sample(range(50), random.randint(*missing))
        ],
        "durations": {
            "assess": f"{random.randint(20, 120)}s",
            "prepare": f"{random.randint(10, 60)}s",
            "perPatch": f"{random.randint(10, 90)}s",
            "reboot": f"{random.randint(60, 300)}s",
        },
    }
    if random.random() < 0.3:
        made["assessedAgo"] = f"{random.randint(1, 160)}h"
    if random.random() < 0.1:
        made["rebootPending"] = True
    if random.random() < 0.2:
        made["failures"] = {**_failure(random), "times": 1}
    return made


def _machine(random: Random, name: str, subscriptions: int) -> tuple[Raw, Built]:
    built = images.draw(random)
    inside = guest(random, windows=built.windows)
    if built.arc:
        return _server(random, name, subscriptions, built, inside), built
    if random.random() < 0.07:
        inside["patchable"] = False
    elif random.random() < 0.12:
        inside["detected"] = random.choice(("Unknown", "Absent", "UnableToDetermine"))
    if random.random() < 0.6:
        inside["os"], inside["osVersion"] = random.choice(images.SYSTEMS[built.truth.os_type])
    machine = {
        "name": name,
        "subscription": subscription_id(random.randint(1, subscriptions)),
        "group": random.choice((GROUP, GROUP, GROUP, OTHER_GROUP)),
        "osType": built.truth.os_type,
        "image": dict(built.image),
        **built.fields,
        "guest": inside,
    }
    return machine, built


def _server(
    random: Random, name: str, subscriptions: int, built: Built, guest: dict[str, Any]
) -> dict[str, Any]:
    """An Azure Arc-enabled server. Of those that are cut off nobody hears as long as it lasts."""
    guest["os"], guest["osVersion"] = images.SYSTEMS[built.truth.os_type][0]
    cut_off = random.random() < 0.1
    return {
        "name": name,
        "subscription": subscription_id(random.randint(1, subscriptions)),
        "group": random.choice((GROUP, GROUP, GROUP, OTHER_GROUP)),
        "osType": built.truth.os_type,
        "arc": {"status": "Disconnected"} if cut_off else {},
        "guest": guest,
    }


def _failure(random: Random) -> dict[str, Any]:
    return random.choice(
        (
            {"assessFails": True},
            {"failingPatches": ["package-*"]},
            {"failingPatches": ["package-*"]},
            {"internalError": True},
            {"internalError": True},
            {"exceedsWindow": True},
            {"noResult": True},
            {"assessNoResult": True},
            {"agentLost": True},
        )
    )


# --- custom resources -----------------------------------------------------------------------------


def _object(kind: Kind, metadata: dict[str, Any], spec: dict[str, Any]) -> Object:
    return {
        "apiVersion": f"{kind.group}/{kind.version}",
        "kind": kind.kind,
        "metadata": metadata,
        "spec": spec,
    }


def declared(random: Random, number: int) -> Object:
    """The AzureSubscription of a subscription."""
    return _object(
        AZURE_SUBSCRIPTION,
        {"name": f"sub-{number}"},
        {
            "subscriptionId": subscription_id(number),
            "tenantId": TENANT,
            "identity": {
                "type": "ClientSecret",
                "clientId": OPERATOR_CLIENT,
                "secretRef": {"name": SECRET_NAME},
            },
            **matrices.drawn(random, number),
            "previewFeature": {"mode": random.choice(("Check", "Check", "Ignore"))},
            "grants": grants("Patch"),
            **({"arcBilling": "Accepted"} if random.random() < 0.85 else {}),
        },
    )


def grants(access: str) -> list[dict[str, Any]]:
    """What the namespaces may do."""
    return [{"name": "all", "namespaces": {"names": list(NAMESPACES)}, "access": access}]


def registers(subscription: Object) -> bool:
    """Whether azpatch registers the preview feature there."""
    return bool(subscription["spec"]["previewFeature"]["mode"] == "Register")


def policy(random: Random, name: str, namespace: str, target: dict[str, Any]) -> Object:
    """A policy that installs."""
    return _object(
        PATCH_POLICY,
        {"name": name, "namespace": namespace},
        {
            "target": target,
            "assessment": {
                "maxAge": f"{random.choice((4, 12, 24))}h",
                "probeUnsupported": random.random() < 0.2,
            },
            "install": {
                "linux": {"classificationsToInclude": ["Critical", "Security"]},
                "windows": {"classificationsToInclude": ["Critical", "Security"]},
                "rebootSetting": random.choice(("IfRequired", "IfRequired", "Never", "Always")),
                "maximumDuration": random.choice(("PT1H", "PT2H")),
                "onUndeterminedSupport": random.choice(("Wait", "Try")),
            },
            "schedule": {"always": {}},
            "rollout": {"maxUnavailable": random.choice((1, 2, "50%", "100%"))},
        },
    )


def _policies(random: Random, machines: Sequence[tuple[dict[str, Any], Built]]) -> Iterator[Object]:
    """A policy for each usual image, one for each machine of any other, and some for a single
    machine; they overlap."""
    for name, built in images.USUAL.items():
        target = {"galleryImage": {"id": built.target}}
        yield policy(random, f"image-{name}", random.choice(NAMESPACES), target)
    others = [machine for machine, built in machines if built not in images.USUAL.values()]
    for machine in others:
        yield _single(random, f"other-{machine['name']}", machine)
    for number in range(random.randint(0, 2)):
        yield _single(random, f"single-{number}", random.choice(machines)[0])


def _single(random: Random, name: str, machine: Mapping[str, Any]) -> Object:
    kind = "arcMachine" if "arc" in machine else "virtualMachine"
    target = {kind: {"id": id_of(machine)}}
    return policy(random, name, random.choice(NAMESPACES), target)
