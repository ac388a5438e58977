"""Follows an operation that is in flight, or may be, until its end is known."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import structlog

from azpatch.api.install import RebootSetting
from azpatch.api.reasons import Reason
from azpatch.api.target import (
    Operation,
    OperationKind,
    OperationState,
    PatchTarget,
    PatchTargetStatus,
)
from azpatch.azure.port import Accepted, AzureClient, AzureError, Denied, Gone, OverBudget
from azpatch.domain import target as decide
from azpatch.domain.attempts import Turn, window_after_last_try
from azpatch.domain.availability import went_well
from azpatch.domain.ending import assessed, dropped, install_end, installed
from azpatch.domain.facts import AssessmentResult, InstallationResult, MachineView
from azpatch.domain.ids import key as machine_key_of
from azpatch.domain.ids import subscription_of
from azpatch.domain.look import at_work_beside, install_beside, seen
from azpatch.domain.observe import another_machine
from azpatch.domain.opening import UNKNOWN_TURN
from azpatch.domain.operation import (
    LOOK_EARLY,
    ROW_RUNS_AT_MOST,
    UNANSWERED,
    Ended,
    Evidence,
    Going,
    Lost,
    LostReason,
    NeverStarted,
    judge,
    running,
    unrecorded,
)
from azpatch.domain.outcome import InstallOutcome, NotOver, install_outcome, lost
from azpatch.domain.traces import Traces, traces_of
from azpatch.kube.port import PATCH_POLICY
from azpatch.reconcile.context import Context
from azpatch.reconcile.memory import MachineMemory
from azpatch.reconcile.queue import Key
from azpatch.reconcile.start import subject_of
from azpatch.reconcile.store import Stored
from azpatch.reconcile.subscription import usable_subscriptions

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Followed:
    """What following came to."""

    stored: Stored[PatchTarget]
    look_after: timedelta | None = None
    """It still runs, or may: when to look again."""
    status: PatchTargetStatus | None = None
    """It has ended: the status without it, not written yet."""
    outcome: InstallOutcome | None = None
    """What an install that has ended came to."""


class Flight:
    """One per process."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def follow(
        self, key: Key, stored: Stored[PatchTarget], memory: MachineMemory
    ) -> Followed:
        """One look, if it is time for one."""
        target = stored.parsed
        assert target is not None
        operation = target.status.operation
        assert operation is not None
        if not stored.deleting:
            # Half of the lock; somebody may have taken it off by hand.
            stored = await self._context.add_finalizer(stored)
        self._context.looks.want(target.spec.machine_id, subject_of(operation.kind), following=True)
        now = self._context.clock.elapsed()
        early = memory.next_look is not None and now < memory.next_look
        if early and memory.next_look and not self._row_has_news(target, operation):
            return Followed(stored, look_after=memory.next_look - now)
        operation = _answered(operation, traces_of(target.spec.machine_id), memory)
        try:
            evidence = await self._gather(target, operation, memory)
        except OverBudget as error:
            # It was not asked: that says nothing of the operation.
            return Followed(stored, look_after=error.retry_after or LOOK_EARLY)
        followed = await self._judge(key, stored, operation, evidence, memory)
        if followed.status is not None and evidence.running and memory.accepted is not None:
            memory.outlived = _outlived(target.spec.machine_id, operation, memory.accepted[1])
        if followed.status is not None and evidence.view is not None:
            # Ours has ended; what that look shows at work is somebody else's, and holds a slot.
            at = self._context.clock.now()
            memory.blocked = at_work_beside(evidence.view, followed.status, at)
            return replace(followed, status=seen(followed.status, memory.blocked, at))
        return followed

    async def still_runs(self, client: AzureClient, memory: MachineMemory) -> bool:
        """By its URL, an operation whose outcome is called Unknown runs on. Raises AzureError."""
        if memory.outlived is None:
            return False
        poll_url, until = memory.outlived
        if self._context.clock.now() < until:
            try:
                if (await client.operation(poll_url)).running:
                    return True
            except (Gone, Denied):
                pass
        memory.outlived = None
        return False

    # --- gather -----------------------------------------------------------------------------------

    def _row_has_news(self, target: PatchTarget, operation: Operation) -> bool:
        """Resource Graph shows an end that ARM has not been asked about."""
        machine_id = target.spec.machine_id
        if operation.kind is OperationKind.INSTALL:
            install = self._context.inventory.installations.get(machine_key_of(machine_id))
            return (
                install is not None
                and install.status.ended
                and traces_of(machine_id).answers(operation, install)
            )
        row = self._context.inventory.row(machine_id)
        return (
            row is not None
            and row.status.ended
            and row.last_modified is not None
            and row.last_modified >= operation.intent_time
        )

    async def _gather(
        self, target: PatchTarget, operation: Operation, memory: MachineMemory
    ) -> Evidence:
        """From the operation's own URL while there is one, else from the machine."""
        machine_id = target.spec.machine_id
        inventory = self._context.inventory.of(machine_id)
        row = None
        if operation.kind is OperationKind.INSTALL:
            row = self._context.inventory.installations.get(memory.machine_key)
        if inventory is None:
            return Evidence(row=row)
        known, unread = memory.accepted, False
        if known is not None and known[0] == operation.attempt_id:
            told = await self._ask_operation(inventory.client, known[1].poll_url, memory)
            if told is not None:
                return replace(told, row=row)
            unread = memory.accepted is not None
        evidence = await self._ask_machine(inventory.client, machine_id)
        return replace(evidence, row=row, unread=unread)

    async def _ask_operation(
        self, client: AzureClient, poll_url: str, memory: MachineMemory
    ) -> Evidence | None:
        """None: the URL is of no use (any more), and the machine itself is to be asked."""
        try:
            progress = await client.operation(poll_url)
        except (Gone, Denied):
            memory.accepted = None
            return None
        except OverBudget:
            raise
        except AzureError as error:
            log.info("operation not read", code=error.code)
            return None
        result = progress.assessment or progress.installation
        if not progress.running and result is None and progress.error is None:
            memory.accepted = None
            return None
        return Evidence(
            running=progress.running,
            result=result,
            error=progress.error,
            ended=progress.ended,
        )

    async def _ask_machine(self, client: AzureClient, machine_id: str) -> Evidence:
        try:
            return Evidence(view=await self._context.sight.look(client, machine_id))
        except Gone:
            return Evidence(machine_gone=True)
        except Denied:
            return Evidence(denied=True)
        except OverBudget:
            raise
        except AzureError as error:
            log.info("machine not read", machine=machine_id, code=error.code)
            return Evidence()

    # --- decide and act ---------------------------------------------------------------------------

    async def _judge(
        self,
        key: Key,
        stored: Stored[PatchTarget],
        operation: Operation,
        evidence: Evidence,
        memory: MachineMemory,
    ) -> Followed:
        target = stored.parsed
        assert target is not None
        status = target.status.replace(operation=operation)
        vm_id = status.machine.vm_id if status.machine else None
        now = self._context.clock.now()
        traces = traces_of(target.spec.machine_id)
        match judge(operation, vm_id, traces, unrecorded(evidence, status), now):
            case Going(current, look_after):
                status = status.replace(operation=current)
                return await self._go_on(stored, status, memory, look_after, evidence.view)
            case NeverStarted():
                log.info("never started", machine=target.spec.machine_id, kind=operation.kind)
                return Followed(stored, status=dropped(status))
            case Lost(LostReason.REPLACED):
                return Followed(stored, status=another_machine(status))
            case Lost(reason) if operation.kind is OperationKind.INSTALL:
                return self._installed(stored, status, None, lost(Reason(reason)))
            case Lost():
                return Followed(stored, status=assessed(status, None, False, now))
            case Ended(AssessmentResult() as result):
                well = went_well(result.status)
                return Followed(stored, status=assessed(status, result, well, now))
            case Ended(result):
                assert isinstance(result, InstallationResult)
                return await self._consider(stored, status, result, evidence, memory)

    async def _consider(
        self,
        stored: Stored[PatchTarget],
        status: PatchTargetStatus,
        result: InstallationResult,
        evidence: Evidence,
        memory: MachineMemory,
    ) -> Followed:
        """An install's result counts when the machine is back."""
        target = stored.parsed
        assert target is not None
        assert status.operation is not None
        inventory = self._context.inventory.of(target.spec.machine_id)
        if evidence.view is None and inventory is not None:
            evidence = await self._ask_machine(inventory.client, target.spec.machine_id)
        now = self._context.clock.now()
        # An operation's own result may not say when it ended.
        memory.ended = result.last_modified or memory.ended or install_end(status, result, now)
        result = replace(result, last_modified=memory.ended)
        if evidence.machine_gone:
            gone = lost(Reason.MACHINE_GONE)
            return self._installed(stored, status, result, gone)
        if evidence.view is None:
            # Whether it is back cannot be seen, which is not the same as not being back.
            patience = timedelta(0) if evidence.denied else UNANSWERED
            if now < status.operation.deadline + patience:
                return await self._go_on(stored, status, memory, LOOK_EARLY)
            unseen = Reason.ACCESS_LOST if evidence.denied else Reason.RESULT_UNKNOWN
            return self._installed(stored, status, result, lost(unseen))
        outcome = install_outcome(
            result,
            reboot_setting=self._reboot_setting(stored),
            agent_ready=evidence.view.agent_ready,
            ended=memory.ended,
            deadline=status.operation.deadline,
            newer_running=running(evidence.view, result.activity_id, now),
            now=now,
            next_window=window_after_last_try(status.attempts, now, self._turn(stored, now)),
        )
        if isinstance(outcome, InstallOutcome):
            return self._installed(stored, status, result, outcome)
        if outcome.until is None and now >= status.operation.deadline:
            return self._installed(stored, status, result, lost(Reason.RESULT_UNKNOWN))
        return await self._go_on(stored, status, memory, _patience(outcome, now))

    async def _go_on(
        self,
        stored: Stored[PatchTarget],
        status: PatchTargetStatus,
        memory: MachineMemory,
        look_after: timedelta,
        view: MachineView | None = None,
    ) -> Followed:
        """`view`: what a look at the machine showed just now, if there was one."""
        target, operation = stored.parsed, status.operation
        assert target is not None
        assert operation is not None
        now = self._context.clock.now()
        memory.next_look = self._context.clock.elapsed() + look_after
        if view is not None and operation.kind is OperationKind.ASSESS:
            # An install of ours holds a slot as it is.
            status = seen(status, install_beside(view, status, now), now)
        stored = await self._context.write_status(stored, decide.in_flight(target, status, now))
        return Followed(stored, look_after=look_after)

    def _installed(
        self,
        stored: Stored[PatchTarget],
        status: PatchTargetStatus,
        result: InstallationResult | None,
        outcome: InstallOutcome,
    ) -> Followed:
        now = self._context.clock.now()
        ended = installed(status, result, outcome, now, self._turn(stored, now))
        return Followed(stored, status=ended, outcome=outcome)

    def forget(self, memory: MachineMemory) -> None:
        """The end is written down: what told of the operation is of no use any more."""
        memory.accepted = memory.next_look = memory.ended = None
        self._context.inventory.installations.pop(memory.machine_key, None)

    async def report(self, stored: Stored[PatchTarget], outcome: InstallOutcome) -> None:
        """An Event on the policy, and a line in the log."""
        assert stored.parsed is not None
        machine_id = stored.parsed.spec.machine_id
        log.info(
            "install ended",
            policy=f"{stored.namespace}/{stored.parsed.spec.policy}",
            machine=machine_id,
            outcome=outcome.outcome,
            reason=outcome.reason,
        )
        policy = self._context.store.policy_of(stored)
        if policy is not None:
            await self._context.kube.event(
                PATCH_POLICY,
                policy.raw,
                warning=outcome.counts_as_failed,
                reason=outcome.reason or "Installed",
                action="Install",
                note=f"{machine_id.rsplit('/', 1)[-1]}: {outcome.message}",
            )

    def _turn(self, stored: Stored[PatchTarget], now: datetime) -> Turn | None:
        """Where the policy's schedule is now. Of a policy that is gone nothing is counted."""
        assert stored.parsed is not None
        policy = self._context.store.policy_of(stored)
        id_ = subscription_of(stored.parsed.spec.machine_id)
        subscription = usable_subscriptions(self._context.store).get(id_)
        if policy is None or policy.parsed is None or subscription is None:
            return UNKNOWN_TURN
        terms, part = self._context.terms, self._context.terms.part(stored, policy)
        declared = terms.declared(policy, part.mine)
        return terms.opening(declared, part, subscription, now).turn

    def _reboot_setting(self, stored: Stored[PatchTarget]) -> RebootSetting:
        """As the run has it that the install was sent for, or else the policy; Azure's default if
        the policy is gone."""
        policy = self._context.store.policy_of(stored)
        if policy is None or policy.parsed is None:
            return RebootSetting.IF_REQUIRED
        run = self._context.terms.part(stored, policy).mine
        install = run.effective.install if run else policy.parsed.spec.install
        return RebootSetting.IF_REQUIRED if install is None else install.reboot_setting


def _answered(operation: Operation, traces: Traces, memory: MachineMemory) -> Operation:
    """Azure's answer to the POST, where writing it down failed."""
    known = memory.accepted
    if operation.operation_id is not None or known is None or known[0] != operation.attempt_id:
        return operation
    activity = traces.activity(known[1].operation_id)
    return operation.replace(state=OperationState.STARTED, operation_id=activity)


def _outlived(
    machine_id: str, operation: Operation, accepted: Accepted
) -> tuple[str, datetime] | None:
    """Of an operation that still ran at its deadline: see MachineMemory. A virtual machine shows
    by itself what runs on it."""
    if not traces_of(machine_id).rows_lag:
        return None
    return accepted.poll_url, operation.intent_time + ROW_RUNS_AT_MOST


def _patience(outcome: NotOver, now: datetime) -> timedelta:
    if outcome.until is None:
        return LOOK_EARLY
    return max(min(outcome.until - now, LOOK_EARLY), timedelta(seconds=1))
