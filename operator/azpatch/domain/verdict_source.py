"""Where a verdict comes from: the document, or whose finding, that decided."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from azpatch.api.common import ImageClass, OperationName, Support
from azpatch.api.reasons import Reason
from azpatch.domain.data_files import DatedData
from azpatch.domain.marketplace import automatic_images, rules
from azpatch.domain.verdict import Ruling
from azpatch.domain.verdict_row import SupportEvidence


class SourceKind(StrEnum):
    """What a verdict can come from."""

    SUPPORT_MATRIX = "SupportMatrix"
    MARKETPLACE_RULES = "MarketplaceRules"
    AUTOMATIC_IMAGES = "AutomaticGuestPatchingImages"
    UNSUPPORTED_WORKLOADS = "UnsupportedWorkloads"
    DETECTED_STATE = "DetectedState"
    AZURE_ARC = "AzureArc"


@dataclass(frozen=True, slots=True)
class VerdictSource:
    """What decided."""

    kind: SourceKind
    title: str
    document: str | None = None
    """Repository and path. None: it is Azure's own finding."""
    date: date | None = None
    revision: str | None = None
    """The data's, where it ships with azpatch."""
    rule: str | None = None
    """The marketplace rule, as `publisher:offer:sku`, and what it excepts."""


_WORKLOADS = VerdictSource(
    SourceKind.UNSUPPORTED_WORKLOADS,
    "Unsupported workloads for Azure Update Manager",
    "MicrosoftDocs/azure-docs, articles/update-manager/unsupported-workloads.md",
    date(2025, 2, 26),
)
_DETECTED = VerdictSource(SourceKind.DETECTED_STATE, "What Azure detected by an assessment")
_ARC = VerdictSource(SourceKind.AZURE_ARC, "What Azure Arc reports of the server")

_BY_DETECTION = frozenset(
    {
        Reason.DETECTED_SUPPORTED,
        Reason.DETECTED_UNSUPPORTED,
        Reason.ASSESSED_SUCCESSFULLY,
        Reason.TRIED_UNDETERMINED,
        Reason.UNABLE_TO_DETERMINE,
    }
)


def source_of(ruling: Ruling, evidence: SupportEvidence) -> VerdictSource:
    """What the ruling on this evidence comes from: what its message speaks of first."""
    image_class = evidence.image.image_class
    if evidence.workload is not None:
        return _WORKLOADS
    if image_class is ImageClass.NOT_APPLICABLE:
        return _ARC
    if ruling.reason in _BY_DETECTION:
        return _DETECTED
    if image_class is not ImageClass.MARKETPLACE:
        return _of(SourceKind.SUPPORT_MATRIX, evidence.matrix)
    answer = evidence.marketplace_answer
    automatic = ruling.operation is OperationName.AUTOMATIC_GUEST_PATCHING
    if automatic and answer.support is not Support.UNSUPPORTED:
        listed = automatic_images(evidence.matrix.automatic_guest_patching)
        return _of(SourceKind.AUTOMATIC_IMAGES, listed)
    allowed = rules(evidence.matrix.marketplace_rules)
    return _of(SourceKind.MARKETPLACE_RULES, allowed, answer.rule)


def _of(kind: SourceKind, data: DatedData, rule: str | None = None) -> VerdictSource:
    source = data.source
    return VerdictSource(kind, source.title, source.document, source.date, data.revision, rule)
