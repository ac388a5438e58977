"""Models of resources, as ARM answers them, as facts. No SDK: what has a model can read it.

The command line reads models too, as the Azure CLI prints them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from azpatch.azure import rows
from azpatch.azure.values import mapping
from azpatch.domain.facts import ImageDefinition, Machine

Model = Mapping[str, Any]


def virtual_machine(model: Model) -> Machine:
    """A VM, with what its instance view shows where the model has one."""
    view = instance_view(model)
    shown = {
        "powerCode": _power_code(view),
        "osName": view.get("osName"),
        "osVersion": view.get("osVersion"),
    }
    return rows.machine({**rows.flat(model), **shown})


def arc_server(model: Model) -> Machine:
    """An Azure Arc-enabled server."""
    return rows.arc_server(rows.flat_arc(model))


def image_definition(model: Model) -> ImageDefinition:
    """An image definition of a gallery."""
    properties = mapping(model.get("properties"))
    return rows.image_definition(
        {
            "id": model.get("id"),
            "osState": properties.get("osState"),
            "osType": properties.get("osType"),
        }
    )


def instance_view(model: Model) -> Mapping[str, Any]:
    """A VM's instance view; empty where the model came without."""
    return mapping(mapping(model.get("properties")).get("instanceView"))


def statuses(holder: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The statuses of an instance view, or of a part of it."""
    listed = holder.get("statuses")
    return [mapping(status) for status in listed] if isinstance(listed, list) else []


def _power_code(view: Mapping[str, Any]) -> str | None:
    codes = (str(status.get("code") or "") for status in statuses(view))
    return next((code for code in codes if code.lower().startswith("powerstate/")), None)
