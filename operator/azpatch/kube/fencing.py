"""Nothing is written by a process that does not lead.

The resourceVersion of each write already keeps an old picture from overwriting a newer one. This is
stricter: a process that lost its Lease writes nothing at all, also where its picture is still true.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from azpatch.kube.port import Kind, Kube, NotLeading, Object


class LeadersOnly:
    """A `Kube` that reads always, and writes only while `leading`. Else raises NotLeading."""

    def __init__(self, kube: Kube, leading: Callable[[], bool]) -> None:
        self._kube = kube
        self._leading = leading

    async def get(self, kind: Kind, name: str, namespace: str = "") -> Object:
        """See Kube."""
        return await self._kube.get(kind, name, namespace)

    async def scan(self, kind: Kind, take: Callable[[Object], object]) -> Collection[str]:
        """See Kube."""
        return await self._kube.scan(kind, take)

    async def create(self, kind: Kind, body: Object) -> Object:
        """See Kube."""
        self._check(f"create of {kind.kind}")
        return await self._kube.create(kind, body)

    async def replace_status(self, kind: Kind, base: Object, status: Mapping[str, Any]) -> Object:
        """See Kube."""
        self._check(f"status of {kind.kind}")
        return await self._kube.replace_status(kind, base, status)

    async def set_finalizers(self, kind: Kind, base: Object, finalizers: Sequence[str]) -> Object:
        """See Kube."""
        self._check(f"finalizers of {kind.kind}")
        return await self._kube.set_finalizers(kind, base, finalizers)

    async def delete(self, kind: Kind, base: Object) -> None:
        """See Kube."""
        self._check(f"delete of {kind.kind}")
        await self._kube.delete(kind, base)

    async def secret(self, name: str) -> Mapping[str, bytes]:
        """See Kube."""
        return await self._kube.secret(name)

    async def config_map(self, name: str) -> Mapping[str, str]:
        """See Kube."""
        return await self._kube.config_map(name)

    async def event(
        self, kind: Kind, regarding: Object, *, warning: bool, reason: str, action: str, note: str
    ) -> None:
        """See Kube: it never raises, so it is not sent instead."""
        if self._leading():
            await self._kube.event(
                kind, regarding, warning=warning, reason=reason, action=action, note=note
            )

    def _check(self, what: str) -> None:
        if not self._leading():
            raise NotLeading(f"not sent, the Lease is not held any more: {what}")
