"""PatchRuns on the real parts: a canary wave and its soak, a pause and its end, a cancelled run."""

import json
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from manifests import (
    GALLERY,
    GENERALIZED,
    Manifest,
    azure_subscription,
    grant,
    machine,
    namespace,
    operator_principal,
    person_principal,
    policy,
    subscription,
    vm_id,
)
from world import World

from lab.controlplane import ControlPlane

PACE = 120
NS = "shop"
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
SOAK = 45 * MINUTE

WEB, DB, JOB, VAULT = "web", "db", "job", "vault"
MACHINES = {app: [f"{app}-{number}" for number in range(count)] for app, count in
            ((WEB, 5), (DB, 3), (JOB, 3), (VAULT, 1))}  # fmt: skip
SLOW = {"perPatch": "20m"}
FAILING = "failing"
"""The tag of a canary on which every install fails."""


def fleet(controlplane: ControlPlane) -> Manifest:
    made = [
        machine(name, GENERALIZED, tags={"app": app}, durations=SLOW if app == JOB else {})
        for app, names in MACHINES.items()
        for name in names
        if name != "db-0"
    ]
    bad = machine(
        "db-0", GENERALIZED, tags={"app": DB, "ring": FAILING},
        guest={"failures": {"failingPatches": ["*"]}},
    )  # fmt: skip
    good = next(one for one in made if one["name"] == "db-1")
    good["tags"]["ring"] = "canary"
    return {
        "subscriptions": [subscription(1, galleries=[GALLERY])],
        "principals": [operator_principal(controlplane.token_public_key), person_principal()],
        "machines": [*made, bad],
    }


def in_waves(app: str, opens: datetime, waves: Sequence[Manifest], **rollout: Any) -> Manifest:
    window = {
        "name": "window", "daily": {}, "startTime": f"{opens:%H:%M}", "duration": "20h",
    }  # fmt: skip
    made = policy(NS, app, vm_id(app), schedule={"windows": [window]})
    made["spec"]["target"] = {"selector": {"azureSubscriptions": ["sub-1"], "tags": {"app": [app]}}}
    made["spec"]["rollout"] = {"maxUnavailable": "100%", "waves": list(waves), **rollout}
    return made


REST = {"name": "rest", "machines": "100%"}


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with World("runs", fleet, pace=PACE, seed=8) as world:
        world.start_operator()
        yield world


@pytest.fixture(scope="module")
def opens(world: World) -> datetime:
    return world.azure_time().replace(second=0, microsecond=0) + 40 * MINUTE


@pytest.fixture(scope="module")
def declared(world: World, opens: datetime) -> dict[str, Manifest]:
    soaking = {"name": "canary", "machines": "20%", "soak": f"{SOAK // MINUTE}m"}
    ring = {"name": "canary", "tags": {"ring": ["canary", FAILING]}}
    made = {
        WEB: in_waves(WEB, opens, [soaking, REST]),
        DB: in_waves(DB, opens, [ring, REST], maxFailed=0),
        JOB: in_waves(JOB, opens, [REST], maxUnavailable=1),
        VAULT: in_waves(VAULT, opens, [REST], approval={"mode": "Required"}),
    }
    allowed = [
        *(bound(EDITOR, role) for role in ("azpatch-view", "azpatch-edit")),
        bound(APPROVER, "azpatch-approver"),
    ]
    world.apply(namespace(NS), *allowed, azure_subscription(1, [grant(NS)]), *made.values())
    return made


EDITOR, APPROVER = "erik@example.com", "anna@example.com"


def bound(user: str, role: str) -> Manifest:
    """A user, and what he or she may do in the namespace."""
    group = "rbac.authorization.k8s.io"
    return {
        "apiVersion": f"{group}/v1",
        "kind": "RoleBinding",
        "metadata": {"name": role, "namespace": NS},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": group, "kind": "User", "name": user}],
    }


def run_of(app: str, opens: datetime) -> Manifest:
    """Where the run of the window is."""
    name = f"{app}-{opens:%Y%m%d%H%M}"
    return {
        "apiVersion": "azpatch.dev/v1alpha1",
        "kind": "PatchRun",
        "metadata": {"name": name, "namespace": NS},
    }


def say(world: World, run: Manifest, user: str = EDITOR, **spec: Any) -> str:
    """What a person writes into the run, with kubectl; what the API server says to it."""
    done = world.controlplane.kubectl(
        "patch", "azpr", run["metadata"]["name"], f"--namespace={NS}", "--type=merge",
        f"--patch={json.dumps({'spec': spec})}", f"--as={user}", check=False,
    )  # fmt: skip
    return " ".join((done.stdout + done.stderr).split())


def in_phase(world: World, run: Manifest, phase: str) -> Manifest:
    def there() -> Manifest | None:
        now = world.now(run)
        return now if now is not None and now["status"].get("phase") == phase else None

    name = run["metadata"]["name"]
    found: Manifest = world.wait(f"{name} is {phase}", there, run)
    return found


def test_a_run_that_is_cancelled_starts_nothing_more_and_ends_what_it_began(
    world: World, declared: dict[str, Manifest], opens: datetime
) -> None:
    run = run_of(JOB, opens)
    world.wait(
        "an install has begun",
        lambda: [name for name in MACHINES[JOB] if world.installs(vm_id(name))],
        run,
    )

    assert "patched" in say(world, run, cancelled=True)

    done = in_phase(world, run, "Cancelled")
    machines = done["status"]["machines"]
    begun = sum(len(world.installs(vm_id(name))) for name in MACHINES[JOB])
    assert machines["running"] == machines["pending"] == 0
    assert begun < len(MACHINES[JOB])
    assert machines["succeeded"] == begun


def test_only_who_has_the_verb_approves_a_run_and_in_no_name_but_the_own(
    world: World, declared: dict[str, Manifest], opens: datetime
) -> None:
    run = run_of(VAULT, opens)
    awaited = in_phase(world, run, "AwaitingApproval")
    assert awaited["status"]["membership"]["total"] == 1
    assert awaited["status"]["approvalDeadline"] == f"{opens + 20 * HOUR:%Y-%m-%dT%H:%M:00Z}"
    world.wait_for_reason(declared[VAULT], "AwaitingApproval")

    refused = say(world, run, EDITOR, approved=True, approvedBy=EDITOR)
    assert f"user {EDITOR} may not approve PatchRuns in namespace {NS}" in refused
    refused = say(world, run, APPROVER, approved=True, approvedBy=EDITOR)
    assert f"must be the user name of whoever approves: {APPROVER}" in refused
    assert "approvedBy with your own user name" in say(world, run, APPROVER, approved=True)
    world.wait("its window opens", lambda: world.azure_time() > opens + 5 * MINUTE, run)
    assert world.installs(vm_id("vault-0")) == []

    assert "patched" in say(world, run, APPROVER, approved=True, approvedBy=APPROVER)

    world.wait_for_install(vm_id("vault-0"), declared[VAULT])
    refused = say(world, run, APPROVER, approved=False)
    assert "approved cannot be taken back" in refused


def test_a_canary_wave_its_soak_and_then_the_rest(
    world: World, declared: dict[str, Manifest], opens: datetime
) -> None:
    done = in_phase(world, run_of(WEB, opens), "Succeeded")

    canary, rest = done["status"]["waves"]
    assert (canary["machines"], canary["succeeded"]) == (1, 1)
    assert (rest["machines"], rest["succeeded"]) == (4, 4)
    installs = [one for name in MACHINES[WEB] for one in world.installs(vm_id(name))]
    assert len(installs) == len(MACHINES[WEB])
    (first,) = [one for one in installs if wave_of(world, declared[WEB], one.machine) == "canary"]
    others = [one for one in installs if one is not first]
    assert first.ended is not None
    assert min(one.started for one in others) >= first.ended + SOAK
    policy_now = world.now(declared[WEB])
    assert policy_now is not None
    assert policy_now["status"]["lastRun"] == {
        "name": done["metadata"]["name"],
        "phase": "Succeeded",
    }


def wave_of(world: World, policy: Manifest, machine: str) -> str:
    """The wave of a machine."""
    target = world.target(policy, machine)
    assert target is not None
    wave: str = target["status"]["run"]["wave"]
    return wave


def test_a_canary_that_fails_pauses_the_run_until_somebody_has_seen_to_it(
    world: World, declared: dict[str, Manifest], opens: datetime
) -> None:
    run = run_of(DB, opens)
    paused = in_phase(world, run, "Paused")
    assert "spec.acknowledgedFailures" in _message(paused)
    stalled = world.wait_for_reason(declared[DB], "RunPaused", "Stalled")
    assert run["metadata"]["name"] in _message(stalled)
    world.wait(
        "the good canary is at its end",
        lambda: world.now(run)["status"]["waves"][0]["succeeded"] == 1,  # type: ignore[index]
        run,
    )
    assert world.installs(vm_id("db-2")) == []

    assert "patched" in say(world, run, acknowledgedFailures=1)

    world.wait_for_install(vm_id("db-2"), declared[DB])
    done = in_phase(world, run, "Succeeded")
    assert [wave["failed"] for wave in done["status"]["waves"]] == [1, 0]
    assert done["status"]["failures"][0]["machineId"].lower() == vm_id("db-0").lower()


def test_whoever_looks_sees_how_far_a_run_is(world: World, opens: datetime) -> None:
    table = world.controlplane.kubectl("get", "azpr", f"--namespace={NS}").stdout

    header, *rows = table.splitlines()
    assert header.split()[:4] == ["NAME", "POLICY", "PHASE", "REASON"]
    assert len(rows) == len(MACHINES)


def _message(found: Manifest) -> str:
    return next(str(c["message"]) for c in found["status"]["conditions"] if c["type"] == "Ready")
