"""The Azure rights that a grant's access needs, compared with those that an identity has.

A right that is missing shows in Resource Graph only as an empty answer; this is how it is told
before anybody wonders where the machines are. docs/install.md has the custom roles.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from azpatch.api.subscription import AccessLevel, Grant
from azpatch.domain.facts import Permissions

_RESULTS = (
    "patchAssessmentResults/read",
    "patchAssessmentResults/softwarePatches/read",
    "patchInstallationResults/read",
    "patchInstallationResults/softwarePatches/read",
)
_ASSESS, _INSTALL = "assessPatches/action", "installPatches/action"

_OPERATIONS = {
    AccessLevel.READ: (),
    AccessLevel.ASSESS: (_ASSESS,),
    AccessLevel.PATCH: (_ASSESS, _INSTALL),
    AccessLevel.CONFIGURE: (_ASSESS, _INSTALL),
}

REGISTER_FEATURE = "Microsoft.Features/providers/features/register/action"
REGISTER_COMPUTE = "Microsoft.Compute/register/action"


def scopes(subscription_id: str, grants: Sequence[Grant]) -> tuple[str, ...]:
    """Where the rights must hold: the groups that every grant is narrowed to, else everywhere."""
    subscription = f"/subscriptions/{subscription_id.lower()}"
    if not grants or any(not grant.resource_groups for grant in grants):
        return (subscription,)
    groups = {group.lower() for grant in grants for group in grant.resource_groups}
    return tuple(f"{subscription}/resourcegroups/{group}" for group in sorted(groups))


def missing(
    grants: Iterable[Grant],
    permissions: Mapping[str, tuple[Permissions, ...]],
    *,
    arc: bool = False,
) -> tuple[tuple[str, str], ...]:
    """(action, scope) of every right that the highest granted access needs and lacks. `arc`: Azure
    Arc-enabled servers are patched there too."""
    level = max((grant.access for grant in grants), default=AccessLevel.READ)
    needed = _on_virtual_machines(level) + (_on_arc_servers(level) if arc else ())
    return tuple(
        (action, scope)
        for scope, held in sorted(permissions.items())
        for action in needed
        if not any(_allows(entry, action) for entry in held)
    )


def _on_virtual_machines(level: AccessLevel) -> tuple[str, ...]:
    actions = ("read", "instanceView/read", *_RESULTS, *_OPERATIONS[level])
    return tuple(f"Microsoft.Compute/virtualMachines/{action}" for action in actions)


def _on_arc_servers(level: AccessLevel) -> tuple[str, ...]:
    """The last is for what an operation has come to."""
    actions = ("read", *_RESULTS, *_OPERATIONS[level])
    return (
        *(f"Microsoft.HybridCompute/machines/{action}" for action in actions),
        "Microsoft.HybridCompute/locations/updateCenterOperationResults/read",
    )


def missing_to_register(
    subscription_id: str, permissions: Mapping[str, tuple[Permissions, ...]] | None
) -> tuple[tuple[str, str], ...]:
    """(action, scope) of every right that registering the preview feature needs and lacks. None is
    missing as long as the rights at the subscription have not been read."""
    scope = f"/subscriptions/{subscription_id.lower()}"
    held = (permissions or {}).get(scope)
    if held is None:
        return ()
    return tuple(
        (action, scope)
        for action in (REGISTER_FEATURE, REGISTER_COMPUTE)
        if not any(_allows(entry, action) for entry in held)
    )


def _allows(entry: Permissions, action: str) -> bool:
    return _any(entry.actions, action) and not _any(entry.not_actions, action)


def _any(patterns: Iterable[str], action: str) -> bool:
    return any(
        re.fullmatch(re.escape(pattern).replace(r"\*", ".*"), action, re.IGNORECASE)
        for pattern in patterns
    )
