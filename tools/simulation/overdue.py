"""Does each policy report who missed the windows of its wave?"""

from __future__ import annotations

from datetime import timedelta

from azpatch.kube.port import AZURE_SUBSCRIPTION, PATCH_POLICY, PATCH_TARGET, Object
from judging.overdue import overdue
from simulation.judge import Judge
from simulation.run_settled import under_way
from simulation.targets import machine_of, owned
from simulation.world import World

TOLD_WITHIN = timedelta(minutes=10)
"""From when machines or windows change until the policy's status follows."""


class Overdue:
    """Of one world."""

    def __init__(self, world: World, judge: Judge) -> None:
        self._world, self._judge = world, judge
        self.seen = 0
        """How often a machine was overdue when it was looked."""

    def look(self) -> dict[str, str]:
        """By uid, policies whose status.machines.overdue is not what their PatchTargets and windows
        come to, and what is wrong there."""
        api = self._world.api
        declared = {raw["spec"]["subscriptionId"].lower() for raw in api.list(AZURE_SUBSCRIPTION)}
        wrong = {}
        for policy in api.list(PATCH_POLICY):
            targets = [one for one in api.list(PATCH_TARGET) if owned(one, policy)]
            there = {machine_of(one).split("/")[2] for one in targets}
            # Without an AzureSubscription nobody reckons any more.
            if not policy["metadata"].get("deletionTimestamp") and there & declared:
                why = self._wrong(policy, targets)
                wrong.update({policy["metadata"]["uid"]: why} if why else {})
        return wrong

    def look_again(self, before: dict[str, str]) -> None:
        """At those that were wrong at the first look, TOLD_WITHIN ago."""
        for uid, why in self.look().items() if before else ():
            if uid in before:
                self._judge.broken("6 overdue", why)

    def _wrong(self, policy: Object, targets: list[Object]) -> str | None:
        run, now = under_way(self._world, policy), self._world.clock.now()
        late = overdue(policy, run, targets, now)
        self.seen += len(late)
        told = ((policy.get("status") or {}).get("machines") or {}).get("overdue", 0)
        if told == len(late):
            return None
        names = ", ".join(sorted(one.rpartition("/")[2] for one in late))
        return f"{policy['metadata']['name']} reports {told} overdue, and not [{names}]"
