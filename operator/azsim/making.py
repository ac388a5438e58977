"""Making machines and their guests from the fleet file's entries."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from azsim.arcguest import ArcGuest
from azsim.arcmachine import ARC_TYPE, ArcMachine
from azsim.fleet import ArcStatus, MachineSpec, guid
from azsim.guest import Guest
from azsim.machine import Machine
from azsim.records import AssessmentRecord, GraphView, GuestError, Status
from azsim.virtualmachine import VM_TYPE, VirtualMachine

if TYPE_CHECKING:
    from azsim.cloud import Cloud

MACHINE_AGE = timedelta(days=30)
"""How long before the start a machine was created for which the file does not say."""


def id_of(spec: MachineSpec, subscription_id: str) -> str:
    """The ARM id of a machine."""
    kind = VM_TYPE if spec.arc is None else ARC_TYPE
    group = f"/subscriptions/{subscription_id}/resourceGroups/{spec.group}"
    return f"{group}/providers/{kind}/{spec.name}"


def make(
    cloud: Cloud, spec: MachineSpec, subscription_id: str, *, at_start: bool
) -> tuple[Machine, Guest]:
    """A machine of either kind, and its guest; nobody else knows of them yet.

    A machine that is made anew under an old name is a new machine, with another vmId.
    """
    vm_id = (spec.vm_id if at_start else None) or cloud.new_guid()
    created = spec.created or (cloud.now - MACHINE_AGE if at_start else cloud.now)
    if spec.arc is None:
        machine = VirtualMachine(
            id=id_of(spec, subscription_id),
            subscription_id=subscription_id,
            spec=spec,
            vm_id=vm_id,
            time_created=created,
            power=spec.power,
            graph=GraphView(version=0, state=spec.power.value),
            missing=list(spec.guest.missing),
            reboot_pending=spec.guest.reboot_pending,
            tags=dict(spec.tags),
        )
        return machine, Guest(cloud, machine)
    # Whoever onboards a server anew does so from the server: it is connected.
    status = spec.arc.status if at_start else ArcStatus.CONNECTED
    server = ArcMachine(
        id=id_of(spec, subscription_id),
        subscription_id=subscription_id,
        spec=spec,
        vm_id=vm_id,
        time_created=created,
        status=status,
        last_status_change=created,
        cut_off=status is not ArcStatus.CONNECTED,
        shows_requests=cloud.arc_quirks.shows_requests,
        graph=GraphView(version=0, state=status.value),
        missing=list(spec.guest.missing),
        reboot_pending=spec.guest.reboot_pending,
        tags=dict(spec.tags),
    )
    return server, ArcGuest(cloud, server)


def earlier_assessment(cloud: Cloud, machine: Machine) -> AssessmentRecord | None:
    """The assessment that is there when the simulation starts, if the file asks for one."""
    ago = machine.spec.guest.assessed_ago
    if ago is None:
        return None
    when = cloud.now - ago
    supported = machine.spec.guest.patchable
    return AssessmentRecord(
        activity_id=guid("earlier assessment", machine.vm_id),
        status=Status.SUCCEEDED if supported else Status.FAILED,
        start=when - machine.spec.guest.durations.assess,
        last_modified=when,
        started_by="User",
        detection=machine.spec.guest.detection,
        reboot_pending=machine.reboot_pending,
        patches=tuple(machine.missing) if supported else (),
        error=GuestError.of([] if supported else [cloud.quirks.unsupported_guest]),
    )
