"""Reconciles PatchPolicies: their PatchTargets, their slots and their status."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Coroutine, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from itertools import islice
from typing import Any

import structlog

from azpatch.api.common import API_VERSION
from azpatch.api.policy import PatchPolicy, PatchPolicyStatus, PolicyMachines
from azpatch.api.target import POLICY_LABEL, SUBSCRIPTION_LABEL, PatchTarget
from azpatch.domain import policy as decide
from azpatch.domain.availability import follows_unavailable, unavailable
from azpatch.domain.grants import Namespace
from azpatch.domain.growth import MANY_MORE_MACHINES, growth, told
from azpatch.domain.ids import key as machine_key
from azpatch.domain.membership import Member, Membership, Scope, membership
from azpatch.domain.naming import target_name
from azpatch.domain.opening import UNTIMED, Timing, timing
from azpatch.domain.policy_machines import holds_slots, next_overdue, slot_limit
from azpatch.domain.run import run_slots
from azpatch.domain.run_entry import open_run
from azpatch.domain.waves import windows_of_waves
from azpatch.kube.port import PATCH_POLICY, PATCH_TARGET, Conflict, KubeError, Object
from azpatch.reconcile import metrics
from azpatch.reconcile.context import Context
from azpatch.reconcile.policy_runs import PolicyRuns, owned_by
from azpatch.reconcile.queue import Key, Result
from azpatch.reconcile.routing import own_key
from azpatch.reconcile.sparing import Sparing
from azpatch.reconcile.spread import choose, held_by_failures
from azpatch.reconcile.store import Stored, busy, owns
from azpatch.reconcile.subscription import subscriptions_of, usable_subscriptions

SHORTLY = timedelta(seconds=1)
"""A window that opens now has opened a moment ago when it is looked at again."""

AT_A_TIME = 16
"""Writes of one reconcile in flight: enough to keep the API server busy, few enough to be fair."""

log = structlog.get_logger(__name__)


class PolicyReconciler:
    """One per process."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._terms: dict[Key, object] = {}
        """What was declared when the policy's machines were last told to decide anew."""
        self._runs = PolicyRuns(context)
        self._sparing = Sparing(context.clock)
        self._joining: dict[str, frozenset[str]] = {}
        """By uid of the policy: machines that had no PatchTarget at the last look."""
        self._uids: dict[Key, str] = {}
        """Of the policies that were seen."""

    async def reconcile(self, key: Key) -> Result:
        """Gather, decide, act, write status."""
        stored = self._context.store.policy(key.namespace, key.name)
        if stored is None:
            if self._terms.pop(key, None) is not None:
                metrics.forget(key.namespace, key.name)
            self._forget(self._uids.pop(key, ""))
            return Result()
        targets, scopes = self._targets(key), self._scopes()
        self._tell_machines(key, stored, scopes, targets)
        if stored.parsed is None:
            log.error("PatchPolicy cannot be read", policy=str(key), error=stored.error)
            metrics.forget(key.namespace, key.name)
            await self._context.write_unreadable(stored)
            await self._release(key, stored)
            return Result()
        if self._uids.get(key) not in (None, stored.uid):
            self._forget(self._uids[key])
        self._uids[key] = stored.uid
        policy = stored.parsed
        members = membership(
            policy,
            Namespace(key.namespace, self._context.store.namespace_labels(key.namespace) or {}),
            scopes,
            frozenset(machine_key(target.raw["spec"]["machineId"]) for target in targets),
            self._context.inventory.image,
            self._context.inventory.image_awaited,
        )
        failures: list[KubeError] = []
        if not stored.deleting:
            failures += await self._create(stored, members, targets)
            failures += await self._delete(members, targets)
            self._hand_out(key, stored)
        targets = self._targets(key)
        when = self._timing(stored, targets)
        undecided = self._undecided(policy, stored, targets)
        known = [target.parsed for target in targets if target.parsed]
        needed = None
        try:
            needed = await self._runs.keep(stored, targets, when, undecided)
        except KubeError as error:
            failures.append(error)
        status = decide.status(
            policy,
            known,
            members.trouble,
            self._context.clock.now(),
            undecided,
            when,
            self._runs.told(stored),
            held_by_failures(self._context, self._declared(stored), targets),
        )
        rest = await self._tell(key, stored, policy, status)
        if failures:
            # What could be done is done; the rest is tried again.
            raise failures[0]
        overdue = next_overdue(policy, known, self._context.clock.now())
        wakes = [at for at in (when.holds_until, needed, overdue) if at is not None]
        waits = [rest, self._until(min(wakes, default=None))]
        return Result(min((one for one in waits if one is not None), default=None))

    async def _tell(
        self,
        key: Key,
        stored: Stored[PatchPolicy],
        policy: PatchPolicy,
        status: PatchPolicyStatus,
    ) -> timedelta | None:
        """Writes the status; how long it has to wait, if it was written a moment ago. What was
        declared anew is answered at once, and a window that has its run now is told at once: the
        next operator, should this one die, knows of a run that was deleted from nowhere else."""
        metrics.tell(key.namespace, key.name, status.machines or PolicyMachines())
        written, wait = stored, self._sparing.wait(stored.uid)
        answers = policy.status.observed_generation != status.observed_generation
        made = policy.status.last_schedule_time != status.last_schedule_time
        if wait is None or answers or made or stored.deleting:
            wait = None
            async with self._context.holds.lock(key):
                written = await self._context.write_status(self._context.newest(stored), status)
            if status != policy.status:
                self._sparing.wrote(stored.uid)
            await self._context.tell_stall(
                stored, policy.status.conditions, status.conditions, "Reconcile"
            )
        await self._release(key, written)
        return wait if status != policy.status else None

    def _forget(self, uid: str) -> None:
        self._context.terms.forget(uid)
        self._runs.forget(uid)
        self._sparing.forget(uid)
        self._joining.pop(uid, None)

    async def _release(self, key: Key, stored: Stored[PatchPolicy]) -> None:
        """Takes the finalizer off when no operation needs the policy."""
        async with self._context.holds.lock(key):
            if not self._in_use(key):
                await self._context.remove_finalizer(self._context.newest(stored))

    def _undecided(
        self,
        policy: PatchPolicy,
        stored: Stored[PatchPolicy],
        targets: Sequence[Stored[PatchTarget]],
    ) -> int:
        """How many machines still go by an older generation, or say that none can be read."""
        deciding, decided = decide.deciding(policy), self._context.decided
        return sum(
            decided.get(own_key(target)) != stored.generation
            and (deciding or decide.says_unread(target.parsed))
            for target in targets
            if target.parsed
        )

    def _targets(self, key: Key) -> tuple[Stored[PatchTarget], ...]:
        """Its own: another policy may have had its name, and left some behind."""
        policy = self._context.store.policy(key.namespace, key.name)
        listed = self._context.store.targets_of(key.namespace, key.name)
        return tuple(target for target in listed if policy is None or owns(policy, target))

    def _until(self, when: datetime | None) -> timedelta | None:
        return None if when is None else max(when - self._context.clock.now(), SHORTLY)

    def _timing(
        self, stored: Stored[PatchPolicy], targets: Iterable[Stored[PatchTarget]]
    ) -> Timing:
        """By the schedule, and the freezes of the subscriptions that its machines are in."""
        policy = stored.parsed
        assert policy is not None
        install = policy.spec.install
        if install is None:
            return UNTIMED
        now, calendars = self._context.clock.now(), self._context.calendars
        machines = (str(target.raw["spec"]["machineId"]) for target in targets)
        subscriptions = subscriptions_of(self._context.store, machines)
        there = [
            (calendars.opening(policy, one, now), calendars.calendar(policy, one))
            for one in subscriptions
        ]
        # The run that is under way has its waves by terms of its own.
        named = windows_of_waves(policy.spec.rollout, self._declared(stored).spec.rollout)
        waves = {
            name: found
            for name, windows in named.items()
            for one in subscriptions
            # Where a wave's windows are gone, the policy's are all that there is to go by.
            if (found := calendars.calendar(policy, one, windows)) is not None
        }
        return timing(there, install.maximum_duration, now, waves)

    def _scopes(self) -> dict[str, Scope]:
        scopes = {}
        for id_, subscription in usable_subscriptions(self._context.store).items():
            inventory = self._context.inventory.subscription(id_)
            scopes[id_] = Scope(
                name=subscription.metadata.name,
                grants=subscription.spec.grants,
                read=inventory is not None and inventory.refreshed is not None,
                failing=inventory is not None and inventory.error is not None,
                machines=inventory.machines if inventory else {},
                gone=frozenset(inventory.gone) if inventory else frozenset(),
            )
        return scopes

    def _tell_machines(
        self,
        key: Key,
        stored: Stored[PatchPolicy],
        scopes: Mapping[str, Scope],
        targets: Iterable[Stored[PatchTarget]],
    ) -> None:
        """Wakes the policy's machines, and its runs, when what was declared changed."""
        subscriptions = usable_subscriptions(self._context.store)
        terms = (
            stored.uid,
            stored.generation,
            stored.parsed is None,
            stored.deleting,
            self._context.store.namespace_labels(key.namespace),
            {id_: (one.metadata.name, one.spec) for id_, one in subscriptions.items()},
        )
        if self._terms.get(key) == terms:
            return
        self._terms[key] = terms
        for id_ in scopes:
            self._context.refresher.ask(id_)
        for target in targets:
            self._context.queue.add(own_key(target))
        for run in self._context.terms.runs(stored):
            if run.parsed is not None and not run.parsed.over:
                self._context.queue.add(own_key(run))

    async def _create(
        self,
        stored: Stored[PatchPolicy],
        members: Membership,
        targets: Sequence[Stored[PatchTarget]],
    ) -> list[KubeError]:
        policy = stored.parsed
        assert policy is not None
        present = {machine_key(target.raw["spec"]["machineId"]) for target in targets}
        missing = {k: member for k, member in members.members.items() if k not in present}
        await self._tell_growth(stored, len(present), missing.keys())
        return await _in_turns(self._create_one(policy, member) for member in missing.values())

    async def _tell_growth(
        self, stored: Stored[PatchPolicy], had: int, missing: Collection[str]
    ) -> None:
        """An Event when many machines join. Of those that the API server did not take before it
        was told then, or they are a new policy's."""
        assert stored.parsed is not None
        before = self._joining.get(stored.uid, frozenset())
        self._joining[stored.uid] = frozenset(missing)
        grown = growth(stored.parsed, had, len(self._joining[stored.uid] - before))
        if grown is not None:
            await self._context.kube.event(
                PATCH_POLICY,
                stored.raw,
                warning=True,
                reason=MANY_MORE_MACHINES,
                action="Reconcile",
                note=told(stored.parsed, grown),
            )

    async def _create_one(self, policy: PatchPolicy, member: Member) -> None:
        try:
            await self._context.create(PATCH_TARGET, _new_target(policy, member))
        except Conflict:
            # One of that name is still being deleted, or was made a moment ago: its event tells.
            log.info("PatchTarget exists", policy=policy.metadata.name, machine=member.machine_id)

    async def _delete(
        self, members: Membership, targets: Sequence[Stored[PatchTarget]]
    ) -> list[KubeError]:
        """But for those that a run counts: what failed in it must not be forgotten before it is
        over."""
        wanted = members.members.keys() | members.kept
        leaving = [
            target
            for target in targets
            if machine_key(target.raw["spec"]["machineId"]) not in wanted
            and not target.deleting
            and not self._needed_by_run(target)
        ]
        return await _in_turns(
            self._context.kube.delete(PATCH_TARGET, target.raw) for target in leaving
        )

    def _needed_by_run(self, target: Stored[PatchTarget]) -> bool:
        gone = self._context.inventory.is_gone(target.raw["spec"]["machineId"])
        return not gone and self._context.terms.counted(target)

    def _hand_out(self, key: Key, stored: Stored[PatchPolicy]) -> None:
        """Gives the free slots of maxUnavailable to machines that asked, as their groups allow."""
        if not self._context.slots.wanted((key.namespace, key.name)):
            return  # Counting who is unavailable takes a look at every machine.
        targets = self._targets(key)
        chosen = self._context.slots.hand_out(
            (key.namespace, key.name),
            self._limit(stored, [target.parsed for target in targets if target.parsed]),
            {target.name for target in targets if self._unavailable(target)},
            partial(choose, self._context, self._declared(stored)),
        )
        for name in chosen:
            self._context.queue.add(Key(PATCH_TARGET.kind, key.namespace, name))

    def _declared(self, stored: Stored[PatchPolicy]) -> PatchPolicy:
        """With the terms of the run that is under way."""
        run = self._context.terms.run(stored)
        return self._context.terms.declared(stored, None if run is None else open_run(run))

    def _limit(self, stored: Stored[PatchPolicy], targets: Sequence[PatchTarget]) -> int:
        """maxUnavailable: of the run's machines, where one is under way."""
        assert stored.parsed is not None
        run = self._context.terms.run(stored)
        if run is None or run.status.effective is None or not stored.parsed.spec.runs:
            # Without windows machines are installed on beside a one-time run, too.
            return slot_limit(stored.parsed, targets)
        return run_slots(run, run.status.effective, targets)

    def _unavailable(self, target: Stored[PatchTarget]) -> bool:
        """Whether its machine takes up a slot: by its own status, or by what another policy's
        PatchTarget says that acted on the machine before, and may still. A policy that was renamed
        does not begin with every machine available."""
        known = target.parsed
        if known is None:
            return busy(target)
        if holds_slots(known) and unavailable(known.status):
            return True
        others = self._context.store.targets_on(machine_key(known.spec.machine_id))
        return any(
            busy(other)
            if other.parsed is None
            else follows_unavailable(known.status, other.parsed.status)
            for other in others
            if other.uid != target.uid
            and (known.status.governs is not False or self._context.store.leaving(other))
        )

    def _in_use(self, key: Key) -> bool:
        """An operation of the policy is in flight, or about to be."""
        return self._context.holds.held(key) or any(
            target.parsed is None or target.parsed.status.operation is not None
            for target in self._targets(key)
        )


async def _in_turns(writes: Iterable[Coroutine[Any, Any, None]]) -> list[KubeError]:
    """All of them, at most AT_A_TIME in flight; what the API server did not take."""
    waiting = iter(writes)
    failures: list[KubeError] = []
    while some := list(islice(waiting, AT_A_TIME)):
        for ended in await asyncio.gather(*some, return_exceptions=True):
            if isinstance(ended, KubeError):
                log.warning("write not taken", error=str(ended))
                failures.append(ended)
            elif isinstance(ended, BaseException):
                raise ended
    return failures


def _new_target(policy: PatchPolicy, member: Member) -> Object:
    meta = policy.metadata
    return {
        "apiVersion": API_VERSION,
        "kind": PATCH_TARGET.kind,
        "metadata": {
            "name": target_name(meta.uid or "", member.machine_id),
            "namespace": meta.namespace,
            "labels": {POLICY_LABEL: meta.name, SUBSCRIPTION_LABEL: member.azure_subscription},
            "ownerReferences": [owned_by(policy)],
        },
        "spec": {"machineId": member.machine_id, "policy": meta.name},
    }
