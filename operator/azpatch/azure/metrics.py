"""Measures an AzureClient, so that no call site knows Prometheus."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from azpatch.azure.budgets import remaining, shared
from azpatch.azure.port import Accepted, AzureClient, AzureError, Progress
from azpatch.domain.facts import (
    AssessmentResult,
    Feature,
    ImageDefinition,
    InstallationResult,
    MachineView,
    MissingPatch,
    Permissions,
    Snapshot,
)

DURATION_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
"""Seconds: ARM answers in tenths, a big Resource Graph page in seconds, its limit is 30 s."""

SUCCEEDED = "Succeeded"
CANCELLED = "Cancelled"


class AzureMetrics:
    """The metrics of all clients of one process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.calls = Counter(
            "azpatch_azure_calls",
            "Calls to Azure; result is Succeeded, Cancelled or the kind of error.",
            ["operation", "result"],
            registry=registry,
        )
        self.duration = Histogram(
            "azpatch_azure_call_duration_seconds",
            "Duration of calls to Azure, their pages and short repeats included.",
            ["operation"],
            buckets=DURATION_BUCKETS,
            registry=registry,
        )
        self.budget = Gauge(
            "azpatch_azure_budget_remaining",
            "What Azure last said is left of a request budget.",
            ["budget"],
            registry=registry,
        )
        self.in_line = Gauge(
            "azpatch_azure_budget_waiting",
            "Requests that wait until a request budget of Azure has room for them.",
            registry=registry,
        )

    def seen(self, headers: Mapping[str, str]) -> None:
        """Takes note of the budgets in the headers of an answer."""
        for budget, left in shared(remaining(headers)).items():
            self.budget.labels(budget).set(left)

    @asynccontextmanager
    async def measured(self, operation: str) -> AsyncIterator[None]:
        """Counts and times what happens inside."""
        begin, result = time.monotonic(), CANCELLED
        try:
            yield
            result = SUCCEEDED
        except AzureError as error:
            result = type(error).__name__
            raise
        finally:
            self.calls.labels(operation, result).inc()
            self.duration.labels(operation).observe(time.monotonic() - begin)


class MeasuredClient:
    """An AzureClient that measures another."""

    def __init__(self, client: AzureClient, metrics: AzureMetrics) -> None:
        self._client = client
        self._measured = metrics.measured

    async def snapshot(self, subscriptions: Iterable[str]) -> Snapshot:
        """See AzureClient."""
        async with self._measured("snapshot"):
            return await self._client.snapshot(subscriptions)

    async def assessments(self, machine_ids: Iterable[str]) -> Mapping[str, AssessmentResult]:
        """See AzureClient."""
        async with self._measured("assessments"):
            return await self._client.assessments(machine_ids)

    async def missing_patches(
        self, machine_ids: Iterable[str]
    ) -> Mapping[str, tuple[MissingPatch, ...]]:
        """See AzureClient."""
        async with self._measured("missing_patches"):
            return await self._client.missing_patches(machine_ids)

    async def installations(self, machine_ids: Iterable[str]) -> Mapping[str, InstallationResult]:
        """See AzureClient."""
        async with self._measured("installations"):
            return await self._client.installations(machine_ids)

    async def installs(self, activities: Mapping[str, str]) -> Mapping[str, InstallationResult]:
        """See AzureClient."""
        async with self._measured("installs"):
            return await self._client.installs(activities)

    async def machine(self, machine_id: str) -> MachineView:
        """See AzureClient."""
        async with self._measured("machine"):
            return await self._client.machine(machine_id)

    async def image_definition(
        self, definition_id: str, subscription: str, location: str
    ) -> ImageDefinition:
        """See AzureClient."""
        async with self._measured("image_definition"):
            return await self._client.image_definition(definition_id, subscription, location)

    async def assess(self, machine_id: str, attempt_id: str) -> Accepted:
        """See AzureClient."""
        async with self._measured("assess"):
            return await self._client.assess(machine_id, attempt_id)

    async def install(
        self, machine_id: str, parameters: Mapping[str, object], attempt_id: str
    ) -> Accepted:
        """See AzureClient."""
        async with self._measured("install"):
            return await self._client.install(machine_id, parameters, attempt_id)

    async def operation(self, poll_url: str) -> Progress:
        """See AzureClient."""
        async with self._measured("operation"):
            return await self._client.operation(poll_url)

    async def features(self, subscription: str) -> tuple[Feature, ...]:
        """See AzureClient."""
        async with self._measured("features"):
            return await self._client.features(subscription)

    async def permissions(self, scope: str) -> tuple[Permissions, ...]:
        """See AzureClient."""
        async with self._measured("permissions"):
            return await self._client.permissions(scope)

    async def register_feature(self, subscription: str, feature: str, attempt_id: str) -> None:
        """See AzureClient."""
        async with self._measured("register_feature"):
            await self._client.register_feature(subscription, feature, attempt_id)

    async def register_compute(self, subscription: str, attempt_id: str) -> None:
        """See AzureClient."""
        async with self._measured("register_compute"):
            await self._client.register_compute(subscription, attempt_id)

    async def close(self) -> None:
        """Not measured."""
        await self._client.close()
