"""Reconciles PatchTargets with nothing in flight: looks, decides, and begins operations.

What is in flight is followed by `flight`. Both run under the machine's lock, so that the
PatchTargets of one machine, of whichever policies, never act side by side.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from azpatch.api.policy import PatchPolicy
from azpatch.api.reasons import Reason
from azpatch.api.subscription import AzureSubscription
from azpatch.api.target import PatchTarget, PatchTargetStatus
from azpatch.azure.port import AzureClient, AzureError, Denied, Gone
from azpatch.domain import target as decide
from azpatch.domain.availability import foreign_install
from azpatch.domain.facts import Machine, MachineView
from azpatch.domain.governor import Claim, governor, specificity
from azpatch.domain.grants import Namespace, access
from azpatch.domain.ids import key as machine_key_of
from azpatch.domain.ids import subscription_of
from azpatch.domain.image import classify
from azpatch.domain.matrix import revision
from azpatch.domain.observe import Observed, Surroundings, awaits_row, observe
from azpatch.domain.plan import AskSlot, Idle, Plan, Send, Standing, cleared, plan
from azpatch.domain.selection import Selection, select
from azpatch.kube.port import PATCH_POLICY
from azpatch.reconcile.context import Context
from azpatch.reconcile.flight import Flight
from azpatch.reconcile.looks import Subject
from azpatch.reconcile.memory import MachineMemory, Memory, SelectionOf
from azpatch.reconcile.queue import Key, Result
from azpatch.reconcile.routing import own_key
from azpatch.reconcile.start import Start, Starter
from azpatch.reconcile.store import Stored
from azpatch.reconcile.subscription import gate_of, usable_subscriptions

PATCHES_AWAITED = timedelta(minutes=15)
"""How long the rows of single patches may lag behind the counts of their assessment before they are
taken as they are: Azure cuts very long lists."""

AZURE_AGAIN = timedelta(minutes=1)
"""After a look at the machine that failed for now."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Case:
    """One PatchTarget with all that its decision needs."""

    key: Key
    stored: Stored[PatchTarget]
    target: PatchTarget
    policy: Stored[PatchPolicy]
    declared: PatchPolicy
    subscription: AzureSubscription
    client: AzureClient
    machine: Machine
    memory: MachineMemory


class MachineReconciler:
    """One per process."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._memory = Memory()
        self._starter = Starter(context)
        self._flight = Flight(context)

    async def reconcile(self, key: Key) -> Result:
        """One PatchTarget: follow what is in flight, or decide what comes next."""
        stored = self._context.store.target(key.namespace, key.name)
        if stored is None:
            self._forget(key)
            return Result()
        if stored.parsed is None:
            log.error("PatchTarget cannot be read", target=str(key), error=stored.error)
            return Result()
        machine_key = machine_key_of(stored.parsed.spec.machine_id)
        async with self._memory.lock(machine_key):
            stored = self._context.store.target(key.namespace, key.name)
            if stored is None or stored.parsed is None:
                return Result()
            memory = self._memory.of(key, machine_key, stored.parsed.spec.policy)
            status = stored.parsed.status
            if status.operation is not None:
                followed = await self._flight.follow(key, stored, memory)
                if followed.status is None:
                    return Result(followed.look_after)
                status, stored = followed.status, followed.stored
                self._wake_siblings(stored)
            return await self._settle(key, stored, status, memory)

    # --- gather -----------------------------------------------------------------------------------

    async def _settle(
        self,
        key: Key,
        stored: Stored[PatchTarget],
        status: PatchTargetStatus,
        memory: MachineMemory,
    ) -> Result:
        """Decides about a machine with nothing in flight. `status` is newer than what is stored
        where an operation has just ended."""
        assert stored.parsed is not None
        case = None if stored.deleting else self._gather(key, stored, memory)
        if case is not None:
            return await self._decide(case, status)
        self._give_back(key, stored)
        if not stored.deleting and self._without_subscription(stored.parsed):
            now = self._context.clock.now()
            status = decide.blocked(stored.parsed, status, _NO_SUBSCRIPTION, now)
        stored = await self._context.write_status(stored, status)
        await self._context.remove_finalizer(stored)
        return Result()

    def _without_subscription(self, target: PatchTarget) -> bool:
        """No AzureSubscription for the machine, or only one that is being deleted."""
        id_ = subscription_of(target.spec.machine_id)
        return id_ not in usable_subscriptions(self._context.store)

    def _gather(self, key: Key, stored: Stored[PatchTarget], memory: MachineMemory) -> _Case | None:
        """None: something is missing whose arrival wakes this key."""
        assert stored.parsed is not None
        target = stored.parsed
        policy = self._context.store.policy(key.namespace, target.spec.policy)
        id_ = subscription_of(target.spec.machine_id)
        subscription = usable_subscriptions(self._context.store).get(id_)
        inventory = self._context.inventory.subscription(id_)
        machine = self._context.inventory.machine(target.spec.machine_id)
        if policy is None or policy.parsed is None or subscription is None:
            return None
        if inventory is None or machine is None:
            return None
        return _Case(
            key,
            stored,
            target,
            policy,
            policy.parsed,
            subscription,
            inventory.client,
            machine,
            memory,
        )

    def _surroundings(self, case: _Case) -> Surroundings:
        machine = case.machine
        id_ = case.subscription.spec.subscription_id
        return Surroundings(
            machine=machine,
            image=classify(machine, self._context.inventory.definitions()),
            matrix=revision(case.subscription.spec.support_matrix),
            gate=gate_of(case.subscription, self._context.inventory.subscription(id_)),
            row=self._context.inventory.row(machine.id),
        )

    def _claims(self, machine_key: str) -> Mapping[Key, Claim]:
        """Whose PatchTargets want the machine."""
        claims = {}
        for stored in self._context.store.targets_on(machine_key):
            target = stored.parsed
            if target is None:
                continue
            policy = self._context.store.policy(stored.namespace, target.spec.policy)
            busy = target.status.operation is not None
            leaving = stored.deleting or policy is None or policy.deleting
            if policy is None or policy.parsed is None or (leaving and not busy):
                continue
            created = policy.parsed.metadata.creation_timestamp
            assert created is not None
            claims[own_key(stored)] = Claim(
                namespace=stored.namespace,
                policy=target.spec.policy,
                specificity=specificity(policy.parsed.spec.target),
                policy_created=created,
                governs=target.status.governs is True,
                busy=busy,
            )
        return claims

    def _standing(self, case: _Case, now: datetime) -> Standing:
        claims = self._claims(case.memory.machine_key)
        mine = claims.get(case.key)
        winner = governor(list(claims.values())) if claims else None
        governs = mine is not None and mine == winner
        others = (claim for key, claim in claims.items() if key != case.key)
        labels = self._context.store.namespace_labels(case.key.namespace) or {}
        blocked = case.memory.blocked
        if blocked is not None and blocked.wake is not None and now >= blocked.wake:
            blocked = case.memory.blocked = None
        return Standing(
            access=access(
                case.subscription.spec.grants, Namespace(case.key.namespace, labels), case.machine
            ),
            governs=governs,
            elsewhere="" if governs or winner is None else _elsewhere(case.key, winner),
            busy_elsewhere=any(claim.busy for claim in others),
            deleting=case.policy.deleting,
            has_slot=self._context.slots.has(_policy_name(case.key, case.target), case.key.name),
            blocked=blocked,
        )

    # --- decide -----------------------------------------------------------------------------------

    async def _decide(self, case: _Case, status: PatchTargetStatus) -> Result:
        now = self._context.clock.now()
        around = self._surroundings(case)
        observed = observe(status, case.declared.spec, around, now)
        standing = self._standing(case, now)
        selection = self._selection(case, observed, standing.governs, now)
        if selection is None and self._knew_selection(case, observed, status, standing.governs):
            # Asked for again after a restart or an edit; until it is there, nothing is unsaid.
            return Result()
        step = plan(case.declared, observed, selection, standing, case.machine, now)
        wanted = decide.settled(
            case.target, case.declared, observed, selection, step, standing.governs, now
        )
        self._await_row(case, wanted, now)
        self._tell(case, step)
        if wanted.governs != case.target.status.governs:
            self._wake_siblings(case.stored)
        if isinstance(step, Send):
            return await self._send(case, step, wanted, selection)
        if isinstance(step, AskSlot) and foreign_install(case.target.status):
            # It holds a slot as long as it runs, and whether it does only a look can tell.
            looked = await self._look(case, wanted)
            if isinstance(looked, Result):
                return looked
        self._keep_slot(case, step)
        stored = await self._context.write_status(case.stored, wanted)
        await self._context.remove_finalizer(stored)
        return Result(_until(step, now))

    def _selection(
        self, case: _Case, observed: Observed, governs: bool, now: datetime
    ) -> Selection | None:
        """What the policy selects of what the row's assessment found; None: not known (yet)."""
        install, os_type, row = case.declared.spec.install, case.machine.os_type, observed.row
        if install is None or os_type is None or row is None or not governs:
            return None
        known = case.memory.selection
        if known and (known.row_time, known.install) == (row.last_modified, install):
            return known.selection
        counted = (row.critical_and_security or 0) + (row.other or 0)
        patches = self._context.inventory.patches.pop(case.memory.machine_key, None)
        if counted == 0 and patches is None:
            patches = ()
        if patches is None:
            self._context.looks.want(case.machine.id, Subject.PATCHES)
            return None
        old = row.last_modified is None or now - row.last_modified > PATCHES_AWAITED
        if len(patches) != counted and not old:
            return None
        self._context.looks.enough(case.machine.id, Subject.PATCHES)
        selection = select(patches, install, os_type)
        if selection is not None:
            case.memory.selection = SelectionOf(row.last_modified, install, selection)
        return selection

    def _knew_selection(
        self, case: _Case, observed: Observed, status: PatchTargetStatus, governs: bool
    ) -> bool:
        """The selection was told before, by the same row, and is only not in memory."""
        assessment = observed.status.assessment
        return (
            governs
            and status is case.target.status
            and case.declared.spec.install is not None
            and observed.row is not None
            and assessment is not None
            and assessment == status.assessment
            and assessment.selected is not None
        )

    def _await_row(self, case: _Case, wanted: PatchTargetStatus, now: datetime) -> None:
        if awaits_row(wanted, self._context.inventory.row(case.machine.id), now):
            self._context.looks.want(case.machine.id, Subject.ASSESSMENT)
        else:
            self._context.looks.enough(case.machine.id, Subject.ASSESSMENT)

    # --- act --------------------------------------------------------------------------------------

    async def _send(
        self,
        case: _Case,
        step: Send,
        wanted: PatchTargetStatus,
        selection: Selection | None,
    ) -> Result:
        """One more look at the machine itself, then the operation."""
        verified = self._context.clock.monotonic()
        view = await self._look(case, wanted)
        if isinstance(view, Result):
            return view
        return await self._start(case, step, wanted, selection, view, verified)

    async def _look(self, case: _Case, wanted: PatchTargetStatus) -> MachineView | Result:
        """The machine as ARM shows it; or, with something in the way, when to decide again."""
        try:
            view = await case.client.machine(case.machine.id)
        except Gone:
            return await self._gone(case, wanted)
        except AzureError as error:
            return await self._block(case, wanted, _unreadable(error, self._context.clock.now()))
        obstacle = cleared(view, case.machine, self._context.clock.now())
        if obstacle is None:
            return view
        if obstacle.reason is not Reason.FOREIGN_OPERATION:
            self._context.refresher.ask(case.subscription.spec.subscription_id)
        return await self._block(case, wanted, obstacle)

    async def _start(
        self,
        case: _Case,
        step: Send,
        wanted: PatchTargetStatus,
        selection: Selection | None,
        view: MachineView,
        verified: float,
    ) -> Result:
        subscription = self._context.store.subscription(case.subscription.metadata.name)
        assert subscription is not None
        started = await self._starter.start(
            Start(
                kind=step.kind,
                stored=case.stored,
                policy=case.policy,
                subscription=subscription,
                client=case.client,
                machine=case.machine,
                status=wanted,
                view=view,
                selection=selection,
                verified=verified,
            )
        )
        self._give_back(case.key, case.stored)
        self._wake_siblings(case.stored)
        if started.obstacle is not None:
            case.memory.blocked = started.obstacle
        case.memory.accepted = started.accepted
        case.memory.next_look = None
        return Result(started.look_after)

    async def _gone(self, case: _Case, wanted: PatchTargetStatus) -> Result:
        """ARM itself says that the machine does not exist: its policy removes the PatchTarget."""
        subscription = self._context.inventory.of(case.machine.id)
        if subscription is not None:
            subscription.confirm_gone(case.memory.machine_key)
        self._context.queue.add(_policy_key(case.key, case.target))
        return await self._block(case, wanted, _GONE)

    async def _block(self, case: _Case, wanted: PatchTargetStatus, obstacle: Idle) -> Result:
        case.memory.blocked = obstacle
        now = self._context.clock.now()
        self._tell(case, obstacle)
        self._give_back(case.key, case.stored)
        status = decide.blocked(case.target, wanted, obstacle, now)
        stored = await self._context.write_status(case.stored, status)
        await self._context.remove_finalizer(stored)
        return Result(_until(obstacle, now))

    # --- slots, siblings, log ---------------------------------------------------------------------

    def _keep_slot(self, case: _Case, step: Plan) -> None:
        """Asks for a slot, or gives it back when it is of no use now."""
        if not isinstance(step, AskSlot):
            self._give_back(case.key, case.stored)
        elif self._context.slots.ask(_policy_name(case.key, case.target), case.key.name):
            self._context.queue.add(_policy_key(case.key, case.target))

    def _give_back(self, key: Key, stored: Stored[PatchTarget]) -> None:
        if stored.parsed is None:
            return
        if self._context.slots.give_back(_policy_name(key, stored.parsed), key.name):
            self._context.queue.add(_policy_key(key, stored.parsed))

    def _wake_siblings(self, stored: Stored[PatchTarget]) -> None:
        """The other PatchTargets of the machine: one of them may act now, or must not any more."""
        assert stored.parsed is not None
        machine_key = machine_key_of(stored.parsed.spec.machine_id)
        for other in self._context.store.targets_on(machine_key):
            if other.uid != stored.uid:
                self._context.queue.add(own_key(other))

    def _forget(self, key: Key) -> None:
        memory = self._memory.forget(key)
        if memory is None:
            return
        if self._context.slots.give_back((key.namespace, memory.policy), key.name):
            self._context.queue.add(Key(PATCH_POLICY.kind, key.namespace, memory.policy))
        others = self._context.store.targets_on(memory.machine_key)
        if not others:
            self._context.looks.enough(memory.machine_key)
            self._context.inventory.patches.pop(memory.machine_key, None)
            self._context.inventory.installations.pop(memory.machine_key, None)
        for other in others:
            self._context.queue.add(own_key(other))

    def _tell(self, case: _Case, step: Plan) -> None:
        """One line a decision, when it differs from the last."""
        told = _in_words(step)
        if case.memory.told == told:
            return
        case.memory.told = told
        log.info(
            "decision",
            policy=f"{case.key.namespace}/{case.target.spec.policy}",
            machine=case.machine.id,
            decision=told[0],
            reason=told[1],
        )


_NO_SUBSCRIPTION = Idle(
    False,
    Reason.AZURE_SUBSCRIPTION_MISSING,
    "There is no AzureSubscription for this machine's subscription (any more), so nothing is sent "
    "to it. The platform team creates it.",
)

_GONE = Idle(False, Reason.MACHINE_GONE, "Azure says that the machine does not exist (404).")


def _unreadable(error: AzureError, now: datetime) -> Idle:
    wake = now + max(error.retry_after or AZURE_AGAIN, AZURE_AGAIN)
    if isinstance(error, Denied):
        return Idle(
            False,
            Reason.ACCESS_LOST,
            f"Azure refuses to show the machine ({error.code}). It is asked again every few "
            "minutes. Give the identity its role back.",
            wake,
        )
    return Idle(
        False,
        Reason.AZURE_UNREACHABLE,
        f"Azure did not show the machine ({error.code}). It is asked again shortly.",
        wake,
    )


def _elsewhere(key: Key, winner: Claim) -> str:
    """The winner's name stays inside its namespace."""
    if winner.namespace == key.namespace:
        return (
            f"PatchPolicy {winner.policy} governs this machine: its target is more specific, or "
            "it comes first by name."
        )
    return "A policy of another namespace governs this machine."


def _in_words(step: Plan) -> tuple[str, str]:
    match step:
        case Idle(reason=reason):
            return "idle", reason
        case AskSlot():
            return "idle", Reason.WAITING_FOR_SLOT
        case Send(kind):
            return "send", kind


def _until(step: Plan, now: datetime) -> timedelta | None:
    if isinstance(step, Idle) and step.wake is not None:
        return max(step.wake - now, timedelta(seconds=1))
    return None


def _policy_name(key: Key, target: PatchTarget) -> tuple[str, str]:
    return key.namespace, target.spec.policy


def _policy_key(key: Key, target: PatchTarget) -> Key:
    return Key(PATCH_POLICY.kind, key.namespace, target.spec.policy)
