"""A run in waves, over two subscriptions and two regions, in virtual time.

All machines are assessed before the window opens. What is measured begins with the run: each
machine's install and the assessment after it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from azpatch.api.run import OVER
from azpatch.domain.ids import key
from azpatch.kube.port import PATCH_POLICY, PATCH_RUN, PATCH_TARGET, Kind
from azsim.journal import Entry, RequestEntry
from bench_report import Figure, times
from bench_run_writes import RunWrites
from bench_virtual import (
    ASSESSING,
    INSTALLING,
    Place,
    calm_fleet,
    placed,
    run,
)
from bench_wave import TOO_MANY, bound, minutes, patience
from simulation import fleets
from simulation.apiserver import WatchEvent
from simulation.fleets import START
from simulation.world import World

PLACES = (
    Place(1, "westeurope", 4),
    Place(1, "northeurope", 3),
    Place(2, "westeurope", 2),
    Place(2, "northeurope", 1),
)
"""Four buckets that are not equally full: the fullest bounds the wave."""

SOAK = timedelta(minutes=5)
"""The canaries' bucket is full again when the rest begins."""

WAVES = (
    {"name": "canary", "machines": "5%", "soak": f"{SOAK.total_seconds() / 60:.0f}m"},
    {"name": "rest", "machines": "100%"},
)

OPERATIONS = 2
"""Of each machine in the run: installed, and assessed again."""

ASSESSED = timedelta(minutes=30)
"""From when the bucket would have let every machine be assessed until the window opens."""

AFTERWARDS = timedelta(minutes=10)
"""From the end of the run until its writes are counted: what Resource Graph shows last is written
down after it."""


@dataclass
class Posts:
    """Of one machine, as Azure took them."""

    installs: list[datetime] = field(default_factory=list)
    assessments: list[datetime] = field(default_factory=list)

    @property
    def of_run(self) -> list[datetime]:
        """Without those from before the run."""
        first = min(self.installs, default=None)
        return (
            []
            if first is None
            else sorted([*self.installs, *(at for at in self.assessments if at > first)])
        )


class RunOfWaves:
    """What azsim's journal and the API server tell of one."""

    def __init__(self, machines: int, places: Sequence[Place] = PLACES) -> None:
        self.places = {
            key(fleets.machine_id(f"vm-{number}", place.subscription)): place
            for number, place in enumerate(placed(machines, places), start=1)
        }
        self.posts = {machine: Posts() for machine in self.places}
        self.waves: dict[str, str] = {}
        """The wave of each machine that is in the run."""
        self.phase: str | None = None
        self.refused = self.requests = 0
        self.writes = RunWrites()
        self._statuses: dict[tuple[Kind, str], Any] = {}

    def watch(self, world: World) -> None:
        """Sets `ended` some time after the run is over."""

        def changed(event: WatchEvent) -> None:
            over = self.phase in OVER
            self.change(event, world.clock.now())
            if self.phase in OVER and not over:
                world.loop.call_later(AFTERWARDS.total_seconds(), world.ended.set)

        world.journal.listeners.append(self.read)
        world.api.watchers.append(changed)

    def read(self, entry: Entry) -> None:
        """Takes in one request to Azure."""
        if not isinstance(entry, RequestEntry):
            return
        self.requests += 1
        self.refused += entry.status == TOO_MANY
        machine, _, verb = entry.path.lower().rpartition("/")
        if entry.method == "POST" and entry.status < 300 and machine in self.posts:
            posts = self.posts[machine]
            {"installpatches": posts.installs, "assesspatches": posts.assessments}[verb].append(
                entry.time
            )

    def change(self, event: WatchEvent, now: datetime) -> None:
        """Takes in one write to the API server, from when the run is there."""
        kind, raw = event.kind, event.object
        name = raw["metadata"]["name"]
        status = raw.get("status") or {}
        if kind == PATCH_RUN:
            self.phase = status.get("phase", "")
        if self.phase is None or event.change != "MODIFIED":
            return
        if kind == PATCH_TARGET:
            self.writes.targets[name] += 1
            if "run" in status:
                self.waves[key(raw["spec"]["machineId"])] = status["run"]["wave"]
        elif kind in (PATCH_POLICY, PATCH_RUN):
            if self._statuses.get((kind, name)) != status:
                self.writes.summaries[f"{kind.kind} {name}"].append(now)
            self._statuses[kind, name] = status

    # --- what it comes to -------------------------------------------------------------------------

    def span(self, *waves: str) -> timedelta:
        """From the first POST for their machines to the last."""
        at = [
            time
            for machine, wave in self.waves.items()
            if wave in waves
            for time in self.posts[machine].of_run
        ]
        return max(at) - min(at) if at else timedelta(0)

    def fullest(self, wave: str) -> int:
        """Machines of the wave in the bucket that has most of them."""
        buckets = Counter(
            self.places[machine] for machine, in_ in self.waves.items() if in_ == wave
        )
        return max(buckets.values(), default=0)

    def least(self, wave: str) -> timedelta:
        """No client is faster, from the wave's first POST to its last: as the fullest bucket lets
        them through, and a machine is assessed when its install has ended."""
        return max(bound(self.fullest(wave), OPERATIONS), INSTALLING)

    @property
    def least_of_all(self) -> timedelta:
        """From the run's first POST to its last: a wave ends with an assessment and its soak."""
        first, last = (str(wave["name"]) for wave in WAVES)
        return self.least(first) + ASSESSING + SOAK + self.least(last)

    def figures(self, spent: float) -> list[Figure]:
        """`spent`: seconds of processor."""
        machines = len(self.places)
        where = f"{machines:,} machines in {len(set(self.places.values()))} buckets"
        names = [str(wave["name"]) for wave in WAVES]
        last = names[-1]
        posts = sum(len(one.of_run) for one in self.posts.values())
        done = "" if self.phase == "Succeeded" else f"NOT COMPLETE, {self.phase}; "
        return [
            Figure(
                f"{where}: the last wave, from its first POST to its last, to the bound of the "
                "fullest bucket; goal 1.05",
                times(self.span(last).total_seconds(), self.least(last).total_seconds()),
                f"{done}{minutes(self.span(last))} to {minutes(self.least(last))} of Azure's time, "
                f"with {self.fullest(last):,} machines in that bucket",
            ),
            Figure(
                f"{where}: the whole run, from its first POST to its last, to the bounds of its "
                "waves and the soak between them",
                times(self.span(*names).total_seconds(), self.least_of_all.total_seconds()),
                f"{minutes(self.span(*names))} to {minutes(self.least_of_all)}; {spent:.0f} s of "
                f"processor, {spent / machines * 1000:.0f} ms a machine",
            ),
            Figure(
                f"{where}: requests refused for lack of budget (429); goal 0",
                f"{self.refused}",
                f"of {self.requests:,}; {posts / machines:.2f} operations a machine in the run",
            ),
            *self.writes.figures(where, machines),
        ]


def simulated(machines: int) -> list[Figure]:
    """The operator whole, with assessments before the window and one run in it."""
    seen = RunOfWaves(machines)
    opens = START + bound(machines, 1) + ASSESSED
    window = {
        "name": "window", "daily": {}, "startTime": f"{opens:%H:%M}", "duration": "20h",
    }  # fmt: skip
    fleet = calm_fleet(
        machines,
        PLACES,
        schedule={"windows": [window]},
        rollout={"maxUnavailable": "100%", "waves": list(WAVES)},
    )
    return seen.figures(run(fleet, seen.watch, opens - START + patience(machines)))
