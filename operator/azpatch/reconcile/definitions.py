"""Gallery image definitions: what machines were built from, each read once for all of them.

Resource Graph shows those of the subscriptions that we read, in bulk. One that machines were built
from and that is not among them lies elsewhere, is shared with us, or is gone: ARM is asked for it,
once, with the identity of the machines' subscription. What ARM said is kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta

import structlog

from azpatch.azure.port import AzureClient, AzureError, Denied, Gone, OverBudget
from azpatch.clock import Clock
from azpatch.domain.facts import ImageDefinition, Machine, Unread
from azpatch.domain.ids import subscription_of
from azpatch.domain.image import Definitions, GalleryImage, built_from

BELIEVED = timedelta(hours=24)
"""What a definition says never changes. It may be deleted, and made anew under its name."""

REFUSED_AGAIN_AFTER = timedelta(hours=1)
"""A definition that may not be read, or that is not there, is asked for again this late: a role
that was given shows within the hour, and a fleet of forty such images costs a read a minute."""

UNANSWERED_AGAIN_AFTER = timedelta(minutes=5)
"""One that Azure did not answer for is asked for again this late, and twice as late each time, up
to REFUSED_AGAIN_AFTER: some of what is no answer lasts, such as an identity that cannot sign in."""

AT_A_TIME = 8
"""Reads in flight: a fleet has few images, and all of its machines wait for them at the start."""

PATIENCE = timedelta(minutes=1)
"""For how long one refresh begins to read definitions. The rest waits for the next: the machines
are more important than how sure we are of their images."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Reading:
    """What ARM said of one definition."""

    found: ImageDefinition | Unread
    read: timedelta
    """When (`clock.elapsed()`)."""
    until: timedelta
    """Until then nobody asks again."""
    pause: timedelta = timedelta(0)
    """How long that was, where Azure did not answer."""


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A definition that machines were built from, and from where it is asked for."""

    image: GalleryImage
    places: Mapping[str, str]
    """Subscription → a location in which it has such machines."""


class ImageDefinitions:
    """One per process."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._shown: dict[AzureClient, Mapping[str, ImageDefinition]] = {}
        """What Resource Graph shows to each identity, by key."""
        self._readings: dict[AzureClient, dict[str, _Reading]] = {}
        """What ARM said to each identity, by key."""
        self._known: Definitions = {}

    @property
    def known(self) -> Definitions:
        """What is known of every definition that was read, or asked for in vain, by key."""
        return self._known

    async def refresh(
        self,
        client: AzureClient,
        shown: Mapping[str, ImageDefinition],
        machines: Iterable[Machine],
        others: Collection[AzureClient],
    ) -> frozenset[str]:
        """Takes in what Resource Graph shows to an identity, and asks ARM for what its machines
        were built from beside that and that the `others`, all in use, have not read. Keys of the
        definitions of which something else is known now.
        """
        wanted = _wanted(machines)
        kept = {k: r for k, r in self._readings.get(client, {}).items() if k in wanted}
        now = self._clock.elapsed()
        missing = [
            k
            for k in wanted
            if k not in shown
            and (k not in kept or now >= kept[k].until)
            and not any(self._reads(other, k, now) for other in others)
        ]
        # Those never asked for come first, then the oldest.
        missing.sort(key=lambda k: kept[k].read if k in kept else timedelta(0))
        read = await self._read({k: wanted[k] for k in missing}, client, kept)
        self._shown[client], self._readings[client] = shown, kept | read
        self._forget({client, *others})
        return self._merge()

    def _reads(self, client: AzureClient, definition_key: str, now: timedelta) -> bool:
        """Whether an identity could read a definition, not long ago."""
        if definition_key in self._shown.get(client, ()):
            return True
        reading = self._readings.get(client, {}).get(definition_key)
        return (
            reading is not None
            and now < reading.until
            and isinstance(reading.found, ImageDefinition)
        )

    def _forget(self, used: Collection[AzureClient]) -> None:
        """Drops what identities have read that are no longer used, once those in use have read for
        themselves: a secret that was replaced changes nothing."""
        if all(client in self._shown for client in used):
            for client in self._shown.keys() - used:
                del self._shown[client], self._readings[client]

    async def _read(
        self,
        wanted: Mapping[str, _Wanted],
        client: AzureClient,
        before: Mapping[str, _Reading],
    ) -> dict[str, _Reading]:
        """Of each definition what ARM says, or that it has not said anything yet."""
        begun = self._clock.elapsed()
        waiting = iter(wanted.items())
        readings: dict[str, _Reading] = {}

        async def some() -> None:
            for key_, one in waiting:
                late = self._clock.elapsed() - begun >= PATIENCE
                known = before.get(key_)
                readings[key_] = (
                    self._unasked(known) if late else await self._ask(client, one, known)
                )

        async with asyncio.TaskGroup() as tasks:
            for _ in range(min(AT_A_TIME, len(wanted))):
                tasks.create_task(some())
        return readings

    def _unasked(self, before: _Reading | None) -> _Reading:
        """What was known stays, and is asked for at the next refresh."""
        now = self._clock.elapsed()
        return replace(before or _Reading(Unread.UNANSWERED, now, now), until=now)

    def _unanswered(self, before: _Reading | None) -> _Reading:
        """What was known stays, and is asked for again later and later."""
        known = self._unasked(before)
        pause = sorted((UNANSWERED_AGAIN_AFTER, 2 * known.pause, REFUSED_AGAIN_AFTER))[1]
        return replace(known, until=known.until + pause, pause=pause)

    async def _ask(self, client: AzureClient, wanted: _Wanted, before: _Reading | None) -> _Reading:
        """What ARM says. A shared image is seen by the subscriptions that it is shared with, so
        each that has such machines asks, until one sees it."""
        refusals: set[Unread] = set()
        for subscription, location in wanted.places.items():
            try:
                found = await client.image_definition(wanted.image.spelt, subscription, location)
            except AzureError as error:
                log.info(
                    "image definition not read", definition=wanted.image.spelt, code=error.code
                )
                if isinstance(error, OverBudget):
                    return self._unasked(before)
                if not isinstance(error, Denied | Gone):
                    return self._unanswered(before)
                refusals.add(Unread.GONE if isinstance(error, Gone) else Unread.REFUSED)
            else:
                return self._said(found, BELIEVED)
        # One subscription's right to look does not make up for another's that lacks it.
        refused = Unread.REFUSED in refusals
        return self._said(Unread.REFUSED if refused else Unread.GONE, REFUSED_AGAIN_AFTER)

    def _said(self, found: ImageDefinition | Unread, holds: timedelta) -> _Reading:
        now = self._clock.elapsed()
        return _Reading(found, now, now + holds)

    def _merge(self) -> frozenset[str]:
        """Brings what is known up to date. What one identity may read, all know."""
        merged: dict[str, ImageDefinition | Unread] = {}
        readings = [item for each in self._readings.values() for item in each.items()]
        for definition_key, reading in sorted(readings, key=lambda item: _weight(item[1])):
            merged[definition_key] = reading.found
        for shown in self._shown.values():
            merged.update(shown)
        before, self._known = self._known, merged
        return frozenset(k for k in before.keys() | merged if before.get(k) != merged.get(k))


_BY_WEIGHT = (Unread.UNANSWERED, Unread.REFUSED, Unread.GONE)


def _weight(reading: _Reading) -> tuple[int, timedelta]:
    """Who was not refused knows more than who was; who has read it, more than who was told that it
    is not there, until told so too: a gallery is shared with some. Then, who was asked last."""
    found = reading.found
    weight = _BY_WEIGHT.index(found) if isinstance(found, Unread) else len(_BY_WEIGHT)
    return weight, reading.read


def _wanted(machines: Iterable[Machine]) -> dict[str, _Wanted]:
    """The gallery image definitions of these machines, by key."""
    wanted: dict[str, _Wanted] = {}
    places: dict[str, dict[str, str]] = {}
    for machine in machines:
        image = built_from(machine)
        if image is None:
            continue
        where = places.get(image.definition)
        if where is None:
            where = places[image.definition] = {}
            wanted[image.definition] = _Wanted(image, where)
        # One's own gallery is where it is, whoever asks.
        if image.shared or not where:
            where.setdefault(subscription_of(machine.id), machine.location)
    return wanted
