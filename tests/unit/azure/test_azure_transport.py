"""The adapter on real sockets and TLS: what a connection that fails means, and that one is kept."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from azpatch.azure import port
from azpatch.azure.client import SdkAzureClient
from azpatch.azure.cloud import CloudSettings
from azpatch.azure.credentials import SignIn
from azpatch.azure.port import Credentials

VM = "/subscriptions/s-1/resourceGroups/rg/providers/Microsoft.Compute/virtualMachines/web-1"


class Server:
    """HTTPS on the loopback interface: it answers every request alike, or hangs up on it."""

    def __init__(self) -> None:
        self.connections = 0
        self.requests: list[str] = []
        self.hangs_up = False
        self.cloud = CloudSettings("https://unset", "https://unset")

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while head := (await reader.readuntil(b"\r\n\r\n")).decode():
                lengths = [
                    int(line.partition(":")[2])
                    for line in head.splitlines()
                    if line.lower().startswith("content-length:")
                ]
                await reader.readexactly(sum(lengths))
                self.requests.append(head.partition(" ")[0])
                if self.hangs_up:
                    break
                body = json.dumps({"id": VM, "properties": {"vmId": "aaaa"}}).encode()
                writer.write(
                    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                    b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
                )
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    server = Server()
    listening = await asyncio.start_server(server.serve, "localhost", 0, ssl=context)
    url = f"https://localhost:{listening.sockets[0].getsockname()[1]}"
    server.cloud = CloudSettings(url, url, str(tmp_path / "ca.pem"))
    yield server
    listening.close()
    await asyncio.sleep(0)


async def connected(cloud: CloudSettings, authority: Any, clock: Any) -> SdkAzureClient:
    sign_in = SignIn(Credentials("ClientSecret", "t", "c", "s"), cloud, transport=authority)
    return SdkAzureClient(cloud, sign_in, clock, lambda _headers: None)


async def test_many_requests_share_one_connection(
    server: Server, authority: Any, clock: Any
) -> None:
    client = await connected(server.cloud, authority, clock)
    for _ in range(5):
        assert (await client.machine(VM)).machine.vm_id == "aaaa"
    await client.close()
    assert (len(server.requests), server.connections) == (5, 1)


async def test_a_post_on_which_azure_hangs_up_is_unconfirmed_and_sent_once(
    server: Server, authority: Any, clock: Any
) -> None:
    server.hangs_up = True
    client = await connected(server.cloud, authority, clock)
    with pytest.raises(port.Unconfirmed):
        await client.install(VM, {"maximumDuration": "PT2H"}, "attempt")
    await client.close()
    assert server.requests == ["POST"]


async def test_a_post_on_a_kept_connection_on_which_azure_hangs_up_is_sent_once(
    server: Server, authority: Any, clock: Any
) -> None:
    client = await connected(server.cloud, authority, clock)
    await client.machine(VM)
    server.hangs_up = True
    with pytest.raises(port.Unconfirmed):
        await client.install(VM, {"maximumDuration": "PT2H"}, "attempt")
    await client.close()
    assert server.requests == ["GET", "POST"]


async def test_a_read_on_which_azure_hangs_up_is_repeated_a_little(
    server: Server, authority: Any, clock: Any
) -> None:
    server.hangs_up = True
    client = await connected(server.cloud, authority, clock)
    with pytest.raises(port.Retry):
        await client.machine(VM)
    await client.close()
    assert 3 <= len(server.requests) <= 6


@pytest.mark.parametrize("why", ["nobody listens", "no such host", "certificate not trusted"])
async def test_a_post_that_found_no_connection_did_not_start(
    why: str, server: Server, authority: Any, clock: Any
) -> None:
    urls = {
        "nobody listens": "https://localhost:1",
        "no such host": "https://arm.invalid",
        "certificate not trusted": server.cloud.base_url,
    }
    cloud = CloudSettings(urls[why], urls[why])
    client = await connected(cloud, authority, clock)
    with pytest.raises(port.NotStarted):
        await client.assess(VM, "attempt")
    await client.close()
    assert server.requests == []
