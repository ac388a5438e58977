"""The Kubernetes adapter on a real API server."""

import copy
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from azpatch.kube import client as client_module
from azpatch.kube.client import KubernetesClient
from azpatch.kube.config import NoClusterError, configuration
from azpatch.kube.events import EVENT
from azpatch.kube.port import (
    AZURE_SUBSCRIPTION,
    NAMESPACE,
    PATCH_TARGET,
    Conflict,
    Kind,
    Kube,
    Leases,
    NotFound,
    Object,
    Refused,
    Unavailable,
)
from lab.controlplane import ControlPlane

MACHINE = (
    "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/rg-web"
    "/providers/Microsoft.Compute/virtualMachines/web-1"
)
FINALIZER = "azpatch.dev/operation"


def target(namespace: str, name: str = "web-1") -> Object:
    return {
        "apiVersion": "azpatch.dev/v1alpha1",
        "kind": "PatchTarget",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"machineId": MACHINE, "policy": "web-linux"},
    }


def condition(reason: str) -> dict[str, Any]:
    return {
        "type": "Ready",
        "status": "False",
        "reason": reason,
        "message": "The machine is stopped.",
        "lastTransitionTime": "2026-03-01T00:00:00Z",
        "observedGeneration": 1,
    }


@pytest.fixture
async def kube(crds: ControlPlane, namespace: str) -> AsyncIterator[KubernetesClient]:
    client = await KubernetesClient.connect(namespace, crds.kubeconfig)
    yield client
    await client.close()


@pytest.fixture
async def created(kube: KubernetesClient, namespace: str) -> Object:
    return await kube.create(PATCH_TARGET, target(namespace))


async def test_the_adapter_is_the_port(kube: KubernetesClient) -> None:
    port: Kube = kube
    assert (await port.get(NAMESPACE, "default"))["metadata"]["name"] == "default"


async def test_create_returns_the_object_as_it_then_is(created: Object, namespace: str) -> None:
    assert created["metadata"]["uid"]
    assert created["metadata"]["namespace"] == namespace
    assert created["spec"]["machineId"] == MACHINE


async def test_a_name_that_is_taken_is_a_conflict(
    kube: KubernetesClient, created: Object, namespace: str
) -> None:
    with pytest.raises(Conflict, match="already exists"):
        await kube.create(PATCH_TARGET, target(namespace))


async def test_what_is_not_there_is_not_found(kube: KubernetesClient, namespace: str) -> None:
    with pytest.raises(NotFound, match="web-9"):
        await kube.get(PATCH_TARGET, "web-9", namespace)


async def test_what_the_schema_does_not_take_is_refused(
    kube: KubernetesClient, namespace: str
) -> None:
    body = target(namespace)
    body["spec"]["machineId"] = 7
    with pytest.raises(Refused, match="machineId"):
        await kube.create(PATCH_TARGET, body)


async def test_a_field_that_the_schema_does_not_have_is_refused_not_lost(
    kube: KubernetesClient, created: Object
) -> None:
    with pytest.raises(Refused, match="unheardOf"):
        await kube.replace_status(PATCH_TARGET, created, {"unheardOf": 1})


async def test_status_is_replaced_whole(kube: KubernetesClient, created: Object) -> None:
    first = await kube.replace_status(
        PATCH_TARGET, created, {"governs": True, "conditions": [condition("VMStopped")]}
    )
    assert first["status"]["conditions"][0]["reason"] == "VMStopped"
    second = await kube.replace_status(PATCH_TARGET, first, {"governs": False})
    assert second["status"] == {"governs": False}
    assert second["spec"] == created["spec"]


async def test_a_status_written_without_managed_fields_keeps_them(
    kube: KubernetesClient, created: Object, namespace: str
) -> None:
    base = copy.deepcopy(created)
    del base["metadata"]["managedFields"]
    await kube.replace_status(PATCH_TARGET, base, {"governs": True})
    stored = await kube.get(PATCH_TARGET, "web-1", namespace)
    assert {entry["manager"] for entry in stored["metadata"]["managedFields"]} == {"azpatch"}


async def test_a_status_on_an_old_object_is_a_conflict(
    kube: KubernetesClient, created: Object
) -> None:
    await kube.replace_status(PATCH_TARGET, created, {"governs": True})
    with pytest.raises(Conflict):
        await kube.replace_status(PATCH_TARGET, created, {"governs": False})


async def test_a_finalizer_on_an_old_object_is_a_conflict(
    kube: KubernetesClient, created: Object
) -> None:
    await kube.replace_status(PATCH_TARGET, created, {"governs": True})
    with pytest.raises(Conflict):
        await kube.set_finalizers(PATCH_TARGET, created, [FINALIZER])


async def test_a_finalizer_holds_an_object_until_it_is_removed(
    kube: KubernetesClient, created: Object, namespace: str
) -> None:
    held = await kube.set_finalizers(PATCH_TARGET, created, [FINALIZER])
    assert held["metadata"]["finalizers"] == [FINALIZER]
    await kube.delete(PATCH_TARGET, held)
    ending = await kube.get(PATCH_TARGET, "web-1", namespace)
    assert ending["metadata"]["deletionTimestamp"]
    last = await kube.set_finalizers(PATCH_TARGET, ending, [])
    assert last["metadata"]["uid"] == created["metadata"]["uid"]
    with pytest.raises(NotFound):
        await kube.get(PATCH_TARGET, "web-1", namespace)


async def test_deleting_what_is_gone_is_no_error(kube: KubernetesClient, created: Object) -> None:
    await kube.delete(PATCH_TARGET, created)
    await kube.delete(PATCH_TARGET, created)


async def test_delete_spares_an_object_that_took_the_name(
    kube: KubernetesClient, created: Object, namespace: str
) -> None:
    await kube.delete(PATCH_TARGET, created)
    successor = await kube.create(PATCH_TARGET, target(namespace))
    await kube.delete(PATCH_TARGET, created)
    found = await kube.get(PATCH_TARGET, "web-1", namespace)
    assert found["metadata"]["uid"] == successor["metadata"]["uid"]


async def listed_of(kube: KubernetesClient, kind: Kind) -> list[Object]:
    listed: list[Object] = []
    uids = await kube.scan(kind, listed.append)
    assert uids == {item["metadata"]["uid"] for item in listed}
    return listed


async def test_a_list_is_complete_over_its_pages(
    kube: KubernetesClient, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "PAGE", 3)
    names = {f"web-{number}" for number in range(8)}
    for name in names:
        await kube.create(PATCH_TARGET, target(namespace, name))
    listed = await listed_of(kube, PATCH_TARGET)
    mine = [item for item in listed if item["metadata"]["namespace"] == namespace]
    assert {item["metadata"]["name"] for item in mine} == names
    assert len(mine) == len(names)


async def test_listed_objects_say_what_they_are(kube: KubernetesClient) -> None:
    first = (await listed_of(kube, NAMESPACE))[0]
    assert (first["apiVersion"], first["kind"]) == ("v1", "Namespace")


async def test_a_secret_comes_decoded_from_the_operators_namespace(
    kube: KubernetesClient, namespace: str, crds: ControlPlane
) -> None:
    crds.kubectl(
        *("create", "secret", "generic", "prod-sp", "--namespace", namespace),
        "--from-literal=AZURE_CLIENT_SECRET=not a real one",
    )
    assert await kube.secret("prod-sp") == {"AZURE_CLIENT_SECRET": b"not a real one"}
    with pytest.raises(NotFound):
        await kube.secret("other")


SPEC = {
    "holderIdentity": "a",
    "leaseDurationSeconds": 15,
    "renewTime": "2026-03-01T00:00:00.000001Z",
}


async def test_a_lease_is_of_the_operators_namespace(
    kube: KubernetesClient, namespace: str
) -> None:
    leases: Leases = kube
    with pytest.raises(NotFound):
        await leases.get_lease("azpatch")
    created = await leases.create_lease("azpatch", SPEC)
    assert created["metadata"]["namespace"] == namespace
    assert created["spec"] == SPEC
    with pytest.raises(Conflict):
        await leases.create_lease("azpatch", SPEC)
    assert await leases.get_lease("azpatch") == created


async def test_a_lease_is_replaced_only_as_it_was_read(
    kube: KubernetesClient, namespace: str
) -> None:
    created = await kube.create_lease("azpatch", SPEC)
    await kube.replace_lease(created, {**SPEC, "holderIdentity": "b"})
    with pytest.raises(Conflict):
        await kube.replace_lease(created, {**SPEC, "holderIdentity": "a"})
    assert (await kube.get_lease("azpatch"))["spec"]["holderIdentity"] == "b"


async def test_a_lease_that_was_deleted_or_made_anew_is_not_replaced(
    kube: KubernetesClient, namespace: str, crds: ControlPlane
) -> None:
    created = await kube.create_lease("azpatch", SPEC)
    crds.kubectl("delete", "lease", "azpatch", "--namespace", namespace)
    with pytest.raises((NotFound, Conflict)):
        await kube.replace_lease(created, SPEC)
    await kube.create_lease("azpatch", {"holderIdentity": "b"})
    with pytest.raises(Conflict):
        await kube.replace_lease(created, SPEC)


async def test_a_lease_keeps_what_others_wrote_on_it(
    kube: KubernetesClient, namespace: str, crds: ControlPlane
) -> None:
    await kube.create_lease("azpatch", SPEC)
    crds.kubectl("label", "lease", "azpatch", "team=platform", "--namespace", namespace)
    base = await kube.get_lease("azpatch")
    replaced = await kube.replace_lease(base, {**SPEC, "holderIdentity": ""})
    assert replaced["metadata"]["labels"] == {"team": "platform"}
    assert not replaced["spec"].get("holderIdentity")


async def events(kube: KubernetesClient, namespace: str) -> list[Object]:
    listed = await listed_of(kube, EVENT)
    return [item for item in listed if item["metadata"]["namespace"] == namespace]


async def test_an_event_is_said_once_even_across_restarts(
    kube: KubernetesClient, created: Object, namespace: str, crds: ControlPlane
) -> None:
    restarted = await KubernetesClient.connect(namespace, crds.kubeconfig)
    news: dict[str, Any] = {"reason": "VMStopped", "action": "Assess", "note": "It is off."}
    for client in (kube, kube, restarted):
        await client.event(PATCH_TARGET, created, warning=True, **news)
    await restarted.close()
    (event,) = await events(kube, namespace)
    assert (event["type"], event["reason"], event["note"]) == ("Warning", "VMStopped", "It is off.")
    assert event["regarding"]["uid"] == created["metadata"]["uid"]


async def test_different_news_are_different_events(
    kube: KubernetesClient, created: Object, namespace: str
) -> None:
    for note in ("4 patches are missing.", "3 patches are missing.", "x" * 5000, "ü" * 5000):
        await kube.event(
            PATCH_TARGET, created, warning=False, reason="Assessed", action="Assess", note=note
        )
    assert len(await events(kube, namespace)) == 4


async def test_an_event_on_a_cluster_scoped_object_is_in_default(
    kube: KubernetesClient, crds: ControlPlane
) -> None:
    node = await kube.get(NAMESPACE, "kube-public")
    reason = f"Seen{secrets.token_hex(4)}"
    await kube.event(
        NAMESPACE, node, warning=False, reason=reason, action="Look", note="It is there."
    )
    assert reason in {event["reason"] for event in await events(kube, "default")}


async def test_an_event_that_cannot_be_sent_fails_nothing_and_is_sent_later(
    kube: KubernetesClient, created: Object, namespace: str
) -> None:
    elsewhere = copy.deepcopy(created)
    elsewhere["metadata"]["namespace"] = "no-such-namespace"
    news: dict[str, Any] = {"warning": False, "reason": "R", "action": "A", "note": "n"}
    await kube.event(PATCH_TARGET, elsewhere, **news)
    await kube.event(PATCH_TARGET, created, **news)
    assert len(await events(kube, namespace)) == 1


async def test_a_token_that_ended_is_read_anew(
    crds: ControlPlane, namespace: str, tmp_path: Path
) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    good = crds.kubeconfig.read_text()
    assert crds.admin_token in good
    kubeconfig.write_text(good.replace(crds.admin_token, "expired"))
    client = await KubernetesClient.connect(namespace, kubeconfig)
    with pytest.raises(Unavailable, match="Unauthorized"):
        await client.get(NAMESPACE, "default")
    kubeconfig.write_text(good)
    assert await client.get(NAMESPACE, "default")
    await client.close()


async def test_what_rbac_forbids_is_refused(
    crds: ControlPlane, namespace: str, tmp_path: Path
) -> None:
    crds.kubectl("create", "serviceaccount", "nobody", "--namespace", namespace)
    token = crds.kubectl("create", "token", "nobody", "--namespace", namespace).stdout.strip()
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(crds.kubeconfig.read_text().replace(crds.admin_token, token))
    client = await KubernetesClient.connect(namespace, kubeconfig)
    with pytest.raises(Refused, match="forbidden"):
        await client.scan(AZURE_SUBSCRIPTION, print)
    await client.close()


async def test_an_api_server_that_is_away_is_unavailable(
    crds: ControlPlane, namespace: str, tmp_path: Path
) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(crds.kubeconfig.read_text().replace(crds.url, "https://127.0.0.1:9"))
    client = await KubernetesClient.connect(namespace, kubeconfig)
    with pytest.raises(Unavailable, match="no answer"):
        await client.get(NAMESPACE, "default")
    await client.close()


async def test_no_cluster_is_said_plainly(tmp_path: Path) -> None:
    with pytest.raises(NoClusterError, match="nowhere"):
        await configuration(tmp_path / "nowhere")
