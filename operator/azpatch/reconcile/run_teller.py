"""Writes the status of PatchRuns, and wakes whom it concerns."""

from __future__ import annotations

from datetime import timedelta

import structlog

from azpatch.api.run import PatchRun, PatchRunStatus
from azpatch.domain.run_entry import open_run
from azpatch.kube.port import PATCH_POLICY
from azpatch.reconcile.context import Context
from azpatch.reconcile.queue import Key
from azpatch.reconcile.routing import own_key
from azpatch.reconcile.sparing import Sparing
from azpatch.reconcile.store import Stored

log = structlog.get_logger(__name__)


class RunTeller:
    """For the runs' reconciler."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._sparing = Sparing(context.clock)

    async def tell(
        self, stored: Stored[PatchRun], run: PatchRun, status: PatchRunStatus
    ) -> timedelta | None:
        """Writes it, unless it was written a moment ago: then how long that has to wait."""
        rest = self.rest(stored)
        if rest is not None and status != run.status:
            return rest
        await self.write(stored, run, status)
        return None

    async def write(self, stored: Stored[PatchRun], run: PatchRun, status: PatchRunStatus) -> None:
        """At once."""
        await self._context.write_status(stored, status)
        if status != run.status:
            self._sparing.wrote(stored.uid)
        policy = Key(PATCH_POLICY.kind, stored.namespace, run.spec.policy_ref.name)
        admitted = run.status.effective is None and status.effective is not None
        if run.status.phase != status.phase or admitted:
            log.info("run", run=f"{stored.namespace}/{stored.name}", phase=status.phase)
            self._context.queue.add(policy)
        if admitted:
            self._context.queue.add(own_key(stored))
        after = run.replace(status=status)
        said = run.status.observed_generation != run.metadata.generation
        if said or _seen_by_machines(after) != _seen_by_machines(run):
            for target in self._context.store.targets_of(stored.namespace, policy.name):
                self._context.queue.add(own_key(target))
        await self._context.tell_stall(stored, run.status.conditions, status.conditions, "Run")

    def rest(self, stored: Stored[PatchRun]) -> timedelta | None:
        """How long the next write has to wait; None: it may be now."""
        return self._sparing.wait(stored.uid)

    def forget(self, run_uid: str) -> None:
        """The run is over, or gone."""
        self._sparing.forget(run_uid)


def _seen_by_machines(run: PatchRun) -> object:
    """What they decide by."""
    assessing = not run.installs and not run.over and run.status.start_time
    return open_run(run), assessing, run.over
