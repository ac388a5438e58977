"""What runs that people make promise, held against every change of one in a simulation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

from azpatch.kube.port import NAMESPACE, PATCH_TARGET, Object
from judging import runs
from judging.azure_journal import Journal
from simulation.apiserver import WatchEvent
from simulation.targets import machine_of
from simulation.world import World

Break = Callable[[str, list[str], str | None], None]
"""Takes an invariant, what breaks it, and the machine."""

WRITTEN = timedelta(minutes=10)
"""How late it may be written that a run has begun: a slow API server, and one that is away."""


class OneTimeRules:
    """Of one world."""

    def __init__(self, world: World, journal: Callable[[], Journal], broken: Break) -> None:
        self._world, self._journal, self._broken = world, journal, broken
        self._asked: set[str] = set()
        """uids of the runs that people made."""
        self._own_windows: dict[tuple[str, str], dict[str, datetime]] = {}
        """By policy, and run's uid: since when a run goes on that waits for no window."""
        self._machines: dict[tuple[str, str], set[str]] = {}
        """By policy: all that it ever had."""
        self._ever = set(world.cloud.machines)
        world.api.watchers.append(self._seen)

    def own_windows(self, policy: Object) -> Iterator[datetime]:
        """When those of the policy's runs began that are windows of their own."""
        meta = policy["metadata"]
        yield from self._own_windows.get((meta["namespace"], meta["name"]), {}).values()

    def changed(self, before: Object | None, run: Object, *, gone: bool) -> None:
        """A PatchRun is made, has changed, or is gone. `before`: as it was seen last."""
        uid = run["metadata"]["uid"]
        if before is None and runs.is_one_time(run):
            self._asked.add(uid)
        if uid not in self._asked:
            return
        name = run["metadata"]["name"]
        if gone:
            if not self._by_a_person(run):
                self._all("run", [f"{name}, which a person made, was removed"])
            return
        if not runs.is_one_time(run):
            self._all("run", [f"{name}, which a person made, has an owner"])
        now, slack = self._world.clock.now(), max(map(abs, self._world.clock_errors))
        if before is None or runs.begun_at(before) is None:
            self._all("2 notAfter", runs.begun_too_late(run, now, slack, WRITTEN))
        self._of_strangers(run)
        policy = run["metadata"]["namespace"], run["spec"]["policyRef"]["name"]
        recorded = runs.recorded_at(run)
        if recorded is not None and runs.lifts_windows(run, {}):
            self._own_windows.setdefault(policy, {})[uid] = recorded
        if not runs.installs(run) and runs.is_over(run):
            machines = self._machines.get(policy, set())
            self._all("9 claims", runs.wrongly_assessed(run, machines, self._journal()))

    def _of_strangers(self, run: Object) -> None:
        """A run that names a machine which never was begins with none."""
        ids = (run["spec"].get("machines") or {}).get("ids", ())
        strangers = {one.lower() for one in ids} - self._ever
        begun = "effective" in (run.get("status") or {}) or runs.begun_at(run) is not None
        if strangers and begun:
            self._all("run", [f"{run['metadata']['name']} began, and names {strangers}"])

    def _by_a_person(self, run: Object) -> bool:
        home = self._world.api.find(NAMESPACE, "", run["metadata"]["namespace"])
        ends = home is None or bool(home["metadata"].get("deletionTimestamp"))
        return ends or run["metadata"]["uid"] in self._world.deleted_by_hand

    def _seen(self, event: WatchEvent) -> None:
        if event.kind == PATCH_TARGET:
            policy = event.object["metadata"]["namespace"], event.object["spec"]["policy"]
            self._machines.setdefault(policy, set()).add(machine_of(event.object))

    def _all(self, invariant: str, broken: list[str], machine: str | None = None) -> None:
        if broken:
            self._broken(invariant, broken, machine)
