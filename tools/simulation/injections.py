"""What goes wrong in a simulation: kinds of trouble, each a function that makes it happen.

Trouble is planned by seed: its kind, and the step of the protocol in whose midst it strikes. Each
kind undoes what it did after a while, or when the simulation calms down.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from contextvars import Context
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from random import Random
from typing import Any

from azpatch.kube.port import (
    AZURE_SUBSCRIPTION,
    PATCH_POLICY,
    PATCH_TARGET,
    Conflict,
    NotFound,
    Object,
    Unavailable,
)
from azsim.faults import Fault, azure_away, sign_in_down
from azsim.fleet import Patch
from azsim.http import ArmError
from azsim.meddling import By, Meddling
from simulation import fleets
from simulation.steps import Step
from simulation.trouble import KubeTrouble
from simulation.world import World

MINUTE = timedelta(minutes=1)


@dataclass(frozen=True)
class Injection:
    """One planned trouble."""

    kind: str
    step: Step
    after: float
    """Seconds after a machine entered the step."""
    nth: int
    """It is the so-manieth machine to enter it since the plan was made."""


class Troublemaker:
    """Makes trouble in one world."""

    def __init__(self, world: World, random: Random) -> None:
        self.world = world
        self.random = random
        self._meddling = Meddling(world.cloud)
        self._undo: list[Callable[[], None]] = []
        """What calms down, newest last; doing it twice does nothing."""

    def make(self, kind: str, machine: str) -> None:
        """Makes this trouble, for this machine or for all. `machine` is a key."""
        self.world.story.tell(name_of(machine), f"*** {kind}")
        KINDS[kind](self, machine)

    def calm(self) -> None:
        """Undoes all that is not undone yet."""
        undo, self._undo = self._undo, []
        for step in reversed(undo):
            step()

    def later(self, least: timedelta, most: timedelta, undo: Callable[[], None]) -> None:
        """Undoes something after a while, or when all is to be calm."""
        done = False

        def once() -> None:
            nonlocal done
            if not done:
                done = True
                undo()

        self._undo.append(once)
        seconds = self.random.uniform(least.total_seconds(), most.total_seconds())
        self.world.loop.call_later(seconds, once, context=Context())

    # --- Azure ------------------------------------------------------------------------------------

    def fault(self, **fields: Any) -> None:
        """A fault of azsim's, until it has struck, or for an hour."""
        made = Fault(**{"lasts": timedelta(hours=1), **fields})
        self.world.cloud.faults.add(made)

    def request(self, machine: str) -> dict[str, Any]:
        """Which requests about the machine: mostly those of the protocol."""
        operation = self.random.choice(
            ("assessPatches", "installPatches", "getMachine", "getOperation", "query", "query")
        )
        count = self.random.choice((1, 1, 2, 4))
        if operation == "query":
            return {"operation": operation, "count": count}
        return {"operation": operation, "machine": machine, "count": count}

    def error_status(self, machine: str) -> None:
        """Azure answers with an error."""
        status = self.random.choice((400, 401, 403, 404, 409, 412, 429, 500, 502, 503, 504))
        fields: dict[str, Any] = {"status": status}
        if status in (429, 503) and self.random.random() < 0.7:
            fields["retry_after"] = timedelta(seconds=self.random.randint(1, 300))
        self.fault(**self.request(machine), **fields)

    def lost_request(self, machine: str) -> None:
        """The connection ends before the request is processed."""
        self.fault(**self.request(machine), drop="Before")

    def lost_answer(self, machine: str) -> None:
        """The connection ends after it is."""
        operation = self.random.choice(("assessPatches", "installPatches", "getOperation"))
        self.fault(operation=operation, machine=machine, count=1, drop="After")

    def slow(self, machine: str) -> None:
        """A request takes long to arrive, or its answer to come back."""
        there, back = self.random.choice(((30, 0), (0, 30), (0, 90), (50, 50)))
        delay = {"request": timedelta(seconds=there), "answer": timedelta(seconds=back)}
        self.fault(**self.request(machine), delay=delay)

    def garbage(self, machine: str) -> None:
        """An answer that is none."""
        kind = self.random.choice(("Html", "Truncated", "Empty"))
        strip = self.random.random() < 0.5
        self.fault(**self.request(machine), garbage=kind, strip_headers=strip)

    def away(self, machine: str) -> None:
        """All of Azure, for ten minutes."""
        self.world.cloud.faults.add(azure_away(10 * MINUTE))

    def sign_in(self, machine: str) -> None:
        """Nobody gets a token, and those that are out are refused."""
        status = self.random.choice((503, 401, None))
        self.world.cloud.faults.add(sign_in_down(15 * MINUTE, status))
        self.fault(operation="getMachine", machine=machine, status=401, count=1)

    def graph_frozen(self, machine: str) -> None:
        """Resource Graph stands still."""
        self.fault(graph="Frozen", lasts=self.random.randint(5, 90) * MINUTE)

    def graph_stale(self, machine: str) -> None:
        """A replica shows what was."""
        self.fault(graph="Stale", machine=machine, lasts=self.random.randint(5, 120) * MINUTE)

    def graph_missing(self, machine: str) -> None:
        """Rows are missing: a machine's, or everything."""
        fields: dict[str, Any] = {"rows": self.random.choice(("Machine", "Patches", "All"))}
        if self.random.random() < 0.7:
            fields["machine"] = machine
        self.fault(graph="Missing", lasts=self.random.randint(5, 90) * MINUTE, **fields)

    # --- machines ---------------------------------------------------------------------------------

    def stop_machine(self, machine: str) -> None:
        """Somebody stops it, and starts it again."""
        with suppress(LookupError, ArmError):
            self._meddling.stop(machine)
            self.later(5 * MINUTE, 90 * MINUTE, lambda: self._start(machine))

    def _start(self, machine: str) -> None:
        with suppress(LookupError, ArmError):
            self._meddling.start(machine)

    def delete_machine(self, machine: str) -> None:
        """Somebody deletes it."""
        with suppress(LookupError, ArmError):
            self._meddling.delete(machine)

    def rebuild_machine(self, machine: str) -> None:
        """Somebody deletes it and makes another one under its name."""
        with suppress(LookupError, ArmError):
            self._meddling.rebuild(machine)

    def lose_agent(self, machine: str) -> None:
        """Its agent falls silent."""
        with suppress(LookupError, ArmError):
            self._meddling.lose_agent(machine)
            self.later(5 * MINUTE, 60 * MINUTE, lambda: self._agent_back(machine))

    def _agent_back(self, machine: str) -> None:
        with suppress(LookupError, ArmError):
            self._meddling.agent_back(machine)

    def foreign_assessment(self, machine: str) -> None:
        """A colleague, or the platform, assesses it."""
        with suppress(LookupError, ArmError):
            self._meddling.assess(machine, by=self._somebody())

    def foreign_install(self, machine: str) -> None:
        """A colleague, or the platform, installs on it."""
        with suppress(LookupError, ArmError):
            self._meddling.install(machine, self._body(machine), by=self._somebody())

    def _somebody(self) -> By:
        return self.random.choice((By.COLLEAGUE, By.PLATFORM))

    def _body(self, machine: str) -> dict[str, Any]:
        os_type = self.world.cloud.machines[machine].os_type.value.lower()
        return {
            "maximumDuration": "PT1H",
            "rebootSetting": self.random.choice(("IfRequired", "Never")),
            f"{os_type}Parameters": {"classificationsToInclude": ["Critical", "Security"]},
        }

    def new_patches(self, machine: str) -> None:
        """Patches are published."""
        found = self.world.cloud.machines.get(machine)
        if found is not None:
            windows = found.os_type.value == "Windows"
            number = self.random.randint(100, 999)
            found.missing.append(
                Patch.model_validate(fleets.patch(self.random, number, windows=windows))
            )

    # --- the cluster ------------------------------------------------------------------------------

    def kube_refuses(self, machine: str) -> None:
        """The API server cannot answer, or somebody writes first."""
        error = self.random.choice((Unavailable("etcd is away"), Conflict("it was modified")))
        trouble = KubeTrouble(refused=error, count=self.random.randint(1, 6))
        self.world.kube_trouble.append(trouble)

    def kube_answer_lost(self, machine: str) -> None:
        """A write is carried out, and its answer lost."""
        count = self.random.randint(1, 3)
        self.world.kube_trouble.append(KubeTrouble(answer_lost=True, count=count))

    def kube_away(self, machine: str) -> None:
        """The API server is away for a while."""
        trouble = KubeTrouble(refused=Unavailable("connection refused"), count=10**9)
        self.world.kube_trouble.append(trouble)

        def back() -> None:
            trouble.count = 0

        self.later(timedelta(seconds=5), 10 * MINUTE, back)

    def kube_slow(self, machine: str) -> None:
        """Requests to the API server take seconds."""
        self.world.kube_trouble.append(KubeTrouble(delay=self.random.uniform(1, 40), count=4))

    def watch_cut(self, machine: str) -> None:
        """The watches break, and are back later."""
        seconds = self.random.choice((1, 30, 300, 1200))
        for process in self.world.living():
            process.watch.cut(timedelta(seconds=seconds))

    # --- the operator -----------------------------------------------------------------------------

    def crash(self, machine: str) -> None:
        """The leader dies some steps from now; another is started."""
        for process in self.world.living():
            process.process.dies_at = process.process.steps + self.random.randint(1, 60)
        self.world.restart_later(self.random.choice((0.5, 20, 300)))

    def two_leaders(self, machine: str) -> None:
        """The leader is stopped; while it is, another takes over; then it goes on."""
        stopped = self.world.living()
        for process in stopped:
            process.process.stop()
        self.world.start_operator()

        def go_on() -> None:
            for process in stopped:
                if process.process.alive:
                    process.process.go_on()

        self.later(timedelta(seconds=2), timedelta(seconds=240), go_on)

    def clock_jump(self, machine: str) -> None:
        """The operator's wall clock jumps, and is put right later."""
        jump = timedelta(seconds=self.random.choice((-3600, -600, -45, 45, 600, 3600)))
        for process in self.world.living():
            process.clock.wrong_by += jump

        def right() -> None:
            for process in self.world.living():
                process.clock.wrong_by = timedelta(0)

        self.later(MINUTE, 120 * MINUTE, right)

    # --- people -----------------------------------------------------------------------------------

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

    def _apply(self, raw: Object, **changes: Any) -> None:
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
            self._apply(policy, suspend=True)
            self.later(MINUTE, 180 * MINUTE, lambda: self._apply(policy, suspend=False))

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
        self._apply(policy, install=install)

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
        self.later(MINUTE, 180 * MINUTE, lambda: self._apply(policy, **policy["spec"]))

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
        wide = fleets.grants("Patch")
        for raw in self.world.api.list(AZURE_SUBSCRIPTION):
            if raw["spec"]["subscriptionId"].lower() != machine.split("/")[2]:
                continue
            narrowed = [] if chosen == "none" else fleets.grants(chosen)
            if chosen == "group":
                narrowed = [{**fleets.grants("Patch")[0], "resourceGroups": ["rg-elsewhere"]}]
            self._apply(raw, grants=narrowed)
            self.later(MINUTE, 120 * MINUTE, partial(self._apply, raw, grants=wide))

    def delete_subscription(self, machine: str) -> None:
        """The platform team deletes the AzureSubscription, and makes it anew later."""
        for raw in self.world.api.list(AZURE_SUBSCRIPTION):
            if raw["spec"]["subscriptionId"].lower() != machine.split("/")[2]:
                continue
            name = raw["metadata"]["name"]
            self.world.api.delete(AZURE_SUBSCRIPTION, "", name)
            anew = {**raw, "metadata": {"name": name}}

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
    "the AzureSubscription is deleted": Troublemaker.delete_subscription,
    "the PatchTarget is deleted": Troublemaker.delete_target,
}
"""Every kind of trouble, by its name in reports."""


def name_of(machine: str) -> str:
    """The last segment of an id."""
    return machine.rsplit("/", 1)[-1]
