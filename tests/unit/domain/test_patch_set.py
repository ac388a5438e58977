"""patchSet Pinned: what later waves are given is what the first was, and never more."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from domain_builders import (
    DAY,
    HOUR,
    NIGHTS,
    NOW,
    arc_server,
    entry,
    installed,
    longest,
    machine,
    numbered,
    patch_policy,
    patch_run,
)

from azpatch.api.common import OsType, status_json
from azpatch.api.patch_set import (
    PACKAGE_LONGEST,
    PATCH_SET_BYTES_MOST,
    SYSTEM_BYTES_MOST,
    LinuxPatchSet,
    PatchSet,
    PinnedSystem,
)
from azpatch.api.policy import NAME_LENGTH
from azpatch.api.reasons import Reason
from azpatch.api.rollout import NOTHING_TO_PIN_FOR, WAVES_MOST, Rollout
from azpatch.api.run import (
    FAILURES_LISTED,
    Effective,
    PatchRun,
    PatchRunStatus,
)
from azpatch.api.target import AzureError, Installation, PatchTargetStatus, RunState
from azpatch.domain.facts import GuestStatus, InstallationResult, InstalledPatch, MissingPatch
from azpatch.domain.given import Given, Reading
from azpatch.domain.opening import Open
from azpatch.domain.patch_set import PATIENCE, dated
from azpatch.domain.pins import (
    Exactly,
    NotVouchedFor,
    PublishedUntil,
    parameters,
    pins_of,
    system_for,
    system_of,
    withheld,
)
from azpatch.domain.run import Progress, admitted, progress
from azpatch.domain.run_entry import Part, open_run, progressed
from azpatch.domain.run_facts import RunFacts, RunMember
from azpatch.domain.selection import Selection

PENDING, SUCCEEDED, FAILED, SKIPPED = (
    RunState.PENDING,
    RunState.SUCCEEDED,
    RunState.FAILED,
    RunState.SKIPPED,
)
MINUTE = timedelta(minutes=1)
JAMMY, NOBLE = "ubuntu 22.04", "ubuntu 24.04"
WAVES = [{"name": "canary", "machines": 2, "soak": "1h"}, {"name": "rest", "machines": "100%"}]
INSTALL = {
    "linux": {"packageNameMasksToExclude": ["linux-*"]},
    "windows": {"kbNumbersToExclude": ["5030211"]},
}


def pinned_terms(**more: Any) -> Effective:
    rollout = {"patchSet": "Pinned", "waves": WAVES}
    policy = patch_policy(schedule=NIGHTS, rollout=rollout, install={**INSTALL, **more})
    return dated(admitted(policy), NOW)


def canary(
    number: int, *, system: str | None = JAMMY, state: RunState = SUCCEEDED, brought: int = 2
) -> RunMember:
    ended: Installation = installed(time=NOW, activity_id=f"Act-{number}", installed=brought)
    mine = entry(state, wave="canary").replace(system=system)
    return RunMember(numbered(number), mine, None if state is PENDING else ended)


def rest(number: int, system: str | None = JAMMY) -> RunMember:
    return RunMember(numbered(number), entry(wave="rest").replace(system=system), None)


def shown(*packages: str, listed: int | None = None) -> Given:
    number = len(packages) if listed is None else listed
    return Given(frozenset(packages), number, number)


class Run:
    """One whose first wave is over since NOW, told by the reconciles that it gets."""

    def __init__(self, members: Sequence[RunMember], terms: Effective | None = None) -> None:
        self.members = members
        self.run = patch_run(PatchRunStatus(effective=terms or pinned_terms()))
        began = [
            RunMember(one.machine_id, one.entry.replace(state=PENDING), None) for one in members
        ]
        self.goes_on(members=began)
        self.goes_on()

    def goes_on(
        self,
        given: Reading | None = None,
        after: timedelta = timedelta(0),
        members: Sequence[RunMember] | None = None,
    ) -> Progress:
        facts = RunFacts(
            members=members or self.members,
            awaited=0,
            openings={"canary": Open(None), "rest": Open(None)},
            given=given or {},
        )
        assert self.run.status.effective is not None
        found = progress(self.run, "uid-1", self.run.status.effective, facts, NOW + after)
        self.run = self.run.replace(status=found.status)
        return found

    @property
    def seen(self) -> tuple[str | None, str]:
        ready = next(one for one in self.run.status.conditions if one.type == "Ready")
        return self.run.status.phase, ready.reason

    @property
    def message(self) -> str:
        return next(one.message for one in self.run.status.conditions if one.type == "Ready")

    @property
    def stalled(self) -> bool:
        return any(one.type == "Stalled" for one in self.run.status.conditions)

    @property
    def begun(self) -> list[str]:
        return [one.name for one in self.run.status.waves if one.start_time is not None]

    @property
    def pinned(self) -> Mapping[str, Sequence[str]] | None:
        effective = self.run.status.effective
        known = effective.patch_set if effective else None
        if known is None or known.linux is None:
            return None
        return {one.name: one.packages for one in known.linux.systems}


TWO = [canary(1), canary(2), rest(3)]
BOTH = {"act-1": shown("curl=8.1", "vim=9"), "act-2": shown("curl=8.1", "bash=5")}


# --- when it is read ------------------------------------------------------------------------------


def test_what_the_first_wave_was_given_is_pinned_while_it_soaks() -> None:
    run = Run(TWO)

    asked = run.goes_on()
    run.goes_on(BOTH, MINUTE)

    assert [one.machine_id for one in asked.unread] == [numbered(1), numbered(2)]
    assert run.pinned == {JAMMY: ("bash=5", "curl=8.1", "vim=9")}
    assert run.seen == ("Waiting", "Soaking")


def test_it_is_pinned_once() -> None:
    run = Run(TWO)
    run.goes_on(BOTH, MINUTE)
    before = run.run.status.effective

    again = run.goes_on({"act-1": shown("other=1", "more=2")}, 2 * MINUTE)

    assert (again.unread, run.run.status.effective) == ((), before)


def test_no_wave_begins_before_it_is() -> None:
    run = Run(TWO)
    late = HOUR + MINUTE

    run.goes_on({"act-1": BOTH["act-1"]}, timedelta(0))
    waiting = run.seen
    run.goes_on(BOTH, late)

    assert waiting == ("Waiting", "Soaking")
    assert (run.begun, run.pinned is not None) == (["canary", "rest"], True)


def test_it_says_that_it_reads() -> None:
    waves = [{"name": "canary", "machines": 2}, {"name": "rest", "machines": "100%"}]
    rollout = {"patchSet": "Pinned", "waves": waves}
    run = Run(TWO, admitted(patch_policy(schedule=NIGHTS, rollout=rollout)))

    found = run.goes_on({"act-1": BOTH["act-1"]}, MINUTE)

    assert run.seen == ("Waiting", "ReadingPatchSet")
    assert (run.begun, run.stalled) == (["canary"], False)
    assert "web-2" in run.message
    assert "web-1" not in run.message
    assert found.again == NOW + PATIENCE


def test_rows_that_do_not_come_make_it_less_when_patience_ends() -> None:
    run = Run(TWO)

    run.goes_on({"act-1": BOTH["act-1"]}, PATIENCE)

    assert run.pinned == {JAMMY: ("curl=8.1", "vim=9")}


def test_a_list_that_was_cut_is_taken_as_it_is_when_patience_ends() -> None:
    run = Run([canary(1, brought=900), rest(3)])

    run.goes_on({"act-1": shown("curl=8.1", "vim=9")}, PATIENCE - MINUTE)
    before = run.pinned
    run.goes_on({"act-1": shown("curl=8.1", "vim=9")}, PATIENCE)

    assert (before, run.pinned) == (None, {JAMMY: ("curl=8.1", "vim=9")})


def test_of_which_nothing_at_all_is_shown_a_person_is_told_and_it_is_asked_on() -> None:
    run = Run([canary(1), canary(2, system=NOBLE), rest(3)])

    found = run.goes_on({"act-1": BOTH["act-1"]}, 2 * HOUR)

    assert run.seen == ("Waiting", "PatchSetNotShown")
    assert (run.stalled, run.begun, run.pinned) == (True, ["canary"], None)
    assert [one.machine_id for one in found.unread] == [numbered(2)]
    assert NOBLE in run.message
    run.goes_on({**BOTH, "act-2": shown("bash=5", "curl=8.1")}, 3 * HOUR)
    assert (run.begun, run.stalled) == (["canary", "rest"], False)


def test_nothing_is_read_of_a_wave_that_has_not_passed() -> None:
    run = Run([canary(1), canary(2, state=SKIPPED), rest(3)])

    assert run.goes_on(BOTH, MINUTE).unread == ()
    assert run.pinned is None


def test_a_canary_that_lacked_nothing_vouches_for_its_system_with_nothing() -> None:
    run = Run([canary(1, brought=0), rest(3)])

    run.goes_on()

    assert run.pinned == {JAMMY: ()}


def test_one_whose_system_is_not_known_vouches_for_none() -> None:
    run = Run([canary(1, system=None), rest(3)])

    run.goes_on(BOTH)

    assert run.pinned == {}


def test_one_that_was_made_anew_since_vouches_for_none() -> None:
    run = Run([replace(canary(1), installation=None), canary(2, system=NOBLE), rest(3)])

    run.goes_on(BOTH)

    assert list(run.pinned or ()) == [NOBLE]


def test_without_pinning_nothing_is_read() -> None:
    effective = admitted(patch_policy(schedule=NIGHTS, rollout={"waves": WAVES}))
    run = Run(TWO, effective)

    assert run.goes_on(BOTH, HOUR + MINUTE).unread == ()
    assert (run.begun, run.pinned) == (["canary", "rest"], None)


def test_it_survives_the_api_server() -> None:
    run = Run([canary(1, brought=0), rest(3)])
    run.goes_on()

    again = PatchRun.from_object({**run.run.to_object(), "status": status_json(run.run.status)})

    assert again.status == run.run.status


# --- too much of it -------------------------------------------------------------------------------


def many(system_bytes: int) -> tuple[str, ...]:
    """Packages that take so many bytes, as JSON."""
    number = system_bytes // 16
    return tuple(f"packag-{n:04}=1" for n in range(number))


def test_as_much_as_may_be_is_pinned() -> None:
    run = Run([canary(1), rest(3)])
    packages = many(SYSTEM_BYTES_MOST)

    run.goes_on({"act-1": shown(*packages)})

    assert run.pinned == {JAMMY: tuple(sorted(packages))}


def test_more_of_one_system_stalls_the_run_and_says_how_it_ends() -> None:
    run = Run([canary(1), rest(3)])
    packages = (*many(SYSTEM_BYTES_MOST), "one=2")

    run.goes_on({"act-1": shown(*packages)}, 2 * HOUR)

    assert run.seen == ("Paused", "PatchSetTooLarge")
    assert (run.stalled, run.begun) == (True, ["canary"])
    assert f"{len(packages)} packages on {JAMMY}: {SYSTEM_BYTES_MOST + 8} bytes" in run.message
    assert f"{SYSTEM_BYTES_MOST} can be pinned" in run.message
    assert "spec.cancelled" in run.message
    assert "patchSet Latest" in run.message


def test_a_run_of_ten_thousand_that_pins_as_much_as_may_be_fits_in_64_kib() -> None:
    """With as many failures as it lists, of which Azure said much, and names as long as can be."""
    systems = tuple(
        PinnedSystem(name=name, packages=many(SYSTEM_BYTES_MOST - 48)) for name in (JAMMY, NOBLE)
    )
    names = [f"{number:w>63}" for number in range(WAVES_MOST)]
    waves = [{"name": name, "machines": 100, "soak": "24h"} for name in names[:-1]]
    waves.append({"name": names[-1], "machines": "100%"})
    linux = LinuxPatchSet(wave=names[0], recorded_time=NOW, systems=systems)
    rollout = {"patchSet": "Pinned", "maxFailed": "100%", "waves": waves}
    policy = patch_policy(schedule=NIGHTS, rollout=rollout, install=INSTALL)
    effective = dated(admitted(policy), NOW)
    assert effective.patch_set is not None
    effective = effective.replace(patch_set=effective.patch_set.replace(linux=linux))
    failed = installed(error=AzureError(code="C" * 128, message="文" * 192))
    members = [
        RunMember(
            longest(number),
            entry(FAILED, Reason.PREVIEW_FEATURE_NOT_REGISTERED, wave=names[number % WAVES_MOST]),
            failed,
        )
        for number in range(10_000)
    ]
    name = "p" * NAME_LENGTH
    run = patch_run(PatchRunStatus(effective=effective), name=f"{name}-202612112100", policy=name)
    facts = RunFacts(members, awaited=0, openings=dict.fromkeys(names, Open(None)))

    run = run.replace(status=progress(run, "u" * 36, effective, facts, NOW).status)

    assert len(run.status.failures) == FAILURES_LISTED
    assert {len(one.message) for one in run.status.failures} == {192}
    pinned = json.dumps([one.to_object() for one in systems], separators=(",", ":"))
    assert PATCH_SET_BYTES_MOST - 64 < len(pinned) <= PATCH_SET_BYTES_MOST
    size = len(json.dumps(run.to_object(), separators=(",", ":"), ensure_ascii=False).encode())
    assert PATCH_SET_BYTES_MOST + 24 * 1024 < size < 64 * 1024


def test_more_of_several_does_too() -> None:
    run = Run([*(canary(n, system=f"linux {n}") for n in (1, 2, 3)), rest(4)])
    packages = many(SYSTEM_BYTES_MOST)

    run.goes_on({f"act-{n}": shown(*packages) for n in (1, 2, 3)})

    assert run.seen == ("Paused", "PatchSetTooLarge")
    assert str(PATCH_SET_BYTES_MOST) in run.message


def test_with_nobody_left_to_pin_for_nothing_is_read_and_nothing_is_too_large() -> None:
    """Somebody else patched the machines of the later wave meanwhile."""
    patched = replace(rest(3), entry=entry(SKIPPED, Reason.UP_TO_DATE, wave="rest"))
    run = Run([canary(1), rest(3)])

    found = run.goes_on(
        {"act-1": shown(*many(2 * SYSTEM_BYTES_MOST))}, members=[canary(1), patched]
    )

    assert (run.seen, run.pinned, found.unread) == (("Succeeded", "Complete"), None, ())


def test_failures_that_are_acknowledged_do_not_make_it_smaller() -> None:
    run = Run([canary(1), rest(3)])
    run.run = patch_run(run.run.status, acknowledgedFailures=5)

    run.goes_on({"act-1": shown(*many(2 * SYSTEM_BYTES_MOST))}, 2 * HOUR)

    assert (run.seen, run.begun) == (("Paused", "PatchSetTooLarge"), ["canary"])


# --- what an install brought ----------------------------------------------------------------------


def brought(*patches: tuple[str, str | None, str], **changes: Any) -> Given | None:
    found = tuple(
        InstalledPatch(name, version, None, (), state) for name, version, state in patches
    )
    row = InstallationResult(GuestStatus.SUCCEEDED, installed=len(patches), patches=found)
    return Given.by(replace(row, **changes))


def test_only_what_was_installed_counts() -> None:
    found = brought(("a", "1", "Installed"), ("b", "1", "Failed"), ("c", "1", "NotSelected"))

    assert found == Given(frozenset({"a=1"}), listed=1, counted=3)


def test_an_install_that_goes_on_tells_nothing() -> None:
    assert brought(("a", "1", "Installed"), status=GuestStatus.IN_PROGRESS) is None


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("a", None),
        ("a", "UA_ESM_Required"),
        ("a*", "1"),
        ("a", "1?"),
        ("a", "[1]"),
        ("a=b", "1"),
        ("a b", "1"),
        ("a", "1\n"),
        ("a", "1" * PACKAGE_LONGEST),
    ],
)
def test_what_cannot_be_asked_for_by_version_is_not_pinned(name: str, version: str | None) -> None:
    found = brought((name, version, "Installed"))

    assert found == Given(frozenset(), listed=1, counted=1)


@pytest.mark.parametrize("version", ["1:2.3~rc1-0ubuntu0.22.04.1", "4.18.0-513.el8_9", "2.0+dfsg"])
def test_versions_of_distributions_are(version: str) -> None:
    found = brought(("g++", version, "Installed"))

    assert found is not None
    assert found.packages == {f"g++={version}"}


# --- distribution and version ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("of", "system"),
    [
        (machine(os_name="Ubuntu", os_version="22.04"), JAMMY),
        (machine(os_name="ubuntu"), None),
        (machine(), None),
        (machine(os_type=OsType.WINDOWS, os_name="Windows Server", os_version="10"), None),
        (arc_server(os_sku="Ubuntu  24.04"), NOBLE),
        (arc_server(os_sku=None), None),
    ],
)
def test_the_system_of_a_machine(of: Any, system: str | None) -> None:
    assert system_of(of) == system


def part(mine: Any, effective: Effective, **changes: Any) -> Part:
    begun = [{"name": name, "startTime": "2026-11-23T12:00:00Z"} for name in ("canary", "rest")]
    status = PatchRunStatus.model_validate({"waves": begun, "effective": effective})
    return Part(runs=True, run=open_run(patch_run(status)), entry=mine, **changes)


_STATUS = PatchTargetStatus()
UBUNTU = machine(os_name="ubuntu", os_version="22.04")


def test_it_is_written_down_before_anything_is_installed() -> None:
    offered = part(None, pinned_terms(), offered="canary", system=JAMMY)
    late = part(entry(wave="canary"), pinned_terms(), system=JAMMY)
    after = part(entry(RunState.RUNNING, wave="canary"), pinned_terms(), system=NOBLE)

    found = [progressed(one, _STATUS, None, None, Open(None)) for one in (offered, late, after)]

    assert [one.system if one else "" for one in found] == [JAMMY, JAMMY, None]


def test_it_bears_on_runs_that_pin() -> None:
    latest = admitted(patch_policy(schedule=NIGHTS, rollout={"waves": WAVES}))

    assert system_for(part(None, pinned_terms()), UBUNTU) == JAMMY
    assert system_for(part(None, latest), UBUNTU) is None


# --- what a machine is given ----------------------------------------------------------------------


def pinned_to(packages: Sequence[str], system: str = JAMMY) -> Effective:
    linux = LinuxPatchSet(
        wave="canary",
        recorded_time=NOW,
        systems=(PinnedSystem(name=system, packages=tuple(packages)),),
    )
    terms = pinned_terms()
    return terms.replace(patch_set=(terms.patch_set or PatchSet()).replace(linux=linux))


def in_wave(wave: str, effective: Effective, system: str | None = JAMMY) -> Part:
    return part(entry(wave=wave).replace(system=system), effective)


def test_a_later_wave_is_given_exactly_what_its_system_was() -> None:
    pins = pins_of(in_wave("rest", pinned_to(["curl=8.1"])), UBUNTU)

    assert pins == Exactly("web-linux-202611231200", ("curl=8.1",))
    assert _sent(pins, OsType.LINUX)["linuxParameters"] == {
        "packageNameMasksToInclude": ["curl=8.1"],
        "packageNameMasksToExclude": ["linux-*"],
    }


def test_the_first_wave_is_given_what_the_policy_selects() -> None:
    pins = pins_of(in_wave("canary", pinned_terms()), UBUNTU)

    assert pins is None
    assert _sent(pins, OsType.LINUX)["linuxParameters"] == {
        "classificationsToInclude": ["Critical", "Security"],
        "packageNameMasksToExclude": ["linux-*"],
    }


def test_what_counts_is_the_system_that_it_had_when_it_came_into_the_run() -> None:
    moved = machine(os_name="ubuntu", os_version="24.04")

    assert isinstance(pins_of(in_wave("rest", pinned_to(["curl=8.1"])), moved), Exactly)


def test_a_system_that_the_first_wave_did_not_have_is_given_nothing() -> None:
    pins = pins_of(in_wave("rest", pinned_to(["curl=8.1"]), NOBLE), UBUNTU)

    assert isinstance(pins, NotVouchedFor)
    assert _held(pins, "curl", reboot=True) == Reason.SYSTEM_NOT_PINNED


@pytest.mark.parametrize("wave", ["canary", "rest"])
def test_windows_machines_of_every_wave_are_given_what_was_published_until_then(wave: str) -> None:
    windows = machine(os_type=OsType.WINDOWS)

    pins = pins_of(in_wave(wave, pinned_terms(), None), windows)

    assert pins == PublishedUntil(NOW)
    assert _sent(pins, OsType.WINDOWS)["windowsParameters"] == {
        "classificationsToInclude": ["Critical", "Security"],
        "kbNumbersToExclude": ["5030211"],
        "maxPatchPublishDate": "2026-11-23T12:00:00Z",
    }


def test_a_date_that_the_policy_gives_stays() -> None:
    terms = pinned_terms(windows={"maxPatchPublishDate": "2026-11-01T00:00:00Z"})

    assert terms.patch_set == PatchSet(max_patch_publish_date="2026-11-01T00:00:00Z")


def test_a_run_without_windows_has_no_date() -> None:
    assert pinned_terms(windows=None).patch_set is None


@pytest.mark.parametrize(
    ("missing", "reboot", "held"),
    [
        ("curl", False, None),
        ("vim", False, Reason.NOTHING_PINNED),
        ("vim", True, None),
    ],
)
def test_who_lacks_nothing_of_it_by_name_is_given_nothing(
    missing: str, reboot: bool, held: Reason | None
) -> None:
    assert _held(Exactly("run", ("curl=8.1",)), missing, reboot=reboot) == held


def test_an_empty_set_asks_azure_for_nothing_even_where_a_reboot_is_due() -> None:
    assert _held(Exactly("run", ()), "curl", reboot=True) == Reason.NOTHING_PINNED


@pytest.mark.parametrize(
    ("published", "held"),
    [(NOW, None), (None, None), (NOW + MINUTE, Reason.NOTHING_PINNED)],
)
def test_updates_that_came_after_the_run_are_for_the_next(
    published: Any, held: Reason | None
) -> None:
    assert _held(PublishedUntil(NOW), "update", published=published) == held


@pytest.mark.parametrize("reason", [Reason.SYSTEM_NOT_PINNED, Reason.NOTHING_PINNED])
def test_such_a_machine_is_at_its_end_in_the_run_at_once(reason: Reason) -> None:
    mine = in_wave("rest", pinned_to(["curl=8.1"]))

    found = progressed(mine, _STATUS, reason, True, Open(None))

    assert found is not None
    assert (found.state, found.reason) == (SKIPPED, reason)


def test_one_wave_has_nobody_to_pin_for() -> None:
    with pytest.raises(ValueError, match="there are no two waves"):
        Rollout.model_validate({"patchSet": "Pinned", "waves": WAVES[1:]})
    assert "rollout.waves" in NOTHING_TO_PIN_FOR


def test_the_instant_is_that_of_the_admission_to_the_second() -> None:
    policy = patch_policy(
        schedule=NIGHTS, rollout={"patchSet": "Pinned", "waves": WAVES}, install=INSTALL
    )

    found = dated(admitted(policy), NOW + DAY + timedelta(microseconds=7))

    assert found.patch_set == PatchSet(max_patch_publish_date=NOW + DAY)


# --- in few words ---------------------------------------------------------------------------------


def _sent(pins: Any, os_type: OsType) -> Mapping[str, Any]:
    body = parameters(pinned_terms().install, os_type, pins)
    assert body is not None
    return body


def _held(pins: Any, missing: str, *, reboot: bool = False, published: Any = None) -> str | None:
    patch = MissingPatch(missing, "9.9", None, ("Security",), None, published)
    found = withheld(pins, Selection((patch,), ()), reboot=reboot)
    return None if found is None else found[0]
