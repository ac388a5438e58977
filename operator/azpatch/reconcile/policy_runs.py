"""A policy's PatchRuns: made when a window opens, removed when they are history."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import structlog

from azpatch.api.common import API_VERSION
from azpatch.api.policy import PatchPolicy
from azpatch.api.run import PatchRun
from azpatch.api.target import POLICY_LABEL, PatchTarget
from azpatch.domain.naming import run_name
from azpatch.domain.opening import Timing
from azpatch.domain.run_need import Need, Runs, need, superfluous
from azpatch.kube.port import PATCH_POLICY, PATCH_RUN, Conflict, Object
from azpatch.reconcile.context import Context
from azpatch.reconcile.queue import Key
from azpatch.reconcile.routing import own_key
from azpatch.reconcile.start import DECLARED
from azpatch.reconcile.store import Stored

log = structlog.get_logger(__name__)


class PolicyRuns:
    """For the policies' reconciler."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._since: dict[str, tuple[int, datetime]] = {}
        """By uid: the policy's generation, and when that was first looked at. The API server's
        times are not Azure's."""

    async def keep(
        self,
        stored: Stored[PatchPolicy],
        targets: Sequence[Stored[PatchTarget]],
        timing: Timing,
        undecided: int,
    ) -> datetime | None:
        """Makes the run that is needed now, if one is, and removes what is history. When to look
        again at the latest; None: when something changes. `undecided`: see `need`. Raises
        KubeError."""
        policy = stored.parsed
        assert policy is not None
        runs = self._context.terms.runs(stored)
        if stored.deleting or any(one.parsed is None for one in runs):
            # One that cannot be read may be under way.
            return None
        now = self._context.clock.now()
        readable = [target.parsed for target in targets if target.parsed]
        generation, since = self._since.get(stored.uid, (None, now))
        if generation != stored.generation:
            # Who is due by what is declared now may be found out only now.
            since = now
            self._since[stored.uid] = stored.generation, since
        needed = self._need(stored, readable, timing, since, undecided)
        if needed.window is not None:
            current = await self._read_again(stored)
            if current is None:
                return now  # Others' work, or slow: all is decided anew.
            needed = self._need(current, readable, timing, since, undecided)
            if needed.window is not None:
                await self._make(policy, needed.window)
        turn = timing.opening.turn
        window = turn.start if turn else None
        history = superfluous(_parsed(runs), policy.spec.run_history, window, policy.metadata.name)
        names = {run.metadata.name for run in history}
        for run in runs:
            if run.name in names and not run.deleting:
                await self._context.kube.delete(PATCH_RUN, run.raw)
        self._wake_next(stored)
        return needed.again

    def forget(self, policy_uid: str) -> None:
        """The policy is gone."""
        self._since.pop(policy_uid, None)

    def told(self, stored: Stored[PatchPolicy]) -> Runs:
        """What the policy's status says of them."""
        runs = _parsed(self._context.terms.runs(stored))
        return Runs.of(runs, self._context.store.scheduled(stored.uid))

    def _need(
        self,
        stored: Stored[PatchPolicy],
        targets: Sequence[PatchTarget],
        timing: Timing,
        since: datetime,
        undecided: int,
    ) -> Need:
        """By the runs there are now."""
        assert stored.parsed is not None
        runs = _parsed(self._context.terms.runs(stored))
        now, scheduled = self._context.clock.now(), self._context.store.scheduled(stored.uid)
        return need(stored.parsed, targets, runs, timing, since, now, undecided, scheduled)

    async def _read_again(self, stored: Stored[PatchPolicy]) -> Stored[PatchPolicy] | None:
        """The policy as the API server has it now: a watch may lag, or be broken, and the run's
        terms are those of before it was made. None: it is declared otherwise, or the answer took so
        long that the window may have ended. What is news wakes the policy. Raises KubeError."""
        asked = self._context.clock.monotonic()
        await self._context.rereads.read(PATCH_POLICY, stored.namespace, stored.name)
        late = self._context.clock.monotonic() - asked > DECLARED
        known = self._context.store.policy(stored.namespace, stored.name)
        if late or known is None or known.parsed is None or known.deleting:
            return None
        same = (known.uid, known.generation) == (stored.uid, stored.generation)
        return known if same else None

    async def _make(self, policy: PatchPolicy, window: datetime) -> None:
        body = _new_run(policy, window)
        try:
            await self._context.create(PATCH_RUN, body)
        except Conflict:
            # Made a moment ago, by this operator or the one before it: its event tells.
            log.info("PatchRun exists", run=body["metadata"]["name"])
            return
        log.info("PatchRun made", policy=policy.metadata.name, run=body["metadata"]["name"])
        self._context.queue.add(
            Key(PATCH_RUN.kind, body["metadata"]["namespace"], body["metadata"]["name"])
        )

    def _wake_next(self, stored: Stored[PatchPolicy]) -> None:
        """The run whose turn has come, when the one before it is over; and one-time runs that wait
        for what the policy does."""
        turn = self._context.terms.run(stored)
        for run in self._context.terms.runs(stored):
            known = run.parsed
            if known is None or known.over or known.status.membership is not None:
                continue
            if known.one_time or (turn is not None and known.metadata.name == turn.metadata.name):
                self._context.queue.add(own_key(run))


def _parsed(runs: Sequence[Stored[PatchRun]]) -> list[PatchRun]:
    return [run.parsed for run in runs if run.parsed is not None]


def owned_by(policy: PatchPolicy) -> Object:
    """The ownerReference of what a policy's reconciler makes."""
    return {
        "apiVersion": API_VERSION,
        "kind": PATCH_POLICY.kind,
        "name": policy.metadata.name,
        "uid": policy.metadata.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }


def _new_run(policy: PatchPolicy, window: datetime) -> Object:
    meta = policy.metadata
    return {
        "apiVersion": API_VERSION,
        "kind": PATCH_RUN.kind,
        "metadata": {
            "name": run_name(meta.name, window),
            "namespace": meta.namespace,
            "labels": {POLICY_LABEL: meta.name},
            "ownerReferences": [owned_by(policy)],
        },
        "spec": {"policyRef": {"name": meta.name}},
    }
