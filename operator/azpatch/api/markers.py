"""What a model can say about its schema that pydantic has no word for.

A marker stands in `Annotated[...]`, or, for rules about a whole object, in the model's `RULES`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema


@dataclass(frozen=True)
class Rule:
    """A CEL rule. `message` names the field and the remedy: it is all that the writer sees."""

    rule: str
    message: str
    field_path: str = ""
    """The field that the error names, where it is not the one that the rule is about; as
    `.metadata.name`."""

    def __get_pydantic_json_schema__(
        self, core: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        schema = handler(core)
        add_rules(schema, (self,))
        return schema


def add_rules(schema: dict[str, Any], rules: tuple[Rule, ...]) -> None:
    """Append `rules` to a schema's validations."""
    if rules:
        own = schema.get("x-kubernetes-validations", [])
        schema["x-kubernetes-validations"] = [*own, *map(_validation, rules)]


def _validation(rule: Rule) -> dict[str, str]:
    written = {"rule": rule.rule, "message": rule.message}
    return {**written, "fieldPath": rule.field_path} if rule.field_path else written


@dataclass(frozen=True)
class Form:
    """The form of a text, in the place of the schema's `pattern`.

    The API server prints a pattern as it stands and nothing else, which tells a person little; a
    rule it refuses with `message`. Takes out a pattern that stands before it in the annotation.
    """

    pattern: str
    message: str

    def __get_pydantic_json_schema__(
        self, core: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        schema = handler(core)
        schema.pop("pattern", None)
        add_rules(schema, (Rule(f"self.matches(r'{self.pattern}')", self.message),))
        return schema


@dataclass(frozen=True)
class ListMap:
    """A list that several writers merge, item by item, by the field `key`."""

    key: str

    def __get_pydantic_json_schema__(
        self, core: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        schema = handler(core)
        schema["x-kubernetes-list-type"] = "map"
        schema["x-kubernetes-list-map-keys"] = [self.key]
        return schema


@dataclass(frozen=True)
class Column:
    """A column of `kubectl get`; the wide ones appear with `-o wide` only."""

    name: str
    path: str
    type: str = "string"
    description: str = ""
    wide: bool = False


def condition_column(type_: str, field: str = "status") -> str:
    """The JSON path of one field of the condition of type `type_`."""
    return f'.status.conditions[?(@.type=="{type_}")].{field}'
