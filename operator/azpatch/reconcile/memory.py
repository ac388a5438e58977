"""What is remembered of each machine between reconciles, and may be forgotten by a restart."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta
from weakref import WeakValueDictionary

from azpatch.api.install import Install
from azpatch.azure.port import Accepted
from azpatch.domain.plan import Idle
from azpatch.domain.selection import Selection
from azpatch.reconcile.queue import Key


@dataclass(frozen=True, slots=True)
class SelectionOf:
    """A selection, and what it was made from."""

    row_time: datetime | None
    install: Install
    selection: Selection


@dataclass(slots=True)
class MachineMemory:
    """Of one PatchTarget."""

    uid: str
    machine_key: str
    policy: str
    """Name of its policy."""
    selection: SelectionOf | None = None
    asked_since: datetime | None = None
    """Since when a selection that was known before a restart is asked for."""
    blocked: Idle | None = None
    """What the last look at the machine found in the way; holds until its `wake`."""
    doubt: Idle | None = None
    """What a look found that is over; nobody has looked since."""
    touched: datetime | None = None
    """When somebody installed on the machine after its last assessment, as ARM showed."""
    accepted: tuple[str, Accepted] | None = None
    """Attempt id of the operation in flight, and Azure's answer to it."""
    outlived: tuple[str, datetime] | None = None
    """URL of an operation on an Arc-enabled server that still ran at its deadline, and until when
    that is believed: no row need show it."""
    next_look: timedelta | None = None
    """When ARM is asked about the operation in flight again (`clock.elapsed()`)."""
    ended: datetime | None = None
    """When the install in flight was first seen to have ended."""
    in_line: bool = False
    """It has a place in the line of those who want to send something."""
    untold: timedelta | None = None
    """Since when its status does not say that it waits, for what may come in a moment
    (`clock.elapsed()`)."""
    told: tuple[str, str] | None = None
    """The decision that was logged last."""
    basis: tuple[str, tuple[int, int]] | None = None
    """vmId, and the generations of the policy and the AzureSubscription, that all this is about."""

    def based_on(self, vm_id: str, generations: tuple[int, int]) -> None:
        """Forgets what does not hold for another machine, or under another declaration."""
        old, self.basis = self.basis, (vm_id.lower(), generations)
        if old is None or old == self.basis:
            return
        self.blocked = self.doubt = None
        if old[0] != self.basis[0]:
            self.selection = self.touched = self.outlived = None


class Memory:
    """By PatchTarget; and the locks, one a machine."""

    def __init__(self) -> None:
        self._machines: dict[Key, MachineMemory] = {}
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def of(self, key: Key, uid: str, machine_key: str, policy: str) -> MachineMemory:
        """What is remembered of a PatchTarget; nothing of one that had its name before."""
        known = self._machines.get(key)
        if known is None or known.uid != uid:
            known = self._machines[key] = MachineMemory(uid, machine_key, policy)
        return known

    def in_line(self, key: Key) -> bool:
        """Whether this PatchTarget waits for its turn to send."""
        known = self._machines.get(key)
        return known is not None and known.in_line

    def forget(self, key: Key) -> MachineMemory | None:
        """The PatchTarget is gone."""
        return self._machines.pop(key, None)

    def lock(self, machine_key: str) -> asyncio.Lock:
        """Two PatchTargets of one machine never decide at the same time."""
        lock = self._locks.get(machine_key)
        if lock is None:
            lock = self._locks[machine_key] = asyncio.Lock()
        return lock
