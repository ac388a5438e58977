"""Reconciles PatchTargets: follows what is in flight, else acts on what was decided.

Both run under the machine's lock, so that the PatchTargets of one machine, of whichever policies,
never act side by side.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import structlog

from azpatch.api.reasons import Reason
from azpatch.api.target import OperationKind, PatchTarget, PatchTargetStatus
from azpatch.azure.port import AzureError, Gone, OverBudget
from azpatch.domain import target as decide
from azpatch.domain.availability import foreign_install
from azpatch.domain.facts import MachineView
from azpatch.domain.ids import is_another_vm, subscription_of
from azpatch.domain.ids import key as machine_key_of
from azpatch.domain.look import LONGEST_LOOK_AT_FOREIGN, cleared, outlived, seen, touched_since
from azpatch.domain.plan import AskSlot, Idle, Plan, Send
from azpatch.domain.run_entry import joined
from azpatch.kube.port import PATCH_POLICY, KubeError, NotLeading
from azpatch.reconcile.context import Context
from azpatch.reconcile.decision import Decider, Decision, NotNow
from azpatch.reconcile.flight import Flight, Followed
from azpatch.reconcile.memory import MachineMemory, Memory
from azpatch.reconcile.queue import Key, Result
from azpatch.reconcile.refusals import of_look
from azpatch.reconcile.routing import own_key
from azpatch.reconcile.spread import wake_waiting
from azpatch.reconcile.start import Starter, release
from azpatch.reconcile.store import Stored
from azpatch.reconcile.turn import IN_LINE, Line, while_in_line
from azpatch.reconcile.waiting import again, untold

SHORTLY = timedelta(seconds=1)
"""When something is known to be decided differently now."""

log = structlog.get_logger(__name__)


class MachineReconciler:
    """One per process."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._memory = Memory()
        self._decider = Decider(context)
        self._starter = Starter(context)
        self._flight = Flight(context)
        self._line = Line(context, self._memory)

    async def reconcile(self, key: Key) -> Result:
        """One PatchTarget: follow what is in flight, or decide what comes next."""
        stored = self._context.store.target(key.namespace, key.name)
        if stored is None:
            self._forget(key)
            return Result()
        if stored.parsed is None:
            # It sends nothing: others may have its place.
            self._forget(key)
            log.error("PatchTarget cannot be read", target=str(key), error=stored.error)
            return Result()
        machine_key = machine_key_of(stored.parsed.spec.machine_id)
        async with self._memory.lock(machine_key):
            stored = self._context.store.target(key.namespace, key.name)
            if stored is None or stored.parsed is None:
                return Result()
            memory = self._memory.of(key, stored.uid, machine_key, stored.parsed.spec.policy)
            try:
                if stored.parsed.status.operation is None:
                    return await self._settle(key, stored, stored.parsed.status, memory)
                return await self._follow(key, await self._join(stored), memory)
            finally:
                wake_waiting(self._context, machine_key)

    async def _join(self, stored: Stored[PatchTarget]) -> Stored[PatchTarget]:
        """Says that the machine is in a run, which waits for that, and not for what is in
        flight."""
        policy = self._context.store.policy_of(stored)
        if policy is None or policy.parsed is None or stored.parsed is None:
            return stored
        entry = joined(self._context.terms.part(stored, policy))
        if entry is None:
            return stored
        return await self._context.write_status(stored, stored.parsed.status.replace(run=entry))

    async def _follow(self, key: Key, stored: Stored[PatchTarget], memory: MachineMemory) -> Result:
        followed = await self._flight.follow(key, stored, memory)
        if followed.status is None:
            self._decided(key, stored)
            return Result(followed.look_after)
        # What is still awaited from here on, settling says; it is asked for less and less often.
        self._context.looks.enough(memory.machine_key)
        try:
            result = await self._settle(key, followed.stored, followed.status, memory)
        except Exception:
            await self._over(key, followed, memory)
            raise
        await self._over(key, followed, memory)
        return result

    async def _over(self, key: Key, followed: Followed, memory: MachineMemory) -> None:
        """Tells others of an operation's end, once it is written down; that may have been with the
        intent of the next one."""
        newest = self._context.store.target(key.namespace, key.name)
        now, before = (one.parsed if one else None for one in (newest, followed.stored))
        if now is not None and before is not None:
            if now.status.operation == before.status.operation:
                return
            if now.status.operation is None:
                self._flight.forget(memory)
        if followed.outcome is not None:
            await self._flight.report(followed.stored, followed.outcome)
        self._wake_siblings(followed.stored)
        self._wake_subscription(followed.stored)

    async def _settle(
        self,
        key: Key,
        stored: Stored[PatchTarget],
        status: PatchTargetStatus,
        memory: MachineMemory,
    ) -> Result:
        """Of a machine with nothing in flight. `status` is newer than what is stored where an
        operation has just ended."""
        decision = self._decider.decide(key, stored, status, memory)
        if isinstance(decision, NotNow):
            self._give_back(key, stored)
            self._line.leave(memory)
            stored = await self._context.write_status(stored, decision.status)
            await release(self._context, stored)
            if not decision.open:
                self._decided(key, stored)
            return Result(decision.again)
        return await self._act(key, decision, memory)

    async def _act(self, key: Key, decision: Decision, memory: MachineMemory) -> Result:
        if not isinstance(decision.step, Send):
            self._line.leave(memory)
        elif decision.step.kind is OperationKind.ASSESS:
            memory.untold = None
        try:
            result = await self._carry_out(key, decision, memory)
        finally:
            # Once it is written, and only then: two whose writes fail would wake each other for
            # ever.
            written = self._context.newest(decision.stored).parsed
            if written is not None and written.status.governs != decision.target.status.governs:
                self._wake_siblings(decision.stored)
        await self._tell_loss(decision)
        return result

    async def _carry_out(self, key: Key, decision: Decision, memory: MachineMemory) -> Result:
        if isinstance(decision.step, Send):
            try:
                result = await self._send(key, decision, decision.step, memory)
            except NotLeading:
                raise
            except Exception:
                # Also where it is a defect that keeps the next one: that would be met each time.
                await self._end(key, decision)
                raise
            await self._end(key, decision)
            return result
        if foreign_install(decision.status) and _can_look(decision):
            # It holds a slot as long as it runs, and whether it does only a look can tell.
            if memory.blocked is not None:
                return await self._block(key, decision, memory.blocked, memory)
            looked = await self._look(key, decision, memory)
            if isinstance(looked, Result):
                return looked
            decision = _alone(decision)
        return await self._rest(key, decision, memory)

    async def _end(self, key: Key, decision: Decision) -> None:
        """An operation has ended, and nothing has begun with whose intent that was written: then it
        is now. The finalizer stays for what is about to be sent."""
        newest, before = self._context.newest(decision.stored), decision.target.status
        if before.operation is None or newest.parsed is None or newest.parsed.status != before:
            return
        await self._context.write_status(newest, decision.status)
        self._decided(key, decision.stored, decision.policy.generation)

    async def _tell_loss(self, decision: Decision) -> None:
        """An Event on the policy that acted on the machine so far."""
        if decision.target.status.governs is not True or decision.status.governs is not False:
            return
        name = decision.machine.id.rsplit("/", 1)[-1]
        await self._context.kube.event(
            PATCH_POLICY,
            decision.policy.raw,
            warning=True,
            reason=Reason.GOVERNED_ELSEWHERE,
            action="Govern",
            note=f"{name}: {decision.standing.elsewhere}",
        )

    async def _rest(self, key: Key, decision: Decision, memory: MachineMemory) -> Result:
        """Nothing is sent now."""
        self._tell(key, decision, decision.step, memory)
        if not isinstance(decision.step, AskSlot):
            self._give_back(key, decision.stored)
        elif self._context.slots.ask(_policy_name(key, decision.target), key.name):
            self._context.queue.add(_policy_key(key, decision.target))
        status, now = decision.status, self._context.clock.now()
        if isinstance(decision.step, AskSlot) and memory.doubt is not None:
            status = decide.blocked(decision.target, status, memory.doubt, now)
        wakes = again(decision, decision.step, now)
        moment = untold(self._context, key, decision, status, memory)
        if moment is not None:
            return Result(moment if wakes is None else min(moment, wakes))
        await self._write(key, decision, status)
        return Result(wakes)

    async def _write(self, key: Key, decision: Decision, status: PatchTargetStatus) -> None:
        """What was decided, with nothing in flight."""
        stored = await self._context.write_status(decision.stored, status)
        await release(self._context, stored)
        self._decided(key, stored, decision.policy.generation)

    # --- send -------------------------------------------------------------------------------------

    async def _send(
        self, key: Key, decision: Decision, step: Send, memory: MachineMemory
    ) -> Result:
        """Its turn, one more look at the machine itself, then the operation: all that may take long
        comes before the look."""
        wait = self._line.join(decision, step.kind, memory)
        if wait:
            return await self._wait(key, decision, step.kind, wait, memory)
        verified = self._context.clock.monotonic()
        view = await self._look(key, decision, memory)
        if isinstance(view, Result):
            return view
        decision = _alone(decision)
        if step.kind is OperationKind.INSTALL:
            memory.touched = touched_since(view, decision.status, self._context.clock.now())
            if memory.touched is not None:
                # Decided anew, it comes to an assessment.
                return Result(SHORTLY)

        def anew() -> Decision | None:
            return self._same(key, decision, step, memory)

        try:
            started = await self._starter.start(step.kind, decision, anew, view, verified)
        except KubeError:
            self._came_to_nothing(key, decision)
            self._line.leave(memory)
            raise
        if started.began:
            self._tell(key, decision, step, memory)
            self._flight.forget(memory)
            memory.untold, memory.accepted = None, started.accepted
            memory.next_look = self._context.clock.elapsed() + started.look_after
            self._wake_siblings(decision.stored)
        elif started.obstacle is not None:
            memory.blocked = started.obstacle
            self._tell(key, decision, started.obstacle, memory)
        if not started.began:
            self._came_to_nothing(key, decision)
        if started.began or started.obstacle is not None:
            self._decided(key, decision.stored, decision.policy.generation)
            self._give_back(key, decision.stored)
            self._line.leave(memory)
        return Result(started.look_after)

    def _came_to_nothing(self, key: Key, decision: Decision) -> None:
        """Policy and AzureSubscription took finalizers on for it, and may let them go."""
        self._context.queue.add(_policy_key(key, decision.target))
        self._wake_subscription(decision.stored)

    async def _wait(
        self,
        key: Key,
        decision: Decision,
        kind: OperationKind,
        wait: timedelta,
        memory: MachineMemory,
    ) -> Result:
        """For its turn."""
        status, ask_again = while_in_line(self._context, key, decision, kind, wait, memory)
        if status is not None:
            self._tell(key, decision, IN_LINE, memory)
            await self._write(key, decision, status)
        return Result(ask_again)

    def _same(
        self, key: Key, first: Decision, step: Send, memory: MachineMemory
    ) -> Decision | None:
        """The decision taken anew; None if it does not come to the same step."""
        stored = self._context.store.target(key.namespace, key.name)
        if stored is None or stored.parsed is None:
            return None
        status = stored.parsed.status
        if status.operation is not None:
            if status != first.target.status:
                return None
            status = first.status  # In which it has ended; that is not written yet.
        decision = self._decider.decide(key, stored, status, memory)
        if isinstance(decision, NotNow) or decision.step != step:
            return None
        return _alone(decision)

    async def _look(
        self, key: Key, decision: Decision, memory: MachineMemory
    ) -> MachineView | Result:
        """The machine as Azure shows it; or, with something in the way, when to decide again."""
        try:
            if await self._flight.still_runs(decision.client, memory):
                wake = self._context.clock.now() + LONGEST_LOOK_AT_FOREIGN
                return await self._block(key, decision, outlived(wake), memory)
            view = await self._context.sight.look(decision.client, decision.machine.id)
        except Gone as error:
            return await self._gone(key, decision, error, memory)
        except OverBudget as error:
            # It was not asked: that says nothing of the machine.
            return Result(error.retry_after)
        except AzureError as error:
            obstacle = of_look(error, self._context.clock.now())
            return await self._block(key, decision, obstacle, memory)
        now = self._context.clock.now()
        found = cleared(view, decision.machine, decision.status, now)
        if found is None:
            memory.doubt = None
            return view
        replaced = is_another_vm(view.machine.vm_id, decision.machine.vm_id)
        if replaced or found.reason not in (
            Reason.FOREIGN_OPERATION,
            Reason.OPERATION_IN_PROGRESS,
        ):
            self._context.refresher.ask(subscription_of(decision.machine.id))
        decision = replace(decision, status=seen(decision.status, found, now))
        return await self._block(key, decision, found, memory)

    async def _gone(
        self, key: Key, decision: Decision, error: Gone, memory: MachineMemory
    ) -> Result:
        """ARM itself says that the machine does not exist: its policy removes the PatchTarget."""
        subscription = self._context.inventory.of(decision.machine.id)
        if subscription is not None:
            subscription.confirm_gone(memory.machine_key)
        self._context.queue.add(_policy_key(key, decision.target))
        obstacle = of_look(error, self._context.clock.now())
        return await self._block(key, decision, obstacle, memory)

    async def _block(
        self, key: Key, decision: Decision, obstacle: Idle, memory: MachineMemory
    ) -> Result:
        memory.blocked = obstacle
        now = self._context.clock.now()
        self._tell(key, decision, obstacle, memory)
        self._give_back(key, decision.stored)
        self._line.leave(memory)
        status = decide.blocked(decision.target, decision.status, obstacle, now)
        await self._write(key, decision, status)
        return Result(again(decision, obstacle, now))

    # --- slots, and who else is concerned ---------------------------------------------------------

    def _give_back(self, key: Key, stored: Stored[PatchTarget]) -> None:
        assert stored.parsed is not None
        if self._context.slots.give_back(_policy_name(key, stored.parsed), key.name):
            self._context.queue.add(_policy_key(key, stored.parsed))

    def _decided(
        self, key: Key, stored: Stored[PatchTarget], generation: int | None = None
    ) -> None:
        """The policy's generation that the machine goes by (by default what it has now), once its
        status says so; news to the policy's reconciler."""
        assert stored.parsed is not None
        policy = self._context.store.policy_of(stored)
        if policy is None:
            return
        goes_by = policy.generation if generation is None else generation
        if self._context.decided.get(key) != goes_by:
            self._context.decided[key] = goes_by
            self._context.queue.add(_policy_key(key, stored.parsed))

    def _wake_siblings(self, stored: Stored[PatchTarget]) -> None:
        """The other PatchTargets of the machine: one of them may act now, or must not any more."""
        assert stored.parsed is not None
        machine_key = machine_key_of(stored.parsed.spec.machine_id)
        for other in self._context.store.targets_on(machine_key):
            if other.uid != stored.uid:
                self._context.queue.add(own_key(other))

    def _wake_subscription(self, stored: Stored[PatchTarget]) -> None:
        """Its finalizer may go when the last operation has."""
        assert stored.parsed is not None
        id_ = subscription_of(stored.parsed.spec.machine_id)
        for subscription in self._context.store.subscriptions():
            parsed = subscription.parsed
            if parsed is not None and parsed.spec.subscription_id.lower() == id_:
                self._context.queue.add(own_key(subscription))

    def _forget(self, key: Key) -> None:
        memory = self._memory.forget(key)
        self._context.decided.pop(key, None)
        if memory is None:
            return
        self._line.leave(memory)
        if self._context.slots.give_back((key.namespace, memory.policy), key.name):
            self._context.queue.add(Key(PATCH_POLICY.kind, key.namespace, memory.policy))
        others = self._context.store.targets_on(memory.machine_key)
        if not others:
            self._context.looks.enough(memory.machine_key)
            self._context.inventory.patches.pop(memory.machine_key, None)
            self._context.inventory.installations.pop(memory.machine_key, None)
        for other in others:
            self._context.queue.add(own_key(other))
        wake_waiting(self._context, memory.machine_key)

    def _tell(self, key: Key, decision: Decision, step: Plan, memory: MachineMemory) -> None:
        """One line a decision, when it differs from the last."""
        told = _in_words(step)
        if memory.told == told:
            return
        memory.told = told
        log.info(
            "decision",
            policy=f"{key.namespace}/{decision.target.spec.policy}",
            machine=decision.machine.id,
            decision=told[0],
            reason=told[1],
        )


def _can_look(decision: Decision) -> bool:
    return decision.standing.governs and decision.standing.access is not None


def _alone(decision: Decision) -> Decision:
    """A look has just shown that nobody else is at work."""
    return replace(decision, status=decision.status.replace(foreign_operation_since=None))


def _in_words(step: Plan) -> tuple[str, str]:
    match step:
        case Idle(reason=reason):
            return "idle", reason
        case AskSlot():
            return "idle", Reason.WAITING_FOR_SLOT
        case Send(kind):
            return "send", kind


def _policy_name(key: Key, target: PatchTarget) -> tuple[str, str]:
    return key.namespace, target.spec.policy


def _policy_key(key: Key, target: PatchTarget) -> Key:
    return Key(PATCH_POLICY.kind, key.namespace, target.spec.policy)
