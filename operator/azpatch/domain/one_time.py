"""A run that a person made: which machines it is for, and whether it may begin."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from azpatch.api.common import ConditionType
from azpatch.api.policy import PatchPolicy
from azpatch.api.reasons import Reason
from azpatch.api.rollout import ApprovalMode
from azpatch.api.run import PatchRun, RunPhase
from azpatch.api.target import PatchTarget
from azpatch.domain.conditions import find
from azpatch.domain.ids import key as machine_key
from azpatch.domain.opening import Opening, Shut
from azpatch.domain.policy import deciding
from azpatch.domain.policy_machines import PolicyMachine
from azpatch.domain.policy_problems import PASSING
from azpatch.domain.run_need import gathering_until, is_awaited, may_join
from azpatch.domain.run_state import State, behind
from azpatch.domain.words import at, counted, sentences


@dataclass(frozen=True, slots=True)
class Asked:
    """What decides whether a one-time run may begin."""

    policy: PatchPolicy
    machines: Sequence[PolicyMachine]
    """The policy's, whether the run is for them or not."""
    other: str | None
    """The run of the policy that is under way."""
    opening: Opening
    """Whether its machines may be installed on now, whatever their waves."""
    since: datetime
    """When nothing else was in the way any more."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Not now, or never."""

    state: State
    again: datetime | None = None
    """When to ask again at the latest; None: when something changes."""
    gathers: bool = False
    """Only for what is being found out of its machines."""


def meant(run: PatchRun) -> Callable[[PatchTarget], bool]:
    """Whether the run is for a machine, if its policy governs it."""
    scope = run.spec.machines
    if scope is None or scope.ids is None:
        return lambda _target: True
    wanted = frozenset(map(machine_key, scope.ids))
    return lambda target: machine_key(target.spec.machine_id) in wanted


def admission(run: PatchRun, asked: Asked | None, now: datetime) -> Wait | None:
    """None: it may begin. `asked`: None where there is no policy that it could be a run of. It
    begins when azpatch would make a run of its own: in a window, or, if it must be approved,
    leadTime before, so that whoever approves it sees its machines."""
    not_after = run.spec.not_after
    if run.spec.cancelled:
        return _over(RunPhase.CANCELLED, Reason.RUN_CANCELLED, "spec.cancelled is true.")
    if not_after is None:
        return _over(
            RunPhase.FAILED,
            Reason.NOT_AFTER_MISSING,
            "A run that a person makes needs spec.notAfter: one that has not begun by then is "
            "over, so that whatever applies the manifest again does not patch again. Make another "
            "with it.",
        )
    if now >= not_after:
        return _over(RunPhase.FAILED, Reason.EXPIRED, expired(run))
    if asked is None:
        return _waits(
            run,
            Reason.POLICY_MISSING,
            f"There is no PatchPolicy {run.spec.policy_ref.name} in this namespace"
            f"{' that installs' if run.installs else ''}. The run waits for one until "
            f"spec.notAfter, {at(not_after)}: apply it, or make another run.",
        )
    return (
        _hindrance(run, asked)
        or _unknown(run, asked, not_after)
        or _not_yet(run, asked, not_after, now)
    )


def expired(run: PatchRun) -> str:
    """Why a one-time run that has not begun is over."""
    assert run.spec.not_after is not None
    ready = find(run.status.conditions, ConditionType.READY)
    waited = f" It waited: {ready.message}" if ready is not None and not run.over else ""
    return f"It had not begun by spec.notAfter, {at(run.spec.not_after)}.{waited}"


def _hindrance(run: PatchRun, asked: Asked) -> Wait | None:
    policy, name = asked.policy, asked.policy.metadata.name
    if policy.spec.suspend:
        return _waits(run, Reason.SUSPENDED, f"PatchPolicy {name} is suspended.")
    if deciding(policy) or _incomplete(policy):
        return _waits(
            run,
            Reason.NEW_GENERATION,
            f"PatchPolicy {name} is being decided; its condition Ready says what is missing.",
        )
    return None


def _incomplete(policy: PatchPolicy) -> bool:
    """Something is still to come that bears on which machines it means; that they are off is
    not."""
    reconciling = find(policy.status.conditions, ConditionType.RECONCILING)
    return reconciling is not None and reconciling.reason not in PASSING


def _unknown(run: PatchRun, asked: Asked, not_after: datetime) -> Wait | None:
    """It names a machine that the policy does not govern. It may be new, and come."""
    scope = run.spec.machines
    if scope is None or scope.ids is None:
        return None
    governed = {machine_key(one.target.spec.machine_id) for one in asked.machines if one.governed}
    strangers = [one for one in scope.ids if machine_key(one) not in governed]
    if not strangers:
        return None
    more = f", and {len(strangers) - 1} more that it names" if len(strangers) > 1 else ""
    return _waits(
        run,
        Reason.MACHINE_NOT_IN_POLICY,
        f"PatchPolicy {asked.policy.metadata.name} does not govern {strangers[0]}{more}. The run "
        f"waits for that until spec.notAfter, {at(not_after)}; or make another whose "
        "spec.machines.ids are machines of the policy.",
    )


def _not_yet(run: PatchRun, asked: Asked, not_after: datetime, now: datetime) -> Wait | None:
    if not run.installs:
        return None
    if asked.other is not None:
        return Wait(behind(asked.other), run.spec.not_after)
    opening = asked.opening
    if isinstance(opening, Shut):
        opens = _for_approval(asked.policy, opening)
        if opens is None or now < opens:
            times = (opening.next, opening.holds_until, opens)
            return _waits(run, opening.reason, opening.message, *times)
    return _gathering(run, asked, not_after, now)


def _for_approval(policy: PatchPolicy, shut: Shut) -> datetime | None:
    """From when on a run that must be approved is let in, for somebody to look at it; None: it is
    not before its window."""
    if policy.spec.approval.mode is ApprovalMode.NONE or shut.next is None:
        return None
    return shut.next - policy.spec.approval.lead_time


def _gathering(run: PatchRun, asked: Asked, not_after: datetime, now: datetime) -> Wait | None:
    """Whether some of its machines are due is not known yet. Those that may join do not wait for
    them for long; as long as nobody may, there is nothing to begin with."""
    is_for = meant(run)
    machines = [one for one in asked.machines if one.governed and is_for(one.target)]
    awaited = [one for one in machines if is_awaited(one)]
    until = gathering_until(asked.since, not_after) if any(map(may_join, machines)) else None
    if not awaited or (until is not None and now >= until):
        return None
    told = f"Whether an install is due is being found out of {_named(awaited)}."
    if until is not None:
        rest = f"The run begins at {at(until)} at the latest, with those that are due."
    else:
        rest = _only_awaited(awaited, not_after, others=len(machines) > len(awaited))
    told = f"{told} {rest}"
    return replace(_waits(run, Reason.RECORDING_MEMBERS, told, until), gathers=True)


def _only_awaited(awaited: Sequence[PolicyMachine], not_after: datetime, *, others: bool) -> str:
    """How it goes on where there is nobody to begin with."""
    without = f", or make another run without {'it' if len(awaited) == 1 else 'them'}"
    return sentences(
        "None of its other machines can be installed on now." if others else "",
        f"The run waits until spec.notAfter, {at(not_after)}, and fails then: see the PatchTarget "
        f"of {_first(awaited)}{without if others else ''}.",
    )


def _named(machines: Sequence[PolicyMachine]) -> str:
    """The first by name, and how many more."""
    first, more = _first(machines), len(machines) - 1
    return f"{first} and {counted(more, 'more machine')}" if more else first


def _first(machines: Sequence[PolicyMachine]) -> str:
    return min(machine.name for machine in machines)


def _over(phase: RunPhase, reason: Reason, message: str) -> Wait:
    return Wait(State(phase, reason, message))


def _waits(run: PatchRun, reason: Reason, message: str, *again: datetime | None) -> Wait:
    """Until notAfter, whatever comes."""
    times = [one for one in (run.spec.not_after, *again) if one is not None]
    return Wait(State(RunPhase.WAITING, reason, message), min(times))
