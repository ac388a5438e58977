"""kopf, set up to watch and to do nothing of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

import kopf

from azpatch.handlers import events
from azpatch.kube.config import Login
from azpatch.reconcile.store import Store

SERVER_TIMEOUT = 600
"""Seconds after which the API server ends a watch; short enough to spread over its replicas."""

CLIENT_TIMEOUT = SERVER_TIMEOUT + 60
"""A watch that the server should have ended a minute ago is broken."""

INACTIVITY_TIMEOUT = 70
"""Seconds without even a bookmark, which comes every 60: the connection is dead."""

ERROR_BACKOFFS = (1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 60, 60, 60, 60, 60)
"""Seconds; together over seven minutes, longer than the upgrade of an API server takes."""

EXIT_SECONDS = 25
"""A pod has 30 by default; the rest is for the process to end."""


class NothingHandled(kopf.DiffBaseStorage):
    """What kopf compares an object with, for handlers of changes, of which there are none here. Its
    own copies every object, whole, for every event."""

    def build(self, **_: Any) -> kopf.BodyEssence:
        """Nothing."""
        return cast(kopf.BodyEssence, {})

    def fetch(self, **_: Any) -> None:
        """Nothing."""

    def store(self, **_: Any) -> None:
        """Nowhere."""


def settings() -> kopf.OperatorSettings:
    """What keeps kopf from writing, posting, pairing up and limiting itself."""
    config = kopf.OperatorSettings()
    # Never written by handlers of this kind; must not be the name of our own finalizer, which kopf
    # would then remove.
    config.persistence.finalizer = "azpatch.dev/kopf"
    config.persistence.diffbase_storage = NothingHandled()
    config.posting.enabled = False
    config.peering.standalone = True
    config.scanning.disabled = True
    config.watching.server_timeout = SERVER_TIMEOUT
    config.watching.client_timeout = CLIENT_TIMEOUT
    config.watching.connect_timeout = 10
    config.watching.reconnect_backoff = 1
    config.watching.inactivity_timeout = INACTIVITY_TIMEOUT
    config.watching.chunk_size = 500
    config.networking.request_timeout = 60
    config.networking.connect_timeout = 10
    config.networking.error_backoffs = ERROR_BACKOFFS
    # A limit would be one of objects, not of work: an idle object keeps its place.
    config.queueing.worker_limit = None
    config.queueing.idle_timeout = 0.5
    config.process.ultimate_exiting_timeout = EXIT_SECONDS
    return config


class Engine:
    """The watch. Started after the first LIST, when every kind is known to be served."""

    def __init__(
        self, store: Store, enqueue: events.Enqueue, login: Callable[[], Awaitable[Login]]
    ) -> None:
        self._registry = kopf.OperatorRegistry()
        self._stop = asyncio.Event()
        self._login = login
        events.register(self._registry, store, enqueue)
        kopf.on.login(id="login", registry=self._registry)(self._sign_in)

    async def run(self, started: Callable[[], None]) -> None:
        """Watches until `stop`; raises if kopf ends by itself.

        `started` is called when kopf has taken the process's signals, for the program to take them
        back: kopf would end every task of the loop, the workers' too.
        """
        others = asyncio.all_tasks()
        tasks = await kopf.spawn_tasks(
            registry=self._registry,
            settings=settings(),
            standalone=True,
            clusterwide=True,
            stop_flag=self._stop,
        )
        started()
        await kopf.run_tasks(tasks, ignored=others)
        if not self._stop.is_set():
            raise RuntimeError("the watch ended by itself")

    def stop(self) -> None:
        """Ends `run`. To be called when the workers have ended: kopf cancels what tasks remain."""
        self._stop.set()

    async def _sign_in(self, **_: Any) -> kopf.ConnectionInfo:
        login = await self._login()
        scheme, _space, token = (login.authorization or "").partition(" ")
        return kopf.ConnectionInfo(
            server=login.server,
            ca_path=login.ca_file,
            insecure=not login.verify,
            scheme=scheme.capitalize() or None,
            token=token.strip() or None,
            certificate_path=login.certificate_file,
            private_key_path=login.key_file,
            proxy_url=login.proxy,
        )
