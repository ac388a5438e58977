"""Groups of machines that must not be unavailable together, and who of a policy may go therefore.

An availability set does not care who reboots its machines: a group is counted over all policies of
the cluster. It is the policy that wants to install whose `rollout.spread` says how many may be
unavailable.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from azpatch.api.rollout import Spread, SpreadBy, share_of
from azpatch.api.target import MachineStatus
from azpatch.domain.facts import Machine
from azpatch.domain.ids import key, subscription_of
from azpatch.domain.selector import region_of

ANYWHERE = frozenset(SpreadBy)


Kind = tuple[SpreadBy, str]
"""What makes machines a group; with the name of the tag in lower case, "" without one."""


@dataclass(frozen=True, slots=True)
class Group:
    """Machines of one availability set, of one zone, or with one value of a tag."""

    by: SpreadBy
    name: tuple[str, ...]
    """In the form in which names are compared: the set's id; subscription, region and zone; the
    tag and its value."""

    @property
    def kind(self) -> Kind:
        """Which groups it is one of."""
        return self.by, self.name[0] if self.by is SpreadBy.TAG else ""


def shares_of(entries: Iterable[Spread]) -> dict[Kind, int | str]:
    """maxUnavailable of the groups of each kind."""
    return {(one.by, (one.key or "").lower()): one.max_unavailable for one in entries}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a machine is, as far as it is known; all but its tags in the form in which it is
    compared."""

    availability_set: str | None = None
    zone: tuple[str, ...] | None = None
    """Subscription, region and zone: what zone 1 is, differs between subscriptions."""
    tags: Mapping[str, str] = field(default_factory=dict)
    unknown: frozenset[SpreadBy] = frozenset()
    """What is not known of it: it may be in any such group."""

    def group(self, kind: Kind) -> Group | None:
        """The group of this kind that the machine is in. None: in none, or it is not known."""
        by, tag = kind
        name: tuple[str, ...] | None = None
        match by:
            case SpreadBy.AVAILABILITY_SET if self.availability_set:
                name = (self.availability_set,)
            case SpreadBy.ZONE:
                name = self.zone
            case SpreadBy.TAG:
                value = next((v for name, v in self.tags.items() if name.lower() == tag), "")
                name = (tag, value) if value else None
        return Group(by, name) if name else None

    def groups(self, kinds: Iterable[Kind]) -> list[Group]:
        """Those that the machine is known to be in."""
        return [group for kind in kinds if (group := self.group(kind)) is not None]


def place_of(machine_id: str, found: Machine | None, recorded: MachineStatus | None) -> Place:
    """Where a machine is by the inventory (`found`). Until that has been read, after a restart, its
    PatchTarget still tells all but the tags (`recorded`)."""
    if found is not None:
        return Place(
            _set(found.availability_set),
            _zone(machine_id, found.location, found.zones[0] if found.zones else None),
            found.tags,
        )
    if recorded is not None:
        return Place(
            _set(recorded.availability_set),
            _zone(machine_id, recorded.location or "", recorded.zone),
            unknown=frozenset({SpreadBy.TAG}),
        )
    return Place(unknown=ANYWHERE)


def _set(id_: str | None) -> str | None:
    return key(id_) if id_ else None


def _zone(machine_id: str, location: str, zone: str | None) -> tuple[str, ...] | None:
    return (subscription_of(machine_id), region_of(location), zone) if zone else None


Limits = Mapping[Group, int]
"""How many machines of a group may be unavailable."""


@dataclass(frozen=True, slots=True)
class Asking:
    """A machine that asks for a slot."""

    name: str
    """Of its PatchTarget."""
    machine: str
    """Its key."""
    place: Place


@dataclass(frozen=True, slots=True)
class Taken:
    """Of the machines of a group, those that are unavailable, or have a slot; by key."""

    machines: Collection[str] = ()
    promised: Mapping[str, int] = field(default_factory=dict)
    """The limit with which a machine got its slot. Until it has begun, no other policy, which may
    allow more, must make it break what its own says."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Who may go, and for whom the others wait."""

    chosen: Mapping[str, Limits] = field(default_factory=dict)
    """By name, with the limits of the groups that the machine is in."""
    until_available: frozenset[str] = frozenset()
    """Keys of the machines that fill the groups of those who were passed over. As soon as one of
    them is available again, somebody may be able to go."""
    until_begun: frozenset[str] = frozenset()
    """Likewise, as soon as one of these has begun what its slot is for."""


def machines_of(
    groups: Iterable[Group], machines: Iterable[tuple[str, Place]]
) -> dict[Group, set[str]]:
    """Which of these machines, by key, are in each of the groups, or may be. In one pass: there may
    be thousands of machines, and of groups."""
    found: dict[Group, set[str]] = {group: set() for group in groups}
    kinds = {group.kind for group in found}
    for machine, place in machines:
        for group in place.groups(kinds):
            if group in found:
                found[group].add(machine)
        for group in found if place.unknown else ():
            if group.by in place.unknown:
                found[group].add(machine)
    return found


def limits(
    groups: Iterable[Group], shares: Mapping[Kind, int | str], known: Iterable[tuple[str, Place]]
) -> Limits:
    """How many machines of each group may be unavailable, of those that `shares` speaks of. A
    percentage is of the machines that are known to be in it (`known`), under a policy or not: what
    it protects is the group."""
    mine = {group: shares[group.kind] for group in groups if group.kind in shares}
    relative = [group for group, share in mine.items() if isinstance(share, str)]
    members = machines_of(relative, known) if relative else {}
    return {group: share_of(len(members.get(group, ())), share) for group, share in mine.items()}


def choose(
    line: Sequence[Asking],
    free: int,
    kinds: Collection[Kind],
    limits: Limits,
    taken: Mapping[Group, Taken],
) -> Choice:
    """Of those who ask, in this order, at most `free`, so that no group has more unavailable than
    its limit. `kinds`: which groups count, the policy's own and those of promises; `taken`: what of
    each is taken; `limits`: the policy's own.

    Who is passed over keeps its place in the line, and keeps nobody behind it from going. Of whom
    it is not known what groups it is in, waits until it is.
    """
    filled = {group: set(found.machines) for group, found in taken.items()}
    chosen: dict[str, Limits] = {}
    until_available: set[str] = set()
    until_begun: set[str] = set()
    for asking in line:
        if len(chosen) == free:
            break
        if any(by in asking.place.unknown for by, _ in kinds):
            continue
        sizes = {
            group: len(filled[group] | {asking.machine})
            for group in asking.place.groups(kinds)
            if group in taken
        }
        mine = {group: limits[group] for group in sizes if group in limits}
        full = [group for group, limit in mine.items() if sizes[group] > limit]
        broken = [
            machine
            for group, size in sizes.items()
            for machine, limit in taken[group].promised.items()
            if size > limit and machine != asking.machine
        ]
        if full or broken:
            until_available.update(*(filled[group] for group in full))
            until_begun.update(broken)
            continue
        chosen[asking.name] = mine
        for group in sizes:
            filled[group].add(asking.machine)
    return Choice(chosen, frozenset(until_available), frozenset(until_begun))


def held_by(
    waiting: Iterable[Place],
    kinds: Collection[Kind],
    limits: Limits,
    failed: Mapping[Group, Collection[str]],
) -> frozenset[str]:
    """The failed machines by which groups keep everybody waiting, until a person sees to them; none
    if somebody who waits may go on without. `failed`: keys of the failed machines of each group."""
    holding: set[str] = set()
    for place in waiting:
        full = [group for group in place.groups(kinds) if len(failed[group]) >= limits[group]]
        if not full:
            return frozenset()
        holding.update(*(failed[group] for group in full))
    return frozenset(holding)
