"""Every route of the simulated Azure in one router."""

from __future__ import annotations

from azsim import (
    authority,
    compute,
    control,
    features,
    galleries,
    hybrid,
    permissions,
    subscriptions,
)
from azsim.http import Router
from azsim.resourcegraph import ResourceGraph

_MODULES = (
    authority,
    compute,
    control,
    features,
    galleries,
    hybrid,
    permissions,
    subscriptions,
)


def build_router(graph: ResourceGraph | None = None) -> Router:
    """The router that a `Cloud` is given; it serves that cloud only.

    Who passes `graph` can fill its tables (`ResourceGraph.refresh`) before the first query does.
    """
    router = Router()
    for module in _MODULES:
        module.routes(router)
    (graph or ResourceGraph()).routes(router)
    return router
