"""Microsoft.Features: the preview features of a subscription and their registration."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from azsim import throttling
from azsim.fleet import FeatureState
from azsim.http import ArmError, Params, Principal, Request, Response, Router
from azsim.subscriptions import subscription_of
from azsim.throttling import charge

if TYPE_CHECKING:
    from azsim.cloud import Cloud, FeatureRegistration, Subscription

_ROOT = "/subscriptions/{sub}/providers/Microsoft.Features"
_ACTION = "Microsoft.Features/providers/features"
_REGISTRATION = "Microsoft.Features/featureProviders/subscriptionFeatureRegistrations"


def routes(router: Router) -> None:
    """The routes of features, by provider and over all, and of registrations."""
    router.add("GET", f"{_ROOT}/features", list_features, action="Microsoft.Features/features/read")
    features = f"{_ROOT}/providers/{{ns}}/features"
    router.add("GET", features, list_features, action=f"{_ACTION}/read")
    router.add("GET", f"{features}/{{feature}}", get_feature, action=f"{_ACTION}/read")
    router.add(
        "POST", f"{features}/{{feature}}/register", register, action=f"{_ACTION}/register/action"
    )
    router.add(
        "POST",
        f"{features}/{{feature}}/unregister",
        unregister,
        action=f"{_ACTION}/unregister/action",
    )
    registrations = f"{_ROOT}/featureProviders/{{ns}}/subscriptionFeatureRegistrations"
    router.add("GET", registrations, list_registrations, action=f"{_REGISTRATION}/read")
    router.add(
        "GET", f"{registrations}/{{feature}}", get_registration, action=f"{_REGISTRATION}/read"
    )


def list_features(cloud: Cloud, request: Request, params: Params, principal: Principal) -> Response:
    """The features of one provider, or of all."""
    subscription, headers = _enter(cloud, params, principal, throttling.READS)
    found = [feature_to_arm(subscription.id, each) for each in _of(subscription, params.get("ns"))]
    return Response(200, {"value": found}, headers)


def get_feature(cloud: Cloud, request: Request, params: Params, principal: Principal) -> Response:
    """One feature."""
    subscription, headers = _enter(cloud, params, principal, throttling.READS)
    return Response(200, feature_to_arm(subscription.id, _feature(subscription, params)), headers)


def list_registrations(
    cloud: Cloud, request: Request, params: Params, principal: Principal
) -> Response:
    """The registrations of one provider: those features that someone has ever registered."""
    subscription, headers = _enter(cloud, params, principal, throttling.READS)
    found = [
        registration_to_arm(subscription, each)
        for each in _of(subscription, params["ns"])
        if _has_registration(each)
    ]
    return Response(200, {"value": found}, headers)


def get_registration(
    cloud: Cloud, request: Request, params: Params, principal: Principal
) -> Response:
    """One registration. ArmError 404 for a feature that nobody has registered."""
    subscription, headers = _enter(cloud, params, principal, throttling.READS)
    feature = _feature(subscription, params)
    if not _has_registration(feature):
        raise _not_found(params)
    return Response(200, registration_to_arm(subscription, feature), headers)


def register(cloud: Cloud, request: Request, params: Params, principal: Principal) -> Response:
    """Begin registering. One that is on its way, or there, stays as it is."""
    subscription, headers = _enter(cloud, params, principal, throttling.WRITES)
    feature = _feature(subscription, params)
    begin(cloud, subscription, feature)
    return Response(200, feature_to_arm(subscription.id, feature), headers)


def unregister(cloud: Cloud, request: Request, params: Params, principal: Principal) -> Response:
    """Begin unregistering; it takes as long as registering."""
    subscription, headers = _enter(cloud, params, principal, throttling.WRITES)
    feature = _feature(subscription, params)
    take_back(cloud, subscription, feature)
    return Response(200, feature_to_arm(subscription.id, feature), headers)


def begin(cloud: Cloud, subscription: Subscription, feature: FeatureRegistration) -> None:
    """Somebody registers a feature."""
    spec = feature.spec
    guarded = spec.approval == "ApprovalRequired"
    first = FeatureState.PENDING if guarded else FeatureState.REGISTERING
    if feature.state in (FeatureState.REGISTERED, first):
        return
    _move(cloud, subscription, feature, first)
    takes = spec.registering_takes if spec.comes else None
    after = spec.approved_after if guarded else takes
    if after is not None:
        _later(cloud, subscription, feature, FeatureState.REGISTERED, after)


def take_back(cloud: Cloud, subscription: Subscription, feature: FeatureRegistration) -> None:
    """Somebody unregisters a feature."""
    if feature.state not in (FeatureState.UNREGISTERED, FeatureState.NOT_REGISTERED):
        _move(cloud, subscription, feature, FeatureState.UNREGISTERING)
        after = feature.spec.registering_takes
        _later(cloud, subscription, feature, FeatureState.UNREGISTERED, after)


def _enter(
    cloud: Cloud, params: Params, principal: Principal, limit: throttling.Limit
) -> tuple[Subscription, dict[str, str]]:
    subscription = subscription_of(cloud, principal, params["sub"])
    headers = charge(cloud.buckets, cloud.now, subscription.id.lower(), principal.object_id, limit)
    return subscription, headers


def _of(subscription: Subscription, namespace: str | None) -> list[FeatureRegistration]:
    return [
        feature
        for (in_namespace, _), feature in sorted(subscription.features.items())
        if namespace is None or in_namespace == namespace.lower()
    ]


def _feature(subscription: Subscription, params: Params) -> FeatureRegistration:
    feature = subscription.features.get((params["ns"].lower(), params["feature"].lower()))
    if feature is None:
        raise _not_found(params)
    return feature


def _not_found(params: Params) -> ArmError:
    return ArmError(
        404,
        "FeatureNotFound",
        f"The feature '{params['feature']}' could not be found in the provider '{params['ns']}'.",
    )


def _has_registration(feature: FeatureRegistration) -> bool:
    never = (FeatureState.NOT_SPECIFIED, FeatureState.NOT_REGISTERED)
    return feature.state not in never or feature.change > 0


def _move(
    cloud: Cloud, subscription: Subscription, feature: FeatureRegistration, state: FeatureState
) -> None:
    if feature.state is state:
        return
    before, feature.state = feature.state, state
    feature.change += 1
    cloud.journal.event(
        cloud.now,
        f"/subscriptions/{subscription.id}",
        "FeatureStateChanged",
        feature=f"{feature.spec.namespace}/{feature.spec.name}",
        before=before.value,
        after=state.value,
    )


def _later(
    cloud: Cloud,
    subscription: Subscription,
    feature: FeatureRegistration,
    state: FeatureState,
    after: timedelta,
) -> None:
    change = feature.change

    def due() -> None:
        if feature.change == change:
            _move(cloud, subscription, feature, state)

    cloud.schedule(cloud.now + after, due)


def feature_to_arm(subscription_id: str, feature: FeatureRegistration) -> dict[str, Any]:
    """A feature as ARM prints it."""
    namespace, name = feature.spec.namespace, feature.spec.name
    return {
        "id": f"/subscriptions/{subscription_id}/providers/Microsoft.Features"
        f"/providers/{namespace}/features/{name}",
        "name": f"{namespace}/{name}",
        "type": "Microsoft.Features/providers/features",
        "properties": {"state": feature.state.value},
    }


def registration_to_arm(subscription: Subscription, feature: FeatureRegistration) -> dict[str, Any]:
    """A registration as ARM prints it: the one place where a feature's display name is."""
    spec = feature.spec
    return {
        "id": f"/subscriptions/{subscription.id}/providers/Microsoft.Features"
        f"/featureProviders/{spec.namespace}/subscriptionFeatureRegistrations/{spec.name}",
        "name": spec.name,
        "type": _REGISTRATION,
        "properties": {
            "tenantId": subscription.tenant_id,
            "subscriptionId": subscription.id,
            "providerNamespace": spec.namespace,
            "featureName": spec.name,
            "displayName": spec.display_name or spec.name,
            "description": spec.description,
            "state": feature.state.value,
            "approvalType": spec.approval,
            "shouldFeatureDisplayInPortal": True,
            "metadata": {},
        },
    }
