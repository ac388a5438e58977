"""The Azure rights that a grant's access needs, compared with those that an identity has.

A right that is missing shows in Resource Graph only as an empty answer; this is how it is told
before anybody wonders where the machines are. docs/install.md has the custom roles.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from azpatch.api.subscription import AccessLevel, Grant
from azpatch.domain.facts import Permissions

_READ = (
    "Microsoft.Compute/virtualMachines/read",
    "Microsoft.Compute/virtualMachines/instanceView/read",
    "Microsoft.Compute/virtualMachines/patchAssessmentResults/read",
    "Microsoft.Compute/virtualMachines/patchAssessmentResults/softwarePatches/read",
    "Microsoft.Compute/virtualMachines/patchInstallationResults/read",
    "Microsoft.Compute/virtualMachines/patchInstallationResults/softwarePatches/read",
)
_ASSESS = ("Microsoft.Compute/virtualMachines/assessPatches/action",)
_PATCH = ("Microsoft.Compute/virtualMachines/installPatches/action",)

_NEEDED = {
    AccessLevel.READ: _READ,
    AccessLevel.ASSESS: _READ + _ASSESS,
    AccessLevel.PATCH: _READ + _ASSESS + _PATCH,
    AccessLevel.CONFIGURE: _READ + _ASSESS + _PATCH,
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
    grants: Iterable[Grant], permissions: Mapping[str, tuple[Permissions, ...]]
) -> tuple[tuple[str, str], ...]:
    """(action, scope) of every right that the highest granted access needs and lacks."""
    level = max((grant.access for grant in grants), default=AccessLevel.READ)
    return tuple(
        (action, scope)
        for scope, held in sorted(permissions.items())
        for action in _NEEDED[level]
        if not any(_allows(entry, action) for entry in held)
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
