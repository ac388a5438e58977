"""Where in the protocol each machine is, by what the API server holds and azsim's journal shows."""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import StrEnum
from typing import Any

from azpatch.kube.port import PATCH_TARGET, Object
from azsim.journal import Entry, EventEntry, RequestEntry
from simulation.apiserver import ApiServer, WatchEvent

MACHINE = re.compile(
    r"/subscriptions/[^/]+/resourcegroups/[^/]+/providers"
    r"/microsoft\.(?:compute/virtualmachines|hybridcompute/machines)/[^/]+"
)
"""The path of a machine of either kind, in lower case."""

PATCH_VERBS = ("assesspatches", "installpatches")


class Step(StrEnum):
    """The steps of an operation, between which the operator can die and the world can change."""

    BEFORE_INTENT = "before intent"
    """Nothing is in flight; the machine is looked at before it is."""
    INTENT = "intent"
    """The intent is written, and the POST has not arrived at Azure."""
    POSTED = "posted"
    """The POST has arrived, and its answer is not written down."""
    STARTED = "started"
    """What Azure answered, or that it did not, is written down; the guest is at work."""
    RESULT_UNREAD = "result unread"
    """The guest has ended, and the PatchTarget does not say so."""
    REASSESSING = "re-assessing"
    """The install's result is written, and the assessment that it needs has not ended."""


Entered = Callable[[str, Step], None]
"""Told of the machine's key and of the step that it enters."""


class Steps:
    """Follows every machine."""

    def __init__(self, api: ApiServer) -> None:
        self._api = api
        self._now: dict[str, Step] = {}
        self._targets: dict[str, dict[str, Object]] = {}
        self._arrived: set[str] = set()
        self._operation: dict[str, str] = {}
        """Operation in the guest, by attempt."""
        self._ended: set[str] = set()
        self.listeners: list[Entered] = []
        api.watchers.append(self._changed)

    def of(self, machine: str) -> Step:
        """Where a machine is."""
        return self._now.get(machine, Step.BEFORE_INTENT)

    def read(self, entry: Entry) -> None:
        """An entry of azsim's journal."""
        if isinstance(entry, RequestEntry):
            path = entry.path.lower()
            machine, _, verb = path.rpartition("/")
            if entry.method == "POST" and verb in PATCH_VERBS and entry.client_request_id:
                self._arrived.add(entry.client_request_id)
                self._update(machine)
            elif entry.method == "GET" and MACHINE.fullmatch(path):
                self._looked_at(path)
        elif isinstance(entry, EventEntry) and entry.operation_id is not None:
            if entry.event == "OperationStarted" and entry.attempt_id:
                self._operation[entry.attempt_id] = entry.operation_id
            elif entry.event == "OperationEnded":
                self._ended.add(entry.operation_id)
                self._update(entry.resource.lower())

    def _looked_at(self, machine: str) -> None:
        """The look before an intent."""
        if self.of(machine) is Step.BEFORE_INTENT and machine in self._targets:
            self._tell(machine, Step.BEFORE_INTENT)

    def _changed(self, event: WatchEvent) -> None:
        if event.kind != PATCH_TARGET:
            return
        machine = event.object["spec"]["machineId"].lower()
        uid = event.object["metadata"]["uid"]
        targets = self._targets.setdefault(machine, {})
        if event.change == "DELETED":
            targets.pop(uid, None)
        else:
            targets[uid] = event.object
        self._update(machine)

    def _update(self, machine: str) -> None:
        before, now = self.of(machine), self._work_out(machine)
        if before is not now:
            self._now[machine] = now
            if now is not Step.BEFORE_INTENT:
                self._tell(machine, now)

    def _tell(self, machine: str, step: Step) -> None:
        for listener in self.listeners:
            listener(machine, step)

    def _work_out(self, machine: str) -> Step:
        targets = self._targets.get(machine, {}).values()
        statuses = [target.get("status") or {} for target in targets]
        in_flight = next((s for s in statuses if s.get("operation")), None)
        if in_flight is None:
            due = any(map(reassessment_due, statuses))
            return Step.REASSESSING if due else Step.BEFORE_INTENT
        if reassessment_due(in_flight):
            return Step.REASSESSING
        operation = in_flight["operation"]
        attempt = operation["attemptId"]
        guest = operation.get("operationId") or self._operation.get(attempt)
        if guest in self._ended:
            return Step.RESULT_UNREAD
        if operation["state"] != "Intent":
            return Step.STARTED
        return Step.POSTED if attempt in self._arrived else Step.INTENT


def reassessment_due(status: dict[str, Any]) -> bool:
    """An install has ended, and no assessment began after it."""
    installation, assessment = status.get("installation"), status.get("assessment")
    if installation is None:
        return False
    if assessment is None:
        return True
    return str(assessment.get("startTime") or assessment["time"]) < str(installation["time"])
