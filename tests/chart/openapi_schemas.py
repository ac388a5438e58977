"""JSON schemas for kubeconform, from the API server that is there instead of from a download."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lab.apiclient import ApiClient

TEMPLATE = "{{ .Group }}_{{ .ResourceAPIVersion }}_{{ .ResourceKind }}.json"
"""kubeconform's name for a kind's file, in its own template language. The core group, which has
no name, is called by its version there."""

REFERENCE = "#/components/schemas/"


def write_schemas(api: ApiClient, kinds: Iterable[tuple[str, str]], folder: Path) -> str:
    """Writes a schema for each (apiVersion, kind); returns kubeconform's -schema-location."""
    for api_version, kind in sorted(set(kinds)):
        group, _, version = api_version.rpartition("/")
        path = f"apis/{group}/{version}" if group else f"api/{version}"
        schemas = api.get(f"/openapi/v3/{path}")["components"]["schemas"]
        wanted = {"group": group, "version": version, "kind": kind}
        (name,) = (
            name
            for name, schema in schemas.items()
            if wanted in schema.get("x-kubernetes-group-version-kind", [])
        )
        body = {"$ref": f"#/definitions/{name}", "definitions": _strict(schemas)}
        (folder / f"{group or version}_{version}_{kind.lower()}.json").write_text(json.dumps(body))
    return str(folder / TEMPLATE)


def _strict(schema: Any) -> Any:
    """OpenAPI's form to JSON schema's, and no field beside the known ones."""
    if isinstance(schema, list):
        return [_strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    result = {key: _strict(value) for key, value in schema.items()}
    if isinstance(reference := result.get("$ref"), str):
        result["$ref"] = reference.replace(REFERENCE, "#/definitions/")
    if result.get("type") == "object" and "properties" in result:
        result.setdefault("additionalProperties", False)
    return result
