"""What dashboards ask of policies: their machines in numbers, as their status has them."""

from __future__ import annotations

from contextlib import suppress

from prometheus_client import Gauge

from azpatch.api.policy import PolicyMachines

MACHINES = Gauge(
    "azpatch_policy_machines",
    "Machines of a PatchPolicy, by what status.machines counts.",
    ["namespace", "policy", "state"],
)


def tell(namespace: str, policy: str, machines: PolicyMachines) -> None:
    """The numbers of one policy, now."""
    for state, count in machines.to_object().items():
        MACHINES.labels(namespace, policy, state).set(count)


def forget(namespace: str, policy: str) -> None:
    """The policy is gone, and so are its series."""
    for state in PolicyMachines().to_object():
        with suppress(KeyError):
            MACHINES.remove(namespace, policy, state)
