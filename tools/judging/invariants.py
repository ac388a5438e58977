"""The invariants, judged on azsim's journal: each function returns what breaks its own.

They take plain data (entries, machines, PatchTargets as the API server gives them), so that any
test can use them: one that kills the operator, one that simulates it. `ours` are the names of the
principals that the operator signs in as; everybody else is foreign.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from judging.azure_journal import Journal, Kind, Operation, Request, is_arc, name_of

Violations = list[str]

LOOK = timedelta(minutes=1)
"""How long before our POST a foreign operation may have begun, or the machine been made anew,
without our having seen it."""

ARC_LATE = timedelta(minutes=10)
"""How late Resource Graph shows what others do on an Arc-enabled server. Nothing else shows it."""

ARC_BELIEVED = timedelta(days=1)
"""For how long it is believed that an operation runs there: the row of one that came to nothing
says so for ever."""

TOKEN_PATH = "/oauth2/"
RESOURCE_GRAPH_PATH = "/providers/microsoft.resourcegraph/resources"
_IMAGE_DEFINITION = re.compile(r"GET /subscriptions/.+/galleries/[^/]+/images/[^/]+", re.IGNORECASE)
"""Method and path of a request for one. Those of shared galleries have other paths: they are asked
for in the name of a subscription, which must be its own."""


Shown = Mapping[str, datetime]
"""Since when Resource Graph shows an operation on an Azure Arc-enabled server, by its id. One that
is not there it does not show."""


def seen_from(operation: Operation, shown: Shown | None) -> datetime | None:
    """From when on who looks at the machine sees an operation of somebody else's; None: not yet.
    Without `shown`, Resource Graph is taken to be late by as much as is usual."""
    if not is_arc(operation.machine):
        return operation.started
    if shown is None:
        return operation.started + ARC_LATE
    return shown.get(operation.id)


def at_most_one_in_flight(
    journal: Journal, ours: Collection[str], shown: Shown | None = None
) -> Violations:
    """1: none of our operations begins while another is in flight on the machine."""
    operations, sent = journal.operations(), _sent(journal, ours)
    return [
        f"{mine} began beside {other}"
        for mine in operations
        if mine.principal in ours
        for other in operations
        if _beside(mine, other)
        and (other.principal in ours or not _unseen(sent(mine), other, shown))
    ]


def _sent(journal: Journal, ours: Collection[str]) -> Callable[[Operation], datetime]:
    """When an operation of ours was sent: it may have to wait for the agent of an Arc-enabled
    server."""
    posted = {
        request.attempt_id: request.time
        for request in journal.requests(ours)
        if request.patches is not None
    }
    return lambda operation: posted.get(operation.attempt_id, operation.started)


def _beside(mine: Operation, other: Operation) -> bool:
    """Whether `other` was going on when `mine` began, or ended only because of it."""
    if other.id == mine.id or other.machine != mine.machine:
        return False
    return other.superseded == mine.id or (other.first < mine.first and other.covers(mine.first))


def _unseen(sent: datetime, other: Operation, shown: Shown | None) -> bool:
    """A foreign operation may begin, or begin to show, after our last look."""
    if is_arc(other.machine) and sent - other.started > ARC_BELIEVED:
        return True
    seen = seen_from(other, shown)
    return seen is None or sent - seen <= LOOK


@dataclass(frozen=True)
class OpenTimes:
    """When installs may start on some machines."""

    machines: frozenset[str]
    """Their names."""
    stretches: Sequence[tuple[datetime, datetime]]
    """From when until when windows are open and no freeze holds."""
    needed: timedelta
    """What must fit before the end: maximumDuration."""


def only_in_open_times(
    journal: Journal, times: Iterable[OpenTimes], ours: Collection[str]
) -> Violations:
    """2: no install starts outside an open window, in a freeze, or without time for all of it.

    The intent counts, which was written at most LOOK before the request arrived.
    """
    of = {machine: one for one in times for machine in one.machines}
    found = []
    for request in journal.requests(ours):
        if request.patches is None or request.patches[1] != "Install":
            continue
        one = of.get(name_of(request.patches[0]))
        if one is not None and not _fits(one, request.time):
            found.append(f"{request.time}: an install on {request.patches[0]} when none may start")
    return found


def _fits(times: OpenTimes, sent: datetime) -> bool:
    return any(start <= sent <= end - times.needed + LOOK for start, end in times.stretches)


PAUSED_AT_MOST = timedelta(hours=5, minutes=25)
"""Azure's longest maximumDuration, and 90 minutes."""

GIVEN_UP = timedelta(minutes=119)
"""After the start of an assessment; its deadline is two hours after its intent."""


@dataclass(frozen=True)
class Rollout:
    """The machines of one policy, and how many of them may be unavailable at a time; or, for one
    group of its rollout.spread, the group's machines, whoever patches them."""

    policy: str
    machines: frozenset[str]
    limit: int
    starts: frozenset[str] | None = None
    """Of a group: the machines on which the policy begins installs. Other policies have limits of
    their own. None: all of `machines`."""


def max_unavailable_kept(
    journal: Journal,
    rollouts: Iterable[Rollout],
    ours: Collection[str],
    since: int = 0,
    forgotten: Iterable[tuple[str, int]] = (),
    shown: Shown | None = None,
) -> Violations:
    """3: when one of our installs begins, at most `limit` machines of its policy, and of each of
    its groups, are unavailable.

    A machine is from an install's start until an assessment that began after its end has ended, or
    has run for two hours and nobody knows its end; if the install did not succeed, until one has
    succeeded. Foreign installs count as long as they
    run, once we have looked at the machine. Judged are the installs that began at entry `since` or
    later: the limit and the machines of a policy may have been others before. `forgotten`: from
    which entry on nothing in the cluster speaks of a machine's installs any more, because the
    policy that began them was deleted. One that still runs then is as good as a foreign one.
    """
    stretches = list(_unavailable(journal, ours, tuple(forgotten)))
    broken = []
    for rollout in rollouts:
        mine = [one for one in stretches if one.install.machine in rollout.machines]
        for new in (one.install for one in mine):
            if new.principal not in ours or new.first < since:
                continue
            if rollout.starts is not None and new.machine not in rollout.starts:
                continue
            out = {
                one.install.machine
                for one in mine
                if one.covers(new.first)
                and (one.known_at(new.first, ours) or _seen(journal, one, new, ours, shown))
            } | {new.machine}
            if len(out) > rollout.limit:
                names = ", ".join(sorted(map(name_of, out)))
                broken.append(
                    f"{rollout.policy}: {len(out)} machines unavailable, {rollout.limit} allowed, "
                    f"when {new} began: {names}"
                )
    return broken


def _seen(
    journal: Journal,
    stretch: _Stretch,
    before: Operation,
    ours: Collection[str],
    shown: Shown | None,
) -> bool:
    """Whether Azure had shown us a foreign operation, or anew one that was forgotten, when `before`
    began. One on a machine that was stopped meanwhile is not waited for for ever."""
    foreign = stretch.install
    seen = seen_from(foreign, shown)
    if before.started - foreign.started > PAUSED_AT_MOST:
        return False
    return seen is not None and any(
        request.method == "GET"
        and (stretch.forgotten or foreign.first) < request.number < before.first
        and request.time >= seen
        and request.path.lower().startswith(foreign.machine)
        for request in journal.requests(ours)
    )


@dataclass(frozen=True)
class _Stretch:
    """A machine that is unavailable because of an install; numbers of journal entries."""

    install: Operation
    last: int | None
    forgotten: int | None = None
    """From when on nothing speaks of it, though it runs."""

    def covers(self, number: int) -> bool:
        return self.install.first <= number and (self.last is None or number < self.last)

    def known_at(self, number: int, ours: Collection[str]) -> bool:
        """Whether it is one of ours that is written down then."""
        written = self.forgotten is None or number < self.forgotten
        return self.install.principal in ours and written


def _unavailable(
    journal: Journal, ours: Collection[str], forgotten: Sequence[tuple[str, int]]
) -> Iterator[_Stretch]:
    operations = journal.operations()
    gone = {event.resource: event.number for event in journal.events("MachineDeleted")}
    for install in operations:
        if install.kind != "Install":
            continue
        if install.principal not in ours:
            yield _Stretch(install, install.last)
            continue
        ends = [
            after.last
            for after in operations
            if after.machine == install.machine
            and after.kind == "Assess"
            and install.last is not None
            and after.first > install.last
            and after.last is not None
            and (after.status == "Succeeded" or came_to_a_good_end(install))
        ]
        ends += [
            journal.first_at(after.started + GIVEN_UP)
            for after in operations
            if after.machine == install.machine
            and after.kind == "Assess"
            and install.last is not None
            and after.first > install.last
            and came_to_a_good_end(install)
        ]
        ends += [
            event.number
            for event in journal.events("OperationUnreached")
            if event.resource == install.machine
            and event.details["operation"] == "Assess"
            and came_to_a_good_end(install)
            and install.last is not None
            and event.number > install.last
        ]
        unspoken = [
            number
            for machine, number in forgotten
            if machine == install.machine and number >= install.first
        ]
        ends += [one for one in unspoken if install.last is not None and one >= install.last]
        ends += [gone[install.machine]] if gone.get(install.machine, 0) > install.first else []
        yield _Stretch(install, min(ends, default=None), min(unspoken, default=None))


def came_to_a_good_end(install: Operation) -> bool:
    """Also with a warning that says no more than that a reboot is left to a person."""
    if install.status != "CompletedWithWarnings":
        return install.status == "Succeeded"
    result = install.result
    return (
        result.get("rebootStatus") == "Required"
        and not result.get("failedPatchCount")
        and not result.get("maintenanceWindowExceeded")
    )


@dataclass(frozen=True)
class Verdict:
    """What may be sent to a machine: a row of the verdict table, worked out by the test."""

    machine: str
    assess: bool
    install: bool
    assessed_before: bool = False
    """An assessment was there before the journal began."""


def verdicts_kept(
    journal: Journal,
    verdicts: Iterable[Verdict],
    ours: Collection[str],
    shown: Shown | None = None,
) -> Violations:
    """5: nothing is sent to a machine whose verdict forbids it, or not yet allows it.

    Every install has an assessment before it that succeeded, and that no other install followed.
    """
    broken = []
    for verdict in verdicts:
        allowed = {"Assess": verdict.assess, "Install": verdict.install}
        for request in journal.posts(verdict.machine, None, ours):
            asked = request.patches
            assert asked is not None
            if not allowed[asked[1]]:
                broken.append(f"{request}: the verdict forbids it")
        broken += _without_evidence(journal, verdict, ours, shown)
    return broken


def _without_evidence(
    journal: Journal, verdict: Verdict, ours: Collection[str], shown: Shown | None
) -> Iterator[str]:
    """Evidence is of one machine: one that was made anew under its name has none yet."""
    operations, sent = journal.operations(verdict.machine), _sent(journal, ours)
    assessed = operations[0].vm_id if operations and verdict.assessed_before else None
    made = {event.details["vmId"]: event.time for event in journal.events("MachineCreated")}
    never = datetime.max.replace(tzinfo=UTC)
    outdated = datetime.min.replace(tzinfo=UTC)
    for what, operation in _steps(operations):
        if operation.kind == "Assess" and what == "end" and operation.status == "Succeeded":
            assessed = operation.vm_id
        elif operation.kind == "Install" and what == "start":
            if operation.principal in ours and assessed != operation.vm_id:
                # What happened after our last look, no program could know.
                if sent(operation) - max(outdated, made.get(operation.vm_id, outdated)) > LOOK:
                    yield f"{operation}: no assessment since the last install had succeeded"
            elif operation.principal not in ours:
                outdated = seen_from(operation, shown) or never
            assessed = None


def _steps(operations: Sequence[Operation]) -> list[tuple[str, Operation]]:
    """Starts and ends, in the order in which they happened."""
    steps = [(one.first, "start", one) for one in operations]
    steps += [(one.last, "end", one) for one in operations if one.last is not None]
    return [(what, one) for _, what, one in sorted(steps, key=lambda step: step[0])]


@dataclass(frozen=True)
class Leave:
    """Someone may patch, or assess, a machine: for which entries of the journal."""

    machine: str
    kinds: frozenset[Kind] = frozenset({"Assess", "Install"})
    first: int = 0
    last: int | None = None

    def allows(self, request: Request, machine: str, kind: Kind) -> bool:
        """Whether the request is within it."""
        in_time = self.first <= request.number and (
            self.last is None or request.number <= self.last
        )
        return in_time and self.machine.lower() == machine and kind in self.kinds


def only_what_is_granted(
    journal: Journal,
    leaves: Iterable[Leave],
    identities: Mapping[str, Collection[str]],
) -> Violations:
    """7: no guest patch request without leave, and no call with another subscription's identity.

    `identities`: by principal of ours, the ids of the subscriptions that it is for. An image
    definition is asked for wherever it lies.
    """
    leaves = tuple(leaves)
    broken = []
    for request in journal.requests(set(identities)):
        assert request.principal is not None
        asked = request.patches
        if asked is not None and not any(leave.allows(request, *asked) for leave in leaves):
            broken.append(f"{request}: no grant allows it")
        mine = {id_.lower() for id_ in identities[request.principal]}
        strange = _subscriptions(request) - mine
        if strange and not _IMAGE_DEFINITION.fullmatch(f"{request.method} {request.path}"):
            broken.append(f"{request}: not an identity of {', '.join(sorted(strange))}")
    return broken


def _subscriptions(request: Request) -> set[str]:
    """The subscriptions that a request is about, in lower case."""
    parts = request.path.lower().split("/")
    if len(parts) > 2 and parts[1] == "subscriptions":
        return {parts[2]}
    if request.path.lower() == RESOURCE_GRAPH_PATH and isinstance(request.body, Mapping):
        return {str(id_).lower() for id_ in request.body.get("subscriptions") or ()}
    return set()


def azure_writes(journal: Journal, ours: Collection[str]) -> Violations:
    """8: requests that change something in Azure. Queries and sign-in tokens change nothing."""
    return [
        str(request)
        for request in journal.requests()
        if request.method not in ("GET", "HEAD")
        and (request.principal is None or request.principal in ours)
        and request.path.lower() != RESOURCE_GRAPH_PATH
        and TOKEN_PATH not in request.path
    ]
