"""Which machine of a run goes in which wave."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from azpatch.api.rollout import Rollout, Wave
from azpatch.domain.selector import carries

ALL = Wave(name="all", machines="100%")
"""The wave of a rollout that declares none."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A machine that is to be in a run."""

    key: str
    """Of its id."""
    tags: Mapping[str, str]
    ready: bool
    """Something could be sent to it now. One that is off vouches for nothing, so it goes late."""


def waves_of(rollout: Rollout) -> tuple[Wave, ...]:
    """The waves that a run goes through: one at least."""
    return rollout.waves or (ALL,)


def windows_of_waves(*rollouts: Rollout | None) -> Mapping[str, tuple[str, ...]]:
    """Names of the windows of each wave that has windows of its own, by the wave's name; of two
    waves of one name the last one's."""
    waves = {one.name: one for rollout in rollouts if rollout for one in rollout.waves}
    return {name: one.windows for name, one in waves.items() if one.windows is not None}


def assign(
    waves: Sequence[Wave], candidates: Sequence[Candidate], taken: Mapping[str, str]
) -> Mapping[str, str]:
    """The wave of each machine, by its key. `taken`: those that have one already.

    The order is a hash's, so that the same machines go first each time. A wave by share has one
    machine at least, as long as there is one: a canary that is nobody would hold up all others.
    """
    left = sorted((one for one in candidates if one.key not in taken), key=_order)
    total, before = len(left) + len(taken), 0
    there = Counter(taken.values())
    assigned = dict(taken)
    for wave in waves:
        here = there[wave.name]
        if wave.tags is not None:
            meant = carries(wave.tags)
            chosen = [one for one in left if meant(one.tags)]
        else:
            assert wave.machines is not None
            room = max(_up_to(total, wave.machines) - before - here, 0 if here else 1)
            chosen = left[:room]
        assigned.update((one.key, wave.name) for one in chosen)
        left = [one for one in left if one.key not in assigned]
        before += here + len(chosen)
    return assigned


def _up_to(total: int, share: int | str) -> int:
    """How many machines a wave and those before it take together, rounded up."""
    if isinstance(share, int):
        return share
    return -(-total * int(share.removesuffix("%")) // 100)


def _order(candidate: Candidate) -> tuple[bool, str]:
    return not candidate.ready, hashlib.sha256(candidate.key.encode()).hexdigest()
