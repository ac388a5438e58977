"""One execution of a policy: which phase it is in, which waves have begun, and why no more.

Everything is counted anew from the PatchTargets each time: a crash loses nothing of it. What is
kept of the last time is which waves have begun, and when; and what failed, in which order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from azpatch.api.policy import PatchPolicy
from azpatch.api.reasons import Reason
from azpatch.api.rollout import Rollout, share_of
from azpatch.api.run import (
    OVER,
    Effective,
    PatchRun,
    PatchRunStatus,
    RunMembership,
    RunPhase,
)
from azpatch.api.target import PatchTarget, RunState
from azpatch.domain.conditions import merge
from azpatch.domain.forecast import Ahead, forecast
from azpatch.domain.one_time import expired
from azpatch.domain.opening import Open, Shut
from azpatch.domain.patch_set import pinning
from azpatch.domain.run_facts import RunFacts, RunMember, in_numbers, members_of, summed_up
from azpatch.domain.run_failures import Failures, failures_of
from azpatch.domain.run_gate import Stop, WaveProgress, gate, pause_of
from azpatch.domain.run_state import End, Soak, State, Untold, findings, state_of
from azpatch.domain.waves import waves_of
from azpatch.domain.words import sentences, share

TAGS_AGAIN = timedelta(seconds=30)
"""Until it is looked again whether the tags that a wave goes by have been read."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the run is."""

    status: PatchRunStatus
    again: datetime | None
    """When to look again at the latest; None: when something happens."""
    unread: tuple[RunMember, ...] = ()
    """Whose installs are to be read, for what they brought is to be pinned."""


def admitted(policy: PatchPolicy) -> Effective:
    """The terms of a run that begins now. The policy installs."""
    assert policy.spec.install is not None
    return Effective(install=policy.spec.install, rollout=policy.spec.rollout or Rollout())


def progress(
    run: PatchRun, policy_uid: str, effective: Effective, facts: RunFacts, now: datetime
) -> Progress:
    """The run's status, which says of each wave whether its machines may be installed on."""
    before = run.status
    membership = before.membership
    if membership is None and not facts.awaited and facts.members:
        membership = RunMembership(total=len(facts.members), recorded_time=now)
    waves = [WaveProgress(one, facts, before, now) for one in waves_of(effective.rollout)]
    failures = failures_of(run, facts.members)
    pause = pause_of(effective.rollout, len(facts.members), failures)
    deadline = before.approval_deadline or (facts.deadline if facts.unapproved else None)
    end = _abort(run, facts, pause) or _too_late(run, now) or _expired(facts, deadline, now)
    between = unread = None
    if membership is not None and end is None:
        found = pinning(effective, waves, facts, failures, now)
        effective, unread = found.effective, found.unread
        facts = replace(facts, unpinned=unread is not None)
        pause = pause or found.stop
        end, shut, between = _through(waves, effective.rollout, failures, facts, pause, now)
        pause = pause or shut
    if end is not None:
        pause = unread = None
    facts = replace(facts, deadline=deadline)
    state = state_of(waves, facts, membership, pause, between, end, unread)
    over = state.phase in OVER
    machines = in_numbers(facts.members, over=over)
    generation = run.metadata.generation or 0
    starts = [one.start for one in waves if one.start is not None]
    status = PatchRunStatus(
        observed_generation=generation,
        phase=state.phase,
        conditions=merge(before.conditions, findings(state), generation, now),
        policy_uid=policy_uid,
        effective=effective,
        membership=membership,
        machines=machines,
        waves=tuple(one.status(over=over) for one in waves),
        failures=failures.listed,
        failures_omitted=failures.omitted,
        failure_digests=failures.digests,
        approval_deadline=deadline,
        start_time=before.start_time or min(starts, default=None),
        expected_completion_time=_expected(
            state, waves, effective, facts, between.until if isinstance(between, Soak) else now
        ),
        completion_time=(before.completion_time or now) if over else None,
    )
    begins_by = run.spec.not_after if status.start_time is None else None
    looks = (begins_by, unread.until if unread else None, _goes_on(between, now))
    again = None if over else _again(facts, looks, now)
    return Progress(status, again, unread.members if unread else ())


def without_policy(run: PatchRun, now: datetime) -> PatchRunStatus:
    """There is no policy that installs, so there is nothing to do."""
    return told(
        run,
        State(
            RunPhase.FAILED,
            Reason.POLICY_MISSING,
            f"There is no PatchPolicy {run.spec.policy_ref.name} in this namespace any more that "
            "installs and that this run belongs to.",
        ),
        now,
    )


def told(run: PatchRun, state: State, now: datetime) -> PatchRunStatus:
    """A run of which there is nothing to tell but its state."""
    generation = run.metadata.generation or 0
    return run.status.replace(
        observed_generation=generation,
        phase=state.phase,
        conditions=merge(run.status.conditions, findings(state), generation, now),
        completion_time=(run.status.completion_time or now) if state.phase in OVER else None,
    )


def run_slots(run: PatchRun, effective: Effective, targets: Sequence[PatchTarget]) -> int:
    """maxUnavailable of a run, of its machines; none while failures have it paused."""
    members = members_of(run, targets)
    if pause_of(effective.rollout, len(members), failures_of(run, members)) is not None:
        return 0
    return share_of(len(members), effective.rollout.max_unavailable)


# --- its waves, and its end -----------------------------------------------------------------------


def _through(
    waves: Sequence[WaveProgress],
    rollout: Rollout,
    failures: Failures,
    facts: RunFacts,
    pause: Stop | None,
    now: datetime,
) -> tuple[End | None, Stop | None, Soak | Untold | None]:
    """Goes through the waves in their order and begins the next, if it may. All members are
    recorded."""
    for number, wave in enumerate(waves):
        after = waves[number + 1 :]
        if _is_passed_over(wave, waves[:number], after, facts):
            continue
        # For those that are over before they began nothing need vouch.
        later = [one for one in after if not one.over]
        if not wave.members and not later:
            break
        if not wave.members and wave.name in facts.untold:
            return None, None, Untold(wave.name)
        if wave.start is None and not wave.over:
            held = facts.suspended or facts.unapproved or facts.unpinned
            may = pause is None and not held and isinstance(wave.opening, Open)
            if not may:
                return None, None, None
            wave.start = now
        if not wave.over:
            return None, None, None
        if not later:
            break
        shut = gate(wave, rollout, failures)
        if shut is not None and gate(wave, rollout, failures.all_seen()) is None:
            return None, Stop(shut.reason, f"{shut.message} {failures.to_resume()}"), None
        if shut is not None:
            return End(RunPhase.FAILED, shut.reason, f"{shut.message} {_then(facts)}"), None, None
        until = wave.last_success + (wave.wave.soak or timedelta(0))
        if now < until:
            return None, None, Soak(until, wave.name)
    return _all_over(facts, pause), None, None


def _is_passed_over(
    wave: WaveProgress,
    before: Sequence[WaveProgress],
    after: Sequence[WaveProgress],
    facts: RunFacts,
) -> bool:
    """Its gate is not asked. Those before it have passed theirs."""
    if any(one.start is not None for one in after):
        # Its gate has opened, whatever became of its machines since.
        return True
    if wave.members:
        # Somebody else patched them all before its turn: a wave that the run did install on
        # vouches for those after it. Who was kept off, or skipped for any other reason, was not
        # patched, and that is what a gate is for.
        return wave.was_up_to_date and any(one.start is not None for one in before)
    # It was patched before, under this policy, and an assessment says that it went well; or
    # nobody waits for what is not known of it.
    left = any(not one.over for one in after)
    return wave.name in facts.up_to_date or (wave.name in facts.untold and not left)


def _then(facts: RunFacts) -> str:
    if facts.one_time:
        return "Look into it, and make another run."
    return "The next window's run begins with it again."


def _abort(run: PatchRun, facts: RunFacts, pause: Stop | None) -> End | None:
    if run.spec.cancelled:
        return End(RunPhase.CANCELLED, Reason.RUN_CANCELLED, "spec.cancelled is true.")
    if facts.abandoned:
        return End(
            RunPhase.CANCELLED,
            Reason.RUN_CANCELLED,
            f"PatchPolicy {run.spec.policy_ref.name} is gone, or does not install any more.",
        )
    if run.status.effective is None or facts.members or facts.awaited:
        return None
    if pause is not None:
        return End(RunPhase.FAILED, pause.reason, "None of its machines is there any more.")
    return End(
        RunPhase.SUCCEEDED,
        Reason.COMPLETE,
        sentences("No machine is due: nothing was to do.", _left_out(facts)),
    )


def _expired(facts: RunFacts, deadline: datetime | None, now: datetime) -> End | None:
    if not facts.unapproved or deadline is None or now < deadline:
        return None
    return End(
        RunPhase.CANCELLED,
        Reason.APPROVAL_EXPIRED,
        "Nobody approved the run before its window ended. The next window has a run of its own.",
    )


def _too_late(run: PatchRun, now: datetime) -> End | None:
    """A one-time run that has begun goes on."""
    not_after = run.spec.not_after
    if not_after is None or now < not_after or run.status.start_time is not None:
        return None
    return End(RunPhase.FAILED, Reason.EXPIRED, expired(run))


def _all_over(facts: RunFacts, pause: Stop | None) -> End:
    message = sentences(summed_up(facts.members), _left_out(facts))
    if pause is not None:
        return End(RunPhase.FAILED, pause.reason, message)
    return End(RunPhase.SUCCEEDED, Reason.COMPLETE, message)


def _left_out(facts: RunFacts) -> str:
    if not facts.not_due:
        return ""
    verb = "was" if facts.not_due == 1 else "were"
    return (
        f"{share(facts.not_due, facts.named)} that it names {verb} not due, or could not be "
        "patched: the PatchTargets say why."
    )


def _expected(
    state: State,
    waves: Sequence[WaveProgress],
    effective: Effective,
    facts: RunFacts,
    since: datetime,
) -> datetime | None:
    """While it goes on by itself. `since`: when the next install may start, but for windows."""
    if state.phase not in (RunPhase.WAITING, RunPhase.RUNNING) or facts.suspended:
        return None
    ahead = [
        Ahead(
            one.count(RunState.PENDING),
            one.wave.soak or timedelta(0),
            facts.calendars[one.name],
        )
        for one in waves
        if one.count(RunState.PENDING) and one.name in facts.calendars
    ]
    at_once = share_of(len(facts.members), effective.rollout.max_unavailable)
    return forecast(ahead, at_once, effective.install.maximum_duration, since)


def _goes_on(between: Soak | Untold | None, now: datetime) -> datetime | None:
    if between is None:
        return None
    return between.until if isinstance(between, Soak) else now + TAGS_AGAIN


def _again(facts: RunFacts, looks: Iterable[datetime | None], now: datetime) -> datetime | None:
    times: list[datetime | None] = [one.holds_until for one in facts.openings.values()]
    times += [one.next for one in facts.openings.values() if isinstance(one, Shut)]
    times += [facts.deadline] if facts.unapproved else []
    times += looks
    return min((one for one in times if one is not None and one > now), default=None)
