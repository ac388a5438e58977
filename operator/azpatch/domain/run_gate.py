"""What keeps a run from going on: a wave that vouches for nothing, and failures."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from azpatch.api.reasons import Reason
from azpatch.api.rollout import Rollout, Wave
from azpatch.api.run import PatchRunStatus, WaveStatus
from azpatch.api.target import RunState
from azpatch.domain.ids import key
from azpatch.domain.opening import Open
from azpatch.domain.run_facts import RunFacts, named
from azpatch.domain.run_failures import Failures, is_lost, keys_of
from azpatch.domain.words import counted

UNTIMELY = Open(None)
"""Of a wave of which nothing says when it may install."""


class WaveProgress:
    """One wave, in the making."""

    def __init__(self, wave: Wave, facts: RunFacts, before: PatchRunStatus, now: datetime) -> None:
        self.wave = wave
        self.name = wave.name
        self.members = [one for one in facts.members if one.entry.wave == wave.name]
        told = next((one for one in before.waves if one.name == wave.name), None)
        self.start = told.start_time if told else None
        self._end = told.end_time if told else None
        self._now = now
        self.opening = facts.openings.get(wave.name, UNTIMELY)

    @property
    def keys(self) -> frozenset[str]:
        """Its machines."""
        return frozenset(key(one.machine_id) for one in self.members)

    def count(self, state: RunState) -> int:
        """Its machines that are so far."""
        return sum(one.entry.state is state for one in self.members)

    @property
    def over(self) -> bool:
        """Each machine is at its end."""
        return not any(one.entry.under_way for one in self.members)

    @property
    def was_up_to_date(self) -> bool:
        """It has machines, and before it began nothing was missing on any of them any more."""
        ends = {(one.entry.state, one.entry.reason) for one in self.members}
        return self.start is None and ends == {(RunState.SKIPPED, Reason.UP_TO_DATE)}

    @property
    def open(self) -> bool:
        """Installs may start in it."""
        pending = self.count(RunState.PENDING) > 0
        return self.start is not None and pending and isinstance(self.opening, Open)

    @property
    def last_success(self) -> datetime:
        """When the last of its installs that succeeded ended; of machines that were made anew
        since, nothing tells but when the wave was over."""
        times = [
            one.installation.time
            for one in self.members
            if one.entry.state is RunState.SUCCEEDED and one.installation is not None
        ]
        return max(times, default=self.end)

    @property
    def end(self) -> datetime:
        """When the last of its machines was at its end. It is over."""
        return self._end or self._now

    def status(self, *, over: bool) -> WaveStatus:
        """In numbers. Of a run that is over nothing is pending: what was is skipped."""
        left = self.count(RunState.PENDING) if over else 0
        ended = self.start is not None and self.over
        return WaveStatus(
            name=self.name,
            machines=len(self.members),
            succeeded=self.count(RunState.SUCCEEDED),
            failed=self.count(RunState.FAILED),
            skipped=self.count(RunState.SKIPPED) + left,
            start_time=self.start,
            end_time=self.end if ended else None,
        )


@dataclass(frozen=True, slots=True)
class Stop:
    """Why the run does not go on: for a program, and for a person."""

    reason: Reason
    message: str


def gate(wave: WaveProgress, rollout: Rollout, failures: Failures) -> Stop | None:
    """Why what this wave came to does not vouch for the next; None: it does. A failure that
    somebody has seen to is not of the wave any more; one that nobody has is, though its machine
    may be gone."""
    succeeded = wave.count(RunState.SUCCEEDED)
    unseen = [one for one in failures.unseen if one.wave == wave.name]
    of = (wave.keys | keys_of(unseen)) - keys_of(failures.seen)
    needed = max(1, _at_least(len(of), rollout.min_succeeded))
    if succeeded >= needed and not any(map(is_lost, unseen)):
        return None
    if not wave.members:
        return Stop(
            Reason.GATE_NOT_PASSED,
            f"Wave {wave.name} has no machine that is due, and no compliant one, so nothing "
            "vouches for those after it. See that its tags mean machines, and that the "
            "AzureSubscriptions of the policy's machines are Ready.",
        )
    return Stop(
        Reason.GATE_NOT_PASSED,
        f"Wave {wave.name} is over: {_tally(wave)}. For the next to begin {needed} must have "
        f"succeeded (rollout.minSucceeded {rollout.min_succeeded}), and each must have come back.",
    )


def _at_least(total: int, share: int | str) -> int:
    if isinstance(share, int):
        return min(share, total)
    return -(-total * int(share.removesuffix("%")) // 100)


def _tally(wave: WaveProgress) -> str:
    parts = [
        (wave.count(RunState.SUCCEEDED), "succeeded"),
        (wave.count(RunState.FAILED), "failed"),
        (wave.count(RunState.SKIPPED), "skipped"),
    ]
    told = ", ".join(f"{number} {what}" for number, what in parts if number)
    return f"of {counted(len(wave.members), 'machine')} {told}"


def pause_of(rollout: Rollout, machines: int, failures: Failures) -> Stop | None:
    """Why failures stop a run of so many machines; None: they do not."""
    unseen = [one.machine_id for one in failures.unseen]
    lost = [one.machine_id for one in failures.unseen if is_lost(one)]
    if lost:
        return Stop(
            Reason.NOT_BACK,
            f"{named(lost)} did not come back after the reboot. {failures.to_resume()}",
        )
    allowed = failures_allowed(rollout, machines)
    if len(unseen) <= allowed:
        return None
    return Stop(
        Reason.TOO_MANY_FAILED,
        f"{named(unseen)} failed, and rollout.maxFailed allows {allowed}. {failures.to_resume()}",
    )


def failures_allowed(rollout: Rollout, machines: int) -> int:
    """maxFailed of a run: a count, or a percentage of its machines, rounded down."""
    most = rollout.max_failed
    return most if isinstance(most, int) else machines * int(most.removesuffix("%")) // 100
