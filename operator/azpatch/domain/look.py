"""What one more look at a machine finds in the way, just before something is sent to it."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from azpatch.api.common import MachineKind
from azpatch.api.install import MAXIMUM_DURATION
from azpatch.api.reasons import Reason
from azpatch.api.target import AssessmentStatus, Installation, PatchTargetStatus
from azpatch.domain.arc import cut_off
from azpatch.domain.clocks import no_earlier
from azpatch.domain.facts import (
    AssessmentResult,
    GuestStatus,
    InstallationResult,
    Machine,
    MachineView,
)
from azpatch.domain.ids import is_another_vm
from azpatch.domain.operation import INSTALL_GRACE, at_work
from azpatch.domain.plan import RUNNING, Idle, not_sent, outdated
from azpatch.domain.traces import ARC_NOT_STARTED_AFTER, same_id, traces_of

LOOK_AT_AGENT = timedelta(minutes=5)
"""An agent that is not ready is looked at again this late: one GET of a machine's 12 a minute."""

LOOK_AT_FOREIGN = timedelta(minutes=1)
"""Someone else's operation, and a machine whose state just changed, are looked at this late."""

PAUSED_AT_MOST = MAXIMUM_DURATION + INSTALL_GRACE
"""For how long an install on a machine that was stopped may go on at its boot, and for how long one
is believed that cannot be looked at."""

LONGEST_LOOK_AT_FOREIGN = timedelta(minutes=10)
FOREIGN_SHARE = 10
"""An operation that has run for long is looked at after another tenth of that time: what has taken
hours will not be missed by minutes, and one that never ends must not cost a request a minute."""


def cleared(
    view: MachineView, machine: Machine, status: PatchTargetStatus, now: datetime
) -> Idle | None:
    """What keeps an operation from the machine, as ARM itself shows it; None: nothing does."""
    busy = at_work_beside(view, status, now)
    if busy is not None:
        return busy
    if is_another_vm(view.machine.vm_id, machine.vm_id):
        return not_sent(Reason.MACHINE_REPLACED, now + LOOK_AT_FOREIGN)
    unreachable = _unreachable(view.machine)
    if unreachable is not None:
        return not_sent(unreachable, now + LOOK_AT_FOREIGN)
    if not view.agent_ready:
        return not_sent(Reason.AGENT_NOT_READY, now + LOOK_AT_AGENT)
    return None


def _paused(view: MachineView, status: PatchTargetStatus, now: datetime) -> bool:
    """Somebody's install was under way when the machine was stopped: it goes on at its boot, and
    keeps its slot, as long as its time is not over."""
    install = view.installation
    return (
        install is not None
        and install.status is GuestStatus.IN_PROGRESS
        and install.start_time is not None
        and now - install.start_time <= PAUSED_AT_MOST
        and _known(install, status) is None
    )


def _unreachable(machine: Machine) -> Reason | None:
    """Why Azure cannot send anything to the machine, as ARM shows it."""
    if machine.kind is MachineKind.ARC_SERVER:
        return cut_off(machine)
    return None if machine.power_state == RUNNING else Reason.VM_STOPPED


def at_work_beside(view: MachineView, status: PatchTargetStatus, now: datetime) -> Idle | None:
    """An operation that ARM shows at work on the machine, with none of ours in flight, or that goes
    on at its boot. A server that Azure does not hear works on."""
    if _unreachable(view.machine) is Reason.VM_STOPPED and not _paused(view, status, now):
        return None
    going = _going(view, status, now)
    if going is None:
        if _is_asked_for(view, status, now):
            return not_sent(Reason.FOREIGN_OPERATION, now + LOOK_AT_FOREIGN)
        return None
    wake = now + _look_again(going, now)
    if _known(going, status) is not None:
        return outlived(wake)
    return not_sent(Reason.FOREIGN_OPERATION, wake)


def install_beside(view: MachineView, status: PatchTargetStatus, now: datetime) -> Idle | None:
    """Likewise an install, while an assessment of ours may be in flight: Azure does one thing at a
    time, so that ours has not begun, or is over."""
    return at_work_beside(replace(view, assessment=None, requested=None), status, now)


def seen(status: PatchTargetStatus, found: Idle | None, now: datetime) -> PatchTargetStatus:
    """With what a look found at work that is not ours; without, if it found nothing like that."""
    foreign = found is not None and found.reason == Reason.FOREIGN_OPERATION
    since = status.foreign_operation_since or now
    return status.replace(foreign_operation_since=since if foreign else None)


def remembered(status: PatchTargetStatus, now: datetime) -> PatchTargetStatus:
    """What was seen at work counts for as long as an install may take, or until it is seen anew."""
    since = status.foreign_operation_since
    over = since is not None and now - since > PAUSED_AT_MOST
    return status.replace(foreign_operation_since=None) if over else status


def outlived(wake: datetime) -> Idle:
    """An operation of ours still runs, though its outcome is already called Unknown."""
    return Idle(
        False,
        Reason.OPERATION_IN_PROGRESS,
        "An operation of ours that had no result by its deadline still runs on the machine. "
        "Nothing is sent before it ends; if it never does, restart the machine's agent.",
        wake,
    )


def _going(
    view: MachineView, status: PatchTargetStatus, now: datetime
) -> AssessmentResult | InstallationResult | None:
    """The operation that is under way on the machine, anyone's."""
    return next((one for one in at_work(view, now) if not _has_ended(one, view, status)), None)


def _has_ended(
    going: AssessmentResult | InstallationResult, view: MachineView, status: PatchTargetStatus
) -> bool:
    """A row may come later than the end that the operation itself told."""
    if not traces_of(view.machine.id).rows_lag:
        return False
    known = _known(going, status)
    return known is not None and known.status != GuestStatus.UNKNOWN


def _is_asked_for(view: MachineView, status: PatchTargetStatus, now: datetime) -> bool:
    """Somebody asked an Arc-enabled server for an operation a while ago, and no row shows it yet.
    What the status has is ours, and over."""
    asked = view.requested
    if asked is None or asked.time is None or now - asked.time >= ARC_NOT_STARTED_AFTER:
        return False
    known = (view.assessment, view.installation, status.assessment, status.installation)
    return not any(one and same_id(one.activity_id, asked.activity_id) for one in known)


def _look_again(going: AssessmentResult | InstallationResult, now: datetime) -> timedelta:
    ran = now - going.start_time if going.start_time else timedelta(0)
    return sorted((LOOK_AT_FOREIGN, ran / FOREIGN_SHARE, LONGEST_LOOK_AT_FOREIGN))[1]


def _known(
    going: AssessmentResult | InstallationResult, status: PatchTargetStatus
) -> AssessmentStatus | Installation | None:
    """What the status has of it: it is ours."""
    known = status.assessment if isinstance(going, AssessmentResult) else status.installation
    return known if known is not None and same_id(known.activity_id, going.activity_id) else None


def touched_since(view: MachineView, status: PatchTargetStatus, now: datetime) -> datetime | None:
    """When an install that ARM shows ended, if the last assessment is from before that: then what
    is missing is not known. It may be another policy's, or a person's."""
    seen = view.installation
    end = (seen.last_modified or seen.start_time) if seen else None
    if end is None or (end > now and _assessed_after(end, view)):
        return None
    assessment = status.assessment
    start = assessment.began if assessment else None
    end = min(end, no_earlier(now, start))
    return end if outdated(status, end) else None


def _assessed_after(end: datetime, view: MachineView) -> bool:
    """By the guest's own clock, which is ahead."""
    seen = view.assessment
    if seen is None or not seen.status.ended or seen.last_modified is None:
        return False
    return seen.last_modified >= end
