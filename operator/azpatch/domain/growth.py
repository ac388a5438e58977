"""Whether a policy means many more machines than before: somebody may have broadened its target and
not have known how far."""

from __future__ import annotations

from dataclasses import dataclass

from azpatch.api.common import ConditionType
from azpatch.api.policy import PatchPolicy
from azpatch.domain.conditions import find
from azpatch.domain.words import counted

MANY = 10
"""New machines at a time that are worth a word: a few come and go each day."""

FOR_EACH_OLD = 2
"""Likewise where there are one for each so many that the policy had: half as many as those. A fleet
that scales by a third is as it is meant to be."""

MANY_MORE_MACHINES = "ManyMoreMachines"
"""The reason of the Event."""


@dataclass(frozen=True, slots=True)
class Growth:
    """A policy is about to have many more machines."""

    had: int
    more: int


def growth(policy: PatchPolicy, had: int, more: int) -> Growth | None:
    """`more`: how many join that did not a moment ago. None: it is not worth a word, or the policy
    is new: nothing has been said of it yet."""
    new = find(policy.status.conditions, ConditionType.READY) is None
    return Growth(had, more) if had and not new and _many(had, more) else None


def told(policy: PatchPolicy, grown: Growth) -> str:
    """For a person, before any of them is patched."""
    return (
        f"The policy had {counted(grown.had, 'machine')} and means {grown.more} more from now on. "
        f"{_what_comes(policy)}"
    )


def _what_comes(policy: PatchPolicy) -> str:
    """And what to do if that was not meant."""
    if policy.spec.install is None:
        return (
            "They are assessed; the policy does not install. If they are not meant, narrow "
            "spec.target."
        )
    if policy.spec.suspend:
        return (
            "Nothing is started on them while spec.suspend is true. If they are not meant, narrow "
            "spec.target before you set that to false."
        )
    comes = "With schedule.always they are installed on as soon as they are due."
    if policy.spec.runs:
        comes = (
            "No PatchRun that is under way installs on them; the next one does, at once if a "
            "window is open and none is under way."
        )
    return f"{comes} If they are not meant, set spec.suspend to true, and narrow spec.target."


def _many(had: int, more: int) -> bool:
    return more >= MANY and more * FOR_EACH_OLD >= had
