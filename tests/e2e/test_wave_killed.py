"""SIGKILL in the middle of a run's waves: each machine is patched once, and the canaries first.

The short form has a few machines. `make chaos` has two thousand, and kills more often.
"""

import os
import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime

import pytest
from gated import GatedWorld
from manifests import (
    OPERATOR,
    Manifest,
    azure_subscription,
    fleet_by_image,
    grant,
    image_id,
    namespace,
    policy,
    vm_id,
)

from judging import runs
from judging.azure_journal import Operation
from judging.claims import status_claims_nothing_else
from judging.invariants import (
    Rollout,
    Verdict,
    at_most_one_in_flight,
    max_unavailable_kept,
    verdicts_kept,
)
from judging.lock import Version, lock_kept
from lab.controlplane import ControlPlane

LONG_FORM = os.environ.get("CHAOS") == "long"
MACHINES = 2000 if LONG_FORM else 16
KILLS = 25 if LONG_FORM else 4
PACE = 20 if LONG_FORM else 360
"""A run waits for ten minutes of Azure's time for machines to say that they are in it; with two
thousand of them, and operators that are killed, that may not be seconds."""

PATIENCE = 3000.0 if LONG_FORM else 240.0
"""Real seconds for the whole run."""

APART = 20.0 if LONG_FORM else 3.0
"""Real seconds between two kills, at most."""

NS, NAME = "waves", "fleet"
UNAVAILABLE = MACHINES // 4
DURATIONS = {"assess": "2m", "prepare": "1m", "perPatch": "6m", "reboot": "2m", "boot": "1m"}
NAMES = [f"vm-{number:04}" for number in range(MACHINES)]


def fleet(controlplane: ControlPlane) -> Manifest:
    return fleet_by_image(controlplane.token_public_key, {"web": NAMES}, DURATIONS)


def assessing() -> Manifest:
    """Nothing is installed yet: a run takes in who is due when it begins, and nobody later."""
    made = policy(NS, NAME, image_id("web"), assessment={"maxAge": "168h"})
    del made["spec"]["install"], made["spec"]["schedule"]
    return made


def in_waves() -> Manifest:
    """At any time, in windows: they overlap."""
    windows = [
        {"name": f"from-{hour}", "daily": {}, "startTime": f"{hour}:00", "duration": "24h"}
        for hour in ("00", "12")
    ]
    waves = [{"name": "canary", "machines": "10%"}, {"name": "rest", "machines": "100%"}]
    made = policy(
        NS, NAME, image_id("web"), schedule={"windows": windows}, assessment={"maxAge": "168h"}
    )
    # A canary whose operator was killed before Azure's answer counts as nobody's, so one is enough.
    made["spec"]["rollout"] = {
        "maxUnavailable": UNAVAILABLE,
        "minSucceeded": 1,
        "waves": waves,
    }
    return made


pytestmark = pytest.mark.timeout(4000)


@pytest.fixture(scope="module")
def world() -> Iterator[GatedWorld]:
    settings = {"AZPATCH_RESYNC_INTERVAL": "60s" if LONG_FORM else "2s"}
    with GatedWorld("wave-killed", fleet, pace=PACE, seed=12, settings=settings) as world:
        world.apply(namespace(NS), azure_subscription(1, [grant(NS)]))
        world.start_pair()
        world.apply(assessing())
        world.wait("all are assessed", lambda: _due(world), assessing(), patience=PATIENCE)
        world.apply(in_waves())
        yield world


def _due(world: GatedWorld) -> bool:
    now = world.now(assessing()) or {}
    return now.get("status", {}).get("machines", {}).get("nonCompliant") == MACHINES


def run_of(world: GatedWorld) -> Manifest | None:
    """The one that there is; a second one is a defect."""
    path = f"/apis/azpatch.dev/v1alpha1/namespaces/{NS}/patchruns"
    items: list[Manifest] = world.controlplane.admin.get(path)["items"]
    assert len(items) <= 1
    return items[0] if items else None


def members(world: GatedWorld) -> dict[str, Manifest]:
    """What each machine of the run says of its part in it, by id."""
    return {
        target["spec"]["machineId"].lower(): target["status"]["run"]
        for target in world.targets()
        if "run" in target["status"]
    }


def phase(world: GatedWorld) -> str | None:
    run = run_of(world)
    return run["status"].get("phase") if run else None


def test_killed_in_its_waves_a_run_comes_to_its_end(world: GatedWorld) -> None:
    chance = random.Random(5)
    world.wait("the run is there", lambda: run_of(world), in_waves(), patience=PATIENCE)
    for _ in range(KILLS):
        world.ready_to_be_killed()
        time.sleep(chance.uniform(0, APART))
        world.kill()
        world.next_leads()
    world.wait(
        "the run has succeeded",
        lambda: phase(world) == "Succeeded",
        in_waves(),
        patience=PATIENCE,
    )

    run = run_of(world)
    assert run is not None
    canary, rest = run["status"]["waves"]
    assert canary["machines"] + rest["machines"] == run["status"]["membership"]["total"]
    assert canary["succeeded"] + rest["succeeded"] == run["status"]["machines"]["succeeded"]


def test_each_machine_of_it_was_installed_on_once(world: GatedWorld) -> None:
    installs = Counter(one.machine for one in _installs(world))

    parts = members(world)
    assert dict(installs) == dict.fromkeys(parts, 1)
    run = run_of(world)
    assert run is not None
    assert len(parts) == run["status"]["membership"]["total"] > MACHINES * 0.9
    # One whose answer was lost with its operator counts as nobody's.
    assert {part["state"] for part in parts.values()} <= {"Succeeded", "Skipped"}


def test_the_canaries_were_done_before_the_rest_began(world: GatedWorld) -> None:
    parts, installs = members(world), _installs(world)
    first = [one for one in installs if parts[one.machine]["wave"] == "canary"]
    others = [one for one in installs if parts[one.machine]["wave"] == "rest"]
    assert others
    ends = [one.ended for one in first]
    assert max(end for end in ends if end is not None) <= min(one.started for one in others)


def test_no_invariant_was_broken(world: GatedWorld) -> None:
    machines = frozenset(vm_id(name).lower() for name in NAMES)
    journal, versions = world.journal(), world.versions()

    assert at_most_one_in_flight(journal, {OPERATOR}) == []
    kept = max_unavailable_kept(journal, [Rollout(NAME, machines, UNAVAILABLE)], {OPERATOR})
    assert kept == []
    verdicts = [Verdict(machine, assess=True, install=True) for machine in machines]
    assert verdicts_kept(journal, verdicts, {OPERATOR}) == []
    assert lock_kept(journal, versions, {OPERATOR}) == []
    assert status_claims_nothing_else(journal, world.targets(), {OPERATOR}) == []
    assert not any(request.status == 429 for request in journal.requests())
    assert world.kills == KILLS


def test_its_run_kept_what_runs_promise(world: GatedWorld) -> None:
    journal, versions, run = world.journal(), world.versions(), run_of(world)
    assert run is not None
    parts = [
        runs.Part(machine, entry, _attempts(versions, machine, entry["uid"]))
        for machine, entry in members(world).items()
    ]
    rest = run["status"]["waves"][1]

    began = datetime.fromisoformat(rest["startTime"])
    assert runs.waves_begun_on_evidence(run, (), parts, journal, began) == []
    assert [claim for part in parts for claim in runs.wrong_success(part, journal)] == []
    assert runs.wrong_counts(run, [part.entry for part in parts]) == []
    assert list(_wrong_moves(versions)) == []


def _attempts(versions: Sequence[Version], machine: str, run: str) -> set[str]:
    """What was sent to a machine for a run, by its uid: as its PatchTarget said at some time."""
    statuses = [one.target.get("status") or {} for one in versions if one.key == machine]
    return {
        status["operation"]["attemptId"]
        for status in statuses
        if status.get("operation", {}).get("kind") == "Install" and status["run"]["uid"] == run
    }


def _wrong_moves(versions: Sequence[Version]) -> Iterator[str]:
    """Of each machine in the run, from one version of its PatchTarget to the next."""
    before: dict[str, Manifest] = {}
    for version in versions:
        entry = (version.target.get("status") or {}).get("run") or {}
        yield from runs.wrong_move(before.get(version.uid, {}), entry, None)
        before[version.uid] = entry


def _installs(world: GatedWorld) -> Sequence[Operation]:
    return [one for one in world.journal().operations() if one.kind == "Install"]
