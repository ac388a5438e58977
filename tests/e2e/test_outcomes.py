"""What the ends of operations come to: in status, and in what Azure is asked for next.

All of it goes on at once; each test watches its own machine. A day, after which a machine may be
tried again, is five minutes here, and no test takes as long.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from manifests import (
    CURL,
    GALLERY,
    GENERALIZED,
    KERNEL,
    OPERATOR,
    PERSON,
    VIM,
    Manifest,
    azure_subscription,
    condition,
    grant,
    image_id,
    machine,
    namespace,
    operator_principal,
    person_principal,
    policy,
    subscription,
    vm_id,
)
from world import World

from judging.claims import status_claims_nothing_else
from judging.invariants import (
    Rollout,
    Verdict,
    at_most_one_in_flight,
    max_unavailable_kept,
    verdicts_kept,
)
from lab.controlplane import ControlPlane

PACE = 300
NAMESPACE = "outcomes"

OPENSSL = CURL | {"name": "openssl"}
PRO_ONLY = CURL | {"name": "libpro", "version": "UA_ESM_Required"}
TWO_HOURS: Manifest = {"linux": {}, "maximumDuration": "PT2H"}
NEVER_REBOOT: Manifest = {"linux": {}, "maximumDuration": "PT30M", "rebootSetting": "Never"}
SLOW = {"perPatch": "80m"}
"""An install of sixteen real seconds: long enough to do something meanwhile."""


@dataclass(frozen=True)
class Case:
    """A machine under a policy of its own, and what becomes of its installs."""

    name: str
    ends: list[Manifest]
    """What status.installation holds, from the first install to the last, in part."""
    compliant: str
    """The reason of the PatchTarget's condition Compliant in the end."""
    missing: list[Manifest] = field(default_factory=lambda: [CURL])
    failures: Manifest = field(default_factory=dict)
    install: Manifest | None = None

    @property
    def declared(self) -> Manifest:
        return policy(NAMESPACE, self.name, vm_id(self.name), install=self.install)

    @property
    def simulated(self) -> Manifest:
        guest = {"failures": self.failures} if self.failures else {}
        return machine(self.name, GENERALIZED, missing=self.missing, guest=guest)


def end(outcome: str, **more: Any) -> Manifest:
    """A part of status.installation."""
    return {"outcome": outcome, **more}


FAILED = end("Failed", reason="InstallFailed")
INCOMPLETE = end("Incomplete", reason="InstallIncomplete")
CASES = [
    Case("succeeds", [end("Succeeded", installed=1, notSelected=1)], "Compliant",
        missing=[CURL, VIM]),
    Case("reboots", [end("Succeeded", installed=2, rebootStatus="Completed")], "Compliant",
        missing=[CURL, KERNEL]),
    Case("may-not-reboot", [end("Succeeded", reason="RebootPending", rebootStatus="Required")],
        "RebootPending", missing=[KERNEL], install=NEVER_REBOOT),
    Case("fails", [FAILED | {"failed": 1}, FAILED | {"failed": 1}], "NothingInstallable",
        failures={"failingPatches": ["curl"]}),
    Case("half-fails", [FAILED | {"installed": 1, "failed": 1}, FAILED | {"failed": 1}],
        "NothingInstallable", missing=[CURL, OPENSSL], failures={"failingPatches": ["openssl"]}),
    Case("fails-once", [FAILED | {"failed": 1}, end("Succeeded", installed=1)], "Compliant",
        failures={"failingPatches": ["curl"], "times": 1}),
    Case("breaks-once", [FAILED, end("Succeeded", installed=1)], "Compliant",
        failures={"internalError": True, "times": 1}),
    Case("runs-out-of-time", [INCOMPLETE | {"installed": 1, "pending": 1}],
        "InstallIncomplete", missing=[CURL, OPENSSL], failures={"exceedsWindow": True}),
    Case("ubuntu-pro", [end("Succeeded", reason="UbuntuProRequired", installed=1, failed=1)],
        "UbuntuProRequired", missing=[CURL, PRO_ONLY]),
    Case("no-result", [end("Unknown", reason="ResultUnknown")], "ResultUnknown",
        failures={"noResult": True}),
    Case("agent-lost", [end("NotBack", reason="NotBack")], "NotBack",
        failures={"agentLost": True}),
]  # fmt: skip

ASSESSMENT_FAILS = policy(NAMESPACE, "assessment-fails", vm_id("assessment-fails"))
STOPPED = policy(NAMESPACE, "stopped-amid", vm_id("stopped-amid"), install=TWO_HOURS)
SUPERSEDED = policy(NAMESPACE, "superseded", vm_id("superseded"), install=TWO_HOURS)
DELETED = policy(NAMESPACE, "deleted-amid", vm_id("deleted-amid"), install=TWO_HOURS)
FRAGILE = policy(NAMESPACE, "fragile", image_id("fragile"), rollout={"maxUnavailable": 1})
FRAGILE_MACHINES = ["fragile-1", "fragile-2"]


def fleet(controlplane: ControlPlane) -> Manifest:
    gallery = GALLERY | {"images": [*GALLERY["images"], {"name": "fragile"}]}
    lost = {"failures": {"rebootDoesNotComeBack": True, "times": 1}}
    return {
        "subscriptions": [subscription(1, galleries=[gallery])],
        "principals": [operator_principal(controlplane.token_public_key), person_principal()],
        "machines": [
            *(case.simulated for case in CASES),
            machine(
                "assessment-fails",
                GENERALIZED,
                guest={"failures": {"assessFails": True, "times": 2}},
            ),
            *(
                machine(name, GENERALIZED, durations=SLOW)
                for name in ("stopped-amid", "superseded", "deleted-amid")
            ),
            *(
                machine(name, {"gallery": "golden/fragile/1.0.0"}, missing=[KERNEL], guest=lost)
                for name in FRAGILE_MACHINES
            ),
        ],
    }


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    # A refresh of the inventory each real second would be most of what this module does.
    settings = {"AZPATCH_INVENTORY_INTERVAL": "15m"}
    with World("outcomes", fleet, pace=PACE, seed=3, settings=settings) as world:
        world.apply(
            namespace(NAMESPACE),
            azure_subscription(1, [grant(NAMESPACE)]),
            *(case.declared for case in CASES),
            ASSESSMENT_FAILS,
            FRAGILE,
        )
        world.start_operator()
        yield world


# -- in mid-install ------------------------------------------------------------------------------


def test_an_install_on_a_machine_that_is_stopped_goes_on_when_it_runs_again(world: World) -> None:
    world.apply(STOPPED)
    install = world.wait_for_install(vm_id("stopped-amid"), STOPPED)
    world.as_person("POST", f"{vm_id('stopped-amid')}/deallocate")
    world.wait(
        "the install has paused",
        lambda: _events(world, "OperationPaused", "stopped-amid"),
        STOPPED,
    )
    # What began is written down a moment after Azure has taken it.
    held = world.wait("it is written down", lambda: _operation_of(world, STOPPED), STOPPED)
    assert held == install.id, "the lock holds"
    world.as_person("POST", f"{vm_id('stopped-amid')}/start")
    target = world.wait_for_target(STOPPED, "Compliant", "Compliant")
    assert target["status"]["installation"]["activityId"] == install.id
    assert world.posts(vm_id("stopped-amid"), "Install") == 1


def _operation_of(world: World, of: Manifest) -> str | None:
    """Azure's id of the operation in flight on the policy's machine."""
    target = world.target(of)
    operation = (target or {}).get("status", {}).get("operation", {})
    found: str | None = operation.get("operationId")
    return found


def test_an_install_that_somebody_superseded_is_judged_when_that_has_ended(world: World) -> None:
    world.apply(SUPERSEDED)
    install = world.wait_for_install(vm_id("superseded"), SUPERSEDED)
    world.as_person("POST", f"{vm_id('superseded')}/assessPatches")
    target = world.wait(
        "the outcome is Superseded",
        lambda: _ended(world.target(SUPERSEDED), end("Superseded")),
        SUPERSEDED,
    )
    assert target["status"]["installation"]["activityId"] == install.id
    world.wait_for_target(SUPERSEDED, "Compliant", "Compliant")
    assert world.posts(vm_id("superseded"), "Install") == 2


def test_the_target_of_a_machine_deleted_in_mid_install_goes(world: World) -> None:
    world.apply(DELETED)
    world.wait_for_install(vm_id("deleted-amid"), DELETED)
    world.as_person("DELETE", vm_id("deleted-amid"))
    world.wait("its PatchTarget goes", lambda: not world.targets(DELETED), DELETED)
    world.wait_for_reason(DELETED, "NotGranted")


# -- ends ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_an_install_ends_as_status_says_and_is_tried_again_or_not(world: World, case: Case) -> None:
    target = world.wait_for_target(case.declared, case.compliant, "Compliant")
    installation = target["status"]["installation"]
    assert case.ends[-1].items() <= installation.items(), world.describe(case.declared)
    assert world.posts(vm_id(case.name), "Install") == len(case.ends)
    for told in case.ends:
        assert _told(world, case, told), f"no Event about {told}"


def _told(world: World, case: Case, told: Manifest) -> bool:
    """Whether an Event on the policy tells of an end."""
    events = world.controlplane.admin.get(f"/api/v1/namespaces/{NAMESPACE}/events")["items"]
    reason = told.get("reason") or "Installed"
    return any(
        event["involvedObject"]["name"] == case.name and event["reason"] == reason
        for event in events
    )


def test_failed_assessments_are_tried_again_later_and_later(world: World) -> None:
    world.wait_for_target(ASSESSMENT_FAILS, "Compliant", "Compliant")
    operations = world.journal().operations(vm_id("assessment-fails"))
    first, second, third = [one for one in operations if one.kind == "Assess"][:3]
    assert [first.status, second.status, third.status] == ["Failed", "Failed", "Succeeded"]
    assert first.ended is not None
    assert second.ended is not None
    assert second.started - first.ended >= timedelta(minutes=15)
    assert third.started - second.ended >= timedelta(hours=1)


def test_a_machine_that_does_not_come_back_keeps_its_slot_until_it_is_seen_to(
    world: World,
) -> None:
    stalled = world.wait_for_reason(FRAGILE, "TooManyFailed", "Stalled")
    lost, waiting = _split(world)
    assert condition(stalled, "Ready")["message"].startswith(f"{lost} failed and hold")
    assert [problem["reason"] for problem in stalled["status"]["problems"]] == ["NotBack"]
    assert world.posts(vm_id(waiting), "Install") == 0
    world.as_person("POST", f"{vm_id(lost)}/deallocate")
    world.wait(
        "it is deallocated",
        lambda: [
            event
            for event in _events(world, "PowerStateChanged", lost)
            if event.details["after"] == "deallocated"
        ],
        FRAGILE,
    )
    world.as_person("POST", f"{vm_id(lost)}/start")
    world.wait_for_install(vm_id(waiting), FRAGILE)
    freed = world.target(FRAGILE, vm_id(lost))
    assert freed is not None
    assert freed["status"]["assessment"]["status"] == "Succeeded"
    rollout = Rollout("fragile", frozenset(vm_id(n).lower() for n in FRAGILE_MACHINES), 1)
    assert max_unavailable_kept(world.journal(), [rollout], {OPERATOR}) == []


def _split(world: World) -> tuple[str, str]:
    """Which of the two was patched first, and which waits."""
    first = next(name for name in FRAGILE_MACHINES if world.installs(vm_id(name)))
    return first, next(name for name in FRAGILE_MACHINES if name != first)


# -- the whole -----------------------------------------------------------------------------------


def test_all_the_while_no_invariant_was_broken(world: World) -> None:
    journal = world.journal()
    assert at_most_one_in_flight(journal, {OPERATOR}) == []
    machines = {one.machine for one in journal.operations()}
    assert len(machines) == len(CASES) + 4 + len(FRAGILE_MACHINES)
    assert {one.principal for one in journal.operations()} == {OPERATOR, PERSON}
    verdicts = [Verdict(machine, assess=True, install=True) for machine in machines]
    assert verdicts_kept(journal, verdicts, {OPERATOR}) == []
    assert status_claims_nothing_else(journal, world.targets()) == []


def _events(world: World, name: str, machine: str) -> list[Any]:
    return [
        event for event in world.journal().events(name) if event.resource == vm_id(machine).lower()
    ]


def _ended(target: Manifest | None, wanted: Manifest) -> Manifest | None:
    """The target, once its last install has ended so."""
    installation = (target or {}).get("status", {}).get("installation") or {}
    return target if wanted.items() <= installation.items() else None
