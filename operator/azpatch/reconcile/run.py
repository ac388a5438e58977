"""Reconciles PatchRuns: whose turn has not come, which install, and which assess."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import structlog

from azpatch.api.policy import PatchPolicy
from azpatch.api.run import PatchRun
from azpatch.api.target import PatchTarget
from azpatch.domain.assess_run import DECIDED, LONGEST, assessing
from azpatch.domain.lifting import lifted
from azpatch.domain.one_time import Asked, Wait, admission
from azpatch.domain.opening import UNSCHEDULED, Opening, soonest
from azpatch.domain.policy_machines import machines_of
from azpatch.domain.run import told, without_policy
from azpatch.domain.run_state import policy_unread
from azpatch.reconcile.context import Context
from azpatch.reconcile.install_run import SHORTLY, InstallRuns
from azpatch.reconcile.queue import Key, Result
from azpatch.reconcile.routing import own_key
from azpatch.reconcile.run_teller import RunTeller
from azpatch.reconcile.store import Stored, made, owns, serves
from azpatch.reconcile.subscription import subscriptions_of

log = structlog.get_logger(__name__)


class RunReconciler:
    """One per process."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._teller = RunTeller(context)
        self._installs = InstallRuns(context, self._teller)
        self._uids: dict[Key, str] = {}
        """Of the runs that were seen: another may be made under a name."""
        self._since: dict[str, datetime] = {}
        """By uid: when it began to be found out which machines a one-time run is for. The API
        server's times are not Azure's."""

    async def reconcile(self, key: Key) -> Result:
        """Gather, decide, write status."""
        stored = self._context.store.run(key.namespace, key.name)
        if stored is not None and stored.parsed is not None and stored.parsed.over:
            stored = None
        if stored is None or self._uids.get(key, stored.uid) != stored.uid:
            self._forget(self._uids.pop(key, ""))
        if stored is None:
            return Result()
        self._uids[key] = stored.uid
        if stored.parsed is None:
            log.error("PatchRun cannot be read", run=str(key), error=stored.error)
            await self._context.write_unreadable(stored)
            return Result()
        run = stored.parsed
        policy = self._context.store.policy(key.namespace, run.spec.policy_ref.name)
        if policy is not None and policy.parsed is None and (run.one_time or made(policy, stored)):
            return await self._wait_for_policy(stored, run)
        if run.one_time and not _begun(run):
            return await self._ask(stored, run, policy)
        if run.installs:
            return await self._installs.reconcile(stored, run)
        return await self._assess(stored, run, policy)

    async def _wait_for_policy(self, stored: Stored[PatchRun], run: PatchRun) -> Result:
        """It is there, and wakes the run when it can be read. How long the run had waited for
        something says nothing then."""
        self._installs.forget(stored.uid)
        self._since.pop(stored.uid, None)
        status = told(run, policy_unread(run), self._context.clock.now())
        return Result(await self._teller.tell(stored, run, status))

    def _forget(self, run_uid: str) -> None:
        self._installs.forget(run_uid)
        self._teller.forget(run_uid)
        self._context.terms.keep_out(run_uid)
        self._since.pop(run_uid, None)
        for target in self._context.store.targets():
            entry = target.parsed.status.run if target.parsed is not None else None
            if entry is not None and entry.under_way and entry.uid == run_uid:
                # It says what it waits for there.
                self._context.queue.add(own_key(target))

    # --- a one-time run that has not begun --------------------------------------------------------

    async def _ask(
        self, stored: Stored[PatchRun], run: PatchRun, policy: Stored[PatchPolicy] | None
    ) -> Result:
        now = self._context.clock.now()
        wait = admission(run, self._asked(stored, run, policy, now), now)
        if wait is not None:
            self._context.terms.keep_out(stored.uid)
            if not wait.gathers:
                self._since.pop(stored.uid, None)
            return await self._wait(stored, run, wait, now)
        assert policy is not None
        if not run.installs:
            return await self._assess(stored, run, policy)
        # Without an await since the decision: no other can have been let in.
        self._context.terms.let_in(run)
        return await self._installs.reconcile(stored, run)

    def _asked(
        self,
        stored: Stored[PatchRun],
        run: PatchRun,
        policy: Stored[PatchPolicy] | None,
        now: datetime,
    ) -> Asked | None:
        if policy is None or policy.parsed is None or policy.deleting:
            return None
        if run.installs and policy.parsed.spec.install is None:
            return None
        targets = self._targets(policy)
        other = self._context.terms.run(policy)
        under_way = other is not None and other.metadata.uid != stored.uid
        unreadable = self._context.terms.unreadable(policy)
        return Asked(
            policy=policy.parsed,
            machines=machines_of(policy.parsed, targets),
            other=other.metadata.name if other is not None and under_way else unreadable,
            opening=self._opening(run, policy.parsed, targets, now),
            since=self._since.setdefault(stored.uid, now),
        )

    def _opening(
        self, run: PatchRun, policy: PatchPolicy, targets: Sequence[PatchTarget], now: datetime
    ) -> Opening:
        """Whether a machine of the policy may be installed on now, whatever the waves."""
        machines = (one.spec.machine_id for one in targets)
        openings = [
            self._context.calendars.opening(policy, one, now, lifted=lifted(run.spec))
            for one in subscriptions_of(self._context.store, machines)
        ]
        return soonest(openings) if openings else UNSCHEDULED

    async def _wait(
        self, stored: Stored[PatchRun], run: PatchRun, wait: Wait, now: datetime
    ) -> Result:
        rest = await self._teller.tell(stored, run, told(run, wait.state, now))
        if rest is not None:
            return Result(rest)
        if wait.again is None:
            return Result()
        return Result(max(wait.again - self._context.clock.now(), SHORTLY))

    # --- a run that assesses ----------------------------------------------------------------------

    async def _assess(
        self, stored: Stored[PatchRun], run: PatchRun, policy: Stored[PatchPolicy] | None
    ) -> Result:
        now, seen = self._context.clock.now(), run.status.observed_generation == stored.generation
        rest = self._teller.rest(stored)
        if rest is not None and seen:
            return Result(rest)  # Counting takes a look at every machine.
        if policy is None or policy.parsed is None or not serves(policy, run):
            await self._teller.write(stored, run, without_policy(run, now))
            return Result()
        machines = machines_of(policy.parsed, self._targets(policy))
        status = assessing(run, policy.uid, machines, policy.parsed.spec.suspend, now)
        rest = await self._teller.tell(stored, run, status)
        if rest is not None or status.start_time is None:
            return Result(rest)
        looks = [status.start_time + after for after in (DECIDED, LONGEST)]
        again = min((at for at in looks if at > now), default=None)
        return Result(None if again is None else again - now + SHORTLY)

    def _targets(self, policy: Stored[PatchPolicy]) -> list[PatchTarget]:
        listed = self._context.store.targets_of(policy.namespace, policy.name)
        return [one.parsed for one in listed if one.parsed is not None and owns(policy, one)]


def _begun(run: PatchRun) -> bool:
    return run.status.effective is not None or run.status.start_time is not None
