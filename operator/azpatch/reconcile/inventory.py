"""What Azure has, as last read: one entry a subscription, shared by all policies.

Absence is not deletion. A machine that a refresh no longer shows stays as it was until ARM itself
answers 404 for it: a role that was lost, too, makes Resource Graph answer with nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from azpatch.azure.port import AzureClient, AzureError
from azpatch.clock import Clock
from azpatch.domain.facts import (
    AssessmentResult,
    Feature,
    ImageDefinition,
    InstallationResult,
    Machine,
    MissingPatch,
    Permissions,
    Snapshot,
    Unread,
)
from azpatch.domain.ids import is_arc_server, key, subscription_of
from azpatch.domain.image import Definitions, Image, built_from, classify
from azpatch.reconcile.definitions import ImageDefinitions


@dataclass(frozen=True, slots=True)
class Changes:
    """What a refresh found different."""

    machines: frozenset[str] = frozenset()
    """Keys of machines whose model, image definition or assessment row changed, that came or that
    left."""
    subscription: bool = False
    """Something about the subscription itself: its features, rights, an error."""


@dataclass(frozen=True, slots=True)
class PatchesOf:
    """What an assessment found, and by which row it was asked for: a list that was not used at once
    must not pass for what a later assessment found."""

    row_time: datetime | None
    patches: tuple[MissingPatch, ...]


@dataclass(frozen=True, slots=True)
class _Concluded:
    """What a machine was built from, and what that was concluded from."""

    machine: Machine
    definition_key: str | None
    definition: ImageDefinition | Unread | None
    image: Image


@dataclass(slots=True)
class SubscriptionInventory:
    """One subscription. Mappings are by key; times are Azure's."""

    subscription_id: str
    client: AzureClient
    scopes: tuple[str, ...]
    """Where the rights that its grants need are looked up."""
    refreshed: timedelta | None = None
    """When Resource Graph last answered in full (`clock.elapsed()`); None: not yet."""
    error: AzureError | None = None
    """Why the last refresh failed; None if it did not."""
    machines: dict[str, Machine] = field(default_factory=dict)
    assessments: dict[str, AssessmentResult] = field(default_factory=dict)
    has_virtual_machines: bool = False
    """What shows that Microsoft.Compute is registered in the subscription."""
    gone: set[str] = field(default_factory=set)
    """Machines for which ARM answered 404."""
    missing: set[str] = field(default_factory=set)
    """Machines that Resource Graph stopped to show and ARM has not spoken of yet."""
    asked: dict[str, int] = field(default_factory=dict)
    """In which round ARM was asked about a missing machine last."""
    shrunk: int = 0
    """How many machines a refresh lost at once, when they were too many to believe it."""
    features: tuple[Feature, ...] | None = None
    """None: they cannot be read."""
    features_read: timedelta | None = None
    """When the reading that gave them began (`clock.elapsed()`); None: not read since something
    was done about them."""
    permissions: Mapping[str, tuple[Permissions, ...]] | None = None
    """By scope; None: they cannot be read."""
    rights_error: AzureError | None = None
    """Why the permissions cannot be read."""
    _images: dict[str, _Concluded] = field(default_factory=dict)

    def take(self, snapshot: Snapshot, known: Iterable[str], now: timedelta) -> Changes:
        """Takes in what Resource Graph shows; what it no longer shows becomes `missing`.

        `known` are ids of machines that were seen before this process began.
        """
        machines = {k: m for k, m in snapshot.machines.items() if self._mine(k)}
        rows = {k: r for k, r in snapshot.assessments.items() if self._mine(k)}
        before = set(self.machines) | ({key(id_) for id_ in known} - self.gone)
        lost = before - set(machines)
        # A tenth at once is more likely a lost role than that many deletions.
        self.shrunk = len(lost) if len(lost) * 10 > len(before) else 0
        self.missing = lost
        self.gone -= set(machines)
        changed = {k for k, m in machines.items() if self.machines.get(k) != m}
        newer = {k: r for k, r in rows.items() if self._newer(k, r)}
        # A machine that stays the same stays the same object, by which what was concluded of it
        # is found again.
        self.machines.update((k, machines[k]) for k in changed)
        self.assessments.update(newer)
        self.has_virtual_machines = not all(map(is_arc_server, self.machines))
        first = self.refreshed is None
        self.refreshed = now
        return Changes(frozenset(changed | newer.keys() | lost), first)

    def take_features(self, features: tuple[Feature, ...] | None, began: timedelta) -> bool:
        """Takes in the features, unless what is here was read later; True if they are news."""
        if self.features_read is not None and began < self.features_read:
            return False
        news = self.features != features
        self.features, self.features_read = features, began
        return news

    def _mine(self, machine_key: str) -> bool:
        """Whether a machine belongs here."""
        return subscription_of(machine_key) == self.subscription_id

    def take_row(self, machine_key: str, row: AssessmentResult) -> bool:
        """Takes in one assessment row; True if it is news."""
        if not self._newer(machine_key, row):
            return False
        self.assessments[machine_key] = row
        return True

    def confirm_gone(self, machine_key: str) -> None:
        """ARM answered 404."""
        self.missing.discard(machine_key)
        self.machines.pop(machine_key, None)
        self.assessments.pop(machine_key, None)
        self._images.pop(machine_key, None)
        self.gone.add(machine_key)

    def confirm_there(self, machine: Machine) -> None:
        """ARM shows the machine that Resource Graph does not. It does not say who manages the
        resource group, and a node of a cluster must not pass for a machine of its own: one that
        Resource Graph never showed to this process is not known until it does."""
        machine_key = key(machine.id)
        self.missing.discard(machine_key)
        known = self.machines.get(machine_key)
        if known is not None:
            self.machines[machine_key] = replace(machine, group_managed_by=known.group_managed_by)

    def image(self, machine_key: str, machine: Machine, definitions: Definitions) -> Image:
        """What a machine was built from. Concluded anew only where its model or its image
        definition is another: it is asked of thousands of machines at a time."""
        last = self._images.get(machine_key)
        if last is not None and last.machine is machine:
            of = last.definition_key
            if (definitions.get(of) if of else None) is last.definition:
                return last.image
        gallery = built_from(machine)
        definition = definitions.get(gallery.definition) if gallery else None
        image = classify(machine, definitions)
        self._images[machine_key] = _Concluded(
            machine, gallery.definition if gallery else None, definition, image
        )
        return image

    def made_from(self, definition_keys: Collection[str]) -> frozenset[str]:
        """Keys of the machines that were built from one of these image definitions."""
        if not definition_keys:
            return frozenset()
        return frozenset(
            machine_key
            for machine_key, machine in self.machines.items()
            if (image := built_from(machine)) and image.definition in definition_keys
        )

    def _newer(self, machine_key: str, row: AssessmentResult) -> bool:
        """Resource Graph's replicas may answer with an older row after a newer one."""
        old = self.assessments.get(machine_key)
        if old is None or old.last_modified is None:
            return old != row
        return (
            row != old
            and row.last_modified is not None
            and (row.last_modified >= old.last_modified)
        )


class Inventory:
    """Every configured subscription, by its id in lower case."""

    def __init__(self, clock: Clock) -> None:
        self._subscriptions: dict[str, SubscriptionInventory] = {}
        self.definitions = ImageDefinitions(clock)
        self.patches: dict[str, PatchesOf] = {}
        """What assessments found, by machine key, from when it was asked for until it is used."""
        self.installations: dict[str, InstallationResult] = {}
        """Resource Graph's newest install row, by machine key, while an install is followed."""

    def configure(self, subscription_id: str, client: AzureClient, scopes: tuple[str, ...]) -> bool:
        """Makes a subscription known, or changes how it is read. True if that is news."""
        mine = subscription_id.lower()
        old = self._subscriptions.get(mine)
        if old is None:
            self._subscriptions[mine] = SubscriptionInventory(mine, client, scopes)
            return True
        news = old.client is not client or old.scopes != scopes
        old.client, old.scopes = client, scopes
        return news

    def remove(self, subscription_id: str) -> None:
        """Forgets a subscription."""
        self._subscriptions.pop(subscription_id.lower(), None)

    def subscription(self, subscription_id: str) -> SubscriptionInventory | None:
        """One subscription."""
        return self._subscriptions.get(subscription_id.lower())

    def of(self, machine_id: str) -> SubscriptionInventory | None:
        """The subscription that an id lies in."""
        return self._subscriptions.get(subscription_of(machine_id))

    def subscriptions(self) -> tuple[SubscriptionInventory, ...]:
        """All of them."""
        return tuple(self._subscriptions.values())

    def machine(self, machine_id: str) -> Machine | None:
        """A machine as last read."""
        subscription = self.of(machine_id)
        return subscription.machines.get(key(machine_id)) if subscription else None

    def row(self, machine_id: str) -> AssessmentResult | None:
        """The newest assessment row seen."""
        subscription = self.of(machine_id)
        return subscription.assessments.get(key(machine_id)) if subscription else None

    def is_gone(self, machine_id: str) -> bool:
        """ARM itself said that the machine does not exist."""
        subscription = self.of(machine_id)
        return subscription is not None and key(machine_id) in subscription.gone

    def image(self, machine: Machine) -> Image:
        """What a machine was built from."""
        subscription = self.of(machine.id)
        if subscription is None:
            return classify(machine, self.definitions.known)
        return subscription.image(key(machine.id), machine, self.definitions.known)

    def image_awaited(self, machine: Machine) -> bool:
        """Its image definition has not been read, nor been refused: what it was built from may
        still turn out to be something else."""
        gallery = built_from(machine)
        if gallery is None:
            return False
        return self.definitions.known.get(gallery.definition) in (None, Unread.UNANSWERED)

    def images(self, subscription_id: str) -> list[Image]:
        """What each machine of a subscription was built from."""
        subscription = self.subscription(subscription_id)
        if subscription is None:
            return []
        known = self.definitions.known
        return [
            subscription.image(k, machine, known) for k, machine in subscription.machines.items()
        ]
