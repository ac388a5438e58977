"""Makes facts of the JSON that the Azure CLI prints. Whoever reads a mistake here can mend it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from azpatch.azure import models
from azpatch.azure.queries import ARC_SERVERS, VIRTUAL_MACHINES
from azpatch.console import Wrong
from azpatch.domain.facts import ImageDefinition, Machine
from azpatch.domain.ids import parse
from azpatch.domain.image import gallery_image

SCALE_SET_MEMBERS = "microsoft.compute/virtualmachinescalesets/virtualmachines"

_MACHINES = "what `az vm show -o json`, `az vm list -o json` or `az connectedmachine show` prints"
_DEFINITIONS = "what `az sig image-definition show -o json` or `list` prints"


_SURROGATES = re.compile(r"\\u[dD][89a-fA-F]")
"""Halves of a character, as JSON may escape them: one alone is no text."""


@dataclass(frozen=True, slots=True)
class Named:
    """A machine, and the id and name of what was asked about."""

    id: str | None
    name: str
    machine: Machine


@dataclass(frozen=True, slots=True)
class Machines:
    """What was asked about."""

    machines: tuple[Named, ...]
    listed: bool
    """A list was given, so that the answer is one too."""


def machines(content: bytes, where: str) -> Machines:
    """The machines of a file. Raises Wrong."""
    found, listed = _objects(content, where, _MACHINES)
    named = tuple(_machine(model, _at(where, number, listed)) for number, model in found)
    return Machines(named, listed)


@dataclass(frozen=True, slots=True)
class Definitions:
    """Image definitions that were given."""

    definitions: tuple[tuple[str, ImageDefinition], ...]
    """Each with its name."""
    listed: bool

    @property
    def by_key(self) -> Mapping[str, ImageDefinition]:
        """By what a machine's image reference is looked up with."""
        return {_key(definition.id): definition for _, definition in self.definitions}


def definitions(content: bytes, where: str) -> Definitions:
    """The image definitions of a file. Raises Wrong."""
    found, listed = _objects(content, where, _DEFINITIONS)
    named = tuple(_definition(model, _at(where, number, listed)) for number, model in found)
    return Definitions(named, listed)


def _objects(content: bytes, where: str, wanted: str) -> tuple[list[tuple[int, Any]], bool]:
    if not content.strip():
        raise Wrong(f"{where} is empty. Give {wanted}.")
    try:
        text = content.decode(json.detect_encoding(content))
        document = json.loads(text)
        if _SURROGATES.search(text):
            json.dumps(document, ensure_ascii=False).encode()
    except RecursionError:
        raise Wrong(f"{where} is nested too deeply. Give {wanted}.") from None
    except json.JSONDecodeError as error:
        at = f"line {error.lineno}, column {error.colno}"
        raise Wrong(f"{where} is not JSON: {error.msg} at {at}. Give {wanted}.") from None
    except ValueError as error:
        raise Wrong(f"{where} is not JSON: {error}. Give {wanted}.") from None
    if isinstance(document, list):
        return list(enumerate(document, 1)), True
    if isinstance(document, dict) and "id" not in document:
        for field in ("value", "data"):
            if isinstance(document.get(field), list):
                raise Wrong(
                    f"{where} has its list under {field!r}. Give the list alone: jq .{field}"
                )
    return [(1, document)], False


def _at(where: str, number: int, listed: bool) -> str:
    return f"{where}, item {number}" if listed else where


def _machine(model: Any, where: str) -> Named:
    resource = _resource(model, where, _MACHINES)
    name, kind = _name(resource, where, _MACHINES), _type(resource)
    if kind == ARC_SERVERS:
        return Named(resource["id"], name, models.arc_server(resource))
    if kind not in {VIRTUAL_MACHINES, SCALE_SET_MEMBERS}:
        raise Wrong(f"{where} ({name}) is no machine, but {kind or 'nothing'}. Give {_MACHINES}.")
    if not isinstance(resource["properties"].get("storageProfile"), Mapping):
        raise Wrong(f"{where} ({name}) has no storageProfile. Give the whole model: no --query.")
    return Named(resource["id"], name, models.virtual_machine(resource))


def _definition(model: Any, where: str) -> tuple[str, ImageDefinition]:
    resource = _resource(model, where, _DEFINITIONS)
    # Of a shared or a community gallery the Azure CLI shows a unique id in place of an ARM one.
    identifier = resource.get("identifier")
    nested = identifier.get("uniqueId") if isinstance(identifier, dict) else None
    resource["id"] = resource.get("id") or resource["properties"].get("uniqueId") or nested
    name = _name(resource, where, _DEFINITIONS)
    image = gallery_image(resource["id"])
    if image is None or "/versions/" in resource["id"].lower():
        kind = _type(resource) or "nothing that azpatch knows"
        raise Wrong(f"{where} ({name}) is no image definition, but {kind}. Give {_DEFINITIONS}.")
    if not isinstance(resource["properties"].get("osState"), str):
        raise Wrong(f"{where} ({name}) has no osState. Give the whole definition: no --query.")
    return name, models.image_definition(resource)


def _resource(model: Any, where: str, wanted: str) -> dict[str, Any]:
    """A model as ARM has it: the Azure CLI lifts what is under `properties`."""
    if not isinstance(model, dict):
        raise Wrong(f"{where} is no JSON object. Give {wanted}.")
    if isinstance(model.get("properties"), dict):
        return dict(model)
    return {**model, "properties": model}


def _name(resource: Mapping[str, Any], where: str, wanted: str) -> str:
    resource_id = resource.get("id")
    if not isinstance(resource_id, str) or not resource_id:
        raise Wrong(f"{where} has no id. Give {wanted}.")
    return str(resource.get("name") or resource_id.rstrip("/").rpartition("/")[2])


def _type(resource: Mapping[str, Any]) -> str:
    """By the id, in lower case: some lists come without types."""
    parts = parse(resource["id"])
    return str(resource.get("type") or "").lower() if parts is None else parts.type


def _key(definition_id: str) -> str:
    image = gallery_image(definition_id)
    return definition_id if image is None else image.definition
