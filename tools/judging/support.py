"""5: nothing is sent to a machine that the support matrix, or Azure itself, does not allow.

An assessment is never sent where the matrix says Unsupported, unless the policy asked to probe or
Azure had found the machine supported; an install never where the verdict is not Supported, and
where Azure could not determine support only by `onUndeterminedSupport: Try`. Judged by what the
machine really is, by the documents (`documents`) and by what assessments had found until then, with
none of the operator's own rules.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Literal

from judging.azure_journal import Journal, Kind, Operation
from judging.documents import ASSESSMENT, PATCHING, Document

Found = Literal["nothing", "an install", "Supported", "Unsupported", "UnableToDetermine", "silence"]
"""What assessments had shown of a machine: nothing yet, or Azure's words, or that one succeeded
and said nothing of support. And to who assesses, that an install has ended since, as on a machine
that was made anew under the look before it: somebody must see what became of it."""

Gate = Literal["open", "closed", "unknown"]
"""The preview feature of the machine's subscription. Unknown: none or several might be meant, or
Azure refuses to tell."""

ANY: frozenset[Found] = frozenset(
    {"nothing", "an install", "Supported", "Unsupported", "UnableToDetermine", "silence"}
)
SUPPORTED: frozenset[Found] = frozenset({"Supported"})
SUCCEEDED: frozenset[Found] = frozenset({"Supported", "silence"})
"""An assessment succeeded, and Azure does not doubt the machine."""
INSTALLED: frozenset[Found] = frozenset({"an install"})
UNDETERMINED: frozenset[Found] = frozenset({"UnableToDetermine"})
NEVER: frozenset[Found] = frozenset()


@dataclass(frozen=True)
class Truth:
    """What a machine is, as only who made it knows."""

    image_class: str
    os_type: str = "Linux"
    marketplace: tuple[str, str, str] | None = None
    """Publisher, offer and SKU of a marketplace image."""
    excluded: bool = False
    """It belongs to a workload that guest patching does not serve."""
    os_name: str | None = None
    """What the VM agent reports."""
    os_version: str | None = None
    detects: Found = "Supported"
    """What an assessment of it shows: Unsupported by one that fails, all else by one that succeeds.
    """


@dataclass(frozen=True)
class Circumstances:
    """What people declared, and the preview feature."""

    document: Document
    gate: Gate = "open"
    probe: bool = False
    """The policy's assessment.probeUnsupported."""
    tried: bool = False
    """The policy's install.onUndeterminedSupport is Try."""
    billed: bool = True
    """The AzureSubscription accepts what Azure charges for Arc-enabled servers."""


ARC = "NotApplicable"
"""The image class of an Azure Arc-enabled server. Nothing is detected there."""


def allowing(kind: Kind, truth: Truth, around: Circumstances) -> frozenset[Found]:
    """The findings on which the operation may be sent: a row of the decision table."""
    if truth.excluded:
        return NEVER
    if truth.image_class == ARC:
        return ANY if around.billed else NEVER
    return _assessment(truth, around) if kind == "Assess" else _install(truth, around)


def _assessment(truth: Truth, around: Circumstances) -> frozenset[Found]:
    document, image_class = around.document, truth.image_class
    if truth.marketplace is not None:
        denied = document.says_of(truth.marketplace, truth.os_type) == "denied"
        return SUPPORTED if denied else ANY
    if image_class == "Unknown":
        return ANY
    if not document.serves(image_class, ASSESSMENT):
        return ANY if around.probe else SUPPORTED
    closed = document.needs_feature(image_class) and around.gate == "closed"
    return SUCCEEDED | INSTALLED if closed else ANY


def _install(truth: Truth, around: Circumstances) -> frozenset[Found]:
    document, image_class = around.document, truth.image_class
    tried = UNDETERMINED if around.tried else NEVER
    if truth.marketplace is not None:
        match document.says_of(truth.marketplace, truth.os_type):
            case "allowed":
                return ANY - {"Unsupported"}
            case "denied":
                return SUPPORTED
            case "no rule":
                return SUCCEEDED
    if image_class == "Unknown":
        if document.serves_all_alike:
            return SUCCEEDED | tried
        return SUCCEEDED | tried if around.tried else SUPPORTED
    if not document.serves(image_class, PATCHING):
        return SUPPORTED
    gated = document.needs_feature(image_class) and around.gate != "open"
    if gated or document.excludes_system(truth.os_name, truth.os_version):
        return SUCCEEDED
    return SUCCEEDED | tried


@dataclass(frozen=True)
class Case:
    """A machine in circumstances that do not change."""

    machine: str
    truth: Truth
    around: Circumstances
    assessed_before: bool = False
    """An assessment was there before the journal began."""


def support_kept(journal: Journal, cases: Iterable[Case], ours: Collection[str]) -> list[str]:
    """Every request of ours was allowed by what had been found until it arrived."""
    operations: dict[str, list[Operation]] = {}
    for operation in journal.operations():
        operations.setdefault(operation.machine, []).append(operation)
    known = {case.machine.lower(): case for case in cases}
    broken = []
    for request in journal.requests(ours):
        if request.patches is None or request.patches[0] not in known:
            continue
        machine, kind = request.patches
        case = known[machine]
        found = found_by(
            kind, operations.get(machine, ()), case.truth, request.number, case.assessed_before
        )
        if not found & allowing(kind, case.truth, case.around):
            broken.append(f"{request}: forbidden, {' and '.join(sorted(found))} was found")
    return broken


def found_by(
    kind: Kind,
    operations: Iterable[Operation],
    truth: Truth,
    until: int,
    assessed_before: bool = False,
    vm_id: str | None = None,
) -> frozenset[Found]:
    """What speaks for or against an operation when entry `until` was written. With `vm_id`, of the
    machine that has the name now."""
    shows = "Failed" if truth.detects == "Unsupported" else "Succeeded"
    ended = [
        one
        for one in operations
        if one.last is not None and one.last <= until and (vm_id is None or one.vm_id == vm_id)
    ]
    assessments = [one for one in ended if one.kind == "Assess" and one.status == shows]
    found: set[Found] = {truth.detects} if assessments or assessed_before else set()
    last = max(ended, key=lambda one: one.last or 0, default=None)
    if last is not None and last.kind == "Install" and (kind == "Assess" or not found):
        found.add("an install")
    return frozenset(found or {"nothing"})
