"""Conditions as Kubernetes' conventions want them: one of each type, kept in order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from azpatch.api.common import Condition, ConditionType
from azpatch.api.reasons import Reason

Status = Literal["True", "False", "Unknown"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What a decision says of one condition, before it is dated."""

    type: ConditionType
    status: Status
    reason: Reason
    message: str


def unreadable(
    before: Sequence[Condition], why: str, generation: int, now: datetime
) -> tuple[Condition, ...]:
    """The conditions of an object that this version cannot read."""
    message = (
        f"This version of azpatch cannot read the object and does nothing with it: {why}. Upgrade "
        "azpatch, or write the object as this version has it."
    )
    findings = (
        Finding(ConditionType.READY, "False", Reason.INVALID_SPEC, message),
        Finding(ConditionType.STALLED, "True", Reason.INVALID_SPEC, message),
    )
    return merge(before, findings, generation, now)


def find(conditions: Iterable[Condition], type_: ConditionType) -> Condition | None:
    """The condition of this type."""
    return next((c for c in conditions if c.type == type_), None)


def merge(
    before: Sequence[Condition], findings: Iterable[Finding], generation: int, now: datetime
) -> tuple[Condition, ...]:
    """The conditions as the findings have them.

    A transition time changes only with the status, and has whole seconds, as Kubernetes writes
    them. A condition that no finding speaks of is gone.
    """
    merged = []
    for finding in findings:
        old = find(before, finding.type)
        same = old is not None and old.status == finding.status
        merged.append(
            Condition(
                type=finding.type,
                status=finding.status,
                reason=finding.reason,
                message=finding.message,
                observed_generation=generation,
                last_transition_time=old.last_transition_time
                if old and same
                else now.replace(microsecond=0),
            )
        )
    return tuple(merged)
