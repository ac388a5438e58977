"""The operator's start and end on a real API server; its reconcilers are the test's."""

import asyncio
import contextlib
import os
import secrets
import signal
import time
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from random import Random

import aiohttp
import pytest
from prometheus_client import REGISTRY

from azpatch import health
from azpatch.clock import SystemClock
from azpatch.handlers.engine import Engine
from azpatch.health import HealthServer
from azpatch.kube.client import KubernetesClient
from azpatch.kube.election import LEASE_NAME, Election, LeaseTimes
from azpatch.kube.port import PATCH_TARGET, Conflict, Object
from azpatch.reconcile.queue import Key, Result, WorkQueue
from azpatch.reconcile.resync import Resync
from azpatch.reconcile.store import Store
from azpatch.runtime import LeaseLostError, PartEndedError, Runtime
from lab import chart
from lab.controlplane import ControlPlane

PATIENCE = 20.0
"""Seconds; what is waited for takes a tenth of one, on a machine that is not busy."""

MACHINE = (
    "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/rg-web"
    "/providers/Microsoft.Compute/virtualMachines/web-1"
)


TIMES = LeaseTimes(duration=15, renew_deadline=10, retry_period=0.2)
"""Long, so that no busy machine loses a Lease; an attempt is made at once, and often."""

FREE = {"holderIdentity": ""}
"""A Lease that nobody holds: it is taken at once."""


def target(namespace: str) -> Object:
    return {
        "apiVersion": "azpatch.dev/v1alpha1",
        "kind": "PatchTarget",
        "metadata": {"name": "web-1", "namespace": namespace},
        "spec": {"machineId": MACHINE, "policy": "web-linux"},
    }


class SlowHands:
    """Reconciles last until `let_go`; the background fails when told to."""

    def __init__(self) -> None:
        self.begun: list[Key] = []
        self.ended: list[Key] = []
        self.let_go = asyncio.Event()
        self.fail = asyncio.Event()
        self.background_ended = False
        self.closed = False

    async def reconcile(self, key: Key) -> Result:
        self.begun.append(key)
        await self.let_go.wait()
        self.ended.append(key)
        return Result()

    async def run_background(self) -> None:
        try:
            await self.fail.wait()
            raise RuntimeError("the inventory's loop has a defect")
        finally:
            self.background_ended = True

    def health(self) -> list[str]:
        return []

    async def close(self) -> None:
        self.closed = True


class Operator:
    """The parts as the composition root joins them."""

    def __init__(self, kube: KubernetesClient, times: LeaseTimes = TIMES) -> None:
        clock = SystemClock()
        self.kube = kube
        name = f"test_{secrets.token_hex(4)}"
        self.election = Election(kube, clock, Random(1), name, LEASE_NAME, times)
        self.store = Store()
        self.queue = WorkQueue(clock, Random(1))
        self.hands = SlowHands()
        self.resync = Resync(
            kube, self.store, self.queue.add, clock, Random(1), timedelta(seconds=1)
        )
        pages = health.application(
            lambda: health.standstill(self.queue),
            lambda: health.unready(self.election, self.store),
            REGISTRY,
        )
        self.server = HealthServer(pages, "127.0.0.1", 0)
        self.runtime = Runtime(
            election=self.election,
            store=self.store,
            queue=self.queue,
            resync=self.resync,
            engine=Engine(self.store, self.queue.add, kube.login),
            reconcilers=self.hands,
            health=self.server,
            # Each holds its key until it is let go, also those of objects that others left.
            workers=100,
        )

    async def page(self, path: str) -> int:
        url = f"http://{self.server.host}:{self.server.port}{path}"
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            return answer.status


async def until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"not within {PATIENCE} s: {what}"
        await asyncio.sleep(0.02)


@pytest.fixture
async def operator(crds: ControlPlane, namespace: str) -> AsyncIterator[Operator]:
    kube = await KubernetesClient.connect(namespace, crds.kubeconfig)
    await kube.create_lease(LEASE_NAME, FREE)
    yield Operator(kube)
    await kube.close()


async def test_sigterm_lets_the_key_in_hand_end(operator: Operator, namespace: str) -> None:
    await operator.kube.create(PATCH_TARGET, target(namespace))
    running = asyncio.create_task(operator.runtime.run())
    key = Key("PatchTarget", namespace, "web-1")
    await until(lambda: key in operator.hands.begun, "the first reconcile")
    assert await operator.page("/readyz") == 200
    assert await operator.page("/healthz") == 200
    assert await operator.page("/metrics") == 200
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.sleep(0.5)
    assert not running.done()
    began = list(operator.hands.begun)
    operator.hands.let_go.set()
    started = time.monotonic()
    await asyncio.wait_for(running, PATIENCE)
    assert operator.hands.ended == operator.hands.begun == began, "nothing new was begun"
    assert operator.hands.background_ended
    assert operator.hands.closed
    assert time.monotonic() - started < 4, "kopf found no tasks to wait for"


async def test_resyncs_go_on_without_end(operator: Operator) -> None:
    operator.hands.let_go.set()
    running = asyncio.create_task(operator.runtime.run())
    await until(lambda: operator.resync.rounds >= 3, "the third resync")
    operator.runtime.stop()
    await asyncio.wait_for(running, PATIENCE)


async def test_a_part_that_ends_ends_the_operator(operator: Operator) -> None:
    operator.hands.let_go.set()
    running = asyncio.create_task(operator.runtime.run())
    await until(lambda: operator.store.is_synced, "the first LIST")
    operator.hands.fail.set()
    with pytest.raises(PartEndedError, match="background"):
        await asyncio.wait_for(running, PATIENCE)


async def test_it_waits_for_its_crds_and_can_be_stopped_meanwhile(namespace: str) -> None:
    with ControlPlane() as bare:
        await asyncio.to_thread(chart.create_namespace, bare, namespace)
        kube = await KubernetesClient.connect(namespace, bare.kubeconfig)
        await kube.create_lease(LEASE_NAME, FREE)
        operator = Operator(kube)
        operator.hands.let_go.set()
        running = asyncio.create_task(operator.runtime.run())
        await asyncio.sleep(1)
        assert await operator.page("/readyz") == 503
        await asyncio.to_thread(chart.apply_crds, bare)
        await until(lambda: operator.store.is_synced, "the first LIST")
        operator.runtime.stop()
        await asyncio.wait_for(running, PATIENCE)
        await kube.close()


async def test_it_stops_while_the_api_server_is_away() -> None:
    with ControlPlane() as gone:
        kube = await KubernetesClient.connect("default", gone.kubeconfig)
    operator = Operator(kube)
    running = asyncio.create_task(operator.runtime.run())
    await asyncio.sleep(0.5)
    assert not running.done()
    operator.runtime.stop()
    await asyncio.wait_for(running, PATIENCE)
    await kube.close()


async def held_by(kube: KubernetesClient) -> str:
    return str((await kube.get_lease(LEASE_NAME))["spec"]["holderIdentity"])


async def give_to(kube: KubernetesClient, holder: str) -> None:
    """Somebody writes the Lease by hand; the holder may come first."""
    while True:
        lease = await kube.get_lease(LEASE_NAME)
        with contextlib.suppress(Conflict):
            await kube.replace_lease(lease, {**lease["spec"], "holderIdentity": holder})
            return


async def test_a_standby_is_ready_and_neither_lists_nor_works(operator: Operator) -> None:
    await give_to(operator.kube, "another")
    running = asyncio.create_task(operator.runtime.run())
    await until(lambda: operator.election.contends, "the Lease was read")
    assert await operator.page("/readyz") == 200
    assert await operator.page("/healthz") == 200
    await asyncio.sleep(0.5)
    assert operator.resync.rounds == 0
    assert not operator.store.is_synced
    operator.runtime.stop()
    await asyncio.wait_for(running, PATIENCE)
    assert await held_by(operator.kube) == "another"


async def test_the_lease_is_kept_while_the_keys_in_hand_end_and_then_released(
    operator: Operator, namespace: str
) -> None:
    await operator.kube.create(PATCH_TARGET, target(namespace))
    running = asyncio.create_task(operator.runtime.run())
    await until(lambda: operator.hands.begun, "the first reconcile")
    operator.runtime.stop()
    before = (await operator.kube.get_lease(LEASE_NAME))["spec"]["renewTime"]
    await asyncio.sleep(1)
    lease = await operator.kube.get_lease(LEASE_NAME)
    assert lease["spec"]["holderIdentity"].startswith("test_")
    assert lease["spec"]["renewTime"] > before
    operator.hands.let_go.set()
    await asyncio.wait_for(running, PATIENCE)
    assert await held_by(operator.kube) == ""


@pytest.mark.parametrize("ending", [False, True], ids=["at work", "while it ends"])
async def test_without_the_lease_no_key_is_finished(
    operator: Operator, namespace: str, ending: bool
) -> None:
    await operator.kube.create(PATCH_TARGET, target(namespace))
    running = asyncio.create_task(operator.runtime.run())
    await until(lambda: operator.hands.begun, "the first reconcile")
    if ending:
        operator.runtime.stop()
    await give_to(operator.kube, "another")
    with pytest.raises(LeaseLostError):
        await asyncio.wait_for(running, PATIENCE)
    assert operator.hands.ended == []
    assert operator.hands.background_ended
    assert await held_by(operator.kube) == "another"
