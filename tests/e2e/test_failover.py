"""Two replicas of the operator: one leads, and the other takes over, in the middle of the work."""

import signal
import time
from collections.abc import Iterator

import pytest
from cut import Line
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
    vm_id,
)
from world import World, leads

from judging.claims import status_claims_nothing_else
from judging.invariants import (
    Rollout,
    at_most_one_in_flight,
    max_unavailable_kept,
)
from lab import chart
from lab.controlplane import ControlPlane
from lab.processes import Operator

PACE = 240
NS = "failover"

DURATION, DEADLINE = 8.0, 5.0
"""Real seconds: shorter than by default, so that a story takes less; long for a busy machine."""

LEASE = {
    "AZPATCH_LEASE_DURATION": f"{DURATION:.0f}s",
    "AZPATCH_LEASE_RENEW_DEADLINE": f"{DEADLINE:.0f}s",
    "AZPATCH_LEASE_RETRY_PERIOD": "1s",
}

STORIES = ("released", "killed", "stopped", "paused", "cut")
MACHINES = 2
"""Of each story; one may be unavailable at a time."""

BRIEF = {"assess": "2m", "prepare": "1m", "perPatch": "8m", "reboot": "1m", "boot": "1m"}
"""Simulated: an install takes some three real seconds."""


def machines_of(story: str) -> list[str]:
    return [f"{story}-{number}" for number in range(1, MACHINES + 1)]


def policy_of(story: str) -> Manifest:
    return policy(NS, story, image_id(story), rollout={"maxUnavailable": 1})


def fleet(controlplane: ControlPlane) -> Manifest:
    machines = {story: machines_of(story) for story in STORIES}
    return fleet_by_image(controlplane.token_public_key, machines, BRIEF)


class Pair:
    """`leader` leads, `standby` is ready to."""

    def __init__(self, world: World) -> None:
        self.world = world
        world.start_operator()
        self.leader = world.operator
        self.standby = world.start_replica()

    def holder(self) -> str:
        """Who holds the Lease."""
        lease = self.world.controlplane.admin.get(chart.lease_path())
        return str(lease["spec"].get("holderIdentity") or "")

    def begin(self, story: str) -> str:
        """The work of a story begins; its first install runs on return. Who leads."""
        self.world.operator = self.leader
        self.world.apply(policy_of(story))
        self.world.wait(
            "an install begins",
            lambda: any(self.world.installs(vm_id(name)) for name in machines_of(story)),
            policy_of(story),
        )
        assert leads(self.leader)
        assert not leads(self.standby)
        return self.holder()

    def taken_over(self, before: str) -> float:
        """Until the standby leads, and then it is the leader. How long it took."""
        self.world.operator = self.standby
        began = time.monotonic()
        self.world.wait("the standby leads", lambda: self.holder() not in ("", before))
        seconds = time.monotonic() - began
        self.world.wait("it knows", lambda: leads(self.standby))
        self.leader = self.standby
        return seconds

    def line_for_the_next_leader(self, line: Line) -> None:
        """A replica by this line takes over from the one that leads."""
        before = self.holder()
        self.standby.stop()
        kubeconfig = str(line.kubeconfig(self.world.installed.kubeconfig))
        self.standby = self.world.start_replica(KUBECONFIG=kubeconfig)
        assert self.leader.stop() == 0
        self.taken_over(before)

    def finish(self, story: str) -> None:
        """The story's work ends as if nothing had happened, and there are two again."""
        self.world.wait(
            "every machine is compliant",
            lambda: (
                [reason(target, "Compliant") for target in self.world.targets(policy_of(story))]
                == ["Compliant"] * MACHINES
            ),
            policy_of(story),
        )
        for name in machines_of(story):
            assert self.world.posts(vm_id(name), "Install") == 1
        self.standby = self.world.start_replica()


def ends(operator: Operator) -> int:
    """Its exit status; it ends by itself."""
    return operator.child.wait(30)


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with World("failover", fleet, pace=PACE, seed=7, settings=LEASE) as world:
        world.apply(namespace(NS), azure_subscription(1, [grant(NS)]))
        yield Pair(world)


def test_a_standby_is_ready_and_has_listed_nothing(pair: Pair) -> None:
    assert pair.standby.status("/readyz") == 200
    assert pair.standby.status("/healthz") == 200
    metrics = pair.standby.metrics()
    assert "azpatch_resyncs_total 0.0" in metrics
    assert 'verb="LIST"' not in metrics


def test_a_leader_that_is_told_to_end_gives_its_lease_back(pair: Pair) -> None:
    before = pair.begin("released")
    assert pair.leader.stop() == 0
    assert pair.taken_over(before) < DEADLINE
    pair.finish("released")


def test_a_leader_that_is_killed_is_followed_when_its_lease_is_over(pair: Pair) -> None:
    before = pair.begin("killed")
    pair.leader.kill()
    assert pair.taken_over(before) > DEADLINE - 2
    pair.finish("killed")


def test_a_leader_that_slept_while_another_took_over_ends_and_does_nothing(pair: Pair) -> None:
    before, asleep = pair.begin("stopped"), pair.leader
    asleep.child.signal(signal.SIGSTOP)
    pair.taken_over(before)
    told = asleep.log.stat().st_size
    asleep.child.signal(signal.SIGCONT)
    assert ends(asleep) == 1
    last = asleep.log.read_text()[told:]
    assert "LeaseLostError" in last
    assert '"event": "started"' not in last
    pair.finish("stopped")


def test_a_leader_that_slept_until_just_before_its_lease_is_over_ends_too(pair: Pair) -> None:
    before, asleep = pair.begin("paused"), pair.leader
    asleep.child.signal(signal.SIGSTOP)
    time.sleep((DURATION + DEADLINE) / 2)
    assert pair.holder() == before, "it is still its Lease, but it may not count on it"
    asleep.child.signal(signal.SIGCONT)
    assert ends(asleep) == 1
    pair.taken_over(before)
    pair.finish("paused")


def test_a_leader_that_does_not_reach_the_api_server_ends_before_another_begins(
    pair: Pair,
) -> None:
    with Line(pair.world.controlplane) as line:
        pair.line_for_the_next_leader(line)
        pair.standby = pair.world.start_replica()
        before, alone = pair.begin("cut"), pair.leader
        line.cut()
        pair.world.wait("it does not lead any more", lambda: not leads(alone))
        assert pair.holder() == before, "nobody else leads yet"
        pair.taken_over(before)
        assert ends(alone) == 1
    pair.finish("cut")


def test_all_the_while_no_invariant_was_broken(pair: Pair) -> None:
    journal = pair.world.journal()
    assert at_most_one_in_flight(journal, {OPERATOR}) == []
    rollouts = [
        Rollout(story, frozenset(vm_id(name).lower() for name in machines_of(story)), 1)
        for story in STORIES
    ]
    assert max_unavailable_kept(journal, rollouts, {OPERATOR}) == []
    assert status_claims_nothing_else(journal, pair.world.targets()) == []
