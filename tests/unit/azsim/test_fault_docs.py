"""The page about faults and actions has every field that is read, and every operation."""

import re

import pytest
from pydantic import BaseModel

import fault_docs
from azsim.calls import Call
from azsim.faults import Delay, Fault
from azsim.meddling import Action


@pytest.mark.parametrize("model", [Fault, Delay, Action], ids=lambda model: model.__name__)
def test_every_field_is_named(model: type[BaseModel]) -> None:
    section = fault_docs.page().partition(f"\n## {model.__name__}\n")[2].partition("\n## ")[0]
    named = re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)

    assert named == [field.alias or name for name, field in model.model_fields.items()]


@pytest.mark.parametrize("call", Call)
def test_every_operation_is_named(call: Call) -> None:
    section = fault_docs.page().partition("\n## Operations\n")[2].partition("\n## ")[0]

    assert f"`{call.value}`" in section
