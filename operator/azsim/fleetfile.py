"""Reading a fleet file: YAML or JSON in, a complete `Fleet` out, errors that name the path.

Beside the fields of `fleet.Fleet` a file may have `templates` (name → part of a machine; a machine
takes one or several by `template: web` or `template: [base, web]`, the later and then its own
fields winning, mappings merged) and `patchSets` (name → list of patches, which a guest's `missing`
may name).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from azsim.fleet import (
    BUILT_IN_ROLES,
    DEFAULT_CLIENT_ID,
    Fleet,
    Gallery,
    Image,
    ImageDefinition,
    MachineSpec,
    OsState,
    Patch,
    Principal,
    Subscription,
    Tenant,
    guid,
)

DEFAULT_SECRET = "azsim-secret"
"""The secret of the principal that a file without principals gets. It guards nothing real."""

COMPUTE = "providers/Microsoft.Compute"

_PATCHES = TypeAdapter(tuple[Patch, ...])


class FleetError(ValueError):
    """A fleet file that cannot be used. `problems`: (path in the file, what is wrong)."""

    def __init__(self, problems: Sequence[tuple[str, str]]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(f"{path}: {message}" for path, message in self.problems))


def load(path: Path) -> Fleet:
    """The fleet in a file. FleetError if it is not one."""
    return parse(path.read_text(encoding="utf-8"))


def parse(text: str) -> Fleet:
    """The fleet in a text of YAML or JSON. FleetError if it is not one."""
    try:
        # JSON is YAML too, but its own parser is fifty times as fast on a large fleet.
        raw = json.loads(text) if text.lstrip().startswith("{") else _yaml(text)
    except (ValueError, yaml.YAMLError) as error:
        raise FleetError([("(file)", f"neither YAML nor JSON: {error}")]) from error
    return build(raw if raw is not None else {})


def _yaml(text: str) -> Any:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return yaml.load(text, Loader=loader)


def build(raw: Any) -> Fleet:
    """The fleet that a parsed file describes."""
    if not isinstance(raw, dict):
        raise FleetError([("(file)", f"expected a mapping, found {type(raw).__name__}")])
    raw = dict(raw)
    patch_sets = _patch_sets(raw.pop("patchSets", {}))
    templates = _mapping(raw.pop("templates", {}), "templates")
    machines = raw.get("machines", [])
    if not isinstance(machines, list):
        raise FleetError([("machines", "expected a list")])
    raw["machines"] = [
        _with_patches(_merged(machine, templates, f"machines[{n}]"), patch_sets, f"machines[{n}]")
        for n, machine in enumerate(machines)
    ]
    try:
        fleet = Fleet.model_validate(raw)
    except ValidationError as error:
        raise FleetError(
            [(place(item["loc"], raw), complaint(item)) for item in error.errors()]
        ) from None
    return complete(fleet)


def complaint(error: ErrorDetails) -> str:
    """What is wrong with a value, in words for who wrote it."""
    text = error["msg"].removeprefix("Value error, ")
    if isinstance(error["input"], bool):
        text += "; YAML reads off, on, yes, no, true and false as booleans: put it in quotes"
    return text


def place(loc: tuple[int | str, ...], raw: Mapping[str, Any], *, whole: str = "(file)") -> str:
    """Where in a file a value stands: `machines[1](web).osType`. `raw` gives machines' names."""
    text = ""
    for part in loc:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
        if isinstance(part, int) and text == f"machines[{part}]":
            name = raw["machines"][part].get("name")
            text += f"({name})" if isinstance(name, str) and name else ""
    return text or whole


def _mapping(value: Any, path: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise FleetError([(path, "expected a mapping")])
    return value


def _patch_sets(raw: Any) -> dict[str, tuple[Patch, ...]]:
    sets = {}
    for name, patches in _mapping(raw, "patchSets").items():
        try:
            sets[name] = _PATCHES.validate_python(patches)
        except ValidationError as error:
            raise FleetError(
                [
                    (place(("patchSets", name, *item["loc"]), {}), complaint(item))
                    for item in error.errors()
                ]
            ) from None
    return sets


def _merged(machine: Any, templates: Mapping[str, Any], path: str) -> dict[str, Any]:
    own = dict(_mapping(machine, path))
    names = own.pop("template", [])
    merged: dict[str, Any] = {}
    for name in [names] if isinstance(names, str) else names:
        if name not in templates:
            raise FleetError([(f"{path}.template", f"there is no template {name!r}")])
        merged = _merge(merged, _mapping(templates[name], f"templates.{name}"))
    return _merge(merged, own)


def _merge(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(under)
    for key, value in over.items():
        below = merged.get(key)
        # An image is one thing: half of one image and half of another would be a third.
        both = isinstance(below, dict) and isinstance(value, dict) and key != "image"
        merged[key] = _merge(below, value) if both and isinstance(below, dict) else value
    return merged


def _with_patches(
    machine: dict[str, Any], sets: Mapping[str, tuple[Patch, ...]], path: str
) -> dict[str, Any]:
    guest = machine.get("guest")
    missing = guest.get("missing") if isinstance(guest, dict) else None
    if isinstance(missing, str):
        missing = [missing]
    if not isinstance(guest, dict) or not isinstance(missing, list):
        return machine
    patches: list[Any] = []
    for n, item in enumerate(missing):
        if not isinstance(item, str):
            patches.append(item)
        elif item in sets:
            patches.extend(sets[item])
        else:
            raise FleetError([(f"{path}.guest.missing[{n}]", f"there is no patch set {item!r}")])
    return {**machine, "guest": {**guest, "missing": patches}}


# -- what needs the whole file --------------------------------------------------------------------


def complete(fleet: Fleet) -> Fleet:
    """The fleet with every reference resolved, every count expanded, every id given."""
    fleet = _with_people(fleet)
    resolver = _Resolver(fleet)
    machines: list[MachineSpec] = []
    problems: list[tuple[str, str]] = []
    for n, spec in enumerate(fleet.machines):
        try:
            machines.extend(resolver.machines(spec))
        except ValueError as error:
            problems.append((f"machines[{n}]({spec.name})", str(error)))
    problems += _twice("machines", (_machine_key(machine) for machine in machines))
    problems += _twice("subscriptions", (s.id.lower() for s in fleet.subscriptions))
    problems += _twice("principals", (p.client_id.lower() for p in fleet.principals))
    problems += _unknown_references(fleet)
    if problems:
        raise FleetError(problems)
    return fleet.model_copy(update={"machines": tuple(machines)})


def _with_people(fleet: Fleet) -> Fleet:
    tenants = fleet.tenants or (Tenant(),)
    principals = fleet.principals or (
        Principal(name="azsim", client_id=DEFAULT_CLIENT_ID, secret=DEFAULT_SECRET),
    )
    return fleet.model_copy(
        update={
            "tenants": tenants,
            # Who names no tenant lives in the file's first one.
            "subscriptions": tuple(
                s.model_copy(update={"tenant_id": s.tenant_id or tenants[0].id})
                for s in fleet.subscriptions or (Subscription(),)
            ),
            "principals": tuple(
                p.model_copy(
                    update={
                        "client_id": p.client_id or guid("client", p.name),
                        "object_id": p.object_id or guid("object", p.name),
                        "tenant_id": p.tenant_id or tenants[0].id,
                    }
                )
                for p in principals
            ),
        }
    )


def _twice(path: str, keys: Iterable[str]) -> list[tuple[str, str]]:
    return [(path, f"{key} is there {n} times") for key, n in Counter(keys).items() if n > 1]


def _machine_key(machine: MachineSpec) -> str:
    kind = "arc" if machine.arc is not None else "vm"
    return f"{machine.subscription}/{machine.group}/{kind}/{machine.name}".lower()


def _unknown_references(fleet: Fleet) -> list[tuple[str, str]]:
    problems = []
    tenants = {tenant.id.lower() for tenant in fleet.tenants}
    roles = {*BUILT_IN_ROLES, *fleet.roles}
    for n, principal in enumerate(fleet.principals):
        path = f"principals[{n}]({principal.name})"
        if principal.tenant_id.lower() not in tenants:
            problems.append((f"{path}.tenantId", "is not among tenants"))
        for m, assignment in enumerate(principal.role_assignments):
            if assignment.role is not None and assignment.role not in roles:
                known = ", ".join(sorted(roles))
                problems.append(
                    (f"{path}.roleAssignments[{m}].role", f"{assignment.role!r} is not in {known}")
                )
    for n, subscription in enumerate(fleet.subscriptions):
        if subscription.tenant_id.lower() not in tenants:
            problems.append((f"subscriptions[{n}].tenantId", "is not among tenants"))
    return problems


class _Resolver:
    """Turns the short forms of machines into full ones."""

    def __init__(self, fleet: Fleet) -> None:
        self._first = fleet.subscriptions[0].id
        self._subscriptions = {s.id.lower(): s.id for s in fleet.subscriptions} | {
            s.display_name.lower(): s.id for s in fleet.subscriptions
        }
        self._galleries: dict[str, list[tuple[Subscription, Gallery]]] = {}
        for subscription in fleet.subscriptions:
            for gallery in subscription.galleries:
                found = self._galleries.setdefault(gallery.name.lower(), [])
                found.append((subscription, gallery))
        self._specialized_ids = {
            id_
            for galleries in self._galleries.values()
            for subscription, gallery in galleries
            for definition in gallery.images
            if definition.os_state is OsState.SPECIALIZED
            for id_ in _ids(subscription, gallery, definition.name)
        }

    def machines(self, spec: MachineSpec) -> Iterable[MachineSpec]:
        """The machines that one entry stands for. ValueError for a reference to nothing."""
        subscription = self._subscription(spec.subscription)
        image, os_profile = self._image(spec, subscription)
        compute = f"/subscriptions/{subscription}/resourceGroups/{spec.group}/{COMPUTE}"
        common = {
            "subscription": subscription,
            "image": image,
            "os_profile": os_profile if spec.os_profile is None else spec.os_profile,
            "scale_set": _full(spec.scale_set, f"{compute}/virtualMachineScaleSets"),
            "availability_set": _full(spec.availability_set, f"{compute}/availabilitySets"),
            "count": 1,
        }
        for n in range(1, spec.count + 1):
            name = spec.name.replace("{n}", str(n))
            kind = "vm" if spec.arc is None else "arc"
            vm_id = spec.vm_id or guid(kind, subscription, spec.group, name)
            yield spec.model_copy(update={**common, "name": name, "vm_id": vm_id})

    def _subscription(self, name: str | None) -> str:
        if name is None:
            return self._first
        if name.lower() not in self._subscriptions:
            raise ValueError(f"there is no subscription {name!r}")
        return self._subscriptions[name.lower()]

    def _image(self, spec: MachineSpec, subscription: str) -> tuple[Image, bool]:
        image = spec.image
        if image.gallery is not None:
            image_id, definition = self._gallery(image.gallery)
            made = {
                "gallery": None,
                "id": image_id,
                "exact_version": image.exact_version or _exact_version(image_id, definition),
            }
            return image.model_copy(update=made), definition.os_state is OsState.GENERALIZED
        if image.managed_image is not None:
            folder = f"/subscriptions/{subscription}/resourceGroups/{spec.group}/{COMPUTE}/images"
            managed = _full(image.managed_image, folder)
            return image.model_copy(update={"managed_image": None, "id": managed}), True
        return image, not image.attached_disk and not self._specialized(image)

    def _gallery(self, reference: str) -> tuple[str, ImageDefinition]:
        gallery_name, definition_name, *version = reference.split("/")
        found = self._galleries.get(gallery_name.lower(), [])
        if len(found) != 1:
            raise ValueError(f"there are {len(found)} galleries {gallery_name!r}, not one")
        subscription, gallery = found[0]
        for definition in gallery.images:
            if definition.name.lower() == definition_name.lower():
                break
        else:
            raise ValueError(f"gallery {gallery_name!r} has no image {definition_name!r}")
        if version and version[0] != "latest" and version[0] not in definition.versions:
            raise ValueError(f"image {definition_name!r} has no version {version[0]!r}")
        image_id = (
            f"/subscriptions/{subscription.id}/resourceGroups/{gallery.group}/{COMPUTE}"
            f"/galleries/{gallery.name}/images/{definition.name}"
        )
        return image_id + (f"/versions/{version[0]}" if version else ""), definition

    def _specialized(self, image: Image) -> bool:
        source = image.id or image.shared_gallery_image_id or image.community_gallery_image_id
        return (source or "").lower().partition("/versions/")[0] in self._specialized_ids


def _ids(subscription: Subscription, gallery: Gallery, name: str) -> tuple[str, ...]:
    """Every id by which an image definition goes, in lower case."""
    ids = [
        f"/subscriptions/{subscription.id}/resourceGroups/{gallery.group}/{COMPUTE}"
        f"/galleries/{gallery.name}/images/{name}",
        f"/SharedGalleries/{gallery.seen_as(subscription.id)}/Images/{name}",
    ]
    if gallery.public_name is not None:
        ids.append(f"/CommunityGalleries/{gallery.public_name}/Images/{name}")
    return tuple(id_.lower() for id_ in ids)


def _exact_version(image_id: str, definition: ImageDefinition) -> str | None:
    """The version that a machine was made from: the one it names, else the newest."""
    if "/versions/" in image_id:
        return image_id.rsplit("/", 1)[1]
    numbers = {tuple(map(int, v.split("."))): v for v in definition.versions}
    return numbers[max(numbers)] if numbers else None


def _full(name: str | None, folder: str) -> str | None:
    return name if name is None or name.startswith("/") else f"{folder}/{name}"
