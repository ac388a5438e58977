"""HTTPS to Azure: one connection pool, one trust store."""

from __future__ import annotations

import ssl
from typing import Any

import aiohttp
from azure.core.pipeline.transport import AioHttpTransport, AsyncHttpTransport

from azpatch.azure.cloud import CloudSettings

Transport = AsyncHttpTransport[Any, Any]
"""What carries requests: sockets, or in tests a wire without them."""

CONNECT_TIMEOUT = 10
"""Real seconds to connect. azure-core's own 300 would hold a worker for minutes."""
READ_TIMEOUT = 60
"""Real seconds without a byte. Resource Graph ends a query after 30 s by itself."""


class PooledTransport(AioHttpTransport):  # type: ignore[misc]  # exported lazily, so untyped
    """azure-core's aiohttp transport with our CA file.

    Given the file as `connection_verify`, the SDK makes a new TLS context for every request, and
    aiohttp shares connections only within one: each request would shake hands anew.
    """

    def __init__(self, cloud: CloudSettings, *, use_env_settings: bool = True) -> None:
        super().__init__(
            connection_timeout=CONNECT_TIMEOUT,
            read_timeout=READ_TIMEOUT,
            use_env_settings=use_env_settings,
        )
        self.session: aiohttp.ClientSession | None = None
        self._ca_file = cloud.ca_file
        self._trust_env = use_env_settings

    async def open(self) -> None:
        """Makes the session when it is first needed, inside the loop that uses it."""
        if self.session is None and not self._has_been_opened:
            context = ssl.create_default_context(cafile=self._ca_file)
            self.session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=context),
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=self._trust_env,
                auto_decompress=False,
            )
        await super().open()
