"""Every route of the simulated Azure in one router."""

from __future__ import annotations

from azsim import (
    compute,
    control,
    features,
    galleries,
    permissions,
    resourcegraph,
    signin,
    subscriptions,
)
from azsim.http import Router

_MODULES = (
    compute,
    control,
    features,
    galleries,
    permissions,
    resourcegraph,
    signin,
    subscriptions,
)


def build_router() -> Router:
    """The router that a `Cloud` is given."""
    router = Router()
    for module in _MODULES:
        module.routes(router)
    return router
