"""rollout.spread: the groups of those who ask are looked at, and who waits for one is woken.

Counted is anew each time, from every PatchTarget of the cluster and every slot that is held, so
that a restart forgets nothing. Most fleets have no groups: nobody looks at other policies' machines
then.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain

from azpatch.api.common import ConditionType
from azpatch.api.policy import PatchPolicy
from azpatch.api.reasons import Reason
from azpatch.api.target import PatchTarget
from azpatch.domain import spread as decide
from azpatch.domain.availability import given_up, machine_unavailable, unavailable
from azpatch.domain.conditions import find
from azpatch.domain.ids import key as machine_key
from azpatch.domain.spread import (
    Asking,
    Group,
    Limits,
    Place,
    Taken,
    limits,
    machines_of,
    place_of,
    shares_of,
)
from azpatch.kube.port import PATCH_POLICY
from azpatch.reconcile.context import Context
from azpatch.reconcile.queue import Key
from azpatch.reconcile.slots import Granted
from azpatch.reconcile.store import Stored, busy


def choose(
    context: Context, policy: PatchPolicy, line: Sequence[str], free: int
) -> Mapping[str, Limits]:
    """Who of the policy's machines that ask gets one of the free slots: see `Slots.hand_out`. For
    whose groups there is no room, the policy waits."""
    namespace, shares = policy.metadata.namespace or "", shares_of(policy.spec.spread)
    asking = [
        Asking(name, _machine(target), _place(context, target))
        for name in line
        if (target := context.store.target(namespace, name)) is not None
    ]
    held = tuple(context.slots.granted())
    promised = {group for slot in held for group in slot.limits}
    kinds = {*shares, *(group.kind for group in promised)}
    groups = {
        group
        for one in asking
        for group in one.place.groups(kinds)
        if group.kind in shares or group in promised
    }
    allowed = limits(groups, shares, _known(context))
    taken = _taken(context, groups, held) if groups else {}
    choice = decide.choose(asking, free, kinds, allowed, taken)
    name = (namespace, policy.metadata.name)
    context.slots.wait_for(name, choice.until_available, choice.until_begun)
    return choice.chosen


def held_by_failures(
    context: Context, policy: PatchPolicy, targets: Iterable[Stored[PatchTarget]]
) -> tuple[str, ...]:
    """Names of the failed machines that keep all of the policy's machines that wait from going, by
    their groups; those of another namespace are not named there."""
    shares = shares_of(policy.spec.spread)
    waiting = [_place(context, target) for target in targets if _waits(target)]
    groups = {group for place in waiting for group in place.groups(shares)}
    if not groups:
        return ()
    failed_ones = (target for target in _unavailable_ones(context) if _failed(target))
    failed = machines_of(groups, _places(context, failed_ones))
    allowed = limits(groups, shares, _known(context))
    holding = decide.held_by(waiting, shares, allowed, failed)
    return tuple(sorted({_name_for(policy, context, machine) for machine in holding}))


def _waits(target: Stored[PatchTarget]) -> bool:
    ready = find(target.parsed.status.conditions, ConditionType.READY) if target.parsed else None
    return ready is not None and ready.reason == Reason.WAITING_FOR_SLOT


def _failed(target: Stored[PatchTarget]) -> bool:
    return target.parsed is not None and given_up(target.parsed.status)


def _name_for(policy: PatchPolicy, context: Context, machine: str) -> str:
    for target in context.store.targets_on(machine):
        if target.namespace == policy.metadata.namespace:
            return str(target.raw["spec"]["machineId"]).rsplit("/", 1)[-1]
    return "a machine of another namespace"


def wake_waiting(context: Context, machine: str) -> None:
    """Wakes the policies that wait for this machine, unless it takes up a place in its groups
    still. Where nobody sees to it any more, they say so."""
    if not context.slots.awaited(machine):
        return
    targets = context.store.targets_on(machine)
    if any(_has_slot(context, target) for target in targets):
        return
    available = not _unavailable(targets) or any(map(_failed, targets))
    for namespace, name in context.slots.let_go(machine, available=available):
        context.queue.add(Key(PATCH_POLICY.kind, namespace, name))


def _taken(
    context: Context, groups: Iterable[Group], held: Iterable[Granted]
) -> dict[Group, Taken]:
    """The machines of each group that are unavailable, or have a slot, under whatever policy."""
    promised: dict[Group, dict[str, int]] = {group: {} for group in groups}
    with_slot = []
    for slot in held:
        target = context.store.target(slot.policy[0], slot.target)
        if target is None:
            continue
        with_slot.append(target)
        for group in promised.keys() & slot.limits.keys():
            promised[group][_machine(target)] = slot.limits[group]
    holding = chain(_unavailable_ones(context), with_slot)
    found = machines_of(promised, _places(context, holding))
    return {group: Taken(machines, promised[group]) for group, machines in found.items()}


def _unavailable_ones(context: Context) -> Iterator[Stored[PatchTarget]]:
    """The PatchTargets by which machines are unavailable, of all policies."""
    for target in context.store.targets():
        # Of most this is enough to know.
        maybe = busy(target) if target.parsed is None else unavailable(target.parsed.status)
        if maybe and _unavailable(context.store.targets_on(_machine(target))):
            yield target


def _unavailable(targets: Sequence[Stored[PatchTarget]]) -> bool:
    """Whether a machine is, by all of its PatchTargets."""
    if any(target.parsed is None and busy(target) for target in targets):
        return True
    return machine_unavailable([target.parsed.status for target in targets if target.parsed])


def _has_slot(context: Context, target: Stored[PatchTarget]) -> bool:
    policy = str((target.raw.get("spec") or {}).get("policy", ""))
    return context.slots.has((target.namespace, policy), target.name)


def _known(context: Context) -> Iterator[tuple[str, Place]]:
    """Where every machine is that Azure shows."""
    for subscription in context.inventory.subscriptions():
        for machine, found in subscription.machines.items():
            yield machine, place_of(machine, found, None)


def _places(
    context: Context, targets: Iterable[Stored[PatchTarget]]
) -> Iterator[tuple[str, Place]]:
    for target in targets:
        yield _machine(target), _place(context, target)


def _place(context: Context, target: Stored[PatchTarget]) -> Place:
    recorded = target.parsed.status.machine if target.parsed else None
    machine = _machine(target)
    return place_of(machine, context.inventory.machine(machine), recorded)


def _machine(target: Stored[PatchTarget]) -> str:
    return machine_key(str((target.raw.get("spec") or {}).get("machineId", "")))
