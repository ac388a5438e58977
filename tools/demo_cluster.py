"""What the demo sees: the cluster as kubectl would show it, and what Azure's journal counted."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.apiclient import ApiClient

API = "/apis/azpatch.dev/v1alpha1"

_POSTS = {"assesspatches": "Assess", "installpatches": "Install"}


@dataclass(frozen=True)
class Condition:
    """A condition of a status; `Unknown` and empty where there is none yet."""

    status: str = "Unknown"
    reason: str = ""
    message: str = ""


@dataclass(frozen=True)
class Seen:
    """One object with conditions: a machine's PatchTarget, a policy, a run, a subscription."""

    namespace: str
    name: str
    """Of the machine, for a PatchTarget."""
    policy: str = ""
    operation: str = ""
    """Assess or Install while one is in flight."""
    selected: int | None = None
    """Missing patches that the policy selects."""
    just_installed: str = ""
    """The outcome of the last install, until an assessment followed it."""
    image_class: str = ""
    """What the machine was built from."""
    evidence: str = ""
    """The sentence that says why it is that class."""
    error: str = ""
    """What Azure said of the last install, if it failed."""
    phase: str = ""
    """Of a PatchRun."""
    conditions: Mapping[str, Condition] = field(default_factory=dict)

    def condition(self, type_: str) -> Condition:
        """The condition of this type."""
        return self.conditions.get(type_, Condition())


@dataclass(frozen=True)
class View:
    """The cluster at one moment. Machines by namespace, policy and name."""

    machines: tuple[Seen, ...] = ()
    policies: tuple[Seen, ...] = ()
    runs: tuple[Seen, ...] = ()
    subscriptions: tuple[Seen, ...] = ()


def look(admin: ApiClient) -> View:
    """Reads everything of azpatch. OSError or ApiError while the API server does not answer."""
    return View(
        machines=_read(admin, "patchtargets"),
        policies=_read(admin, "patchpolicies"),
        runs=_read(admin, "patchruns"),
        subscriptions=_read(admin, "azuresubscriptions"),
    )


def posts(journal: Path) -> Counter[tuple[str, str]]:
    """How many operations Azure took, by machine name and kind (Assess, Install)."""
    counts: Counter[tuple[str, str]] = Counter()
    for line in journal.read_text().splitlines(keepends=True):
        # azsim may be in the middle of its last line.
        if not line.endswith("\n"):
            continue
        entry = json.loads(line)
        if entry["kind"] != "request" or entry["method"] != "POST" or entry["status"] >= 300:
            continue
        path, _, action = entry["path"].rpartition("/")
        kind = _POSTS.get(action.lower())
        if kind:
            counts[path.rsplit("/", 1)[-1].lower(), kind] += 1
    return counts


def _read(admin: ApiClient, plural: str) -> tuple[Seen, ...]:
    found = [_seen(item) for item in admin.get(f"{API}/{plural}")["items"]]
    return tuple(sorted(found, key=lambda seen: (seen.namespace, seen.policy, seen.name)))


def _seen(item: Mapping[str, Any]) -> Seen:
    meta, spec, status = item["metadata"], item["spec"], item.get("status", {})
    conditions = {
        c["type"]: Condition(c["status"], c["reason"], c.get("message", ""))
        for c in status.get("conditions", ())
    }
    machine_id = spec.get("machineId", "")
    assessment, installation = status.get("assessment", {}), status.get("installation", {})
    assessed = installation.get("time", "") < assessment.get("time", "")
    return Seen(
        namespace=meta.get("namespace", ""),
        name=machine_id.rsplit("/", 1)[-1] or meta["name"],
        policy=spec.get("policy", "") or spec.get("policyRef", {}).get("name", ""),
        operation=status.get("operation", {}).get("kind", ""),
        selected=assessment.get("selected"),
        just_installed="" if assessed else installation.get("outcome", ""),
        image_class=status.get("image", {}).get("class", ""),
        evidence=status.get("image", {}).get("evidence", ""),
        error=installation.get("error", {}).get("message", ""),
        phase=status.get("phase", ""),
        conditions=conditions,
    )
