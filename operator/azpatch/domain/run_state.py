"""The phase of a run, and its conditions, in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from azpatch.api.common import ConditionType
from azpatch.api.reasons import Reason
from azpatch.api.run import PatchRun, RunMembership, RunPhase
from azpatch.api.target import RunState
from azpatch.domain.conditions import Finding, Status
from azpatch.domain.opening import NEEDS_A_PERSON, Shut
from azpatch.domain.patch_set import Unread
from azpatch.domain.run_facts import RunFacts
from azpatch.domain.run_gate import Stop, WaveProgress
from azpatch.domain.words import at, counted, sentences


@dataclass(frozen=True, slots=True)
class End:
    """The run is over, or will be when nothing is in flight."""

    phase: RunPhase
    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class Soak:
    """What the next wave waits for, with nothing wrong."""

    until: datetime
    wave: str


@dataclass(frozen=True, slots=True)
class Untold:
    """Whether a wave by tags that has nobody due may be passed over is not known yet."""

    wave: str


_NEEDS_A_PERSON = (
    *NEEDS_A_PERSON,
    Reason.NO_WINDOW_LEFT,
    Reason.PATCH_SET_NOT_SHOWN,
    Reason.INVALID_SPEC,
)
"""Why a run that is not halted does not go on by itself. Without a window for the wave whose turn
it is it would never end, and no other would begin."""

_MAY_COME = (Reason.POLICY_MISSING, Reason.MACHINE_NOT_IN_POLICY)


@dataclass(frozen=True, slots=True)
class State:
    """Where the run is, and why."""

    phase: RunPhase
    reason: Reason
    message: str

    @property
    def well(self) -> bool:
        """It needs nobody."""
        halted = self.phase in (RunPhase.PAUSED, RunPhase.FAILED)
        return not halted and self.reason not in _NEEDS_A_PERSON

    @property
    def delayed(self) -> bool:
        """What it needs may still come: it was applied before its policy."""
        return self.phase is RunPhase.WAITING and self.reason in _MAY_COME


def state_of(
    waves: Sequence[WaveProgress],
    facts: RunFacts,
    membership: RunMembership | None,
    pause: Stop | None,
    between: Soak | Untold | None,
    end: End | None,
    unread: Unread | None = None,
) -> State:
    """What counts most is told first: the end, what a person must do, then what is going on."""
    running = sum(one.entry.state is RunState.RUNNING for one in facts.members)
    flying = f"{counted(running, 'machine')} in progress" if running else ""
    if end is not None:
        if not running:
            return State(end.phase, end.reason, end.message)
        return State(
            RunPhase.CANCELLING,
            end.reason,
            sentences(end.message, f"Nothing more is started; {flying}."),
        )
    if membership is None:
        return State(
            RunPhase.WAITING,
            Reason.RECORDING_MEMBERS,
            f"{counted(facts.awaited, 'machine')} of {len(facts.members) + facts.awaited} do not "
            "say yet that they are in the run. Nothing starts before."
            if facts.awaited
            else "Its terms are written down; its machines are told next.",
        )
    if facts.unapproved:
        return State(
            RunPhase.AWAITING_APPROVAL,
            Reason.AWAITING_APPROVAL,
            f"{counted(len(facts.members), 'machine')} wait for somebody who has the verb approve "
            "on patchruns to set spec.approved, and spec.approvedBy to his or her own user name"
            + (f", before {at(facts.deadline)}." if facts.deadline else "."),
        )
    if pause is not None:
        return State(RunPhase.PAUSED, pause.reason, pause.message)
    if facts.suspended:
        phase = RunPhase.RUNNING if running else RunPhase.WAITING
        return State(
            phase,
            Reason.SUSPENDED,
            sentences("The policy is suspended: nothing more is started.", _dot(flying)),
        )
    wave = next((one for one in waves if one.members and not one.over), None)
    if isinstance(between, Soak):
        return State(
            RunPhase.WAITING,
            Reason.SOAKING,
            f"Wave {between.wave} passed its gate. The next begins at {at(between.until)}.",
        )
    if between is not None:
        return State(
            RunPhase.WAITING,
            Reason.INVENTORY_PENDING,
            f"Nobody is due in wave {between.wave}. Whether all of its machines are compliant is "
            "known when the tags of the policy's machines have been read.",
        )
    if unread is not None:
        return State(RunPhase.WAITING, unread.reason, unread.message)
    assert wave is not None
    left = counted(wave.count(RunState.PENDING), "machine")
    if running or wave.open:
        waits = f"{left} of wave {wave.name} wait for their turn" if wave.open else ""
        told = "; ".join(part for part in (flying, waits) if part)
        return State(RunPhase.RUNNING, Reason.RUN_UNDER_WAY, f"Wave {wave.name}: {told}.")
    return State(RunPhase.WAITING, *_shut(wave, left))


def behind(other: str) -> State:
    """Another run of the policy is under way, and there is one at a time."""
    return State(
        RunPhase.WAITING,
        Reason.WAITING_FOR_RUN,
        f"PatchRun {other} of the policy is under way. This one begins when that is over; set "
        "spec.cancelled of it to have it over sooner.",
    )


def policy_unread(run: PatchRun) -> State:
    """Its policy cannot be read: it stays where it is."""
    return State(
        run.status.phase or RunPhase.WAITING,
        Reason.INVALID_SPEC,
        f"This version of azpatch cannot read PatchPolicy {run.spec.policy_ref.name}. Until it "
        "can, nothing more is started, and the run stays as it is. The PatchPolicy's condition "
        "Ready says why, and what to do.",
    )


def _dot(text: str) -> str:
    return f"{text}." if text else ""


def _shut(wave: WaveProgress, left: str) -> tuple[Reason, str]:
    shut = wave.opening
    if not isinstance(shut, Shut):
        return Reason.RUN_UNDER_WAY, f"Wave {wave.name} is about to begin."
    way_out = _CANCEL if shut.reason is Reason.NO_WINDOW_LEFT else ""
    return shut.reason, sentences(f"{left} of wave {wave.name} wait. {shut.message}", way_out)


_CANCEL = "Or set spec.cancelled of the PatchRun: the next run goes by the policy as it is."


def findings(state: State) -> list[Finding]:
    """As kstatus reads them: Reconciling where something is missing that may come, Stalled where a
    person is needed, Complete or Failed at the end."""
    ready: Status = "True" if state.well and not state.delayed else "False"
    found = [Finding(ConditionType.READY, ready, state.reason, state.message)]
    if state.delayed:
        found.append(Finding(ConditionType.RECONCILING, "True", state.reason, state.message))
    if not state.well:
        found.append(Finding(ConditionType.STALLED, "True", state.reason, state.message))
    if state.phase is RunPhase.SUCCEEDED:
        found.append(Finding(ConditionType.COMPLETE, "True", state.reason, state.message))
    if state.phase in (RunPhase.FAILED, RunPhase.CANCELLED):
        found.append(Finding(ConditionType.FAILED, "True", state.reason, state.message))
    return found
