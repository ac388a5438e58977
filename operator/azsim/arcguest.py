"""The operating system of an Arc-enabled server, which Azure may not hear for hours.

What is different from a virtual machine:

- Azure learns that the agent is silent from its missing heartbeats, a quarter of an hour late; in
  between it takes operations. They wait for the agent, and fail if it does not come.
- The update extension works without Azure. Cut off, an operation goes on in the guest, and what it
  has to report waits until the agent is back. If it is not back in time, Azure gives the operation
  up as failed and never hears the report: patches are installed that no result speaks of.
- A server that is switched off stops in the middle, as a virtual machine does, and goes on when it
  is switched on; but not in an operation that Azure has given up by then.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from azsim import results
from azsim.arcmachine import ArcMachine
from azsim.fleet import ArcStatus
from azsim.guest import SILENCE_GRACE, Guest, Task
from azsim.operations import INTERNAL_ERROR, Operation
from azsim.records import AssessmentRecord, InstallationRecord, superseded_by

if TYPE_CHECKING:
    from azsim.cloud import Cloud

HEARTBEATS_MISSED = timedelta(minutes=15)
"""From the agent's silence to Disconnected."""

EXPIRES = timedelta(days=45)
"""From the agent's silence to Expired."""

GIVES_UP = timedelta(hours=6)
"""After so long Azure gives up what its agent, though it is heard, does not end."""

WAITS_FOR_AGENT = timedelta(minutes=30)
"""How long an operation waits for an agent that is silent though the server is still Connected."""


class ArcGuest(Guest):
    """One guest of an Arc-enabled server."""

    machine: ArcMachine

    def __init__(self, cloud: Cloud, machine: ArcMachine) -> None:
        super().__init__(cloud, machine)
        self._heard = machine.heard
        self._silences = 0
        """Counts beginnings and ends of silence: who waits for one knows whether it is over."""
        self._switched = 0
        """Counts switching off, which may come before the server is up."""
        self._held: list[Callable[[], None]] = []
        self._untold: Task | None = None
        """What has ended in the guest, while Azure has not heard of it."""
        self._waiting: tuple[Operation, Callable[[], Task]] | None = None

    # -- what may be done to it -------------------------------------------------------------------

    def disconnect(self) -> None:
        """Its connection is cut, and Azure knows already."""
        self.machine.cut_off = True
        self._listen()
        self._set_status(ArcStatus.DISCONNECTED)

    def reconnect(self) -> None:
        """Its connection is there again, and with it what it has to report."""
        self.machine.cut_off = False
        self._listen()

    def lose_agent(self, step: Callable[[], None] | None = None) -> None:
        """Its connection is cut, and Azure will know later. What is under way goes on."""
        if self.machine.heard:
            self.machine.cut_off = True
            self.journal("AgentLost")
            self._listen()
        if step is not None:
            step()

    def agent_back(self) -> None:
        """Its connection is there again, if it was lost."""
        if self.machine.cut_off:
            self.machine.cut_off = False
            self.journal("AgentBack")
            self._listen()

    def switch_off(self) -> None:
        """The server stops; what was under way waits for it."""
        self._switched += 1
        if not self.machine.off:
            self.stop()
            self.machine.off = True
            self._listen()

    def switch_on(self) -> None:
        """The server starts; one that hangs in a reboot is switched off before."""
        if not self.machine.off and not self.machine.agent_silent:
            return
        self.switch_off()
        switched = self._switched

        def up() -> None:
            if self.machine.off and self._switched == switched and not self.machine.deleted:
                self.machine.off = False
                self.boot()

        self.cloud.schedule(self.cloud.now + self.machine.spec.guest.durations.boot, up)

    def boot(self) -> None:
        """The server runs again."""
        self.machine.agent_silent = False
        self._listen()
        super().boot()

    def delete(self) -> None:
        """The resource is gone, and what was under way with it."""
        self._silences += 1
        now = self.cloud.now
        if self._untold is not None:
            self._untold.operation.fail(now, *INTERNAL_ERROR)
        if self._waiting is not None:
            self._unreached(self._waiting[0], *INTERNAL_ERROR)
        self._held, self._untold, self._waiting = [], None, None
        super().delete()

    # -- what its task asks of it -----------------------------------------------------------------

    def report(self, tell: Callable[[], None], *, unheard: bool = False) -> None:
        """Let Azure know when it hears the agent; what it concludes by itself stands."""
        if unheard:
            self._held = []
            tell()
        elif self.machine.heard:
            tell()
        else:
            self._held.append(tell)

    def ended(self, status: str, **details: Any) -> None:
        """The task has ended."""
        if self._held:
            self._untold = self.task
        super().ended(status, **details)

    def silence(self) -> None:
        """The server reboots."""
        super().silence()
        self._listen()

    def speak(self) -> None:
        """The server is back from its reboot."""
        super().speak()
        self._listen()

    def assessment_result(self, record: AssessmentRecord) -> dict[str, Any]:
        """The output of the operation."""
        return results.arc_assessment_result(record, self.machine)

    def installation_result(self, record: InstallationRecord) -> dict[str, Any]:
        """The output of the operation."""
        return results.arc_installation_result(record, self.machine)

    # -- whether Azure hears it -------------------------------------------------------------------

    def _listen(self) -> None:
        """Let follow what follows, if the silence has begun or ended by what was just changed."""
        if self.machine.heard is self._heard:
            return
        self._heard = self.machine.heard
        self._silences += 1
        if self._heard:
            self._back()
            return
        self._if_silent_after(HEARTBEATS_MISSED, lambda: self._set_status(ArcStatus.DISCONNECTED))
        self._if_silent_after(EXPIRES, lambda: self._set_status(ArcStatus.EXPIRED))
        if (task := self.task) is not None:
            time_left = max(task.deadline - self.cloud.now, timedelta(0))
            self._if_silent_after(time_left + SILENCE_GRACE, lambda: self._give_up(task))

    def _if_silent_after(self, delay: timedelta, action: Callable[[], None]) -> None:
        silence = self._silences

        def due() -> None:
            if self._silences == silence:
                action()

        self.cloud.schedule(self.cloud.now + delay, due)

    def _back(self) -> None:
        self._set_status(ArcStatus.CONNECTED)
        held, self._held, self._untold = self._held, [], None
        for tell in held:
            tell()
        if self._waiting is not None:
            (_, task), self._waiting = self._waiting, None
            self._begin(task())

    def _give_up(self, task: Task) -> None:
        if task.operation.end is None:
            self._untold = None
            task.abandoned()

    def _set_status(self, status: ArcStatus) -> None:
        before = self.machine.status
        if status is before:
            return
        self.machine.status, self.machine.last_status_change = status, self.cloud.now
        self.cloud.journal.event(
            self.cloud.now,
            self.machine.id,
            "StatusChanged",
            before=before.value,
            after=status.value,
        )
        self.cloud.graph.publish_state(self.machine)

    # -- beginning --------------------------------------------------------------------------------

    def _begin(self, task: Task) -> None:
        super()._begin(task)

        def give_up() -> None:
            if self.task is task:
                self._give_up(task)

        self.cloud.schedule(self.cloud.now + GIVES_UP, give_up)

    def _take(self, operation: Operation, task: Callable[[], Task]) -> None:
        """Begin, or wait for the agent; of several operations that wait only the newest is left."""
        if self.machine.heard:
            self._begin(task())
            return
        if self._waiting is not None:
            superseded = superseded_by(operation.id)
            self._unreached(self._waiting[0], superseded.code, superseded.message)
        self._waiting = (operation, task)

        def give_up() -> None:
            if self._waiting is not None and self._waiting[0] is operation:
                self._waiting = None
                self._unreached(operation, *INTERNAL_ERROR)

        self.cloud.schedule(self.cloud.now + WAITS_FOR_AGENT, give_up)
