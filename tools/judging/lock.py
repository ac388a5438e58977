"""The lock on a machine, judged: what the API server had while an operation went on in Azure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from judging.azure_journal import Journal, Operation

FINALIZER = "azpatch.dev/operation"


@dataclass(frozen=True)
class Version:
    """A PatchTarget as a write left it."""

    time: datetime
    """When the write was asked for, in the journal's time; it was done a little later."""
    target: Mapping[str, Any]

    @property
    def key(self) -> str:
        """The machine."""
        return str(self.target["spec"]["machineId"]).lower()

    @property
    def uid(self) -> str:
        """Of the object."""
        return str(self.target["metadata"]["uid"])

    def holds(self, operation: Operation) -> bool:
        """Whether it is the lock for this operation, whole."""
        return self._recorded(operation) and FINALIZER in (
            self.target["metadata"].get("finalizers") or ()
        )

    def _recorded(self, operation: Operation) -> bool:
        recorded = (self.target.get("status") or {}).get("operation") or {}
        return bool(recorded.get("attemptId") == operation.attempt_id)


def lock_kept(journal: Journal, versions: Iterable[Version], ours: Collection[str]) -> list[str]:
    """No operation of ours goes on without its lock: a PatchTarget of the machine has the finalizer
    and the operation in its status, from before it began until it had ended. Versions that are
    younger than the journal are not judged: what ended meanwhile is not in it."""
    until = journal.entries[-1].time if journal.entries else None
    versions = sorted(
        (one for one in versions if until is not None and one.time <= until),
        key=lambda version: version.time,
    )
    return [
        complaint
        for operation in journal.operations()
        if operation.principal in ours
        for complaint in _judge(operation, _of(operation, versions))
    ]


def _of(operation: Operation, versions: Sequence[Version]) -> list[Version]:
    """The versions of the PatchTarget that was to hold this operation's lock."""
    locks = {one.uid for one in versions if one.key == operation.machine and one.holds(operation)}
    return [one for one in versions if one.uid in locks]


def _judge(operation: Operation, versions: Sequence[Version]) -> Iterator[str]:
    before = [one for one in versions if one.time <= operation.started]
    if not before or not before[-1].holds(operation):
        yield f"{operation}: began without its lock"
        return
    for version in versions:
        later = version.time > operation.started
        if later and _goes_on(operation, version.time) and not version.holds(operation):
            yield f"{operation}: lost its lock at {version.time:%H:%M:%S}"
            return


def _goes_on(operation: Operation, time: datetime) -> bool:
    return operation.ended is None or time < operation.ended
