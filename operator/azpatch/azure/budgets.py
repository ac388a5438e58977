"""The request budgets that Azure tells in the headers of its answers."""

from __future__ import annotations

from collections.abc import Mapping

ARM_PREFIX = "x-ms-ratelimit-remaining-"
COMPUTE_HEADER = "x-ms-ratelimit-remaining-resource"
"""`Microsoft.Compute/VMGuestPatchOperationSubscriptionMaximum;599,…;5`"""
RESOURCE_GRAPH_HEADER = "x-ms-user-quota-remaining"
RESOURCE_GRAPH_BUDGET = "resource-graph-queries"

PER_RESOURCE = "Resource"
"""Ends the name of a budget that one machine has for itself."""


def remaining(headers: Mapping[str, str]) -> dict[str, int]:
    """What is left, by the budget's name as Azure spells it, without prefix and namespace."""
    left: dict[str, int] = {}
    for header, value in headers.items():
        name = header.lower()
        if name == COMPUTE_HEADER:
            left.update(_compute(value))
        elif name.startswith(ARM_PREFIX) and value.strip().isdigit():
            left[name.removeprefix(ARM_PREFIX)] = int(value)
        elif name == RESOURCE_GRAPH_HEADER and value.strip().isdigit():
            left[RESOURCE_GRAPH_BUDGET] = int(value)
    return left


def shared(left: Mapping[str, int]) -> dict[str, int]:
    """Without the budgets of single machines: too many to keep."""
    return {name: count for name, count in left.items() if not name.endswith(PER_RESOURCE)}


def _compute(value: str) -> dict[str, int]:
    pairs = (part.partition(";") for part in value.split(","))
    return {
        name.strip().rpartition("/")[2]: int(count)
        for name, _, count in pairs
        if count.strip().isdigit()
    }
