"""One seed: a fleet, trouble for some hours, then calm; what was found."""

from __future__ import annotations

import asyncio
import gc
import random as shared
import time
import traceback
from collections import Counter
from contextvars import Context
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import patch

from azpatch.kube.port import PATCH_RUN, PATCH_TARGET, Object
from azsim.journal import Entry, EventEntry, RequestEntry
from simulation import (
    fleets,
    month_rollouts,
    month_rules,
    months,
    one_time_people,
    registration,
    rollouts,
    run_people,
    schedules,
    servers,
    spread,
)
from simulation.apiserver import WatchEvent
from simulation.injections import KINDS, Injection, Troublemaker, name_of
from simulation.judge import Judge
from simulation.loop import run as run_virtual
from simulation.overdue import TOLD_WITHIN, Overdue
from simulation.run_settled import unsettled_runs
from simulation.settled import unsettled
from simulation.steps import PATCH_VERBS, Step, Steps
from simulation.targets import entry_of
from simulation.unheard import quiet, unmeasured
from simulation.world import World

LAST_LOOKS = 24
"""In the end: some machine may just be assessed again, as it is every few hours, and the run of a
third window be under way, with installs that take hours."""

LONGEST_CALM = timedelta(hours=48)
"""After the last trouble, every machine must have got where it belongs by then."""

LOOK_EVERY = timedelta(minutes=20)
"""Between two looks at whether it has."""

INVENTORY_MINUTES = (5, 20, 30, 60)
HOUR = timedelta(hours=1)
TROUBLE_HOURS = (1, 1, 2, 2, 3, 6)

AFTER = (0.0, 0.0, 0.01, 0.06, 0.2, 2.0, 30.0)
"""Seconds from a machine's entering a step until the trouble that was planned for it."""

PATIENT_ONE_IN = 40
"""In one simulation of so many, what is to be tried again tomorrow is waited for. In the others it
is enough that it will be: two more days cost as much as ten others."""

PATIENT_WITH_WAVES = 3
"""Likewise of those with waves, of which the last begin a day or two later."""

CELLS = [(kind, step) for kind in KINDS for step in Step]


@dataclass
class Outcome:
    """What one seed came to."""

    seed: int
    violation: str | None = None
    story: str = ""
    machines: int = 0
    hours: float = 0.0
    """Simulated."""
    cells: Counter[tuple[str, str]] = field(default_factory=Counter)
    """How often which trouble struck in which step."""
    operations: Counter[str] = field(default_factory=Counter)
    """Guest operations of the operator, by kind."""
    one_time: int = 0
    """Runs that people made."""
    months: int = 0
    """1 of a world that lasts for weeks."""
    windows: int = 0
    """How often a machine was due in a window of one, and looked at."""
    overdue: int = 0
    """How often a machine was overdue when that was looked at."""
    seconds: float = 0.0
    """Of processor time."""
    fingerprint: int = 0
    """Equal for two runs of one seed."""


def simulate(seed: int) -> Outcome:
    """Runs one seed, from its beginning to its end, in this thread."""
    quiet()
    # Libraries draw from the source that a process has: azure-core when it asks for a new token.
    shared.seed(f"{seed}/libraries")
    began = time.process_time()
    # Looking for cycles while it runs costs a sixth of a seed, and a seed leaves few behind. What
    # is there before is modules and their code, of which nothing is ever garbage.
    gc.freeze()
    gc.disable()
    try:
        with unmeasured():
            outcome = run_virtual(lambda: _run(seed))
    finally:
        gc.enable()
        gc.collect()
        gc.unfreeze()
    outcome.seconds = time.process_time() - began
    return outcome


async def _run(seed: int) -> Outcome:
    return await _Run(seed).run()


class _Run:
    def __init__(self, seed: int) -> None:
        random = Random(f"{seed}/plan")
        interval = timedelta(minutes=random.choice(INVENTORY_MINUTES))
        self.trouble_for = random.choice(TROUBLE_HOURS) * HOUR
        self.look_every = LOOK_EVERY
        self.plan = _plan(seed, random)
        if months.has(seed):
            fleet, self.trouble_for = months.draw(Random(f"{seed}/months"))
            fleet = month_rollouts.drawn(fleet, Random(f"{seed}/month rollouts"))
            interval, self.look_every, self.plan = months.INVENTORY, months.LOOK_EVERY, []
        else:
            fleet = _fleet(seed)
        self.world = World(seed, fleet, interval)
        self.outcome = Outcome(seed, machines=len(self.world.cloud.machines))
        self.judge = Judge(self.world)
        self.world.loop.on_error = self._raised
        self.overdue = Overdue(self.world, self.judge)
        self.steps = Steps(self.world.api)
        self.trouble = Troublemaker(self.world, self.world.random("trouble"))
        self.months: month_rules.MonthRules | None = None
        if months.has(seed):
            self._begin_months()
        else:
            self._begin_days()
        one_in = PATIENT_WITH_WAVES if rollouts.has_waves(fleet) else PATIENT_ONE_IN
        self.patient = seed % one_in == 0 and self.months is None
        self.world.journal.listeners.append(self.steps.read)
        self.world.journal.listeners.append(self._tell_azure)
        self.world.api.watchers.append(self._tell_cluster)
        self.steps.listeners.append(self._entered)

    def _begin_days(self) -> None:
        world, trouble, hours = self.world, self.trouble, self.trouble_for // HOUR
        registration.Registrations(world, trouble)
        servers.Servers(world, trouble)
        schedules.Schedules(world, trouble, hours)
        run_people.RunPeople(world, trouble)
        one_time_people.OneTimePeople(world, trouble, hours)

    def _begin_months(self) -> None:
        world, trouble, hours = self.world, self.trouble, self.trouble_for // HOUR
        run_people.RunPeople(world, trouble)
        one_time_people.OneTimePeople(world, trouble, hours)
        happens = months.Months(world, trouble, self.plan, self.trouble_for)
        self.months = month_rules.MonthRules(
            world, self.judge, trouble, self.overdue, happens.publications, self.trouble_for
        )

    async def run(self) -> Outcome:
        loop, start = self.world.loop, self.world.fleet.start.timestamp()
        with (
            patch("time.time", lambda: start + loop.time()),
            patch("uuid.uuid1", self.world.request_ids.__next__),
        ):
            self.world.start_operator()
            await self._until(self.trouble_for)
            self._calm()
            await self._settles()
        for process in self.world.living():
            process.process.kill()
        return self._conclude()

    def _raised(self, error: BaseException) -> None:
        """A judge that fails sees nothing, and people who fail do nothing: nobody would know."""
        frame = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(frame.filename).name}:{frame.lineno}"
        self.judge.broken("the simulation itself", f"{error!r} in {where}")

    # --- trouble ----------------------------------------------------------------------------------

    def _entered(self, machine: str, step: Step) -> None:
        for injection in list(self.plan):
            if injection.step is not step:
                continue
            self.plan.remove(injection)
            if injection.nth > 1:
                self.plan.append(
                    Injection(injection.kind, step, injection.after, injection.nth - 1)
                )
                continue
            self.world.loop.call_later(
                injection.after, self._strike, injection.kind, machine, context=Context()
            )

    def _strike(self, kind: str, machine: str) -> None:
        self.outcome.cells[kind, str(self.steps.of(machine))] += 1
        self.trouble.make(kind, machine)

    def _calm(self) -> None:
        self.world.story.tell("all", "the trouble is over")
        self.plan.clear()
        self.trouble.calm()
        self.world.cloud.faults.clear()
        self.world.kube_trouble.clear()
        self.world.restart_later(1)

    async def _settles(self) -> None:
        for _ in range(LONGEST_CALM // self.look_every):
            await self._until(self.look_every)
            if self.world.ended.is_set():
                return
            self.judge.waits()
            if not self._left(patient=self.patient):
                self.judge.claims()
                await self._reported()
                return
        # A run may go on, from window to window, for longer than that is waited for.
        patient = self.patient and not rollouts.has_waves(self.world.fleet)
        for _ in range(LAST_LOOKS):
            left = self._left(patient=patient, last=True)
            if not left:
                await self._reported()
                return
            await self._until(self.look_every)
            if self.world.ended.is_set():
                return
        machine, why = left[0]
        self.judge.stuck(machine, why, len(left))

    async def _reported(self) -> None:
        """Who is overdue is, or has been when it is looked again."""
        if wrong := self.overdue.look():
            await self._until(TOLD_WITHIN)
            self.overdue.look_again(wrong)

    def _left(self, *, patient: bool, last: bool = False) -> list[tuple[str, str]]:
        """Who is not where it belongs: machines, and runs."""
        world, declarations = self.world, self.judge.declarations
        return [
            *unsettled(world, self.judge.support, declarations, patient=patient),
            *unsettled_runs(world, declarations, self.judge.journal(), patient=patient, last=last),
        ]

    async def _until(self, duration: timedelta) -> None:
        """Time passes, or a violation ends it."""
        try:
            async with asyncio.timeout(duration.total_seconds()):
                await self.world.ended.wait()
        except TimeoutError:
            return

    # --- the story --------------------------------------------------------------------------------

    def _tell_azure(self, entry: Entry) -> None:
        if isinstance(entry, EventEntry):
            details = ", ".join(f"{k}={v}" for k, v in entry.details.items() if k != "body")
            self.world.story.tell(
                name_of(entry.resource), f"{entry.event} {_short(entry.operation_id)} {details}"
            )
            if entry.event == "OperationStarted" and entry.details["principal"] == fleets.OPERATOR:
                self.outcome.operations[str(entry.details["operation"])] += 1
        elif isinstance(entry, RequestEntry) and entry.method == "POST":
            machine, _, verb = entry.path.rpartition("/")
            if verb == "register":
                self.world.story.tell("registration", f"POST {entry.path}: {entry.status}")
            if verb.lower() in PATCH_VERBS:
                attempt = _short(entry.client_request_id)
                self.world.story.tell(name_of(machine), f"POST {verb} {attempt}: {entry.status}")

    def _tell_cluster(self, event: WatchEvent) -> None:
        meta = event.object["metadata"]
        if event.kind == PATCH_TARGET:
            status = event.object.get("status") or {}
            operation = status.get("operation")
            conditions = {c["type"]: c for c in status.get("conditions", ())}
            ready: dict[str, Any] = conditions.get("Ready", {})
            doing = (
                f"{operation['kind']} {operation['state']} {_short(operation['attemptId'])}"
                if operation
                else f"Ready={ready.get('status')}/{ready.get('reason')}"
            )
            self.world.story.tell(
                name_of(event.object["spec"]["machineId"]),
                f"PatchTarget {event.object['spec']['policy']} {event.change}: {doing}"
                f"{_part(event.object)} {'deleting' if meta.get('deletionTimestamp') else ''}",
            )
        elif event.kind == PATCH_RUN:
            self.world.story.tell("run", f"{meta['name']} {event.change}: {_told(event.object)}")
        elif event.change != "MODIFIED":
            self.world.story.tell("cluster", f"{event.kind.kind} {meta['name']} {event.change}")

    # --- the end ----------------------------------------------------------------------------------

    def _conclude(self) -> Outcome:
        outcome, violation = self.outcome, self.judge.violation
        outcome.hours = self.world.loop.time() / 3600
        outcome.one_time = self.world.one_time
        outcome.overdue = self.overdue.seen
        if self.months is not None:
            outcome.months, outcome.windows = 1, self.months.judged
        outcome.fingerprint = hash(self.world.story.fingerprint())
        if violation is not None:
            outcome.violation = str(violation)
            about = name_of(violation.machine) if violation.machine else None
            outcome.story = self.world.story.print(about)
        return outcome


def _fleet(seed: int) -> fleets.Fleet:
    """Of a world that lasts for hours, or some days."""
    large = seed % fleets.LARGE_ONE_IN == fleets.LARGE_ONE_IN - 1
    fleet = fleets.draw(Random(f"{seed}/fleet"), large=large)
    fleet = registration.drawn(fleet, Random(f"{seed}/registration"))
    fleet = schedules.drawn(fleet, Random(f"{seed}/schedules"))
    fleet = spread.drawn(fleet, Random(f"{seed}/spread"))
    return rollouts.drawn(fleet, Random(f"{seed}/rollouts"))


def _plan(seed: int, random: Random) -> list[Injection]:
    """Some trouble. Consecutive seeds go through all combinations of kind and step in turn."""
    planned = random.randint(3, 8)
    first = (seed * 7) % len(CELLS)
    plan = []
    for number in range(planned):
        kind, step = CELLS[(first + number * 37) % len(CELLS)]
        plan.append(Injection(kind, step, random.choice(AFTER), random.randint(1, 4)))
    return plan


def _short(id_: Any) -> str:
    return str(id_)[:8] if id_ else "-"


def _part(target: Object) -> str:
    entry = entry_of(target)
    return f" {entry['wave']}: {entry['state']} {entry.get('reason', '')}" if entry else ""


def _told(run: Object) -> str:
    """Where a run is, and its waves: machines, and what they came to."""
    status = run.get("status") or {}
    conditions = {c["type"]: c for c in status.get("conditions", ())}
    ready: dict[str, Any] = conditions.get("Ready", {})
    waves = [
        f"{wave['name']}{'*' if 'startTime' in wave else ''} {wave.get('machines', 0)}: "
        f"{wave.get('succeeded', 0)}+{wave.get('failed', 0)}-{wave.get('skipped', 0)}"
        for wave in status.get("waves", ())
    ]
    return f"{status.get('phase')}/{ready.get('reason')} {'; '.join(waves)}"
