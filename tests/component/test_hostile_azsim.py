"""Faults over TLS, as Microsoft's SDK and a bare HTTP client meet them."""

from __future__ import annotations

import asyncio
import json
import random
import ssl
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from azure.core.exceptions import (
    ClientAuthenticationError,
    DecodeError,
    HttpResponseError,
    ServiceRequestError,
    ServiceResponseError,
)
from azure.identity.aio import ClientSecretCredential
from azure.mgmt.compute.aio import ComputeManagementClient
from azure.mgmt.compute.models import VirtualMachine

from azsim.clock import PacedClock
from azsim.cloud import Cloud
from azsim.edge import build_router
from azsim.fleetfile import parse
from azsim.journal import Journal, RequestEntry
from azsim.server import Addresses, serving

FLEET = """
principals: [{name: owner, secret: open sesame}]
machines: [{name: web, group: rg-web, guest: {missing: [{name: curl, version: "8.5"}]}}]
"""

PACE = 60
"""A simulated minute in each real second."""

LOST = (ServiceRequestError, ServiceResponseError)
"""What the SDK makes of a connection that ends: the first also where the request was processed."""


@dataclass
class Hostile:
    """A running azsim, its control endpoint, and Microsoft's client of it, without retries."""

    cloud: Cloud
    addresses: Addresses
    http: aiohttp.ClientSession
    credential: ClientSecretCredential
    compute: ComputeManagementClient
    headers: dict[str, str] = field(default_factory=dict)

    async def control(self, method: str, path: str, body: Any = None) -> Any:
        url = f"{self.addresses.arm}/azsim/{path}"
        async with self.http.request(method, url, json=body) as answer:
            assert answer.status < 300, await answer.text()
            return await answer.json() if answer.status != 204 else None

    async def wrong(self, **fault: Any) -> str:
        [fault_id] = (await self.control("POST", "faults", fault))["ids"]
        return str(fault_id)

    async def get(self) -> VirtualMachine:
        return await self.compute.virtual_machines.get("rg-web", "web")

    async def assess(self) -> None:
        await self.compute.virtual_machines.begin_assess_patches(
            "rg-web", "web", polling=False, raw_response_hook=self._look
        )

    def _look(self, response: Any) -> None:
        self.headers = {k.lower(): v for k, v in response.http_response.headers.items()}

    def requests(self, end: str) -> list[RequestEntry]:
        return [e for e in self.cloud.journal.requests() if e.path.endswith(end)]

    def began(self) -> int:
        return len(self.cloud.journal.events("OperationStarted"))


@pytest.fixture
async def hostile(tmp_path: Path) -> AsyncIterator[Hostile]:
    fleet = parse(FLEET)
    cloud = Cloud(fleet, PacedClock(pace=PACE), random.Random(7), Journal(), build_router())
    owner = fleet.principals[0]
    async with serving(cloud, ca_file=tmp_path / "ca.pem") as addresses:
        tls = ssl.create_default_context(cafile=str(addresses.ca_file))
        options: dict[str, Any] = {"connection_verify": str(addresses.ca_file), "retry_total": 0}
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls)) as http,
            ClientSecretCredential(
                owner.tenant_id,
                owner.client_id,
                "open sesame",
                authority=addresses.arm,
                disable_instance_discovery=True,
                **options,
            ) as credential,
            ComputeManagementClient(
                credential,
                fleet.subscriptions[0].id,
                base_url=addresses.arm,
                credential_scopes=[f"{addresses.arm}/.default"],
                **options,
            ) as compute,
        ):
            yield Hostile(cloud, addresses, http, credential, compute)


async def test_a_request_that_is_lost_ends_the_connection_and_begins_nothing(
    hostile: Hostile,
) -> None:
    await hostile.wrong(operation="assessPatches", drop="Before", count=1)
    with pytest.raises(LOST):
        await hostile.assess()

    assert hostile.began() == 0
    [lost] = hostile.requests("/assessPatches")
    assert (lost.status, lost.answer, lost.fault) == (0, "lost", "fault-1")
    await hostile.assess()
    assert hostile.began() == 1


async def test_an_answer_that_is_lost_ends_the_connection_after_the_operation_began(
    hostile: Hostile,
) -> None:
    await hostile.wrong(operation="assessPatches", drop="After")
    with pytest.raises(LOST):
        await hostile.assess()

    assert hostile.began() == 1
    [lost] = hostile.requests("/assessPatches")
    assert (lost.status, lost.answer) == (202, "lost")


@pytest.mark.parametrize("garbage", ["Html", "Truncated", "Empty"])
async def test_garbage_in_place_of_a_machine_is_not_taken_for_one(
    hostile: Hostile, garbage: str
) -> None:
    await hostile.wrong(operation="getMachine", garbage=garbage)
    # The SDK wraps one kind of it in an error of its own, the others it does not.
    with pytest.raises((DecodeError, json.JSONDecodeError)):
        await hostile.get()

    assert hostile.requests("/virtualMachines/web")[-1].status == 200


@pytest.mark.parametrize("strip", [False, True])
async def test_an_operation_can_begin_without_its_url(hostile: Hostile, strip: bool) -> None:
    await hostile.wrong(operation="assessPatches", garbage="Html", stripHeaders=strip)
    await hostile.assess()

    assert hostile.began() == 1
    assert ("azure-asyncoperation" in hostile.headers) is not strip


async def test_a_delay_holds_up_the_request_and_its_answer(hostile: Hostile) -> None:
    await hostile.get()
    await hostile.wrong(operation="assessPatches", delay={"request": "30s", "answer": "15s"})
    sent, real = hostile.cloud.clock.now(), time.monotonic()
    await hostile.assess()
    took = time.monotonic() - real
    [entry] = hostile.requests("/assessPatches")

    assert entry.time >= sent + timedelta(seconds=30)
    assert hostile.cloud.clock.now() >= entry.time + timedelta(seconds=15)
    assert took >= 45 / PACE


async def test_who_does_not_wait_has_sent_the_request_all_the_same(hostile: Hostile) -> None:
    await hostile.get()
    await hostile.wrong(operation="assessPatches", delay={"request": "30s"})
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(hostile.assess(), 0.1)
    assert hostile.began() == 0
    for _ in range(500):
        if hostile.began():
            break
        await asyncio.sleep(0.02)

    assert hostile.began() == 1


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        pytest.param({"status": 503}, ClientAuthenticationError, id="refused"),
        pytest.param({"drop": "Before"}, LOST, id="not reachable"),
    ],
)
async def test_nobody_signs_in_while_sign_in_is_down(
    hostile: Hostile, fault: dict[str, Any], error: type[Exception] | tuple[type[Exception], ...]
) -> None:
    fault_id = await hostile.wrong(operation="signIn", **fault)
    with pytest.raises((HttpResponseError, *(error if isinstance(error, tuple) else (error,)))):
        await hostile.get()
    assert hostile.requests("/virtualMachines/web") == []
    await hostile.control("DELETE", f"faults/{fault_id}")

    assert (await hostile.get()).name == "web"


async def test_a_throttled_answer_reaches_the_client_with_its_headers(hostile: Hostile) -> None:
    await hostile.wrong(status=429, retryAfter="17s", operation="getMachine")
    with pytest.raises(HttpResponseError) as refused:
        await hostile.get()

    assert refused.value.response is not None
    assert refused.value.response.headers["Retry-After"] == "17"
    assert refused.value.error is not None
    assert refused.value.error.code == "TooManyRequests"


async def test_azure_is_away_and_comes_back_by_itself(hostile: Hostile) -> None:
    await hostile.get()
    await hostile.wrong(operation="everything", drop="Before", **{"for": "60s"})
    with pytest.raises(LOST):
        await hostile.get()
    assert (await hostile.control("GET", "healthz"))["status"] == "ok"
    for _ in range(500):
        if not (await hostile.control("GET", "faults"))["faults"]:
            break
        await asyncio.sleep(0.02)

    assert (await hostile.get()).name == "web"


async def test_every_secret_that_went_over_the_wire_is_known(hostile: Hostile) -> None:
    await hostile.assess()
    secrets = await hostile.control("GET", "issued")
    token = await hostile.credential.get_token(f"{hostile.addresses.arm}/.default")

    assert token.token in secrets["tokens"]
    assert secrets["clientSecrets"] == ["open sesame"]
    [signature] = secrets["signatures"]
    assert f"&s={signature}&" in hostile.headers["azure-asyncoperation"]
    journal = json.dumps([entry.to_json() for entry in hostile.cloud.journal.entries])
    assert not any(secret in journal for kind in secrets.values() for secret in kind)
