"""Which of a policy's machines are a problem, what keeps azpatch from one, and which is worst."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from azpatch.api.common import Condition, ConditionType, Support
from azpatch.api.policy import Problem
from azpatch.api.reasons import Reason
from azpatch.domain.conditions import find
from azpatch.domain.policy_machines import PolicyMachine

_WORST_FIRST = (
    Reason.NOT_BACK,
    Reason.RESULT_UNKNOWN,
    Reason.ACCESS_LOST,
    Reason.ACCESS_MISSING,
    Reason.IDENTITY_FAILED,
    Reason.REJECTED,
    Reason.INSTALL_FAILED,
    Reason.ATTEMPTS_EXHAUSTED,
    Reason.NOTHING_INSTALLABLE,
    Reason.OPERATION_UNCONFIRMED,
    Reason.ASSESSMENT_FAILED,
    Reason.DETECTED_UNSUPPORTED,
    Reason.PREVIEW_FEATURE_NOT_REGISTERED,
    Reason.IMAGE_NOT_SUPPORTED,
    Reason.SCALE_SET_MEMBER,
    Reason.AKS_NODE,
    Reason.WINDOWS_CLIENT,
    Reason.UNABLE_TO_DETERMINE,
    Reason.NO_MARKETPLACE_RULE,
    Reason.SYSTEM_NOT_LISTED,
    Reason.IMAGE_UNKNOWN,
    Reason.PREVIEW_FEATURE_UNDETERMINED,
    Reason.SUPPORT_MATRIX_MISSING,
    Reason.TIME_ZONE_UNKNOWN,
    Reason.WINDOW_TOO_SHORT,
    Reason.ACCESS_TOO_LOW,
    Reason.ARC_BILLING_NOT_ACCEPTED,
    Reason.ARC_EXPIRED,
    Reason.ARC_ERROR,
    Reason.AGENT_NOT_READY,
    Reason.VM_STOPPED,
    Reason.ARC_DISCONNECTED,
    Reason.AZURE_SUBSCRIPTION_NOT_READY,
    Reason.INSTALL_INCOMPLETE,
    Reason.REBOOT_PENDING,
    Reason.NOT_ASSESSED,
    Reason.GOVERNED_ELSEWHERE,
)
"""The reasons that make a machine a problem; others pass by themselves. NotAssessed is
one only where no assessment comes by itself (`kept_by`)."""

PASSING = frozenset({Reason.VM_STOPPED, Reason.AGENT_NOT_READY, Reason.ARC_DISCONNECTED})
"""What keeps azpatch from a machine until the machine is there again."""

_KEPT = PASSING | {
    Reason.ACCESS_TOO_LOW,
    Reason.ARC_BILLING_NOT_ACCEPTED,
    Reason.ARC_EXPIRED,
    Reason.ARC_ERROR,
    Reason.SUPPORT_MATRIX_MISSING,
    Reason.PREVIEW_FEATURE_UNDETERMINED,
    Reason.UNABLE_TO_DETERMINE,
    Reason.NO_MARKETPLACE_RULE,
    Reason.SYSTEM_NOT_LISTED,
    Reason.IMAGE_UNKNOWN,
    Reason.NOT_ASSESSED,
}
"""Reasons of Ready for which a person, or evidence from elsewhere, must come first. What azpatch
tries again by itself within the hour, as after a 403, is none: its policy would come and go."""


def kept_by(machine: PolicyMachine) -> Reason | None:
    """What must come first, before azpatch does anything on a machine that is not compliant; None:
    nothing does, or nothing has to be done."""
    if machine.compliant == "True" or machine.status.operation is not None:
        return None
    ready = find(machine.status.conditions, ConditionType.READY)
    if ready is None:
        return None
    refused = machine.support is Support.UNSUPPORTED and ready.reason in _WORST_FIRST
    return Reason(ready.reason) if refused or ready.reason in _KEPT else None


def kept_from_assessing(machine: PolicyMachine) -> Reason | None:
    """What must come first, before a machine is assessed that is to be; None: nothing does. That it
    was not assessed is no reason."""
    ready = find(machine.status.conditions, ConditionType.READY)
    kept = ready is not None and ready.reason in _KEPT - {Reason.NOT_ASSESSED}
    return Reason(ready.reason) if ready is not None and kept else None


def worst_of(reasons: Iterable[Reason]) -> Reason:
    """The one that comes first in `problems`. ValueError without reasons."""
    return min(reasons, key=_rank)


def problems_of(machines: Sequence[PolicyMachine]) -> list[Problem]:
    """The machines that are a problem, each with its worst reason; the worst first."""
    ranked = []
    for machine in machines:
        worst = min(_troubling(machine), key=lambda c: _rank(c.reason), default=None)
        if worst is not None:
            ranked.append((_rank(worst.reason), machine.name, machine, worst))
    ranked.sort(key=lambda entry: entry[:2])
    return [
        Problem(machine_id=m.target.spec.machine_id, reason=c.reason, message=c.message)
        for _, _, m, c in ranked
    ]


def _troubling(machine: PolicyMachine) -> list[Condition]:
    kept = kept_by(machine)
    return [
        c
        for c in machine.status.conditions
        if (c.type == ConditionType.READY and c.reason == kept)
        or (c.status != "True" and c.reason in _WORST_FIRST and c.reason != Reason.NOT_ASSESSED)
    ]


def _rank(reason: str) -> int:
    return _WORST_FIRST.index(Reason(reason))
