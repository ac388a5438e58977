"""Which machines are unavailable, and so take up a slot of maxUnavailable."""

from __future__ import annotations

from collections.abc import Sequence

from azpatch.api.common import ConditionType
from azpatch.api.reasons import Reason
from azpatch.api.target import OperationKind, Outcome, PatchTargetStatus
from azpatch.domain.conditions import find
from azpatch.domain.facts import GuestStatus

_HOLDING = (Outcome.FAILED, Outcome.NOT_BACK, Outcome.UNKNOWN, Outcome.SUPERSEDED)
"""Outcomes that keep the slot until a later assessment succeeds: what such a machine is up to is
not known."""

_WELL = (GuestStatus.SUCCEEDED, GuestStatus.COMPLETED_WITH_WARNINGS)


def went_well(status: str) -> bool:
    """Whether an assessment with this status of Azure's tells what is missing."""
    return status in _WELL


def installing(status: PatchTargetStatus) -> bool:
    """Our install is in flight, or may be."""
    return status.operation is not None and status.operation.kind is OperationKind.INSTALL


def reassessment_due(status: PatchTargetStatus) -> bool:
    """The last install has ended and no assessment that ended since began after it."""
    installation, assessment = status.installation, status.assessment
    if installation is None or installation.outcome is Outcome.SKIPPED:
        return False
    return assessment is None or assessment.began < installation.time


def held_by_failure(status: PatchTargetStatus) -> bool:
    """The last install ended badly, and no assessment succeeded since."""
    installation, assessment = status.installation, status.assessment
    if installation is None or installation.outcome not in _HOLDING:
        return False
    return reassessment_due(status) or assessment is None or not went_well(assessment.status)


def given_up(status: PatchTargetStatus) -> bool:
    """It is held by a failure, and no assessment that may end that is in flight, or about to be."""
    ready = find(status.conditions, ConditionType.READY)
    under_way = ready is not None and ready.reason == Reason.WORKING
    return held_by_failure(status) and status.operation is None and not under_way


def foreign_install(status: PatchTargetStatus) -> bool:
    """Someone else's operation runs on it, as far as its last look showed."""
    return status.foreign_operation_since is not None


def unavailable(status: PatchTargetStatus) -> bool:
    """From its install intent until the result is read and the machine was assessed again."""
    return (
        installing(status)
        or reassessment_due(status)
        or held_by_failure(status)
        or foreign_install(status)
    )


def machine_unavailable(statuses: Sequence[PatchTargetStatus]) -> bool:
    """Whether a machine is, by what its PatchTargets say, of whichever policies: the policy that
    acted on it last has its install, and the one that acts on it now what was found since."""
    said = [status for status in statuses if unavailable(status)]
    if not said or any(installing(status) or foreign_install(status) for status in said):
        return bool(said)
    if len(statuses) == 1:
        return True
    installations = [s.installation for s in statuses if s.installation is not None]
    assessments = [s.assessment for s in statuses if s.assessment is not None]
    together = PatchTargetStatus(
        installation=max(installations, key=lambda one: one.time),
        assessment=max(assessments, key=lambda one: one.began, default=None),
    )
    return unavailable(together)


def follows_unavailable(status: PatchTargetStatus, before: PatchTargetStatus) -> bool:
    """The machine is unavailable by what its PatchTarget under another policy says (`before`), and
    no assessment under this one began since."""
    if installing(before) or foreign_install(before):
        return True
    if not unavailable(before) or before.installation is None:
        return False
    assessment = status.assessment
    since = assessment.began if assessment else None
    return since is None or since < before.installation.time
