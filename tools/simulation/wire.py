"""The way from the Azure SDKs to azsim's core: a transport without sockets, in virtual time.

Everything above it is the operator's own: pipelines, retries, sign-in, time-outs. A request that
has left arrives, whatever becomes of who sent it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextvars import Context
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import aiohttp
from azure.core.exceptions import ServiceRequestError
from azure.core.pipeline.transport import AsyncHttpTransport
from azure.core.rest._helpers import get_charset_encoding
from azure.core.rest._http_response_impl_async import AsyncHttpResponseImpl
from multidict import CIMultiDict

from azsim.cloud import Cloud
from azsim.door import Effect
from azsim.http import Request, Response

HOST = "azure.sim"

TRAVEL = 0.05
"""Seconds from the operator to Azure, and back."""


class Wire(AsyncHttpTransport[Any, Any]):
    """One process's connections to Azure."""

    def __init__(self, cloud: Cloud, travel: Callable[[], float] = lambda: TRAVEL) -> None:
        self._cloud = cloud
        self._travel = travel

    async def send(self, request: Any, **_options: Any) -> AsyncHttpResponseImpl:
        """One request and its answer."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Response | None] = loop.create_future()
        asked = _request(request)

        def arrive() -> None:
            effect = self._cloud.faults.strike(asked)
            loop.call_later(
                effect.arrive_after.total_seconds(),
                lambda: self._process(asked, effect, answer),
                context=Context(),
            )

        loop.call_later(self._travel(), arrive, context=Context())
        response = await answer
        if response is None:
            raise ServiceRequestError("lost", error=aiohttp.ServerDisconnectedError())
        return _answer(request, response)

    def _process(
        self, asked: Request, effect: Effect, answer: asyncio.Future[Response | None]
    ) -> None:
        response = self._cloud.answer(asked, effect)

        def arrived() -> None:
            if not answer.done():
                answer.set_result(response)

        after = self._travel() + effect.answer_after.total_seconds()
        asyncio.get_running_loop().call_later(after, arrived, context=Context())

    async def open(self) -> None:
        """Nothing to open."""

    async def close(self) -> None:
        """Nothing to close."""

    async def __aexit__(self, *_error: object) -> None:
        """Nothing to close."""

    async def sleep(self, duration: float) -> None:
        """Between the pipeline's own repeats."""
        await asyncio.sleep(duration)


@dataclass(frozen=True)
class _Headers:
    """What azure-core reads the encoding of an answer from."""

    headers: Mapping[str, str]


class _Connection:
    """What the SDK closes below an answer."""

    async def close(self) -> None: ...


def _request(request: Any) -> Request:
    """azure-core's request, of either of its generations, as azsim takes it."""
    parts = urlsplit(request.url)
    body = getattr(request, "content", None)
    if body is None:
        body = getattr(request, "data", None) or b""
    return Request(
        method=request.method,
        path=unquote(parts.path),
        query=dict(parse_qsl(parts.query, keep_blank_values=True)),
        headers={
            "host": parts.netloc,
            **{name.lower(): value for name, value in request.headers.items()},
        },
        body=_encoded(body),
    )


def _encoded(body: Any) -> bytes:
    if isinstance(body, bytes):
        return body
    if isinstance(body, str):
        return body.encode()
    form = aiohttp.FormData(body)()
    value = form._value
    return bytes(value)


@cache
def _encoding(content_type: str) -> str | None:
    """As azure-core reads it off each answer anew, with a parser of e-mails."""
    return get_charset_encoding(_Headers({"Content-Type": content_type}))


def _answer(request: Any, response: Response) -> AsyncHttpResponseImpl:
    content = response.content()
    headers = CIMultiDict(response.headers)
    made = AsyncHttpResponseImpl(
        request=request,
        internal_response=_Connection(),
        status_code=response.status,
        headers=headers,
        reason="",
        content_type=headers.get("content-type", "application/json"),
        stream_download_generator=None,
    )
    made._content = content
    made.encoding = _encoding(made.content_type)
    return made
