"""What the operator relies on in an API server: so with the real one, so with the simulated one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from azpatch.kube.client import KubernetesClient
from azpatch.kube.port import (
    NAMESPACE,
    PATCH_POLICY,
    PATCH_TARGET,
    Conflict,
    Kube,
    NotFound,
    Object,
    Refused,
)
from lab.controlplane import ControlPlane
from simulation.apiserver import ApiServer
from simulation.heard import Heard
from simulation.kube import SimulatedKube
from simulation.trouble import FAIR

MACHINE = (
    "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/rg-web"
    "/providers/Microsoft.Compute/virtualMachines/web-1"
)
FINALIZER = "azpatch.dev/operation"
STATUS: dict[str, Any] = {"governs": True}


class Fair:
    """Nothing goes wrong on the way."""

    def to_kube(self, verb: str, kind: object) -> object:
        return FAIR


@dataclass
class Cluster:
    """An API server with a namespace, and what its controller manager does."""

    kube: Kube
    namespace: str
    simulated: ApiServer | None = None

    async def until_gone(self, raw: Object) -> None:
        """Until the garbage collector has taken the object."""
        for _ in range(300):
            if self.simulated is not None:
                self.simulated.collect_garbage()
            try:
                await self.kube.get(PATCH_TARGET, raw["metadata"]["name"], self.namespace)
            except NotFound:
                return
            await asyncio.sleep(0.1)
        raise AssertionError("it stays")


@pytest.fixture(params=["real", "simulated"])
async def cluster(request: pytest.FixtureRequest) -> AsyncIterator[Cluster]:
    if request.param == "simulated":
        server = ApiServer(lambda: datetime.now(UTC))
        server.create(NAMESPACE, {"metadata": {"name": "web"}})
        fair: Any = Fair()
        yield Cluster(
            SimulatedKube(server, fair, {}, lambda _line: None, Heard(pytest.fail)), "web", server
        )
        return
    controlplane: ControlPlane = request.getfixturevalue("crds")
    namespace: str = request.getfixturevalue("namespace")
    client = await KubernetesClient.connect(namespace, controlplane.kubeconfig)
    yield Cluster(client, namespace)
    await client.close()


def target(cluster: Cluster, owner: Object | None = None) -> Object:
    meta: dict[str, Any] = {"name": "web-1", "namespace": cluster.namespace}
    if owner is not None:
        reference = {"apiVersion": owner["apiVersion"], "kind": owner["kind"], "controller": True}
        meta["ownerReferences"] = [
            {**reference, "name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"]}
        ]
    return {
        "apiVersion": "azpatch.dev/v1alpha1",
        "kind": "PatchTarget",
        "metadata": meta,
        "spec": {"machineId": MACHINE, "policy": "web"},
    }


def policy(cluster: Cluster) -> Object:
    return {
        "apiVersion": "azpatch.dev/v1alpha1",
        "kind": "PatchPolicy",
        "metadata": {"name": "web", "namespace": cluster.namespace},
        "spec": {"target": {"virtualMachine": {"id": MACHINE}}},
    }


def version(raw: Object) -> int:
    return int(raw["metadata"]["resourceVersion"])


async def test_every_change_is_a_new_version(cluster: Cluster) -> None:
    made = await cluster.kube.create(PATCH_TARGET, target(cluster))
    written = await cluster.kube.replace_status(PATCH_TARGET, made, STATUS)
    held = await cluster.kube.set_finalizers(PATCH_TARGET, written, [FINALIZER])
    assert version(made) < version(written) < version(held)


async def test_a_write_that_changes_nothing_is_no_new_version(cluster: Cluster) -> None:
    made = await cluster.kube.create(PATCH_TARGET, target(cluster))
    written = await cluster.kube.replace_status(PATCH_TARGET, made, STATUS)
    again = await cluster.kube.replace_status(PATCH_TARGET, written, STATUS)
    assert version(again) == version(written)


async def test_a_status_is_no_new_generation(cluster: Cluster) -> None:
    made = await cluster.kube.create(PATCH_TARGET, target(cluster))
    written = await cluster.kube.replace_status(PATCH_TARGET, made, STATUS)
    assert written["metadata"]["generation"] == made["metadata"]["generation"]


async def test_a_fresh_policy_is_undecided(cluster: Cluster) -> None:
    made = await cluster.kube.create(PATCH_POLICY, policy(cluster))
    assert made["status"] == {"observedGeneration": -1}


async def test_what_the_schema_forbids_is_refused(cluster: Cluster) -> None:
    short = {"name": "short", "daily": {}, "startTime": "22:00", "duration": "80m"}
    raw = policy(cluster)
    raw["spec"]["install"] = {"linux": {}, "maximumDuration": "PT1H30M"}
    raw["spec"]["schedule"] = {"windows": [short]}
    with pytest.raises(Refused, match=r"a window is shorter than install\.maximumDuration"):
        await cluster.kube.create(PATCH_POLICY, raw)


async def test_an_old_object_is_not_written(cluster: Cluster) -> None:
    made = await cluster.kube.create(PATCH_TARGET, target(cluster))
    await cluster.kube.replace_status(PATCH_TARGET, made, STATUS)
    with pytest.raises(Conflict):
        await cluster.kube.replace_status(PATCH_TARGET, made, {"governs": False})
    with pytest.raises(Conflict):
        await cluster.kube.set_finalizers(PATCH_TARGET, made, [FINALIZER])


async def test_a_taken_name_is_a_conflict(cluster: Cluster) -> None:
    await cluster.kube.create(PATCH_TARGET, target(cluster))
    with pytest.raises(Conflict):
        await cluster.kube.create(PATCH_TARGET, target(cluster))


async def test_what_went_is_not_written(cluster: Cluster) -> None:
    made = await cluster.kube.create(PATCH_TARGET, target(cluster))
    await cluster.kube.delete(PATCH_TARGET, made)
    with pytest.raises(NotFound):
        await cluster.kube.replace_status(PATCH_TARGET, made, STATUS)
    await cluster.kube.delete(PATCH_TARGET, made)


async def test_what_was_made_anew_under_a_name_is_not_written_nor_deleted(
    cluster: Cluster,
) -> None:
    made = await cluster.kube.create(PATCH_TARGET, target(cluster))
    await cluster.kube.delete(PATCH_TARGET, made)
    anew = await cluster.kube.create(PATCH_TARGET, target(cluster))
    with pytest.raises(Conflict):
        await cluster.kube.replace_status(PATCH_TARGET, made, STATUS)
    await cluster.kube.delete(PATCH_TARGET, made)
    there = await cluster.kube.get(PATCH_TARGET, "web-1", cluster.namespace)
    assert there["metadata"]["uid"] == anew["metadata"]["uid"]
    assert "deletionTimestamp" not in there["metadata"]


async def test_a_finalizer_keeps_an_object_until_it_goes(cluster: Cluster) -> None:
    made = await cluster.kube.create(PATCH_TARGET, target(cluster))
    held = await cluster.kube.set_finalizers(PATCH_TARGET, made, [FINALIZER])
    await cluster.kube.delete(PATCH_TARGET, held)
    marked = await cluster.kube.get(PATCH_TARGET, "web-1", cluster.namespace)
    assert marked["metadata"]["deletionTimestamp"]
    assert marked["metadata"]["generation"] == held["metadata"]["generation"] + 1
    with pytest.raises(Conflict):
        await cluster.kube.set_finalizers(PATCH_TARGET, held, [])
    last = await cluster.kube.set_finalizers(PATCH_TARGET, marked, [])
    assert last["metadata"]["uid"] == made["metadata"]["uid"]
    with pytest.raises(NotFound):
        await cluster.kube.get(PATCH_TARGET, "web-1", cluster.namespace)


async def test_an_object_that_is_being_deleted_takes_no_new_finalizer(cluster: Cluster) -> None:
    made = await cluster.kube.create(PATCH_TARGET, target(cluster))
    held = await cluster.kube.set_finalizers(PATCH_TARGET, made, ["azpatch.dev/other"])
    await cluster.kube.delete(PATCH_TARGET, held)
    marked = await cluster.kube.get(PATCH_TARGET, "web-1", cluster.namespace)
    with pytest.raises(Refused):
        await cluster.kube.set_finalizers(PATCH_TARGET, marked, ["azpatch.dev/other", FINALIZER])
    await cluster.kube.set_finalizers(PATCH_TARGET, marked, [])


async def test_what_an_owner_leaves_behind_is_collected(cluster: Cluster) -> None:
    owner = await cluster.kube.create(PATCH_POLICY, policy(cluster))
    made = await cluster.kube.create(PATCH_TARGET, target(cluster, owner))
    await cluster.kube.delete(PATCH_POLICY, owner)
    await cluster.until_gone(made)


async def test_a_list_shows_what_is_there(cluster: Cluster) -> None:
    made = await cluster.kube.create(PATCH_TARGET, target(cluster))
    listed: list[Object] = []
    uids = await cluster.kube.scan(PATCH_TARGET, listed.append)
    assert made["metadata"]["uid"] in uids
    assert uids == {raw["metadata"]["uid"] for raw in listed}
