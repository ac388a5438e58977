"""The operating system inside a machine: what it is busy with, and how time passes in it.

A guest runs at most one operation; a newer one supersedes it. It goes on in steps, each an event of
the cloud's heap; stopping the machine drops the step under way, starting it takes it up again.
What a guest reports goes to three places that disagree for a while: the operation's own result and
the machine's patchStatus at once, Resource Graph later. This is the guest of a virtual machine;
`arcguest` has what is different in an Arc-enabled server.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from azsim import results
from azsim.assessing import Assessment
from azsim.fleet import Failures
from azsim.installing import Installation
from azsim.journal import Event
from azsim.machine import Machine
from azsim.operations import INTERNAL_ERROR, Operation
from azsim.records import AssessmentRecord, InstallationRecord
from azsim.selection import InstallRequest

if TYPE_CHECKING:
    from azsim.cloud import Cloud

UNREACHABLE_AFTER = timedelta(minutes=5)
"""When an operation fails that never reached an agent."""

SILENCE_GRACE = timedelta(minutes=30)
"""How long past its time Azure waits for an operation whose agent went silent."""


Task = Assessment | Installation


class Guest:
    """One guest. `task` is what it is busy with."""

    def __init__(self, cloud: Cloud, machine: Machine) -> None:
        self.cloud = cloud
        self.machine = machine
        self.task: Task | None = None
        self._step: Callable[[], None] | None = None
        self._turn = 0
        self._paused = False
        self._agent_lost = False
        self._failed = {"Assess": 0, "Install": 0}

    # -- what may be asked of it ------------------------------------------------------------------

    def assess(self, operation: Operation) -> None:
        """Begin an assessment."""
        self._take(operation, lambda: Assessment(self, operation, self._failures("Assess")))

    def install(self, operation: Operation, request: InstallRequest) -> None:
        """Begin an installation."""
        self._take(
            operation, lambda: Installation(self, operation, self._failures("Install"), request)
        )

    def stop(self) -> None:
        """The machine no longer runs; what was under way waits for it."""
        self._turn += 1
        if self.task is not None and not self._paused:
            self._paused = True
            self.journal("OperationPaused")

    def boot(self) -> None:
        """The machine runs again, and its agent with it."""
        self.machine.agent_silent = self._agent_lost = False
        if not self._paused:
            return
        self._paused = False
        self.journal("OperationResumed")
        if self._step is not None:
            self.after(self.machine.spec.guest.durations.prepare, self._step)

    def lose_agent(self, step: Callable[[], None] | None = None) -> None:
        """The agent goes silent, and with it what is under way; a start brings it back too.

        `step` is what to go on with then, if it is not the one that waits to be done.
        """
        if not self.machine.agent_ready:
            return
        step = step or self._step
        self.machine.agent_silent = self._agent_lost = True
        self.journal("AgentLost")
        # A task without a step is one that will never report anyway.
        if self.task is not None and step is not None:
            time_left = max(self.task.deadline - self.cloud.now, timedelta(0))
            self.after(time_left + SILENCE_GRACE, self.task.abandoned, after_boot=step)

    def agent_back(self) -> None:
        """An agent that was lost reports again, and what was under way goes on."""
        if not self._agent_lost:
            return
        self.machine.agent_silent = self._agent_lost = False
        self.journal("AgentBack")
        if self.task is not None and not self._paused and self._step is not None:
            self.after(self.machine.spec.guest.durations.prepare, self._step)

    def delete(self) -> None:
        """The machine is gone, and what was under way with it."""
        if self.task is not None:
            self.task.operation.fail(self.cloud.now, *INTERNAL_ERROR)
            self.ended("Deleted")

    # -- what its task asks of it -----------------------------------------------------------------

    def report(self, tell: Callable[[], None], *, unheard: bool = False) -> None:
        """Let Azure know something. `unheard`: it is what Azure concludes by itself."""
        tell()

    def silence(self) -> None:
        """The agent does not report while the machine reboots."""
        self.machine.agent_silent = True

    def speak(self) -> None:
        """The machine is back from its reboot."""
        self.machine.agent_silent = False

    def assessment_result(self, record: AssessmentRecord) -> dict[str, Any]:
        """The output of the operation."""
        return results.assessment_result(record, self.machine.os_type)

    def installation_result(self, record: InstallationRecord) -> dict[str, Any]:
        """The output of the operation."""
        return results.installation_result(record)

    def after(
        self,
        delay: timedelta,
        step: Callable[[], None],
        *,
        after_boot: Callable[[], None] | None = None,
    ) -> None:
        """Go on with `step` after `delay`, or when the machine has been stopped and started.

        `after_boot` is what to go on with in the second case, if it is something else.
        """
        self._turn += 1
        turn, self._step = self._turn, after_boot or step

        def due() -> None:
            if turn == self._turn:
                step()

        self.cloud.schedule(self.cloud.now + delay, due)

    def ended(self, status: str, **details: Any) -> None:
        """The task has ended."""
        if self.task is not None:
            self.journal("OperationEnded", operation=self.task.kind, status=status, **details)
        self._turn += 1
        self._paused = False
        self.task = self._step = None

    def journal(self, event: Event, **details: Any) -> None:
        """Record what happened, with the operation that it happened in."""
        operation = self.task.operation if self.task is not None else None
        self.cloud.journal.event(
            self.cloud.now,
            self.machine.id,
            event,
            operation_id=operation.id if operation else None,
            attempt_id=operation.attempt_id if operation else None,
            **details,
        )

    # -- beginning --------------------------------------------------------------------------------

    def _take(self, operation: Operation, task: Callable[[], Task]) -> None:
        """Begin if the agent takes the operation; if not, the operation fails after a while."""
        if self.machine.agent_ready:
            self._begin(task())
            return
        quirks = self.cloud.quirks
        message = quirks.agent_message.format(vm=self.machine.name)
        self.cloud.schedule(
            self.cloud.now + UNREACHABLE_AFTER,
            lambda: self._unreached(operation, quirks.agent_code, message),
        )

    def _unreached(self, operation: Operation, code: str, message: str) -> None:
        """The operation failed, and no agent ever heard of it."""
        operation.fail(self.cloud.now, code, message)
        self.cloud.journal.event(
            self.cloud.now,
            self.machine.id,
            "OperationUnreached",
            operation_id=operation.id,
            attempt_id=operation.attempt_id,
            operation=operation.kind,
            principal=operation.principal,
        )

    def _failures(self, kind: str) -> Failures:
        """What goes wrong this time."""
        failures = self.machine.spec.guest.failures
        if failures.times is not None and self._failed[kind] >= failures.times:
            return Failures()
        self._failed[kind] += 1
        return failures

    def _begin(self, task: Task) -> None:
        if self.task is not None:
            self.journal("OperationSuperseded", by=task.operation.id)
            self.task.superseded(task.operation)
        self.task = task
        self.journal(
            "OperationStarted",
            operation=task.kind,
            principal=task.operation.principal,
            vmId=self.machine.vm_id,
            body=dict(task.operation.body),
        )
        task.begin()
