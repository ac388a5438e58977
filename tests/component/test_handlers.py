"""The watch and the resync on a real API server: what happens there reaches store and queue."""

import asyncio
import os
import secrets
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from random import Random
from typing import Any

import pytest

from azpatch.clock import SystemClock
from azpatch.domain import ids
from azpatch.handlers.engine import Engine
from azpatch.handlers.events import take_in
from azpatch.kube.client import KubernetesClient
from azpatch.kube.port import (
    AZURE_SUBSCRIPTION,
    NAMESPACE,
    PATCH_POLICY,
    PATCH_TARGET,
    WATCHED,
    Object,
)
from azpatch.reconcile.queue import Key
from azpatch.reconcile.resync import Resync
from azpatch.reconcile.store import Store
from lab import chart
from lab.controlplane import ControlPlane

PATIENCE = 20.0
"""Seconds; an event takes a tenth of one. The rest is for a machine that is busy."""

SUBSCRIPTION = "00000000-0000-0000-0000-000000000001"
MACHINE = (
    f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg-web"
    "/providers/Microsoft.Compute/virtualMachines/web-1"
)


def subscription(name: str) -> Object:
    return {
        "apiVersion": "azpatch.dev/v1alpha1",
        "kind": "AzureSubscription",
        "metadata": {"name": name},
        "spec": {
            "subscriptionId": SUBSCRIPTION,
            "tenantId": "00000000-0000-0000-0000-0000000000ff",
            "supportMatrix": "2023-05",
        },
    }


def policy(namespace: str, name: str = "web-linux") -> Object:
    return {
        "apiVersion": "azpatch.dev/v1alpha1",
        "kind": "PatchPolicy",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"target": {"virtualMachine": {"id": MACHINE}}},
    }


def target(namespace: str, name: str = "web-1", policy: str = "web-linux") -> Object:
    return {
        "apiVersion": "azpatch.dev/v1alpha1",
        "kind": "PatchTarget",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"machineId": MACHINE, "policy": policy},
    }


class Watching:
    """Store, queue and watch, as the operator has them; keys are noted instead of reconciled."""

    def __init__(self, kube: KubernetesClient) -> None:
        self.kube = kube
        self.store = Store()
        self.keys: set[Key] = set()
        self.resync = Resync(
            kube, self.store, self.keys.add, SystemClock(), Random(1), timedelta(hours=1)
        )
        self.engine = Engine(self.store, self.keys.add, kube.login)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        started = asyncio.Event()
        task = asyncio.create_task(self.engine.run(started=started.set))
        await started.wait()
        try:
            yield
        finally:
            self.engine.stop()
            await task
            for number in (signal.SIGINT, signal.SIGTERM):
                asyncio.get_running_loop().remove_signal_handler(number)

    async def until(self, condition: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, f"not within {PATIENCE} s: {what}"
            await asyncio.sleep(0.02)

    async def sees(self, *keys: Key) -> None:
        await self.until(lambda: self.keys.issuperset(keys), f"{keys} in {self.keys}")


@pytest.fixture
async def kube(crds: ControlPlane, namespace: str) -> AsyncIterator[KubernetesClient]:
    client = await KubernetesClient.connect(namespace, crds.kubeconfig)
    yield client
    await client.close()


@asynccontextmanager
async def watched(kube: KubernetesClient) -> AsyncIterator[Watching]:
    """Synced, and watching. No fixture, because those end in a task of their own, which kopf,
    when it ends, takes for one of its own."""
    parts = Watching(kube)
    await parts.resync.once()
    async with parts.running():
        # The watch is up when it has seen something that came after the first LIST.
        marker = f"marker-{secrets.token_hex(4)}"
        created = await kube.create(NAMESPACE, {"metadata": {"name": marker}})
        await parts.until(lambda: parts.store.get(NAMESPACE, "", marker), "the marker")
        yield parts
        await kube.delete(NAMESPACE, created)


async def test_the_first_list_syncs_the_store(kube: KubernetesClient, namespace: str) -> None:
    await kube.create(PATCH_POLICY, policy(namespace))
    parts = Watching(kube)
    assert not parts.store.is_synced
    await parts.resync.once()
    await asyncio.wait_for(parts.store.wait_synced(), 1)
    assert parts.store.synced == set(WATCHED)
    assert parts.store.policy(namespace, "web-linux")
    assert Key("PatchPolicy", namespace, "web-linux") in parts.keys
    assert parts.resync.rounds == 1


async def test_a_policy_that_is_created_arrives_parsed_and_is_enqueued(
    kube: KubernetesClient, namespace: str
) -> None:
    async with watched(kube) as watching:
        await watching.kube.create(PATCH_POLICY, policy(namespace))
        await watching.sees(Key("PatchPolicy", namespace, "web-linux"))
        stored = watching.store.policy(namespace, "web-linux")
        assert stored
        assert stored.parsed
        assert "managedFields" not in stored.raw["metadata"]


async def test_a_target_wakes_its_policy_and_those_that_want_the_same_machine(
    kube: KubernetesClient, namespace: str
) -> None:
    async with watched(kube) as watching:
        await watching.kube.create(PATCH_TARGET, target(namespace, "web-1-a", "first"))
        await watching.sees(Key("PatchPolicy", namespace, "first"))
        watching.keys.clear()
        await watching.kube.create(PATCH_TARGET, target(namespace, "web-1-b", "second"))
        await watching.sees(
            Key("PatchTarget", namespace, "web-1-b"),
            Key("PatchPolicy", namespace, "first"),
            Key("PatchPolicy", namespace, "second"),
        )
        assert len(watching.store.targets_on(ids.key(MACHINE))) >= 2
        assert [s.name for s in watching.store.targets_of(namespace, "first")] == ["web-1-a"]


async def test_the_echo_of_our_own_write_wakes_the_policy(
    kube: KubernetesClient, namespace: str
) -> None:
    async with watched(kube) as watching:
        created = await watching.kube.create(PATCH_TARGET, target(namespace))
        watching.store.observe(PATCH_TARGET, created)
        await watching.sees(Key("PatchPolicy", namespace, "web-linux"))
        watching.keys.clear()
        written = await watching.kube.replace_status(PATCH_TARGET, created, {"governs": True})
        watching.store.observe(PATCH_TARGET, written)
        await watching.sees(Key("PatchPolicy", namespace, "web-linux"))


async def test_a_deletion_leaves_the_store_and_wakes_who_is_concerned(
    kube: KubernetesClient, namespace: str
) -> None:
    async with watched(kube) as watching:
        created = await watching.kube.create(PATCH_TARGET, target(namespace))
        await watching.sees(Key("PatchTarget", namespace, "web-1"))
        watching.keys.clear()
        await watching.kube.delete(PATCH_TARGET, created)
        await watching.sees(
            Key("PatchTarget", namespace, "web-1"), Key("PatchPolicy", namespace, "web-linux")
        )
        assert watching.store.target(namespace, "web-1") is None
        assert not watching.store.targets_of(namespace, "web-linux")


async def test_an_answer_that_comes_after_the_deletion_does_not_bring_the_object_back(
    kube: KubernetesClient, namespace: str
) -> None:
    async with watched(kube) as watching:
        created = await watching.kube.create(PATCH_TARGET, target(namespace))
        await watching.sees(Key("PatchTarget", namespace, "web-1"))
        written = await watching.kube.replace_status(PATCH_TARGET, created, {"governs": True})
        await watching.kube.delete(PATCH_TARGET, created)
        await watching.until(lambda: not watching.store.target(namespace, "web-1"), "the deletion")
        assert not watching.store.observe(PATCH_TARGET, written)


async def test_a_subscription_wakes_every_policy(kube: KubernetesClient, namespace: str) -> None:
    async with watched(kube) as watching:
        await watching.kube.create(PATCH_POLICY, policy(namespace))
        await watching.sees(Key("PatchPolicy", namespace, "web-linux"))
        watching.keys.clear()
        name = f"prod-{secrets.token_hex(4)}"
        created = await watching.kube.create(AZURE_SUBSCRIPTION, subscription(name))
        await watching.sees(
            Key("AzureSubscription", "", name), Key("PatchPolicy", namespace, "web-linux")
        )
        await watching.kube.delete(AZURE_SUBSCRIPTION, created)


async def test_a_namespaces_labels_wake_every_policy(
    kube: KubernetesClient, namespace: str, crds: ControlPlane
) -> None:
    async with watched(kube) as watching:
        await watching.kube.create(PATCH_POLICY, policy(namespace))
        await watching.sees(Key("PatchPolicy", namespace, "web-linux"))
        watching.keys.clear()
        crds.kubectl("label", "namespace", namespace, "team=web")
        await watching.sees(Key("PatchPolicy", namespace, "web-linux"))
        labels = watching.store.namespace_labels(namespace)
        assert labels
        assert labels["team"] == "web"


async def test_a_namespaces_other_changes_wake_none(kube: KubernetesClient, namespace: str) -> None:
    parts = Watching(kube)
    await kube.create(PATCH_POLICY, policy(namespace))
    await parts.resync.once()
    parts.keys.clear()
    raw = await kube.get(NAMESPACE, namespace)
    meta = {**raw["metadata"], "annotations": {"note": "1"}}
    meta["resourceVersion"] = str(int(meta["resourceVersion"]) + 1_000_000)
    changed: Any = {"type": "MODIFIED", "object": {**raw, "metadata": meta}}
    take_in(NAMESPACE, changed, parts.store, parts.keys.add)
    assert not parts.keys
    meta["labels"] = {**meta["labels"], "team": "db"}
    meta["resourceVersion"] = str(int(meta["resourceVersion"]) + 1)
    take_in(NAMESPACE, changed, parts.store, parts.keys.add)
    assert Key("PatchPolicy", namespace, "web-linux") in parts.keys


async def test_a_resync_sweeps_what_the_watch_missed(
    kube: KubernetesClient, namespace: str
) -> None:
    created = await kube.create(PATCH_TARGET, target(namespace))
    parts = Watching(kube)
    await parts.resync.once()
    assert parts.store.target(namespace, "web-1")
    await kube.delete(PATCH_TARGET, created)
    parts.keys.clear()
    await parts.resync.once()
    assert parts.store.target(namespace, "web-1") is None
    assert Key("PatchPolicy", namespace, "web-linux") in parts.keys
    assert Key("PatchTarget", namespace, "web-1") in parts.keys


async def test_watching_writes_nothing(
    kube: KubernetesClient, namespace: str, crds: ControlPlane
) -> None:
    async with watched(kube) as watching:
        created = await watching.kube.create(PATCH_TARGET, target(namespace))
        await watching.sees(Key("PatchTarget", namespace, "web-1"))
        await watching.resync.once()
        await asyncio.sleep(1)
        found = await watching.kube.get(PATCH_TARGET, "web-1", namespace)
        assert found["metadata"]["resourceVersion"] == created["metadata"]["resourceVersion"]
        assert "finalizers" not in found["metadata"]


async def test_the_watch_comes_back_when_the_api_server_does(namespace: str) -> None:
    with ControlPlane() as own:
        chart.apply_crds(own)
        chart.create_namespace(own, namespace)
        kube = await KubernetesClient.connect(namespace, own.kubeconfig)
        parts = Watching(kube)
        await parts.resync.once()
        async with parts.running():
            await kube.create(PATCH_TARGET, target(namespace, "before"))
            await parts.sees(Key("PatchTarget", namespace, "before"))
            await asyncio.to_thread(own.restart_apiserver)
            await kube.create(PATCH_TARGET, target(namespace, "after"))
            await parts.sees(Key("PatchTarget", namespace, "after"))
        await kube.close()


async def test_the_program_can_take_its_signals_back_from_kopf(kube: KubernetesClient) -> None:
    parts = Watching(kube)
    got: list[Any] = []
    loop = asyncio.get_running_loop()

    def take() -> None:
        loop.add_signal_handler(signal.SIGTERM, got.append, "SIGTERM")

    task = asyncio.create_task(parts.engine.run(started=take))
    await asyncio.sleep(0.5)
    os.kill(os.getpid(), signal.SIGTERM)
    await parts.until(lambda: got, "the signal")
    await asyncio.sleep(0.5)
    assert not task.done()
    parts.engine.stop()
    await task
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.remove_signal_handler(number)
