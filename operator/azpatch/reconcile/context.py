"""What every reconciler works with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from pydantic import ValidationError

from azpatch.api.common import ApiModel, Condition, ConditionType, status_json
from azpatch.api.target import OPERATION_FINALIZER
from azpatch.azure.port import AzureClients
from azpatch.clock import Clock
from azpatch.domain.conditions import find, unreadable
from azpatch.kube.port import Kind, Kube, NotLeading, Object
from azpatch.reconcile.calendars import Calendars
from azpatch.reconcile.holds import Holds
from azpatch.reconcile.inventory import Inventory
from azpatch.reconcile.looks import Looks
from azpatch.reconcile.queue import Key, WorkQueue
from azpatch.reconcile.refresh import Refresher
from azpatch.reconcile.rereads import Rereads
from azpatch.reconcile.sight import Sight
from azpatch.reconcile.slots import Slots
from azpatch.reconcile.store import Store, Stored
from azpatch.reconcile.terms import Terms

_COUNTED_ANEW = frozenset(
    {"machines", "problems", "problemsOmitted", "oldestAssessmentTime", "nextWindow"}
)
"""Status fields of all kinds that tell how things are at each look, and remember nothing."""


@dataclass(frozen=True, slots=True)
class Context:
    """The ports, and what is kept in memory between reconciles."""

    clock: Clock
    random: Random
    kube: Kube
    azure: AzureClients
    store: Store
    queue: WorkQueue
    inventory: Inventory
    refresher: Refresher
    looks: Looks
    slots: Slots
    calendars: Calendars
    terms: Terms
    holds: Holds
    rereads: Rereads
    sight: Sight
    decided: dict[Key, int]
    """The generation of its policy that each PatchTarget was last decided by."""
    leading: Callable[[], bool]
    """Whether this process holds the Lease at this moment; asks a clock and nobody else."""

    def must_lead(self) -> None:
        """Raises NotLeading unless the Lease is held."""
        if not self.leading():
            raise NotLeading("the Lease is not held any more")

    async def write_status(self, stored: Stored[Any], status: ApiModel) -> Stored[Any]:
        """Writes a readable object's status if it differs from what is stored, and takes the answer
        in.

        Raises KubeError; Conflict where the object changed since it was read.
        """
        assert stored.parsed is not None
        if stored.parsed.status == status:
            return stored
        answer = await self.kube.replace_status(stored.kind, stored.raw, status_json(status))
        return self._take(stored, answer)

    async def write_unreadable(self, stored: Stored[Any]) -> None:
        """Says in the status of an object that it cannot be read, and no more what would be out of
        date soon. Raises KubeError."""
        raw = stored.raw.get("status") or {}
        try:
            before = [Condition.model_validate(c) for c in raw.get("conditions") or ()]
        except ValidationError:
            before = []
        told = unreadable(before, stored.error or "", stored.generation, self.clock.now())
        kept = {field: value for field, value in raw.items() if field not in _COUNTED_ANEW}
        wanted = {**kept, "conditions": [c.to_object() for c in told]}
        wanted["observedGeneration"] = stored.generation
        if wanted != raw:
            await self.kube.replace_status(stored.kind, stored.raw, wanted)

    async def tell_stall(
        self,
        stored: Stored[Any],
        before: Sequence[Condition],
        after: Sequence[Condition],
        action: str,
    ) -> None:
        """An Event when the object begins to wait for a person, or does for another reason."""
        stalled, was = find(after, ConditionType.STALLED), find(before, ConditionType.STALLED)
        if stalled is None or (was is not None and was.reason == stalled.reason):
            return
        await self.kube.event(
            stored.kind,
            stored.raw,
            warning=True,
            reason=stalled.reason,
            action=action,
            note=stalled.message,
        )

    def newest(self, stored: Stored[Any]) -> Stored[Any]:
        """The object as it is now: somebody else in this process may have written it since. Never
        another one that has its name."""
        found = self.store.get(stored.kind, stored.namespace, stored.name)
        return found if found is not None and found.uid == stored.uid else stored

    async def add_finalizer(self, stored: Stored[Any]) -> Stored[Any]:
        """Puts the operation finalizer on, if it is not there. Raises KubeError."""
        if OPERATION_FINALIZER in stored.finalizers:
            return stored
        return await self._finalizers(stored, [*stored.finalizers, OPERATION_FINALIZER])

    async def remove_finalizer(self, stored: Stored[Any]) -> Stored[Any]:
        """Takes the operation finalizer off, if it is there. Raises KubeError."""
        if OPERATION_FINALIZER not in stored.finalizers:
            return stored
        kept = [name for name in stored.finalizers if name != OPERATION_FINALIZER]
        return await self._finalizers(stored, kept)

    async def create(self, kind: Kind, body: Object) -> None:
        """Creates, and takes the answer in. Raises KubeError."""
        self.store.observe(kind, await self.kube.create(kind, body))

    async def _finalizers(self, stored: Stored[Any], names: Sequence[str]) -> Stored[Any]:
        answer = await self.kube.set_finalizers(stored.kind, stored.raw, names)
        return self._take(stored, answer)

    def _take(self, stored: Stored[Any], answer: Mapping[str, Any]) -> Stored[Any]:
        """The object as it is after our own write. The watch may have shown a newer one already."""
        self.store.observe(stored.kind, answer)
        return self.newest(stored)
