"""The API server's audit log: who wrote what. Tests of silence count on it."""

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

WRITE_VERBS = frozenset({"create", "update", "patch", "delete", "deletecollection"})

LOG_WRITES: dict[str, Any] = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        {
            "level": "None",
            "resources": [{"group": "coordination.k8s.io", "resources": ["leases"]}],
        },
        {"level": "Metadata", "verbs": sorted(WRITE_VERBS)},
        {"level": "None"},
    ],
}
"""The default policy: one event per write, without bodies. Not of Leases: a leader that is at rest
renews its own all the time."""

LOG_EVERYTHING: dict[str, Any] = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "RequestResponse"}],
}
"""Reads and bodies too, for what a test wants to see of a single client. Large."""


LOG_STATUSES: dict[str, Any] = {
    **LOG_WRITES,
    "rules": [
        {
            "level": "RequestResponse",
            "verbs": sorted(WRITE_VERBS),
            "resources": [{"group": "azpatch.dev", "resources": ["*/status"]}],
        },
        *LOG_WRITES["rules"],
    ],
}
"""As the default, and the whole of each object of azpatch's whose status was written: also what
stood there for a moment only."""


@dataclass(frozen=True)
class AuditEvent:
    """One request as the API server judged it."""

    time: datetime
    verb: str
    user: str
    """For a ServiceAccount ``system:serviceaccount:NAMESPACE:NAME``."""

    resource: str
    subresource: str
    namespace: str
    name: str
    code: int
    """The HTTP status of the answer."""

    raw: dict[str, Any]

    @classmethod
    def parse(cls, raw: dict[str, Any]) -> "AuditEvent":
        target = raw.get("objectRef", {})
        return cls(
            time=datetime.fromisoformat(raw["requestReceivedTimestamp"]),
            verb=raw["verb"],
            user=raw["user"].get("username", ""),
            resource=target.get("resource", ""),
            subresource=target.get("subresource", ""),
            namespace=target.get("namespace", ""),
            name=target.get("name", ""),
            code=raw.get("responseStatus", {}).get("code", 0),
            raw=raw,
        )

    def __str__(self) -> str:
        resource = "/".join(filter(None, (self.resource, self.subresource)))
        where = "/".join(filter(None, (self.namespace, self.name)))
        return f"{self.time:%H:%M:%S.%f} {self.user} {self.verb} {resource} {where} {self.code}"


def read_audit_log(path: Path, verbs: Collection[str] | None, user: str | None) -> list[AuditEvent]:
    """The finished requests in order, of these verbs and this user (None: of all)."""
    return [
        event
        for event in _events(path)
        if (verbs is None or event.verb in verbs) and (user is None or event.user == user)
    ]


def _events(path: Path) -> Iterator[AuditEvent]:
    if not path.exists():
        return
    with path.open() as lines:
        for line in lines:
            # The server may be in the middle of its last line.
            if line.endswith("\n") and (raw := json.loads(line))["stage"] == "ResponseComplete":
                yield AuditEvent.parse(raw)
