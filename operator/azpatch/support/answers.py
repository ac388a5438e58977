"""The shape of what `azpatch support` answers, in JSON and YAML.

It is stable: fields may be added, what is there keeps its name and meaning. Every field is always
there, null where there is nothing to say. docs/support-command.schema.json is made from it.
"""

from __future__ import annotations

from datetime import date
from typing import Annotated

from pydantic import Field

from azpatch.api.common import ApiModel, Confidence, ImageClass, OperationName, OsType, Support
from azpatch.domain.verdict_source import SourceKind


class Source(ApiModel):
    """What a verdict comes from."""

    kind: SourceKind
    """SupportMatrix, MarketplaceRules, AutomaticGuestPatchingImages (its exact list) and
    UnsupportedWorkloads are documents of Microsoft's. DetectedState is what Azure found by an
    assessment, which `--detected` says. AzureArc is what Azure Arc reports of a server."""
    revision: str | None
    """The revision of the data, where it ships with azpatch."""
    title: str
    """The document's title."""
    document: str | None
    """Its repository and path. Null where it is no document."""
    date: date | None
    """Its date."""
    rule: str | None
    """The marketplace rule that decided, as publisher:offer:sku, and what it excepts."""


class OperationAnswer(ApiModel):
    """The verdict on one operation."""

    verdict: Support
    """Supported: azpatch may send it, or leave it to Azure. Unsupported: it never does. Unknown: it
    waits for evidence, mostly an assessment's."""
    reason: str
    """Why, in one word for programs: one of the reasons of docs/api.md."""
    message: str
    """Why, for a person, as on a PatchTarget: what was decided, what happens next, and at the end
    what can be done, where something can."""
    source: Source
    """What the verdict comes from."""


class Answer(ApiModel):
    """One machine, or one image, and the verdicts on it."""

    id: str | None
    """The ARM id, as it was given. Null for a marketplace image."""
    name: str
    """The machine's or image definition's name, or publisher:offer:sku."""
    os: OsType | None
    """The operating system. Null where nothing tells it."""
    image_class: ImageClass
    """What the machine was built from, as far as patching is concerned."""
    image_reference: str | None
    """The image's id, or publisher:offer:sku, as the model has it."""
    evidence: str
    """What the class was concluded from."""
    confidence: Confidence
    """High: Azure's own records say so. Medium: osProfile stands in for an image definition that is
    not at hand, or contradicts it. Low: nothing tells what the machine was built from."""
    operations: Annotated[dict[OperationName, OperationAnswer], Field(min_length=5)]
    """The verdict on each of the five operations."""
