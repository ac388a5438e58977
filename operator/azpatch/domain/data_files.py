"""Reads the data that ships with azpatch, and holds its files to their models."""

from __future__ import annotations

from datetime import date
from importlib import resources
from typing import TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""For our own files: libyaml's, ten times as fast, where PyYAML was built with it."""

_PACKAGE = "azpatch.domain.data"


class Data(BaseModel):
    """A part of a file. A field that is not known is an error: data must not be lost."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        validate_by_name=True,
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
    )


class Source(Data):
    """The document that the data was taken from."""

    title: str = Field(min_length=1)
    document: str = Field(min_length=1)
    date: date


class DatedData(Data):
    """What every file begins with."""

    revision: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=40)
    """Of what ships with azpatch, the month of the source, which is also in the file's name."""
    source: Source


D = TypeVar("D", bound=DatedData)


def shipped(model: type[D], kind: str, name: str) -> D:
    """The data of this kind and revision. KeyError if none ships with azpatch."""
    if name not in names(kind):
        raise KeyError(name)
    text = resources.files(_PACKAGE).joinpath(f"{kind}-{name}.yaml").read_text(encoding="utf-8")
    data = model.model_validate(yaml.load(text, Loader=_LOADER))
    assert data.revision == name
    return data


def names(kind: str) -> tuple[str, ...]:
    """The revisions of this kind that ship with azpatch, oldest first."""
    files = (file.name for file in resources.files(_PACKAGE).iterdir())
    prefix, suffix = f"{kind}-", ".yaml"
    return tuple(
        sorted(
            file.removeprefix(prefix).removesuffix(suffix)
            for file in files
            if file.startswith(prefix) and file.endswith(suffix)
        )
    )


def parse(model: type[D], text: str) -> D:
    """Data from YAML that others wrote: pydantic.ValidationError with the path, yaml.YAMLError, or
    RecursionError, which libyaml would not survive."""
    return model.model_validate(yaml.safe_load(text))
