"""Starting, stopping and making machines anew, whoever asks for it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING

from azsim.fleet import PowerState

if TYPE_CHECKING:
    from azsim.cloud import Cloud
    from azsim.machine import Machine
    from azsim.virtualmachine import VirtualMachine

STOPPING_TAKES = timedelta(seconds=20)
"""From the request until the machine is stopped or deallocated."""

DURING = {
    PowerState.STOPPED: PowerState.STOPPING,
    PowerState.DEALLOCATED: PowerState.DEALLOCATING,
}
"""Where a machine ends up → what it is on the way."""


def _nothing() -> None:
    """For who does not wait for the end."""


def start(cloud: Cloud, machine: VirtualMachine, done: Callable[[], None] = _nothing) -> None:
    """Start a machine; what an installation had left to do goes on."""
    if machine.power is PowerState.RUNNING:
        done()
    else:
        boot(cloud, machine, done)


def boot(cloud: Cloud, machine: VirtualMachine, done: Callable[[], None] = _nothing) -> None:
    """Bring up a machine whose guest does not run; `done` is called when it is up."""
    cloud.set_power(machine, PowerState.STARTING)

    def up() -> None:
        if machine.power is PowerState.STARTING and not machine.deleted:
            cloud.set_power(machine, PowerState.RUNNING)
            cloud.guest(machine).boot()
        done()

    cloud.schedule(cloud.now + machine.spec.guest.durations.boot, up)


def stop(
    cloud: Cloud,
    machine: VirtualMachine,
    after: PowerState,
    done: Callable[[], None] = _nothing,
) -> None:
    """Bring a machine to STOPPED or DEALLOCATED; what was under way in it waits."""
    if machine.power is after:
        done()
        return
    during = DURING[after]
    cloud.guest(machine).stop()
    cloud.set_power(machine, during)

    def down() -> None:
        if machine.power is during and not machine.deleted:
            cloud.set_power(machine, after)
        done()

    cloud.schedule(cloud.now + STOPPING_TAKES, down)


def rebuild(cloud: Cloud, machine: Machine) -> Machine:
    """Delete a machine and make it anew under its name: a new machine, with a new vmId."""
    cloud.remove_machine(machine)
    return cloud.add_machine(machine.spec.model_copy(update={"created": None}))
