"""What only a simulation can ask of PatchRuns: does each get to its end, or wait for a reason?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any

from azpatch.kube.port import PATCH_POLICY, PATCH_RUN, PATCH_TARGET, Object
from judging import runs
from judging.azure_journal import Journal, name_of
from judging.calendar_by_day import duration, open_since
from simulation.permissions import Declarations
from simulation.steps import reassessment_due
from simulation.targets import conditions_of, entry_of, machine_of, owned
from simulation.world import World

WAITS = frozenset({"AwaitingApproval", "WaitingForRun", "WaitingForWave", "RunPaused", "RunEnded"})
"""Why a machine that is due may wait for its run."""

SHUT = frozenset({"WaitingForWindow", "Frozen", "NoWindowLeft", "WindowTooShort"})
"""Why a machine, or a run, may wait while no install may start."""

RETRIES = 3
"""How many times a failed assessment after an install is tried again before its run gives up."""

SEEN = timedelta(minutes=10)
"""From when a run may go on until it does."""


def waits_rightly(world: World, target: Object, reason: str) -> bool:
    """The machine says that it waits for a run, and that is true."""
    policy = _policy_of(world, target)
    if policy is None:
        return False
    run, entry = under_way(world, policy), entry_of(target)
    mine = run is not None and entry.get("uid") == run["metadata"]["uid"]
    part = mine and entry["state"] in runs.UNDER_WAY
    if run is None:
        return reason == "WaitingForRun" and _had(world, policy)
    return {
        "AwaitingApproval": part and runs.unapproved(policy, run),
        "WaitingForRun": not mine and "membership" in run["status"],
        "WaitingForWave": part and entry["wave"] not in runs.begun(run),
        "RunPaused": part and run["status"]["phase"] == "Paused",
        "RunEnded": mine and not part,
    }[reason]


def unsettled_runs(
    world: World, declarations: Declarations, journal: Journal, *, patient: bool, last: bool
) -> Iterator[tuple[str, str]]:
    """(machine key, what is still to come) for every run that could go on and does not, and every
    machine that is not at an end in one that is over. A soak is waited for, and if `patient` a
    window too, unless this is the `last` look."""
    policies = {raw["metadata"]["uid"]: raw for raw in world.api.list(PATCH_POLICY)}
    targets = world.api.list(PATCH_TARGET)
    for target in targets:
        entry = entry_of(target)
        if entry.get("state") in runs.UNDER_WAY and _is_over(world, target):
            yield machine_of(target), f"{entry['state']} in {entry['name']}, which is over"
    for run in world.api.list(PATCH_RUN):
        name = run["metadata"]["name"]
        policy = next((p for p in policies.values() if runs.belongs(run, p)), None)
        if runs.is_one_time(run) and "effective" not in (run.get("status") or {}):
            why = _unasked(world, declarations, run, policy, targets)
            if why is not None:
                yield "", f"PatchRun {name} {why}"
        elif policy is None:
            if not (runs.is_one_time(run) and runs.is_over(run)):
                yield "", f"PatchRun {name} is left of a policy that is gone"
        elif not runs.is_one_time(run) and not _remembered(policy, runs.window(run)):
            yield "", f"PatchRun {name} is not in its policy's lastScheduleTime"
        elif "phase" not in run["status"]:
            yield "", f"PatchRun {name} says nothing"
        elif not runs.is_over(run):
            members = [one for one in targets if _is_in(one, run)]
            why = _stuck(world, declarations, journal, run, policy, members)
            if (
                why is None
                and not last
                and (patient or _soaks(run))
                and not (_paused(run) or runs.unapproved(policy, run))
            ):
                why = f"waits: {run['status']['phase']}"
            if why is not None:
                yield "", f"PatchRun {name} {why}"


def _stuck(
    world: World,
    declarations: Declarations,
    journal: Journal,
    run: Object,
    policy: Object,
    members: list[Object],
) -> str | None:
    """None: it has nothing to do now, or somebody's machine is what it waits for."""
    other = under_way(world, policy)
    if not runs.is_under_way(run) or "membership" not in run["status"]:
        waits = other is not None and other["metadata"]["uid"] != run["metadata"]["uid"]
        return None if waits else "has not begun"
    if run["spec"].get("cancelled"):
        return None if any(map(_in_flight, members)) else "is cancelled, and not over"
    if runs.unapproved(policy, run):
        until = runs.not_after(run)
        late = until is not None and world.clock.now() > until + SEEN
        return "is not approved, and not over" if late and runs.begun_at(run) is None else None
    going = [one for one in members if entry_of(one)["state"] in runs.UNDER_WAY]
    if not going:
        return None if _is_paused(run, members) else "is not over, though all machines are"
    if policy["spec"].get("suspend") or _is_paused(run, members):
        return None
    names = [wave["name"] for wave in runs.waves_of(run)]
    now = min(names.index(entry_of(one)["wave"]) for one in going)
    if names[now] in runs.begun(run):
        done = [machine_of(one) for one in going if _misses_nothing(one)]
        return f"is not done with {', '.join(done)}, on which nothing is due" if done else None
    soaks = _soaks_until(run, members, names[:now], journal)
    if soaks is not None and world.clock.now() < soaks:
        return None
    waiting = [one for one in going if entry_of(one)["wave"] == names[now]]
    if any(declarations.may_start(one, timedelta(0)) for one in waiting):
        return f"does not begin wave {names[now]}"
    return None


def _unasked(
    world: World,
    declarations: Declarations,
    run: Object,
    policy: Object | None,
    targets: Iterable[Object],
) -> str | None:
    """Why a one-time run that has no terms, because it was not let in, or only assesses, is not
    where it belongs. None: it is over, or waits for what it says, and that is true."""
    if runs.is_over(run):
        return None
    if run["spec"].get("cancelled"):
        return "is cancelled, and not over"
    if policy is not None and policy["spec"].get("suspend"):
        return None
    if runs.begun_at(run) is not None:
        mine = [one for one in targets if policy is not None and owned(one, policy)]
        return None if _all_at_work(run, mine) else "has not assessed all of its machines"
    until, status = runs.not_after(run), run.get("status") or {}
    if until is None or world.clock.now() > until + SEEN:
        return f"should be over since {until}"
    ready = [c["reason"] for c in status.get("conditions", ()) if c["type"] == "Ready"]
    reason = ready[0] if ready else None
    installs = runs.installs(run)
    if policy is None or (installs and "install" not in policy["spec"]):
        return None if reason == "PolicyMissing" else f"has no policy, and says {reason}"
    mine = [one for one in targets if owned(one, policy) and _governed(one)]
    if _named(run) - {machine_of(one) for one in mine}:
        told = reason == "MachineNotInPolicy"
        return None if told else f"names a machine that is not the policy's, and says {reason}"
    if installs and under_way(world, policy) is not None:
        return None if reason == "WaitingForRun" else f"waits for a run, and says {reason}"
    if installs and reason == "RecordingMembers" and _nobody_is_due(world, run, mine):
        return None
    if not installs or reason not in SHUT:
        return f"has not begun: {reason}"
    if any(declarations.may_begin(run, one, SEEN) for one in mine):
        return f"says {reason}, and may begin"
    return None


def _all_at_work(run: Object, targets: Iterable[Object]) -> bool:
    """On all machines that it has not assessed something is in flight: they are after that."""
    left = [one.get("status") or {} for one in targets if _is_left(run, one)]
    return bool(left) and all("operation" in status for status in left)


def _is_left(run: Object, target: Object) -> bool:
    """No assessment of a machine that it is for began since the run has."""
    began, assessment = runs.begun_at(run), (target.get("status") or {}).get("assessment") or {}
    start = assessment.get("startTime") or assessment.get("time")
    mine = runs.is_for(run, machine_of(target)) and _governed(target)
    return mine and (start is None or began is None or datetime.fromisoformat(start) < began)


def _nobody_is_due(world: World, run: Object, governed: Iterable[Object]) -> bool:
    """None of the run's machines is, as far as it can be known; and of the one that it tells of it
    never will be. To begin, and to be complete, would say that they are all patched."""
    mine = [one for one in governed if runs.is_for(run, machine_of(one))]
    reasons = {c["reason"] for one in mine for c in conditions_of(one) if c["type"] == "Ready"}
    due = reasons & {"WaitingForRun", "WaitingForSlot", *SHUT}
    told = next(c["message"] for c in conditions_of(run) if c["type"] == "Ready")
    named = told.partition("see the PatchTarget of ")[2].partition(",")[0].removesuffix(".").lower()
    blamed = [machine_of(one) for one in mine if name_of(machine_of(one)) == named]
    return not due and any(never_ends(world, one) for one in blamed)


def never_ends(world: World, machine: str) -> bool:
    """Its guest is at work on something that will have no result: a person must see to it."""
    if machine not in world.cloud.machines:
        return False
    task = world.cloud.guest(world.cloud.machines[machine]).task
    return task is not None and world.clock.now() - task.operation.start > timedelta(hours=5)


def _named(run: Object) -> set[str]:
    """Keys of the machines that it is for, where it names them."""
    return {one.lower() for one in (run["spec"].get("machines") or {}).get("ids", ())}


def _governed(target: Object) -> bool:
    return (target.get("status") or {}).get("governs") is not False


def _soaks_until(
    run: Object, members: list[Object], before: list[str], journal: Journal
) -> datetime | None:
    """When soak is over after the last success of the waves before, by azsim's own record."""
    soaks = {wave["name"]: duration(wave.get("soak", "0s")) for wave in runs.waves_of(run)}
    times = [
        one.ended + soaks[entry_of(target)["wave"]]
        for target in members
        if entry_of(target)["wave"] in before and entry_of(target)["state"] == "Succeeded"
        for one in journal.operations(machine_of(target))
        if one.kind == "Install" and one.ended is not None
    ]
    return max(times, default=None)


def _is_paused(run: Object, members: list[Object]) -> bool:
    """And there is a failure that nobody acknowledged."""
    parts = [runs.Part(machine_of(one), entry_of(one)) for one in members]
    return _paused(run) and bool(runs.unseen_failures(run, parts))


def _misses_nothing(target: Object) -> bool:
    """It says so, and that nothing is in flight."""
    status = target["status"]
    ready = [c["reason"] for c in conditions_of(target) if c["type"] == "Ready"]
    return ready == ["UpToDate"] and "operation" not in status


def _in_flight(target: Object) -> bool:
    """Its install for the run has begun, and no assessment has told yet what that came to: Azure
    cannot stop it, and a run that is cancelled waits for it. An install that did not succeed is
    not tried again there, and an assessment that failed only so often."""
    status = target["status"]
    if entry_of(target)["state"] != "Running":
        return False
    if status.get("operation", {}).get("kind") == "Install":
        return True
    if status.get("installation", {}).get("outcome") != "Succeeded":
        return False
    if reassessment_due(status):
        return True
    failed = status["assessment"]["status"] not in runs.WELL
    tries = status.get("attempts", {}).get("failedAssessments", 0)
    return bool(failed and tries <= RETRIES)


def _paused(run: Object) -> bool:
    return bool(run["status"].get("phase") == "Paused")


def _soaks(run: Object) -> bool:
    conditions = run["status"].get("conditions", ())
    return any(c["type"] == "Ready" and c["reason"] == "Soaking" for c in conditions)


def _is_in(target: Object, run: Object) -> bool:
    meta = run["metadata"]
    same = target["metadata"]["namespace"] == meta["namespace"]
    return bool(same and entry_of(target).get("uid") == meta["uid"])


def _is_over(world: World, target: Object) -> bool:
    run = world.api.find(PATCH_RUN, target["metadata"]["namespace"], entry_of(target)["name"])
    return run is None or runs.is_over(run)


def _policy_of(world: World, target: Object) -> Object | None:
    meta = target["metadata"]
    policy = world.api.find(PATCH_POLICY, meta["namespace"], target["spec"]["policy"])
    return policy if policy is not None and owned(target, policy) else None


def under_way(world: World, policy: Object) -> Object | None:
    """The run that the policy is at."""
    found = [run for run in world.api.list(PATCH_RUN) if runs.belongs(run, policy)]
    return next((run for run in found if runs.is_under_way(run)), None)


def _had(world: World, policy: Object) -> bool:
    """There was a run for the window that is open, or none is."""
    spec: dict[str, Any] = policy["spec"]
    if "install" not in spec:
        return False
    now = world.clock.now()
    since = open_since(spec["schedule"], now, spec["install"]["maximumDuration"])
    return since is None or _remembered(policy, since)


def _remembered(policy: Object, window: datetime) -> bool:
    """That there was a run for it outlives the run."""
    last = (policy.get("status") or {}).get("lastScheduleTime")
    return last is not None and datetime.fromisoformat(last) >= window
