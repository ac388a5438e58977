"""A way to a server that tests hold in their hands: what passes is seen, kept back or answered.

It ends TLS with a certificate of its own and sends every request on as it came, so that the server
sees its client's token, and the client its server's answer. A `Trap` is for one kind of request:
what happens to it, and at which moment.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
import trustme
from aiohttp import web
from yarl import URL

BODY_LIMIT = 64 * 1024 * 1024
"""Bytes; more than either server takes."""

HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length"})
"""Headers about one connection, in lower case."""

DEATH_LOOK = 0.005
"""Real seconds between two looks whether the client is gone."""

DEATH_PATIENCE = 5.0
"""Real seconds for a client that was killed to be gone; after it, the connection is cut."""


class Moment(StrEnum):
    """When a trap springs."""

    BEFORE = "before"
    """The request never reaches the server."""
    LOST = "unanswered"
    """The server has done it, and the client never learns."""
    AFTER = "after"
    """The server has done it, and the client has the answer."""


@dataclass(frozen=True, slots=True)
class Passing:
    """A request on its way."""

    method: str
    path: str
    query: Mapping[str, str]
    body: bytes = b""

    @property
    def json(self) -> Any:
        """The body as JSON; None where it is none."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


@dataclass(eq=False)
class Trap:
    """Waits for requests; springs `times` times."""

    wanted: Callable[[Passing], bool]
    moment: Moment = Moment.BEFORE
    kill: Callable[[], None] | None = None
    """Kills the client; called at the moment, on the gate's thread."""
    answer: tuple[int, Mapping[str, Any]] | None = None
    """Status and JSON body that the client gets instead; None: the connection ends without one."""
    times: int = 1
    sprung: int = 0
    last: Passing | None = None
    """What it sprang for."""
    done: threading.Event = field(default_factory=threading.Event)
    """Set when it has sprung for the last time."""

    def springs(self, passing: Passing) -> bool:
        """Whether it is for this request; counted if so."""
        if self.sprung >= self.times or not self.wanted(passing):
            return False
        self.sprung += 1
        self.last = passing
        return True


class Gate:
    """Open from `with` to the end of it. `seen` is called for every request that goes on.

    Attributes:
        url: ``https://localhost:PORT``.
        ca_file: PEM; signs its certificate.
    """

    def __init__(self, name: str, folder: Path, seen: Callable[[Passing], None] | None = None):
        self.url = ""
        self.ca_file = folder / f"gate-{name}.pem"
        self._seen = seen or (lambda _: None)
        self._upstream: tuple[str, ssl.SSLContext] | None = None
        self._traps: list[Trap] = []
        self._streams: set[asyncio.Transport] = set()
        self._loop = asyncio.new_event_loop()
        self._end = asyncio.Event()
        self._open = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"gate-{name}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._open.wait(30):
            raise TimeoutError("the gate did not open")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(30)

    def lead_to(self, url: str, ca_file: Path) -> None:
        """Which server is behind it, from now on."""
        self._upstream = (url, ssl.create_default_context(cafile=str(ca_file)))

    def set(self, trap: Trap) -> Trap:
        """A trap, until it has sprung as often as it may or is removed."""
        self._traps.append(trap)
        return trap

    def remove(self, trap: Trap) -> None:
        """It springs no more."""
        if trap in self._traps:
            self._traps.remove(trap)

    def cut_streams(self) -> int:
        """Ends every answer that is still being sent, as of a watch; how many there were."""
        streams = list(self._streams)
        for transport in streams:
            self._loop.call_soon_threadsafe(transport.abort)
        return len(streams)

    # -- the gate's thread --------------------------------------------------------------------

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(self.ca_file))
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("localhost", "127.0.0.1").configure_cert(tls)
        application = web.Application(client_max_size=BODY_LIMIT)
        application.router.add_route("*", "/{path:.*}", self._pass)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        # As it came: a compressed answer stays one. No limit: a watch is a connection each.
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(
            connector=connector, auto_decompress=False, trust_env=False
        ) as self._session:
            site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
            await site.start()
            assert runner.addresses
            self.url = f"https://localhost:{runner.addresses[0][1]}"
            self._open.set()
            await self._end.wait()
            for transport in self._streams:
                transport.abort()
            await runner.cleanup()

    async def _pass(self, incoming: web.Request) -> web.StreamResponse:
        body = await incoming.read()
        passing = Passing(incoming.method, incoming.path, dict(incoming.query), body)
        trap = next((one for one in self._traps if one.springs(passing)), None)
        if trap is not None and trap.moment is Moment.BEFORE:
            return await self._spring(trap, incoming)
        self._seen(passing)
        try:
            return await self._forward(incoming, passing, trap)
        except (aiohttp.ClientError, OSError):
            # The server is away, or the client is.
            return _cut(incoming)

    async def _forward(
        self, incoming: web.Request, passing: Passing, trap: Trap | None
    ) -> web.StreamResponse:
        async with self._asked(incoming, passing) as answer:
            headers = [
                (name, value)
                for name, value in answer.headers.items()
                if name.lower() not in HOP_BY_HOP
            ]
            if passing.query.get("watch") in ("true", "1"):
                return await self._stream(incoming, answer, headers)
            content = await answer.read()
        if trap is not None and trap.moment is Moment.LOST:
            return await self._spring(trap, incoming)
        response = web.Response(status=answer.status, body=content)
        for name, value in headers:
            response.headers.add(name, value)
        if trap is not None:
            await response.prepare(incoming)
            await response.write_eof()
            await self._spring(trap, incoming)
        return response

    @asynccontextmanager
    async def _asked(
        self, incoming: web.Request, passing: Passing
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        assert self._upstream is not None, "nothing is behind the gate yet"
        url, tls = self._upstream
        headers = [
            (name, value)
            for name, value in incoming.headers.items()
            if name.lower() not in HOP_BY_HOP
        ]
        async with self._session.request(
            passing.method,
            # As it came: decoding and encoding a signed URL would change it.
            URL(url + incoming.raw_path, encoded=True),
            headers=headers,
            data=passing.body or None,
            ssl=tls,
            allow_redirects=False,
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
            timeout=aiohttp.ClientTimeout(total=None),
        ) as answer:
            yield answer

    async def _stream(
        self,
        incoming: web.Request,
        answer: aiohttp.ClientResponse,
        headers: list[tuple[str, str]],
    ) -> web.StreamResponse:
        response = web.StreamResponse(status=answer.status)
        for name, value in headers:
            response.headers.add(name, value)
        transport = incoming.transport
        if transport is None:
            return _cut(incoming)
        self._streams.add(transport)
        try:
            await response.prepare(incoming)
            async for data in answer.content.iter_any():
                await response.write(data)
            await response.write_eof()
        except (aiohttp.ClientError, OSError):
            return _cut(incoming)
        finally:
            self._streams.discard(transport)
        return response

    async def _spring(self, trap: Trap, incoming: web.Request) -> web.StreamResponse:
        if trap.kill is not None:
            trap.kill()
        if trap.sprung >= trap.times:
            self.remove(trap)
            trap.done.set()
        if trap.answer is not None:
            status, body = trap.answer
            return web.json_response(body, status=status)
        if trap.kill is not None:
            await _gone(incoming)
        return _cut(incoming)


async def _gone(incoming: web.Request) -> None:
    """Until the client has closed the connection, as one that was killed does."""
    left = DEATH_PATIENCE
    while left > 0 and incoming.transport is not None and not incoming.transport.is_closing():
        await asyncio.sleep(DEATH_LOOK)
        left -= DEATH_LOOK


def _cut(incoming: web.Request) -> web.Response:
    """Ends the connection at once; the response is for aiohttp, which has no way to send none."""
    if incoming.transport is not None:
        incoming.transport.abort()
    return web.Response()
