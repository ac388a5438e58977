"""Brings what is recorded of a machine up to date with what Azure shows now."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TypeGuard

from azpatch.api.common import MachineKind, OperationName
from azpatch.api.install import UndeterminedSupport
from azpatch.api.policy import PatchPolicySpec
from azpatch.api.target import (
    AssessmentStatus,
    ImageStatus,
    MachineStatus,
    PatchTargetStatus,
    PowerState,
)
from azpatch.domain import run_entry
from azpatch.domain.availability import reassessment_due, went_well
from azpatch.domain.clocks import SAME_SECOND, no_earlier
from azpatch.domain.detection import Detection, detect
from azpatch.domain.facts import AssessmentResult, Machine
from azpatch.domain.feature import FeatureGate
from azpatch.domain.ids import is_another_vm
from azpatch.domain.image import Image
from azpatch.domain.matrix import Matrix
from azpatch.domain.outcome import ASSESSMENT_STALE
from azpatch.domain.policy_machines import operation_of
from azpatch.domain.traces import same_id
from azpatch.domain.verdict import Ruling, verdicts
from azpatch.domain.verdict_row import SupportEvidence
from azpatch.domain.workload import excluded


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What Azure and the AzureSubscription say that bears on one machine."""

    machine: Machine
    image: Image
    matrix: Matrix
    gate: FeatureGate | None
    row: AssessmentResult | None
    """Resource Graph's newest assessment row, whether it counts or not."""
    compute_registered: bool = False
    """See SupportEvidence."""


@dataclass(frozen=True, slots=True)
class Observed:
    """A machine with nothing in flight, as far as it is known."""

    status: PatchTargetStatus
    """Up to date except for what the selection and the plan decide."""
    detection: Detection
    row: AssessmentResult | None
    """The row that tells what the last assessment found; None: it has not appeared."""
    assess: Ruling
    patch: Ruling


def observe(
    before: PatchTargetStatus, policy: PatchPolicySpec, around: Surroundings, now: datetime
) -> Observed:
    """Another vmId is another machine: nothing that was known of the old one stays."""
    status = _identified(before, around, now)
    since = _since(status)
    if since is not None and _is_of_last(around.row, status) and not reassessment_due(status):
        # The guest's clock may be behind.
        since = min(since, around.row.last_modified or since)
    image = around.image
    detection = detect(around.row, status.detected, around.machine, image.reference, since, now)
    row = around.row if detection.row_counts and _went_well(around.row) else None
    # Of an Arc-enabled server an assessment does not say whether Azure can patch it.
    detects = around.machine.kind is MachineKind.VIRTUAL_MACHINE
    status = status.replace(
        detected=detection.status if detects else None,
        assessment=_assessment(status.assessment, row),
    )
    if row is not None and not _speaks_for(row, status):
        row = None
    rulings = {
        ruling.operation: ruling
        for ruling in verdicts(_evidence(policy, around, detection, status, row))
    }
    used = {operation_of(policy), OperationName.ON_DEMAND_ASSESSMENT}
    return Observed(
        status.replace(
            verdicts=tuple(r.to_status(used=r.operation in used) for r in rulings.values())
        ),
        detection,
        row,
        rulings[OperationName.ON_DEMAND_ASSESSMENT],
        rulings[OperationName.ON_DEMAND_PATCHING],
    )


def replaced(before: PatchTargetStatus, machine: Machine) -> bool:
    """Another machine has the name now."""
    return is_another_vm(machine.vm_id, _known_id(before))


def another_machine(before: PatchTargetStatus, made: datetime | None = None) -> PatchTargetStatus:
    """What stays of what was known of a machine, when another has its name, `made` then. An install
    that began later was on that one: it was made between our last look and the POST."""
    last = before.installation
    began = last.start_time if last else None
    return PatchTargetStatus(
        governs=before.governs,
        # It may be on the new one: a look tells.
        foreign_operation_since=before.foreign_operation_since,
        conditions=before.conditions,
        run=run_entry.replaced(before.run),
        installation=last if began and made and began >= made else None,
    )


def _known_id(before: PatchTargetStatus) -> str | None:
    return before.machine.vm_id if before.machine else None


def awaits_row(status: PatchTargetStatus, newest: AssessmentResult | None, now: datetime) -> bool:
    """Resource Graph has not shown the end of the last assessment, and still may: also of a failed
    one, whose row says whether Azure supports the machine at all."""
    assessment = status.assessment
    if assessment is None or now - assessment.time > ASSESSMENT_STALE:
        return False
    if newest is None or newest.last_modified is None:
        return True
    if _is_of_last(newest, status):
        # ARM showed the end first.
        return not newest.status.ended
    return newest.last_modified < assessment.began


def _is_of_last(
    row: AssessmentResult | None, status: PatchTargetStatus
) -> TypeGuard[AssessmentResult]:
    """The row is of the last assessment, whatever the guest's clock says of its end."""
    assessment = status.assessment
    if row is None or assessment is None:
        return False
    if same_id(row.activity_id, assessment.activity_id):
        return True
    start = assessment.began
    return row.start_time is not None and row.start_time >= start - SAME_SECOND


def _identified(
    before: PatchTargetStatus, around: Surroundings, now: datetime
) -> PatchTargetStatus:
    machine = around.machine
    kept = before
    if replaced(before, machine):
        kept = another_machine(before, machine.time_created)
    return kept.replace(
        machine=MachineStatus(
            kind=machine.kind,
            vm_id=machine.vm_id or _known_id(kept) or "",
            time_created=machine.time_created,
            seen_time=_seen(kept, around, now),
            os_type=machine.os_type,
            location=machine.location,
            power_state=_power(machine.power_state),
            arc_status=machine.arc_status,
            zone=machine.zones[0] if machine.zones else None,
            availability_set=machine.availability_set,
        ),
        image=ImageStatus(
            image_class=around.image.image_class,
            reference=around.image.reference,
            evidence=around.image.evidence,
            confidence=around.image.confidence,
        ),
    )


def _seen(kept: PatchTargetStatus, around: Surroundings, now: datetime) -> datetime | None:
    """When an Arc-enabled server, of which Azure does not say when it was made, was seen first:
    after what is there already, which may be the server's before it."""
    if around.machine.kind is not MachineKind.ARC_SERVER:
        return None
    seen = kept.machine.seen_time if kept.machine else None
    return seen or no_earlier(now, around.row.last_modified if around.row else None)


def _power(state: str | None) -> PowerState | None:
    if state is None:
        return None
    try:
        return PowerState(state)
    except ValueError:
        return PowerState.UNKNOWN


def _since(status: PatchTargetStatus) -> datetime | None:
    """The start of the last operation on the machine that we know of; before the first, when an
    Arc-enabled server was seen."""
    assessment, installation = status.assessment, status.installation
    starts = [
        status.machine.seen_time if status.machine else None,
        assessment.start_time if assessment else None,
        installation.began if installation else None,
    ]
    return max((start for start in starts if start is not None), default=None)


def _went_well(row: AssessmentResult | None) -> bool:
    return row is not None and went_well(row.status)


def _assessment(
    before: AssessmentStatus | None, row: AssessmentResult | None
) -> AssessmentStatus | None:
    """Someone else's assessment serves as well as ours, if it began after ours had ended."""
    if row is None or row.last_modified is None:
        return before
    start = row.start_time or row.last_modified
    if before is not None and (
        start <= before.time or same_id(row.activity_id, before.activity_id)
    ):
        return before
    return AssessmentStatus(
        time=row.last_modified,
        start_time=start,
        status=row.status,
        activity_id=row.activity_id,
        critical_and_security=row.critical_and_security,
        other=row.other,
        reboot_pending=row.reboot_pending,
    )


def _speaks_for(row: AssessmentResult, status: PatchTargetStatus) -> bool:
    """The row is of the last assessment, and no install has ended since it."""
    assessment = status.assessment
    if assessment is None or row.last_modified is None or reassessment_due(status):
        return False
    start = assessment.began
    return row.last_modified >= start or _is_of_last(row, status)


def _evidence(
    policy: PatchPolicySpec,
    around: Surroundings,
    detection: Detection,
    status: PatchTargetStatus,
    row: AssessmentResult | None,
) -> SupportEvidence:
    install = policy.install
    return SupportEvidence(
        machine=around.machine,
        image=around.image,
        matrix=around.matrix,
        workload=excluded(around.machine),
        gate=around.gate,
        detection=detection,
        row_awaited=row is None
        and status.assessment is not None
        and went_well(status.assessment.status),
        on_undetermined=(install.on_undetermined_support if install else UndeterminedSupport.WAIT),
        probe_unsupported=policy.assessment.probe_unsupported,
        compute_registered=around.compute_registered,
        installed=reassessment_due(status),
    )
