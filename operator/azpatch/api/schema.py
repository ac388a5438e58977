"""From pydantic's JSON schema to the structural schema of a CustomResourceDefinition.

Kubernetes takes a subset: no `$ref`, no `title`, no `null` (an optional value is an absent one),
no `const`, no `additionalProperties: false`.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaValue
from pydantic_core import CoreSchema, SchemaSerializer, core_schema


class StructuralSchema(GenerateJsonSchema):
    """pydantic's generator, made to speak Kubernetes' subset."""

    def generate(self, schema: CoreSchema, mode: JsonSchemaMode = "validation") -> JsonSchemaValue:
        """The schema with every definition in its place."""
        generated = super().generate(schema, mode)
        definitions = generated.pop("$defs", {})
        inlined = _inline(generated, definitions)
        assert isinstance(inlined, dict)
        return inlined

    def field_title_should_be_set(self, schema: Any) -> bool:
        """Titles repeat the names."""
        return False

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        """Absent instead of null."""
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        """Defaults that a reader should see; absent, empty and zero ones stay out.

        An object whose fields all have defaults gets an empty default, so that they appear.
        """
        inner = self.generate_inner(schema["schema"])
        default = schema.get("default", schema.get("default_factory"))
        if isinstance(default, type) and issubclass(default, BaseModel):
            return {**inner, "default": {}}
        if default is dict or default in _NOT_WORTH_SAYING:
            return inner
        zero = not isinstance(default, bool) and default == 0
        if isinstance(default, bool | int | str | tuple | timedelta) and not zero:
            written = SchemaSerializer(schema["schema"]).to_python(
                default, mode="json", exclude_none=True
            )
            return {**inner, "default": written}
        return inner

    def int_schema(self, schema: core_schema.IntSchema) -> JsonSchemaValue:
        """Kubernetes' integers have 64 bits."""
        return {**super().int_schema(schema), "format": "int64"}

    def literal_schema(self, schema: core_schema.LiteralSchema) -> JsonSchemaValue:
        """An enum also where there is one value."""
        return {"type": "string", "enum": list(schema["expected"])}

    def enum_schema(self, schema: core_schema.EnumSchema) -> JsonSchemaValue:
        """An enum also where there is one value, without the class's docstring."""
        return {"type": "string", "enum": [member.value for member in schema["members"]]}


_SHOWN = (bool, str, tuple, timedelta)

_NOT_WORTH_SAYING: tuple[Any, ...] = (None, (), "")

_ORDER = ("description", "type", "format", "enum", "default", "items", "properties", "required")
"""The keys that a reader looks for first."""

_MAPS_OF_SCHEMAS = ("properties", "patternProperties")


def _inline(schema: Any, definitions: dict[str, Any]) -> Any:
    """`schema` with references replaced; what stands beside a reference adds to its target."""
    if isinstance(schema, list):
        return [_inline(item, definitions) for item in schema]
    if not isinstance(schema, dict):
        return schema
    own = dict(schema)
    reference = own.pop("$ref", None)
    if reference is not None:
        own = _merge(definitions[reference.removeprefix("#/$defs/")], own)
        return _inline(own, definitions)
    own.pop("title", None)
    if own.get("additionalProperties") is False:
        del own["additionalProperties"]
    if isinstance(own.get("description"), str):
        own["description"] = _flow(own["description"])
    if own.get("type") == "array":
        own.setdefault("x-kubernetes-list-type", "atomic")
    if own.get("properties") == {}:
        del own["properties"]
    keys = sorted(own, key=lambda key: (_ORDER.index(key) if key in _ORDER else 99, key))
    return {key: _inline_member(key, own[key], definitions) for key in keys}


def _inline_member(key: str, value: Any, definitions: dict[str, Any]) -> Any:
    if key in _MAPS_OF_SCHEMAS:
        return {name: _inline(item, definitions) for name, item in value.items()}
    if key in ("default", "enum", "required"):
        return value
    return _inline(value, definitions)


def _merge(target: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    rules = "x-kubernetes-validations"
    merged = {**target, **own}
    if rules in target and rules in own and target[rules] is not own[rules]:
        merged[rules] = [*target[rules], *own[rules]]
    return merged


def _flow(text: str) -> str:
    """Prose without the source's line breaks; an empty line separates paragraphs."""
    paragraphs = text.split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
