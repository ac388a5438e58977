"""A policy's machines, as its slots, counts and conditions look at them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from azpatch.api.common import ConditionType, OperationName, Support
from azpatch.api.policy import PatchPolicy, PatchPolicySpec, PolicyMachines
from azpatch.api.reasons import Reason
from azpatch.api.rollout import share_of
from azpatch.api.target import Outcome, PatchTarget, PatchTargetStatus
from azpatch.domain.attempts import OVERDUE_AFTER, WINDOW, overdue
from azpatch.domain.conditions import Status, find
from azpatch.domain.opening import Timing

_FAILED = (Outcome.FAILED, Outcome.NOT_BACK, Outcome.UNKNOWN)


@dataclass(frozen=True, slots=True)
class PolicyMachine:
    """One PatchTarget, as the counts look at it."""

    target: PatchTarget
    status: PatchTargetStatus
    governed: bool
    support: Support
    skipped: bool
    compliant: Status

    @property
    def name(self) -> str:
        """The machine's own name."""
        return self.target.spec.machine_id.rstrip("/").rsplit("/", 1)[-1]


def operation_of(spec: PatchPolicySpec) -> OperationName:
    """The operation that the policy's counts speak of."""
    if spec.install is not None:
        return OperationName.ON_DEMAND_PATCHING
    return OperationName.ON_DEMAND_ASSESSMENT


def holds_slots(target: PatchTarget) -> bool:
    """A machine counts for the policy that acts on it, or whose operation is still in flight."""
    return target.status.governs is not False or target.status.operation is not None


def slot_limit(policy: PatchPolicy, targets: Sequence[PatchTarget]) -> int:
    """maxUnavailable of the governed machines that are Supported, without those that leave: when
    they are gone, the share must not have been taken of them too."""
    machines = machines_of(policy, [t for t in targets if t.metadata.deletion_timestamp is None])
    return share_of(sum(map(_counts_as_supported, machines)), policy.spec.max_unavailable)


def _counts_as_supported(machine: PolicyMachine) -> bool:
    """One that was installed on is of the rollout, also while its new evidence is awaited: the
    share must not shrink by the very machines that take it up."""
    if not machine.governed or machine.support is Support.UNSUPPORTED:
        return False
    return machine.support is Support.SUPPORTED or machine.status.installation is not None


def machines_of(policy: PatchPolicy, targets: Sequence[PatchTarget]) -> list[PolicyMachine]:
    """Every machine under the policy, by name of its PatchTarget."""
    operation = operation_of(policy.spec)
    machines = []
    for target in sorted(targets, key=lambda t: t.metadata.name):
        supported = next(
            (v.verdict for v in target.status.verdicts if v.operation is operation),
            Support.UNKNOWN,
        )
        compliant = find(target.status.conditions, ConditionType.COMPLIANT)
        machines.append(
            PolicyMachine(
                target,
                target.status,
                governed=target.status.governs is not False,
                support=supported,
                skipped=compliant is not None and compliant.reason == Reason.OS_NOT_SELECTED,
                compliant=compliant.status if compliant else "Unknown",
            )
        )
    return machines


def counts(machines: Sequence[PolicyMachine], timing: Timing) -> PolicyMachines:
    """The machines in numbers. `timing`: since when who has been due is overdue."""
    governed = [m for m in machines if m.governed]
    counted = [m for m in governed if not m.skipped]
    support = Counter(m.support for m in counted)
    return PolicyMachines(
        matched=len(machines),
        governed=len(governed),
        supported=support[Support.SUPPORTED],
        unsupported=support[Support.UNSUPPORTED],
        unknown=support[Support.UNKNOWN],
        skipped=len(governed) - len(counted),
        compliant=sum(m.compliant == "True" for m in counted),
        non_compliant=sum(m.compliant == "False" for m in counted),
        in_progress=sum(m.status.operation is not None for m in machines),
        failed=sum(_failed(m.status) for m in governed),
        overdue=sum(_overdue(m.status, timing) for m in governed),
        conflicts=len(machines) - len(governed),
    )


def _overdue(status: PatchTargetStatus, timing: Timing) -> bool:
    """By the windows of the wave that its last run had it in."""
    wave = status.run.wave if status.run else None
    return overdue(status.attempts, timing.overdue_since_in(wave))


def next_overdue(
    policy: PatchPolicy, targets: Iterable[PatchTarget], now: datetime
) -> datetime | None:
    """With schedule.always, when the next machine is overdue if it is due until then. With windows
    some are from when one ends, which `Timing.holds_until` tells."""
    if policy.spec.schedule is None or policy.spec.runs:
        return None
    due = (one.status.attempts.due_since for one in targets if one.status.attempts)
    at = (since + OVERDUE_AFTER * WINDOW for since in due if since is not None)
    return min((one for one in at if one > now), default=None)


def _failed(status: PatchTargetStatus) -> bool:
    return status.installation is not None and status.installation.outcome in _FAILED
