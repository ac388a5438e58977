"""The CustomResourceDefinitions, made from the models."""

from __future__ import annotations

from typing import Any

import yaml

from azpatch.api.common import GROUP, VERSION, Resource
from azpatch.api.markers import Column
from azpatch.api.policy import PatchPolicy
from azpatch.api.run import PatchRun
from azpatch.api.schema import StructuralSchema
from azpatch.api.subscription import AzureSubscription
from azpatch.api.target import PatchTarget

KINDS: tuple[type[Resource], ...] = (AzureSubscription, PatchPolicy, PatchRun, PatchTarget)

CATEGORY = "azpatch"
"""`kubectl get azpatch` shows every kind."""

# What every Kubernetes object has; `kubectl explain` knows it better than pydantic.
_TYPE_META = {
    "apiVersion": {
        "description": "The version of this schema.",
        "type": "string",
    },
    "kind": {"description": "The kind of this object.", "type": "string"},
    # The name is declared for the rules that point to it.
    "metadata": {"type": "object", "properties": {"name": {"type": "string"}}},
}


def manifests() -> list[dict[str, Any]]:
    """One CustomResourceDefinition for each kind, as JSON."""
    return [manifest(kind) for kind in KINDS]


def manifest(kind: type[Resource]) -> dict[str, Any]:
    """The CustomResourceDefinition of `kind`."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.PLURAL}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "names": {
                "kind": kind.KIND,
                "listKind": f"{kind.KIND}List",
                "plural": kind.PLURAL,
                "singular": kind.KIND.lower(),
                "shortNames": [kind.SHORT_NAME],
                "categories": [CATEGORY],
            },
            "scope": "Namespaced" if kind.NAMESPACED else "Cluster",
            "versions": [_version(kind)],
        },
    }


def schema(kind: type[Resource]) -> dict[str, Any]:
    """The structural schema of `kind`."""
    generated = kind.model_json_schema(schema_generator=StructuralSchema)
    properties = {**generated["properties"], **_TYPE_META}
    if kind.STATUS_DEFAULT is not None:
        properties["status"] = {**properties["status"], "default": dict(kind.STATUS_DEFAULT)}
    else:
        properties["status"] = {k: v for k, v in properties["status"].items() if k != "default"}
    order = (*_TYPE_META, "spec", "status")
    return {
        **generated,
        "properties": {name: properties[name] for name in order},
        "required": ["spec"],
    }


def to_yaml(manifest: dict[str, Any]) -> str:
    """A manifest as the YAML that is checked in."""
    return yaml.dump(manifest, Dumper=_Dumper, sort_keys=False, width=100, allow_unicode=True)


class _Dumper(yaml.SafeDumper):
    """Shared parts are written out: a reader of a manifest expects no YAML anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _version(kind: type[Resource]) -> dict[str, Any]:
    version = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "additionalPrinterColumns": [_column(column) for column in kind.COLUMNS],
        "schema": {"openAPIV3Schema": schema(kind)},
    }
    if kind.SELECTABLE:
        version["selectableFields"] = [{"jsonPath": path} for path in kind.SELECTABLE]
    return version


def _column(column: Column) -> dict[str, Any]:
    written: dict[str, Any] = {
        "name": column.name,
        "type": column.type,
        "jsonPath": column.path,
    }
    if column.description:
        written["description"] = column.description
    if column.wide:
        written["priority"] = 1
    return written
