"""A kopf operator as most are written, for azpatch to be measured beside: handlers for creation,
a timer, and a GET for every machine. Deliberately plain; it looks, and never patches.

Run by ``bench_usual`` with ``kopf run``; the variables are those that the lab gives the operator.
"""

from __future__ import annotations

import hashlib
import os
import ssl
from typing import Any

import aiohttp
import kopf

GROUP, VERSION = "azpatch.dev", "v1alpha1"
INTERVAL = float(os.environ.get("USUAL_INTERVAL", "60"))
"""Seconds between two looks at a machine; a minute is what one finds in such operators."""
RESOURCES = "/providers/Microsoft.ResourceGraph/resources"
MACHINES = """resources
| where type =~ "microsoft.compute/virtualmachines"
| project id, image = tostring(properties.storageProfile.imageReference.id)
| order by id asc"""

Object = dict[str, Any]


class Clients:
    """Made when the operator starts."""

    azure: aiohttp.ClientSession
    cluster: aiohttp.ClientSession


@kopf.on.startup()
async def startup(settings: kopf.OperatorSettings, **_: Any) -> None:
    """kopf's defaults, but for Events, which would be writes that azpatch does not make."""
    settings.posting.enabled = False
    settings.persistence.finalizer = "usual.example/finalizer"
    azure = ssl.create_default_context(cafile=os.environ["USUAL_AZURE_CA"])
    cluster = ssl.create_default_context(cafile=os.environ["USUAL_CLUSTER_CA"])
    Clients.azure = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=azure),
        headers={"Authorization": f"Bearer {os.environ['USUAL_AZURE_TOKEN']}"},
    )
    Clients.cluster = aiohttp.ClientSession(
        os.environ["USUAL_CLUSTER"],
        connector=aiohttp.TCPConnector(ssl=cluster),
        headers={"Authorization": f"Bearer {os.environ['USUAL_CLUSTER_TOKEN']}"},
    )


@kopf.on.login()
def login(**_: Any) -> kopf.ConnectionInfo:
    """The lab's API server."""
    return kopf.ConnectionInfo(
        server=os.environ["USUAL_CLUSTER"],
        ca_path=os.environ["USUAL_CLUSTER_CA"],
        scheme="Bearer",
        token=os.environ["USUAL_CLUSTER_TOKEN"],
    )


@kopf.on.cleanup()
async def cleanup(**_: Any) -> None:
    """Ends the connections."""
    await Clients.azure.close()
    await Clients.cluster.close()


async def ask(method: str, path: str, params: Object, body: Object | None = None) -> Object:
    """One request to ARM. 429 is an error that kopf repeats later."""
    url = os.environ["USUAL_ARM"] + path
    async with Clients.azure.request(method, url, params=params, json=body) as answer:
        if answer.status == 429:
            raise kopf.TemporaryError("throttled", delay=10)
        answer.raise_for_status()
        found: Object = await answer.json()
        return found


@kopf.on.create(GROUP, VERSION, "patchpolicies")
async def policy_created(
    spec: kopf.Spec, name: str, namespace: str | None, uid: str, **_: Any
) -> None:
    """Asks which machines were built from the policy's image and makes a PatchTarget of each."""
    image: str = spec["target"]["galleryImage"]["id"].lower()
    options = {"$top": 1000, "resultFormat": "objectArray"}
    body: Object = {"query": MACHINES, "options": options}
    while True:
        page = await ask("POST", RESOURCES, {"api-version": "2021-03-01"}, body)
        for row in page["data"]:
            if str(row["image"]).lower().startswith(image + "/"):
                await create(row["id"], name, namespace, uid)
        if not page.get("$skipToken"):
            return
        options["$skipToken"] = page["$skipToken"]


async def create(machine_id: str, policy: str, namespace: str | None, uid: str) -> None:
    """One PatchTarget; it is well if it is there."""
    digest = hashlib.sha256(machine_id.lower().encode()).hexdigest()[:10]
    body = {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "PatchTarget",
        "metadata": {
            "name": f"{machine_id.rpartition('/')[2]}-{digest}",
            "ownerReferences": [
                {
                    "apiVersion": f"{GROUP}/{VERSION}",
                    "kind": "PatchPolicy",
                    "name": policy,
                    "uid": uid,
                }
            ],
        },
        "spec": {"machineId": machine_id, "policy": policy},
    }
    path = f"/apis/{GROUP}/{VERSION}/namespaces/{namespace}/patchtargets"
    async with Clients.cluster.post(path, json=body) as answer:
        if answer.status != 409:
            answer.raise_for_status()


@kopf.on.create(GROUP, VERSION, "patchtargets")
async def target_created(**about: Any) -> None:
    """A machine is looked at when it is new."""
    await look(**about)


@kopf.timer(GROUP, VERSION, "patchtargets", interval=INTERVAL, initial_delay=INTERVAL)
async def target_again(**about: Any) -> None:
    """And again and again."""
    await look(**about)


async def look(spec: kopf.Spec, status: kopf.Status, patch: kopf.Patch, **_: Any) -> None:
    """A GET of the machine, and what it says into the status if that is new."""
    params = {"$expand": "instanceView", "api-version": "2026-04-01"}
    machine = await ask("GET", spec["machineId"], params)
    image = machine["properties"].get("storageProfile", {}).get("imageReference") or {}
    found = {"class": "GalleryGeneralized", "reference": image.get("id", "")}
    if dict(status.get("image", {})) != found:
        patch.status["image"] = found
