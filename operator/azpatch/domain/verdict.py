"""May this operation be sent to this machine? Matrix, workload, feature and detection, merged.

The decision table (verdict_table) answers, by the row that is about the machine (verdict_row); here
the answer is put into words.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from azpatch.api.common import ImageClass, OperationName, Support
from azpatch.api.install import UndeterminedSupport
from azpatch.api.reasons import Reason
from azpatch.api.target import Verdict
from azpatch.domain.arc import cut_off
from azpatch.domain.detection import Sign
from azpatch.domain.outcome import NOT_SENT
from azpatch.domain.verdict_row import SupportEvidence, row_of
from azpatch.domain.verdict_table import (
    ASSESSMENT,
    AUTOMATIC,
    PATCHING,
    PERIODIC,
    SCHEDULED,
    TABLE,
    Answer,
    Row,
)
from azpatch.domain.words import at


@dataclass(frozen=True, slots=True)
class Ruling:
    """The verdict on one operation, and the rule that decided it."""

    operation: OperationName
    support: Support
    """Unknown: it waits for evidence."""
    reason: Reason
    message: str
    """What was decided and why, what happens next, what a person can do."""
    probe: bool = False
    """Assessments only: sent so that Azure judges the machine, even where it is Unsupported."""

    @property
    def may_send(self) -> bool:
        """Whether the operation may be sent now."""
        return self.support is Support.SUPPORTED or self.probe

    def to_status(self, *, used: bool) -> Verdict:
        """The entry of PatchTarget.status.verdicts. `used`: the policy relies on the operation."""
        told = used and self.support is not Support.SUPPORTED
        return Verdict(
            operation=self.operation,
            verdict=self.support,
            reason=self.reason,
            message=self.message if told else None,
        )


def verdicts(evidence: SupportEvidence) -> tuple[Ruling, ...]:
    """The verdicts on all operations, in the order of the matrix."""
    return tuple(verdict(operation, evidence) for operation in OperationName)


def verdict(operation: OperationName, evidence: SupportEvidence) -> Ruling:
    """Whether the operation may be sent to the machine."""
    row = row_of(operation, evidence)
    sign = evidence.detection.sign
    match TABLE[row][operation][sign]:
        case Answer.SEND:
            return _supported(operation, row, evidence)
        case Answer.PROBE:
            return _probe(operation, row, evidence)
        case Answer.REFUSE:
            return _refused(operation, row, evidence, probe=False)
        case Answer.REPROBE:
            return _refused(operation, row, evidence, probe=evidence.detection.probe_due)
        case Answer.IF_ASKED:
            due = sign is not Sign.UNSUPPORTED or evidence.detection.probe_due
            return _refused(operation, row, evidence, probe=evidence.probe_unsupported and due)
        case Answer.KNOB if evidence.on_undetermined is UndeterminedSupport.TRY:
            return _tried(operation)
        case Answer.KNOB | Answer.WAIT:
            return _waiting(operation, row, evidence)


# --- in words -----------------------------------------------------------------------------------

_INSTEAD: Mapping[OperationName, tuple[OperationName, str]] = {
    PERIODIC: (ASSESSMENT, "Set assessment.mode to Operator."),
    SCHEDULED: (PATCHING, "Set install.executor to Operator, with the same windows."),
    AUTOMATIC: (PATCHING, "Give the policy a schedule, and install.executor Operator."),
}
"""What a policy can use in place of an operation that the platform runs, and how."""

_BY_RULE = frozenset({Row.MARKETPLACE_ALLOWED, Row.MARKETPLACE_LISTED})

_WHAT_DETECTION_NEEDS = (
    "Azure judges by the operating system and its version: see whether it is one that Azure "
    "Update Manager supports, and whether the VM agent can run its patch extension."
)


def _supported(operation: OperationName, row: Row, evidence: SupportEvidence) -> Ruling:
    sign = evidence.detection.sign
    if operation is AUTOMATIC:
        reason = Reason.MATRIX_SUPPORTED
        message = f"{_automatic_list(evidence)} has this image."
    elif row is Row.NO_IMAGE:
        reason = Reason.ARC_SERVER_SUPPORTED
        message = f"{operation} serves every Azure Arc-enabled server."
    elif sign is Sign.SUPPORTED:
        reason = Reason.DETECTED_SUPPORTED
        message = f"Azure found{_when(evidence)} that it can patch this machine."
    elif sign is Sign.SUCCEEDED and TABLE[row][operation][Sign.NONE] is Answer.WAIT:
        reason = Reason.ASSESSED_SUCCESSFULLY
        message = "An assessment succeeded, which is the evidence that Azure can patch it."
    else:
        reason = Reason.MATRIX_SUPPORTED
        message = _listed_as_supported(operation, row, evidence)
    return Ruling(operation, Support.SUPPORTED, reason, message)


def _listed_as_supported(operation: OperationName, row: Row, evidence: SupportEvidence) -> str:
    if row in _BY_RULE:
        return f"{_rules(evidence)} allow this image ({evidence.marketplace_answer.rule})."
    preview = ", as a preview" if evidence.image.image_class in evidence.matrix.preview else ""
    return f"{_matrix(evidence)} supports {operation} on {_images(evidence)}{preview}."


def _probe(operation: OperationName, row: Row, evidence: SupportEvidence) -> Ruling:
    why = {
        Row.GALLERY_GATE_UNDETERMINED: "It is not clear whether the preview feature is registered",
        Row.MARKETPLACE_NO_RULE: f"{_rules(evidence)} have no rule for this image",
        Row.SYSTEM_NOT_LISTED: _system_not_listed(evidence),
    }.get(row, "What the machine was built from is not known")
    message = f"{why}: the assessment is itself the check of support."
    return Ruling(operation, Support.SUPPORTED, Reason.PROBE, message, probe=True)


def _tried(operation: OperationName) -> Ruling:
    message = (
        "Azure could not determine whether it can patch this machine; it is tried, because "
        "install.onUndeterminedSupport is Try."
    )
    return Ruling(operation, Support.SUPPORTED, Reason.TRIED_UNDETERMINED, message)


def _refused(
    operation: OperationName, row: Row, evidence: SupportEvidence, *, probe: bool
) -> Ruling:
    by_detection = evidence.detection.sign is Sign.UNSUPPORTED
    if evidence.workload is not None:
        reason, message = evidence.workload.reason, evidence.workload.message
    elif row is Row.NO_IMAGE:
        reason, message = _not_on_arc(operation)
    elif row is Row.GALLERY_GATE_CLOSED:
        reason, message = _gate_closed(evidence)
    elif by_detection and (_lifted_otherwise(operation, row) or _judged(operation, evidence)):
        reason, message = _detected_unsupported(evidence)
    elif row is Row.MARKETPLACE_DENIED:
        reason, message = _denied_by_rule(evidence)
    elif operation is AUTOMATIC and evidence.image.image_class is ImageClass.MARKETPLACE:
        reason, message = _not_on_the_list(evidence)
    else:
        reason, message = _image_not_supported(operation, evidence)
    return Ruling(operation, Support.UNSUPPORTED, reason, message, probe=probe)


def _lifted_otherwise(operation: OperationName, row: Row) -> bool:
    """Whether the operation is refused for what Azure detected, and for that alone."""
    return TABLE[row][operation][Sign.NONE] not in {Answer.REFUSE, Answer.IF_ASKED}


def _judged(operation: OperationName, evidence: SupportEvidence) -> bool:
    """Whether the policy asked for Azure's judgement, so that this is what it is told."""
    return evidence.probe_unsupported and operation in {ASSESSMENT, PATCHING}


def _not_on_arc(operation: OperationName) -> tuple[Reason, str]:
    return Reason.ARC_SERVER_UNSUPPORTED, (
        f"{operation} is for virtual machines: an Azure Arc-enabled server has no patch mode. "
        f"{_INSTEAD[operation][1]}"
    )


def _gate_closed(evidence: SupportEvidence) -> tuple[Reason, str]:
    assert evidence.gate is not None
    return Reason.PREVIEW_FEATURE_NOT_REGISTERED, evidence.gate.message


def _detected_unsupported(evidence: SupportEvidence) -> tuple[Reason, str]:
    status = evidence.detection.status
    again = ""
    if evidence.detection.probe_due:
        again = " It is assessed once more now, to let Azure judge again."
    elif status is not None and status.next_probe_time is not None:
        again = f" Azure is asked again at {at(status.next_probe_time)}."
    return Reason.DETECTED_UNSUPPORTED, (
        f"Azure found{_when(evidence)} that it cannot patch this machine.{again} "
        f"{_WHAT_DETECTION_NEEDS}"
    )


def _denied_by_rule(evidence: SupportEvidence) -> tuple[Reason, str]:
    return Reason.IMAGE_NOT_SUPPORTED, (
        f"{_rules(evidence)} except this image ({evidence.marketplace_answer.rule}). Nothing is "
        "sent, unless an assessment by someone else finds that Azure can patch it. Rebuild it from "
        "an image that the rules allow."
    )


def _not_on_the_list(evidence: SupportEvidence) -> tuple[Reason, str]:
    return Reason.IMAGE_NOT_SUPPORTED, (
        f"{_automatic_list(evidence)} does not have {evidence.image.reference}. "
        f"{_INSTEAD[AUTOMATIC][1]}"
    )


def _image_not_supported(operation: OperationName, evidence: SupportEvidence) -> tuple[Reason, str]:
    image_class = evidence.image.image_class
    instead = _INSTEAD.get(operation)
    if instead is not None and evidence.matrix.support(image_class, instead[0]) is not (
        Support.UNSUPPORTED
    ):
        remedy = instead[1]
    elif evidence.probe_unsupported:
        remedy = (
            "It is assessed all the same, because assessment.probeUnsupported is true; if Azure "
            "finds that it can patch it, so will azpatch."
        )
    else:
        remedy = (
            "Nothing is sent. Rebuild it from an Azure Compute Gallery image, or set "
            "assessment.probeUnsupported to let Azure judge it by an assessment."
        )
    listed = evidence.matrix.support(image_class, operation) is Support.UNSUPPORTED
    says = "says that Azure does not support" if listed else "does not list"
    return Reason.IMAGE_NOT_SUPPORTED, (
        f"{_matrix(evidence)} {says} {operation} on {_images(evidence)}. {remedy}"
    )


def _waiting(operation: OperationName, row: Row, evidence: SupportEvidence) -> Ruling:
    reason, message = _why_waiting(row, evidence)
    return Ruling(operation, Support.UNKNOWN, reason, message)


def _why_waiting(row: Row, evidence: SupportEvidence) -> tuple[Reason, str]:
    if row is Row.ARC_CUT_OFF:
        reason = cut_off(evidence.machine)
        assert reason is not None
        return reason, NOT_SENT[reason].message
    if row is Row.ARC_COMPUTE_NOT_SEEN:
        return Reason.COMPUTE_NOT_SEEN, (
            "Azure assesses Azure Arc-enabled servers periodically where the resource provider "
            "Microsoft.Compute is registered in their subscription; no virtual machine there shows "
            f"that it is. {_INSTEAD[PERIODIC][1]}"
        )
    if evidence.row_awaited and evidence.detection.sign is Sign.NONE:
        return Reason.WAITING_FOR_RESOURCE_GRAPH, (
            "An assessment succeeded; what it detected has not appeared in Azure Resource Graph, "
            "which is asked again until it has. That is usually a matter of minutes."
        )
    if row is Row.GALLERY_GATE_UNDETERMINED:
        assert evidence.gate is not None
        return Reason.PREVIEW_FEATURE_UNDETERMINED, evidence.gate.message
    if evidence.detection.sign is Sign.NONE:
        return Reason.NOT_ASSESSED, (
            "No assessment that counts says whether Azure can patch this machine. The next one "
            "decides; it is sent as soon as the machine runs and its agent is ready."
        )
    again = "Azure judges again with every assessment."
    undetermined = f"and Azure could not determine whether it can patch the machine. {again}"
    if row is Row.MARKETPLACE_NO_RULE:
        return Reason.NO_MARKETPLACE_RULE, (
            f"{_rules(evidence)} have no rule for this image, {undetermined}"
        )
    if row is Row.SYSTEM_NOT_LISTED:
        return Reason.SYSTEM_NOT_LISTED, f"{_system_not_listed(evidence)}, {undetermined}"
    if row in {Row.UNKNOWN_IMAGE, Row.UNKNOWN_CUSTOM_IMAGE}:
        return Reason.IMAGE_UNKNOWN, (
            f"What the machine was built from is not known. {evidence.image.evidence} Azure has "
            f"not found it supported. {again} Set install.onUndeterminedSupport to Try to install "
            "all the same."
        )
    return Reason.UNABLE_TO_DETERMINE, (
        f"Azure could not determine whether it can patch this machine. {again} Set "
        "install.onUndeterminedSupport to Try to install all the same."
    )


def _matrix(evidence: SupportEvidence) -> str:
    return f"Support matrix {evidence.matrix.revision}"


def _rules(evidence: SupportEvidence) -> str:
    return f"The marketplace rules of {evidence.matrix.marketplace_rules}"


def _automatic_list(evidence: SupportEvidence) -> str:
    return f"The list of automatic guest patching of {evidence.matrix.automatic_guest_patching}"


def _system_not_listed(evidence: SupportEvidence) -> str:
    reported = " ".join(filter(None, (evidence.machine.os_name, evidence.machine.os_version)))
    return f"{_matrix(evidence)} does not list {reported} for custom images"


_CLASS_IN_WORDS: Mapping[ImageClass, str] = {
    ImageClass.MARKETPLACE: "marketplace images",
    ImageClass.GALLERY_GENERALIZED: "generalized images of an Azure Compute Gallery",
    ImageClass.GALLERY_SPECIALIZED: "specialized images of an Azure Compute Gallery",
    ImageClass.NON_GALLERY: "images from outside an Azure Compute Gallery",
    ImageClass.UNKNOWN: "images that are not known",
    ImageClass.NOT_APPLICABLE: "machines without an Azure image",
}


def _images(evidence: SupportEvidence) -> str:
    return _CLASS_IN_WORDS[evidence.image.image_class]


def _when(evidence: SupportEvidence) -> str:
    status = evidence.detection.status
    return "" if status is None else f" at {at(status.time)}"
