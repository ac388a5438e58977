"""Which operations go first where Azure takes only so many a minute: assessments yield to installs,
unless they are a part of one."""

from __future__ import annotations

from azpatch.api.policy import PatchPolicy
from azpatch.api.target import OperationKind, PatchTarget, PatchTargetStatus
from azpatch.domain.availability import unavailable
from azpatch.domain.plan import Standing
from azpatch.domain.run_entry import has_turn
from azpatch.domain.run_need import gathered


def yields(
    kind: OperationKind,
    policy: PatchPolicy,
    target: PatchTarget,
    status: PatchTargetStatus,
    standing: Standing,
) -> bool:
    """Whether it is an assessment that comes after the installs of all policies. `status`: newer
    than the target's own, with nothing in flight.

    The one that follows an install does not: with it the install ends, and its slot of
    maxUnavailable is free. Nor does one that an install waits for now: of a machine whose turn has
    come in a run, or that may belong in the run that is about to be made, or, without windows, of
    which it is not known whether an install is due.
    """
    if kind is not OperationKind.ASSESS or unavailable(status):
        return False
    opening = standing.opening
    return not has_turn(standing.part, opening) and not gathered(policy, target, status, opening)
