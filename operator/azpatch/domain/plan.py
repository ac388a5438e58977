"""What to do next with a machine that has nothing in flight, and why.

`plan` runs through the checks in the order in which a person would ask: may we act at all, does an
assessment come first, is an install due, may it be sent now. The first answer counts.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime, timedelta

from azpatch.api.common import Support
from azpatch.api.install import RebootSetting
from azpatch.api.policy import AssessmentMode, PatchPolicy
from azpatch.api.reasons import Reason
from azpatch.api.subscription import AccessLevel
from azpatch.api.target import OperationKind, Outcome, PatchTargetStatus
from azpatch.domain.arc import CUT_OFF, not_accepted
from azpatch.domain.attempts import (
    POSTS_PER_WINDOW,
    Turn,
    assessment_retry,
    became_due,
    next_window,
)
from azpatch.domain.availability import held_by_failure, reassessment_due, went_well
from azpatch.domain.facts import (
    Machine,
)
from azpatch.domain.membership import lowest_access
from azpatch.domain.observe import Observed
from azpatch.domain.opening import NEEDS_A_PERSON, Opening, Shut
from azpatch.domain.os_type import only_assessed
from azpatch.domain.outcome import NOT_SENT
from azpatch.domain.pins import Pins, parameters, withheld
from azpatch.domain.run_entry import WAITS_FOR_RUN, Part, held_back
from azpatch.domain.selection import Selection, install_parameters
from azpatch.domain.verdict import Ruling

RUNNING = "Running"


@dataclass(frozen=True, slots=True)
class Idle:
    """Nothing is sent now."""

    ready: bool
    """False: nothing can be sent to the machine now."""
    reason: Reason
    message: str
    wake: datetime | None = None
    """When to decide again at the latest; None: when something changes."""


@dataclass(frozen=True, slots=True)
class AskSlot:
    """An install is due and may be sent as soon as maxUnavailable and spread leave room for it."""

    wake: datetime | None = None
    """When it may not be sent any more; None: no end is known."""


@dataclass(frozen=True, slots=True)
class Send:
    """Send this operation, after one more look at the machine itself."""

    kind: OperationKind


Plan = Idle | AskSlot | Send


@dataclass(frozen=True, slots=True)
class Standing:
    """What the cluster says that bears on one machine."""

    access: AccessLevel | None
    governs: bool
    elsewhere: str
    """Who governs it, as far as this namespace may know; "" where this policy does."""
    busy_elsewhere: bool
    """Another policy's operation is in flight on the machine."""
    deleting: bool
    """The PatchTarget, its policy or its AzureSubscription is being deleted."""
    has_slot: bool
    opening: Opening
    """Whether the schedule and the freezes let an install start."""
    part: Part
    """The machine's part in the policy's runs."""
    blocked: Idle | None
    """What the last look at the machine found, as long as that holds."""
    touched: datetime | None = None
    """When somebody installed on the machine last, where the evidence is from before that."""
    pins: Pins | None = None
    """What the machine's run pins for it; None: the policy's selection is installed."""
    unpaid: str | None = None
    """The AzureSubscription that does not accept what Azure charges for the machine; None: there is
    none, or nothing is charged."""


def plan(
    policy: PatchPolicy,
    observed: Observed,
    selection: Selection | None,
    standing: Standing,
    machine: Machine,
    now: datetime,
) -> Plan:
    """The next step. `selection`: None where it is not known (yet)."""
    return (
        _may_not_act(policy, standing)
        or _unpaid(policy, observed, standing)
        or _assessment(policy, observed, standing, machine, now)
        or _install(policy, observed, selection, standing, machine, now)
    )


def obstacle(step: Plan, standing: Standing) -> Reason | None:
    """What keeps an install from the machine beside its run, its windows and what passes by
    itself."""
    shut = standing.opening.reason if isinstance(standing.opening, Shut) else None
    if isinstance(step, Idle) and step.reason not in (*WAITS_FOR_RUN, *_PASSES, shut):
        return step.reason
    return standing.blocked.reason if standing.blocked is not None else None


_PASSES = (Reason.SUSPENDED, Reason.WAITING_FOR_RESOURCE_GRAPH, Reason.NOT_ASSESSED)


def is_due(policy: PatchPolicy, status: PatchTargetStatus, selection: Selection | None) -> bool:
    """At least one missing patch that the policy selects, or a reboot that it would perform."""
    install = policy.spec.install
    if install is None or selection is None or status.assessment is None:
        return False
    return selection.selected > 0 or _reboot_due(policy, status)


def _reboot_due(policy: PatchPolicy, status: PatchTargetStatus) -> bool:
    """The machine waits for one that the policy would perform."""
    install, assessment = policy.spec.install, status.assessment
    if install is None or assessment is None or install.reboot_setting is RebootSetting.NEVER:
        return False
    return bool(assessment.reboot_pending)


def fingerprint(
    policy: PatchPolicy, machine: Machine, selection: Selection, pins: Pins | None
) -> str:
    """Identifies an install: the patches it is for and all that Azure is told. 16 hex digits."""
    assert policy.spec.install is not None
    assert machine.os_type is not None
    body = parameters(policy.spec.install, machine.os_type, pins)
    text = selection.hash + json.dumps(body, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def outdated(status: PatchTargetStatus, touched: datetime) -> bool:
    """Whether the last assessment is from before somebody installed on the machine."""
    assessment = status.assessment
    return assessment is not None and assessment.began < touched


def not_sent(reason: Reason, wake: datetime | None) -> Idle:
    """Nothing can be sent to the machine, in the words of `outcome.NOT_SENT`."""
    return Idle(False, reason, NOT_SENT[reason].message, wake)


def _may_not_act(policy: PatchPolicy, standing: Standing) -> Idle | None:
    if standing.deleting:
        return Idle(False, Reason.DELETING, "It is being deleted; nothing new is started.")
    if not standing.governs:
        return Idle(False, Reason.GOVERNED_ELSEWHERE, standing.elsewhere)
    if standing.busy_elsewhere:
        return Idle(
            False,
            Reason.FOREIGN_OPERATION,
            "An operation of the policy that governed this machine before is still in flight; "
            "nothing is sent beside it.",
        )
    if policy.spec.suspend:
        return Idle(True, Reason.SUSPENDED, "The policy is suspended: nothing new is started.")
    return None


def _unpaid(policy: PatchPolicy, observed: Observed, standing: Standing) -> Idle | None:
    """Before anything that costs. Nothing does where the policy, or the verdicts, send nothing."""
    if standing.unpaid is None or lowest_access(policy) < AccessLevel.ASSESS:
        return None
    rulings = (observed.assess, observed.patch)
    if all(ruling.support is Support.UNSUPPORTED for ruling in rulings):
        return None
    return Idle(False, Reason.ARC_BILLING_NOT_ACCEPTED, not_accepted(1, standing.unpaid))


# --- assessment -----------------------------------------------------------------------------------


def _assessment(
    policy: PatchPolicy,
    observed: Observed,
    standing: Standing,
    machine: Machine,
    now: datetime,
) -> Plan | None:
    """The assessment that is needed first, or what keeps it; None: none is needed now."""
    asked = _asked_for(observed, standing.part.assess_since)
    own = policy.spec.assessment.mode is AssessmentMode.OPERATOR
    if not asked and not (own and _assessment_needed(policy, observed, standing, now)):
        return None
    if standing.access is None or standing.access < AccessLevel.ASSESS:
        return _access_too_low(standing, max(lowest_access(policy), AccessLevel.ASSESS))
    if not observed.assess.may_send:
        return _refused(observed.assess, observed, None, now)
    stopped = _stopped(machine) or standing.blocked
    if stopped is not None:
        return stopped
    again = None if asked else next_try(observed.status, policy.spec.assessment.max_age)
    if again is not None and now < again:
        return Idle(
            False,
            Reason.ASSESSMENT_FAILED,
            "The last assessment failed; the next is sent when its time has come. See "
            "status.assessment for what Azure said, and the machine's agent.",
            again,
        )
    return Send(OperationKind.ASSESS)


def _asked_for(observed: Observed, since: datetime | None) -> bool:
    """By an Assess run, for which the last assessment is too old."""
    assessment = observed.status.assessment
    return since is not None and (assessment is None or assessment.began < since)


def _assessment_needed(
    policy: PatchPolicy, observed: Observed, standing: Standing, now: datetime
) -> bool:
    status = observed.status
    if status.assessment is None or not went_well(status.assessment.status):
        return True
    if reassessment_due(status) or observed.detection.probe_due:
        return True
    if standing.touched is not None and outdated(status, standing.touched):
        return True
    return now >= status.assessment.time + policy.spec.assessment.max_age


def next_try(status: PatchTargetStatus, max_age: timedelta) -> datetime | None:
    """When the next assessment may be sent after failed ones; None: none failed."""
    if status.assessment is None or status.attempts is None:
        return None
    failures = status.attempts.failed_assessments
    return status.assessment.time + assessment_retry(failures - 1, max_age) if failures else None


def _next_assessment(policy: PatchPolicy, observed: Observed) -> datetime | None:
    if policy.spec.assessment.mode is not AssessmentMode.OPERATOR:
        return None
    assessment = observed.status.assessment
    return assessment.time + policy.spec.assessment.max_age if assessment else None


# --- install --------------------------------------------------------------------------------------


def _install(
    policy: PatchPolicy,
    observed: Observed,
    selection: Selection | None,
    standing: Standing,
    machine: Machine,
    now: datetime,
) -> Plan:
    later = _next_assessment(policy, observed)
    install = policy.spec.install
    if install is None:
        return Idle(True, Reason.ASSESS_ONLY, "Assessed; the policy does not install.", later)
    if machine.os_type is None or install_parameters(install, machine.os_type) is None:
        return Idle(
            True,
            Reason.OS_NOT_SELECTED,
            only_assessed(machine.os_type),
            later,
        )
    if standing.access is None or standing.access < AccessLevel.PATCH:
        return _access_too_low(standing, lowest_access(policy))
    if not observed.patch.may_send:
        return _refused(observed.patch, observed, later, now)
    if observed.row is None or selection is None:
        return Idle(
            True,
            Reason.WAITING_FOR_RESOURCE_GRAPH,
            "The assessment succeeded; what it found has not appeared in Azure Resource Graph, "
            "which is asked again until it has.",
            later,
        )
    if standing.touched is not None and outdated(observed.status, standing.touched):
        return Idle(
            True,
            Reason.NOT_ASSESSED,
            "Somebody installed on the machine after its last assessment, so what is missing is "
            "not known; an assessment tells.",
            later,
        )
    if not is_due(policy, observed.status, selection):
        return Idle(True, Reason.UP_TO_DATE, "Nothing that the policy selects is missing.", later)
    return (
        _held(observed.status)
        or _tried_enough(policy, observed.status, selection, machine, standing, later, now)
        or _stopped(machine)
        or _not_its_turn(standing, later)
        or _unpinned(policy, observed.status, selection, standing, later)
        or _shut(standing.opening, later)
        or standing.blocked
        or _as_slots_allow(standing)
    )


def _not_its_turn(standing: Standing, later: datetime | None) -> Idle | None:
    held = held_back(standing.part, standing.opening)
    return None if held is None else Idle(True, *held, later)


def _unpinned(
    policy: PatchPolicy,
    status: PatchTargetStatus,
    selection: Selection,
    standing: Standing,
    later: datetime | None,
) -> Idle | None:
    held = withheld(standing.pins, selection, reboot=_reboot_due(policy, status))
    return None if held is None else Idle(True, *held, later)


def _shut(opening: Opening, later: datetime | None) -> Idle | None:
    if not isinstance(opening, Shut):
        return None
    wakes = [at for at in (opening.next, opening.holds_until, later) if at is not None]
    ready = opening.reason not in NEEDS_A_PERSON
    return Idle(ready, opening.reason, opening.message, min(wakes, default=None))


def _as_slots_allow(standing: Standing) -> Plan:
    if standing.has_slot:
        return Send(OperationKind.INSTALL)
    assert not isinstance(standing.opening, Shut)
    return AskSlot(standing.opening.until)


def _held(status: PatchTargetStatus) -> Idle | None:
    if not held_by_failure(status) or status.installation is None:
        return None
    reason = {Outcome.NOT_BACK: Reason.NOT_BACK, Outcome.UNKNOWN: Reason.RESULT_UNKNOWN}.get(
        status.installation.outcome, Reason.INSTALL_FAILED
    )
    return Idle(
        False,
        reason,
        "The last install ended badly and no assessment succeeded since. It keeps its slot until "
        "one does.",
    )


def _tried_enough(
    policy: PatchPolicy,
    status: PatchTargetStatus,
    selection: Selection,
    machine: Machine,
    standing: Standing,
    later: datetime | None,
    now: datetime,
) -> Idle | None:
    if status.attempts is None:
        return None
    turn = standing.opening.turn
    mark = fingerprint(policy, machine, selection, standing.pins)
    same = status.attempts.selected_hash == mark
    if same and _brought_nothing(status):
        return Idle(
            True,
            Reason.NOTHING_INSTALLABLE,
            "An install of these very patches brought none of them, so it is not sent again until "
            "the selection changes. The PatchTarget's status.installation has Azure's words.",
            later,
        )
    attempts = became_due(status.attempts, now, turn)
    if attempts.retry_after is not None and now < attempts.retry_after:
        return Idle(
            False,
            Reason.RETRY_LATER,
            "The last try did not end well; the next has its time.",
            attempts.retry_after,
        )
    counts = turn is None or turn.start is not None
    if counts and attempts.install_posts >= POSTS_PER_WINDOW:
        return Idle(
            False,
            Reason.ATTEMPTS_EXHAUSTED,
            f"{POSTS_PER_WINDOW} installs were sent in one window{_of_what(turn)} and patches are "
            "still missing. The next may be sent in another; status.installation has what Azure "
            "said.",
            (turn.end if turn else None) or next_window(attempts, now, turn),
        )
    return None


def _of_what(turn: Turn | None) -> str:
    return " of 24 hours" if turn is None else ""


def _brought_nothing(status: PatchTargetStatus) -> bool:
    """The last install ended so. One whose record was struck by hand did not: it may still run."""
    return status.installation is not None and status.installation.installed == 0


# --- why not --------------------------------------------------------------------------------------


def _access_too_low(standing: Standing, needed: AccessLevel) -> Idle:
    has = standing.access or "nothing"
    return Idle(
        False,
        Reason.ACCESS_TOO_LOW,
        f"The policy needs access {needed} to this machine, and its namespace is granted {has}. "
        "The platform team changes that in the AzureSubscription, spec.grants.",
    )


def _stopped(machine: Machine) -> Idle | None:
    if machine.power_state in (None, RUNNING):
        return None
    return not_sent(Reason.VM_STOPPED, None)


def _refused(ruling: Ruling, observed: Observed, later: datetime | None, now: datetime) -> Idle:
    """An operation that the verdict forbids, or that waits for evidence."""
    detected = observed.detection.status
    probe = detected.next_probe_time if detected else None
    wakes = [at for at in (probe, later) if at is not None and at > now]
    refused = ruling.support is Support.UNSUPPORTED
    ready = not refused and ruling.reason not in CUT_OFF
    return Idle(ready, ruling.reason, ruling.message, min(wakes, default=None))
