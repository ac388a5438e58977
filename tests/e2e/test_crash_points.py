"""SIGKILL before and after every side effect of an assessment and of an install.

A policy of three machines after another, one of them unavailable at a time. At each named step the
operator that comes to it first is killed: before its request is done, between that and the answer,
or after the answer. A replica that stood by goes on at once.

The short form takes the steps that matter most. `make chaos` takes all of them, and as many moments
by chance that there are over a hundred kills.
"""

import os
import random
import time
from collections.abc import Iterator

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
    reason,
    subscription_id,
    vm_id,
)
from steps import ASSESSMENT, END, INSTALL, REASSESSMENT
from world import path_of

from judging.claims import status_claims_nothing_else
from judging.invariants import (
    Leave,
    Rollout,
    Verdict,
    at_most_one_in_flight,
    azure_writes,
    max_unavailable_kept,
    only_what_is_granted,
    verdicts_kept,
)
from judging.lock import lock_kept
from lab.controlplane import ControlPlane
from lab.gate import Moment

PACE = 360
NS = "crashes"
LONG_FORM = os.environ.get("CHAOS") == "long"

POLICIES = 60
"""As many as there may be steps that only a new machine comes to."""

MACHINES = 2
"""Of each policy; one may be unavailable at a time."""

AT_WORK = 6
"""Machines that may be unfinished when another policy comes."""

BRIEF = {"assess": "4m", "prepare": "2m", "perPatch": "6m", "reboot": "2m", "boot": "1m"}
"""Simulated: long enough to be killed in, and over in seconds."""

BY_CHANCE = 32 if LONG_FORM else 2
LONGEST_CHANCE = 2.0
"""Real seconds after the last takeover that a kill by chance comes at the latest."""

B, L, A = Moment.BEFORE, Moment.LOST, Moment.AFTER
SHORT = [
    ("it is locked", A),
    ("the intent of the assessment", B),
    ("the intent of the assessment", L),
    ("the assessment", B),
    ("the assessment", L),
    ("the start of the assessment is written", B),
    ("the result of the assessment is written", L),
    ("it is unlocked", B),
    ("the intent of the install", L),
    ("the intent of the install", A),
    ("the install", B),
    ("the install", L),
    ("the install", A),
    ("the start of the install is written", B),
    ("the intent of the re-assessment", B),
    ("the intent of the re-assessment", L),
    ("the re-assessment", L),
    ("its policy is unlocked", L),
]
EVERY = [
    (step, moment) for step in (*ASSESSMENT, *INSTALL, *REASSESSMENT, *END) for moment in Moment
]
POINTS = EVERY if LONG_FORM else SHORT
LEAST_KILLS = 100 if LONG_FORM else 20


def policy_of(number: int) -> Manifest:
    image = image_id(f"image-{number}")
    # As long as may be: nobody is to be assessed a third time.
    assessment = {"maxAge": "168h"}
    rollout = {"maxUnavailable": 1}
    return policy(NS, f"policy-{number:02}", image, rollout=rollout, assessment=assessment)


def machines_of(number: int) -> list[str]:
    return [f"vm-{number:02}-{one}" for one in range(1, MACHINES + 1)]


def fleet(controlplane: ControlPlane) -> Manifest:
    machines = {f"image-{number}": machines_of(number) for number in range(1, POLICIES + 1)}
    return fleet_by_image(controlplane.token_public_key, machines, BRIEF)


class Work:
    """Policies, brought one after another."""

    def __init__(self, world: GatedWorld) -> None:
        self._world = world
        self.policies: list[int] = []

    def more(self) -> None:
        """Another policy, with machines that nobody has seen yet. Waits until few are at work: who
        is killed all the time gets nothing done."""
        self._world.wait("few machines are at work", lambda: self._world.busy() <= AT_WORK)
        number = len(self.policies) + 1
        assert number <= POLICIES, "the fleet has no more"
        self.policies.append(number)
        body = policy_of(number)
        self._world.controlplane.admin.create(path_of(body).rpartition("/")[0], body)
        self._world.wait(
            "its PatchTargets are there or the operator is dead",
            lambda: len(self._world.targets(body)) == MACHINES or not self._world.operator.running,
        )

    @property
    def machines(self) -> list[str]:
        return [vm_id(name) for number in self.policies for name in machines_of(number)]


@pytest.fixture(scope="module")
def world() -> Iterator[GatedWorld]:
    settings = {"AZPATCH_RESYNC_INTERVAL": "2s"}
    with GatedWorld("crash-points", fleet, pace=PACE, seed=11, settings=settings) as world:
        world.apply(namespace(NS), azure_subscription(1, [grant(NS)]))
        world.start_pair()
        yield world


@pytest.fixture(scope="module")
def work(world: GatedWorld) -> Work:
    return Work(world)


@pytest.mark.timeout(3600)
def test_killed_at_every_step_it_goes_on_where_it_was(world: GatedWorld, work: Work) -> None:
    for step, moment in POINTS:
        began = time.monotonic()
        if step in ASSESSMENT:
            work.more()
        world.strike(step, moment, work.more)
        print(f"{time.monotonic() - began:5.1f} s: killed {moment} {step}", flush=True)


@pytest.mark.timeout(600)
def test_killed_at_moments_by_chance_too(world: GatedWorld, work: Work) -> None:
    chance = random.Random(3)
    for _ in range(BY_CHANCE):
        world.ready_to_be_killed()
        if not world.busy():
            work.more()
        time.sleep(chance.uniform(0, LONGEST_CHANCE))
        world.kill()
        world.next_leads()
    print(f"{world.kills} kills")
    assert world.kills >= LEAST_KILLS


def test_every_machine_is_patched_once_and_compliant_in_the_end(
    world: GatedWorld, work: Work
) -> None:
    world.wait(
        "every machine is compliant",
        lambda: len(world.targets()) == len(work.machines) and not world.busy(),
    )
    for name in work.machines:
        kinds = [one.kind for one in world.journal().operations(name)]
        assert kinds == ["Assess", "Install", "Assess"], f"{name}: {kinds}"
        assert world.posts(name, "Install") == 1


def test_no_invariant_was_broken_and_the_lock_was_never_lost(world: GatedWorld, work: Work) -> None:
    journal = world.journal()
    rollouts = [
        Rollout(
            f"policy-{number}", frozenset(vm_id(name).lower() for name in machines_of(number)), 1
        )
        for number in work.policies
    ]
    assert at_most_one_in_flight(journal, {OPERATOR}) == []
    assert max_unavailable_kept(journal, rollouts, {OPERATOR}) == []
    assert status_claims_nothing_else(journal, world.targets()) == []
    verdicts = [Verdict(name, assess=True, install=True) for name in work.machines]
    assert verdicts_kept(journal, verdicts, {OPERATOR}) == []
    leaves = [Leave(name) for name in work.machines]
    assert only_what_is_granted(journal, leaves, {OPERATOR: [subscription_id(1)]}) == []
    assert lock_kept(journal, world.versions(), {OPERATOR}) == []


def test_then_it_is_silent(world: GatedWorld, work: Work) -> None:
    world.wait(
        "it has nothing to do",
        lambda: all(reason(world.now(policy_of(number))) == "UpToDate" for number in work.policies),
    )
    world.wait(
        "nothing is locked",
        lambda: not any("finalizers" in thing["metadata"] for thing in world.targets()),
    )
    world.let_pass(resyncs=1, refreshes=1)
    written, seen = len(world.operator_writes()), world.journal().end
    world.let_pass(resyncs=2, refreshes=2)
    assert [str(write) for write in world.operator_writes()[written:]] == []
    assert azure_writes(world.journal().after(seen), {OPERATOR}) == []
