"""Azure role-based access control: which action an assignment gives at which scope.

An assignment holds at its scope and at everything below it. A role gives its `actions` less its
own `not_actions`; what another role gives is not taken away by them. Actions and scopes compare
without case, `*` in an action stands for any characters, as in Azure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True)
class Assignment:
    """One role of one principal at one scope (`/`, a subscription, a group or a resource)."""

    scope: str
    actions: tuple[str, ...]
    not_actions: tuple[str, ...] = ()

    def gives(self, action: str) -> bool:
        """Whether the role has the action, whatever the scope."""
        return _any(self.actions, action) and not _any(self.not_actions, action)

    def covers(self, scope: str) -> bool:
        """Whether `scope` is this assignment's scope or lies below it."""
        return within(scope, self.scope)

    def permission(self) -> dict[str, Sequence[str]]:
        """The role as the permissions API shows it."""
        return {
            "actions": list(self.actions),
            "notActions": list(self.not_actions),
            "dataActions": [],
            "notDataActions": [],
        }


class Rights:
    """Every role assignment, by the object id of the principal."""

    def __init__(self, assignments: Mapping[str, Iterable[Assignment]]) -> None:
        self._assignments = {
            object_id.lower(): tuple(granted) for object_id, granted in assignments.items()
        }
        self._giving: dict[tuple[str, str], list[str]] = {}
        """What `scopes_giving` found: each query of Resource Graph asks, and nothing changes it."""

    def of(self, object_id: str) -> tuple[Assignment, ...]:
        """All assignments of a principal."""
        return self._assignments.get(object_id.lower(), ())

    def allowed(self, object_id: str, action: str, scope: str) -> bool:
        """Whether one of the principal's assignments gives `action` at `scope`."""
        return any(
            granted.covers(scope) and granted.gives(action) for granted in self.of(object_id)
        )

    def at(self, object_id: str, scope: str) -> list[Assignment]:
        """The assignments that hold at a scope: what the permissions API lists."""
        return [granted for granted in self.of(object_id) if granted.covers(scope)]

    def scopes_giving(self, object_id: str, action: str) -> list[str]:
        """Where the principal has the action, as scopes that do not contain each other."""
        found = self._giving.get((object_id, action))
        if found is None:
            found = self._giving[object_id, action] = self._scopes_giving(object_id, action)
        return list(found)

    def _scopes_giving(self, object_id: str, action: str) -> list[str]:
        scopes = {g.scope.rstrip("/").lower() for g in self.of(object_id) if g.gives(action)}
        return sorted(s for s in scopes if not any(s != o and within(s, o) for o in scopes))

    def touches(self, object_id: str, scope: str) -> bool:
        """Whether the principal has any role at, above or below a scope.

        A subscription shows in a principal's list as soon as something in it does.
        """
        return any(
            granted.covers(scope) or within(granted.scope, scope) for granted in self.of(object_id)
        )


def within(scope: str, ancestor: str) -> bool:
    """Whether `scope` is `ancestor` or below it; compares whole segments, without case."""
    above = ancestor.rstrip("/").lower()
    below = scope.rstrip("/").lower()
    return below == above or below.startswith(above + "/")


def _any(patterns: tuple[str, ...], action: str) -> bool:
    return any(_pattern(pattern).fullmatch(action) is not None for pattern in patterns)


@lru_cache(maxsize=4096)
def _pattern(action: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, action.split("*"))), re.IGNORECASE | re.DOTALL)
