"""Reconciles PatchRuns that install: their terms, their members, their waves and their status."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from azpatch.api.policy import PatchPolicy
from azpatch.api.rollout import ApprovalMode, Wave
from azpatch.api.run import Effective, PatchRun
from azpatch.api.subscription import AzureSubscription
from azpatch.api.target import PatchTarget
from azpatch.domain import run as decide
from azpatch.domain.ids import key as machine_key
from azpatch.domain.one_time import meant
from azpatch.domain.opening import Opening, soonest
from azpatch.domain.patch_set import dated
from azpatch.domain.policy_machines import PolicyMachine, machines_of
from azpatch.domain.policy_problems import kept_by
from azpatch.domain.run_entry import needs_approval, open_run
from azpatch.domain.run_facts import RunFacts, RunMember, members_of
from azpatch.domain.run_need import may_join
from azpatch.domain.run_state import behind
from azpatch.domain.selector import carries
from azpatch.domain.waves import Candidate, assign, waves_of
from azpatch.domain.windows import Calendar
from azpatch.reconcile.context import Context
from azpatch.reconcile.patch_set import NEWS, PatchSets
from azpatch.reconcile.queue import Result
from azpatch.reconcile.run_teller import RunTeller
from azpatch.reconcile.sparing import APART
from azpatch.reconcile.store import Stored, made, owns, serves
from azpatch.reconcile.subscription import subscriptions_of

SHORTLY = timedelta(seconds=1)

PATIENCE = timedelta(minutes=10)
"""Azure time in which no machine says that it is in a run, and some are awaited: it begins without
them. And in which tags are waited for that have not been read."""


@dataclass(frozen=True, slots=True)
class _Case:
    """A run that is not over, and what there is of it."""

    run: PatchRun
    policy: Stored[PatchPolicy]
    effective: Effective
    targets: Sequence[PatchTarget]


class InstallRuns:
    """For the runs' reconciler."""

    def __init__(self, context: Context, teller: RunTeller) -> None:
        self._context = context
        self._teller = teller
        self._patch_sets = PatchSets(context.inventory, context.clock)
        self._awaited: dict[str, tuple[int, datetime]] = {}
        """By uid of the run: how many machines did not say yet that they are in it, and since when
        there are so many. The API server's times are not Azure's."""
        self._untold: dict[str, datetime] = {}
        """By uid of the run: since when tags have not been read that it needs."""

    async def reconcile(self, stored: Stored[PatchRun], run: PatchRun) -> Result:
        """Of a run that is not over: gather, decide, write status, tell the machines."""
        case = self._gather(run)
        if case is None:
            status = decide.without_policy(run, self._context.clock.now())
            await self._teller.write(stored, run, status)
            return Result()
        now, turn = self._context.clock.now(), self._context.terms.run(case.policy)
        if turn != run:
            # One at a time; the policy wakes who is next.
            if turn is None or run.status.effective is not None:
                return Result()
            waits = decide.told(run, behind(turn.metadata.name), now)
            return Result(await self._teller.tell(stored, run, waits))
        awaited = self._offer(case, now)
        progress = self._progress(case, awaited, now)
        read = await self._patch_sets.read(stored.uid, progress.unread)
        if read == NEWS:
            now = self._context.clock.now()
            progress = self._progress(case, awaited, now)
        rest = await self._teller.tell(stored, run, progress.status)
        if rest is not None:
            return Result(rest)
        now = self._context.clock.now()
        wakes = [
            progress.again,
            now + APART if awaited else None,
            now + read if read is not None else None,
        ]
        again = min((at for at in wakes if at is not None), default=None)
        if again is None:
            return Result()
        return Result(max(again - now, SHORTLY))

    def _progress(self, case: _Case, awaited: int, now: datetime) -> decide.Progress:
        facts = self._facts(case, awaited, now)
        return decide.progress(case.run, case.policy.uid, case.effective, facts, now)

    def forget(self, run_uid: str) -> None:
        """The run is over, or gone."""
        self._context.terms.withdraw(run_uid)
        self._awaited.pop(run_uid, None)
        self._untold.pop(run_uid, None)
        self._patch_sets.forget(run_uid)

    # --- gather -----------------------------------------------------------------------------------

    def _gather(self, run: PatchRun) -> _Case | None:
        """None: there is no policy whose terms it could go by."""
        namespace = run.metadata.namespace or ""
        policy = self._context.store.policy(namespace, run.spec.policy_ref.name)
        stored = self._context.store.run(namespace, run.metadata.name)
        if policy is None or policy.parsed is None or stored is None:
            return None
        if not run.one_time and not made(policy, stored):
            return None
        if not serves(policy, run):
            return None
        effective = run.status.effective
        if effective is None:
            if policy.parsed.spec.install is None:
                return None
            effective = dated(decide.admitted(policy.parsed), self._context.clock.now())
        listed = self._context.store.targets_of(namespace, policy.name)
        targets = [one.parsed for one in listed if one.parsed is not None and owns(policy, one)]
        return _Case(run, policy, effective, targets)

    def _facts(self, case: _Case, awaited: int, now: datetime) -> RunFacts:
        policy = case.policy.parsed
        assert policy is not None
        members, scope = members_of(case.run, case.targets), case.run.spec.machines
        empty = self._empty(case, policy, members)
        untold = frozenset(wave for wave, compliant in empty.items() if compliant is None)
        return RunFacts(
            members=members,
            awaited=awaited,
            openings=self._openings(case, members, now),
            calendars=self._calendars(case, members),
            up_to_date=frozenset(wave for wave, compliant in empty.items() if compliant),
            untold=untold if self._patient(case.run, untold, now) else frozenset(),
            suspended=policy.spec.suspend,
            unapproved=needs_approval(case.run, policy.spec.approval.mode is ApprovalMode.REQUIRED),
            deadline=self._deadline(case, now),
            named=len(scope.ids or ()) if scope else 0,
            given=self._patch_sets.given(case.run.metadata.uid or ""),
            one_time=case.run.one_time,
            abandoned=policy.spec.install is None or case.policy.deleting,
        )

    def _empty(
        self, case: _Case, policy: PatchPolicy, members: Sequence[RunMember]
    ) -> dict[str, bool | None]:
        """Waves by tags that have no member, after the last that has begun: whether all that they
        mean are compliant."""
        taken = {one.entry.wave for one in members}
        begun = {one.name for one in case.run.status.waves if one.start_time is not None}
        waves = waves_of(case.effective.rollout)
        past = max((number for number, one in enumerate(waves, 1) if one.name in begun), default=0)
        empty = [one for one in waves[past:] if one.tags is not None and one.name not in taken]
        machines = machines_of(policy, case.targets) if empty else []
        return {one.name: self._compliant(one, machines) for one in empty}

    def _compliant(self, wave: Wave, machines: Sequence[PolicyMachine]) -> bool | None:
        """All of the wave's machines are, and there is one; None: not known, for the tags of a
        machine have not been read. Those of one that Azure does not show nothing will tell."""
        carrying = carries(wave.tags or {})
        found, unread = [], False
        for machine in machines:
            machine_id = machine.target.spec.machine_id
            known = self._context.inventory.machine(machine_id)
            if not machine.governed or machine.skipped:
                continue
            if known is None:
                unread = unread or not self._read(machine_id)
            elif carrying(known.tags):
                found.append(machine.compliant == "True")
        if unread and all(found):
            return None
        return bool(found) and all(found)

    def _patient(self, run: PatchRun, untold: Collection[str], now: datetime) -> bool:
        """Tags that were not read for so long may never be: then nothing vouches."""
        uid = run.metadata.uid or ""
        if not untold:
            self._untold.pop(uid, None)
            return True
        return now < self._untold.setdefault(uid, now) + PATIENCE

    def _deadline(self, case: _Case, now: datetime) -> datetime | None:
        """When the window ends that is open, or the next: of the whole policy, as the run was made.
        Of a one-time run its own, if that is sooner."""
        declared, opened = self._declared(case), open_run(case.run)
        machines = (one.spec.machine_id for one in case.targets)
        openings = [
            self._context.terms.opening_of(declared, opened, None, one, now)
            for one in subscriptions_of(self._context.store, machines)
        ]
        span = soonest(openings).span if openings else None
        ends = (span.end if span else None, case.run.spec.not_after)
        return min((one for one in ends if one is not None), default=None)

    def _openings(
        self, case: _Case, members: Sequence[RunMember], now: datetime
    ) -> dict[str, Opening]:
        """By wave, over the subscriptions that its machines are in."""
        declared, opened = self._declared(case), open_run(case.run)
        found = {}
        for wave, subscriptions in self._where(case, members):
            openings = [
                self._context.terms.opening_of(declared, opened, wave, one, now)
                for one in subscriptions
            ]
            if openings:
                found[wave.name] = soonest(openings)
        return found

    def _calendars(self, case: _Case, members: Sequence[RunMember]) -> dict[str, Calendar]:
        """By wave; of several subscriptions the first's, which may have other freezes."""
        declared, opened = self._declared(case), open_run(case.run)
        found = {}
        for wave, subscriptions in self._where(case, members):
            for one in subscriptions[:1]:
                calendar = self._context.terms.calendar_of(declared, opened, wave, one)
                if calendar is not None and calendar.windows:
                    found[wave.name] = calendar
        return found

    def _declared(self, case: _Case) -> PatchPolicy:
        return self._context.terms.declared(case.policy, open_run(case.run))

    def _where(
        self, case: _Case, members: Sequence[RunMember]
    ) -> Iterator[tuple[Wave, list[AzureSubscription]]]:
        """The waves, each with the subscriptions that its machines are in, but for those that are
        through."""
        going = [one for one in members if one.entry.under_way]
        for wave in waves_of(case.effective.rollout):
            machines = (one.machine_id for one in going if one.entry.wave == wave.name)
            yield wave, subscriptions_of(self._context.store, machines)

    # --- members ----------------------------------------------------------------------------------

    def _offer(self, case: _Case, now: datetime) -> int:
        """Tells each machine that is to be in the run its wave; how many have not said yet that
        they are. Nobody is told any more when the run has begun."""
        run, policy = case.run, case.policy.parsed
        assert policy is not None
        namespace = case.policy.namespace
        if run.status.membership is not None or self._waited_enough(run, now):
            self._context.terms.withdraw(run.metadata.uid or "")
            return 0
        if run.status.effective is None or run.spec.cancelled:
            return 0  # First its terms are written.
        is_for = meant(run)
        machines = [
            one for one in machines_of(policy, case.targets) if is_for(one.target) and may_join(one)
        ]
        members = members_of(run, case.targets)
        taken = {machine_key(one.machine_id): one.entry.wave for one in members}
        names = {
            machine_key(one.target.spec.machine_id): one.target.metadata.name for one in machines
        }
        candidates, unread = [], 0
        for machine in machines:
            machine_id = machine.target.spec.machine_id
            known = self._context.inventory.machine(machine_id)
            if known is None:
                # Its tags are not known. A new operator has to read them first; of one that Azure
                # does not show any more nothing will tell them.
                unread += not self._read(machine_id)
                continue
            candidates.append(
                Candidate(machine_key(machine_id), known.tags, ready=kept_by(machine) is None)
            )
        waves = assign(waves_of(case.effective.rollout), candidates, taken)
        told = {names[key_]: wave for key_, wave in waves.items() if key_ not in taken}
        for name, wave in told.items():
            self._context.queue.add(
                self._context.terms.offer(namespace, name, run.metadata.uid or "", wave)
            )
        awaited, uid = len(told) + unread, run.metadata.uid or ""
        if self._awaited.get(uid, (None, now))[0] != awaited:
            self._awaited[uid] = (awaited, now)
        return awaited

    def _read(self, machine_id: str) -> bool:
        inventory = self._context.inventory.of(machine_id)
        return inventory is not None and inventory.refreshed is not None

    def _waited_enough(self, run: PatchRun, now: datetime) -> bool:
        awaited = self._awaited.get(run.metadata.uid or "")
        return awaited is not None and awaited[0] > 0 and now >= awaited[1] + PATIENCE
