"""The port, through Microsoft's SDKs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Any

from azure.mgmt.compute.aio import ComputeManagementClient
from azure.mgmt.core import AsyncARMPipelineClient

from azpatch.azure.arm import Arm
from azpatch.azure.cloud import CloudSettings
from azpatch.azure.compute import Compute
from azpatch.azure.credentials import SignIn
from azpatch.azure.galleries import Galleries
from azpatch.azure.graph_quota import GraphQuota
from azpatch.azure.hybrid_compute import HybridCompute, is_operation_of_arc
from azpatch.azure.metrics import AzureMetrics, MeasuredClient
from azpatch.azure.pipeline import SeenAnswer, arm_pipeline
from azpatch.azure.port import Accepted, AzureClient, Credentials, Progress
from azpatch.azure.resource_graph import ResourceGraph
from azpatch.azure.throttles import Throttles
from azpatch.azure.transport import PooledTransport, Transport
from azpatch.clock import Clock
from azpatch.domain import ids
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

USER_AGENT = "azpatch"
"""Begins the User-Agent header, by which Azure's support finds our requests."""


class SdkAzureClient:
    """One identity's client: one token, one connection pool, the SDK's clients on top of them."""

    def __init__(
        self,
        cloud: CloudSettings,
        sign_in: SignIn,
        clock: Clock,
        seen: SeenAnswer,
        transport: Transport | None = None,
        *,
        throttles: Throttles | None = None,
        quota: GraphQuota | None = None,
    ) -> None:
        """Clients of one process share `throttles`, those of one principal `quota`."""
        throttles = throttles or Throttles(clock)
        self._cloud = cloud
        self._sign_in = sign_in
        pipeline = arm_pipeline(
            cloud, sign_in, transport or PooledTransport(cloud), seen, USER_AGENT
        )
        self._options: dict[str, Any] = {"pipeline": pipeline, "policies": []}
        self._computes: dict[str, ComputeManagementClient] = {}
        self._pipeline_client: AsyncARMPipelineClient[Any, Any] = AsyncARMPipelineClient(
            cloud.base_url, **self._options
        )
        self._arm = Arm(self._pipeline_client, cloud, throttles)
        self._compute = Compute(self._compute_client, self._arm, throttles)
        self._galleries = Galleries(self._arm, throttles)
        self._hybrid = HybridCompute(self._pipeline_client, self._arm, throttles)
        self._graph = ResourceGraph(self._pipeline_client, cloud, clock, quota or GraphQuota(clock))

    def _compute_client(self, subscription: str) -> ComputeManagementClient:
        """The SDK binds this client to a subscription; all of them share the pipeline."""
        known = self._computes.get(subscription)
        if known is None:
            known = ComputeManagementClient(
                self._sign_in, subscription, self._cloud.base_url, **self._options
            )
            self._computes[subscription] = known
        return known

    def _of(self, machine_id: str) -> Compute | HybridCompute:
        """Whose machine it is."""
        return self._hybrid if ids.is_arc_server(machine_id) else self._compute

    async def snapshot(self, subscriptions: Iterable[str]) -> Snapshot:
        """See AzureClient."""
        return await self._graph.snapshot(subscriptions)

    async def assessments(self, machine_ids: Iterable[str]) -> Mapping[str, AssessmentResult]:
        """See AzureClient."""
        return await self._graph.assessments(machine_ids)

    async def missing_patches(
        self, machine_ids: Iterable[str]
    ) -> Mapping[str, tuple[MissingPatch, ...]]:
        """See AzureClient."""
        return await self._graph.missing_patches(machine_ids)

    async def installations(self, machine_ids: Iterable[str]) -> Mapping[str, InstallationResult]:
        """See AzureClient."""
        return await self._graph.installations(machine_ids)

    async def installs(self, activities: Mapping[str, str]) -> Mapping[str, InstallationResult]:
        """See AzureClient."""
        return await self._graph.installs(activities)

    async def machine(self, machine_id: str) -> MachineView:
        """See AzureClient."""
        return await self._of(machine_id).machine(machine_id)

    async def image_definition(
        self, definition_id: str, subscription: str, location: str
    ) -> ImageDefinition:
        """See AzureClient."""
        return await self._galleries.definition(definition_id, subscription, location)

    async def assess(self, machine_id: str, attempt_id: str) -> Accepted:
        """See AzureClient."""
        return await self._of(machine_id).assess(machine_id, attempt_id)

    async def install(
        self, machine_id: str, parameters: Mapping[str, object], attempt_id: str
    ) -> Accepted:
        """See AzureClient."""
        return await self._of(machine_id).install(machine_id, parameters, attempt_id)

    async def operation(self, poll_url: str) -> Progress:
        """See AzureClient."""
        whose = self._hybrid if is_operation_of_arc(poll_url) else self._compute
        return await whose.operation(poll_url)

    async def features(self, subscription: str) -> tuple[Feature, ...]:
        """See AzureClient."""
        return await self._arm.features(subscription)

    async def permissions(self, scope: str) -> tuple[Permissions, ...]:
        """See AzureClient."""
        return await self._arm.permissions(scope)

    async def register_feature(self, subscription: str, feature: str, attempt_id: str) -> None:
        """See AzureClient."""
        await self._arm.register_feature(subscription, feature, attempt_id)

    async def register_compute(self, subscription: str, attempt_id: str) -> None:
        """See AzureClient."""
        await self._arm.register_compute(subscription, attempt_id)

    async def close(self) -> None:
        """Ends the connections to ARM and to the authority."""
        await self._pipeline_client.close()
        await self._sign_in.close()


class SdkAzureClients:
    """Makes measured clients for one cloud. Each call makes a new one; the caller closes it."""

    def __init__(
        self,
        cloud: CloudSettings,
        clock: Clock,
        metrics: AzureMetrics,
        transport: Callable[[], Transport] | None = None,
    ) -> None:
        """`transport` makes what carries requests in place of sockets."""
        self._cloud = cloud
        self._transport: Callable[[], Transport | None] = transport or (lambda: None)
        self._clock = clock
        self._metrics = metrics
        self._throttles = Throttles(clock)
        self._quotas: dict[tuple[str, str], GraphQuota] = {}
        metrics.in_line.set_function(self._throttles.waiting)

    def client(self, credentials: Credentials) -> AzureClient:
        """A client that signs in with these credentials when it is first used."""
        sign_in = SignIn(credentials, self._cloud, transport=self._transport())
        client = SdkAzureClient(
            self._cloud,
            sign_in,
            self._clock,
            self._metrics.seen,
            self._transport(),
            throttles=self._throttles,
            quota=self._quotas.setdefault(sign_in.principal, GraphQuota(self._clock)),
        )
        return MeasuredClient(client, self._metrics)

    def reserve(self, machine_id: str, location: str, policy: str, *, yields: bool) -> timedelta:
        """See AzureClients."""
        return self._throttles.reserve(machine_id, location, policy, yields=yields)

    def release(self, machine_id: str) -> None:
        """See AzureClients."""
        self._throttles.release(machine_id)
