"""Events (events.k8s.io/v1): few, each said once.

The same news about the same object is sent once in a while, not each time it is true. An Event's
name is made of what it says, so that a restarted operator, too, does not say it again. Events are
for people and may be lost: sending one never fails a reconcile.
"""

from __future__ import annotations

import hashlib
import socket
import time
from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

import structlog

from azpatch.kube.port import Conflict, Kind, KubeError, Object

EVENT = Kind("events.k8s.io", "v1", "events", "Event", namespaced=True)

QUIET_SECONDS = 3600
"""How long the same Event is not sent again: as long as the API server keeps it by default
(--event-ttl), so that `kubectl describe` always shows it once."""

REMEMBERED = 4096
"""Events kept in mind; about 1 MiB. Beyond it the oldest may be sent again."""

CONTROLLER = "azpatch.dev/operator"
CLUSTER_NAMESPACE = "default"
"""Where Kubernetes puts Events about cluster-scoped objects."""

LONGEST_NOTE = 1024
"""Bytes; the API server refuses more, and more than 128 of a reason, an action or an instance."""

log = structlog.get_logger(__name__)


class Creates(Protocol):
    """The one call that a recorder needs."""

    async def create(self, kind: Kind, body: Object) -> Object:
        """Raises KubeError."""
        ...


class Recorder:
    """Sends Events through `api`, each at most once in QUIET_SECONDS (real time)."""

    def __init__(
        self,
        api: Creates,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api = api
        self._now = now
        self._monotonic = monotonic
        self._instance = socket.gethostname()[:128]
        self._sent: OrderedDict[str, float] = OrderedDict()

    async def event(
        self, kind: Kind, regarding: Object, *, warning: bool, reason: str, action: str, note: str
    ) -> None:
        """Sends it, unless it was sent lately. Never raises."""
        news = _digest(regarding["metadata"]["uid"], reason, note)
        if self._lately(news):
            return
        body = self._body(kind, regarding, warning=warning, reason=reason, action=action, note=note)
        try:
            await self._api.create(EVENT, body)
        except Conflict:
            pass  # Said before a restart.
        except KubeError as error:
            # To be tried again when it is news the next time.
            self._sent.pop(news, None)
            log.info("event was not sent", reason=reason, error=str(error))

    def _lately(self, news: str) -> bool:
        """Also remembers it, before the request, so that two workers do not both send it."""
        now = self._monotonic()
        sent = self._sent.get(news)
        if sent is not None and now - sent < QUIET_SECONDS:
            return True
        self._sent[news] = now
        self._sent.move_to_end(news)
        if len(self._sent) > REMEMBERED:
            self._sent.popitem(last=False)
        return False

    def _body(
        self, kind: Kind, regarding: Object, *, warning: bool, reason: str, action: str, note: str
    ) -> Object:
        meta = regarding["metadata"]
        now = self._now()
        period = str(int(now.timestamp()) // QUIET_SECONDS)
        namespace = meta.get("namespace") or CLUSTER_NAMESPACE
        name = f"{meta['name'][:200]}.{_digest(meta['uid'], reason, note, period)}"
        return {
            "apiVersion": "events.k8s.io/v1",
            "kind": EVENT.kind,
            "metadata": {"name": name, "namespace": namespace},
            "eventTime": now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "reportingController": CONTROLLER,
            "reportingInstance": self._instance,
            "type": "Warning" if warning else "Normal",
            "reason": reason[:128],
            "action": action[:128],
            "note": note.encode()[:LONGEST_NOTE].decode("utf-8", "ignore"),
            "regarding": {
                "apiVersion": "/".join(part for part in (kind.group, kind.version) if part),
                "kind": kind.kind,
                "name": meta["name"],
                "namespace": meta.get("namespace") or "",
                "uid": meta["uid"],
            },
        }


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
