"""The failures of a run, in the order in which it saw them.

Who acknowledges three has seen to the first three, whatever becomes of these machines: one may be
deleted, or recover, and another fail, and that one nobody has seen to.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256

from azpatch.api.reasons import Reason
from azpatch.api.run import DIGESTS_KEPT, FAILURES_LISTED, PatchRun, RunFailure
from azpatch.api.target import RunState
from azpatch.domain.ids import key
from azpatch.domain.run_facts import RunMember, azure_said

_GONE = "a machine that is gone"
"""In place of the id of one of which only the digest was kept."""


@dataclass(frozen=True, slots=True)
class Failures:
    """All that there were so far."""

    known: tuple[RunFailure, ...]
    digests: tuple[str, ...]
    """Of those beyond FAILURES_LISTED."""
    acknowledged: int
    """So many that a person has seen to, from the first on."""

    @property
    def unseen(self) -> tuple[RunFailure, ...]:
        """Those that nobody has seen to."""
        return _not_recovered(self.known[self.acknowledged :])

    @property
    def seen(self) -> tuple[RunFailure, ...]:
        """Those that somebody has."""
        return _not_recovered(self.known[: self.acknowledged])

    @property
    def listed(self) -> tuple[RunFailure, ...]:
        """What the run's status has of them."""
        return self.known[:FAILURES_LISTED]

    @property
    def omitted(self) -> int | None:
        """How many more there are; None: none."""
        return max(0, len(self.known) - FAILURES_LISTED) or None

    def all_seen(self) -> Failures:
        """As if a person had seen to them."""
        return replace(self, acknowledged=len(self.known))

    def to_resume(self) -> str:
        """What a person does about them, in a sentence."""
        return (
            "Look into it; then set spec.acknowledgedFailures of the PatchRun to "
            f"{len(self.known)} to go on, or spec.cancelled to end it."
        )


def failures_of(run: PatchRun, members: Sequence[RunMember]) -> Failures:
    """Those that the run has told of before, and those that its members show since. Of more than
    DIGESTS_KEPT beyond those that are listed the last ones have no order."""
    listed, digests = run.status.failures, run.status.failure_digests
    bad = [one for one in members if has_failed(one)]
    if not listed and not bad:
        return Failures((), (), run.spec.acknowledged_failures)
    before = keys_of(listed)
    now = {k: one for one in members if (k := key(one.machine_id)) in before}
    told = [_now(one, now.get(key(one.machine_id))) for one in listed]
    there = {_digest(one): one for one in members} if digests else {}
    told += [_unlisted(there.get(digest)) for digest in digests]
    fresh = [
        one for one in bad if key(one.machine_id) not in before and _digest(one) not in digests
    ]
    fresh.sort(key=lambda one: one.machine_id)
    known = (*told, *map(_failure, fresh))
    beyond = fresh[max(0, FAILURES_LISTED - len(listed)) :]
    kept = (*digests, *map(_digest, beyond))[:DIGESTS_KEPT]
    return Failures(known, kept, run.spec.acknowledged_failures)


def keys_of(failures: Collection[RunFailure]) -> frozenset[str]:
    """The machines."""
    return frozenset(key(one.machine_id) for one in failures)


def has_failed(member: RunMember) -> bool:
    """Also one that is tried once more: two failures are not needed to see that something is
    wrong."""
    entry = member.entry
    return entry.state is RunState.FAILED or (
        entry.state is RunState.RUNNING and entry.reason is not None
    )


def is_lost(failure: RunFailure) -> bool:
    """It did not come back after its reboot."""
    return failure.reason == Reason.NOT_BACK


def _now(failure: RunFailure, member: RunMember | None) -> RunFailure:
    """Of a machine that is gone nothing more becomes known; and that something else kept the second
    try from being made, or from coming to its end, takes nothing back."""
    if member is None:
        return failure
    if member.entry.state is RunState.SUCCEEDED:
        return failure.replace(recovered=True)
    return _failure(member) if has_failed(member) else failure


def _unlisted(member: RunMember | None) -> RunFailure:
    if member is None:
        return RunFailure(machine_id=_GONE, reason=Reason.INSTALL_FAILED)
    return _now(_failure(member), member)


def _failure(member: RunMember) -> RunFailure:
    return RunFailure(
        machine_id=member.machine_id,
        wave=member.entry.wave,
        reason=member.entry.reason or Reason.INSTALL_FAILED,
        message=azure_said(member.installation),
    )


def _digest(member: RunMember) -> str:
    return sha256(key(member.machine_id).encode()).hexdigest()[:8]


def _not_recovered(failures: Sequence[RunFailure]) -> tuple[RunFailure, ...]:
    return tuple(one for one in failures if not one.recovered)
