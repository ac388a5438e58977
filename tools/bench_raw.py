"""What the operator is compared with: a bare client that writes the same objects, and no more."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp

from lab.controlplane import ControlPlane

IN_FLIGHT = 20
"""Requests at a time: the operator's default of workers."""

PAGE = 500
"""Objects a LIST."""

Object = dict[str, Any]
API = "/apis/azpatch.dev/v1alpha1"


@dataclass(frozen=True)
class RawCost:
    """What the client took for so many PatchTargets."""

    seconds: float
    cpu_seconds: float


def like(targets: Iterable[Object], namespace: str) -> list[Object]:
    """The same PatchTargets for another namespace, without the owner, which is not there."""
    return [
        {
            "apiVersion": target["apiVersion"],
            "kind": target["kind"],
            "metadata": {
                "name": target["metadata"]["name"],
                "namespace": namespace,
                "labels": target["metadata"].get("labels", {}),
            },
            "spec": target["spec"],
            "status": target["status"],
        }
        for target in targets
    ]


def write(controlplane: ControlPlane, token: str, targets: Sequence[Object]) -> RawCost:
    """Creates each PatchTarget and writes its status once, as the operator does."""
    began, cpu = time.monotonic(), time.process_time()
    asyncio.run(_write(controlplane, token, targets))
    return RawCost(time.monotonic() - began, time.process_time() - cpu)


async def _write(controlplane: ControlPlane, token: str, targets: Sequence[Object]) -> None:
    async with _session(controlplane, token) as session:

        async def write_one(target: Object) -> None:
            path = f"{API}/namespaces/{target['metadata']['namespace']}/patchtargets"
            body = {name: value for name, value in target.items() if name != "status"}
            async with session.post(path, json=body) as answer:
                answer.raise_for_status()
                created = await answer.json()
            created["status"] = target["status"]
            path += f"/{target['metadata']['name']}/status"
            async with session.put(path, json=created) as answer:
                answer.raise_for_status()
                await answer.read()

        await _all(write_one, targets)


def read(controlplane: ControlPlane, token: str, namespace: str) -> RawCost:
    """LISTs every PatchTarget of a namespace and decodes the JSON."""
    began, cpu = time.monotonic(), time.process_time()
    asyncio.run(_read(controlplane, token, namespace))
    return RawCost(time.monotonic() - began, time.process_time() - cpu)


async def _read(controlplane: ControlPlane, token: str, namespace: str) -> None:
    following: str | None = ""
    path = f"{API}/namespaces/{namespace}/patchtargets"
    async with _session(controlplane, token) as session:
        while following is not None:
            params = {"limit": f"{PAGE}", "continue": following}
            async with session.get(path, params=params) as answer:
                answer.raise_for_status()
                page = await answer.json()
            following = page["metadata"].get("continue") or None


def _session(controlplane: ControlPlane, token: str) -> aiohttp.ClientSession:
    context = ssl.create_default_context(cafile=str(controlplane.ca_file))
    return aiohttp.ClientSession(
        controlplane.url,
        connector=aiohttp.TCPConnector(ssl=context),
        headers={"Authorization": f"Bearer {token}"},
    )


async def _all(work: Callable[[Object], Awaitable[None]], targets: Sequence[Object]) -> None:
    waiting = iter(targets)

    async def one_worker() -> None:
        for target in waiting:
            await work(target)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(IN_FLIGHT):
            tasks.create_task(one_worker())
