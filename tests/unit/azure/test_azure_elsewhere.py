"""The token and the secret go to the hosts that were configured and to no other, over real TLS.

The other host here has a certificate that the client trusts, so that nothing but the adapter's own
care keeps a request from it.
"""

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiohttp import web

from azpatch.azure import port
from azpatch.azure.client import SdkAzureClient
from azpatch.azure.cloud import CloudSettings
from azpatch.azure.credentials import SignIn
from azpatch.azure.port import Credentials

SUBSCRIPTION = "6f1c0000-0000-4000-8000-000000000001"
VM = (
    f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg/providers/Microsoft.Compute"
    "/virtualMachines/web-1"
)
SECRET = "s3cr3t-of-the-service-principal"
TOKEN = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJlbHNld2hlcmUifQ.signature-of-the-token"
OPERATION = "/providers/Microsoft.Compute/locations/westeurope/operations/0d4e?s=signature"
BODY = {"maximumDuration": "PT2H", "rebootSetting": "Never"}

REDIRECTS = (301, 302, 303, 307, 308)


@dataclass
class Host:
    """An HTTPS server that keeps every request and answers it as `answer` says."""

    url: str = ""
    answer: Callable[[web.Request], web.Response] = field(
        default=lambda _request: web.json_response({"status": "Succeeded"})
    )
    requests: list[str] = field(default_factory=list)
    """Method, path and headers of each."""

    async def handle(self, request: web.Request) -> web.Response:
        self.requests.append(f"{request.method} {request.path_qs} {dict(request.headers)}")
        return self.answer(request)


@dataclass
class Hosts:
    """ARM and the authority on one host, as in azsim, and somebody else's host."""

    ours: Host
    elsewhere: Host
    cloud: CloudSettings

    def redirect(self, status: int, only: str = "") -> None:
        """Every request whose path holds `only` is sent elsewhere; the others are answered."""

        def answer(request: web.Request) -> web.Response:
            if only in request.path:
                target = f"{self.elsewhere.url}{request.path_qs}"
                return web.Response(status=status, headers={"Location": target})
            return token_or_nothing(request)

        self.ours.answer = answer

    def asked(self, path: str) -> int:
        """Requests of ours that had this in their path."""
        return sum(path in request.split()[1] for request in self.ours.requests)


def token_or_nothing(request: web.Request) -> web.Response:
    if request.path.endswith("/token"):
        return web.json_response(
            {"token_type": "Bearer", "expires_in": 3600, "access_token": TOKEN}
        )
    return web.json_response({"status": "Succeeded"})


@pytest.fixture
async def hosts(tmp_path: Path) -> AsyncIterator[Hosts]:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    runners = []
    made = {"localhost": Host(answer=token_or_nothing), "127.0.0.1": Host()}
    for name, host in made.items():
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", host.handle)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        host.url = f"https://{name}:{runner.addresses[0][1]}"
        runners.append(runner)
    ours, elsewhere = made.values()
    yield Hosts(ours, elsewhere, CloudSettings(ours.url, ours.url, str(tmp_path / "ca.pem")))
    for runner in runners:
        await runner.cleanup()


@pytest.fixture
async def client(hosts: Hosts, clock: Any) -> AsyncIterator[SdkAzureClient]:
    """The whole of it, its sign-in included."""
    sign_in = SignIn(Credentials("ClientSecret", "tenant", "client", SECRET), hosts.cloud)
    made = SdkAzureClient(hosts.cloud, sign_in, clock, lambda _headers: None)
    yield made
    await made.close()


async def test_the_other_host_can_be_reached(hosts: Hosts, clock: Any) -> None:
    """Else none of these tests would say anything."""
    there = CloudSettings(hosts.elsewhere.url, hosts.ours.url, hosts.cloud.ca_file)
    sign_in = SignIn(Credentials("ClientSecret", "tenant", "client", SECRET), there)
    client = SdkAzureClient(there, sign_in, clock, lambda _headers: None)
    assert not (await client.operation(f"{hosts.elsewhere.url}{OPERATION}")).running
    await client.close()
    [request] = hosts.elsewhere.requests
    assert TOKEN in request


@pytest.mark.parametrize("header", ["Azure-AsyncOperation", "Location"])
@pytest.mark.parametrize("kind", ["assess", "install"])
async def test_an_operation_whose_url_is_on_another_host_is_not_polled_there(
    kind: str, header: str, client: SdkAzureClient, hosts: Hosts
) -> None:
    def accepted(request: web.Request) -> web.Response:
        if request.path.endswith("Patches"):
            return web.Response(status=202, headers={header: f"{hosts.elsewhere.url}{OPERATION}"})
        return token_or_nothing(request)

    hosts.ours.answer = accepted
    answer = await (client.assess(VM, "a") if kind == "assess" else client.install(VM, BODY, "a"))
    with pytest.raises(port.Gone, match="not followed"):
        await client.operation(answer.poll_url)
    assert hosts.asked(f"{kind}Patches") == 1
    assert hosts.elsewhere.requests == []


@pytest.mark.parametrize(
    "disguise",
    [
        pytest.param("{ours}@{host}", id="our host as the user's name"),
        pytest.param("https://{host}#{ours}", id="our host behind a #"),
        pytest.param("https://{host}\\@{ours_host}", id="a backslash before our host"),
        pytest.param("https:{ours_host}@{host}", id="no slashes"),
        pytest.param("http://{ours_host}", id="our host without TLS"),
    ],
)
async def test_a_url_that_only_looks_like_ours_is_not_followed(
    disguise: str, client: SdkAzureClient, hosts: Hosts
) -> None:
    url = disguise.format(
        ours=hosts.ours.url,
        ours_host=hosts.ours.url.removeprefix("https://"),
        host=hosts.elsewhere.url.removeprefix("https://"),
    )
    with pytest.raises(port.AzureError):
        await client.operation(f"{url}{OPERATION}")
    assert hosts.elsewhere.requests == []
    assert hosts.asked("operations") == 0


READS: dict[str, Callable[[SdkAzureClient, Hosts], Awaitable[object]]] = {
    "a poll": lambda client, hosts: client.operation(f"{hosts.ours.url}{OPERATION}"),
    "a look at a machine": lambda client, _: client.machine(VM),
    "the features": lambda client, _: client.features(SUBSCRIPTION),
    "the permissions": lambda client, _: client.permissions(f"/subscriptions/{SUBSCRIPTION}"),
    "Resource Graph": lambda client, _: client.snapshot([SUBSCRIPTION]),
}

WRITES: dict[str, Callable[[SdkAzureClient], Awaitable[object]]] = {
    "assess": lambda client: client.assess(VM, "attempt"),
    "install": lambda client: client.install(VM, BODY, "attempt"),
    "register a feature": lambda client: client.register_feature(SUBSCRIPTION, "X", "attempt"),
    "register compute": lambda client: client.register_compute(SUBSCRIPTION, "attempt"),
}


@pytest.mark.parametrize("status", REDIRECTS)
@pytest.mark.parametrize("what", READS)
async def test_a_read_that_is_redirected_to_another_host_ends_there(
    what: str, status: int, client: SdkAzureClient, hosts: Hosts
) -> None:
    hosts.redirect(status, only="/providers/")
    with pytest.raises(port.Retry):
        await READS[what](client, hosts)
    assert hosts.asked("/providers/") >= 1
    assert hosts.elsewhere.requests == []


@pytest.mark.parametrize("status", REDIRECTS)
@pytest.mark.parametrize("what", WRITES)
async def test_a_post_that_is_redirected_to_another_host_is_sent_once_and_unconfirmed(
    what: str, status: int, client: SdkAzureClient, hosts: Hosts
) -> None:
    hosts.redirect(status, only="/providers/")
    with pytest.raises(port.Unconfirmed):
        await WRITES[what](client)
    assert hosts.asked("/providers/") == 1
    assert hosts.elsewhere.requests == []


async def test_a_next_page_on_another_host_is_not_read(
    client: SdkAzureClient, hosts: Hosts
) -> None:
    def page(request: web.Request) -> web.Response:
        if request.path.endswith("/token"):
            return token_or_nothing(request)
        return web.json_response({"value": [], "nextLink": f"{hosts.elsewhere.url}/more?s=signed"})

    hosts.ours.answer = page
    with pytest.raises(port.Gone):
        await client.permissions(f"/subscriptions/{SUBSCRIPTION}")
    assert hosts.elsewhere.requests == []


@pytest.mark.parametrize("status", REDIRECTS)
async def test_the_secret_does_not_follow_a_redirect_of_the_sign_in(
    status: int, client: SdkAzureClient, hosts: Hosts
) -> None:
    hosts.redirect(status, only="/token")
    with pytest.raises(port.AzureError):
        await client.machine(VM)
    assert hosts.asked("/token") >= 1
    assert hosts.asked("virtualMachines") == 0
    assert hosts.elsewhere.requests == []


async def test_a_challenge_that_names_another_authority_gets_no_token(
    client: SdkAzureClient, hosts: Hosts
) -> None:
    def challenge(request: web.Request) -> web.Response:
        if request.path.endswith("/token"):
            return token_or_nothing(request)
        uri = f'Bearer authorization_uri="{hosts.elsewhere.url}/tenant", error="invalid_token"'
        return web.Response(status=401, headers={"WWW-Authenticate": uri})

    hosts.ours.answer = challenge
    with pytest.raises(port.SignInFailed):
        await client.machine(VM)
    assert hosts.elsewhere.requests == []
