"""Serves a simulated cloud: HTTPS for ARM and sign-in, plain HTTP for the metadata service.

Both listen on the loopback interface only: the tokens and the journal guard nothing. The
certificate is issued for `localhost` and 127.0.0.1 by a CA that lives as long as the server.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import trustme
from aiohttp import web

from azsim.cloud import Cloud
from azsim.http import ArmError, Request, Response

HOST = "127.0.0.1"
"""The only address that azsim listens on."""

IMDS_PREFIX = "/metadata/identity/"
"""What the metadata service answers; ARM does not answer it."""

BODY_LIMIT = 4 * 1024 * 1024
"""Bytes of a request's body at most, as in ARM."""

TICK = 1.0
"""Real seconds between two looks at what is due, so that the journal does not wait for requests."""

LOOK = 0.02
"""Real seconds between two looks at the clock while a request or an answer is held up."""


@dataclass(frozen=True)
class Addresses:
    """Where a running server is found."""

    arm: str
    imds: str
    ca_file: Path


@contextlib.asynccontextmanager
async def serving(
    cloud: Cloud, *, port: int = 0, imds_port: int = 0, ca_file: Path
) -> AsyncIterator[Addresses]:
    """Serve a cloud until the block ends; port 0 is any free one.

    `ca_file` is written: the certificate authority that clients have to trust. OSError if a port
    is taken.
    """
    authority = trustme.CA(organization_name="azsim", organization_unit_name="simulated Azure")
    ca_file.parent.mkdir(parents=True, exist_ok=True)
    authority.cert_pem.write_to_path(str(ca_file))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", HOST).configure_cert(tls)
    ticker = asyncio.create_task(_tick(cloud))
    try:
        async with (
            _listening(_application(cloud, imds=False), port, tls) as arm,
            _listening(_application(cloud, imds=True), imds_port, None) as imds,
        ):
            yield Addresses(f"https://localhost:{arm}", f"http://{HOST}:{imds}", ca_file)
    finally:
        ticker.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await ticker
        cloud.journal.close()


@contextlib.asynccontextmanager
async def _listening(
    application: web.Application, port: int, tls: ssl.SSLContext | None
) -> AsyncIterator[int]:
    """The port that an application is served at."""
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, HOST, port, ssl_context=tls).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def _application(cloud: Cloud, *, imds: bool) -> web.Application:
    async def answer(incoming: web.Request) -> web.Response:
        request = Request(
            method=incoming.method,
            path=incoming.path,
            query=dict(incoming.query),
            headers={name.lower(): value for name, value in incoming.headers.items()},
            body=await incoming.read(),
        )
        if request.path.startswith(IMDS_PREFIX) is not imds:
            return _outgoing(
                ArmError(404, "NotFound", f"The path '{request.path}' was not found.").response()
            )
        effect = cloud.faults.strike(request)
        await _pass(cloud, effect.arrive_after)
        response = await cloud.handle(request, effect)
        await _pass(cloud, effect.answer_after)
        if response is None:
            return _cut_off(incoming)
        return _outgoing(response)

    application = web.Application(client_max_size=BODY_LIMIT)
    application.router.add_route("*", "/{path:.*}", answer)
    return application


async def _pass(cloud: Cloud, span: timedelta) -> None:
    """Wait until `span` of simulated time has passed."""
    until = cloud.clock.now() + span
    while span and cloud.clock.now() < until:  # noqa: ASYNC110 - a clock has no event
        await asyncio.sleep(LOOK)


def _cut_off(incoming: web.Request) -> web.Response:
    """End the connection at once; the response is for aiohttp, which has no way to send none."""
    if incoming.transport is not None:
        incoming.transport.abort()
    return web.Response()


def _outgoing(response: Response) -> web.Response:
    headers = dict(response.headers)
    if response.body is not None and not isinstance(response.body, bytes):
        headers.setdefault("content-type", "application/json; charset=utf-8")
    return web.Response(status=response.status, body=response.content(), headers=headers)


async def _tick(cloud: Cloud) -> None:
    while True:
        await asyncio.sleep(TICK)
        cloud.catch_up()
