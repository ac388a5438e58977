"""rollout.spread: the groups of those who ask are looked at, and who waits for one is woken.

Counted is anew each time, from every PatchTarget of the cluster and every slot that is held, so
that a restart forgets nothing. Most fleets have no groups: nobody looks at other policies' machines
then.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from azpatch.api.policy import PatchPolicy
from azpatch.api.target import PatchTarget
from azpatch.domain import spread as decide
from azpatch.domain.availability import machine_unavailable, unavailable
from azpatch.domain.ids import key as machine_key
from azpatch.domain.spread import Asking, Group, Place, groups_of, limits, place_of
from azpatch.kube.port import PATCH_POLICY
from azpatch.reconcile.context import Context
from azpatch.reconcile.queue import Key
from azpatch.reconcile.store import Stored, busy


def choose(
    context: Context, policy: PatchPolicy, line: Sequence[str], free: int
) -> tuple[str, ...]:
    """Who of the policy's machines that ask gets one of the free slots: see `Slots.hand_out`. For
    whose groups there is no room, the policy waits."""
    namespace, entries = policy.metadata.namespace or "", policy.spec.spread
    asking = [
        Asking(name, _machine(target), _place(context, target))
        for name in line
        if (target := context.store.target(namespace, name)) is not None
    ]
    groups = groups_of(entries, (one.place for one in asking))
    choice = decide.choose(
        asking,
        free,
        entries,
        limits(groups, _known(context)),
        _taken(context, groups) if groups else {},
    )
    context.slots.wait_for((namespace, policy.metadata.name), choice.waits_for)
    return choice.chosen


def wake_waiting(context: Context, machine: str) -> None:
    """Wakes the policies that wait for this machine, unless it takes up a place in its groups
    still."""
    if not context.slots.awaited(machine):
        return
    targets = context.store.targets_on(machine)
    if _unavailable(targets) or any(_has_slot(context, target) for target in targets):
        return
    for namespace, name in context.slots.let_go(machine):
        context.queue.add(Key(PATCH_POLICY.kind, namespace, name))


def _taken(context: Context, groups: Iterable[Group]) -> dict[Group, set[str]]:
    """The machines of each group that are unavailable, or have a slot, under whatever policy."""
    taken: dict[Group, set[str]] = {group: set() for group in groups}
    for target in _holding(context):
        place, machine = _place(context, target), _machine(target)
        for group, machines in taken.items():
            if place.is_in(group):
                machines.add(machine)
    return taken


def _holding(context: Context) -> Iterator[Stored[PatchTarget]]:
    for target in context.store.targets():
        # Of most this is enough to know.
        maybe = busy(target) if target.parsed is None else unavailable(target.parsed.status)
        if maybe and _unavailable(context.store.targets_on(_machine(target))):
            yield target
    for (namespace, _), name in context.slots.granted():
        granted = context.store.target(namespace, name)
        if granted is not None:
            yield granted


def _unavailable(targets: Sequence[Stored[PatchTarget]]) -> bool:
    """Whether a machine is, by all of its PatchTargets."""
    if any(target.parsed is None and busy(target) for target in targets):
        return True
    return machine_unavailable([target.parsed.status for target in targets if target.parsed])


def _has_slot(context: Context, target: Stored[PatchTarget]) -> bool:
    policy = str((target.raw.get("spec") or {}).get("policy", ""))
    return context.slots.has((target.namespace, policy), target.name)


def _known(context: Context) -> Iterator[Place]:
    """Where every machine is that Azure shows."""
    for subscription in context.inventory.subscriptions():
        for found in subscription.machines.values():
            yield place_of(found.id, found, None)


def _place(context: Context, target: Stored[PatchTarget]) -> Place:
    recorded = target.parsed.status.machine if target.parsed else None
    machine = _machine(target)
    return place_of(machine, context.inventory.machine(machine), recorded)


def _machine(target: Stored[PatchTarget]) -> str:
    return machine_key(str((target.raw.get("spec") or {}).get("machineId", "")))
