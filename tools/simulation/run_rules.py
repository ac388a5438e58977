"""What PatchRuns promise, held against every change of one in a simulation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from azpatch.kube.port import PATCH_POLICY, PATCH_RUN, PATCH_TARGET, Kind, Object
from azsim.journal import EventEntry
from judging import runs
from judging.azure_journal import Journal
from judging.calendar_by_day import open_since
from judging.runs import Part
from simulation.apiserver import WatchEvent
from simulation.heard import Heard
from simulation.one_time_rules import OneTimeRules
from simulation.permissions import Declarations
from simulation.targets import conditions_of, entry_of, machine_of, owned
from simulation.world import World

Break = Callable[[str, list[str], str | None], None]
"""Takes an invariant, what breaks it, and the machine."""

INSTALLS_A_WINDOW = 2

SEEN = timedelta(minutes=3)
"""Until a failure that the API server holds has a run paused, while nothing else is wrong."""

MAKING = timedelta(minutes=2)
"""From when a policy is read once more until the run is there that was made for it: of these two
requests a slow API server may take 40 s for each."""


@dataclass(frozen=True)
class _Sent:
    """An intent of an install."""

    machine: str
    target: str
    """uid of the PatchTarget."""
    generation: int | None
    """The policy's."""
    run: Object | None
    """As it was."""


class RunRules:
    """Of one world."""

    def __init__(
        self,
        world: World,
        declarations: Declarations,
        journal: Callable[[], Journal],
        broken: Break,
    ) -> None:
        self._world = world
        self._declarations = declarations
        self._journal = journal
        self._broken = broken
        self._runs: dict[str, Object] = {}
        """By uid, as last seen."""
        self._entries: dict[str, Object] = {}
        """By uid of the PatchTarget."""
        self._sent: dict[str, _Sent] = {}
        """By attempt."""
        self._one_time = OneTimeRules(world, journal, broken)
        self._too_many: dict[str, datetime] = {}
        """Since when more machines have failed than a run allows, by its uid."""
        world.api.watchers.append(self._changed)
        world.askers.append(self._asked)

    # --- PatchRuns and PatchTargets ---------------------------------------------------------------

    def _changed(self, event: WatchEvent) -> None:
        if event.kind not in (PATCH_RUN, PATCH_TARGET):
            return
        if event.kind == PATCH_RUN:
            self._run_changed(event.object, gone=event.change == "DELETED")
        else:
            self._target_changed(event.object, gone=event.change == "DELETED")

        self._count_failures(event.object)

    def _count_failures(self, changed: Object) -> None:
        """Of the run, or of the PatchTarget's."""
        meta, name = changed["metadata"], entry_of(changed).get("name")
        run = self._world.api.find(PATCH_RUN, meta["namespace"], name or meta["name"])
        if run is None or not runs.is_under_way(run):
            return
        uid = run["metadata"]["uid"]
        if runs.too_many_failed(run, self._parts(run)) is None:
            self._too_many.pop(uid, None)
        else:
            self._too_many.setdefault(uid, self._world.clock.now())

    def failed_too_often(self, target: Object) -> str | None:
        """Why no install may begin in the PatchTarget's run; None: it may, or the failures are too
        new for the run to be paused."""
        name = entry_of(target).get("name", "")
        run = self._world.api.find(PATCH_RUN, target["metadata"]["namespace"], name)
        since = self._too_many.get(run["metadata"]["uid"]) if run is not None else None
        if run is None or since is None or self._world.clock.now() - since < SEEN:
            return None
        return f"since {since} " + str(runs.too_many_failed(run, self._parts(run)))

    def _run_changed(self, run: Object, *, gone: bool) -> None:
        uid = run["metadata"]["uid"]
        before = self._runs.pop(uid, None)
        self._one_time.changed(before, run, gone=gone)
        if gone:
            return
        self._runs[uid] = run
        if before is None:
            self._is_made(run)
            return
        self._all("run", runs.wrong_change(before, run))
        if not runs.installs(run):
            return
        parts = list(self._parts(run))
        now, slack = self._world.clock.now(), max(self._world.clock_errors)
        early = runs.waves_begun_on_evidence(
            run,
            runs.begun(before),
            parts,
            self._journal(),
            now,
            slack,
            lambda wave: self._compliant(run, wave),
        )
        self._all("4 waves", early)
        self._all("9 claims", runs.wrong_recoveries(run, parts))
        if "membership" in run["status"] and "membership" not in (before.get("status") or {}):
            total = run["status"]["membership"]["total"]
            if total != len(parts):
                self._all("run", [f"{total} machines are recorded, and {len(parts)} say so"])
            strangers = [part.machine for part in parts if not runs.is_for(run, part.machine)]
            self._all("run", [f"{run['metadata']['name']} is not for {one}" for one in strangers])
        if runs.is_over(run) and not runs.is_over(before):
            self._all("9 claims", self._wrong_counts(before, run, parts))
            for part in parts:
                self._all("9 claims", runs.wrong_success(part, self._journal()), part.machine)
        if runs.is_under_way(run):
            self._one_at_a_time(run)

    def _wrong_counts(self, before: Object, run: Object, parts: list[Part]) -> list[str]:
        if not any(one["reason"] == "PolicyMissing" for one in conditions_of(run)):
            return runs.wrong_counts(run, [part.entry for part in parts])
        # The PatchTargets go with the policy; the counts stay.
        counts = [(one.get("status") or {}).get("machines") for one in (before, run)]
        same = counts[0] == counts[1]
        return [] if same else [f"{run['metadata']['name']} lost its policy: {counts}"]

    def _compliant(self, run: Object, wave: Mapping[str, Any]) -> bool:
        """Every machine under the run's policy that carries one of the wave's tags is, or was a
        moment ago, and there is one."""
        meta, policy = run["metadata"], run["spec"]["policyRef"]["name"]
        meant = [
            target
            for target in self._world.api.list(PATCH_TARGET)
            if (target["metadata"]["namespace"], target["spec"]["policy"])
            == (meta["namespace"], policy)
            and (target.get("status") or {}).get("governs") is not False
            and self._carries(machine_of(target), wave.get("tags") or {})
        ]
        return bool(meant) and all(map(self._is_compliant, meant))

    def _carries(self, machine: str, tags: Mapping[str, Any]) -> bool:
        found = self._world.cloud.machines.get(machine)
        own = {name.lower(): value for name, value in (found.tags if found else {}).items()}
        return any(own.get(name.lower()) in values for name, values in tags.items())

    def _is_compliant(self, target: Object) -> bool:
        for condition in (target.get("status") or {}).get("conditions", ()):
            if condition["type"] == "Compliant":
                changed = datetime.fromisoformat(condition["lastTransitionTime"])
                lately = self._world.clock.now() - changed < SEEN
                return bool(condition["status"] == "True" or lately)
        return False

    def _asked(self, kind: Kind, body: Object, heard: Heard) -> None:
        """One for each window, as far as the operator can know: it may not have heard of a run that
        another made, and that was deleted before its policy's status told of it."""
        if kind == PATCH_RUN and heard.had(body):
            again = f"{body['metadata']['name']} is asked for by who knows that there was one"
            self._all("run", [again])

    def _is_made(self, run: Object) -> None:
        """While its window is open."""
        if runs.is_one_time(run):
            return
        meta, policy = run["metadata"], run["spec"]["policyRef"]["name"]
        start = runs.window(run)
        named = {"namespace": meta["namespace"], "name": policy}
        leads = [
            runs.lead(one)
            for owner in meta.get("ownerReferences", ())
            for one, _ in self._declarations.lately(
                {"metadata": {**named, "uid": owner["uid"]}}, MAKING
            )
        ]
        early = max(leads, default=timedelta(0))
        if start > self._world.clock.now() + early + max(self._world.clock_errors):
            self._all("run", [f"{meta['name']} was made too long before its window opens"])

    def _one_at_a_time(self, run: Object) -> None:
        meta, name = run["metadata"], run["spec"]["policyRef"]["name"]
        policy = self._world.api.find(PATCH_POLICY, meta["namespace"], name)
        others = [
            one["metadata"]["name"]
            for one in self._world.api.list(PATCH_RUN)
            if one["metadata"]["uid"] != meta["uid"]
            and policy is not None
            and all(runs.belongs(of, policy) for of in (one, run))
            and runs.is_under_way(one)
        ]
        if others:
            self._all("run", [f"{run['metadata']['name']} goes on beside {others[0]}"])

    def _target_changed(self, target: Object, *, gone: bool) -> None:
        uid, machine = target["metadata"]["uid"], machine_of(target)
        before, after = self._entries.get(uid, {}), entry_of(target)
        self._entries[uid] = after
        if gone:
            del self._entries[uid]
            return
        if before != after:
            run = self._world.api.find(
                PATCH_RUN, target["metadata"]["namespace"], after.get("name", "")
            )
            self._all("run", runs.wrong_move(before, after, run), machine)
        self._intended(target, machine)
        if after and before.get("state") != after["state"]:
            claimed = runs.wrong_success(self._part(target), self._journal())
            self._all("9 claims", claimed, machine)

    def _intended(self, target: Object, machine: str) -> None:
        operation = (target.get("status") or {}).get("operation") or {}
        attempt = operation.get("attemptId")
        if attempt is None or operation["kind"] != "Install" or attempt in self._sent:
            return
        meta = target["metadata"]
        policy = self._world.api.find(PATCH_POLICY, meta["namespace"], target["spec"]["policy"])
        run = self._world.api.find(PATCH_RUN, meta["namespace"], entry_of(target).get("name", ""))
        in_it = run is not None and entry_of(target).get("state") in runs.UNDER_WAY
        self._sent[attempt] = _Sent(
            machine,
            meta["uid"],
            policy["metadata"]["generation"] if policy and owned(target, policy) else None,
            run if in_it and run is not None and runs.is_under_way(run) else None,
        )

    def _parts(self, run: Object) -> Iterator[Part]:
        meta = run["metadata"]
        for target in self._world.api.list(PATCH_TARGET):
            same = target["metadata"]["namespace"] == meta["namespace"]
            if same and entry_of(target).get("uid") == meta["uid"]:
                yield self._part(target)

    def _part(self, target: Object) -> Part:
        entry, meta = entry_of(target), target["metadata"]
        name = entry.get("name", "")
        now = self._world.api.find(PATCH_RUN, meta["namespace"], name)
        attempts = {
            attempt
            for attempt, sent in self._sent.items()
            if sent.target == meta["uid"]
            and sent.run is not None
            and sent.run["metadata"]["name"] == name
            # Another may have had the name.
            and (now is None or sent.run["metadata"]["uid"] == now["metadata"]["uid"])
        }
        return Part(machine_of(target), entry, attempts)

    # --- installs ---------------------------------------------------------------------------------

    def began(self, entry: EventEntry) -> None:
        """An install of ours began in a guest."""
        sent = self._sent.get(entry.attempt_id or "")
        if sent is None:
            return
        self._too_often(sent, entry)
        if sent.run is None:
            return
        os_type = self._world.cloud.machines[sent.machine].os_type.value
        effective, body = sent.run["status"]["effective"], entry.details["body"]
        pins, later = runs.pins(sent.run), False
        if pins and os_type == "Linux":
            parts = list(self._parts(sent.run))
            mine = next(part for part in parts if part.machine == sent.machine)
            later = mine.entry["wave"] != runs.first_wave(sent.run, parts)
            new = runs.not_given_before(sent.run, mine, parts, body, self._journal())
            self._all("4 waves", [f"it is given {one}" for one in new], sent.machine)
        differs = runs.another_than_frozen(effective, body, os_type, pinned=pins and later)
        self._all("run", differs, sent.machine)

    def _too_often(self, sent: _Sent, entry: EventEntry) -> None:
        """At most two in one window, as long as nothing else is declared. Whose clock was wrong
        does not know which window it is."""
        policy = self._policy_of(sent)
        if policy is None or len(self._world.clock_errors) > 1:
            return
        names, needed = None, policy["spec"]["install"]["maximumDuration"]
        since = None
        if sent.run is not None:
            effective, name = sent.run["status"]["effective"], self._entries[sent.target]["wave"]
            needed = effective["install"]["maximumDuration"]
            wave = next(one for one in runs.waves_of(sent.run) if one["name"] == name)
            names = wave.get("windows")
            if runs.lifts_windows(sent.run, wave):
                since = runs.recorded_at(sent.run)
        lifted = since is not None
        if since is None:
            since = open_since(policy["spec"].get("schedule") or {}, entry.time, needed, names)
        if since is None:
            return
        if not lifted:
            since = max((since, *self._one_time.own_windows(policy)))
        same = [
            one
            for one in self._journal().operations(sent.machine)
            if one.kind == "Install"
            and one.started >= since
            and one.vm_id == entry.details["vmId"]
            and self._alike(self._sent.get(one.attempt_id or ""), sent)
        ]
        if len(same) > INSTALLS_A_WINDOW:
            several = f"{len(same)} installs in the window that began at {since}"
            self._all("two in a window", [several], sent.machine)

    def _policy_of(self, sent: _Sent) -> Object | None:
        for target in self._world.api.list(PATCH_TARGET):
            if target["metadata"]["uid"] == sent.target:
                found = self._world.api.find(
                    PATCH_POLICY, target["metadata"]["namespace"], target["spec"]["policy"]
                )
                current = found is not None and "install" in found["spec"]
                return found if current and owned(target, found or {}) else None
        return None

    def _alike(self, one: _Sent | None, other: _Sent) -> bool:
        """Both under the same declaration."""
        return (
            one is not None
            and (one.target, one.generation) == (other.target, other.generation)
            and (one.run is None) == (other.run is None)
        )

    def _all(self, invariant: str, broken: list[str], machine: str | None = None) -> None:
        if broken:
            self._broken(invariant, broken, machine)
