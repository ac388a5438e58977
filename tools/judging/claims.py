"""Invariant 9: what a PatchTarget's status says of operations is what azsim's journal shows."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from judging.azure_journal import Event, Journal, Kind, Operation, is_arc, name_of

READ = timedelta(minutes=10)
"""How long after its end the refusal of an operation may be read."""

CLOCK_STEP = timedelta(seconds=1)
"""By how much a time in status may differ from the journal's: their last digits are cut."""


def status_claims_nothing_else(
    journal: Journal,
    targets: Iterable[Mapping[str, Any]],
    ours: Collection[str] | None = None,
) -> list[str]:
    """9: what a PatchTarget says of assessments and installs is what the journal shows. With `ours`
    given, compliance need not know of what others installed."""
    broken = []
    for target in targets:
        machine = target["spec"]["machineId"].lower()
        claims = _Claims(journal, machine, target, ours)
        where = f"{target['metadata'].get('namespace')}/{name_of(machine)}"
        broken += [f"{where}: {claim}" for claim in claims.untrue()]
    return broken


_COUNTS = {
    "installed": "installedPatchCount",
    "failed": "failedPatchCount",
    "pending": "pendingPatchCount",
    "notSelected": "notSelectedPatchCount",
    "excluded": "excludedPatchCount",
}
"""Field of status.installation → the journal's name for it."""


class _Claims:
    """One PatchTarget's claims."""

    def __init__(
        self,
        journal: Journal,
        machine: str,
        target: Mapping[str, Any],
        ours: Collection[str] | None,
    ) -> None:
        self._ours = ours
        self._operations = journal.operations(machine)
        self._begin = journal.entries[0].time if journal.entries else None
        self._attempts = {request.attempt_id for request in journal.posts(machine)}
        self._arc = is_arc(machine)
        unreached = _of_machine(journal, machine, "OperationUnreached")
        self._unreached = {event.operation_id: event.time for event in unreached}
        self._statuses = _of_machine(journal, machine, "StatusChanged")
        self._status = target.get("status") or {}
        self._made = datetime.fromisoformat(target["metadata"]["creationTimestamp"])

    def untrue(self) -> Iterator[str]:
        yield from self._assessment()
        yield from self._installation()
        yield from self._operation()
        yield from self._compliant()

    def _of(self, kind: Kind, id_: str | None) -> Operation | None:
        return next(
            (one for one in self._operations if one.kind == kind and same(one.id, id_)), None
        )

    def _assessment(self) -> Iterator[str]:
        claim = self._status.get("assessment")
        if claim is None or claim["status"] == "Unknown":
            return
        time = datetime.fromisoformat(claim["time"])
        if self._begin is None or time < self._begin:
            return
        ended = [one for one in self._operations if one.kind == "Assess" and one.ended]
        if claim.get("activityId"):
            ended = [one for one in ended if same(one.id, claim["activityId"])]
        if self._concluded(claim):
            return
        if not any(
            same(one.status, claim["status"]) and (close(one.ended, time) or self._read(one, time))
            for one in ended
        ):
            yield f"no assessment {claim['status']} at {claim['time']}"

    def _read(self, failed: Operation, time: datetime) -> bool:
        """Where Azure's refusal is the end of an operation, it says of no time: told is when it was
        read."""
        refused = self._arc and same(failed.status, "Failed")
        return refused and failed.ended is not None and _is_read(failed.ended, time)

    def _concluded(self, claim: Mapping[str, Any]) -> bool:
        """It is what Azure concluded by itself: that an operation failed of which no agent heard,
        or one on an Arc-enabled server that it did not hear, whatever became of it in the guest
        after the last that was heard."""
        well = claim.get("outcome") in ("Succeeded", "Incomplete")
        if not same(claim["status"], "Failed") or claim.get("failed") or well:
            return False
        if claim.get("activityId") in self._unreached:
            return True
        if not self._arc:
            return False
        time = datetime.fromisoformat(claim["time"]) + CLOCK_STEP
        known = [event.details["after"] for event in self._statuses if event.time <= time]
        return bool(known) and known[-1] != "Connected"

    def _installation(self) -> Iterator[str]:
        claim = self._status.get("installation")
        if claim is None or self._concluded(claim):
            return
        shown = self._of("Install", claim.get("activityId"))
        if shown is None:
            yield from self._not_begun(claim)
        elif claim["outcome"] == "Superseded" and claim["status"] == "Unknown":
            installs = (one for one in self._operations if one.kind == "Install")
            if not any(one.first > shown.first for one in installs):
                yield f"{shown} was followed by nothing, but outcome Superseded"
        elif claim["outcome"] in ("Unknown", "Skipped"):
            return
        elif shown.ended is None:
            yield f"{shown} has no end, but outcome {claim['outcome']}"
        else:
            yield from self._result(claim, shown, shown.ended)

    def _not_begun(self, claim: Mapping[str, Any]) -> Iterator[str]:
        """Of an install whose activity is not known, or which no agent heard of: it failed."""
        activity, outcome = claim.get("activityId"), claim["outcome"]
        failed = outcome in ("Failed", "NotBack", "Unknown")
        if failed and activity in self._unreached:
            return
        if (failed or outcome == "Superseded") and self._refused(claim):
            return
        if activity or outcome not in ("Unknown", "Skipped"):
            yield f"no install {activity}, but outcome {outcome}"

    def _refused(self, claim: Mapping[str, Any]) -> bool:
        """Of one that failed as a whole on an Arc-enabled server no activity is told."""
        time = datetime.fromisoformat(claim["time"])
        if claim.get("activityId") or not self._arc:
            return False
        return any(_is_read(end, time) for end in self._unreached.values()) or any(
            one.kind == "Install" and self._read(one, time) for one in self._operations
        )

    def _result(self, claim: Mapping[str, Any], shown: Operation, ended: datetime) -> Iterator[str]:
        if not close(ended, datetime.fromisoformat(claim["time"])):
            yield f"install at {claim['time']}, in truth at {ended}"
        if not same(shown.status, claim["status"]):
            yield f"install {claim['status']}, in truth {shown.status}"
        if not shown.result.keys() & set(_COUNTS.values()):
            return  # It failed as a whole, and tells no counts; the machine may.
        for field, truth in _COUNTS.items():
            if claim.get(field, 0) != shown.result.get(truth, 0):
                yield f"{field} {claim.get(field, 0)}, in truth {shown.result.get(truth, 0)}"

    def _operation(self) -> Iterator[str]:
        claim = self._status.get("operation")
        if claim is None or claim["state"] == "Intent":
            return
        # Azure holds an operation for the agent of an Arc-enabled server that is silent.
        held = self._arc and claim["attemptId"] in self._attempts
        named = claim.get("operationId")
        if named and not held and not self._of(claim["kind"], named):
            yield f"no {claim['kind']} {named}"
        if claim["state"] == "Started" and claim["attemptId"] not in self._attempts:
            yield f"no request of attempt {claim['attemptId']}"

    def _compliant(self) -> Iterator[str]:
        for condition in self._status.get("conditions") or ():
            if condition["type"] != "Compliant" or condition["status"] != "True":
                continue
            installs = [
                one.last or 0
                for one in self._operations
                if one.kind == "Install"
                and (self._ours is None or one.principal in self._ours)
                # One that ended under another PatchTarget is to this one like somebody else's.
                and not (self._ours and one.ended and one.ended < self._made)
            ]
            since = max(installs, default=-1)
            fresh = any(
                one.kind == "Assess" and one.status == "Succeeded" and one.first > since
                for one in self._operations
            )
            if not fresh and installs:
                yield "Compliant, but no assessment succeeded since the last install"


def _is_read(end: datetime, time: datetime) -> bool:
    return end <= time <= end + READ


def _of_machine(journal: Journal, machine: str, name: str) -> list[Event]:
    return [event for event in journal.events(name) if event.resource == machine]


def same(one: str | None, other: str | None) -> bool:
    """Two ids or statuses, compared without case."""
    return one is not None and other is not None and one.lower() == other.lower()


def close(one: datetime | None, other: datetime) -> bool:
    """The same time, up to the digits that are cut."""
    return one is not None and abs(one - other) <= CLOCK_STEP
