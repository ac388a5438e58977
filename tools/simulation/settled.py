"""What only a simulation can ask: did every machine get there?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Any

from azpatch.kube.port import AZURE_SUBSCRIPTION, PATCH_POLICY, PATCH_TARGET, Object
from azsim.arcmachine import ArcMachine
from simulation.permissions import Declarations
from simulation.run_settled import SHUT, WAITS, never_ends, under_way, waits_rightly
from simulation.spread import Groups
from simulation.support import SupportRules
from simulation.targets import conditions_of, machine_of, max_unavailable, owned, with_terms_of
from simulation.world import World

TERMINAL = frozenset(
    {
        "AssessOnly",
        "Suspended",
        "NothingInstallable",
        "AttemptsExhausted",
        "OSNotSelected",
        "RebootPending",
        "UbuntuProRequired",
        "GovernedElsewhere",
        "VMStopped",
        "AgentNotReady",
        "NotBack",
        "ResultUnknown",
        "InstallFailed",
    }
)
"""Reasons with which a machine may be left alone."""

CUT_OFF = frozenset({"ArcDisconnected", "ArcExpired", "ArcError"})
"""Likewise, of an Azure Arc-enabled server that Azure does not hear."""

REFUSALS = frozenset(
    {
        "AKSNode",
        "ArcBillingNotAccepted",
        "DetectedUnsupported",
        "ImageNotSupported",
        "ImageUnknown",
        "NoMarketplaceRule",
        "PreviewFeatureNotRegistered",
        "PreviewFeatureUndetermined",
        "ScaleSetMember",
        "SystemNotListed",
        "UnableToDetermine",
        "WindowsClient",
    }
)
"""Likewise, unless the documents and the truth about the machine say that it can be patched."""


def unsettled(
    world: World, support: SupportRules, declarations: Declarations, *, patient: bool
) -> Iterator[tuple[str, str]]:
    """(machine key, what is still to come) for every machine that is not where it belongs. One that
    waits for its window is, as long as that is shut, and unless `patient` an install that is to be
    tried again in the next."""
    subscriptions = {
        raw["spec"]["subscriptionId"].lower() for raw in world.api.list(AZURE_SUBSCRIPTION)
    }
    targets = world.api.list(PATCH_TARGET)
    for target in targets:
        machine = target["spec"]["machineId"].lower()
        status = target.get("status") or {}
        if machine.split("/")[2] not in subscriptions:
            continue
        if _waits_for_others(world, target, targets):
            continue
        if machine not in world.cloud.machines:
            yield machine, "the machine is deleted, and its PatchTarget is not"
        elif status.get("operation"):
            yield machine, f"{status['operation']['kind']} in flight"
        elif _replaced(world, machine, status):
            yield machine, "its status is of the machine that had the name before"
        elif not never_ends(world, machine):
            left = None if _shut(target, declarations) else _left(world, support, target)
            if left is not None and (patient or not _tomorrow(status)):
                yield machine, left


def waits_for_its_time(target: Object) -> bool:
    """It says that no window is open that is long enough, or that a freeze holds."""
    return any(c["type"] == "Ready" and c["reason"] in SHUT for c in conditions_of(target))


def _shut(target: Object, declarations: Declarations) -> bool:
    return waits_for_its_time(target) and not declarations.may_start(target, timedelta(0))


def _replaced(world: World, machine: str, status: dict[str, Any]) -> bool:
    """The next refresh of the inventory tells those that do not look at the machine themselves."""
    known = (status.get("machine") or {}).get("vmId", "").lower()
    return bool(known) and known != world.cloud.machines[machine].vm_id.lower()


def _tomorrow(status: dict[str, Any]) -> bool:
    """An install did not end well, and the next window is known."""
    ready = any(c["reason"] == "RetryLater" for c in status.get("conditions", ()))
    return ready and (status.get("attempts") or {}).get("retryAfter") is not None


def _waits_for_others(world: World, target: Object, targets: Iterable[Object]) -> bool:
    """All slots of its policy, or of a group of its, are held by machines that need a person."""
    if not any(c["reason"] == "WaitingForSlot" for c in conditions_of(target)):
        return False
    meta = target["metadata"]
    policy = world.api.find(PATCH_POLICY, meta["namespace"], target["spec"]["policy"])
    siblings = [one for one in targets if policy is not None and owned(one, policy)]
    if policy is None:
        return False
    helpless = sum(_needs_a_person(world, one) for one in siblings)
    run = under_way(world, policy)
    if helpless >= max_unavailable(policy, siblings, run):
        return True
    stuck = {machine_of(one) for one in targets if _needs_a_person(world, one)}
    groups = Groups(world.fleet).of(with_terms_of(run, policy), machine_of(target))
    return any(len(stuck & group.machines) >= group.limit for group in groups)


def _needs_a_person(world: World, target: Object) -> bool:
    machine = target["spec"]["machineId"].lower()
    status = target.get("status") or {}
    if machine not in world.cloud.machines or status.get("governs") is False:
        return False
    reasons = {c["reason"] for c in conditions_of(target)}
    return never_ends(world, machine) or bool(reasons & {"NotBack", "ResultUnknown"})


def _left(world: World, support: SupportRules, target: Object) -> str | None:
    machine = machine_of(target)
    conditions = {c["type"]: c for c in conditions_of(target)}
    compliant, ready = conditions.get("Compliant"), conditions.get("Ready")
    if compliant is None or ready is None:
        return "nothing is decided"
    if compliant["status"] == "True":
        return None
    reasons = {compliant["reason"], ready["reason"]}
    if "AssessmentFailed" in reasons and not world.cloud.machines[machine].spec.guest.patchable:
        return None
    if reasons & TERMINAL:
        return None
    if ready["reason"] in WAITS and waits_rightly(world, target, ready["reason"]):
        return None
    if reasons & REFUSALS and not support.may_install(target):
        return None
    found = world.cloud.machines[machine]
    if reasons & CUT_OFF and isinstance(found, ArcMachine) and not found.heard:
        return None
    return f"Compliant={compliant['status']}/{compliant['reason']}, Ready={ready['reason']}"
