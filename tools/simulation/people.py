"""What people do to the objects in the cluster, at the worst moment."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import Any

from azpatch.kube.port import (
    AZURE_SUBSCRIPTION,
    PATCH_POLICY,
    PATCH_TARGET,
    Conflict,
    NotFound,
    Object,
)
from simulation import fleets, matrices
from simulation.apiserver import CONFIG_MAP
from simulation.kube import HOME
from simulation.maker import MINUTE, Maker
from simulation.world import config_map


class People(Maker):
    """The policies' owners, and the platform team."""

    def _policy(self, machine: str) -> Object | None:
        """The policy that acts on the machine, else any."""
        api = self.world.api
        for target in api.list(PATCH_TARGET):
            governs = (target.get("status") or {}).get("governs")
            if target["spec"]["machineId"].lower() == machine and governs:
                meta = target["metadata"]
                found = api.find(PATCH_POLICY, meta["namespace"], target["spec"]["policy"])
                if found is not None:
                    return found
        policies = api.list(PATCH_POLICY)
        return self.random.choice(policies) if policies else None

    def apply(self, raw: Object, **changes: Any) -> None:
        """Changes fields of an object's spec, if it is there still."""
        meta = raw["metadata"]
        kind = PATCH_POLICY if raw["kind"] == PATCH_POLICY.kind else AZURE_SUBSCRIPTION
        with suppress(NotFound):
            current = self.world.api.get(kind, meta.get("namespace") or "", meta["name"])
            if current["metadata"]["uid"] == meta["uid"]:
                spec = {**current["spec"], **changes}
                self.world.api.replace_spec(kind, meta.get("namespace") or "", meta["name"], spec)

    def suspend(self, machine: str) -> None:
        """A person suspends the policy, and resumes it."""
        policy = self._policy(machine)
        if policy is not None:
            self.apply(policy, suspend=True)
            self.later(MINUTE, 180 * MINUTE, lambda: self.apply(policy, suspend=False))

    def edit(self, machine: str) -> None:
        """A person edits the policy."""
        policy = self._policy(machine)
        if policy is None:
            return
        install = {
            **policy["spec"]["install"],
            "rebootSetting": self.random.choice(("IfRequired", "Never", "Always")),
            "linux": {
                "classificationsToInclude": self.random.choice(
                    (["Critical", "Security"], ["Critical", "Security", "Other"], ["Critical"])
                )
            },
        }
        self.apply(policy, install=install)

    def assess_only(self, machine: str) -> None:
        """A person takes `install` out of the policy, and puts it back."""
        policy = self._policy(machine)
        if policy is None:
            return
        kept = {k: v for k, v in policy["spec"].items() if k not in ("install", "rollout")}
        kept.pop("schedule", None)
        meta = policy["metadata"]
        with suppress(NotFound):
            self.world.api.replace_spec(PATCH_POLICY, meta["namespace"], meta["name"], kept)
        self.later(MINUTE, 180 * MINUTE, lambda: self.apply(policy, **policy["spec"]))

    def rename(self, machine: str) -> None:
        """A person deletes the policy and creates it under another name, in one commit."""
        policy = self._policy(machine)
        if policy is None:
            return
        meta = policy["metadata"]
        name = f"{meta['name'].split('-v')[0]}-v{self.random.randint(2, 999)}"
        renamed = {**policy, "metadata": {"name": name, "namespace": meta["namespace"]}}
        with suppress(NotFound, Conflict):
            if self.random.random() < 0.5:
                self.world.api.create(PATCH_POLICY, renamed)
                self.world.api.delete(PATCH_POLICY, meta["namespace"], meta["name"])
            else:
                self.world.api.delete(PATCH_POLICY, meta["namespace"], meta["name"])
                self.world.api.create(PATCH_POLICY, renamed)

    def delete_policy(self, machine: str) -> None:
        """A person deletes the policy, and makes it anew later."""
        policy = self._policy(machine)
        if policy is None:
            return
        meta = policy["metadata"]
        with suppress(NotFound):
            self.world.api.delete(PATCH_POLICY, meta["namespace"], meta["name"])
        anew = {**policy, "metadata": {"name": meta["name"], "namespace": meta["namespace"]}}

        def recreate() -> None:
            try:
                self.world.api.create(PATCH_POLICY, anew)
            except Conflict:
                # Its finalizer still holds it.
                self.later(MINUTE, 10 * MINUTE, recreate)

        self.later(MINUTE, 120 * MINUTE, recreate)

    def narrow_grant(self, machine: str) -> None:
        """The platform team narrows the grants, and widens them again."""
        chosen = self.random.choice(("Assess", "Read", "none", "group"))
        for raw in self.world.api.list(AZURE_SUBSCRIPTION):
            if raw["spec"]["subscriptionId"].lower() != machine.split("/")[2]:
                continue
            wide = fleets.grants("Configure" if fleets.registers(raw) else "Patch")
            narrowed = [] if chosen == "none" else fleets.grants(chosen)
            if chosen == "group":
                narrowed = [{**fleets.grants("Patch")[0], "resourceGroups": ["rg-elsewhere"]}]
            self.apply(raw, grants=narrowed)
            self.later(MINUTE, 120 * MINUTE, partial(self.apply, raw, grants=wide))

    def change_matrix(self, machine: str) -> None:
        """The platform team goes by another matrix, or breaks its own, and puts it right."""
        for raw in self.world.api.list(AZURE_SUBSCRIPTION):
            if raw["spec"]["subscriptionId"].lower() != machine.split("/")[2]:
                continue
            reference = raw["spec"].get("supportMatrixRef")
            if reference is not None:
                self._own_matrix(reference["name"])
                continue
            before = raw["spec"]["supportMatrix"]
            self.apply(raw, supportMatrix=self.random.choice(matrices.REVISIONS))
            self.later(MINUTE, 180 * MINUTE, partial(self.apply, raw, supportMatrix=before))

    def _own_matrix(self, name: str) -> None:
        found = self.world.api.find(CONFIG_MAP, HOME, name)
        if found is None:
            return
        broken = self.random.choice((*matrices.BROKEN, None, matrices.own(self.random)))
        if broken is None:
            self.world.api.delete(CONFIG_MAP, HOME, name)
        else:
            self.world.api.replace_data(HOME, name, {matrices.KEY: broken})

        def right() -> None:
            if self.world.api.find(CONFIG_MAP, HOME, name) is None:
                self.world.api.create(CONFIG_MAP, config_map(name, self.world.fleet.matrices[name]))
            else:
                self.world.api.replace_data(HOME, name, found["data"])

        self.later(MINUTE, 180 * MINUTE, right)

    def delete_subscription(self, machine: str) -> None:
        """The platform team deletes the AzureSubscription, and makes it anew later."""
        for raw in self.world.api.list(AZURE_SUBSCRIPTION):
            if raw["spec"]["subscriptionId"].lower() != machine.split("/")[2]:
                continue
            name = raw["metadata"]["name"]
            self.world.api.delete(AZURE_SUBSCRIPTION, "", name)
            # As it was at first: who narrowed it meanwhile finds no object to widen again.
            declared = {one["metadata"]["name"]: one for one in self.world.fleet.subscriptions}
            anew = declared[name]

            def recreate(anew: Object = anew) -> None:
                try:
                    self.world.api.create(AZURE_SUBSCRIPTION, anew)
                except Conflict:
                    self.later(MINUTE, 10 * MINUTE, recreate)

            self.later(MINUTE, 60 * MINUTE, recreate)

    def delete_target(self, machine: str) -> None:
        """Somebody deletes the PatchTarget by hand."""
        for target in self.world.api.list(PATCH_TARGET):
            if target["spec"]["machineId"].lower() == machine:
                meta = target["metadata"]
                self.world.deleted_by_hand.add(meta["uid"])
                self.world.api.delete(PATCH_TARGET, meta["namespace"], meta["name"])
