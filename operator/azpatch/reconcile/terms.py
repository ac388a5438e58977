"""What a machine goes by: its policy's terms, or those of the run that it is in."""

from __future__ import annotations

from datetime import datetime

from azpatch.api.policy import PatchPolicy
from azpatch.api.rollout import ApprovalMode, Wave
from azpatch.api.run import PatchRun
from azpatch.api.subscription import AzureSubscription
from azpatch.api.target import PatchTarget
from azpatch.domain.assess_run import wants_more
from azpatch.domain.lifting import NOTHING
from azpatch.domain.one_time import meant
from azpatch.domain.opening import Opening
from azpatch.domain.run_entry import OpenRun, Part, open_run
from azpatch.domain.windows import Calendar
from azpatch.kube.port import PATCH_TARGET
from azpatch.reconcile.calendars import Calendars
from azpatch.reconcile.queue import Key
from azpatch.reconcile.routing import own_key
from azpatch.reconcile.store import Store, Stored, made

RunUid = str
WaveName = str


class Terms:
    """One per process."""

    def __init__(self, store: Store, calendars: Calendars) -> None:
        self._store = store
        self._calendars = calendars
        self._offers: dict[Key, tuple[RunUid, WaveName]] = {}
        """Which wave of which run a PatchTarget is to say it is in."""
        self._declared: dict[str, tuple[object, PatchPolicy]] = {}
        """By uid of the policy: with the run's terms in place of its own, and of which both."""
        self._let_in: set[RunUid] = set()
        """See `let_in`."""

    def runs(self, policy: Stored[PatchPolicy]) -> tuple[Stored[PatchRun], ...]:
        """Those that it made and those that people made for it, whether over or not: not those of
        one that had its name before."""
        listed = self._store.runs_of(policy.namespace, policy.name)
        return tuple(run for run in listed if made(policy, run) or _one_time(run))

    def run(self, policy: Stored[PatchPolicy]) -> PatchRun | None:
        """The Install run that is under way. A one-time run is from when it was let in."""
        waiting = [
            one
            for one in self._open(policy)
            if one.installs and (not one.one_time or self._is_let_in(one))
        ]
        return min(waiting, key=self._seniority, default=None)

    def unreadable(self, policy: Stored[PatchPolicy]) -> str | None:
        """A run of the policy that this version cannot read: it may be under way."""
        return next((one.name for one in self.runs(policy) if one.parsed is None), None)

    def let_in(self, run: PatchRun) -> None:
        """A one-time run may begin; no other does until this one has its terms, or is over."""
        self._let_in.add(run.metadata.uid or "")

    def keep_out(self, run_uid: RunUid) -> None:
        """It may not begin after all, or is over."""
        self._let_in.discard(run_uid)

    def _is_let_in(self, run: PatchRun) -> bool:
        return run.status.effective is not None or run.metadata.uid in self._let_in

    def _seniority(self, run: PatchRun) -> tuple[bool, bool, str]:
        return not self._is_let_in(run), run.status.membership is None, run.metadata.name

    def _open(self, policy: Stored[PatchPolicy]) -> list[PatchRun]:
        readable = [one.parsed for one in self.runs(policy) if one.parsed is not None]
        return [one for one in readable if not one.over]

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
            offered=offer[1] if offer and opened and offer[0] == opened.uid else None,
            assess_since=self._assess_since(target.parsed, policy),
        )

    def _assess_since(self, target: PatchTarget, policy: Stored[PatchPolicy]) -> datetime | None:
        """When the last Assess run began that the machine is in."""
        begun = [
            one.status.start_time
            for one in self._open(policy)
            if one.status.start_time and not one.installs and wants_more(one) and meant(one)(target)
        ]
        return max(begun, default=None)

    def unread(self, target: Stored[PatchTarget]) -> bool:
        """A run has the machine that this version cannot read: it may be under way."""
        entry = target.parsed.status.run if target.parsed is not None else None
        run = self._store.run_of(target.namespace, entry)
        return run is not None and run.parsed is None

    def in_run(self, target: Stored[PatchTarget]) -> bool:
        """A run that is under way has the machine, and is not done with it."""
        entry = target.parsed.status.run if target.parsed is not None else None
        return entry is not None and entry.under_way and self.counted(target)

    def counted(self, target: Stored[PatchTarget]) -> bool:
        """A run that is under way counts the machine, also when it is done with it."""
        entry = target.parsed.status.run if target.parsed is not None else None
        run = self._store.run_of(target.namespace, entry)
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
        return self.opening_of(declared, part.mine, wave, subscription, now)

    def opening_of(
        self,
        declared: PatchPolicy,
        run: OpenRun | None,
        wave: Wave | None,
        subscription: AzureSubscription,
        now: datetime,
    ) -> Opening:
        """Whether machines of this wave of the run may be installed on; None: of no run."""
        windows, lifted = wave.windows if wave else None, run.lifted if run else NOTHING
        found = self._calendars.opening(declared, subscription, now, windows, lifted)
        name = wave.name if wave else ""
        if run is None:
            return found
        if not lifted.all_windows(wave):
            return run.within_windows(found, name)
        return run.without_windows(found, name, now)

    def calendar_of(
        self,
        declared: PatchPolicy,
        run: OpenRun | None,
        wave: Wave,
        subscription: AzureSubscription,
    ) -> Calendar | None:
        """The windows and freezes of this wave; None if they cannot be read."""
        lifted = run.lifted if run else NOTHING
        return self._calendars.calendar(declared, subscription, wave.windows, lifted)

    def offer(self, namespace: str, target: str, run: RunUid, wave: WaveName) -> Key:
        """The PatchTarget is to be in this wave; its key, to be woken."""
        key = Key(PATCH_TARGET.kind, namespace, target)
        self._offers[key] = (run, wave)
        return key

    def withdraw(self, run: RunUid) -> None:
        """Who has not said that it is in the run will not be."""
        for key in [key for key, offer in self._offers.items() if offer[0] == run]:
            del self._offers[key]

    def forget(self, policy_uid: str) -> None:
        """The policy is gone."""
        self._declared.pop(policy_uid, None)
        self._calendars.forget(policy_uid)


def _one_time(run: Stored[PatchRun]) -> bool:
    """One that cannot be read may be."""
    return run.parsed is None or run.parsed.one_time
