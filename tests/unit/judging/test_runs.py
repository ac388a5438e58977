"""The checkers of PatchRuns see what they are for: each passes a good run and fails a bad one."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from judging import runs
from judging.azure_journal import Entry, Event, Journal
from judging.runs import Part

START = datetime(2026, 12, 11, 22, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
WAVES = ({"name": "canary", "machines": 2, "soak": "1h"}, {"name": "rest", "machines": "100%"})
RECORDED = {"total": 5, "recordedTime": "2026-12-11T22:00:00Z"}
FIRST = ({"name": "canary", "startTime": "…"}, {"name": "rest"})
BOTH = ({"name": "canary", "startTime": "…"}, {"name": "rest", "startTime": "…"})


def a_run(
    *, spec: Any = None, rollout: Any = None, install: Any = None, **status: Any
) -> dict[str, Any]:
    said = {
        "phase": "Running",
        "effective": {"install": install or {}, "rollout": {"waves": WAVES, **(rollout or {})}},
        "membership": RECORDED,
        "waves": FIRST,
        **status,
    }
    return {
        "metadata": {
            "name": "web-1",
            "ownerReferences": [{"kind": "PatchPolicy", "uid": "policy"}],
        },
        "spec": {"policyRef": {"name": "web"}, **(spec or {})},
        "status": {field: value for field, value in said.items() if value is not None},
    }


def entry(state: str, wave: str = "canary", reason: str | None = None) -> dict[str, Any]:
    found = {"name": "web-1", "wave": wave, "state": state}
    return {**found, "reason": reason} if reason else found


def failure(
    machine: str, wave: str = "canary", *, reason: str = "InstallFailed", recovered: bool = False
) -> dict[str, Any]:
    found = {"machineId": machine, "wave": wave, "reason": reason}
    return {**found, "recovered": True} if recovered else found


def policy(**spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"uid": "policy", "name": "web"},
        "spec": {"schedule": {"windows": [{}]}, **spec},
    }


# --- may this machine be installed on? ------------------------------------------------------------


@pytest.mark.parametrize("state", ["Pending", "Running"])
def test_a_machine_of_a_wave_that_has_begun_may_be_installed_on(state: str) -> None:
    assert runs.not_its_turn(policy(), a_run(), entry(state)) is None


def test_without_windows_no_run_is_needed() -> None:
    assert runs.not_its_turn(policy(schedule={"always": {}}), None, {}) is None


@pytest.mark.parametrize(
    ("run", "part", "why"),
    [
        pytest.param(None, {}, "in no PatchRun", id="no run"),
        pytest.param(a_run(), {}, "in no PatchRun", id="no entry"),
        pytest.param(a_run(phase="Paused"), entry("Pending"), "Paused", id="paused"),
        pytest.param(a_run(phase="Cancelled"), entry("Pending"), "Cancelled", id="over"),
        pytest.param(
            a_run(spec={"cancelled": True}), entry("Pending"), "cancelled", id="cancelled"
        ),
        pytest.param(a_run(membership=None), entry("Pending"), "recorded", id="not recorded"),
        pytest.param(a_run(), entry("Failed"), "ended: Failed", id="at its end"),
        pytest.param(a_run(), entry("Pending", "rest"), "not begun", id="another wave's turn"),
    ],
)
def test_else_it_may_not(run: Any, part: Any, why: str) -> None:
    assert why in str(runs.not_its_turn(policy(), run, part))


def test_another_policy_s_run_is_none() -> None:
    other = {**policy(), "metadata": {"uid": "another"}}
    assert "another policy's" in str(runs.not_its_turn(other, a_run(), entry("Pending")))


# --- what a wave came to --------------------------------------------------------------------------


class Written:
    """Writes what happened in guests, a minute between two entries unless told otherwise."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.time = START

    def operation(
        self,
        kind: str,
        machine: str,
        attempt: str | None,
        status: str = "Succeeded",
        brought: tuple[tuple[str, str], ...] = (),
    ) -> None:
        number = len(self.entries) + 1
        details = {"operation": kind, "principal": "azpatch", "vmId": "vm"}
        self._write("OperationStarted", machine, f"id-{number}", attempt, details)
        for name, version in brought:
            patch = {"name": name, "version": version}
            self._write("PatchInstalled", machine, f"id-{number}", attempt, patch)
        self._write("OperationEnded", machine, f"id-{number}", attempt, {"status": status})

    def installed(
        self,
        machine: str,
        status: str = "Succeeded",
        brought: tuple[tuple[str, str], ...] = (),
        attempt: str | None = None,
    ) -> None:
        self.operation("Install", machine, attempt or f"to {machine}", status, brought)
        self.operation("Assess", machine, None)

    def _write(self, name: str, machine: str, id_: str, attempt: Any, details: Any) -> None:
        self.time += timedelta(minutes=1)
        number = len(self.entries) + 1
        self.entries.append(Event(number, self.time, machine, name, id_, attempt, details))


def part(machine: str, state: str, wave: str = "canary", reason: str | None = None) -> Part:
    return Part(machine, entry(state, wave, reason), [f"to {machine}"])


LATE = START + 5 * HOUR


def begun(parts: list[Part], journal: Written, *, now: datetime = LATE, **run: Any) -> list[str]:
    return runs.waves_begun_on_evidence(
        a_run(waves=BOTH, **run), ["canary"], parts, Journal(journal.entries), now
    )


def test_a_wave_begins_when_the_one_before_succeeded_and_soaked() -> None:
    written = Written()
    written.installed("one")
    written.installed("two")
    assert begun([part("one", "Succeeded"), part("two", "Succeeded")], written) == []


THREE = ({"name": "canary", "machines": 1}, {"name": "ring", "machines": 2}, WAVES[1])
PATCHED = Part("two", entry("Skipped", "ring", "UpToDate"))


@pytest.mark.parametrize(
    ("canary", "ring", "began", "why"),
    [
        pytest.param("Succeeded", PATCHED, (0, 2), [], id="somebody else patched it"),
        pytest.param(
            "Succeeded",
            Part("two", entry("Skipped", "ring", "VMStopped")),
            (0, 2),
            ["rest began, though of ring 0 machines succeeded, and 1 must have"],
            id="it was off",
        ),
        pytest.param(
            "Succeeded",
            PATCHED,
            (0, 1, 2),
            ["rest began, though of ring 0 machines succeeded, and 1 must have"],
            id="it had begun",
        ),
        pytest.param(
            "Skipped",
            PATCHED,
            (2,),
            [
                "rest began, though of canary 0 machines succeeded, and 1 must have",
                "rest began, though of ring 0 machines succeeded, and 1 must have",
            ],
            id="none before it had begun",
        ),
    ],
)
def test_a_wave_that_needed_nothing_before_its_turn_may_be_passed_over(
    canary: str, ring: Part, began: tuple[int, ...], why: list[str]
) -> None:
    written = Written()
    written.installed("one")
    waves = [
        {"name": wave["name"], **({"startTime": "…"} if number in began else {})}
        for number, wave in enumerate(THREE)
    ]
    run = a_run(rollout={"waves": THREE}, waves=waves)
    before = [wave["name"] for wave in waves if "startTime" in wave and wave["name"] != "rest"]
    parts = [part("one", canary), ring, part("three", "Running", "rest")]

    found = runs.waves_begun_on_evidence(run, before, parts, Journal(written.entries), LATE)

    assert found == why


def test_the_first_wave_needs_recorded_machines() -> None:
    run = a_run(membership=None)
    found = runs.waves_begun_on_evidence(run, [], [], Journal([]), LATE)
    assert found == ["canary began before the machines were recorded"]


def test_soak_is_counted_from_the_end_of_the_last_install_that_succeeded() -> None:
    written = Written()
    written.installed("one")
    ended = written.time - 2 * timedelta(minutes=1)
    parts, rollout = [part("one", "Succeeded")], {"minSucceeded": 1}
    assert begun(parts, written, now=ended + HOUR, rollout=rollout) == []
    [found] = begun(parts, written, now=ended + 0.9 * HOUR, rollout=rollout)
    assert "soak is 1h" in found


@pytest.mark.parametrize(
    ("parts", "acknowledged", "why"),
    [
        pytest.param([], 0, "0 machines succeeded, and 1 must", id="nobody is in it"),
        pytest.param(["Succeeded", "Pending"], 0, "two is not at an end", id="one is pending"),
        pytest.param(["Succeeded", "Failed"], 0, "1 machines succeeded, and 2", id="one failed"),
        pytest.param(["Succeeded", "Skipped"], 1, "1 machines succeeded, and 2", id="one skipped"),
        pytest.param(["Failed", "Failed"], 2, "0 machines succeeded, and 1", id="all failed"),
    ],
)
def test_a_gate_does_not_open(parts: list[str], acknowledged: int, why: str) -> None:
    written = Written()
    mine = []
    for machine, state in zip(("one", "two"), parts, strict=False):
        written.installed(machine)
        mine.append(part(machine, state))
    told = [failure(one.machine) for one in mine if one.entry["state"] == "Failed"]
    found = begun(mine, written, spec={"acknowledgedFailures": acknowledged}, failures=told)
    assert any(why in one for one in found)


def test_an_acknowledged_failure_is_not_of_the_wave_any_more() -> None:
    written = Written()
    written.installed("one")
    parts = [part("one", "Succeeded"), part("two", "Failed", reason="NotBack")]
    told = [failure("two", reason="NotBack")]
    assert begun(parts, written, spec={"acknowledgedFailures": 1}, failures=told) == []


def test_a_failure_that_nobody_acknowledged_is_of_the_wave_though_its_machine_is_gone() -> None:
    written = Written()
    written.installed("one")
    parts = [part("one", "Succeeded")]
    assert begun(parts, written, failures=[failure("two")]) != []
    assert begun(parts, written, failures=[failure("two", recovered=True)]) == []
    assert begun(parts, written, failures=[failure("two", "rest")]) == []


def test_who_did_not_come_back_holds_the_next_wave() -> None:
    written = Written()
    written.installed("one")
    parts = [part("one", "Succeeded"), part("two", "Failed", reason="NotBack")]
    assert any("come back" in one for one in begun(parts, written, rollout={"minSucceeded": 1}))


def test_success_is_not_believed_without_the_guest_s_own_record() -> None:
    written = Written()
    written.installed("one", status="Failed")
    said = part("one", "Succeeded")
    assert any("0 machines" in one for one in begun([said], written))
    assert runs.wrong_success(said, Journal(written.entries))


def test_an_install_that_nobody_assessed_after_vouches_for_nothing() -> None:
    written = Written()
    written.operation("Assess", "one", None)
    written.operation("Install", "one", "to one")
    assert runs.succeeded(part("one", "Succeeded"), Journal(written.entries)) is None


def test_what_was_sent_for_another_run_vouches_for_nothing() -> None:
    written = Written()
    written.installed("one")
    other = Part("one", entry("Succeeded"), ["another"])
    assert runs.succeeded(other, Journal(written.entries)) is None


# --- budgets --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("share", "slots"), [(3, 3), ("50%", 2), ("10%", 1), ("100%", 5), ("59%", 2)]
)
def test_max_unavailable_is_of_the_recorded_machines_rounded_down(share: Any, slots: int) -> None:
    assert runs.max_unavailable(a_run(rollout={"maxUnavailable": share})) == slots


@pytest.mark.parametrize(
    ("allowed", "acknowledged", "paused"),
    [(0, 0, True), (2, 0, False), ("20%", 0, True), (0, 2, False)],
)
def test_failures_beyond_max_failed_pause_a_run(
    allowed: Any, acknowledged: int, paused: bool
) -> None:
    run = a_run(
        rollout={"maxFailed": allowed},
        spec={"acknowledgedFailures": acknowledged},
        failures=[failure("one"), failure("two")],
    )
    parts = [part("one", "Failed"), part("two", "Running", reason="InstallFailed")]
    assert (runs.too_many_failed(run, parts) is not None) == paused


def test_what_was_acknowledged_of_a_machine_that_is_gone_is_not_so_of_another() -> None:
    run = a_run(
        rollout={"maxFailed": 0},
        spec={"acknowledgedFailures": 1},
        failures=[failure("gone", reason="NotBack")],
    )
    assert runs.too_many_failed(run, []) is None
    assert runs.too_many_failed(run, [part("one", "Failed")]) is not None


@pytest.mark.parametrize(
    ("state", "right"), [("Succeeded", True), ("Skipped", False), ("Failed", False)]
)
def test_recovered_is_who_succeeded_in_the_end(state: str, right: bool) -> None:
    run = a_run(failures=[failure("one", recovered=True), failure("gone", recovered=True)])
    assert (runs.wrong_recoveries(run, [part("one", state)]) == []) == right


def test_a_failure_counts_though_the_machine_was_skipped_in_the_end() -> None:
    run = a_run(rollout={"maxFailed": 0}, failures=[failure("one")])
    assert runs.too_many_failed(run, [part("one", "Skipped", reason="NotGranted")]) is not None
    assert runs.too_many_failed(run, [part("one", "Succeeded")]) is None


# --- terms, and what must not change --------------------------------------------------------------

BODY = {
    "maximumDuration": "PT1H",
    "rebootSetting": "Never",
    "linuxParameters": {"classificationsToInclude": ["Security"]},
}
INSTALL = {
    "maximumDuration": "PT60M",
    "rebootSetting": "Never",
    "linux": {"classificationsToInclude": ["Security"]},
}


def test_what_is_sent_is_what_was_frozen() -> None:
    assert runs.another_than_frozen({"install": INSTALL}, BODY, "Linux") == []


@pytest.mark.parametrize(
    "change",
    [
        {"maximumDuration": "PT2H"},
        {"rebootSetting": "Always"},
        {"linux": {"classificationsToInclude": ["Security", "Other"]}},
    ],
    ids=lambda change: str(next(iter(change))),
)
def test_anything_else_is_not(change: dict[str, Any]) -> None:
    assert runs.another_than_frozen({"install": {**INSTALL, **change}}, BODY, "Linux")


def test_what_is_pinned_goes_by_another_wave_and_all_else_by_the_terms() -> None:
    body = {**BODY, "linuxParameters": {"packageNameMasksToInclude": ["curl=8.1"]}}

    assert runs.another_than_frozen({"install": INSTALL}, body, "Linux")
    assert runs.another_than_frozen({"install": INSTALL}, body, "Linux", pinned=True) == []
    excluding = {**INSTALL, "linux": {"packageNameMasksToExclude": ["linux-*"]}}
    assert runs.another_than_frozen({"install": excluding}, body, "Linux", pinned=True)


def pinning(linux: bool = True, packages: tuple[str, ...] = ("curl=8.1",)) -> dict[str, Any]:
    run = a_run(rollout={"patchSet": "Pinned"})
    known = {"wave": "canary", "systems": [{"name": "ubuntu 22.04", "packages": packages}]}
    run["status"]["effective"]["patchSet"] = {
        "maxPatchPublishDate": "2026-12-11T22:00:00Z",
        **({"linux": known} if linux else {}),
    }
    return run


def failed(*machines: str) -> dict[str, Any]:
    return a_run(failures=[failure(one) for one in machines])


@pytest.mark.parametrize(
    ("before", "after", "wrong"),
    [
        pytest.param(a_run(), a_run(phase="Paused"), False, id="the phase may"),
        pytest.param(pinning(linux=False), pinning(), False, id="packages may be pinned"),
        pytest.param(pinning(), pinning(packages=("curl=8.2",)), True, id="and stay"),
        pytest.param(pinning(), pinning(linux=False), True, id="and are not taken away"),
        pytest.param(a_run(phase="Failed"), a_run(), True, id="an end may not"),
        pytest.param(a_run(membership=None), a_run(), False, id="machines are recorded"),
        pytest.param(a_run(), a_run(membership={"total": 4}), True, id="and stay so"),
        pytest.param(a_run(), a_run(rollout={"maxFailed": 1}), True, id="terms may not"),
        pytest.param(a_run(waves=BOTH), a_run(), True, id="a wave that began has begun"),
        pytest.param(failed("two"), failed("two", "one"), False, id="failures may be added"),
        pytest.param(failed("one", "two"), failed("two"), True, id="and are not forgotten"),
        pytest.param(failed("two"), failed("one", "two"), True, id="and keep their places"),
    ],
)
def test_what_of_a_run_may_change(before: Any, after: Any, wrong: bool) -> None:
    assert bool(runs.wrong_change(before, after)) == wrong


@pytest.mark.parametrize(
    ("before", "after", "run", "wrong"),
    [
        pytest.param({}, entry("Pending"), a_run(membership=None), False, id="it comes in time"),
        pytest.param({}, entry("Pending"), a_run(), True, id="or too late"),
        pytest.param(entry("Pending"), entry("Running"), a_run(), False, id="it goes on"),
        pytest.param(entry("Pending"), entry("Pending", "rest"), a_run(), True, id="elsewhere"),
        pytest.param(entry("Failed"), entry("Running"), a_run(), True, id="after its end"),
    ],
)
def test_how_a_machine_moves_in_a_run(before: Any, after: Any, run: Any, wrong: bool) -> None:
    assert bool(runs.wrong_move(before, after, run)) == wrong


def test_a_run_that_is_over_counts_as_its_machines_do() -> None:
    run = a_run(phase="Succeeded", machines={"succeeded": 1, "skipped": 1})
    assert runs.wrong_counts(run, [entry("Succeeded"), entry("Pending")]) == []
    assert runs.wrong_counts(run, [entry("Succeeded"), entry("Failed")])


# --- what is pinned -------------------------------------------------------------------------------


def asked(*masks: str, classes: tuple[str, ...] = ()) -> dict[str, Any]:
    linux = {"packageNameMasksToInclude": list(masks), "classificationsToInclude": list(classes)}
    return {"linuxParameters": linux}


def given_curl(status: str = "Succeeded") -> Written:
    """A canary that got curl=8.1 by its install, and vim=9 by somebody else's."""
    written = Written()
    written.installed("one", status=status, brought=(("curl", "8.1"),))
    written.installed("one", brought=(("vim", "9"),), attempt="a colleague's")
    return written


@pytest.mark.parametrize(
    ("body", "new"),
    [
        pytest.param(asked("curl=8.1"), [], id="what it was given"),
        pytest.param(asked("curl=8.2"), ["curl=8.2, which canary was not given"], id="newer"),
        pytest.param(asked("curl"), ["curl, which canary was not given"], id="in any version"),
        pytest.param(asked("vim=9"), ["vim=9, which canary was not given"], id="by others"),
        pytest.param(
            asked("curl=8.1", classes=("Security",)), ["all that is Security"], id="and all else"
        ),
    ],
)
def test_a_later_wave_is_given_what_the_first_was(body: Any, new: list[str]) -> None:
    everybody = [part("one", "Succeeded"), part("two", "Running", wave="rest")]
    journal = Journal(given_curl().entries)
    assert runs.not_given_before(pinning(), everybody[1], everybody, body, journal) == new
    assert runs.not_given_before(pinning(), everybody[0], everybody, body, journal) == []


def test_what_an_install_that_failed_brought_vouches_for_nothing() -> None:
    everybody = [part("one", "Failed"), part("two", "Running", wave="rest")]
    journal = Journal(given_curl(status="Failed").entries)
    assert runs.not_given_before(pinning(), everybody[1], everybody, asked("curl=8.1"), journal)


def test_a_first_wave_of_nobody_is_none() -> None:
    alone = [part("two", "Running", wave="rest")]
    assert runs.first_wave(pinning(), alone) == "rest"
    assert runs.not_given_before(pinning(), alone[0], alone, asked("curl"), Journal([])) == []
