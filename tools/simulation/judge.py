"""Judges a simulation while it runs, and at its end.

The invariants of the design, checked at every POST and every intent, by the same checkers that the
end-to-end tests use.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextvars import Context
from datetime import datetime, timedelta
from typing import Any

from azpatch.kube.port import PATCH_POLICY, PATCH_TARGET, Object
from azsim.arcmachine import ArcMachine
from azsim.journal import Entry, EventEntry, RequestEntry
from azsim.records import Status
from judging import claims, invariants, registrations
from judging.azure_journal import Journal, Operation, parse
from simulation import fleets
from simulation.apiserver import WatchEvent
from simulation.permissions import Declarations
from simulation.run_rules import RunRules
from simulation.settled import waits_for_its_time
from simulation.spread import Groups
from simulation.steps import MACHINE, PATCH_VERBS
from simulation.support import SupportRules
from simulation.targets import (
    attempt_of,
    governs,
    machine_of,
    max_unavailable,
    owned,
    with_terms_of,
)
from simulation.world import World

OURS = (fleets.OPERATOR,)

MACHINES_CHANGE = ("MachineDeleted", "MachineCreated", "StatusChanged", "AgentLost")
"""Events beside those of operations."""

SHOWN_EVERY = timedelta(seconds=20)
"""Between two looks at whether Resource Graph shows an operation."""

SHOWN_FOR = timedelta(hours=8)
"""For how long after its start that is followed."""

AWAKE = timedelta(minutes=10)
"""From when a window opens, or a schedule is changed, until whoever waits for it has seen that."""

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
        self._journal = Journal(())
        """Of as many of them as there were when it was last asked for."""
        self._registrations: list[Any] = []
        """What there is in the journal about preview features."""
        self.declarations = Declarations(world.api, world.clock.now, world.clock_errors)
        self.support = SupportRules(world, self.declarations)
        self._runs = RunRules(world, self.declarations, self.journal, self._all)
        self._groups = Groups(world.fleet)
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
        self._looks: list[Callable[[], None]] = []
        """Each looks whether an operation is among those."""
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
                for look in self._looks:
                    self._world.loop.call_soon(look, context=Context())
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
            self.broken("intent", "a POST without an intent before it", machine)
        elif attempt in self._not_to_be_sent:
            invariant, why = self._not_to_be_sent[attempt]
            self.broken(invariant, why, machine)

    def _registered(self, entry: RequestEntry) -> None:
        """Nobody asks for a preview feature that is on its way already."""
        self._registrations.append(parse(entry.to_json()))
        broken = registrations.registered_once(Journal(self._registrations), OURS)
        self._all("a feature is registered once", broken)

    def _earned_429(self, entry: RequestEntry) -> None:
        if entry.status == 429 and entry.principal in OURS and entry.fault is None:
            self.broken("10 budgets", f"Azure answered 429 to {entry.method} {entry.path}")

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
            self._runs.began(entry)

    def _follow(self, entry: EventEntry) -> None:
        """Looks, as long as it matters, whether Resource Graph shows what somebody else does on an
        Arc-enabled server."""
        machine = self._world.cloud.machines[entry.resource.lower()]
        if not isinstance(machine, ArcMachine) or entry.operation_id is None:
            return
        id_ = entry.operation_id

        def look() -> None:
            shown = self._world.cloud.graph.shown(machine)
            there = shown is not None and (
                id_ in shown.installations
                or (shown.assessment is not None and shown.assessment.activity_id == id_)
            )
            if there:
                self._shown.setdefault(id_, self._world.clock.now())
            else:
                self._shown.pop(id_, None)

        def follow() -> None:
            look()
            if self._world.clock.now() - entry.time < SHOWN_FOR:
                self._world.loop.call_later(SHOWN_EVERY.total_seconds(), follow, context=Context())
            else:
                self._looks.remove(look)

        self._looks.append(look)
        follow()

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
        """An install of what the machine's last assessment does not find missing: of packages that
        are asked for by version, in none, for an assessment tells the newest only."""
        found = self._world.cloud.machines[machine]
        last, body = found.assessment, entry.details["body"]
        if last is None or last.status is not Status.SUCCEEDED:
            return
        asked = body.get(f"{found.os_type.value.lower()}Parameters") or {}
        classes = set(asked.get("classificationsToInclude", ()))
        masks = asked.get("packageNameMasksToInclude", ())
        names = {mask.partition("=")[0] for mask in masks}
        reboots = last.reboot_pending and body["rebootSetting"] != "Never"
        wanted = (one.classification in classes or one.name in names for one in last.patches)
        if not reboots and not any(wanted):
            self.broken("5 evidence", "an install, although nothing is missing", machine)

    def _slots(self, journal: Journal, machine: str, attempt: str | None) -> None:
        """maxUnavailable of the policy whose install this is."""
        targets = self._targets()
        mine = next((t for t in targets if attempt_of(t) == attempt), None)
        policy = mine and next((p for p in self._policies() if owned(mine, p)), None)
        if policy is None:
            return
        siblings = [t for t in targets if owned(t, policy)]
        others = [t for t in targets if not owned(t, policy)]
        left = {machine_of(t) for t in others if self._has_left(t)}
        # What a third policy acts on is counted there, whoever else leaves the machine.
        left -= {machine_of(t) for t in others if governs(t) and not self._leaving(t)}
        governed = {
            machine_of(t) for t in siblings if governs(t) is not False or machine_of(t) in left
        }
        limit = max(
            max_unavailable(one, siblings, run)
            for one, run in self.declarations.lately(policy, LAG)
        )
        rollout = invariants.Rollout(policy["metadata"]["name"], frozenset(governed), limit)
        broken = invariants.max_unavailable_kept(
            journal, [rollout], OURS, journal.end, self._forgotten, self._shown
        )
        self._all("3 maxUnavailable", broken, machine)
        self._spread(journal, machine, policy)

    def _spread(self, journal: Journal, machine: str, policy: Object) -> None:
        """rollout.spread of the policy, as it is declared or was a moment ago: machines of all
        policies count."""
        broken = [
            invariants.max_unavailable_kept(
                journal,
                self._groups.of(with_terms_of(run, one), machine),
                OURS,
                journal.end,
                self._forgotten,
                self._shown,
            )
            for one, run in self.declarations.lately(policy, LAG)
        ]
        if all(broken):
            self._all("3 spread", broken[0], machine)

    def _changed(self, event: WatchEvent) -> None:
        if event.kind != PATCH_TARGET:
            return
        target = event.object
        machine = target["spec"]["machineId"].lower()
        if event.change == "DELETED":
            self._lock_lost(target, machine)
            if not any(map(_speaks_of_an_install, self._targets_on(machine))):
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
            self.broken("finalizer", "an intent on a PatchTarget without a finalizer", machine)
        kind, attempt = operation["kind"], operation["attemptId"]
        forbidden = self.declarations.forbidden(target, kind, LAG)
        if forbidden is not None:
            self._not_to_be_sent[attempt] = "2, 7 declared", f"{kind}, although {forbidden}"
        forbidden = self._runs.failed_too_often(target) if kind == "Install" else None
        if forbidden is not None:
            self._not_to_be_sent[attempt] = "3 maxFailed", f"{kind}, although {forbidden}"
        forbidden = self.support.forbidden(target, kind, self.journal(), LAG)
        if forbidden is not None:
            self._not_to_be_sent[attempt] = "5 support", f"{kind}, although {forbidden}"

    def _named(self, operation_id: str | None, machine: str) -> None:
        """An operation is called by its activity, and not by what its URL ends with."""
        found = self._world.cloud.operations.get(operation_id) if operation_id else None
        if found is not None and found.id.lower() != str(operation_id).lower():
            self.broken("9 claims", f"operationId {operation_id}, in truth {found.id}", machine)

    def _lock_lost(self, target: Object, machine: str) -> None:
        """A PatchTarget went while an operation of ours is at work under it."""
        operation = (target.get("status") or {}).get("operation")
        going = [
            one
            for one in self.journal().operations(machine)
            if one.principal in OURS and one.last is None and self._young(one)
        ]
        if operation is not None and going:
            self.broken("finalizer", f"the PatchTarget went under {going[0]}", machine)

    def _has_left(self, target: Object) -> bool:
        """Its policy is gone, and not just now."""
        key = (target["metadata"]["namespace"], target["spec"]["policy"])
        policies = [view[PATCH_POLICY].get(key) for view in self.declarations.views(LAG)]
        return self._leaving(target) and not any(
            policy and owned(target, policy) and not policy["metadata"].get("deletionTimestamp")
            for policy in policies
        )

    def _leaving(self, target: Object) -> bool:
        meta = target["metadata"]
        policy = self._world.api.find(PATCH_POLICY, meta["namespace"], target["spec"]["policy"])
        return bool(
            meta.get("deletionTimestamp")
            or policy is None
            or not owned(target, policy)
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
        if not self.declarations.ever_forbidden(target, "Assess", timedelta(minutes=30)):
            self.broken("absence", "deleted, although the machine is there", machine)

    def _young(self, operation: Operation) -> bool:
        """Before any deadline."""
        return self._world.clock.now() - operation.started < timedelta(hours=2)

    # --- at the end -------------------------------------------------------------------------------

    def journal(self) -> Journal:
        """Azure's journal so far, as far as it is about patching."""
        if len(self._journal.entries) != len(self._entries):
            self._journal = Journal(self._entries)
        return self._journal

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

    def waits(self) -> None:
        """9: whoever says to wait for a window, or for the end of a freeze, does."""
        for target in self._targets():
            if waits_for_its_time(target) and self.declarations.may_start(target, AWAKE):
                machine = machine_of(target)
                self.broken("9 claims", "it waits for a window, and one is open", machine)

    def stuck(self, machine: str, why: str, left: int) -> None:
        """6: a machine, or a run, did not get there."""
        self.broken("6 it gets there", f"{left} are left, the first: {why}", machine or None)

    def _policies(self) -> list[Object]:
        return list(self._world.api.list(PATCH_POLICY))

    def _targets(self) -> list[Object]:
        return list(self._world.api.list(PATCH_TARGET))

    def _targets_on(self, machine: str) -> list[Object]:
        return [target for target in self._targets() if machine_of(target) == machine]

    def _all(self, invariant: str, broken: list[str], machine: str | None = None) -> None:
        if broken:
            self.broken(invariant, "; ".join(broken), machine)

    def broken(self, invariant: str, details: str, machine: str | None = None) -> None:
        """An invariant is."""
        if self.violation is None:
            self.violation = Violation(invariant, details, machine)
            self._world.story.tell("judge", f"VIOLATION {self.violation}")
            self._world.ended.set()


def _speaks_of_an_install(target: Object) -> bool:
    """That is in flight, or of which nobody knows what it came to."""
    status = target.get("status") or {}
    operation, last = status.get("operation") or {}, status.get("installation") or {}
    return operation.get("kind") == "Install" or last.get("outcome") == "Unknown"
