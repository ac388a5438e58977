"""The page about the fleet file has every field that is read."""

import re

import pytest
from pydantic import BaseModel

import fleet_docs
from azsim import fleet

MODELS = [
    each
    for each in vars(fleet).values()
    if isinstance(each, type) and issubclass(each, fleet.Model) and each is not fleet.Model
]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_field_of_a_fleet_file_is_named(model: type[BaseModel]) -> None:
    section = fleet_docs.page().partition(f"\n## {model.__name__}\n")[2].partition("\n## ")[0]
    named = re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)

    assert named == [field.alias or name for name, field in model.model_fields.items()]


@pytest.mark.parametrize(
    "row",
    [
        pytest.param("| `name` | text | **required** |", id="a required field"),
        pytest.param("| `osType` | `Linux` \\| `Windows` | `Linux` |", id="a choice"),
        pytest.param("| `registeringTakes` | duration | `15m` |", id="a duration"),
        pytest.param("| `created` | time |  |", id="a time without a default"),
        pytest.param("| `missing` | list of Patch |  |", id="objects of another table"),
        pytest.param(
            "| `roleAssignments` | list of RoleAssignment | one with role: `Owner` |",
            id="a default that is an object",
        ),
    ],
)
def test_a_row_says_type_and_default_in_words_of_the_file(row: str) -> None:
    assert f"\n{row}\n" in fleet_docs.page()
