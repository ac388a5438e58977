"""Subscriptions, tenants, resource groups and resource providers: where the machines are."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

from azsim.http import ArmError, Params, Principal, Request, Response, Router, require
from azsim.throttling import READS, WRITES, Limit, charge, charge_tenant

if TYPE_CHECKING:
    from azsim.cloud import Cloud, Subscription
    from azsim.fleet import ResourceGroup

TENANT_READS = Limit("tenant-reads", READS.size, READS.per_second)
"""ARM's reads outside of subscriptions have a bucket of their own, of the same size."""

PROVIDERS = (
    "Microsoft.Compute",
    "Microsoft.Features",
    "Microsoft.HybridCompute",
    "Microsoft.ResourceGraph",
)
"""The resource providers that a subscription of the simulated Azure knows, all registered."""

REGISTERING_TAKES = timedelta(minutes=1)
"""What registering a provider takes."""


def routes(router: Router) -> None:
    """What lists and names subscriptions and groups."""
    subscription = "/subscriptions/{sub}"
    router.add("GET", "/subscriptions", list_subscriptions)
    router.add("GET", "/tenants", list_tenants)
    router.add("GET", subscription, get_subscription)
    groups = "Microsoft.Resources/subscriptions/resourceGroups/read"
    router.add("GET", f"{subscription}/resourceGroups", list_groups)
    router.add("GET", f"{subscription}/resourceGroups/{{rg}}", get_group, action=groups)
    router.add("GET", f"{subscription}/providers", list_providers)
    router.add("GET", f"{subscription}/providers/{{ns}}", get_provider)
    # The action names the provider, so the handler checks it.
    router.add("POST", f"{subscription}/providers/{{ns}}/register", register_provider)


def visible(cloud: Cloud, principal: Principal) -> list[Subscription]:
    """The subscriptions of the principal's directory in which it has any role."""
    return [
        each
        for each in cloud.subscriptions.values()
        if each.tenant_id.lower() == principal.tenant_id.lower()
        and cloud.rights.touches(principal.object_id, f"/subscriptions/{each.id}")
    ]


def subscription_of(cloud: Cloud, principal: Principal, subscription_id: str) -> Subscription:
    """A subscription that the principal can see. ArmError 404 for any other."""
    for each in visible(cloud, principal):
        if each.id.lower() == subscription_id.lower():
            return each
    raise not_found(subscription_id)


def not_found(subscription_id: str) -> ArmError:
    """What ARM says of a subscription that is not there, or that the caller cannot see."""
    return ArmError(
        404,
        "SubscriptionNotFound",
        f"The subscription '{subscription_id}' could not be found.",
    )


def list_subscriptions(
    cloud: Cloud, request: Request, params: Params, principal: Principal
) -> Response:
    """What the principal can see; without any role an empty list."""
    found = [_subscription(each) for each in visible(cloud, principal)]
    return Response(
        200,
        {"value": found, "count": {"type": "Total", "value": len(found)}},
        _tenant_read(cloud, principal),
    )


def get_subscription(
    cloud: Cloud, request: Request, params: Params, principal: Principal
) -> Response:
    """One subscription."""
    subscription = subscription_of(cloud, principal, params["sub"])
    return Response(200, _subscription(subscription), spent(cloud, principal, params["sub"]))


def list_tenants(cloud: Cloud, request: Request, params: Params, principal: Principal) -> Response:
    """The directory of the principal."""
    return Response(
        200,
        {
            "value": [
                {
                    "id": f"/tenants/{tenant.id}",
                    "tenantId": tenant.id,
                    "displayName": tenant.display_name,
                    "defaultDomain": tenant.default_domain,
                    "tenantCategory": "Home",
                    "domains": [tenant.default_domain],
                }
                for tenant in cloud.fleet.tenants
                if tenant.id.lower() == principal.tenant_id.lower()
            ]
        },
        _tenant_read(cloud, principal),
    )


def list_groups(cloud: Cloud, request: Request, params: Params, principal: Principal) -> Response:
    """The groups that the principal may read."""
    subscription = subscription_of(cloud, principal, params["sub"])
    action = "Microsoft.Resources/subscriptions/resourceGroups/read"
    return Response(
        200,
        {
            "value": [
                _group(subscription, group)
                for group in subscription.resource_groups.values()
                if cloud.rights.allowed(
                    principal.object_id, action, group_id(subscription.id, group.name)
                )
            ]
        },
        spent(cloud, principal, params["sub"]),
    )


def get_group(cloud: Cloud, request: Request, params: Params, principal: Principal) -> Response:
    """One group."""
    subscription = subscription_of(cloud, principal, params["sub"])
    group = subscription.resource_groups.get(params["rg"].lower())
    if group is not None:
        headers = spent(cloud, principal, params["sub"])
        return Response(200, _group(subscription, group), headers)
    raise ArmError(
        404, "ResourceGroupNotFound", f"Resource group '{params['rg']}' could not be found."
    )


def list_providers(
    cloud: Cloud, request: Request, params: Params, principal: Principal
) -> Response:
    """The resource providers of the simulated Azure."""
    subscription = subscription_of(cloud, principal, params["sub"])
    found = [_provider(subscription, name) for name in PROVIDERS]
    return Response(200, {"value": found}, spent(cloud, principal, params["sub"]))


def get_provider(cloud: Cloud, request: Request, params: Params, principal: Principal) -> Response:
    """One resource provider."""
    subscription = subscription_of(cloud, principal, params["sub"])
    headers = spent(cloud, principal, params["sub"])
    return Response(200, _provider(subscription, _known(params["ns"])), headers)


def register_provider(
    cloud: Cloud, request: Request, params: Params, principal: Principal
) -> Response:
    """Registers anew what is registered, which takes a minute or so; meanwhile it serves."""
    namespace = _known(params["ns"])
    require(cloud, principal, f"{namespace}/register/action", f"/subscriptions/{params['sub']}")
    subscription = subscription_of(cloud, principal, params["sub"])
    headers = spent(cloud, principal, params["sub"], WRITES)
    provider = subscription.providers[namespace.lower()]
    provider.change += 1
    change = provider.change
    _move(cloud, subscription, namespace, "Registering")

    def due() -> None:
        if provider.change == change:
            _move(cloud, subscription, namespace, "Registered")

    cloud.schedule(cloud.now + REGISTERING_TAKES, due)
    return Response(200, _provider(subscription, namespace), headers)


def _move(
    cloud: Cloud,
    subscription: Subscription,
    namespace: str,
    state: Literal["Registered", "Registering"],
) -> None:
    provider = subscription.providers[namespace.lower()]
    if provider.state == state:
        return
    before, provider.state = provider.state, state
    cloud.journal.event(
        cloud.now,
        f"/subscriptions/{subscription.id}",
        "ProviderStateChanged",
        provider=namespace,
        before=before,
        after=state,
    )


def spent(
    cloud: Cloud, principal: Principal, subscription_id: str, limit: Limit = READS
) -> dict[str, str]:
    """Take a request from ARM's budget; the headers that say what is left. ArmError 429."""
    return charge(cloud.buckets, cloud.now, subscription_id.lower(), principal.object_id, limit)


def _tenant_read(cloud: Cloud, principal: Principal) -> dict[str, str]:
    """The same for what belongs to no subscription."""
    return charge_tenant(
        cloud.buckets, cloud.now, principal.tenant_id, principal.object_id, TENANT_READS
    )


def group_id(subscription_id: str, name: str) -> str:
    """The ARM id of a resource group."""
    return f"/subscriptions/{subscription_id}/resourceGroups/{name}"


def _known(namespace: str) -> str:
    for name in PROVIDERS:
        if name.lower() == namespace.lower():
            return name
    raise ArmError(
        404,
        "InvalidResourceNamespace",
        f"The resource namespace '{namespace}' is invalid.",
    )


def _subscription(subscription: Subscription) -> dict[str, Any]:
    return {
        "id": f"/subscriptions/{subscription.id}",
        "authorizationSource": "RoleBased",
        "managedByTenants": [],
        "subscriptionId": subscription.id,
        "tenantId": subscription.tenant_id,
        "displayName": subscription.display_name,
        "state": subscription.spec.state,
        "subscriptionPolicies": {
            "locationPlacementId": "Public_2014-09-01",
            "quotaId": "PayAsYouGo_2014-09-01",
            "spendingLimit": "Off",
        },
    }


def _group(subscription: Subscription, group: ResourceGroup) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "id": group_id(subscription.id, group.name),
        "name": group.name,
        "type": "Microsoft.Resources/resourceGroups",
        "location": group.location,
        "tags": dict(group.tags),
        "properties": {"provisioningState": "Succeeded"},
    }
    if group.managed_by:
        shown["managedBy"] = group.managed_by
    return shown


def _provider(subscription: Subscription, namespace: str) -> dict[str, Any]:
    return {
        "id": f"/subscriptions/{subscription.id}/providers/{namespace}",
        "namespace": namespace,
        "registrationPolicy": "RegistrationRequired",
        "registrationState": subscription.providers[namespace.lower()].state,
        "resourceTypes": [],
    }
