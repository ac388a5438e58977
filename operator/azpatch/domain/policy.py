"""What a PatchPolicy's status says, decided from its PatchTargets."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from azpatch.api.common import ConditionType, Support
from azpatch.api.policy import (
    PROBLEMS_LISTED,
    NextWindow,
    PatchPolicy,
    PatchPolicyStatus,
    PolicyRun,
)
from azpatch.api.reasons import Reason
from azpatch.api.rollout import share_of
from azpatch.api.run import PatchRun, RunPhase
from azpatch.api.target import SUBSCRIPTION_LABEL, PatchTarget
from azpatch.domain.arc import not_accepted
from azpatch.domain.availability import given_up, held_by_failure, unavailable
from azpatch.domain.conditions import Finding, find, merge
from azpatch.domain.opening import NEEDS_A_PERSON, UNTIMED, Shut, Timing
from azpatch.domain.policy_machines import PolicyMachine, counts, holds_slots, machines_of
from azpatch.domain.policy_problems import PASSING, kept_by, problems_of, worst_of
from azpatch.domain.run_need import NO_RUNS, Runs, last_scheduled
from azpatch.domain.subscription import Trouble
from azpatch.domain.words import counted, sentences, share

_NAMED = 3
"""How many machines a condition's message names; problems lists more."""

_TOO_LOW = Reason.ACCESS_TOO_LOW
_UNPAID = Reason.ARC_BILLING_NOT_ACCEPTED


def status(
    policy: PatchPolicy,
    targets: Sequence[PatchTarget],
    trouble: Trouble | None,
    now: datetime,
    undecided: int = 0,
    timing: Timing = UNTIMED,
    runs: Runs = NO_RUNS,
    held_by: Sequence[str] = (),
) -> PatchPolicyStatus:
    """The whole status. `targets`: those that belong to the policy after this reconcile;
    `undecided`: how many of them still go by an older generation; `timing`: when it installs;
    `runs`: its PatchRuns; `held_by`: names of failed machines that keep all who wait from going,
    see `spread.held_by`."""
    if trouble is not None and _only_to_be_read_again(policy, trouble):
        return policy.status
    machines = machines_of(policy, targets)
    generation = policy.metadata.generation or 0
    findings = [
        *_ready(policy, machines, undecided, trouble, timing, runs, held_by),
        _supported(machines, trouble),
        _compliant(machines, trouble),
    ]
    problems = problems_of(machines)
    times = [m.status.assessment.time for m in machines if m.governed and m.status.assessment]
    omitted = len(problems) - PROBLEMS_LISTED
    return PatchPolicyStatus(
        observed_generation=generation,
        conditions=merge(policy.status.conditions, findings, generation, now),
        machines=counts(machines, timing),
        problems=tuple(problems[:PROBLEMS_LISTED]),
        problems_omitted=omitted if omitted > 0 else None,
        oldest_assessment_time=min(times, default=None),
        next_window=timing.next and NextWindow(start=timing.next.start, end=timing.next.end),
        current_run=_told(runs.current),
        last_run=_told(runs.last),
        last_schedule_time=last_scheduled(policy, runs.scheduled),
    )


def _told(run: PatchRun | None) -> PolicyRun | None:
    if run is None:
        return None
    return PolicyRun(name=run.metadata.name, phase=run.status.phase or RunPhase.WAITING)


def deciding(policy: PatchPolicy) -> bool:
    """Machines may still go by an older generation, or by none: this one was not seen to be
    decided. One that could not be read is at its first look by whoever can read it."""
    ready = find(policy.status.conditions, ConditionType.READY)
    seen = policy.status.observed_generation == policy.metadata.generation
    undecided = (Reason.NEW_GENERATION, Reason.INVALID_SPEC)
    return not seen or ready is None or ready.reason in undecided


def says_unread(target: PatchTarget) -> bool:
    """The machine still says that its policy cannot be read, though that was said since of which
    machines there are."""
    ready = find(target.status.conditions, ConditionType.READY)
    return ready is not None and ready.reason == Reason.INVALID_SPEC


def _only_to_be_read_again(policy: PatchPolicy, trouble: Trouble) -> bool:
    """An operator that was restarted has not read yet what had shown the policy no machine; what
    was said of this generation stands until it has."""
    ready = find(policy.status.conditions, ConditionType.READY)
    return (
        trouble.reason is Reason.AZURE_SUBSCRIPTION_NOT_READY
        and policy.metadata.deletion_timestamp is None
        and policy.status.observed_generation == policy.metadata.generation
        and ready is not None
        and ready.reason in (Reason.NOT_GRANTED, Reason.NO_MACHINES)
    )


# --- Ready ----------------------------------------------------------------------------------------


def _ready(
    policy: PatchPolicy,
    machines: Sequence[PolicyMachine],
    undecided: int,
    trouble: Trouble | None,
    timing: Timing,
    runs: Runs,
    held_by: Sequence[str],
) -> list[Finding]:
    if policy.metadata.deletion_timestamp is not None:
        return _delayed(
            Reason.DELETING,
            "Nothing new is started. The policy goes when the operations in flight have ended.",
        )
    if trouble is not None:
        return (_stalled if trouble.stalled else _delayed)(trouble.reason, trouble.message)
    undecided = max(undecided, sum(not m.status.conditions for m in machines))
    if undecided:
        return _delayed(
            Reason.NEW_GENERATION, f"{undecided} of {len(machines)} machines are being looked at."
        )
    if policy.spec.suspend:
        return [
            _fine(
                Reason.SUSPENDED,
                "Nothing new is started while spec.suspend is true; what runs goes on.",
            )
        ]
    governed = [m for m in machines if m.governed]
    blocked = (
        _none_governable(machines, governed)
        or _no_install_fits(timing)
        or (_run_stopped(runs) if policy.spec.runs else None)
        or _too_many_failed(policy, machines)
        or _groups_held(machines, held_by)
    )
    if blocked is not None:
        return _stalled(*blocked)
    if kept := _none_workable(machines):
        return kept
    in_progress = sum(m.status.operation is not None for m in governed)
    if in_progress:
        flying = counted(in_progress, "machine")
        return [_fine(Reason.WORKING, f"Operations are in flight on {flying}.")]
    install = policy.spec.install is not None
    rest = sentences(
        _rest(machines, install),
        _forecast(unpaid) if (unpaid := _unpaid(governed)) else "",
    )
    if not install:
        return [_fine(Reason.ASSESS_ONLY, f"The policy assesses and does not install. {rest}")]
    if waits := _run_waits(runs):
        return [waits]
    if shut := _shut(machines, timing):
        return [_fine(shut.reason, sentences(shut.message, rest))]
    return [_fine(Reason.UP_TO_DATE, rest)]


def _run_stopped(runs: Runs) -> tuple[Reason, str] | None:
    """A run that a person must look at: until it goes on, or another one does."""
    run = runs.current or runs.last
    ready = find(run.status.conditions, ConditionType.READY) if run else None
    if run is None or ready is None or ready.status == "True":
        return None
    if ready.reason == Reason.INVALID_SPEC:
        return None  # It waited until the policy can be read, and has not been looked at since.
    reason = Reason.RUN_FAILED if run.over else Reason.RUN_PAUSED
    return reason, f"PatchRun {run.metadata.name}: {ready.message}"


def _run_waits(runs: Runs) -> Finding | None:
    """A run is under way, with nothing in flight."""
    run = runs.current
    ready = find(run.status.conditions, ConditionType.READY) if run else None
    if run is None or ready is None or ready.reason not in _RUN_WAITS:
        return None
    awaited = ready.reason == Reason.AWAITING_APPROVAL
    reason = Reason.AWAITING_APPROVAL if awaited else Reason.RUN_UNDER_WAY
    return _fine(reason, f"PatchRun {run.metadata.name}: {ready.message}")


_RUN_WAITS = (
    Reason.AWAITING_APPROVAL,
    Reason.RUN_UNDER_WAY,
    Reason.SOAKING,
    Reason.READING_PATCH_SET,
    Reason.RECORDING_MEMBERS,
    Reason.INVENTORY_PENDING,
)


def _no_install_fits(timing: Timing) -> tuple[Reason, str] | None:
    shut = timing.opening
    if isinstance(shut, Shut) and shut.reason in NEEDS_A_PERSON:
        return shut.reason, shut.message
    return None


def _shut(machines: Sequence[PolicyMachine], timing: Timing) -> Shut | None:
    """What keeps machines that are due waiting for their time; None: nothing does."""
    shut = timing.opening
    if not isinstance(shut, Shut):
        return None
    waits = any(
        _condition(m, ConditionType.READY)[0] in (Reason.FROZEN, Reason.WAITING_FOR_WINDOW)
        for m in machines
    )
    return shut if waits or shut.reason is Reason.NO_WINDOW_LEFT else None


def _rest(machines: Sequence[PolicyMachine], install: bool) -> str:
    """What there is to say of a policy that has nothing in flight."""
    relevant = _counted(machines)
    others = [m for m in relevant if m.compliant != "True"]
    if not others:
        compliance = _compliant(machines, None).message
        return f"Nothing to do. {compliance}" if install else compliance
    states = {m.compliant for m in others}
    verdict = {
        frozenset({"False"}): "not compliant",
        frozenset({"Unknown"}): "not known to be compliant",
    }.get(frozenset(states), "not compliant, or not known to be")
    told = f"{_share(others, relevant)} {verdict}: {_with_reasons(others)}."
    return f"Nothing is in flight. {told}" if install else told


def _with_reasons(machines: Sequence[PolicyMachine]) -> str:
    shown = [f"{m.name} ({_why_not_compliant(m)})" for m in machines[:_NAMED]]
    return _and_more(shown, len(machines))


def _why_not_compliant(machine: PolicyMachine) -> str:
    """What it waits for; the reason of Compliant where it waits for nothing."""
    ready = _condition(machine, ConditionType.READY)[0]
    if ready in (Reason.UP_TO_DATE, Reason.ASSESS_ONLY):
        return _condition(machine, ConditionType.COMPLIANT)[0]
    return ready


def _none_workable(machines: Sequence[PolicyMachine]) -> list[Finding] | None:
    """Of each machine something else than azpatch must come first. None: not so of all. It is
    Stalled unless one of them may go on by itself."""
    relevant = _counted(machines)
    kept = [(reason, m) for m in relevant if (reason := kept_by(m)) is not None]
    if not kept or len(kept) < len(relevant):
        return None
    passing = [reason for reason, _ in kept if reason in PASSING]
    reason = worst_of(passing or [reason for reason, _ in kept])
    said = _delayed if passing else _stalled
    if len(kept) == 1:
        return said(reason, _condition(kept[0][1], ConditionType.READY)[1])
    names = _and_more([f"{m.name} ({why})" for why, m in kept[:_NAMED]], len(kept))
    return said(
        reason,
        f"Nothing can be sent to any of the {len(kept)} machines now: {names}; problems says why.",
    )


def _none_governable(
    machines: Sequence[PolicyMachine], governed: Sequence[PolicyMachine]
) -> tuple[Reason, str] | None:
    if not governed:
        if len(machines) == 1:
            return Reason.GOVERNED_ELSEWHERE, _condition(machines[0], ConditionType.READY)[1]
        return (
            Reason.GOVERNED_ELSEWHERE,
            f"Other policies govern all {len(machines)} machines; problems lists them.",
        )
    withheld = [m for m in governed if _condition(m, ConditionType.READY)[0] == _TOO_LOW]
    if len(withheld) == len(governed):
        return _TOO_LOW, _condition(withheld[0], ConditionType.READY)[1]
    unpaid = _unpaid(governed)
    if len(unpaid) == len(governed):
        return _UNPAID, _forecast(unpaid)
    if any(m.support is not Support.UNSUPPORTED for m in governed):
        return None
    if len(governed) == 1:
        reason, message = _condition(governed[0], ConditionType.SUPPORTED)
        return Reason(reason), message
    return (
        Reason.NONE_SUPPORTED,
        f"Azure can patch none of the {len(governed)} machines; problems says why for each.",
    )


def _unpaid(machines: Sequence[PolicyMachine]) -> list[PolicyMachine]:
    """Azure Arc-enabled servers whose AzureSubscription does not accept what they cost."""
    return [m for m in machines if _condition(m, ConditionType.READY)[0] == _UNPAID]


def _forecast(unpaid: Sequence[PolicyMachine]) -> str:
    names = sorted({m.target.metadata.labels.get(SUBSCRIPTION_LABEL, "") for m in unpaid})
    return not_accepted(len(unpaid), ", ".join(names))


def _condition(machine: PolicyMachine, type_: ConditionType) -> tuple[str, str]:
    found = find(machine.status.conditions, type_)
    return (found.reason, found.message) if found else ("", "")


def _too_many_failed(
    policy: PatchPolicy, machines: Sequence[PolicyMachine]
) -> tuple[Reason, str] | None:
    machines = [m for m in machines if holds_slots(m.target)]
    holding = [m for m in machines if held_by_failure(m.status)]
    supported = sum(m.governed and m.support is Support.SUPPORTED for m in machines)
    limit = share_of(supported, policy.spec.max_unavailable)
    taken = sum(unavailable(m.status) for m in machines)
    if not holding or len(holding) < limit or taken > len(holding):
        return None
    if not all(given_up(m.status) for m in holding):
        return None
    return (
        Reason.TOO_MANY_FAILED,
        f"{_named(holding)} failed and hold all {limit} slots of maxUnavailable. No install is "
        "started until an assessment of one of them succeeds, which is tried by itself. Look at "
        "them, or raise rollout.maxUnavailable.",
    )


def _groups_held(
    machines: Sequence[PolicyMachine], held_by: Sequence[str]
) -> tuple[Reason, str] | None:
    """None also while an install of the policy's own goes on."""
    going = any(unavailable(m.status) and not held_by_failure(m.status) for m in machines)
    if not held_by or going:
        return None
    names = _and_more(held_by[:_NAMED], len(held_by))
    return (
        Reason.TOO_MANY_FAILED,
        f"{names} failed and fill the groups (rollout.spread) of all machines that wait. No "
        "install is started until an assessment of one of them succeeds. Look at them, or raise "
        "maxUnavailable in rollout.spread.",
    )


def _named(machines: Sequence[PolicyMachine]) -> str:
    return _and_more([m.name for m in machines[:_NAMED]], len(machines))


def _and_more(shown: Sequence[str], count: int) -> str:
    names, more = ", ".join(shown), count - len(shown)
    return f"{names} and {more} more" if more > 0 else names


def _fine(reason: Reason, message: str) -> Finding:
    return Finding(ConditionType.READY, "True", reason, message)


def _delayed(reason: Reason, message: str) -> list[Finding]:
    return [
        Finding(ConditionType.READY, "False", reason, message),
        Finding(ConditionType.RECONCILING, "True", reason, message),
    ]


def _stalled(reason: Reason, message: str) -> list[Finding]:
    return [
        Finding(ConditionType.READY, "False", reason, message),
        Finding(ConditionType.STALLED, "True", reason, message),
    ]


# --- Supported and Compliant ----------------------------------------------------------------------


def _counted(machines: Sequence[PolicyMachine]) -> list[PolicyMachine]:
    return [m for m in machines if m.governed and not m.skipped]


def _empty(type_: ConditionType, trouble: Trouble | None) -> Finding:
    if trouble is not None:
        return Finding(type_, "Unknown", Reason.NO_MACHINES, "There is no machine to speak of.")
    return Finding(
        type_, "Unknown", Reason.NO_MACHINES, "The policy acts on no machine at present."
    )


def _supported(machines: Sequence[PolicyMachine], trouble: Trouble | None) -> Finding:
    type_ = ConditionType.SUPPORTED
    relevant = _counted(machines)
    if not relevant:
        return _empty(type_, trouble)
    refused = [m for m in relevant if m.support is Support.UNSUPPORTED]
    waiting = [m for m in relevant if m.support is Support.UNKNOWN]
    if refused:
        return Finding(
            type_,
            "False",
            Reason.SOME_UNSUPPORTED,
            f"Azure cannot patch {share(len(refused), len(relevant))}: {_named(refused)}.",
        )
    if waiting:
        return Finding(
            type_,
            "Unknown",
            Reason.SOME_UNKNOWN,
            f"Of {share(len(waiting), len(relevant))} it is not known yet: {_named(waiting)}.",
        )
    return Finding(type_, "True", Reason.ALL_SUPPORTED, f"Azure can patch {_all(len(relevant))}.")


def _compliant(machines: Sequence[PolicyMachine], trouble: Trouble | None) -> Finding:
    type_ = ConditionType.COMPLIANT
    relevant = _counted(machines)
    if not relevant:
        return _empty(type_, trouble)
    failing = [m for m in relevant if m.compliant == "False"]
    unknown = [m for m in relevant if m.compliant == "Unknown"]
    if failing:
        return Finding(
            type_,
            "False",
            Reason.SOME_NOT_COMPLIANT,
            f"{_share(failing, relevant)} not compliant: {_named(failing)}.",
        )
    if unknown:
        return Finding(
            type_,
            "Unknown",
            Reason.SOME_UNKNOWN,
            f"Of {share(len(unknown), len(relevant))} it is not known: {_named(unknown)}.",
        )
    verb = "is" if len(relevant) == 1 else "are"
    subject = _all(len(relevant)).capitalize()
    return Finding(type_, "True", Reason.COMPLIANT, f"{subject} {verb} compliant.")


def _share(some: Sequence[PolicyMachine], of: Sequence[PolicyMachine]) -> str:
    return share(len(some), len(of), ("is", "are"))


def _all(count: int) -> str:
    return "the machine" if count == 1 else f"all {count} machines"
