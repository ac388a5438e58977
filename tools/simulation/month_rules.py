"""What windows promise, in worlds that last for weeks: none of them passes over a machine that is
due in it.

Each window of the judge's own calendar is looked at twice: a while after it has opened, when who
waits for it must have seen that, and at its end, when whoever was due must have been sent an
install or have told why not. A while after its end the policy must report who is overdue.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextvars import Context
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial

from azpatch.kube.port import PATCH_POLICY, PATCH_TARGET, Object
from azsim.fleet import PowerState
from azsim.virtualmachine import VirtualMachine
from judging.calendar_by_day import duration, opened
from simulation import fleets
from simulation.apiserver import WatchEvent
from simulation.injections import Troublemaker
from simulation.judge import AWAKE, Judge
from simulation.months import INVENTORY, Publication
from simulation.overdue import TOLD_WITHIN, Overdue
from simulation.run_settled import SHUT, WAITS, unsettled_runs, waits_rightly
from simulation.settled import waits_for_its_time
from simulation.spread import Groups
from simulation.targets import conditions_of, machine_of, owned
from simulation.world import World

FIRST_LOOK = AWAKE + timedelta(minutes=1)
"""After a window has opened."""

QUIET = timedelta(hours=12)
"""Without trouble, before a window is judged: what was in the way has been got over by then."""

NO_REASON = SHUT | {"Working", "WaitingForSlot"}
"""What a machine says that does not tell why nothing is sent to it while a window is open."""

GOES_ON = timedelta(minutes=15)
"""From when a run may go on until it has."""

SEEN = timedelta(hours=4)
"""From when an assessment is due, or the inventory shows one, until its result is told."""


@dataclass
class _Due:
    """A machine that is due in a window that is open."""

    machine: str
    uid: str
    """Of its PatchTarget."""
    reasons: set[str] = field(default_factory=set)
    """Of Ready, since the first look."""


class MonthRules:
    """Of one world."""

    def __init__(
        self,
        world: World,
        judge: Judge,
        trouble: Troublemaker,
        overdue: Overdue,
        publications: list[Publication],
        length: timedelta,
    ) -> None:
        self._world, self._judge, self._trouble = world, judge, trouble
        self._overdue, self._publications = overdue, publications
        self._groups = Groups(world.fleet)
        self._due: dict[str, list[_Due]] = {}
        """In the windows that are open, by uid of the PatchTarget."""
        self.judged = 0
        """How often a machine was due in a window, or had been sent an install in it already."""
        for policy in world.fleet.policies:
            self._appoint(policy, world.fleet.start + length)
        world.api.watchers.append(self._changed)

    def _appoint(self, policy: Object, until: datetime) -> None:
        start, schedule = self._world.fleet.start, policy["spec"]["schedule"]
        needed = duration(policy["spec"]["install"]["maximumDuration"])
        for opens, closes, _ in opened(schedule, start, until):
            if opens > start and closes - needed > opens + FIRST_LOOK:
                look = partial(self._first_look, policy, opens, closes)
                self._at(opens + FIRST_LOOK, look)
            self._at(closes + TOLD_WITHIN, partial(self._reported))

    def _at(self, at: datetime, act: partial[None]) -> None:
        seconds = (at - self._world.clock.now()).total_seconds()
        self._world.loop.call_later(seconds, act, context=Context())

    def _quiet(self) -> bool:
        last = self._trouble.last
        return not self._trouble.over and (last is None or self._world.clock.now() - last > QUIET)

    # --- the first look ---------------------------------------------------------------------------

    def _first_look(self, policy: Object, opens: datetime, closes: datetime) -> None:
        if not self._quiet():
            return
        for target in self._targets(policy):
            machine = machine_of(target)
            if not self._judge.declarations.may_start(target, AWAKE) or not self._runs(machine):
                continue
            if waits_for_its_time(target):
                why = f"it waits for a window, and one is open since {opens}"
                self._judge.broken("9 claims", why, machine)
            self._overlooked(policy, target)
            reason = _reason(target)
            if reason in WAITS and not waits_rightly(self._world, target, reason):
                why = f"it says {reason}, which is not so, in the window that is open since {opens}"
                self._judge.broken("9 claims", why, machine)
            sent = self._sent(machine, opens)
            self.judged += sent or _is_due(target)
            if _is_due(target) and not sent:
                due = _Due(machine, target["metadata"]["uid"], {reason})
                self._due.setdefault(due.uid, []).append(due)
                self._at(closes, partial(self._at_the_end, policy, due, opens, closes))
        stuck = self._stuck()
        if stuck:
            at = self._world.clock.now() + GOES_ON
            self._at(at, partial(self._second_look, stuck))

    def _stuck(self) -> set[str]:
        """What there is to say of runs that could go on, and do not; a machine that is still at
        work in one that is gone is another matter."""
        world, judge = self._world, self._judge
        found = unsettled_runs(world, judge.declarations, judge.journal(), patient=False, last=True)
        return {why for machine, why in found if not machine}

    def _second_look(self, stuck: set[str]) -> None:
        """At what may just have been about to go on."""
        for why in sorted(stuck & self._stuck()) if self._quiet() else ():
            self._judge.broken("6 it gets there", why)

    def _overlooked(self, policy: Object, target: Object) -> None:
        """It is said to lack nothing, and has lacked for long what the policy selects."""
        machine = machine_of(target)
        if _condition(target, "Compliant").get("status") != "True":
            return
        lacks = {one.name for one in self._world.cloud.machines[machine].missing}
        longest = duration(policy["spec"]["assessment"]["maxAge"])
        for one in self._publications:
            if one.machine != machine or one.patch not in lacks:
                continue
            found = [at + INVENTORY for at in self._assessed_since(machine, one.at)]
            if self._world.clock.now() > min([one.at + longest, *found]) + SEEN:
                why = f"it lacks {one.patch} since {one.at}, and is called compliant"
                self._judge.broken("9 claims", why, machine)

    def _assessed_since(self, machine: str, at: datetime) -> Iterator[datetime]:
        """When assessments that began later ended well, anyone's."""
        for one in self._judge.journal().operations(machine):
            if (
                one.kind == "Assess"
                and one.started >= at
                and one.status == "Succeeded"
                and one.ended
            ):
                yield one.ended

    # --- the end ----------------------------------------------------------------------------------

    def _at_the_end(self, policy: Object, due: _Due, opens: datetime, closes: datetime) -> None:
        self._due[due.uid].remove(due)
        if not self._quiet() or due.machine not in self._world.cloud.machines:
            return
        if self._others_at_work(policy, due, opens, closes):
            return
        if not self._sent(due.machine, opens) and due.reasons <= NO_REASON:
            told = ", ".join(sorted(due.reasons))
            why = f"nothing was sent from {opens} to {closes}, though it was due; it says {told}"
            self._judge.broken("6 it gets there", why, due.machine)

    def _reported(self) -> None:
        wrong = self._overdue.look() if self._quiet() else {}
        if wrong:
            self._at(self._world.clock.now() + TOLD_WITHIN, partial(self._still_wrong, wrong))

    def _still_wrong(self, wrong: dict[str, str]) -> None:
        if self._quiet():
            self._overdue.look_again(wrong)

    def _others_at_work(self, policy: Object, due: _Due, opens: datetime, closes: datetime) -> bool:
        """It said to wait for a slot, and others of the policy, or of a group of it that the
        machine is in, were installed on meanwhile."""
        meta = policy["metadata"]
        now = self._world.api.find(PATCH_POLICY, meta["namespace"], meta["name"])
        others = {machine_of(one) for one in self._targets(policy)}
        for declared in (policy, now or policy):
            others.update(*(one.machines for one in self._groups.of(declared, due.machine)))
        others -= {due.machine}
        return "WaitingForSlot" in due.reasons and any(
            one.machine in others
            and one.kind == "Install"
            and one.started < closes
            and (one.ended is None or one.ended > opens)
            for one in self._judge.journal().operations()
        )

    def _changed(self, event: WatchEvent) -> None:
        if event.kind == PATCH_TARGET:
            for due in self._due.get(event.object["metadata"]["uid"], ()):
                due.reasons.add(_reason(event.object))

    # --- what is so -------------------------------------------------------------------------------

    def _targets(self, policy: Object) -> Iterator[Object]:
        """Those that the policy governs, if it is there still."""
        meta = policy["metadata"]
        now = self._world.api.find(PATCH_POLICY, meta["namespace"], meta["name"])
        for target in self._world.api.list(PATCH_TARGET) if now is not None else ():
            if owned(target, now or {}) and (target.get("status") or {}).get("governs"):
                yield target

    def _runs(self, machine: str) -> bool:
        found = self._world.cloud.machines.get(machine)
        return isinstance(found, VirtualMachine) and found.power is PowerState.RUNNING

    def _sent(self, machine: str, since: datetime) -> bool:
        """An install of ours began."""
        return any(
            one.kind == "Install" and one.principal == fleets.OPERATOR and one.started >= since
            for one in self._judge.journal().operations(machine)
        )


def _condition(target: Object, type_: str) -> Object:
    return next((one for one in conditions_of(target) if one["type"] == type_), {})


def _reason(target: Object) -> str:
    return str(_condition(target, "Ready").get("reason"))


def _is_due(target: Object) -> bool:
    """By its own word: something is missing that the policy selects."""
    return _condition(target, "Compliant").get("reason") == "PatchesMissing"
