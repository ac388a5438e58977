"""The support matrix: image class by operation, in dated revisions that ship as data."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from functools import cache
from importlib import resources
from typing import Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from azpatch.api.common import ImageClass, OperationName, Support

REVISIONS = ("2023-05",)
"""The revisions that ship with azpatch, oldest first."""


class _Data(BaseModel):
    """A part of a revision's file. A field that is not known is an error: data must not be lost."""

    model_config = ConfigDict(
        alias_generator=to_camel, validate_by_name=True, frozen=True, extra="forbid"
    )


class Source(_Data):
    """The document that a revision was taken from."""

    title: str = Field(min_length=1)
    document: str = Field(min_length=1)
    date: date


class NeededFeature(_Data):
    """A preview feature that machines of some image classes need in their own subscription."""

    namespace: str = Field(min_length=1)
    display_name: str = Field(min_length=1)
    image_classes: frozenset[ImageClass]


class Operations(_Data):
    """What is supported for one image class: every operation stands on one side."""

    supported: frozenset[OperationName]
    unsupported: frozenset[OperationName]

    @model_validator(mode="after")
    def _each_operation_once(self) -> Self:
        twice = self.supported & self.unsupported
        missing = frozenset(OperationName) - self.supported - self.unsupported
        if twice or missing:
            raise ValueError(
                f"every operation stands on one side: twice {sorted(twice)}, "
                f"missing {sorted(missing)}"
            )
        return self


class Matrix(_Data):
    """One revision."""

    revision: str = Field(pattern=r"^\d{4}-\d{2}$")
    product: str = Field(min_length=1)
    source: Source
    preview_feature: NeededFeature | None = None
    image_classes: Mapping[ImageClass, Operations]

    def support(self, image_class: ImageClass, operation: OperationName) -> Support:
        """What the document says; Unknown where it does not decide the image class."""
        operations = self.image_classes.get(image_class)
        if operations is None:
            return Support.UNKNOWN
        return Support.SUPPORTED if operation in operations.supported else Support.UNSUPPORTED

    def needs_feature(self, image_class: ImageClass) -> bool:
        """Whether machines of this class depend on the preview feature."""
        feature = self.preview_feature
        return feature is not None and image_class in feature.image_classes


@cache
def revision(name: str) -> Matrix:
    """The revision of this name. KeyError if none ships with azpatch."""
    if name not in REVISIONS:
        raise KeyError(name)
    file = resources.files("azpatch.domain.data").joinpath(f"matrix-{name}.yaml")
    matrix = read(file.read_text(encoding="utf-8"))
    assert matrix.revision == name
    return matrix


def read(text: str) -> Matrix:
    """A revision from its YAML. pydantic.ValidationError, with the path, if it is not one."""
    return Matrix.model_validate(yaml.safe_load(text))
