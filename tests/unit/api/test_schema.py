"""The generated schemas are structural, bounded, explained, and what is checked in."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from azpatch.api import crd
from azpatch.api.common import Resource
from lab.binaries import ROOT

BY_KIND = pytest.mark.parametrize("kind", crd.KINDS, ids=lambda kind: kind.KIND)

Found = Iterator[tuple[str, dict[str, Any]]]


def fields(schema: dict[str, Any], path: str = "") -> Found:
    """Every named field below `schema`, with its path."""
    for name, field in schema.get("properties", {}).items():
        here = f"{path}.{name}"
        yield here, field
        yield from fields(field, here)
    for inside in ("items", "additionalProperties"):
        if inside in schema:
            yield from fields(schema[inside], f"{path}[]")


def parts(schema: dict[str, Any], path: str = "") -> Found:
    """`schema` and every schema inside it, those of items too."""
    yield path, schema
    for name, field in schema.get("properties", {}).items():
        yield from parts(field, f"{path}.{name}")
    for inside in ("items", "additionalProperties"):
        if inside in schema:
            yield from parts(schema[inside], f"{path}[]")


def declared(kind: type[Resource]) -> dict[str, Any]:
    """The schema without what Kubernetes itself declares."""
    schema = crd.schema(kind)
    own = {name: schema["properties"][name] for name in ("spec", "status")}
    return {**schema, "properties": own}


@BY_KIND
def test_every_field_is_described(kind: type[Resource]) -> None:
    assert [path for path, field in fields(declared(kind)) if not field.get("description")] == []


@BY_KIND
def test_a_description_is_a_sentence_on_one_line(kind: type[Resource]) -> None:
    odd = [
        path
        for path, field in fields(declared(kind))
        if not field["description"].endswith((".", "…")) or "\n" in field["description"]
    ]
    assert odd == []


@BY_KIND
def test_every_list_map_and_string_is_bounded(kind: type[Resource]) -> None:
    bounds = {"array": "maxItems", "string": "maxLength"}
    unbounded = [
        path
        for path, part in parts(declared(kind))
        if (bound := bounds.get(part.get("type", ""))) and bound not in part
        if "enum" not in part and part.get("format") != "date-time"
    ]
    unbounded += [
        path
        for path, part in parts(declared(kind))
        if "additionalProperties" in part and "maxProperties" not in part
    ]
    assert unbounded == []


@BY_KIND
def test_the_schema_has_only_words_that_kubernetes_takes(kind: type[Resource]) -> None:
    refused = {"$ref", "$defs", "title", "const", "nullable", "exclusiveMinimum", "uniqueItems"}
    for path, part in parts(crd.schema(kind)):
        assert not refused & set(part), path
        assert part.get("additionalProperties") is not False, path
        assert part.get("format") != "duration", path
        assert "null" not in str(part.get("anyOf", "")), path


@BY_KIND
def test_every_list_says_how_it_is_merged(kind: type[Resource]) -> None:
    for path, part in parts(declared(kind)):
        if part.get("type") == "array":
            assert part["x-kubernetes-list-type"] in ("atomic", "map"), path


@BY_KIND
def test_no_item_of_a_list_in_a_spec_has_a_default(kind: type[Resource]) -> None:
    """Tools that compare what is in Git with what is in the cluster would show them as drift."""
    spec = {"properties": {"spec": crd.schema(kind)["properties"]["spec"]}}
    assert [path for path, part in parts(spec) if "[]" in path and "default" in part] == []


@BY_KIND
def test_every_kind_has_a_status_subresource_one_short_name_and_the_category(
    kind: type[Resource],
) -> None:
    spec = crd.manifest(kind)["spec"]
    assert spec["versions"][0]["subresources"] == {"status": {}}
    assert spec["names"]["shortNames"] == [kind.SHORT_NAME]
    assert spec["names"]["categories"] == ["azpatch"]


def test_every_rule_says_what_to_do() -> None:
    """A message has two halves: what is wrong, and the remedy."""
    messages = {
        rule["message"]
        for kind in crd.KINDS
        for _, part in parts(crd.schema(kind))
        for rule in part.get("x-kubernetes-validations", ())
    }
    assert [text for text in sorted(messages) if not {":", ","} & set(text)] == []


def test_the_yaml_has_no_anchors() -> None:
    for manifest in crd.manifests():
        assert not {"&id001", "*id001"} & set(crd.to_yaml(manifest).split())


def test_what_is_generated_is_checked_in() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "generate.py", "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
