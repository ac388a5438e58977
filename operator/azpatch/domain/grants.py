"""Who may act where: an AzureSubscription's grants, applied to a namespace and a machine."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from azpatch.api.selector import LabelOperator, LabelRequirement, LabelSelector
from azpatch.api.subscription import AccessLevel, Grant
from azpatch.domain.facts import Machine
from azpatch.domain.ids import parse


@dataclass(frozen=True, slots=True)
class Namespace:
    """A Namespace, by what grants look at."""

    name: str
    labels: Mapping[str, str]


def access(grants: Iterable[Grant], namespace: Namespace, machine: Machine) -> AccessLevel | None:
    """The highest access that the grants give this namespace on this machine; None: none at all."""
    levels = [
        grant.access for grant in grants if _names(grant, namespace) and _covers(grant, machine)
    ]
    return max(levels, key=lambda level: level.rank, default=None)


def any_access(grants: Iterable[Grant], namespace: Namespace) -> bool:
    """Whether some grant names this namespace, whatever the machine."""
    return any(_names(grant, namespace) for grant in grants)


def for_whole_subscription(grants: Iterable[Grant], level: AccessLevel) -> bool:
    """Whether some grant gives this access to the subscription itself.

    What concerns a subscription concerns every machine in it, so a grant that is narrowed to some
    of them does not allow it. Whose policies the grant serves does not matter: it is the
    AzureSubscription itself that asks, and the platform team writes both.
    """
    return any(
        grant.access >= level and not grant.resource_groups and not grant.tags for grant in grants
    )


def _names(grant: Grant, namespace: Namespace) -> bool:
    match = grant.namespaces
    if namespace.name in match.names:
        return True
    return match.selector is not None and _selects(match.selector, namespace.labels)


def _selects(selector: LabelSelector, labels: Mapping[str, str]) -> bool:
    exact = all(labels.get(name) == value for name, value in selector.match_labels.items())
    return exact and all(_meets(labels, needed) for needed in selector.match_expressions)


def _meets(labels: Mapping[str, str], needed: LabelRequirement) -> bool:
    match needed.operator:
        case LabelOperator.IN:
            return labels.get(needed.key) in needed.values
        case LabelOperator.NOT_IN:
            return labels.get(needed.key) not in needed.values
        case LabelOperator.EXISTS:
            return needed.key in labels
        case LabelOperator.DOES_NOT_EXIST:
            return needed.key not in labels


def _covers(grant: Grant, machine: Machine) -> bool:
    parts = parse(machine.id)
    if parts is None:
        return False
    if grant.resource_groups:
        groups = {group.lower() for group in grant.resource_groups}
        if parts.resource_group.lower() not in groups:
            return False
    return not grant.tags or _has(machine, grant.tags)


def _has(machine: Machine, tags: Mapping[str, Collection[str]]) -> bool:
    # Azure's tag names are compared without case, their values with it.
    own = {name.lower(): value for name, value in machine.tags.items()}
    return all(own.get(name.lower()) in values for name, values in tags.items())
