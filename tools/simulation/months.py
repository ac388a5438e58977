"""Worlds that last for weeks, over a change of the clock and the end of a month.

Few machines, and hardly anything but what the calendar brings: patches are published, windows open,
now and then there is trouble for some hours. What is polled is polled rarely, so that weeks cost no
more than some seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextvars import Context
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from functools import partial
from random import Random
from typing import Any

from azpatch.kube.port import AZURE_SUBSCRIPTION, Object
from azsim.fleet import Patch
from judging.calendar_by_day import duration, opened
from simulation import fleets, images, matrices, month_rollouts
from simulation.fleets import GROUP, Fleet
from simulation.images import subscription_id
from simulation.injections import Injection, Troublemaker
from simulation.month_windows import (
    DAY,
    ELSEWHERE,
    HOUR,
    ZONES,
    Change,
    Span,
    at_change,
    by_month,
    changes,
    freeze,
    freezes,
)
from simulation.pace import MONTHS
from simulation.steps import Step
from simulation.world import World

Raw = dict[str, Any]

ONE_IN, AMONG = 20, 7
"""Worlds that last for weeks: those whose seed leaves AMONG, divided by ONE_IN."""

YEARS = (2027, 2028)
"""The second has a 29 February."""

WEEKS = (5, 5, 6, 7)

INVENTORY = timedelta(hours=8)
"""Between two refreshes."""

LOOK_EVERY = timedelta(hours=4)
"""Between two looks at whether it has settled in the end."""

TAG = "patched-by"

OTHER_TIMES = 2
"""At which a patch is published for a machine, whatever its windows: who reads a calendar wrongly
finds it due at the wrong time."""

QUIET_FIRST = 2 * DAY
"""Without trouble."""

KINDS = (
    "Azure answers with an error",
    "a request is lost",
    "an answer is lost",
    "Azure is slow",
    "an answer is garbage",
    "Azure is away",
    "sign-in is down",
    "Resource Graph is frozen",
    "Resource Graph is stale",
    "Resource Graph lacks rows",
    "the machine is stopped",
    "the machine is rebuilt",
    "the agent is silent",
    "somebody else assesses",
    "somebody else installs",
    "the API server refuses",
    "the API server's answer is lost",
    "the API server is away",
    "the API server is slow",
    "the watch is cut",
    "the operator crashes",
    "the operator crashes",
    "two leaders overlap",
    "the policy is suspended",
    "the grant is narrowed",
    "the PatchTarget is deleted",
)
"""Of trouble: all that leaves machines, policies and clocks behind as they were."""


def has(seed: int) -> bool:
    """Whether its world lasts for weeks."""
    return seed % ONE_IN == AMONG


def draw(random: Random) -> tuple[Fleet, timedelta]:
    """A fleet, and for how long there is trouble now and then."""
    zone = random.choice(ZONES)
    change = random.choice(changes(zone, random.choice(YEARS)))
    weeks = random.choice(WEEKS)
    before = random.randint(10, weeks * 7 - 8) * DAY
    start = datetime.combine((change.at - before).date(), time(8), change.at.tzinfo)
    span = Span(start, start + weeks * 7 * DAY)
    names = ["one", "two"][: random.choice((1, 2, 2))]
    policies = [_policy(random, name, span, change) for name in names]
    machines = [
        _machine(random, f"vm-{name}-{number}", name)
        for name in names
        for number in range(1, random.choice((2, 2, 3)) + 1)
    ]
    declared = _subscription(random, policies[0], span, change)
    built = images.USUAL["web"]
    fleet = Fleet(
        azure={
            "principals": [fleets.operator((1,))],
            "subscriptions": [fleets.subscription(1, [fleets.FEATURE])],
            "machines": machines,
            "resourceGraph": {"lag": "20s", "tailLag": "5m", "tailShare": 0.05},
        },
        subscriptions=[declared],
        policies=policies,
        truths={
            fleets.id_of(machine).lower(): fleets.truth_of(machine, built) for machine in machines
        },
        start=start,
        pace=MONTHS,
    )
    return fleet, span.end - span.start


def _machine(random: Random, name: str, policy: str) -> Raw:
    built = images.USUAL["web"]
    guest: Raw = {
        "os": "ubuntu",
        "osVersion": "22.04",
        "missing": [_patch(random, 0)],
        "durations": {
            "assess": f"{random.randint(20, 120)}s",
            "perPatch": f"{random.randint(5, 14)}m",
            "reboot": "3m",
        },
    }
    if random.random() < 0.2:
        bad = random.choice(({"failingPatches": ["package-*"]}, {"internalError": True}))
        guest["failures"] = {**bad, "times": 1}
    return {
        "name": name,
        "subscription": subscription_id(1),
        "group": GROUP,
        "osType": built.truth.os_type,
        "image": dict(built.image),
        **built.fields,
        "tags": {TAG: policy},
        "guest": guest,
    }


def _patch(random: Random, number: int) -> Raw:
    """One that every policy here selects."""
    return {**fleets.patch(random, number), "classification": "Security"}


def _policy(random: Random, name: str, span: Span, change: Change) -> Object:
    target = {"selector": {"azureSubscriptions": ["sub-1"], "tags": {TAG: [name]}}}
    raw = fleets.policy(random, name, random.choice(fleets.NAMESPACES), target)
    needed = duration(raw["spec"]["install"]["maximumDuration"])
    zone, windows = change.zone, []
    if name == "one":
        windows.append(at_change(random, "w0", needed, change))
    elif random.random() < 0.6:
        zone = random.choice(ELSEWHERE)
    if not windows or random.random() < 0.5:
        windows.append(by_month(random, f"w{len(windows)}", needed, span))
    schedule: Raw = {"timeZone": zone, "windows": windows}
    if random.random() < 0.4:
        schedule["freezes"] = list(freezes(random, schedule, span, change))
    rollout: Raw = {"maxUnavailable": random.choice((1, 1, "100%"))}
    if random.random() < 0.3:
        rollout = {**rollout, "minSucceeded": 1, "waves": list(_waves(random, windows))}
    assessment = {"maxAge": f"{random.choice((72, 120, 168))}h", "probeUnsupported": False}
    return {
        **raw,
        "spec": {**raw["spec"], "assessment": assessment, "schedule": schedule, "rollout": rollout},
    }


def _waves(random: Random, windows: list[Raw]) -> Iterator[Raw]:
    names = [window["name"] for window in windows]
    canary: Raw = {"name": "canary", "machines": 1, "soak": random.choice(("3m", "40m", "24h"))}
    rest: Raw = {"name": "rest", "machines": "100%"}
    if len(names) > 1 and random.random() < 0.6:
        yield {**canary, "windows": [names[0]]}
        yield {**rest, "windows": [names[1]]}
    else:
        yield canary
        yield rest


def _subscription(random: Random, policy: Object, span: Span, change: Change) -> Object:
    raw = fleets.declared(random, 1)
    spec = {**matrices.without(raw["spec"]), "supportMatrix": matrices.WITH_FEATURE}
    spec["previewFeature"] = {"mode": "Check"}
    if random.random() < 0.3:
        spec["freezes"] = list(freezes(random, policy["spec"]["schedule"], span, change))
    return {**raw, "spec": spec}


@dataclass(frozen=True)
class Publication:
    """A patch that a machine lacks from some time on, until it is installed."""

    machine: str
    at: datetime
    patch: str
    assessed: bool
    """The platform assesses the machine right after."""


class Months:
    """What happens in one world, besides what the operator does."""

    def __init__(
        self, world: World, trouble: Troublemaker, plan: list[Injection], length: timedelta
    ) -> None:
        self._world, self._trouble, self._plan = world, trouble, plan
        self._random = world.random("months")
        self._length = length
        self.publications: list[Publication] = []
        for number, policy in enumerate(world.fleet.policies, 1):
            self._publish_for(policy, 1000 * number)
        for _ in range(self._random.randint(4, 9)):
            seconds = self._random.uniform(QUIET_FIRST.total_seconds(), length.total_seconds())
            self._in(seconds, self._arm)
        for _ in range(self._random.choice((0, 1, 2))):
            self._in(self._random.uniform(0, length.total_seconds()), self._freeze)

    def _in(self, seconds: float, act: Callable[[], None]) -> None:
        self._world.loop.call_later(max(0.0, seconds), act, context=Context())

    def _arm(self) -> None:
        """The next machine that enters the step is struck."""
        if not self._trouble.over:
            kind, step = self._random.choice(KINDS), self._random.choice(list(Step))
            self._plan.append(Injection(kind, step, self._random.choice((0.0, 0.05, 2.0, 30.0)), 1))

    def _freeze(self) -> None:
        """Somebody declares a freeze, and takes it back some time later, or never."""
        chosen = self._random.choice(self._world.fleet.subscriptions)
        if self._trouble.over:
            return
        current = self._world.api.get(AZURE_SUBSCRIPTION, "", chosen["metadata"]["name"])
        before = current["spec"].get("freezes", [])
        start = self._world.clock.now() + self._random.choice((0, 1, 20)) * HOUR
        length, name = self._random.choice((3, 30, 70)) * HOUR, f"people-{len(before)}"
        made = freeze(self._random, name, start, length)
        self._world.story.tell("all", "*** a freeze is declared")
        self._trouble.apply(current, freezes=[*before, made])
        undo = partial(self._trouble.apply, current, freezes=before)
        self._trouble.later(2 * HOUR, 3 * DAY, undo)

    def _publish_for(self, policy: Object, shared: int) -> None:
        """Before most windows, some hours or days, and at other times. Where later waves are given
        what the first was, machines lack the same before a window, of numbers from `shared` on."""
        start, end = self._world.fleet.start, self._world.fleet.start + self._length
        opens = [one[0] for one in opened(policy["spec"]["schedule"], start + HOUR, end)]
        few = opens if len(opens) <= 8 else sorted(self._random.sample(opens, 8))
        name = policy["metadata"]["name"]
        for raw in self._world.fleet.azure["machines"]:
            if raw["tags"][TAG] != name:
                continue
            for number, at in enumerate(few):
                early = self._random.choice((11, 14, 14, 20, 30, 90)) * HOUR
                same = shared + number if month_rollouts.pins(policy) else None
                self._publish_at(fleets.id_of(raw).lower(), at - early, same)
            for _ in range(OTHER_TIMES):
                at = start + self._random.random() * self._length
                self._publish_at(fleets.id_of(raw).lower(), at)

    def _publish_at(self, machine: str, at: datetime, number: int | None = None) -> None:
        """A patch that no other machine lacks, or the one of this number."""
        number = number or 100 + len(self.publications)
        patch = Patch.model_validate(_patch(self._random, number))
        one = Publication(machine, at, patch.name, assessed=self._random.random() < 0.7)
        self.publications.append(one)
        self._in((at - self._world.fleet.start).total_seconds(), partial(self._publish, one, patch))

    def _publish(self, one: Publication, patch: Patch) -> None:
        found = self._world.cloud.machines.get(one.machine)
        if found is None or self._trouble.over:
            return
        found.missing.append(patch)
        self._world.story.tell("patches", f"{patch.name} is published for {found.name}")
        if one.assessed:
            self._trouble.assess(one.machine)
