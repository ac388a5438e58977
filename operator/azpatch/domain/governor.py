"""One governor per machine: of all policies that claim it, the one that acts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from azpatch.api.policy import Target


@dataclass(frozen=True, slots=True)
class Claim:
    """A policy's PatchTarget on a machine."""

    namespace: str
    policy: str
    specificity: int
    policy_created: datetime
    governs: bool
    """As its PatchTarget's status has it now."""
    busy: bool
    """An operation of this PatchTarget is in flight."""

    @property
    def identity(self) -> tuple[str, str]:
        """Namespace and name of the policy."""
        return (self.namespace, self.policy)


def specificity(target: Target) -> int:
    """How precisely a target names a machine: a machine before an image before a selector."""
    if target.machine_id is not None:
        return 2
    return 1 if target.gallery_image is not None else 0


def governor(claims: Sequence[Claim]) -> Claim:
    """The claim that acts, the same in whatever order the claims arrive.

    A claim with an operation in flight keeps the machine. Else the incumbent's namespace keeps it
    (at first sight: the older policy's, then the first in the alphabet), and inside that
    namespace the more specific target wins, then the name. `claims` is not empty.
    """
    busy = [claim for claim in claims if claim.busy]
    if busy:
        return min(busy, key=lambda claim: (not claim.governs, claim.identity))
    incumbents = [claim for claim in claims if claim.governs]
    first = min(incumbents or claims, key=lambda claim: (claim.policy_created, claim.identity))
    return min(
        (claim for claim in claims if claim.namespace == first.namespace),
        key=lambda claim: (-claim.specificity, claim.policy),
    )
