"""Resource Graph: queries in pages and in groups, inside its quota, as facts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import islice
from typing import Any, TypeVar

from azure.core.rest import HttpRequest
from azure.mgmt.core import AsyncARMPipelineClient

from azpatch.azure import queries, rows
from azpatch.azure.arm import answered
from azpatch.azure.cloud import CloudSettings
from azpatch.azure.errors import Call, asking
from azpatch.azure.graph_quota import GraphQuota
from azpatch.azure.port import OverBudget, Retry
from azpatch.clock import Clock
from azpatch.domain import ids
from azpatch.domain.facts import (
    AssessmentResult,
    InstallationResult,
    InstalledPatch,
    MissingPatch,
    Snapshot,
)

T = TypeVar("T")

RESOURCES = "/providers/Microsoft.ResourceGraph/resources"
RESOURCE_GRAPH_API = "2021-03-01"

PAGE = 1000
"""Rows a page: the most that Resource Graph gives."""

GROUP = 250
"""Ids, or subscriptions, in one query. Microsoft asks for fewer than 300."""

QUERY_REPEATS = 2
"""Repeats of one page that failed for now, before the whole reading is given up."""

REPEAT_AFTER = timedelta(seconds=1)
"""Wait before a repeat where Azure does not say how long."""

LONGEST_WAIT = timedelta(seconds=15)
"""What a reading waits by itself, in Azure's time; asked for more, it is given up and the caller
comes back. The quota is refilled every 5 s."""


class ResourceGraph:
    """Reads Resource Graph for one identity.

    Without the SDK's client, which copies every value of every row once more, while everything else
    in the process waits: several times what it takes to parse the page.
    """

    def __init__(
        self,
        client: AsyncARMPipelineClient[Any, Any],
        cloud: CloudSettings,
        clock: Clock,
        quota: GraphQuota,
    ) -> None:
        self._client = client
        self._url = cloud.base_url + RESOURCES
        self._clock = clock
        self._quota = quota

    async def snapshot(self, subscriptions: Iterable[str]) -> Snapshot:
        """Machines, image definitions and assessments of these subscriptions."""
        scope = sorted({subscription.lower() for subscription in subscriptions})
        machines = [rows.machine(row) for row in await self._all(queries.MACHINES, scope)]
        servers = [rows.arc_server(r) for r in await self._all(queries.MACHINES_OF_ARC, scope)]
        definitions = await self._all(queries.IMAGE_DEFINITIONS, scope)
        groups = await self._all(queries.MANAGED_GROUPS, scope)
        assessments = await self._all(queries.ASSESSMENTS, scope)
        managed_by = {ids.key(row["id"]): str(row["managedBy"]) for row in groups}
        return Snapshot(
            machines={
                ids.key(each.id): rows.managed(each, managed_by) for each in (*machines, *servers)
            },
            definitions={ids.key(row["id"]): rows.image_definition(row) for row in definitions},
            assessments={
                rows.machine_key_of(row["id"]): rows.assessment_row(row) for row in assessments
            },
        )

    async def assessments(self, machine_ids: Iterable[str]) -> Mapping[str, AssessmentResult]:
        """The assessment rows of these machines."""
        found = await self._about(machine_ids, queries.assessments_of)
        return {rows.machine_key_of(row["id"]): rows.assessment_row(row) for row in found}

    async def missing_patches(
        self, machine_ids: Iterable[str]
    ) -> Mapping[str, tuple[MissingPatch, ...]]:
        """The missing patches of these machines; a machine without a row is absent."""
        found = await self._about(machine_ids, queries.missing_patches_of)
        return _grouped(found, "machineId", rows.missing_patch)

    async def installations(self, machine_ids: Iterable[str]) -> Mapping[str, InstallationResult]:
        """The latest install of each of these machines; with its patches once it has ended, which
        is when they matter."""
        latest = await self._about(machine_ids, queries.installations_of)
        return await self._with_patches(latest)

    async def installs(self, activities: Mapping[str, str]) -> Mapping[str, InstallationResult]:
        """These installs, each by the id of its machine and its own, with their patches."""
        wanted = {ids.key(machine): activity.lower() for machine, activity in activities.items()}
        found = [
            row
            for row in await self._about(wanted, queries.all_installations_of)
            if (rows.installation(row).activity_id or "").lower()
            == wanted[rows.machine_key_of(row["id"])]
        ]
        return await self._with_patches(found)

    async def _with_patches(self, latest: list[rows.Row]) -> Mapping[str, InstallationResult]:
        ended = [row["id"] for row in latest if rows.installation(row).status.ended]
        by_install: Mapping[str, tuple[InstalledPatch, ...]] = _grouped(
            await self._about(ended, queries.installed_patches_of),
            "installationId",
            rows.installed_patch,
        )
        return {
            rows.machine_key_of(row["id"]): replace(
                rows.installation(row), patches=by_install.get(ids.key(row["id"]), ())
            )
            for row in latest
        }

    async def _about(
        self, resource_ids: Iterable[str], query: Callable[[Iterable[str]], str]
    ) -> list[rows.Row]:
        """All rows of a query about many ids, asked in groups, in the subscriptions they name."""
        keys = sorted({ids.key(i) for i in resource_ids if ids.subscription_of(i)})
        found: list[rows.Row] = []
        for group in _groups(keys):
            scope = sorted({ids.subscription_of(key) for key in group})
            found += await self._all(query(group), scope)
        return found

    async def _all(self, query: str, subscriptions: Sequence[str]) -> list[rows.Row]:
        """All rows of a query; without subscriptions none, where Azure would take the tenant."""
        found: list[rows.Row] = []
        for group in _groups(subscriptions):
            token: str | None = None
            while True:
                answer = await self._page(query, group, token)
                found += answer.get("data") or []
                token = answer.get("$skipToken")
                if not token:
                    break
            if str(answer.get("resultTruncated")).lower() == "true":
                raise Retry("ResultTruncated", "Resource Graph cut the answer short.")
        return found

    async def _page(
        self, query: str, subscriptions: Sequence[str], token: str | None
    ) -> Mapping[str, Any]:
        """One page, asked again a few times if it fails for now."""
        async with self._quota.turn:
            for repeats_left in range(QUERY_REPEATS, -1, -1):
                await self._wait_for_quota()
                try:
                    return await self._ask(query, subscriptions, token)
                except Retry as error:
                    wait = REPEAT_AFTER if error.retry_after is None else error.retry_after
                    # Whoever asks next waits too.
                    self._quota.close(wait)
                    if not repeats_left or wait > LONGEST_WAIT:
                        raise
        raise AssertionError("unreachable: the last try returns or raises")

    async def _wait_for_quota(self) -> None:
        while wait := self._quota.wait():
            if wait > LONGEST_WAIT:
                raise OverBudget("OverBudget", "Resource Graph's quota is used up.", wait)
            await self._clock.sleep(wait)

    async def _ask(
        self, query: str, subscriptions: Sequence[str], token: str | None
    ) -> Mapping[str, Any]:
        options = {"$top": PAGE, "resultFormat": "objectArray"}
        if token is not None:
            options["$skipToken"] = token
        request = HttpRequest(
            "POST",
            self._url,
            params={"api-version": RESOURCE_GRAPH_API},
            json={"subscriptions": list(subscriptions), "query": query, "options": options},
        )
        try:
            async with asking(Call.READ):
                response = await answered(self._client, request)
                answer: Mapping[str, Any] = response.json()
        finally:
            self._quota.asked()
        self._quota.hear(response.headers)
        return answer


def _groups(values: Sequence[str]) -> Iterator[list[str]]:
    """In groups of at most GROUP."""
    iterator = iter(values)
    while group := list(islice(iterator, GROUP)):
        yield group


def _grouped(
    found: Iterable[rows.Row], column: str, fact: Callable[[rows.Row], T]
) -> dict[str, tuple[T, ...]]:
    """The facts of rows, by the key in a column."""
    lists: dict[str, list[T]] = {}
    for row in found:
        lists.setdefault(ids.key(row[column]), []).append(fact(row))
    return {key: tuple(facts) for key, facts in lists.items()}
