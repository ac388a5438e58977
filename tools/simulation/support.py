"""What a simulated machine may be sent, by the documents, what people declared and what was found.

A person's change is seen where an intent is written, but for a moment; a ConfigMap and the features
of a subscription are read every so often. So each has a few values that the operator may believe
in, and an operation is forbidden if all of them forbid it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from itertools import product
from typing import Any

from azpatch.kube.port import AZURE_SUBSCRIPTION, PATCH_POLICY, Object
from azsim.fleet import FeatureState
from azsim.journal import Entry, EventEntry
from judging import documents
from judging.azure_journal import Journal, Kind
from judging.documents import Document
from judging.invariants import LOOK
from judging.support import Circumstances, Found, Gate, Truth, allowing, found_by
from simulation import matrices
from simulation.apiserver import CONFIG_MAP, WatchEvent
from simulation.permissions import Declarations, View
from simulation.world import World

BELIEVED = timedelta(minutes=90)
"""For how long a ConfigMap that was replaced may still be what the operator goes by: it is read
with every resync, and what keeps it from that lasts an hour at most."""

READ = timedelta(minutes=10)
"""For how long a reading of the features may be on its way."""

PAGES = timedelta(seconds=2)
"""From its first page to its last."""


class SupportRules:
    """Of one world."""

    def __init__(self, world: World, declarations: Declarations) -> None:
        self._world = world
        self._declarations = declarations
        self._texts: dict[str, list[tuple[datetime, Document]]] = {}
        """Valid matrices of ConfigMaps, by name, oldest first."""
        self._gates: dict[str, list[tuple[datetime, Gate]]] = {}
        """What each reading of features could have shown, by subscription, oldest first."""
        self._assessed_before = {
            machine.id.lower(): machine.vm_id
            for machine in world.cloud.machines.values()
            if machine.assessment
        }
        for raw in world.api.list(CONFIG_MAP):
            self._take(raw)
        world.api.watchers.append(self._changed)
        world.journal.listeners.append(self._read)

    def forbidden(self, target: Object, kind: Kind, journal: Journal, lag: timedelta) -> str | None:
        """Why an operation must not be sent to a PatchTarget's machine; None: it may."""
        machine = target["spec"]["machineId"].lower()
        truth = self._world.fleet.truths[machine]
        found = self._found(kind, machine, truth, journal)
        if not found:
            return None  # It is deleted: nothing can begin on it.
        for view in self._declarations.views(lag):
            for around in self._circumstances(view, target):
                if found & allowing(kind, truth, around):
                    return None
        said = " or ".join(sorted(found))
        return f"{said} was found of a machine of {truth.image_class}, which forbids it"

    def may_install(self, target: Object) -> bool:
        """Whether the machine, whose guest has ended what it was at, can be patched as things are
        declared now."""
        truth = self._world.fleet.truths[target["spec"]["machineId"].lower()]
        [view] = self._declarations.views(timedelta(0))
        believed = list(self._circumstances(view, target))
        return bool(believed) and all(
            "nothing" in allowing("Assess", truth, around)
            and truth.detects in allowing("Install", truth, around)
            for around in believed
        )

    def _found(self, kind: Kind, machine: str, truth: Truth, journal: Journal) -> frozenset[Found]:
        """Of the machine that has the name, or had it when it was looked at last."""
        looked = self._world.clock.now() - LOOK
        now = self._world.cloud.machines.get(machine)
        vm_ids = {now.vm_id} if now is not None else set()
        vm_ids |= {
            event.details["vmId"]
            for event in journal.events("MachineDeleted")
            if event.resource == machine and event.time >= looked
        }
        operations, before = journal.operations(machine), self._assessed_before.get(machine)
        return frozenset[Found]().union(
            *(
                found_by(kind, operations, truth, journal.end, before == vm_id, vm_id)
                for vm_id in vm_ids
            )
        )

    def _circumstances(self, view: View, target: Object) -> Iterator[Circumstances]:
        """All that the operator may go by."""
        meta, machine = target["metadata"], target["spec"]["machineId"].lower()
        policy = view[PATCH_POLICY].get((meta["namespace"], target["spec"]["policy"]))
        subscription = next(
            (
                raw
                for raw in view[AZURE_SUBSCRIPTION].values()
                if raw["spec"]["subscriptionId"].lower() == machine.split("/")[2]
            ),
            None,
        )
        if policy is None or subscription is None:
            return
        spec, install = policy["spec"], policy["spec"].get("install") or {}
        for document, gate in product(
            self._documents(subscription["spec"]), self._gates_of(subscription["spec"])
        ):
            yield Circumstances(
                document,
                gate,
                probe=spec["assessment"].get("probeUnsupported", False),
                tried=install.get("onUndeterminedSupport") == "Try",
                billed=subscription["spec"].get("arcBilling") == "Accepted",
            )

    # --- documents --------------------------------------------------------------------------------

    def _documents(self, spec: dict[str, Any]) -> Iterable[Document]:
        if "supportMatrix" in spec:
            return [documents.revision(spec["supportMatrix"])]
        texts = self._texts.get(spec["supportMatrixRef"]["name"], [])
        return _since(texts, self._world.clock.now() - BELIEVED)

    def _changed(self, event: WatchEvent) -> None:
        if event.kind == CONFIG_MAP and event.change != "DELETED":
            self._take(event.object)

    def _take(self, raw: Object) -> None:
        text = raw["data"][matrices.KEY]
        if text not in matrices.BROKEN:
            texts = self._texts.setdefault(raw["metadata"]["name"], [])
            texts.append((self._world.clock.now(), documents.read(text)))

    # --- the preview feature ----------------------------------------------------------------------

    def _gates_of(self, spec: dict[str, Any]) -> Iterable[Gate]:
        if spec["previewFeature"]["mode"] == "Ignore":
            return ["open"]
        read = self._gates.get(spec["subscriptionId"].lower(), [])
        return _since(read, self._world.clock.now() - READ)

    def _read(self, entry: Entry) -> None:
        if isinstance(entry, EventEntry):
            if entry.event == "FaultBegan":
                self._interrupted(entry.time)
            return
        if entry.method != "GET":
            return
        path = entry.path.lower()
        if not path.endswith("/microsoft.compute/features"):
            return
        subscription = path.split("/")[2]
        gates = self._gates.setdefault(subscription, [])
        gates.append((entry.time, self._gate(subscription)))
        if entry.fault is not None or entry.status != 200:
            gates.append((entry.time, "unknown"))

    def _interrupted(self, when: datetime) -> None:
        """A reading of which the first page was answered may not have come to its last."""
        for gates in self._gates.values():
            if gates and when - gates[-1][0] < PAGES:
                gates.append((gates[-1][0], "unknown"))

    def _gate(self, subscription: str) -> Gate:
        features = list(self._world.cloud.subscriptions[subscription].features.values())
        if len(features) != 1:
            return "unknown"
        return "open" if features[0].state is FeatureState.REGISTERED else "closed"


def _since(values: list[tuple[datetime, Any]], since: datetime) -> list[Any]:
    """What came later, and what held then."""
    then = max((time for time, _ in values if time < since), default=since)
    return [value for time, value in values if time >= then]
