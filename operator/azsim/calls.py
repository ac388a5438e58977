"""What a request asks for, by its method and path: the names that faults and people use."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum


class Call(StrEnum):
    """The kinds of request. getMachine is also its instance view; changeMachine is power and
    deletion; subscriptions is whatever else is managed: subscriptions, groups, providers, tenants;
    token is Entra ID's token endpoint and the metadata service's; discovery is what a client reads
    before it signs in."""

    ASSESS = "assessPatches"
    INSTALL = "installPatches"
    GET_MACHINE = "getMachine"
    LIST_MACHINES = "listMachines"
    CHANGE_MACHINE = "changeMachine"
    GET_OPERATION = "getOperation"
    QUERY = "query"
    FEATURES = "features"
    PERMISSIONS = "permissions"
    GALLERIES = "galleries"
    SUBSCRIPTIONS = "subscriptions"
    TOKEN = "token"
    DISCOVERY = "discovery"


OWN_PATHS = "/azsim/"
"""What azsim itself is asked, not Azure: no fault strikes it, and the journal leaves it out."""

SIGN_IN = frozenset({Call.TOKEN, Call.DISCOVERY})
"""The kinds of request that are not Resource Manager's, and are answered without a token."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as faults see it. `machine` is the id that the path begins with."""

    call: Call
    machine: str | None = None
    operation_id: str | None = None


_MACHINE = (
    r"(?P<machine>/subscriptions/[^/]+/resourceGroups/[^/]+"
    r"/providers/(?:Microsoft\.Compute/virtualMachines|Microsoft\.HybridCompute/machines)/[^/]+)"
)

_PATHS: tuple[tuple[str, str, Call], ...] = (
    ("", r"(/subscriptions/.+)?/providers/Microsoft\.Authorization/.+", Call.PERMISSIONS),
    ("POST", rf"{_MACHINE}/assessPatches", Call.ASSESS),
    ("POST", rf"{_MACHINE}/installPatches", Call.INSTALL),
    ("GET", rf"{_MACHINE}(/.*)?", Call.GET_MACHINE),
    ("", rf"{_MACHINE}(/.*)?", Call.CHANGE_MACHINE),
    (
        "",
        r"/subscriptions/.+/(virtualMachines|Microsoft\.HybridCompute/machines)",
        Call.LIST_MACHINES,
    ),
    (
        "",
        r"/subscriptions/.+/(operations|updateCenterOperationResults)/(?P<operation>[^/]+)",
        Call.GET_OPERATION,
    ),
    ("", r"/providers/Microsoft\.ResourceGraph/.+", Call.QUERY),
    ("", r"/subscriptions/.+/Microsoft\.Features(/.*)?", Call.FEATURES),
    ("", r"/subscriptions/.+/(shared|community)?galleries(/.*)?", Call.GALLERIES),
    ("", r"/(subscriptions|providers|tenants)(/.*)?", Call.SUBSCRIPTIONS),
    ("", r".*/oauth2(/v2\.0)?/token", Call.TOKEN),
)
"""Method ("": any), path and what it is; the first that fits."""

_COMPILED = [(method, re.compile(path, re.IGNORECASE), call) for method, path, call in _PATHS]


def asked(method: str, path: str) -> Asked:
    """What a request asks for; what is nothing of Resource Manager's is discovery."""
    for wanted, pattern, call in _COMPILED:
        if wanted not in ("", method.upper()):
            continue
        if (found := pattern.fullmatch(path.rstrip("/"))) is not None:
            parts = found.groupdict()
            machine = parts.get("machine")
            if call is Call.PERMISSIONS and (at := re.match(_MACHINE, path, re.IGNORECASE)):
                machine = at["machine"]
            return Asked(call, machine, parts.get("operation"))
    return Asked(Call.DISCOVERY)
