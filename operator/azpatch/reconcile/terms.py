"""What a machine goes by: its policy's terms, or those of the run that it is in."""

from __future__ import annotations

from datetime import datetime

from azpatch.api.policy import PatchPolicy
from azpatch.api.rollout import ApprovalMode
from azpatch.api.run import PatchRun
from azpatch.api.subscription import AzureSubscription
from azpatch.api.target import PatchTarget
from azpatch.domain.opening import Opening
from azpatch.domain.run_entry import OpenRun, Part, open_run
from azpatch.kube.port import PATCH_TARGET
from azpatch.reconcile.calendars import Calendars
from azpatch.reconcile.queue import Key
from azpatch.reconcile.routing import own_key
from azpatch.reconcile.store import Store, Stored, made

RunName = str
WaveName = str


class Terms:
    """One per process."""

    def __init__(self, store: Store, calendars: Calendars) -> None:
        self._store = store
        self._calendars = calendars
        self._offers: dict[Key, tuple[RunName, WaveName]] = {}
        """Which wave of which run a PatchTarget is to say it is in."""
        self._declared: dict[str, tuple[object, PatchPolicy]] = {}
        """By uid of the policy: with the run's terms in place of its own, and of which both."""

    def runs(self, policy: Stored[PatchPolicy]) -> tuple[Stored[PatchRun], ...]:
        """The policy's own, whether over or not: not those of one that had its name before."""
        listed = self._store.runs_of(policy.namespace, policy.name)
        return tuple(run for run in listed if made(policy, run))

    def run(self, policy: Stored[PatchPolicy]) -> PatchRun | None:
        """The one that is under way."""
        readable = [one.parsed for one in self.runs(policy) if one.parsed is not None]
        waiting = [one for one in readable if not one.over]
        return min(waiting, key=_seniority, default=None)

    def part(self, target: Stored[PatchTarget], policy: Stored[PatchPolicy]) -> Part:
        """The machine's part in the policy's runs. Both can be read."""
        assert target.parsed is not None
        assert policy.parsed is not None
        run = self.run(policy)
        required = policy.parsed.spec.approval.mode is ApprovalMode.REQUIRED
        opened = None if run is None else open_run(run, approval=required)
        offer = self._offers.get(own_key(target))
        return Part(
            runs=policy.parsed.spec.runs,
            run=opened,
            entry=target.parsed.status.run,
            offered=offer[1] if offer and opened and offer[0] == opened.name else None,
        )

    def unread(self, target: Stored[PatchTarget]) -> bool:
        """A run has the machine that this version cannot read: it may be under way."""
        entry = target.parsed.status.run if target.parsed is not None else None
        run = self._store.run(target.namespace, entry.name) if entry is not None else None
        return run is not None and run.parsed is None

    def in_run(self, target: Stored[PatchTarget]) -> bool:
        """A run that is under way has the machine, and is not done with it."""
        entry = target.parsed.status.run if target.parsed is not None else None
        return entry is not None and entry.under_way and self.counted(target)

    def counted(self, target: Stored[PatchTarget]) -> bool:
        """A run that is under way counts the machine, also when it is done with it."""
        entry = target.parsed.status.run if target.parsed is not None else None
        run = self._store.run(target.namespace, entry.name) if entry is not None else None
        return run is not None and (run.parsed is None or not run.parsed.over)

    def declared(self, policy: Stored[PatchPolicy], run: OpenRun | None) -> PatchPolicy:
        """The policy, with the terms of the run. One that does not install any more, and so has no
        schedule, stays as it is: nothing is started for it."""
        own = policy.parsed
        assert own is not None
        if run is None or own.spec.install is None:
            return own
        basis = (own.metadata.generation, own.spec, own.status, run.effective)
        known = self._declared.get(policy.uid)
        if known is None or known[0] != basis:
            changed = own.under(run.effective.install, run.effective.rollout)
            known = self._declared[policy.uid] = (basis, changed)
        return known[1]

    def opening(
        self, declared: PatchPolicy, part: Part, subscription: AzureSubscription, now: datetime
    ) -> Opening:
        """Whether the machine may be installed on now: its wave may have windows of its own."""
        wave = part.mine.wave(part.entry.wave) if part.mine and part.entry else None
        windows = wave.windows if wave else None
        return self._calendars.opening(declared, subscription, now, windows)

    def offer(self, namespace: str, target: str, run: RunName, wave: WaveName) -> Key:
        """The PatchTarget is to be in this wave; its key, to be woken."""
        key = Key(PATCH_TARGET.kind, namespace, target)
        self._offers[key] = (run, wave)
        return key

    def withdraw(self, namespace: str, run: RunName) -> None:
        """Who has not said that it is in the run will not be."""
        stale = [
            key
            for key, offer in self._offers.items()
            if key.namespace == namespace and offer[0] == run
        ]
        for key in stale:
            del self._offers[key]

    def forget(self, policy_uid: str) -> None:
        """The policy is gone."""
        self._declared.pop(policy_uid, None)
        self._calendars.forget(policy_uid)


def _seniority(run: PatchRun) -> tuple[bool, str]:
    return run.status.effective is None, run.metadata.name
