"""The operator's start and end on a real API server; its reconcilers are the test's."""

import asyncio
import os
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
from azpatch.kube.port import PATCH_TARGET, Object
from azpatch.reconcile.queue import Key, Result, WorkQueue
from azpatch.reconcile.resync import Resync
from azpatch.reconcile.store import Store
from azpatch.runtime import PartEndedError, Runtime
from lab import chart
from lab.controlplane import ControlPlane

PATIENCE = 20.0
"""Seconds; what is waited for takes a tenth of one, on a machine that is not busy."""

MACHINE = (
    "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/rg-web"
    "/providers/Microsoft.Compute/virtualMachines/web-1"
)


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

    def __init__(self, kube: KubernetesClient) -> None:
        clock = SystemClock()
        self.kube = kube
        self.store = Store()
        self.queue = WorkQueue(clock, Random(1))
        self.hands = SlowHands()
        self.resync = Resync(
            kube, self.store, self.queue.add, clock, Random(1), timedelta(seconds=1)
        )
        pages = health.application(
            lambda: health.standstill(self.queue), lambda: health.unsynced(self.store), REGISTRY
        )
        self.server = HealthServer(pages, "127.0.0.1", 0)
        self.runtime = Runtime(
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
        kube = await KubernetesClient.connect(namespace, bare.kubeconfig)
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
