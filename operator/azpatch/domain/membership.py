"""Which machines a policy means, and which of its PatchTargets come, stay and go."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from azpatch.api.policy import PatchPolicy
from azpatch.api.reasons import Reason
from azpatch.api.subscription import AccessLevel, AzureSubscription, Grant
from azpatch.domain.facts import Machine
from azpatch.domain.grants import Namespace, access, any_access
from azpatch.domain.ids import key, subscription_of
from azpatch.domain.image import Image, matches
from azpatch.domain.selector import selects
from azpatch.domain.subscription import Trouble
from azpatch.domain.words import counted


@dataclass(frozen=True, slots=True)
class Scope:
    """One usable AzureSubscription, as membership looks at it."""

    name: str
    grants: Sequence[Grant]
    read: bool
    """Its inventory has been read at least once."""
    machines: Mapping[str, Machine]
    gone: frozenset[str]
    """Machines of which ARM itself says that they do not exist."""
    failing: bool = False
    """The last attempt to read it failed."""


@dataclass(frozen=True, slots=True)
class Member:
    """A machine under the policy."""

    machine_id: str
    azure_subscription: str


@dataclass(frozen=True, slots=True)
class Membership:
    """What to do about the PatchTargets, by key of the machine, and why there are none."""

    members: Mapping[str, Member]
    """Machines that the policy means now."""
    kept: frozenset[str]
    """Machines of PatchTargets of which nothing can be said now: they stay as they are."""
    trouble: Trouble | None


def usable(subscriptions: Sequence[AzureSubscription]) -> dict[str, AzureSubscription]:
    """The AzureSubscriptions that count, by subscription id: of several the first, and none that
    is being deleted. `subscriptions` are in order of seniority."""
    chosen: dict[str, AzureSubscription] = {}
    for subscription in subscriptions:
        chosen.setdefault(subscription.spec.subscription_id.lower(), subscription)
    return {id_: s for id_, s in chosen.items() if s.metadata.deletion_timestamp is None}


def membership(
    policy: PatchPolicy,
    namespace: Namespace,
    scopes: Mapping[str, Scope],
    present: frozenset[str],
    image_of: Callable[[Machine], Image],
    image_awaited: Callable[[Machine], bool],
) -> Membership:
    """`scopes` by subscription id; `present`: keys of the machines of the policy's PatchTargets;
    `image_of`: what a machine was built from; `image_awaited`: its image definition is still to be
    read, and may tell otherwise."""
    target = policy.spec.target
    if target.machine_id is not None:
        return _one(target.machine_id, namespace, scopes, present)
    if target.gallery_image is not None:
        image_id = target.gallery_image.id
        meant = _Meant(
            f"built from {image_id}",
            matches=lambda machine: matches(image_id, machine),
            may_match=lambda machine: False,
        )
        return _many(meant, namespace, scopes, scopes.values(), present)
    assert target.selector is not None
    selector, chosen = target.selector, selects(target.selector)
    by_image = bool(selector.image_classes or selector.os_types)
    # What was decided before may be edited: then it says nothing of who stays.
    decided = policy.status.observed_generation == policy.metadata.generation
    named = [one for one in scopes.values() if one.name in selector.azure_subscriptions]
    meant = _Meant(
        "that target.selector matches",
        matches=lambda machine: chosen(machine, image_of(machine)),
        may_match=lambda machine: by_image and decided and image_awaited(machine),
    )
    absent = sorted(set(selector.azure_subscriptions) - {one.name for one in named})
    found = _many(meant, namespace, scopes, named, present)
    return replace(found, trouble=_not_named(absent)) if absent else found


def _one(
    machine_id: str,
    namespace: Namespace,
    scopes: Mapping[str, Scope],
    present: frozenset[str],
) -> Membership:
    subscription_id, machine_key = subscription_of(machine_id), key(machine_id)
    scope = scopes.get(subscription_id)
    here = present & {machine_key}
    if scope is None:
        return Membership({}, here, _no_subscription(subscription_id))
    machine = scope.machines.get(machine_key)
    if machine is not None and access(scope.grants, namespace, machine) is not None:
        return Membership({machine_key: Member(machine.id, scope.name)}, frozenset(), None)
    granted = any_access(scope.grants, namespace)
    if granted and not scope.read:
        # What was said before a restart stands until it is known to be wrong.
        known = here and not scope.failing
        return Membership({}, here, None if known else _not_read(scope.name))
    unknown = machine is None and machine_key not in scope.gone and granted
    return Membership(
        {},
        here if unknown else frozenset(),
        _not_granted(machine_id, namespace.name, subscription_id),
    )


@dataclass(frozen=True, slots=True)
class _Meant:
    """Which machines a target with many means."""

    words: str
    """After "machine"."""
    matches: Callable[[Machine], bool]
    may_match: Callable[[Machine], bool]
    """Of one that does not match now and did before: whether that may be for lack of evidence."""


def _many(
    meant: _Meant,
    namespace: Namespace,
    scopes: Mapping[str, Scope],
    within: Iterable[Scope],
    present: frozenset[str],
) -> Membership:
    """`within`: the scopes that machines may be in."""
    members: dict[str, Member] = {}
    kept: set[str] = set()
    granting = [scope for scope in within if any_access(scope.grants, namespace)]
    for scope in granting:
        for machine_key, machine in scope.machines.items():
            if access(scope.grants, namespace, machine) is None:
                continue
            if meant.matches(machine):
                members[machine_key] = Member(machine.id, scope.name)
            elif machine_key in present and meant.may_match(machine):
                kept.add(machine_key)
    awaited = len(kept)
    known = {id_: scope.machines.keys() | scope.gone for id_, scope in scopes.items()}
    for machine_key in present - members.keys():
        subscription_id = subscription_of(machine_key)
        # A subscription that is not configured (any more) says nothing about its machines.
        if subscription_id not in known or machine_key not in known[subscription_id]:
            kept.add(machine_key)
    trouble = None
    if not members:
        trouble = (
            _images_awaited(awaited)
            if awaited
            else _none_now(meant.words, namespace.name, granting, kept, scopes)
        )
    return Membership(members, frozenset(kept), trouble)


def _none_now(
    meant: str,
    namespace: str,
    granting: Sequence[Scope],
    kept: set[str],
    scopes: Mapping[str, Scope],
) -> Trouble | None:
    """Why a policy has no machine that something can be said of."""
    if not kept:
        return _no_members(meant, namespace, granting)
    absent = sorted({subscription_of(key_) for key_ in kept} - scopes.keys())
    if absent:
        return _no_subscription(absent[0])
    failing = next((scope for scope in granting if not scope.read and scope.failing), None)
    if failing is not None:
        return _not_read(failing.name)
    return None if any(not scope.read for scope in granting) else _not_shown(len(kept))


def _no_subscription(subscription_id: str) -> Trouble:
    return Trouble(
        Reason.AZURE_SUBSCRIPTION_MISSING,
        f"No AzureSubscription in this cluster is for subscription {subscription_id}. This policy "
        "starts by itself when the platform team creates one.",
        stalled=False,
    )


def _not_named(absent: Sequence[str]) -> Trouble:
    return Trouble(
        Reason.AZURE_SUBSCRIPTION_MISSING,
        f"target.selector.azureSubscriptions names {', '.join(absent)}, and no AzureSubscription "
        "in this cluster that counts has that name. Its machines join when the platform team "
        "creates one; or take the name out. The others are looked after meanwhile.",
        stalled=False,
    )


def _not_read(name: str) -> Trouble:
    return Trouble(
        Reason.AZURE_SUBSCRIPTION_NOT_READY,
        f"The inventory of AzureSubscription {name} has not been read yet. This policy goes on "
        f"when it is; if that takes long, see: kubectl describe azsub {name}",
        stalled=False,
    )


def _images_awaited(count: int) -> Trouble:
    return Trouble(
        Reason.INVENTORY_PENDING,
        f"The image definitions that tell whether {counted(count, 'machine')} of the policy match "
        "have not been read yet. They stay under it meanwhile.",
        stalled=False,
    )


def _not_shown(count: int) -> Trouble:
    return Trouble(
        Reason.INVENTORY_SHRUNK,
        f"Resource Graph no longer shows the policy's {counted(count, 'machine')}, and Azure has "
        "not said that they are deleted. They are kept, and asked about at every refresh. If a "
        "role was removed, restore it.",
        stalled=False,
    )


def _not_granted(machine_id: str, namespace: str, subscription_id: str) -> Trouble:
    return Trouble(
        Reason.NOT_GRANTED,
        f"No machine {machine_id} that namespace {namespace} may patch. If it exists, the "
        f"platform team grants it in the AzureSubscription for {subscription_id}, spec.grants.",
        stalled=True,
    )


def _no_members(meant: str, namespace: str, granting: Sequence[Scope]) -> Trouble:
    unread = next((scope for scope in granting if not scope.read), None)
    if unread is not None:
        return _not_read(unread.name)
    return Trouble(
        Reason.NO_MACHINES,
        f"No machine {meant} that namespace {namespace} may patch. It is looked for "
        "at every refresh; if there are such machines, the platform team grants them in the "
        "AzureSubscription of their subscription, spec.grants.",
        stalled=True,
    )


def lowest_access(policy: PatchPolicy) -> AccessLevel:
    """The access that all of the policy's operations need."""
    if policy.spec.install is not None:
        return AccessLevel.PATCH
    if policy.spec.assessment.mode == "Operator":
        return AccessLevel.ASSESS
    return AccessLevel.READ
