"""Azure Compute Galleries, their image definitions and versions: to read, as the file has them.

Definitions that are shared, directly or with everyone, are also looked up by name in a location, in
the name of a subscription. It makes no difference here which location that is.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from azsim import throttling
from azsim.fleet import Gallery, ImageDefinition
from azsim.http import ArmError, Params, Principal, Request, Response, Router, resource_not_found
from azsim.subscriptions import subscription_of
from azsim.throttling import charge

if TYPE_CHECKING:
    from azsim.cloud import Cloud, Subscription

_SUBSCRIPTION = "/subscriptions/{sub}"
_GALLERIES = "providers/Microsoft.Compute/galleries"
_GROUP = f"{_SUBSCRIPTION}/resourceGroups/{{rg}}"
_ACTION = "Microsoft.Compute/galleries"
_LOCATION = f"{_SUBSCRIPTION}/providers/Microsoft.Compute/locations/{{location}}"
_SHARED_ACTION = "Microsoft.Compute/locations/{}/images/read"


def routes(router: Router) -> None:
    """The routes of galleries and what is in them."""
    gallery = f"{_GROUP}/{_GALLERIES}/{{gallery}}"
    read = f"{_ACTION}/read"
    router.add("GET", f"{_SUBSCRIPTION}/{_GALLERIES}", list_galleries, action=read)
    router.add("GET", f"{_GROUP}/{_GALLERIES}", list_galleries, action=read)
    router.add("GET", gallery, get_gallery, action=read)
    images = f"{_ACTION}/images"
    router.add("GET", f"{gallery}/images", list_images, action=f"{images}/read")
    router.add("GET", f"{gallery}/images/{{image}}", get_image, action=f"{images}/read")
    versions = f"{gallery}/images/{{image}}/versions"
    router.add("GET", versions, list_versions, action=f"{images}/versions/read")
    router.add("GET", f"{versions}/{{version}}", get_version, action=f"{images}/versions/read")
    for kind, get in (
        ("sharedGalleries", get_shared_image),
        ("communityGalleries", get_community_image),
    ):
        shared = f"{_LOCATION}/{kind}/{{gallery}}/images/{{image}}"
        router.add("GET", shared, get, action=_SHARED_ACTION.format(kind))


def list_galleries(
    cloud: Cloud, request: Request, params: Params, principal: Principal
) -> Response:
    """The galleries of a subscription or of one of its groups."""
    subscription, headers = _enter(cloud, params, principal)
    group = params.get("rg", "").lower()
    found = [
        gallery_to_arm(subscription.id, gallery)
        for (in_group, _), gallery in sorted(subscription.galleries.items())
        if not group or in_group == group
    ]
    return Response(200, {"value": found}, headers)


def get_gallery(cloud: Cloud, request: Request, params: Params, principal: Principal) -> Response:
    """One gallery."""
    subscription, headers = _enter(cloud, params, principal)
    return Response(200, gallery_to_arm(subscription.id, _gallery(subscription, params)), headers)


def list_images(cloud: Cloud, request: Request, params: Params, principal: Principal) -> Response:
    """The image definitions of a gallery."""
    subscription, headers = _enter(cloud, params, principal)
    gallery = _gallery(subscription, params)
    images = [image_to_arm(subscription.id, gallery, image) for image in gallery.images]
    return Response(200, {"value": images}, headers)


def get_image(cloud: Cloud, request: Request, params: Params, principal: Principal) -> Response:
    """One image definition."""
    subscription, headers = _enter(cloud, params, principal)
    gallery = _gallery(subscription, params)
    image = _image(subscription, gallery, params)
    return Response(200, image_to_arm(subscription.id, gallery, image), headers)


def list_versions(cloud: Cloud, request: Request, params: Params, principal: Principal) -> Response:
    """The versions of an image."""
    subscription, headers = _enter(cloud, params, principal)
    gallery = _gallery(subscription, params)
    image = _image(subscription, gallery, params)
    versions = [version_to_arm(subscription.id, gallery, image, name) for name in image.versions]
    return Response(200, {"value": versions}, headers)


def get_version(cloud: Cloud, request: Request, params: Params, principal: Principal) -> Response:
    """One version of an image."""
    subscription, headers = _enter(cloud, params, principal)
    gallery = _gallery(subscription, params)
    image = _image(subscription, gallery, params)
    name = params["version"]
    if name not in image.versions:
        raise resource_not_found(f"{image_id(subscription.id, gallery, image)}/versions/{name}")
    return Response(200, version_to_arm(subscription.id, gallery, image, name), headers)


def get_shared_image(
    cloud: Cloud, request: Request, params: Params, principal: Principal
) -> Response:
    """An image definition of a gallery that is shared with the subscription or its tenant."""
    subscription, headers = _enter(cloud, params, principal)
    seen = {subscription.id.lower(), subscription.tenant_id.lower()}
    found = [
        gallery
        for owner in cloud.subscriptions.values()
        for gallery in owner.galleries.values()
        if gallery.seen_as(owner.id).lower() == params["gallery"].lower()
        and seen & {id_.lower() for id_ in gallery.shared_with}
    ]
    if not found:
        status, code = cloud.quirks.not_shared
        raise ArmError(
            status, code, f"Gallery '{params['gallery']}' is not shared with the caller."
        )
    return Response(200, _shared(request, params, "SharedGalleries", found), headers)


def get_community_image(
    cloud: Cloud, request: Request, params: Params, principal: Principal
) -> Response:
    """An image definition of a gallery that is shared with everyone."""
    _, headers = _enter(cloud, params, principal)
    found = [
        gallery
        for owner in cloud.subscriptions.values()
        for gallery in owner.galleries.values()
        if (gallery.public_name or "").lower() == params["gallery"].lower()
    ]
    return Response(200, _shared(request, params, "CommunityGalleries", found), headers)


def _shared(
    request: Request, params: Params, kind: str, galleries: Iterable[Gallery]
) -> dict[str, Any]:
    """A definition as those see it who may only use it. ArmError 404."""
    for gallery in galleries:
        for image in gallery.images:
            if image.name.lower() == params["image"].lower():
                return {
                    "name": image.name,
                    "location": params["location"],
                    "identifier": {"uniqueId": f"/{kind}/{params['gallery']}/Images/{image.name}"},
                    "properties": _image_properties(gallery, image),
                }
    raise resource_not_found(request.path)


def _enter(
    cloud: Cloud, params: Params, principal: Principal
) -> tuple[Subscription, dict[str, str]]:
    subscription = subscription_of(cloud, principal, params["sub"])
    headers = charge(
        cloud.buckets, cloud.now, subscription.id.lower(), principal.object_id, throttling.READS
    )
    return subscription, headers


def _gallery(subscription: Subscription, params: Params) -> Gallery:
    gallery = subscription.galleries.get((params["rg"].lower(), params["gallery"].lower()))
    if gallery is None:
        raise resource_not_found(
            f"/subscriptions/{subscription.id}/resourceGroups/{params['rg']}"
            f"/{_GALLERIES}/{params['gallery']}"
        )
    return gallery


def _image(subscription: Subscription, gallery: Gallery, params: Params) -> ImageDefinition:
    for image in gallery.images:
        if image.name.lower() == params["image"].lower():
            return image
    raise resource_not_found(f"{gallery_id(subscription.id, gallery)}/images/{params['image']}")


def gallery_id(subscription_id: str, gallery: Gallery) -> str:
    """The ARM id of a gallery."""
    group = f"/subscriptions/{subscription_id}/resourceGroups/{gallery.group}"
    return f"{group}/{_GALLERIES}/{gallery.name}"


def image_id(subscription_id: str, gallery: Gallery, image: ImageDefinition) -> str:
    """The ARM id of an image definition."""
    return f"{gallery_id(subscription_id, gallery)}/images/{image.name}"


def gallery_to_arm(subscription_id: str, gallery: Gallery) -> dict[str, Any]:
    """A gallery as ARM prints it."""
    return {
        "name": gallery.name,
        "id": gallery_id(subscription_id, gallery),
        "type": "Microsoft.Compute/galleries",
        "location": gallery.location,
        "tags": {},
        "properties": {
            "identifier": {"uniqueName": gallery.seen_as(subscription_id)},
            "provisioningState": "Succeeded",
        },
    }


def image_to_arm(subscription_id: str, gallery: Gallery, image: ImageDefinition) -> dict[str, Any]:
    """An image definition as ARM prints it."""
    return {
        "name": image.name,
        "id": image_id(subscription_id, gallery, image),
        "type": "Microsoft.Compute/galleries/images",
        "location": gallery.location,
        "tags": {},
        "properties": {
            **_image_properties(gallery, image),
            "provisioningState": "Succeeded",
        },
    }


def _image_properties(gallery: Gallery, image: ImageDefinition) -> dict[str, Any]:
    made_up = {
        "publisher": "azsim",
        "offer": gallery.name,
        "sku": image.name,
    }
    properties: dict[str, Any] = {
        "hyperVGeneration": image.hyper_v_generation,
        "architecture": image.architecture,
        "osType": image.os_type.value,
        "osState": image.os_state.value,
        "identifier": dict(image.identifier or made_up),
    }
    if image.purchase_plan is not None:
        properties["purchasePlan"] = image.purchase_plan.model_dump(by_alias=True)
    return properties


def version_to_arm(
    subscription_id: str, gallery: Gallery, image: ImageDefinition, name: str
) -> dict[str, Any]:
    """A version as ARM prints it."""
    return {
        "name": name,
        "id": f"{image_id(subscription_id, gallery, image)}/versions/{name}",
        "type": "Microsoft.Compute/galleries/images/versions",
        "location": gallery.location,
        "tags": {},
        "properties": {
            "publishingProfile": {
                "targetRegions": [{"name": gallery.location, "regionalReplicaCount": 1}],
                "replicaCount": 1,
                "excludeFromLatest": False,
            },
            "storageProfile": {"osDiskImage": {"sizeInGB": 30, "hostCaching": "ReadWrite"}},
            "provisioningState": "Succeeded",
        },
    }
