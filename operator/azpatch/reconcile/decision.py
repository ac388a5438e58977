"""What to do with one machine now, from what is in memory, without a single await.

The same decision is taken twice: before the machine itself is looked at, and again right before
the intent is written. What was suspended, narrowed, edited or deleted in between is seen then.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from azpatch.api.common import MachineKind
from azpatch.api.policy import PatchPolicy
from azpatch.api.reasons import Reason
from azpatch.api.subscription import AzureSubscription
from azpatch.api.target import PatchTarget, PatchTargetStatus
from azpatch.azure.port import AzureClient
from azpatch.domain import target as decide
from azpatch.domain.availability import foreign_install
from azpatch.domain.facts import AssessmentResult, Machine, MissingPatch
from azpatch.domain.governor import Claim, governor, specificity
from azpatch.domain.grants import Namespace, access
from azpatch.domain.ids import key as machine_key
from azpatch.domain.ids import subscription_of
from azpatch.domain.image import Image, with_os_type
from azpatch.domain.look import remembered
from azpatch.domain.matrix import Matrix
from azpatch.domain.observe import Observed, Surroundings, awaits_row, observe
from azpatch.domain.own_matrix import in_force
from azpatch.domain.pins import pins_of, system_for
from azpatch.domain.plan import Idle, Plan, Standing, plan
from azpatch.domain.policy import deciding
from azpatch.domain.run_entry import Part
from azpatch.domain.selection import Selection, select
from azpatch.reconcile.context import Context
from azpatch.reconcile.looks import Subject
from azpatch.reconcile.memory import MachineMemory, SelectionOf
from azpatch.reconcile.queue import Key
from azpatch.reconcile.routing import own_key
from azpatch.reconcile.store import Stored, busy
from azpatch.reconcile.subscription import gate_of, usable_subscriptions

PATCHES_AWAITED = timedelta(minutes=15)
"""How long the rows of single patches may lag behind the counts of their assessment before they are
taken as they are: Azure cuts very long lists."""

SELECTION_AGAIN = timedelta(minutes=1)
SELECTION_PATIENCE = timedelta(minutes=10)
"""A selection that was known before a restart is asked for again; nothing else waits for longer."""


@dataclass(frozen=True, slots=True)
class NotNow:
    """Nothing can be decided. `status` is all there is to say."""

    status: PatchTargetStatus
    again: timedelta | None = None
    """None: what is missing wakes the key when it arrives."""
    open: bool = False
    """Something is still to come that decides; the status is only as good as before."""


@dataclass(frozen=True, slots=True)
class Decision:
    """A step, what it was decided on, and the status that tells it."""

    stored: Stored[PatchTarget]
    target: PatchTarget
    policy: Stored[PatchPolicy]
    declared: PatchPolicy
    subscription: Stored[AzureSubscription]
    client: AzureClient
    machine: Machine
    standing: Standing
    selection: Selection | None
    step: Plan
    status: PatchTargetStatus


@dataclass(frozen=True, slots=True)
class _Case:
    """Everything about one PatchTarget that is in the store and in the inventory."""

    key: Key
    stored: Stored[PatchTarget]
    target: PatchTarget
    policy: Stored[PatchPolicy]
    declared: PatchPolicy
    """With the terms of the run that the machine is in."""
    part: Part
    subscription: Stored[AzureSubscription]
    client: AzureClient
    machine: Machine
    image: Image
    matrix: Matrix
    memory: MachineMemory


class Decider:
    """One per process."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def decide(
        self,
        key: Key,
        stored: Stored[PatchTarget],
        status: PatchTargetStatus,
        memory: MachineMemory,
    ) -> Decision | NotNow:
        """Of a machine with nothing in flight. `status` is newer than what is stored where an
        operation has just ended."""
        assert stored.parsed is not None
        now = self._context.clock.now()
        if foreign_install(status):
            status = self._still_counted(stored, status, now)
        if stored.deleting:
            return NotNow(status)
        lacking = self._lacking(stored.parsed)
        if lacking is not None:
            return NotNow(decide.cut_off(stored.parsed, status, lacking, now))
        policy = self._context.store.policy_of(stored)
        if policy is not None and policy.parsed is None:
            # Its run waits likewise, and goes on when the policy can be read.
            return NotNow(decide.blocked(stored.parsed, status, _UNREADABLE, now), open=True)
        case = self._gather(key, stored, memory)
        if case is not None:
            memory.based_on(
                case.machine.vm_id, (case.policy.generation, case.subscription.generation)
            )
            return self._decide(case, status, now)
        if self._unseen(stored.parsed):
            return NotNow(decide.cut_off(stored.parsed, status, _UNSEEN, now))
        return NotNow(status, open=True)

    def _decide(self, case: _Case, status: PatchTargetStatus, now: datetime) -> Decision | NotNow:
        observed = observe(status, case.declared.spec, self._surroundings(case), now)
        standing = self._standing(case, now)
        selection = self._selection(case, observed, standing.governs, now)
        if selection is None and self._knew_selection(case, observed, status, standing.governs):
            # Asked for again after a restart; until it is there, nothing is unsaid.
            case.memory.asked_since = case.memory.asked_since or now
            if now - case.memory.asked_since < SELECTION_PATIENCE:
                return NotNow(status, again=SELECTION_AGAIN, open=True)
        step = plan(case.declared, observed, selection, standing, case.machine, now)
        wanted = decide.settled(
            case.target,
            case.declared,
            observed,
            selection,
            step,
            standing,
            now,
        )
        if standing.governs:
            wanted = self._taken_over(case, wanted)
            self._await_row(case, wanted, now)
        return Decision(
            stored=case.stored,
            target=case.target,
            policy=case.policy,
            declared=case.declared,
            subscription=case.subscription,
            client=case.client,
            machine=case.machine,
            standing=standing,
            selection=selection,
            step=step,
            status=wanted,
        )

    # --- gather -----------------------------------------------------------------------------------

    def _lacking(self, target: PatchTarget) -> Idle | None:
        """No AzureSubscription for the machine, or only one that is being deleted; or its own
        matrix could never be read."""
        id_ = subscription_of(target.spec.machine_id)
        usable = usable_subscriptions(self._context.store).get(id_)
        if usable is None:
            return _NO_SUBSCRIPTION
        return _NO_MATRIX if in_force(usable) is None else None

    def _unseen(self, target: PatchTarget) -> bool:
        """Its subscription was read, and does not show it."""
        inventory = self._context.inventory.of(target.spec.machine_id)
        known = self._context.inventory.machine(target.spec.machine_id) is not None
        gone = self._context.inventory.is_gone(target.spec.machine_id)
        return inventory is not None and inventory.refreshed is not None and not known and not gone

    def _gather(self, key: Key, stored: Stored[PatchTarget], memory: MachineMemory) -> _Case | None:
        """None: something is missing whose arrival wakes this key."""
        assert stored.parsed is not None
        target = stored.parsed
        policy = self._context.store.policy_of(stored)
        id_ = subscription_of(target.spec.machine_id)
        usable = usable_subscriptions(self._context.store).get(id_)
        inventory = self._context.inventory.subscription(id_)
        machine = self._context.inventory.machine(target.spec.machine_id)
        if policy is None or policy.parsed is None or usable is None:
            return None
        if self._context.terms.unread(stored):
            return None
        matrix = in_force(usable)
        if inventory is None or machine is None or matrix is None:
            return None
        subscription = self._context.store.subscription(usable.metadata.name)
        assert subscription is not None
        image = self._context.inventory.image(machine)
        part = self._context.terms.part(stored, policy)
        part = replace(part, system=system_for(part, machine))
        return _Case(
            key,
            stored,
            target,
            policy,
            self._context.terms.declared(policy, part.mine),
            part,
            subscription,
            inventory.client,
            with_os_type(machine, image),
            image,
            matrix,
            memory,
        )

    def _surroundings(self, case: _Case) -> Surroundings:
        machine, subscription = case.machine, case.subscription.parsed
        assert subscription is not None
        inventory = self._context.inventory.subscription(subscription.spec.subscription_id)
        return Surroundings(
            machine=machine,
            image=case.image,
            matrix=case.matrix,
            gate=gate_of(subscription, inventory),
            row=self._context.inventory.row(machine.id),
            compute_registered=inventory is not None and inventory.has_virtual_machines,
        )

    def _claims(self, machine_key: str) -> Mapping[Key, Claim]:
        """Whose PatchTargets want to govern the machine."""
        claims = {}
        for stored in self._context.store.targets_on(machine_key):
            target = stored.parsed
            if target is None:
                continue
            policy = self._context.store.policy_of(stored)
            leaving = self._context.store.leaving(stored)
            if policy is None or policy.parsed is None or (leaving and not busy(stored)):
                continue
            created = policy.parsed.metadata.creation_timestamp
            assert created is not None
            claims[own_key(stored)] = Claim(
                namespace=stored.namespace,
                policy=target.spec.policy,
                specificity=specificity(policy.parsed.spec.target),
                policy_created=created,
                governs=target.status.governs is True,
                busy=busy(stored) or self._context.terms.in_run(stored),
            )
        return claims

    def _standing(self, case: _Case, now: datetime) -> Standing:
        claims = self._claims(case.memory.machine_key)
        mine = claims.get(case.key)
        winner = governor(list(claims.values())) if claims else None
        governs = mine is not None and mine == winner
        labels = self._context.store.namespace_labels(case.key.namespace) or {}
        blocked = case.memory.blocked
        if blocked is not None and blocked.wake is not None and now >= blocked.wake:
            # What was found may still be so: it is told until the next look shows otherwise.
            case.memory.doubt, case.memory.blocked = blocked, None
            blocked = None
        subscription = case.subscription.parsed
        assert subscription is not None
        return Standing(
            access=access(
                subscription.spec.grants, Namespace(case.key.namespace, labels), case.machine
            ),
            governs=governs,
            elsewhere="" if governs or winner is None else _elsewhere(case.key, winner),
            busy_elsewhere=self._busy_elsewhere(case),
            deleting=case.policy.deleting,
            has_slot=self._context.slots.has(
                (case.key.namespace, case.target.spec.policy), case.key.name
            ),
            blocked=blocked,
            touched=case.memory.touched,
            opening=self._context.terms.opening(case.declared, case.part, subscription, now),
            part=case.part,
            pins=pins_of(case.part, case.machine),
            unpaid=_unpaid(case.machine, subscription),
        )

    def _still_counted(
        self, stored: Stored[PatchTarget], status: PatchTargetStatus, now: datetime
    ) -> PatchTargetStatus:
        """Somebody else's operation was seen at work. Whoever has taken the machine over has taken
        that over, too."""
        if self._governed_by_another(stored):
            return status.replace(foreign_operation_since=None)
        return remembered(status, now)

    def _taken_over(self, case: _Case, status: PatchTargetStatus) -> PatchTargetStatus:
        """From the policy that governed the machine before: what that one saw at work on it."""
        if case.target.status.governs is True:
            return status
        others = self._context.store.targets_on(case.memory.machine_key)
        said = [
            other.parsed.status.foreign_operation_since
            for other in others
            if other.parsed is not None and other.uid != case.stored.uid
        ]
        since = min((at for at in said if at is not None), default=None)
        return status if since is None else status.replace(foreign_operation_since=since)

    def _governed_by_another(self, stored: Stored[PatchTarget]) -> bool:
        """Another policy has taken the machine over, and looks at it itself."""
        assert stored.parsed is not None
        return any(
            other.parsed is not None and other.parsed.status.governs is True
            for other in self._context.store.targets_on(machine_key(stored.parsed.spec.machine_id))
            if other.uid != stored.uid
        )

    def _busy_elsewhere(self, case: _Case) -> bool:
        """Another PatchTarget of the machine holds the lock, whatever else can be read of it."""
        return any(
            busy(other)
            for other in self._context.store.targets_on(case.memory.machine_key)
            if other.uid != case.stored.uid
        )

    # --- the selection, and rows that are awaited -------------------------------------------------

    def _selection(
        self, case: _Case, observed: Observed, governs: bool, now: datetime
    ) -> Selection | None:
        """What the policy selects of what the row's assessment found; None: not known (yet)."""
        install, os_type, row = case.declared.spec.install, case.machine.os_type, observed.row
        if not governs:
            return None  # Whoever governs the machine may be waiting for its patches.
        if install is None or os_type is None or row is None:
            self._context.looks.enough(case.machine.id, Subject.PATCHES)
            return None
        known = case.memory.selection
        if known and (known.row_time, known.install) == (row.last_modified, install):
            return known.selection
        found = self._context.inventory.patches.pop(case.memory.machine_key, None)
        counted = _counted(row)
        if counted == 0:
            patches: tuple[MissingPatch, ...] = ()
        elif found is None or found.row_time != row.last_modified:
            self._context.looks.want(case.machine.id, Subject.PATCHES)
            return None
        else:
            patches = found.patches
        # Fewer may be all that will come; more are those of another assessment.
        old = row.last_modified is None or now - row.last_modified > PATCHES_AWAITED
        if len(patches) > counted or (len(patches) < counted and not old):
            return None
        self._context.looks.enough(case.machine.id, Subject.PATCHES)
        selection = select(patches, install, os_type)
        if selection is not None:
            case.memory.selection = SelectionOf(row.last_modified, install, selection)
            case.memory.asked_since = None
        return selection

    def _knew_selection(
        self, case: _Case, observed: Observed, status: PatchTargetStatus, governs: bool
    ) -> bool:
        """The selection was told before, by the same row, and is only not in memory."""
        assessment = observed.status.assessment
        return (
            governs
            and case.memory.selection is None
            and status is case.target.status
            and case.declared.spec.install is not None
            and not deciding(case.declared)
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


def _counted(row: AssessmentResult) -> int:
    return (row.critical_and_security or 0) + (row.other or 0)


_NO_SUBSCRIPTION = Idle(
    False,
    Reason.AZURE_SUBSCRIPTION_MISSING,
    "There is no AzureSubscription for this machine's subscription (any more), so nothing is sent "
    "to it. The platform team creates it.",
)


_NO_MATRIX = Idle(
    False,
    Reason.SUPPORT_MATRIX_MISSING,
    "The AzureSubscription for this machine's subscription has no support matrix in force, so "
    "nothing is sent. The platform team finds in its condition Ready what is wrong.",
)


_UNREADABLE = Idle(
    False,
    Reason.INVALID_SPEC,
    "This version of azpatch cannot read the PatchPolicy, and sends nothing for it. The "
    "PatchPolicy's condition Ready says why, and what to do.",
)


_UNSEEN = Idle(
    False,
    Reason.INVENTORY_SHRUNK,
    "Resource Graph does not show the machine, and Azure has not said that it is deleted. It is "
    "asked about at every refresh. If a role was removed, restore it.",
)


def _unpaid(machine: Machine, subscription: AzureSubscription) -> str | None:
    """The AzureSubscription, if it does not accept what Azure charges for the machine."""
    if machine.kind is not MachineKind.ARC_SERVER or subscription.spec.arc_billing is not None:
        return None
    return subscription.metadata.name


def _elsewhere(key: Key, winner: Claim) -> str:
    """The winner's name stays inside its namespace."""
    if winner.namespace == key.namespace:
        return (
            f"PatchPolicy {winner.policy} governs this machine: its target is more specific, or "
            "it comes first by name."
        )
    return "A policy of another namespace governs this machine."
