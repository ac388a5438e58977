"""Kubernetes' label selector."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from azpatch.api.common import ApiModel
from azpatch.api.markers import Rule

LabelKey = Annotated[str, Field(min_length=1, max_length=317)]
LabelValue = Annotated[str, Field(max_length=63)]


class LabelOperator(StrEnum):
    """How a requirement compares a label."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


class LabelRequirement(ApiModel):
    """One requirement on one label."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "(self.operator in ['In', 'NotIn']) == (has(self.values) && size(self.values) > 0)",
            "values go with operator In or NotIn, which need at least one, and with no other",
        ),
    )

    key: LabelKey
    """The label's key."""
    operator: LabelOperator
    """In and NotIn compare with values; Exists and DoesNotExist look at the key only."""
    values: Annotated[tuple[LabelValue, ...], Field(max_length=20)] = ()
    """Values for In and NotIn."""


class LabelSelector(ApiModel):
    """A Kubernetes label selector. All that it lists must hold; empty, it matches everything."""

    match_labels: Annotated[dict[str, LabelValue], Field(max_length=20)] = Field(
        default_factory=dict
    )
    """Labels with exactly these values."""
    match_expressions: Annotated[tuple[LabelRequirement, ...], Field(max_length=20)] = ()
    """Requirements."""
