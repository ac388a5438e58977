"""What goes wrong in a simulation: kinds of trouble, each a function that makes it happen.

Trouble is planned by seed: its kind, and the step of the protocol in whose midst it strikes. Each
kind undoes what it did after a while, or when the simulation calms down.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from simulation.azure_trouble import AzureTrouble
from simulation.cluster_trouble import ClusterTrouble
from simulation.people import People
from simulation.steps import Step


@dataclass(frozen=True)
class Injection:
    """One planned trouble."""

    kind: str
    step: Step
    after: float
    """Seconds after a machine entered the step."""
    nth: int
    """It is the so-manieth machine to enter it since the plan was made."""


class Troublemaker(AzureTrouble, ClusterTrouble, People):
    """Makes every kind."""

    def make(self, kind: str, machine: str) -> None:
        """Makes this trouble, for this machine or for all. `machine` is a key."""
        self.world.story.tell(name_of(machine), f"*** {kind}")
        self.last = self.world.clock.now()
        KINDS[kind](self, machine)


KINDS: dict[str, Callable[[Troublemaker, str], None]] = {
    "Azure answers with an error": Troublemaker.error_status,
    "a request is lost": Troublemaker.lost_request,
    "an answer is lost": Troublemaker.lost_answer,
    "Azure is slow": Troublemaker.slow,
    "an answer is garbage": Troublemaker.garbage,
    "Azure is away": Troublemaker.away,
    "sign-in is down": Troublemaker.sign_in,
    "Resource Graph is frozen": Troublemaker.graph_frozen,
    "Resource Graph is stale": Troublemaker.graph_stale,
    "Resource Graph lacks rows": Troublemaker.graph_missing,
    "the machine is stopped": Troublemaker.stop_machine,
    "the machine is deleted": Troublemaker.delete_machine,
    "the machine is rebuilt": Troublemaker.rebuild_machine,
    "the agent is silent": Troublemaker.lose_agent,
    "the server is cut off": Troublemaker.disconnect,
    "somebody else assesses": Troublemaker.foreign_assessment,
    "somebody else installs": Troublemaker.foreign_install,
    "patches are published": Troublemaker.new_patches,
    "the API server refuses": Troublemaker.kube_refuses,
    "the API server's answer is lost": Troublemaker.kube_answer_lost,
    "the API server is away": Troublemaker.kube_away,
    "the API server is slow": Troublemaker.kube_slow,
    "the watch is cut": Troublemaker.watch_cut,
    "the operator crashes": Troublemaker.crash,
    "two leaders overlap": Troublemaker.two_leaders,
    "the clock jumps": Troublemaker.clock_jump,
    "the policy is suspended": Troublemaker.suspend,
    "the policy is edited": Troublemaker.edit,
    "the policy stops installing": Troublemaker.assess_only,
    "the policy is renamed": Troublemaker.rename,
    "the policy is deleted": Troublemaker.delete_policy,
    "the grant is narrowed": Troublemaker.narrow_grant,
    "the support matrix is changed": Troublemaker.change_matrix,
    "the AzureSubscription is deleted": Troublemaker.delete_subscription,
    "the PatchTarget is deleted": Troublemaker.delete_target,
}
"""Every kind of trouble, by its name in reports."""


def name_of(machine: str) -> str:
    """The last segment of an id."""
    return machine.rsplit("/", 1)[-1]
