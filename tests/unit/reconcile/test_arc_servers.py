"""An Azure Arc-enabled server through the whole operator: the same protocol by other evidence."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from dying import dies_before
from fakes import (
    DAY,
    HOUR,
    MINUTE,
    PATCH,
    SECOND,
    START,
    SUBSCRIPTION,
    World,
    assessment_row,
    machine,
)

from azpatch.api import MachineKind
from azpatch.api.target import OperationKind, OperationState
from azpatch.azure.port import AzureError, Gone, OverBudget, Progress, Retry, Unconfirmed
from azpatch.domain.facts import (
    AssessmentResult,
    GuestStatus,
    InstallationResult,
    Machine,
    RebootStatus,
    Requested,
)
from azpatch.domain.ids import key
from azpatch.kube.port import PATCH_TARGET

SUCCEEDED, FAILED, RUNS = GuestStatus.SUCCEEDED, GuestStatus.FAILED, GuestStatus.IN_PROGRESS
GROUP = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg"
SERVER = f"{GROUP}/providers/Microsoft.HybridCompute/machines/dc-7"
SOON = 20 * SECOND
LASTS = 4 * MINUTE


def server(status: str = "Connected", since: datetime = START - 100 * DAY) -> Machine:
    return Machine(
        id=SERVER,
        vm_id="server-1",
        location="westeurope",
        os_type=machine().os_type,
        computer_name="dc-7",
        kind=MachineKind.ARC_SERVER,
        arc_status=status,
        arc_status_since=since,
    )


class Server:
    """The server that carries out what is sent to it, and notes what must not happen.

    Its activities have ids of their own, which no operation's URL names.
    """

    def __init__(self, world: World, *, shows_requests: bool, late: timedelta) -> None:
        self._world = world
        self._shows_requests = shows_requests
        self._late = late
        """How long after an operation has begun, or ended, its row says so."""
        self._running: tuple[str, int, datetime] | None = None
        self._rows: list[tuple[datetime, str, Any]] = []
        self.began: list[str] = []
        self.collisions = 0
        self.dead = False
        """The operator: nothing of what it still does gets out."""
        world.azure.add(server())

    def post(self, _machine: str) -> AzureError | None:
        if self.dead:
            return Retry("Dead", "It never got out.")
        self.collisions += self._running is not None
        kind, _, _ = self._world.azure.posts[-1]
        number, now = len(self._world.azure.posts), self._world.clock.now()
        self._running = (kind, number, now)
        self.began.append(kind)
        if self._shows_requests:
            request = Requested(f"act-{number}", OperationKind(kind), now)
            self._world.azure.change(SERVER, requested=request)
        self._tell(kind, number, now, RUNS)
        return None

    def tick(self) -> None:
        """Ends what has run for long enough, and lets Resource Graph show what is old enough."""
        now = self._world.clock.now()
        if self._running is not None and now - self._running[2] >= LASTS:
            kind, number, began = self._running
            self._running = None
            self._tell(kind, number, began, SUCCEEDED)
        shown = [row for row in self._rows if row[0] <= now]
        self._rows = [row for row in self._rows if row[0] > now]
        azure = self._world.azure
        for _, kind, row in shown:
            if kind == "Install":
                azure.install_rows[key(SERVER)] = row
            else:
                azure.rows[key(SERVER)] = row
                missing = row.critical_and_security or 0
                azure.patches[key(SERVER)] = (PATCH,) * missing

    def _tell(self, kind: str, number: int, began: datetime, status: GuestStatus) -> None:
        now = self._world.clock.now()
        ended: dict[str, Any] = {"status": status, "activity_id": f"act-{number}"}
        row: AssessmentResult | InstallationResult
        if kind == "Assess":
            missing = 0 if "Install" in self.began else 1
            row = assessment_row(
                start_time=began, last_modified=now, critical_and_security=missing,
                detected=None, **ended
            )  # fmt: skip
            progress = Progress(status is RUNS, assessment=row)
        else:
            row = InstallationResult(
                start_time=began, last_modified=now, installed=1, patches=(),
                reboot_status=RebootStatus.NOT_NEEDED, **ended
            )  # fmt: skip
            # The operation's own result lists no patches.
            progress = Progress(status is RUNS, installation=replace(row, patches=None))
        if status is not RUNS:
            self._world.azure.operations[f"op-{number}"] = progress
        self._rows.append((now + self._late, kind, row))


def arc_world(**subscription: Any) -> World:
    world = World()
    world.subscription(**{"arcBilling": "Accepted", **subscription})
    world.policy(target={"arcMachine": {"id": SERVER}})
    return world


@pytest.fixture
def world() -> World:
    """A connected server that was never assessed."""
    world = arc_world()
    world.azure.add(server())
    return world


@asynccontextmanager
async def taken(world: World, kind: str) -> AsyncIterator[None]:
    """An operator that has sent an operation of this kind, and been told that Azure took it."""
    world.azure.rows.pop(key(SERVER), None)
    async with world.operator_runs():
        await world.passes(SOON)
        if kind == "Install":
            now = world.clock.now()
            row = assessment_row(start_time=now, last_modified=now, detected=None)
            world.azure.rows[key(SERVER)] = row
            world.azure.patches[key(SERVER)] = (PATCH,)
            world.azure.operations["op-1"] = Progress(False, assessment=row)
            await world.passes(11 * MINUTE)
        assert world.azure.posts[-1][0] == kind
        yield


# --- from the first assessment to compliant -------------------------------------------------------


async def story(
    point: int | None, *, shows_requests: bool, late: timedelta = MINUTE
) -> tuple[World, Server, int]:
    """A server is assessed, installed on and assessed again; before its write number `point` the
    operator dies. Returns the number of writes that got out before."""
    world = arc_world()
    guest = Server(world, shows_requests=shows_requests, late=late)
    written = await dies_before(point, world, guest, 240)
    return world, guest, written


WRITES = 50
"""More than the story has."""


@pytest.mark.parametrize("shows_requests", [True, False], ids=["requests shown", "rows only"])
class TestTheStory:
    async def test_without_a_crash(self, shows_requests: bool) -> None:
        world, guest, written = await story(None, shows_requests=shows_requests)
        assert guest.began == ["Assess", "Install", "Assess"]
        assert world.compliant(SERVER) == ("True", "Compliant")
        assert 15 < written < WRITES

    @pytest.mark.parametrize("point", range(WRITES))
    async def test_dying_before_any_write_loses_and_doubles_nothing(
        self, shows_requests: bool, point: int
    ) -> None:
        world, guest, _ = await story(point, shows_requests=shows_requests, late=10 * MINUTE)

        assert guest.collisions == 0, "at most one operation in flight"
        assert guest.began.count("Install") == 1, "nothing is sent again that had begun"
        assert world.compliant(SERVER) == ("True", "Compliant")
        assert world.ready(SERVER) == "UpToDate"
        assert world.kube.finalizers(PATCH_TARGET) == []


# --- what it costs --------------------------------------------------------------------------------


class TestItsCost:
    async def test_until_it_is_accepted_nothing_is_sent(self) -> None:
        world = arc_world(arcBilling=None)
        world.azure.add(server())
        async with world.operator_runs():
            await world.passes(DAY)
            assert world.azure.posts == []
            assert world.ready(SERVER) == "ArcBillingNotAccepted"
            world.subscription(arcBilling="Accepted")
            await world.passes(SOON)
        assert [kind for kind, *_ in world.azure.posts] == ["Assess"]

    async def test_when_it_is_withdrawn_in_the_last_moment_nothing_is_sent(
        self, world: World
    ) -> None:
        """The watch has not shown it yet."""
        world.kube.watch = lambda *_: None
        looked = world.azure.machine

        async def withdrawn(machine_id: str) -> Any:
            world.subscription(arcBilling=None)
            return await looked(machine_id)

        world.azure.machine = withdrawn  # type: ignore[method-assign]
        async with world.operator_runs():
            await world.passes(SOON)
        assert world.azure.posts == []

    async def test_when_it_is_withdrawn_what_was_sent_is_still_read(self, world: World) -> None:
        async with taken(world, "Assess"):
            world.subscription(arcBilling=None)
            now = world.clock.now()
            world.azure.operations["op-1"] = Progress(
                False, assessment=assessment_row(start_time=now, last_modified=now)
            )
            await world.passes(10 * MINUTE)
        assert world.status(SERVER).assessment is not None
        assert world.ready(SERVER) == "ArcBillingNotAccepted"


# --- the look before the POST ---------------------------------------------------------------------


class TestBeforeThePost:
    @pytest.mark.parametrize("subject", ["rows", "install_rows"])
    async def test_a_row_that_says_in_progress_is_waited_for(
        self, world: World, subject: str
    ) -> None:
        made = AssessmentResult if subject == "rows" else InstallationResult
        rows: dict[str, Any] = getattr(world.azure, subject)
        rows[key(SERVER)] = made(RUNS, start_time=START, activity_id="theirs")
        async with world.operator_runs():
            await world.passes(10 * MINUTE)
            assert (world.azure.posts, world.ready(SERVER)) == ([], "ForeignOperation")
            rows[key(SERVER)] = made(
                SUCCEEDED, start_time=START, last_modified=START, activity_id="theirs"
            )
            await world.passes(10 * MINUTE)
        assert [kind for kind, *_ in world.azure.posts] == ["Assess"]

    async def test_one_that_arm_shows_disconnected_is_waited_for_until_it_is_back(
        self, world: World
    ) -> None:
        """Resource Graph says Connected, a while longer."""
        world.azure.change(SERVER, agent_ready=False, machine=server("Disconnected"))
        async with world.operator_runs():
            await world.passes(DAY)
            assert (world.azure.posts, world.ready(SERVER)) == ([], "ArcDisconnected")
            world.azure.change(SERVER, agent_ready=True, machine=server(since=START + DAY))
            await world.passes(6 * MINUTE)
        assert [kind for kind, *_ in world.azure.posts] == ["Assess"]

    async def test_without_its_rows_nothing_is_sent(self, world: World) -> None:
        world.azure.broken["installations"] = Retry("Busy", "Later.")
        async with world.operator_runs():
            await world.passes(HOUR)
            assert (world.azure.posts, world.ready(SERVER)) == ([], "AzureUnreachable")
            del world.azure.broken["installations"]
            await world.passes(5 * MINUTE)
        assert [kind for kind, *_ in world.azure.posts] == ["Assess"]

    async def test_where_resource_graph_has_no_room_it_comes_back(self, world: World) -> None:
        world.azure.broken["installations"] = OverBudget("OverBudget", "Later.", MINUTE)
        async with world.operator_runs():
            await world.passes(30 * SECOND)
            assert world.azure.posts == []
            del world.azure.broken["installations"]
            await world.passes(MINUTE)
        assert [kind for kind, *_ in world.azure.posts] == ["Assess"]

    async def test_the_intent_has_the_activity_that_was_asked_for_last(self, world: World) -> None:
        before = Requested("asked-before", OperationKind.INSTALL, START - DAY)
        world.azure.change(SERVER, requested=before)
        async with taken(world, "Assess"):
            operation = world.status(SERVER).operation
        assert operation is not None
        assert operation.previous_activity_id == "asked-before"


# --- in flight ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["Assess", "Install"])
class TestInFlight:
    async def test_the_id_in_the_operations_url_is_not_taken_for_its_activity(
        self, world: World, kind: str
    ) -> None:
        async with taken(world, kind):
            operation = world.status(SERVER).operation
        assert operation is not None
        assert (operation.state, operation.operation_id) == (OperationState.STARTED, None)

    async def test_after_a_restart_its_row_ends_it(self, world: World, kind: str) -> None:
        async with taken(world, kind):
            intended = world.status(SERVER).operation
        assert intended is not None
        start = world.clock.now()
        posts = len(world.azure.posts)
        row: Any = AssessmentResult(SUCCEEDED, start, start, "act-1")
        if kind == "Install":
            row = InstallationResult(SUCCEEDED, start, start, "act-1", installed=7, patches=())
            world.azure.install_rows[key(SERVER)] = row
        else:
            world.azure.rows[key(SERVER)] = row
        world.azure.operations = {f"op-{n}": Gone("Gone", "Long ago.") for n in range(1, 4)}
        world.azure.post = lambda _machine: Unconfirmed("Stop", "For the test.")
        async with world.operator_runs():
            await world.passes(2 * MINUTE)
            status = world.status(SERVER)
        ended = status.installation if kind == "Install" else status.assessment
        assert ended is not None
        assert ended.activity_id == "act-1"
        assert len(world.azure.posts) <= posts + 1, "what follows is another operation"

    async def test_a_server_that_is_cut_off_keeps_its_lock_until_the_deadline(
        self, world: World, kind: str
    ) -> None:
        async with taken(world, kind):
            operation = world.status(SERVER).operation
        assert operation is not None
        posts = len(world.azure.posts)
        cut = server("Disconnected", since=world.clock.now())
        world.azure.change(SERVER, agent_ready=False, machine=cut)
        world.azure.operations = {f"op-{n}": Gone("Gone", "Long ago.") for n in range(1, 4)}
        async with world.operator_runs():
            await world.passes(operation.deadline - world.clock.now() - MINUTE)
            assert world.status(SERVER).operation is not None
            await world.passes(6 * MINUTE)
            status = world.status(SERVER)
        assert status.operation is None
        assert len(world.azure.posts) == posts, "nothing is sent to a server that is cut off"
        if kind == "Install":
            assert status.installation is not None
            assert status.installation.outcome == "Unknown"


async def test_while_its_url_says_that_ours_runs_nobody_elses_row_ends_it(world: World) -> None:
    async with taken(world, "Install"):
        now = world.clock.now()
        world.azure.install_rows[key(SERVER)] = InstallationResult(
            SUCCEEDED, now + MINUTE, now + 3 * MINUTE, "theirs", installed=1, patches=()
        )
        await world.passes(HOUR)
        operation = world.status(SERVER).operation
        assert operation is not None
        assert (operation.kind, operation.operation_id) == ("Install", None)
        assert [kind for kind, *_ in world.azure.posts] == ["Assess", "Install"]


async def test_an_install_whose_row_is_late_is_over_when_its_url_says_so(world: World) -> None:
    async with taken(world, "Install"):
        now = world.clock.now()
        world.azure.install_rows[key(SERVER)] = InstallationResult(RUNS, now, now, "act-2")
        ended = InstallationResult(
            SUCCEEDED, now, now, "act-2", installed=1, reboot_status=RebootStatus.NOT_NEEDED
        )
        world.azure.operations["op-2"] = Progress(False, installation=ended)
        await world.passes(12 * MINUTE)
        assert [kind for kind, *_ in world.azure.posts] == ["Assess", "Install", "Assess"]


async def test_past_its_deadline_nothing_is_sent_as_long_as_its_url_says_that_it_runs(
    world: World,
) -> None:
    async with taken(world, "Install"):
        operation = world.status(SERVER).operation
        assert operation is not None
        await world.passes(operation.deadline - world.clock.now() + HOUR)
        known = world.status(SERVER).installation
        assert known is not None
        assert (known.outcome, world.ready(SERVER)) == ("Unknown", "OperationInProgress")
        assert [kind for kind, *_ in world.azure.posts] == ["Assess", "Install"]
        world.azure.operations["op-2"] = Gone("Gone", "Long ago.")
        await world.passes(11 * MINUTE)
        assert [kind for kind, *_ in world.azure.posts] == ["Assess", "Install", "Assess"]


@pytest.mark.parametrize(
    ("last", "minutes"),
    [
        pytest.param(Requested("before", OperationKind.ASSESS, START - DAY), 60, id="requests"),
        pytest.param(None, 120, id="no requests: until the deadline"),
    ],
)
async def test_an_answer_that_was_lost_is_waited_for_where_azure_shows(
    world: World, last: Requested | None, minutes: int
) -> None:
    world.azure.change(SERVER, requested=last)
    world.azure.post = lambda _machine: Unconfirmed("Lost", "The connection broke.")
    async with world.operator_runs():
        await world.passes((minutes - 2) * MINUTE)
        assert len(world.azure.posts) == 1
        assert world.ready(SERVER) == "OperationUnconfirmed"
        await world.passes(20 * MINUTE)
        assert len(world.azure.posts) == 2


async def test_an_install_that_failed_in_azure_and_not_in_truth_is_righted_by_the_assessment(
    world: World,
) -> None:
    """The server was cut off in the middle, and finished by itself."""
    async with taken(world, "Install"):
        now = world.clock.now()
        failed = InstallationResult(FAILED, now, now, "act-2")
        world.azure.operations["op-2"] = Progress(False, installation=failed)
        await world.passes(11 * MINUTE)
        assert world.azure.posts[-1][0] == "Assess"
        assert world.compliant(SERVER) == ("False", "InstallFailed")
        now = world.clock.now()
        clean = assessment_row(
            start_time=now,
            last_modified=now,
            activity_id="act-3",
            critical_and_security=0,
            detected=None,
        )
        world.azure.rows[key(SERVER)] = clean
        world.azure.operations["op-3"] = Progress(False, assessment=clean)
        await world.passes(11 * MINUTE)
        assert world.compliant(SERVER) == ("True", "Compliant")
        assert [kind for kind, *_ in world.azure.posts] == ["Assess", "Install", "Assess"]


async def test_many_servers_share_the_queries_for_their_rows() -> None:
    """Resource Graph takes three a second."""
    world = World()
    world.subscription(arcBilling="Accepted")
    count = 30
    for number in range(count):
        id_ = f"{SERVER}-{number}"
        world.azure.add(replace(server(), id=id_, vm_id=f"server-{number}"))
        world.policy(f"web-{number}", target={"arcMachine": {"id": id_}})
    async with world.operator_runs():
        await world.passes(SOON)
    assert len(world.azure.posts) == count
    asked = [machines for read, machines in world.azure.reads if read == "installations"]
    assert sum(asked) >= count
    assert len(asked) <= count
