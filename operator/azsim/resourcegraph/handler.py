"""`POST /providers/Microsoft.ResourceGraph/resources`: from the request to its page of rows."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from azsim.clock import timestamp
from azsim.http import ArmError, Params, Principal, Request, Response, Router, Slow
from azsim.resourcegraph.engine import FIXED, Engine, QueryError, Result, Visible
from azsim.resourcegraph.paging import Page, PageError
from azsim.resourcegraph.tables import READ_ACTIONS, Rows, fixed_rows, machine_rows
from azsim.subscriptions import visible as visible_subscriptions

if TYPE_CHECKING:
    from azsim.cloud import Cloud

BATCH = 1000
"""Machines whose rows are made at a time: all at once would be in memory twice."""

QUOTA = 15
"""Queries that one principal may send in `QUOTA_WINDOW`; each page is one (Resource Graph)."""

QUOTA_WINDOW = timedelta(seconds=5)

_INVALID = (
    "Query is invalid. Please refer to the documentation for the Azure Resource Graph service "
    "and fix the error before retrying."
)


class ResourceGraph:
    """The tables and quotas of one cloud, kept up to date from its machines."""

    def __init__(self) -> None:
        self._engine: Engine | None = None
        self._owners: dict[str, int] = {}
        self._next_owner = FIXED + 1
        self._seen = -1
        self._groups = -1
        self._windows: dict[str, tuple[datetime, int]] = {}

    def routes(self, router: Router) -> None:
        """The one route."""
        # Reading is filtered row by row: who may read nothing gets an empty answer, not 403.
        router.add("POST", "/providers/Microsoft.ResourceGraph/resources", self.resources)

    def resources(
        self, cloud: Cloud, request: Request, params: Params, principal: Principal
    ) -> Response | Slow:
        """Run the query of the request over the subscriptions it names, or over all there are."""
        asked = request.json()
        query = asked.get("query") if isinstance(asked, dict) else None
        if not isinstance(query, str) or not query.strip():
            missing = {"code": "InvalidQuery", "message": "The query is missing."}
            raise _bad_request(cloud.now, cloud.new_guid(), [missing])
        options = asked.get("options") or {}
        try:
            page = Page.asked(query, options)
        except PageError as error:
            wrong = {"code": "InvalidQueryOptions", "message": str(error)}
            raise _bad_request(cloud.now, cloud.new_guid(), [wrong]) from error
        quota = self.spend(principal, cloud.now)
        self.refresh(cloud)
        visible = _visible(cloud, principal, asked.get("subscriptions"))
        as_table = _as_table(request, options)
        now, correlation = cloud.now, cloud.new_guid()
        evaluate = self.engine.prepare(query, visible, now)

        def run() -> Response:
            try:
                result = evaluate()
            except QueryError as error:
                raise _refused(error, now, correlation) from error
            return Response(200, _answer(query, page, result, as_table=as_table), quota)

        return Slow(run)

    @property
    def engine(self) -> Engine:
        """The tables, made when they are first needed."""
        if self._engine is None:
            self._engine = Engine()
        return self._engine

    def refresh(self, cloud: Cloud) -> None:
        """Take in what has become visible since the last query."""
        groups = sum(len(each.resource_groups) for each in cloud.subscriptions.values())
        if groups != self._groups:
            self.engine.replace({FIXED: fixed_rows(cloud.subscriptions.values())})
            self._groups = groups
        if cloud.graph.version == self._seen:
            return
        for gone in self._owners.keys() - cloud.graph.machines.keys():
            self.engine.replace({self._owners.pop(gone): {}})
        changed = self._changed_machines(cloud)
        while batch := dict(itertools.islice(changed, BATCH)):
            self.engine.replace(batch)
        self._seen = cloud.graph.version

    def _changed_machines(self, cloud: Cloud) -> Iterator[tuple[int, Rows]]:
        for key, machine in cloud.graph.machines.items():
            if key in self._owners and machine.graph.version <= self._seen:
                continue
            if key not in self._owners:
                self._owners[key] = self._next_owner
                self._next_owner += 1
            tenant_id = cloud.subscriptions[machine.subscription_id.lower()].tenant_id
            yield self._owners[key], machine_rows(machine, cloud.graph.shown(machine), tenant_id)

    def spend(self, principal: Principal, now: datetime) -> dict[str, str]:
        """Count a query; the quota headers. ArmError 429 when none is left."""
        began, used = self._windows.get(principal.object_id, (now, 0))
        if now - began >= QUOTA_WINDOW:
            began, used = now, 0
        left = QUOTA_WINDOW - (now - began)
        resets = f"00:00:{max(1, round(left.total_seconds())):02}"
        if used >= QUOTA:
            raise ArmError(
                429,
                "RateLimiting",
                "Client application has been throttled and should not attempt to repeat the "
                "request until an amount of time has elapsed. Please see "
                "https://aka.ms/resourcegraph-throttling for help.",
                headers={
                    "retry-after": str(int(resets[-2:])),
                    "x-ms-user-quota-remaining": "0",
                    "x-ms-user-quota-resets-after": resets,
                },
            )
        self._windows[principal.object_id] = (began, used + 1)
        return {
            "x-ms-user-quota-remaining": str(QUOTA - used - 1),
            "x-ms-user-quota-resets-after": resets,
        }


def _visible(cloud: Cloud, principal: Principal, asked: list[str] | None) -> Visible:
    seen = {each.id.lower() for each in visible_subscriptions(cloud, principal)}
    wanted = {str(each).lower() for each in asked} if asked else seen
    return Visible(
        tuple(sorted(seen & wanted)),
        {
            kind: tuple(cloud.rights.scopes_giving(principal.object_id, action))
            for kind, action in READ_ACTIONS.items()
        },
    )


def _as_table(request: Request, options: dict[str, Any]) -> bool:
    """The default was a table until api-version 2019-04-01 and has been objects since."""
    default = "table" if (request.param("api-version") or "") <= "2019-04-01" else "objectArray"
    return str(options.get("resultFormat", default)).lower() == "table"


def _answer(query: str, page: Page, result: Result, *, as_table: bool) -> dict[str, Any]:
    names = [name for name, _ in result.columns]
    rows = result.values(page.cut(query, result.rows))
    token = page.next_token(len(result.rows))
    data: Any
    if as_table:
        data = {
            "columns": [{"name": name, "type": kind} for name, kind in result.columns],
            "rows": rows,
        }
    else:
        data = [dict(zip(names, row, strict=True)) for row in rows]
    answer: dict[str, Any] = {
        "totalRecords": len(result.rows),
        "count": len(rows),
        "data": data,
        "facets": [],
        "resultTruncated": "true" if token else "false",
    }
    # Without the id Resource Graph cannot go on from a row, and gives no token.
    if token and "id" in names:
        answer["$skipToken"] = token
    return answer


def _refused(error: QueryError, now: datetime, correlation: str) -> ArmError:
    failure: dict[str, Any] = {"code": "ParserFailure", "message": error.message}
    if error.line is not None:
        failure |= {"line": error.line, "characterPositionInLine": error.column}
    return _bad_request(now, correlation, [{"code": "InvalidQuery", "message": _INVALID}, failure])


def _bad_request(now: datetime, correlation: str, details: list[dict[str, Any]]) -> ArmError:
    return ArmError(
        400,
        "BadRequest",
        "Please provide below info when asking for support: "
        f"timestamp = {timestamp(now)}, correlationId = {correlation}.",
        details=details,
    )
