"""A machine as Azure shows it now, for whoever is about to send something or waits for its end.

Of a virtual machine ARM shows all: one GET. Of an Azure Arc-enabled server it shows nothing that
runs or ran; there Resource Graph's rows of this one machine are read beside it, so that whoever
looks sees the same of both kinds.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from azpatch.api.common import MachineKind
from azpatch.azure.port import AzureClient, AzureError
from azpatch.domain.facts import AssessmentResult, InstallationResult, MachineView
from azpatch.domain.ids import key


@dataclass(slots=True)
class _Batch:
    """Machines whose rows are read by one query of each kind, and the answer."""

    keys: set[str] = field(default_factory=set)
    assessments: Mapping[str, AssessmentResult] | None = None
    installations: Mapping[str, InstallationResult] = field(default_factory=dict)
    error: AzureError | None = None


class Sight:
    """One per process."""

    def __init__(self) -> None:
        self._open: dict[AzureClient, _Batch] = {}
        """The batch that is not being read yet, by identity."""
        self._locks: defaultdict[AzureClient, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def look(self, client: AzureClient, machine_id: str) -> MachineView:
        """One look, of now. Raises AzureError."""
        view = await client.machine(machine_id)
        if view.machine.kind is not MachineKind.ARC_SERVER:
            return view
        machine_key = key(machine_id)
        batch = await self._rows(client, machine_key)
        return replace(
            view,
            assessment=(batch.assessments or {}).get(machine_key),
            installation=batch.installations.get(machine_key),
        )

    async def _rows(self, client: AzureClient, machine_key: str) -> _Batch:
        """Who comes while a query is under way shares the next one: Resource Graph takes three a
        second, and many servers are looked at together."""
        batch = self._open.setdefault(client, _Batch())
        batch.keys.add(machine_key)
        async with self._locks[client]:
            if batch.assessments is None and batch.error is None:
                if self._open.get(client) is batch:
                    del self._open[client]
                await self._read(client, batch)
        if batch.error is not None:
            raise batch.error
        return batch

    async def _read(self, client: AzureClient, batch: _Batch) -> None:
        try:
            installations = await client.installations(batch.keys)
            batch.assessments = await client.assessments(batch.keys)
            batch.installations = installations
        except AzureError as error:
            batch.error = error
