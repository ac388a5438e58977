"""Judges a simulation while it runs, and at its end.

The invariants of the design, checked at every POST and every intent, by the same checkers that the
end-to-end tests use; and what only a simulation can ask: did every machine get there?
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextvars import Context
from datetime import datetime, timedelta
from typing import Any

from azpatch.kube.port import AZURE_SUBSCRIPTION, PATCH_POLICY, PATCH_TARGET, Object
from azsim.arcmachine import ArcMachine
from azsim.journal import Entry, EventEntry, RequestEntry
from azsim.records import Status
from judging import claims, invariants, registrations
from judging.azure_journal import Journal, Operation, parse
from simulation import fleets
from simulation.apiserver import WatchEvent
from simulation.permissions import Declarations
from simulation.steps import MACHINE, PATCH_VERBS
from simulation.support import SupportRules
from simulation.world import World

OURS = (fleets.OPERATOR,)

MACHINES_CHANGE = ("MachineDeleted", "MachineCreated", "StatusChanged", "AgentLost")
"""Events beside those of operations."""

SHOWN_EVERY = timedelta(seconds=20)
"""Between two looks at whether Resource Graph shows an operation."""

SHOWN_FOR = timedelta(hours=8)
"""For how long after its start that is followed."""

LAG = timedelta(seconds=6)
"""What may pass between a person's change and the intent of what is sent in spite of it: the
declarations are read once more right before, and an intent that stands 5 s later is dropped."""


class Violation(Exception):
    """An invariant is broken."""

    def __init__(self, invariant: str, details: str, machine: str | None = None) -> None:
        super().__init__(f"{invariant}: {details}")
        self.machine = machine


class Judge:
    """Watches one world. The first violation is kept; the simulation ends with it."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._entries: list[Any] = []
        self._registrations: list[Any] = []
        """What there is in the journal about preview features."""
        self._declarations = Declarations(world.api, world.clock.now)
        self.support = SupportRules(world, self._declarations)
        self._attempts: dict[str, str] = {}
        """Kind of each intent, by attempt."""
        self._not_to_be_sent: dict[str, tuple[str, str]] = {}
        """Invariant and reason, by attempt. An intent alone does nothing: a slow API server may
        take it when it was given up."""
        self._assessed_before = {
            machine.id.lower() for machine in world.cloud.machines.values() if machine.assessment
        }
        self._forgotten: list[tuple[str, int]] = []
        """(machine, entry): a PatchTarget of it went."""
        self._marked: set[str] = set()
        """uids of PatchTargets that are being deleted."""
        self._not_found: set[str] = set()
        """Machines for which ARM answered 404, truly or not."""
        self._shown: dict[str, datetime] = {}
        """Since when Resource Graph shows what others do on Arc-enabled servers."""
        self._graph_failed = False
        """Resource Graph was not itself at some time."""
        self.violation: Violation | None = None
        world.journal.listeners.append(self._entry)
        world.api.watchers.append(self._changed)

    # --- while it runs ----------------------------------------------------------------------------

    def _entry(self, entry: Entry) -> None:
        if isinstance(entry, EventEntry):
            if entry.operation_id is not None or entry.event in MACHINES_CHANGE:
                self._entries.append(parse(entry.to_json()))
            if entry.event == "FaultBegan" and entry.details["fault"].get("graph"):
                self._graph_failed = True
            if entry.event == registrations.CHANGED:
                self._registrations.append(parse(entry.to_json()))
            if entry.event == "OperationStarted":
                self._began(entry)
            return
        self._earned_429(entry)
        if entry.status == 404 and entry.method == "GET":
            self._not_found.add(entry.path.lower())
        if entry.method == "GET" and entry.status == 200 and MACHINE.fullmatch(entry.path.lower()):
            self._entries.append(parse(entry.to_json()))
        if entry.method == "POST" and "/features/" in entry.path:
            self._registered(entry)
        if entry.method == "POST" and entry.path.lower().rpartition("/")[2] in PATCH_VERBS:
            self._entries.append(parse(entry.to_json()))
            if entry.principal in OURS:
                self._sent(entry.client_request_id, entry.path.lower().rpartition("/")[0])

    def _sent(self, attempt: str | None, machine: str) -> None:
        """Every POST has an intent, and was allowed when that was written."""
        if attempt not in self._attempts:
            self._break("intent", "a POST without an intent before it", machine)
        elif attempt in self._not_to_be_sent:
            invariant, why = self._not_to_be_sent[attempt]
            self._break(invariant, why, machine)

    def _registered(self, entry: RequestEntry) -> None:
        """Nobody asks for a preview feature that is on its way already."""
        self._registrations.append(parse(entry.to_json()))
        broken = registrations.registered_once(Journal(self._registrations), OURS)
        self._all("a feature is registered once", broken)

    def _earned_429(self, entry: RequestEntry) -> None:
        if entry.status == 429 and entry.principal in OURS and entry.fault is None:
            self._break("10 budgets", f"Azure answered 429 to {entry.method} {entry.path}")

    def _began(self, entry: EventEntry) -> None:
        if entry.details.get("principal") not in OURS:
            self._follow(entry)
            return
        journal, machine = self.journal(), entry.resource.lower()
        self._all(
            "1 at most one",
            invariants.at_most_one_in_flight(journal, OURS, self._shown),
            machine,
        )
        self._all("5 evidence", self._evidence(journal, machine), machine)
        if entry.details["operation"] == "Install":
            self._needless(entry, machine)
            self._slots(journal, machine, entry.attempt_id)

    def _follow(self, entry: EventEntry) -> None:
        """Looks, as long as it matters, whether Resource Graph shows what somebody else does on an
        Arc-enabled server."""
        machine = self._world.cloud.machines[entry.resource.lower()]
        if not isinstance(machine, ArcMachine) or entry.operation_id is None:
            return
        id_ = entry.operation_id

        def look() -> None:
            now, shown = self._world.clock.now(), self._world.cloud.graph.shown(machine)
            there = shown is not None and (
                id_ in shown.installations
                or (shown.assessment is not None and shown.assessment.activity_id == id_)
            )
            if there:
                self._shown.setdefault(id_, now)
            else:
                self._shown.pop(id_, None)
            if now - entry.time < SHOWN_FOR:
                self._world.loop.call_later(SHOWN_EVERY.total_seconds(), look, context=Context())

        look()

    def _evidence(self, journal: Journal, machine: str) -> list[str]:
        """An install needs an assessment that succeeded, and a guest that Azure can patch."""
        found = self._world.cloud.machines.get(machine)
        patchable = found is None or found.spec.guest.patchable
        verdict = invariants.Verdict(
            machine,
            assess=True,
            install=patchable or found is None or found.spec.guest.detection != "Unsupported",
            assessed_before=machine in self._assessed_before,
        )
        return invariants.verdicts_kept(journal, [verdict], OURS, self._shown)

    def _needless(self, entry: EventEntry, machine: str) -> None:
        """An install of what the machine's last assessment does not find missing."""
        found = self._world.cloud.machines[machine]
        last, body = found.assessment, entry.details["body"]
        if last is None or last.status is not Status.SUCCEEDED:
            return
        asked = body.get(f"{found.os_type.value.lower()}Parameters") or {}
        classes = set(asked.get("classificationsToInclude", ()))
        reboots = last.reboot_pending and body["rebootSetting"] != "Never"
        if not reboots and not any(patch.classification in classes for patch in last.patches):
            self._break("5 evidence", "an install, although nothing is missing", machine)

    def _slots(self, journal: Journal, machine: str, attempt: str | None) -> None:
        """maxUnavailable of the policy whose install this is."""
        targets = self._targets()
        mine = next((t for t in targets if _attempt(t) == attempt), None)
        policy = mine and next((p for p in self._policies() if _owned(mine, p)), None)
        if policy is None:
            return
        siblings = [t for t in targets if _owned(t, policy)]
        others = [t for t in targets if not _owned(t, policy)]
        left = {machine_of(t) for t in others if self._leaving(t)}
        # What a third policy acts on is counted there, whoever else leaves the machine.
        left -= {machine_of(t) for t in others if _governs(t) and not self._leaving(t)}
        governed = {
            machine_of(t) for t in siblings if _governs(t) is not False or machine_of(t) in left
        }
        limit = max(
            max_unavailable(one, siblings) for one in self._declarations.lately(policy, LAG)
        )
        rollout = invariants.Rollout(policy["metadata"]["name"], frozenset(governed), limit)
        broken = invariants.max_unavailable_kept(
            journal, [rollout], OURS, journal.end, self._forgotten, self._shown
        )
        self._all("3 maxUnavailable", broken, machine)

    def _changed(self, event: WatchEvent) -> None:
        if event.kind != PATCH_TARGET:
            return
        target = event.object
        machine = target["spec"]["machineId"].lower()
        if event.change == "DELETED":
            self._lock_lost(target, machine)
            self._forgotten.append((machine, len(self._world.journal.entries)))
            return
        if target["metadata"].get("deletionTimestamp"):
            self._given_up(target, machine)
            return
        operation = (target.get("status") or {}).get("operation")
        if operation is None:
            return
        self._named(operation.get("operationId"), machine)
        if operation["attemptId"] in self._attempts:
            return
        self._attempts[operation["attemptId"]] = operation["kind"]
        if not target["metadata"].get("finalizers"):
            self._break("finalizer", "an intent on a PatchTarget without a finalizer", machine)
        kind, attempt = operation["kind"], operation["attemptId"]
        forbidden = self._declarations.forbidden(target, kind, LAG)
        if forbidden is not None:
            self._not_to_be_sent[attempt] = "2, 7 declared", f"{kind}, although {forbidden}"
        forbidden = self.support.forbidden(target, kind, self.journal(), LAG)
        if forbidden is not None:
            self._not_to_be_sent[attempt] = "5 support", f"{kind}, although {forbidden}"

    def _named(self, operation_id: str | None, machine: str) -> None:
        """An operation is called by its activity, and not by what its URL ends with."""
        found = self._world.cloud.operations.get(operation_id) if operation_id else None
        if found is not None and found.id.lower() != str(operation_id).lower():
            self._break("9 claims", f"operationId {operation_id}, in truth {found.id}", machine)

    def _lock_lost(self, target: Object, machine: str) -> None:
        """A PatchTarget went while an operation of ours is at work under it."""
        operation = (target.get("status") or {}).get("operation")
        going = [
            one
            for one in self.journal().operations(machine)
            if one.principal in OURS and one.last is None and self._young(one)
        ]
        if operation is not None and going:
            self._break("finalizer", f"the PatchTarget went under {going[0]}", machine)

    def _leaving(self, target: Object) -> bool:
        meta = target["metadata"]
        policy = self._world.api.find(PATCH_POLICY, meta["namespace"], target["spec"]["policy"])
        return bool(
            meta.get("deletionTimestamp")
            or policy is None
            or not _owned(target, policy)
            or policy["metadata"].get("deletionTimestamp")
        )

    def _given_up(self, target: Object, machine: str) -> None:
        """A PatchTarget is deleted although its machine is there and its policy wants it."""
        uid = target["metadata"]["uid"]
        if uid in self._marked or uid in self._world.deleted_by_hand:
            return
        self._marked.add(uid)
        if machine not in self._world.cloud.machines:
            return
        if machine in self._not_found:
            return
        if not self._declarations.ever_forbidden(target, "Assess", timedelta(minutes=30)):
            self._break("absence", "deleted, although the machine is there", machine)

    def _young(self, operation: Operation) -> bool:
        """Before any deadline."""
        return self._world.clock.now() - operation.started < timedelta(hours=2)

    # --- at the end -------------------------------------------------------------------------------

    def journal(self) -> Journal:
        """Azure's journal so far, as far as it is about patching."""
        return Journal(self._entries)

    def claims(self) -> None:
        """9: the status of every PatchTarget says what the journal shows."""
        broken = claims.status_claims_nothing_else(self.journal(), self._targets(), OURS)
        self._all("9 claims", broken)
        for target in self._targets():
            machine = machine_of(target)
            self._all("9 claims", list(self._of_another(target, machine)), machine)
            self._all("9 claims", list(self._not_read(target, machine)), machine)

    def _not_read(self, target: Object, machine: str) -> Iterator[str]:
        """An install whose result is said to be unknown, although Azure had it for an hour."""
        claim = (target.get("status") or {}).get("installation") or {}
        if claim.get("outcome") != "Unknown" or self._graph_failed:
            return
        journal, said = self.journal(), datetime.fromisoformat(claim["time"])
        silent = any(
            event.resource == machine for event in journal.events("StatusChanged", "AgentLost")
        )
        mine = [
            one
            for one in journal.operations(machine)
            if one.kind == "Install" and one.principal in OURS and one.started < said
        ]
        if silent or not mine or mine[-1].ended is None or mine[-1].status == "Deleted":
            return
        if said - mine[-1].ended > timedelta(hours=1):
            yield f"the result of {mine[-1]} is not known at {said}"

    def _of_another(self, target: Object, machine: str) -> Iterator[str]:
        """Claims about a machine that had the name before."""
        status, now = target.get("status") or {}, self._world.cloud.machines.get(machine)
        if now is None:
            return
        activity = (status.get("assessment") or {}).get("activityId")
        for operation in self.journal().operations(machine):
            if operation.id == activity and operation.vm_id != now.vm_id:
                yield f"{operation} was of a machine that is gone"

    def stuck(self, machine: str, why: str, machines: int) -> None:
        """6: a machine did not get there."""
        self._break("6 it gets there", f"{machines} machines are left, the first: {why}", machine)

    def _policies(self) -> list[Object]:
        return list(self._world.api.list(PATCH_POLICY))

    def _targets(self) -> list[Object]:
        return list(self._world.api.list(PATCH_TARGET))

    def _all(self, invariant: str, broken: list[str], machine: str | None = None) -> None:
        if broken:
            self._break(invariant, "; ".join(broken), machine)

    def _break(self, invariant: str, details: str, machine: str | None = None) -> None:
        if self.violation is None:
            self.violation = Violation(invariant, details, machine)
            self._world.story.tell("judge", f"VIOLATION {self.violation}")
            self._world.ended.set()


def machine_of(target: Object) -> str:
    """The key of its machine."""
    return str(target["spec"]["machineId"]).lower()


def _attempt(target: Object) -> str | None:
    """The attempt in flight on it."""
    operation = (target.get("status") or {}).get("operation") or {}
    return operation.get("attemptId")


def _governs(target: Object) -> bool | None:
    """None: not decided yet."""
    governs: bool | None = (target.get("status") or {}).get("governs")
    return governs


def _owned(target: Object, policy: Object) -> bool:
    uid = policy["metadata"]["uid"]
    return any(owner["uid"] == uid for owner in target["metadata"]["ownerReferences"])


def max_unavailable(policy: Object, targets: list[Object]) -> int:
    """A count, or a percentage of the governed machines that are supported, rounded down, but one
    at least."""
    value = policy["spec"].get("rollout", {}).get("maxUnavailable", "10%")
    if isinstance(value, int):
        return value
    supported = sum(map(_supported, targets))
    return max(1, math.floor(supported * int(value.removesuffix("%")) / 100))


def _supported(target: Object) -> bool:
    """Or installed on before, while new evidence is awaited."""
    status = target.get("status") or {}
    verdict = next(
        (v["verdict"] for v in status.get("verdicts", ()) if v["operation"] == "OnDemandPatching"),
        "Unknown",
    )
    if status.get("governs") is False or verdict == "Unsupported":
        return False
    return verdict == "Supported" or "installation" in status


# --- did it get there? ----------------------------------------------------------------------------

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


def unsettled(world: World, support: SupportRules, *, patient: bool) -> Iterator[tuple[str, str]]:
    """(machine key, what is still to come) for every machine that is not where it belongs. Unless
    `patient`, an install that is to be tried again in the next window is where it belongs."""
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
        elif not _never_ends(world, machine):
            left = _left(world, support, target)
            if left is not None and (patient or not _tomorrow(status)):
                yield machine, left


def _replaced(world: World, machine: str, status: dict[str, Any]) -> bool:
    """The next refresh of the inventory tells those that do not look at the machine themselves."""
    known = (status.get("machine") or {}).get("vmId", "").lower()
    return bool(known) and known != world.cloud.machines[machine].vm_id.lower()


def _tomorrow(status: dict[str, Any]) -> bool:
    """An install did not end well, and the next window is known."""
    ready = any(c["reason"] == "RetryLater" for c in status.get("conditions", ()))
    return ready and (status.get("attempts") or {}).get("retryAfter") is not None


def _waits_for_others(world: World, target: Object, targets: Iterable[Object]) -> bool:
    """All slots of its policy are held by machines that need a person."""
    conditions = (target.get("status") or {}).get("conditions", ())
    if not any(c["reason"] == "WaitingForSlot" for c in conditions):
        return False
    meta = target["metadata"]
    policy = world.api.find(PATCH_POLICY, meta["namespace"], target["spec"]["policy"])
    siblings = [one for one in targets if policy is not None and _owned(one, policy)]
    helpless = sum(_needs_a_person(world, one) for one in siblings)
    return policy is not None and helpless >= max_unavailable(policy, siblings)


def _needs_a_person(world: World, target: Object) -> bool:
    machine = target["spec"]["machineId"].lower()
    status = target.get("status") or {}
    if machine not in world.cloud.machines or status.get("governs") is False:
        return False
    reasons = {c["reason"] for c in status.get("conditions", ())}
    return _never_ends(world, machine) or bool(reasons & {"NotBack", "ResultUnknown"})


def _never_ends(world: World, machine: str) -> bool:
    """Its guest is at work on something that will have no result: a person must see to it."""
    task = world.cloud.guest(world.cloud.machines[machine]).task
    return task is not None and world.clock.now() - task.operation.start > timedelta(hours=5)


def _left(world: World, support: SupportRules, target: Object) -> str | None:
    machine, status = machine_of(target), target.get("status") or {}
    conditions = {c["type"]: c for c in status.get("conditions", ())}
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
    if reasons & REFUSALS and not support.may_install(target):
        return None
    found = world.cloud.machines[machine]
    if reasons & CUT_OFF and isinstance(found, ArcMachine) and not found.heard:
        return None
    return f"Compliant={compliant['status']}/{compliant['reason']}, Ready={ready['reason']}"
