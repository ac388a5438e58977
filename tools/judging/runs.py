"""PatchRuns, judged on what the API server holds and on azsim's journal.

A run, a PatchTarget's entry in it (`status.run`) and a policy are taken as the API server gives
them. What counts as success is counted here, from what happened in guests, and not read off the
run.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from judging.azure_journal import Journal, Operation, name_of
from judging.calendar_by_day import duration
from judging.invariants import LOOK, Violations, came_to_a_good_end

Raw = Mapping[str, Any]

OVER = frozenset({"Succeeded", "Failed", "Cancelled"})
"""Phases of a run that has ended."""

UNDER_WAY = frozenset({"Pending", "Running"})
"""States of a machine that is not at its end in the run."""

WELL = ("Succeeded", "CompletedWithWarnings")
"""Status of an assessment that tells what is missing."""

ONE_WAVE: Sequence[Raw] = ({"name": "all", "machines": "100%"},)

SAME_SECOND = timedelta(seconds=1)
"""Azure's times have whole seconds."""


@dataclass(frozen=True)
class Part:
    """A machine's part in a run."""

    machine: str
    entry: Raw
    attempts: Collection[str] = ()
    """What was sent to it for the run."""


# --- what a run says ------------------------------------------------------------------------------


def is_over(run: Raw) -> bool:
    """It has ended."""
    return _status(run).get("phase") in OVER


def is_under_way(run: Raw) -> bool:
    """It goes by terms of its own, and has not ended."""
    return "effective" in _status(run) and not is_over(run)


def is_one_time(run: Raw) -> bool:
    """A person made it: no policy owns it."""
    owners = run["metadata"].get("ownerReferences", ())
    return not any(owner["kind"] == "PatchPolicy" for owner in owners)


def window(run: Raw) -> datetime:
    """When the window begins that a policy made it for."""
    stamp = run["metadata"]["name"].removeprefix(f"{run['spec']['policyRef']['name']}-")
    return datetime.strptime(stamp, "%Y%m%d%H%M").replace(tzinfo=UTC)


def installs(run: Raw) -> bool:
    """It is an Install run. A policy has one of these at a time."""
    return bool(run["spec"].get("operation", "Install") == "Install")


def is_for(run: Raw, machine: str) -> bool:
    """Whether it means the machine, a key, if its policy governs that."""
    ids = (run["spec"].get("machines") or {}).get("ids")
    return ids is None or machine in {str(one).lower() for one in ids}


def lifts_windows(run: Raw, wave: Raw) -> bool:
    """No window holds for this wave of the run: a person said so, of all windows, or of the
    policy's, and the wave names none of its own."""
    if (run["spec"].get("override") or {}).get("windows"):
        return True
    return run["spec"].get("start") == "Immediate" and "windows" not in wave


def lifts_freezes(run: Raw) -> bool:
    """No freeze holds for the run: a person said so."""
    return bool((run["spec"].get("override") or {}).get("freezes"))


def with_lifted(run: Raw, wave: Raw, schedule: Raw) -> Raw:
    """The schedule as it holds for this wave of the run."""
    held = dict(schedule)
    if lifts_freezes(run):
        held.pop("freezes", None)
    if lifts_windows(run, wave):
        held.pop("windows", None)
        return {**held, "always": {}}
    if "windows" in wave and "windows" in held:
        held["windows"] = [one for one in held["windows"] if one["name"] in wave["windows"]]
    return held


def begun_at(run: Raw) -> datetime | None:
    """When its first wave began, or it began to assess."""
    said = _status(run).get("startTime")
    return datetime.fromisoformat(said) if said else None


def not_after(run: Raw) -> datetime | None:
    """By when it must have begun; None: it does not say."""
    said = run["spec"].get("notAfter")
    return datetime.fromisoformat(said) if said else None


def recorded_at(run: Raw) -> datetime | None:
    """When all of its machines had said that they are in it."""
    said = (_status(run).get("membership") or {}).get("recordedTime")
    return datetime.fromisoformat(said) if said else None


def rollout_of(run: Raw) -> Raw:
    """How carefully, by its frozen terms."""
    rollout: Raw = _status(run)["effective"]["rollout"]
    return rollout


def waves_of(run: Raw) -> Sequence[Raw]:
    """Its waves by its frozen terms, one at least."""
    return rollout_of(run).get("waves") or ONE_WAVE


def begun(run: Raw) -> Collection[str]:
    """The waves that have begun."""
    return {wave["name"] for wave in _status(run).get("waves", ()) if "startTime" in wave}


def max_unavailable(run: Raw) -> int:
    """A count, or a percentage of the machines that were recorded, rounded down, but one at
    least."""
    share, total = rollout_of(run).get("maxUnavailable", "10%"), _total(run)
    return share if isinstance(share, int) else max(1, total * _percent(share) // 100)


def max_failed(run: Raw) -> int:
    """A count, or a percentage of the machines that were recorded, rounded down."""
    share, total = rollout_of(run).get("maxFailed", 2), _total(run)
    return share if isinstance(share, int) else total * _percent(share) // 100


def _status(run: Raw) -> Raw:
    return run.get("status") or {}


def _total(run: Raw) -> int:
    return int((_status(run).get("membership") or {}).get("total", 0))


def _percent(share: str) -> int:
    return int(share.removesuffix("%"))


# --- may this machine be installed on? ------------------------------------------------------------


def not_its_turn(policy: Raw, run: Raw | None, entry: Raw) -> str | None:
    """Why nothing may be installed on the machine for its run, or for want of one; None: its turn
    has come, or the policy installs without runs."""
    if not policy["spec"].get("schedule", {}).get("windows") and not _has(run, entry):
        return None
    if run is None or not entry:
        return "it is in no PatchRun"
    if not belongs(run, policy):
        return "its PatchRun is another policy's"
    status = _status(run)
    if status.get("phase") in (*OVER, "Paused"):
        return f"its PatchRun is {status['phase']}"
    if run["spec"].get("cancelled") or run["metadata"].get("deletionTimestamp"):
        return "its PatchRun is cancelled"
    if unapproved(policy, run):
        return "its PatchRun is not approved"
    if not status.get("membership"):
        return "not all machines of its PatchRun are recorded"
    if entry["state"] not in UNDER_WAY:
        return f"its part in the PatchRun has ended: {entry['state']}"
    if entry["wave"] not in begun(run):
        return f"wave {entry['wave']} has not begun"
    return None


def belongs(run: Raw, policy: Raw) -> bool:
    """The policy made the run, or a person for a policy of this name."""
    meta, mine = run["metadata"], policy["metadata"]
    if is_one_time(run):
        name = run["spec"]["policyRef"]["name"]
        return (meta.get("namespace"), name) == (mine.get("namespace"), mine["name"])
    return any(owner["uid"] == mine["uid"] for owner in meta["ownerReferences"])


def _has(run: Raw | None, entry: Raw) -> bool:
    """A run that a person made has the machine, of a policy that needs none."""
    going = run is not None and is_one_time(run) and is_under_way(run)
    return bool(going and entry.get("state") in UNDER_WAY)


def unapproved(policy: Raw, run: Raw) -> bool:
    """Its policy asks for an approval, or did when the run was admitted, and nobody gave it."""
    frozen = (_status(run).get("effective") or {}).get("rollout") or {}
    return not run["spec"].get("approved") and any(
        _asks(rollout) for rollout in (frozen, policy["spec"].get("rollout") or {})
    )


def lead(policy: Raw) -> timedelta:
    """How long before its window a run of the policy may be made."""
    rollout = policy["spec"].get("rollout") or {}
    given = (rollout.get("approval") or {}).get("leadTime", "72h")
    return duration(given) if _asks(rollout) else timedelta(0)


def _asks(rollout: Raw) -> bool:
    return bool((rollout.get("approval") or {}).get("mode") == "Required")


def pins(run: Raw) -> bool:
    """Waves after the first are given what the first was."""
    return bool(rollout_of(run).get("patchSet") == "Pinned")


def first_wave(run: Raw, parts: Iterable[Part]) -> str | None:
    """The first that has machines."""
    taken = {part.entry["wave"] for part in parts}
    return next((wave["name"] for wave in waves_of(run) if wave["name"] in taken), None)


def not_given_before(
    run: Raw, part: Part, parts: Sequence[Part], body: Raw, journal: Journal
) -> Violations:
    """4: what a Linux machine of a later wave is asked to install, and no install of the first wave
    that went well brought, in a run that pins. `parts`: everybody in the run."""
    first = first_wave(run, parts)
    if part.entry["wave"] == first:
        return []
    linux = body.get("linuxParameters") or {}
    given = set(_given(first, parts, journal))
    asked = linux.get("packageNameMasksToInclude", ())
    return [
        *(f"all that is {one}" for one in linux.get("classificationsToInclude", ())),
        *(f"{one}, which {first} was not given" for one in asked if one not in given),
    ]


def _given(first: str | None, parts: Iterable[Part], journal: Journal) -> Iterable[str]:
    """`name=version` of what the first wave got by its installs, in its guests."""
    attempts = {one for part in parts if part.entry["wave"] == first for one in part.attempts}
    installs = {
        one.id
        for one in journal.operations()
        if one.attempt_id in attempts and came_to_a_good_end(one)
    }
    for event in journal.events("PatchInstalled"):
        if event.operation_id in installs:
            yield f"{event.details['name']}={event.details['version']}"


def another_than_frozen(
    effective: Raw, body: Raw, os_type: str, *, pinned: bool = False
) -> Violations:
    """How what was sent differs from the run's frozen terms. `pinned`: what is to be installed goes
    by another wave, and not by them."""
    install, asked = effective["install"], body.get(f"{os_type.lower()}Parameters") or {}
    declared = install.get(os_type.lower()) or {}
    pairs = {
        "rebootSetting": (install.get("rebootSetting", "IfRequired"), body["rebootSetting"]),
        "maximumDuration": (
            duration(install.get("maximumDuration", "PT2H")),
            duration(body["maximumDuration"]),
        ),
        "packageNameMasksToExclude": (
            set(declared.get("packageNameMasksToExclude", ())),
            set(asked.get("packageNameMasksToExclude", ())),
        ),
    }
    if not pinned:
        pairs["classificationsToInclude"] = (
            set(declared.get("classificationsToInclude", ("Critical", "Security"))),
            set(asked.get("classificationsToInclude", ())),
        )
    return [
        f"{name}: {sent} was sent, and the run's terms have {frozen}"
        for name, (frozen, sent) in pairs.items()
        if frozen != sent
    ]


# --- what a wave came to --------------------------------------------------------------------------


def succeeded(part: Part, journal: Journal) -> datetime | None:
    """When the machine's last install for the run ended, if it went well and an assessment that
    went well followed; else None."""
    operations = journal.operations(part.machine)
    mine = [one for one in operations if one.kind == "Install" and one.attempt_id in part.attempts]
    if not mine or not came_to_a_good_end(mine[-1]):
        return None
    assessed = any(_vouches(one, mine[-1], journal) for one in operations)
    return mine[-1].ended if assessed else None


def _vouches(one: Operation, install: Operation, journal: Journal) -> bool:
    """A machine that was made anew between our last look and the assessment no program tells from
    the one before."""
    unseen = any(
        event.details["vmId"] == one.vm_id and one.started - event.time <= LOOK
        for event in journal.events("MachineCreated")
    )
    return (
        one.kind == "Assess"
        and (one.vm_id == install.vm_id or unseen)
        and install.last is not None
        and one.first > install.last
        and one.status in WELL
    )


def wrong_success(part: Part, journal: Journal) -> Violations:
    """9: a machine that is said to have succeeded in the run, and did not."""
    if part.entry["state"] != "Succeeded" or succeeded(part, journal) is not None:
        return []
    return [f"{name_of(part.machine)} is called Succeeded in {part.entry['name']}, and is not"]


def waves_begun_on_evidence(
    run: Raw,
    before: Collection[str],
    parts: Iterable[Part],
    journal: Journal,
    now: datetime,
    slack: timedelta = timedelta(0),
    compliant: Callable[[Raw], bool] = lambda wave: False,
) -> Violations:
    """4: no wave has begun but those `before`, unless each wave before it passed on evidence.

    `parts`: everybody in the run; `slack`: by how much the clock of who began it may be wrong;
    `compliant`: whether all machines are that a wave by tags means, and there is one. So they are,
    too, in a wave that did not begin because each of its machines was found to be up to date after
    an earlier one had begun.
    """
    parts, new = list(parts), set(begun(run)) - set(before)
    if not new:
        return []
    if not _status(run).get("membership"):
        return [f"{', '.join(sorted(new))} began before the machines were recorded"]
    names = [wave["name"] for wave in waves_of(run)]
    last = max(map(names.index, new))
    installed, broken = False, []
    for wave in waves_of(run)[:last]:
        mine = [part for part in parts if part.entry["wave"] == wave["name"]]
        if not mine and compliant(wave):
            continue
        if wave["name"] in begun(run):
            installed = True
        elif installed and mine and all(map(_was_up_to_date, mine)):
            continue
        gate = _Gate(run, wave, mine)
        broken += [
            f"{names[last]} began, though of {wave['name']} {why}"
            for why in gate.why_shut(journal, now + slack)
        ]
    return broken


def acknowledged(run: Raw) -> frozenset[str]:
    """Machines whose failure somebody has seen to: so many, in the order in which the run told of
    them; but for those that recovered."""
    told = _status(run).get("failures") or ()
    return frozenset(
        one["machineId"].lower()
        for one in told[: run["spec"].get("acknowledgedFailures", 0)]
        if not one.get("recovered")
    )


def _of_before(run: Raw, parts: Iterable[Part]) -> list[Raw]:
    """Failures that nobody has seen to, of machines that are gone, or that something has kept from
    coming to any other end."""
    now = {part.machine for part in parts if _bad(part) or part.entry["state"] == "Succeeded"}
    told, past = _status(run).get("failures") or (), now | acknowledged(run)
    return [
        one for one in told if one["machineId"].lower() not in past and not one.get("recovered")
    ]


def wrong_recoveries(run: Raw, parts: Iterable[Part]) -> Violations:
    """9: a failed machine that is said to have recovered, and did not succeed."""
    states = {part.machine: part.entry["state"] for part in parts}
    return [
        f"{name_of(machine)} is said to have recovered, and is {states[machine]}"
        for one in _status(run).get("failures") or ()
        if one.get("recovered")
        and states.get(machine := one["machineId"].lower(), "Succeeded") != "Succeeded"
    ]


def _was_up_to_date(part: Part) -> bool:
    """Nothing was sent to it for the run, because nothing was missing any more."""
    end = (part.entry["state"], part.entry.get("reason"))
    return end == ("Skipped", "UpToDate") and not part.attempts


@dataclass(frozen=True)
class _Gate:
    """After one wave. Failures that somebody has acknowledged are not of it any more; one that
    nobody has is, though its machine may be gone."""

    run: Raw
    wave: Raw
    parts: Sequence[Part]

    def why_shut(self, journal: Journal, now: datetime) -> Violations:
        going = [part for part in self.parts if part.entry["state"] in UNDER_WAY]
        if going:
            return [f"{name_of(going[0].machine)} is not at an end"]
        times = [
            ended
            for part in self.parts
            if part.entry["state"] == "Succeeded"
            and (ended := succeeded(part, journal)) is not None
        ]
        broken = []
        needed = self._needed()
        if len(times) < needed:
            broken.append(f"{len(times)} machines succeeded, and {needed} must have")
        if self._lost():
            broken.append("a machine did not come back")
        soak = duration(self.wave.get("soak", "0s"))
        if times and now < max(times) + soak - SAME_SECOND:
            broken.append(f"the last success was at {max(times)}, and soak is {self.wave['soak']}")
        return broken

    def _needed(self) -> int:
        share, seen = rollout_of(self.run).get("minSucceeded", "80%"), acknowledged(self.run)
        gone = {
            one["machineId"].lower()
            for one in _of_before(self.run, self.parts)
            if one.get("wave") == self.wave["name"]
        }
        of = len({part.machine for part in self.parts} - seen | gone)
        if isinstance(share, int):
            return max(1, min(share, of))
        return max(1, -(-of * _percent(share) // 100))

    def _lost(self) -> bool:
        """Somebody did not come back, and nobody acknowledged it."""
        seen = acknowledged(self.run)
        return any(
            part.entry["state"] == "Failed"
            and part.entry.get("reason") == "NotBack"
            and part.machine not in seen
            for part in self.parts
        )


def _bad(part: Part) -> bool:
    """It failed. One that is tried once more has, too."""
    state = part.entry["state"]
    return state == "Failed" or (state == "Running" and bool(part.entry.get("reason")))


def unseen_failures(run: Raw, parts: Iterable[Part]) -> list[Raw]:
    """Those that nobody has acknowledged, each with its reason."""
    parts, seen = list(parts), acknowledged(run)
    bad = [part.entry for part in parts if _bad(part) and part.machine not in seen]
    return bad + _of_before(run, parts)


def too_many_failed(run: Raw, parts: Iterable[Part]) -> str | None:
    """Why the run should be paused: more failed than maxFailed allows, or somebody did not come
    back, and nobody acknowledged it."""
    bad = unseen_failures(run, parts)
    if any(one.get("reason") == "NotBack" for one in bad):
        return "a machine did not come back"
    if len(bad) > max_failed(run):
        return f"{len(bad)} failed, and maxFailed allows {max_failed(run)}"
    return None


# --- what must not change -------------------------------------------------------------------------


def wrong_change(before: Raw, after: Raw) -> Violations:
    """What a run says must not be unsaid: its terms, its machines, the waves that began, its
    end."""
    name, was, now = after["metadata"]["name"], _status(before), _status(after)
    fixed = ("effective", "startTime", *(("phase",) if is_over(before) else ()))
    if installs(after):
        fixed = ("membership", *fixed)
    now = {**now, "effective": _as_admitted(was.get("effective"), now.get("effective"))}
    broken = [
        f"{field} of {name} changed: {was[field]} became {now.get(field)}"
        for field in fixed
        if field in was and was[field] != now.get(field)
    ]
    told = [[one["machineId"] for one in of.get("failures") or ()] for of in (was, now)]
    if installs(after) and told[0] != told[1][: len(told[0])]:
        broken.append(f"a failure of {name} is forgotten, or has another place: {told}")
    if not set(begun(before)) <= set(begun(after)):
        broken.append(f"a wave of {name} has not begun any more")
    return broken


def _as_admitted(was: Raw | None, now: Raw | None) -> Raw | None:
    """Without what was pinned since: that may be added once."""
    pinned = (now or {}).get("patchSet") or {}
    if now is None or "linux" not in pinned or "linux" in ((was or {}).get("patchSet") or {}):
        return now
    rest = {field: value for field, value in pinned.items() if field != "linux"}
    terms = {field: value for field, value in now.items() if field != "patchSet"}
    return {**terms, "patchSet": rest} if rest or "patchSet" in (was or {}) else terms


def wrong_move(before: Raw, after: Raw, run: Raw | None) -> Violations:
    """A machine enters a run before that is recorded, stays in its wave, and ends once."""
    if not after:
        return []
    if (before.get("name"), before.get("uid")) != (after["name"], after.get("uid")):
        late = run is not None and "membership" in _status(run)
        return [f"it came into {after['name']}, whose machines were recorded before"] * late
    broken = []
    if before["wave"] != after["wave"]:
        broken.append(f"its wave {before['wave']} became {after['wave']}")
    if before["state"] not in UNDER_WAY and before["state"] != after["state"]:
        broken.append(f"its end {before['state']} became {after['state']}")
    return broken


def wrong_counts(run: Raw, entries: Iterable[Raw]) -> Violations:
    """9: a run that is over counts its machines as their PatchTargets do."""
    states = [entry["state"] for entry in entries]
    said = _status(run).get("machines") or {}
    return [
        f"{run['metadata']['name']} is over and counts {said.get(field, 0)} {field}, of {there}"
        for field in ("succeeded", "failed")
        if said.get(field, 0) != (there := states.count(field.capitalize()))
    ]


# --- what a person's run promises -----------------------------------------------------------------


def begun_too_late(run: Raw, now: datetime, slack: timedelta, seen: timedelta) -> Violations:
    """2: a one-time run has begun, and its notAfter was over; or it names none. `slack`: by how
    much the clock of who began it may be wrong; `seen`: how late that may be written."""
    began, until, name = begun_at(run), not_after(run), run["metadata"]["name"]
    if began is None and "effective" not in _status(run):
        return []
    if until is None:
        return [f"{name} was let in without notAfter"]
    if began is not None and (began > until + slack or now > until + slack + seen):
        return [f"{name} began at {began}, and notAfter is {until}"]
    return []


def wrongly_assessed(run: Raw, machines: Iterable[str], journal: Journal) -> Violations:
    """9: an Assess run that is over counts more machines as assessed than were, after it began.
    `machines`: all that the policy ever had, by key."""
    began, said = begun_at(run), (_status(run).get("machines") or {}).get("succeeded", 0)
    name = run["metadata"]["name"]
    if began is None:
        return [f"{name} has assessed {said}, and has not begun"] * bool(said)
    found = {
        one.machine
        for machine in machines
        if is_for(run, machine)
        for one in journal.operations(machine)
        if one.kind == "Assess" and one.started >= began - SAME_SECOND and one.status in WELL
    }
    counts = _status(run).get("machines") or {}
    broken = [f"{name} counts {said} machines as assessed, and {len(found)} were"]
    if said <= len(found):
        broken.clear()
    if _status(run)["phase"] == "Succeeded" and counts.get("failed"):
        broken.append(f"{name} succeeded, with failures")
    return broken
