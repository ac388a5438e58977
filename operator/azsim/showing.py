"""What Resource Graph shows, which is not what is.

`publish_…` puts a change into a machine's `graph` view after a lag drawn by seed, and takes rows
away when their retention ends. A reader of Resource Graph looks at `machines` and asks `shown` for
each; machines whose `graph.version` is greater than the `version` seen before have changed since.

Faults come on top, and only here: while one is Frozen, changes wait in line; Stale and Missing
alter what `shown` says. Each marks the machines that it is about as changed when it begins and when
it ends, so that a reader who goes by versions misses nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

from azsim.faults import Fault, Graph, Rows
from azsim.machine import Machine
from azsim.records import (
    ASSESSMENT_RETENTION,
    INSTALLATION_RETENTION,
    AssessmentRecord,
    GraphView,
    InstallationRecord,
)

if TYPE_CHECKING:
    from azsim.cloud import Cloud


@dataclass(frozen=True, slots=True)
class Shown:
    """What Resource Graph shows of one machine now.

    `listed`: whether the machine's own row is there, in `resources`; its model and tags are those
    of the `Machine`. `assessment` None and absent `installations` are rows that are not there.
    """

    listed: bool
    state: str
    assessment: AssessmentRecord | None
    installations: Mapping[str, InstallationRecord]


class Showing:
    """The views of all machines of one cloud."""

    def __init__(self, cloud: Cloud) -> None:
        self.machines: dict[str, Machine] = {}
        """Whose rows there are, by id in lower case; a deleted one stays until the lag is over."""
        self.version = 0
        self._cloud = cloud
        self._published: dict[str, datetime] = {}
        self._faults: tuple[Fault, ...] = ()
        self._held: list[tuple[Machine, Callable[[], None]]] = []

    def shown(self, machine: Machine) -> Shown | None:
        """What is shown of a machine, faults and all; None: it has no row in any table.

        The only answer to this question: the tables of KQL and every other reader use it.
        """
        if self.machines.get(machine.id.lower()) is not machine:
            return None
        view, hidden = machine.graph, set()
        for fault in self._faults:
            if not fault.is_about(machine.id):
                continue
            if fault.graph is Graph.STALE:
                view = machine.graph.before or view
            elif fault.graph is Graph.MISSING:
                hidden.add(fault.rows)
        if Rows.ALL in hidden or hidden == {Rows.MACHINE, Rows.PATCHES}:
            return None
        patches = Rows.PATCHES not in hidden
        return Shown(
            listed=Rows.MACHINE not in hidden,
            state=view.state,
            assessment=view.assessment if patches else None,
            installations=view.installations if patches else {},
        )

    # -- changes ----------------------------------------------------------------------------------

    def show_at_once(self, machine: Machine) -> None:
        """A machine that is there when the simulation starts, and what it knows of itself."""
        self._show(machine)
        record = machine.assessment
        if record is not None and self._cloud.now < record.last_modified + ASSESSMENT_RETENTION:
            machine.graph.assessment = record
            self._expire_assessment(machine, record)

    def publish(self, machine: Machine) -> None:
        """Show a new machine after the lag."""
        self._later(machine, lambda: self._show(machine))

    def publish_deletion(self, machine: Machine) -> None:
        """Show that a machine is gone after the lag."""
        self._later(machine, lambda: self._hide(machine))

    def publish_state(self, machine: Machine) -> None:
        """Show the machine's present state after the lag."""
        state = machine.state

        def show() -> None:
            machine.graph.state = state
            self._touch(machine)

        self._later(machine, show)

    def publish_assessment(self, machine: Machine, record: AssessmentRecord) -> None:
        """Show an assessment, or its beginning, after the lag and until its retention ends."""
        self._later(machine, lambda: self._show_assessment(machine, record))

    def publish_installation(self, machine: Machine, record: InstallationRecord) -> None:
        """Show an installation, or where it stands, after the lag and for its retention."""
        self._later(machine, lambda: self._show_installation(machine, record))

    def _later(self, machine: Machine, change: Callable[[], None]) -> None:
        settings, rng, now = self._cloud.fleet.resource_graph, self._cloud.rng, self._cloud.now
        slow = rng.random() < settings.tail_share
        lag = (settings.tail_lag if slow else settings.lag) * rng.uniform(0.3, 1.0)
        # Rows of one machine never overtake each other.
        at = max(now + lag, self._published.get(machine.vm_id, now))
        self._published[machine.vm_id] = at
        self._at(at, machine, change)

    def _at(self, at: datetime, machine: Machine, change: Callable[[], None]) -> None:
        self._cloud.schedule(at, lambda: self._apply(machine, change))

    def _apply(self, machine: Machine, change: Callable[[], None]) -> None:
        if any(f.graph is Graph.FROZEN and f.is_about(machine.id) for f in self._faults):
            self._held.append((machine, change))
        else:
            change()

    def _touch(self, machine: Machine) -> None:
        self.version += 1
        machine.graph.version = self.version

    def _show(self, machine: Machine) -> None:
        self.machines[machine.id.lower()] = machine
        self._touch(machine)

    def _hide(self, machine: Machine) -> None:
        # A machine made anew under the same id may be shown by now.
        if self.machines.get(machine.id.lower()) is machine:
            del self.machines[machine.id.lower()]
        self._touch(machine)

    def _show_assessment(self, machine: Machine, record: AssessmentRecord) -> None:
        shown = machine.graph.assessment
        if shown is None or shown.activity_id != record.activity_id:
            _remember(machine)
        machine.graph.assessment = record
        self._touch(machine)
        self._expire_assessment(machine, record)

    def _expire_assessment(self, machine: Machine, record: AssessmentRecord) -> None:
        def expire() -> None:
            for view in _views(machine):
                if view.assessment is record:
                    view.assessment = None
                    self._touch(machine)

        self._at(record.last_modified + ASSESSMENT_RETENTION, machine, expire)

    def _show_installation(self, machine: Machine, record: InstallationRecord) -> None:
        if record.activity_id not in machine.graph.installations:
            _remember(machine)
        machine.graph.installations[record.activity_id] = record
        self._touch(machine)

        def expire() -> None:
            for view in _views(machine):
                if view.installations.get(record.activity_id) is record:
                    del view.installations[record.activity_id]
                    self._touch(machine)

        self._at(record.last_modified + INSTALLATION_RETENTION, machine, expire)

    # -- faults -----------------------------------------------------------------------------------

    def distort(self, faults: tuple[Fault, ...]) -> None:
        """Let these faults be what is wrong from now on, and nothing else."""
        before, self._faults = self._faults, faults
        for machine in self.machines.values():
            if any(fault.is_about(machine.id) for fault in (*before, *faults)):
                self._touch(machine)
        held, self._held = self._held, []
        for machine, change in held:
            self._apply(machine, change)


def _remember(machine: Machine) -> None:
    """What is shown now is what an older replica will show, once a new operation shows up."""
    view = machine.graph
    view.before = replace(view, installations=dict(view.installations), before=None)


def _views(machine: Machine) -> list[GraphView]:
    return [view for view in (machine.graph, machine.graph.before) if view is not None]
