"""What the benchmark reads of a cluster while the operator works, at next to no cost for either."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from lab.apiclient import ApiClient
from lab.audit import AuditEvent

API = "/apis/azpatch.dev/v1alpha1"
PAGE = 500
"""Objects a request, so that each is answered soon."""

Object = dict[str, Any]


class Writes:
    """One user's writes, as the API server's audit log tells them while they happen.

    A LIST would cost the API server as much as what is measured.
    """

    def __init__(self, audit_log: Path, user: str) -> None:
        self._log = audit_log
        self._user = user
        # From here on.
        self._offset = audit_log.stat().st_size if audit_log.exists() else 0
        self.counted: Counter[str] = Counter()
        """Writes that succeeded, by verb and resource."""
        self.refused: Counter[int] = Counter()
        """The others, by HTTP status."""
        self.created: datetime | None = None
        """When the first PatchTarget was."""
        self.settled: dict[str, datetime] = {}
        """When a PatchTarget's status was first written."""
        self.last: datetime | None = None

    @property
    def total(self) -> int:
        """Writes that succeeded."""
        return self.counted.total()

    def read(self) -> None:
        """Takes in what was logged since the last time."""
        for event in self._new():
            if event.user == self._user:
                self._take(event)

    def _new(self) -> Iterator[AuditEvent]:
        with self._log.open("rb") as log:
            log.seek(self._offset)
            for line in log:
                # The server may be in the middle of its last line.
                if not line.endswith(b"\n"):
                    return
                self._offset += len(line)
                yield AuditEvent.parse(json.loads(line))

    def _take(self, event: AuditEvent) -> None:
        if event.code >= 300:
            self.refused[event.code] += 1
            return
        resource = "/".join(filter(None, (event.resource, event.subresource)))
        self.counted[f"{event.verb} {resource}"] += 1
        self.last = event.time
        if resource == "patchtargets" and event.verb == "create":
            self.created = self.created or event.time
        elif resource == "patchtargets/status":
            self.settled.setdefault(event.name, event.time)


def patch_targets(admin: ApiClient, namespace: str) -> list[Object]:
    """Every PatchTarget of a namespace."""
    return _listed(admin, f"{API}/namespaces/{namespace}/patchtargets")


def _listed(admin: ApiClient, path: str) -> list[Object]:
    found: list[Object] = []
    following = ""
    while True:
        page = admin.get(f"{path}?limit={PAGE}{following}")
        found += page["items"]
        token = page["metadata"].get("continue")
        if not token:
            return found
        following = f"&continue={token}"


def release(admin: ApiClient, namespace: str, plural: str) -> None:
    """Takes the finalizers off that an operator which is gone has left."""
    path = f"{API}/namespaces/{namespace}/{plural}"
    for each in _listed(admin, path):
        if each["metadata"].get("finalizers"):
            name = each["metadata"]["name"]
            admin.patch(f"{path}/{name}", {"metadata": {"finalizers": None}})


def delete_patch_targets(admin: ApiClient, namespace: str) -> None:
    """All of a namespace's, a page at a time."""
    path = f"{API}/namespaces/{namespace}/patchtargets?limit={PAGE}"
    while admin.get(path)["items"]:
        # The garbage collector, which follows their policy, may be at it at the same time.
        with suppress(TimeoutError):
            admin.delete(path)


def machines_told(admin: ApiClient, namespace: str) -> int:
    """Machines of which the policies say whether they are compliant."""
    policies = admin.get(f"{API}/namespaces/{namespace}/patchpolicies")["items"]
    counts = (policy.get("status", {}).get("machines", {}) for policy in policies)
    return sum(each.get("compliant", 0) + each.get("nonCompliant", 0) for each in counts)


def azure_requests(journal: Path, skip: int) -> tuple[int, Counter[str]]:
    """Requests that azsim answered after its first `skip` entries, by what they are, and how many
    entries there are now."""
    counted: Counter[str] = Counter()
    number = 0
    with journal.open() as lines:
        for number, line in enumerate(lines, 1):
            if number <= skip:
                continue
            entry = json.loads(line)
            if entry["kind"] == "request":
                counted[_request(entry)] += 1
    return number, counted


def requests(journal: Path, skip: int) -> Iterator[tuple[int, Object]]:
    """Requests that azsim answered after its first `skip` entries, each with its place among all
    entries."""
    with journal.open() as lines:
        for number, line in enumerate(lines, 1):
            # azsim may be in the middle of its last line.
            if number > skip and line.endswith("\n"):
                entry: Object = json.loads(line)
                if entry["kind"] == "request":
                    yield number, entry


def _request(entry: Object) -> str:
    if entry["status"] == 429:
        return "refused for lack of budget (429)"
    path = entry["path"].lower()
    if "resourcegraph" in path:
        return "Resource Graph queries"
    if path.endswith("/assesspatches"):
        return "assessPatches"
    if path.endswith("/installpatches"):
        return "installPatches"
    if "/virtualmachines/" in path:
        return "GETs of machines"
    if "/operations/" in path:
        return "GETs of operations"
    return "others"
