"""The Azure adapter on a wire without sockets: the whole SDK pipeline, and what it sent."""

import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest
from azure.core import exceptions as core
from azure.core.pipeline.transport import AsyncHttpTransport
from azure.core.rest._http_response_impl_async import AsyncHttpResponseImpl
from multidict import CIMultiDict
from prometheus_client import CollectorRegistry

from azpatch.azure.client import SdkAzureClient
from azpatch.azure.cloud import AZURE_PUBLIC
from azpatch.azure.credentials import SignIn
from azpatch.azure.metrics import AzureMetrics, MeasuredClient
from azpatch.azure.port import Credentials

SECRET = "s3cr3t-of-the-service-principal"
TOKEN = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJ3aXJlIn0.signature-of-the-token"


@dataclass(frozen=True)
class Answer:
    """One HTTP answer."""

    status: int
    body: object = None
    """Sent as JSON, bytes as they are."""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Sent:
    """One HTTP request, as the transport got it."""

    method: str
    url: str
    headers: Mapping[str, str]
    content: Any

    def json(self) -> Any:
        return json.loads(self.content)


Script = Answer | BaseException


class Wire(AsyncHttpTransport[Any, Any]):
    """Gives the scripted answers one after another, the last one again and again."""

    def __init__(self) -> None:
        self.script: list[Script] = []
        self.sent: list[Sent] = []

    def answers(self, *script: Script) -> None:
        self.script = list(script)

    def posts(self) -> list[Sent]:
        return [request for request in self.sent if request.method == "POST"]

    async def send(self, request: Any, **_options: Any) -> AsyncHttpResponseImpl:
        self.sent.append(Sent(request.method, request.url, dict(request.headers), request.content))
        answer = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(answer, BaseException):
            raise answer
        return response_to(request, answer)

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def __aexit__(self, *_error: object) -> None: ...

    async def sleep(self, duration: float) -> None: ...


class Closable:
    """The connection below an answer that the SDK streams."""

    async def close(self) -> None: ...


def response_to(request: Any, answer: Answer) -> AsyncHttpResponseImpl:
    content = b"" if answer.body is None else _sent(answer.body)
    response = AsyncHttpResponseImpl(
        request=request,
        internal_response=Closable(),
        status_code=answer.status,
        headers=CIMultiDict({"Content-Type": "application/json", **answer.headers}),
        reason="",
        content_type="application/json",
        stream_download_generator=None,
    )
    response._content = content
    return response


def _sent(body: object) -> bytes:
    return body if isinstance(body, bytes) else json.dumps(body).encode()


class Authority(Wire):
    """Where identities sign in: always the same token."""

    def __init__(self) -> None:
        super().__init__()
        self.answers(
            Answer(200, {"token_type": "Bearer", "expires_in": 3600, "access_token": TOKEN})
        )


@dataclass
class StillClock:
    """A clock on which waiting takes no time, and is written down."""

    slept: list[timedelta] = field(default_factory=list)

    def now(self) -> datetime:
        return datetime(2026, 11, 22, 10, tzinfo=UTC) + sum(self.slept, timedelta())

    def monotonic(self) -> float:
        return sum(self.slept, timedelta()).total_seconds()

    def elapsed(self) -> timedelta:
        return sum(self.slept, timedelta())

    async def sleep(self, duration: timedelta) -> None:
        self.slept.append(duration)


@pytest.fixture
def answer() -> type[Answer]:
    return Answer


@pytest.fixture
def wire() -> Wire:
    return Wire()


@pytest.fixture
def authority() -> Authority:
    return Authority()


@pytest.fixture
def clock() -> StillClock:
    return StillClock()


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
async def client(
    wire: Wire, authority: Authority, clock: StillClock, registry: CollectorRegistry
) -> AsyncIterator[MeasuredClient]:
    metrics = AzureMetrics(registry)
    sign_in = SignIn(
        Credentials("ClientSecret", "tenant", "client", SECRET), AZURE_PUBLIC, transport=authority
    )
    made = MeasuredClient(SdkAzureClient(AZURE_PUBLIC, sign_in, clock, metrics.seen, wire), metrics)
    yield made
    await made.close()


@pytest.fixture
def connection_error() -> Callable[[str], Exception]:
    """What azure-core's transport raises, by what happened to the connection."""

    def make(what: str) -> Exception:
        if what == "lost":
            cause = aiohttp.ServerDisconnectedError("https://management.azure.com/?sig=abc")
            return core.ServiceRequestError(cause, error=cause)
        if what == "silent":
            return core.ServiceResponseTimeoutError("timed out", error=TimeoutError())
        key: Any = type("Key", (), {"host": "arm", "port": 443, "ssl": True, "is_ssl": True})()
        refused = aiohttp.ClientConnectorError(key, ConnectionRefusedError(111, "refused"))
        return core.ServiceRequestError("refused", error=refused)

    return make
