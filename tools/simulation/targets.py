"""PatchTargets as the API server holds them, read without the operator's models."""

from __future__ import annotations

import math

from azpatch.kube.port import Object
from judging import runs


def machine_of(target: Object) -> str:
    """The key of its machine."""
    return str(target["spec"]["machineId"]).lower()


def attempt_of(target: Object) -> str | None:
    """The attempt in flight on it."""
    operation = (target.get("status") or {}).get("operation") or {}
    return operation.get("attemptId")


def governs(target: Object) -> bool | None:
    """None: not decided yet."""
    said: bool | None = (target.get("status") or {}).get("governs")
    return said


def conditions_of(target: Object) -> list[Object]:
    """None of one that has no status yet."""
    conditions: list[Object] = (target.get("status") or {}).get("conditions", [])
    return conditions


def entry_of(target: Object) -> Object:
    """Its part in a run; empty where it has none."""
    entry: Object = (target.get("status") or {}).get("run") or {}
    return entry


def owned(target: Object, policy: Object) -> bool:
    """The policy made the PatchTarget, or the PatchRun."""
    uid = policy["metadata"]["uid"]
    return any(owner["uid"] == uid for owner in target["metadata"].get("ownerReferences", ()))


def with_terms_of(run: Object | None, policy: Object) -> Object:
    """The policy, with the frozen rollout of its run in place of its own."""
    if run is None:
        return policy
    return {**policy, "spec": {**policy["spec"], "rollout": runs.rollout_of(run)}}


def max_unavailable(policy: Object, targets: list[Object], run: Object | None = None) -> int:
    """A count, or a percentage of the governed machines that are supported, rounded down, but one
    at least; while a run is under way, by the terms and of the machines of that. Without windows
    machines are installed on beside a one-time run, and the policy's own holds for all."""
    if run is not None and policy["spec"].get("schedule", {}).get("windows"):
        return runs.max_unavailable(run)
    value = policy["spec"].get("rollout", {}).get("maxUnavailable", "10%")
    return share(value, sum(map(_supported, targets)))


def share(value: int | str, total: int) -> int:
    """A count, or a percentage of `total`, rounded down, but one at least."""
    if isinstance(value, int):
        return value
    return max(1, math.floor(total * int(value.removesuffix("%")) / 100))


def _supported(target: Object) -> bool:
    """Or installed on before, while new evidence is awaited."""
    status = target.get("status") or {}
    verdict = next(
        (v["verdict"] for v in status.get("verdicts", ()) if v["operation"] == "OnDemandPatching"),
        "Unknown",
    )
    if status.get("governs") is False or verdict == "Unsupported":
        return False
    return verdict == "Supported" or "installation" in status
