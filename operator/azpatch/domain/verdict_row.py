"""Which row of the decision table is about a machine, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass

from azpatch.api.common import ImageClass, OperationName, Support
from azpatch.api.install import UndeterminedSupport
from azpatch.domain import arc, marketplace
from azpatch.domain.detection import Detection, Sign
from azpatch.domain.facts import ImageReference, Machine
from azpatch.domain.feature import FeatureGate, Gate
from azpatch.domain.image import Image
from azpatch.domain.matrix import Matrix
from azpatch.domain.verdict_table import ON_DEMAND, PERIODIC, TABLE, Answer, Row
from azpatch.domain.workload import ExcludedWorkload


@dataclass(frozen=True, slots=True)
class SupportEvidence:
    """All that a verdict is made of, except the operation."""

    machine: Machine
    image: Image
    matrix: Matrix
    workload: ExcludedWorkload | None
    gate: FeatureGate | None
    """None where the matrix revision has none."""
    detection: Detection
    row_awaited: bool = False
    """Our last assessment succeeded, and its row has not appeared in Resource Graph."""
    on_undetermined: UndeterminedSupport = UndeterminedSupport.WAIT
    probe_unsupported: bool = False
    compute_registered: bool = False
    """Microsoft.Compute is seen to be registered in the machine's subscription: there is a virtual
    machine. Arc-enabled servers only."""
    installed: bool = False
    """An install of ours has ended on it, and no assessment since."""

    @property
    def marketplace_answer(self) -> marketplace.Answer:
        """What the rules say about the machine's marketplace image."""
        rules = self.matrix.marketplace_rules
        return marketplace.judge(rules, self._reference, self.machine.os_type)

    @property
    def patched_automatically(self) -> bool:
        """Whether automatic guest patching serves the machine's marketplace image."""
        return marketplace.patched_automatically(
            self.matrix.automatic_guest_patching, self._reference
        )

    @property
    def _reference(self) -> ImageReference:
        return self.machine.image or ImageReference()


def answer(operation: OperationName, evidence: SupportEvidence) -> Answer:
    """What the decision table says about the operation on the machine."""
    return TABLE[row_of(operation, evidence)][operation][evidence.detection.sign]


def row_of(operation: OperationName, evidence: SupportEvidence) -> Row:
    """The row that decides."""
    if evidence.workload is not None:
        return Row.EXCLUDED_WORKLOAD
    match evidence.image.image_class:
        case ImageClass.MARKETPLACE:
            return _marketplace_row(evidence)
        case ImageClass.UNKNOWN if evidence.matrix.serves_every_custom_image:
            return Row.UNKNOWN_CUSTOM_IMAGE
        case ImageClass.UNKNOWN:
            return Row.UNKNOWN_IMAGE
        case ImageClass.NOT_APPLICABLE:
            return _arc_row(operation, evidence)
        case image_class:
            return _row_by_matrix(image_class, operation, evidence)


def _arc_row(operation: OperationName, evidence: SupportEvidence) -> Row:
    if operation in ON_DEMAND and arc.cut_off(evidence.machine) is not None:
        return Row.ARC_CUT_OFF
    if operation is PERIODIC and not evidence.compute_registered:
        return Row.ARC_COMPUTE_NOT_SEEN
    return Row.NO_IMAGE


def _marketplace_row(evidence: SupportEvidence) -> Row:
    match evidence.marketplace_answer.support:
        case Support.SUPPORTED if evidence.patched_automatically:
            return Row.MARKETPLACE_LISTED
        case Support.SUPPORTED:
            return Row.MARKETPLACE_ALLOWED
        case Support.UNSUPPORTED:
            return Row.MARKETPLACE_DENIED
        case Support.UNKNOWN:
            return Row.MARKETPLACE_NO_RULE


def _row_by_matrix(
    image_class: ImageClass, operation: OperationName, evidence: SupportEvidence
) -> Row:
    if evidence.matrix.support(image_class, operation) is not Support.SUPPORTED:
        return Row.MATRIX_UNSUPPORTED
    # An assessment that Azure carried out proves the feature, whatever its registration says, and
    # that it serves the operating system. So does an install, whose assessment is still due.
    proved = evidence.detection.sign in {Sign.SUPPORTED, Sign.SUCCEEDED}
    if proved or (evidence.installed and evidence.detection.sign is Sign.NONE):
        return Row.MATRIX_SUPPORTED
    if evidence.matrix.needs_feature(image_class):
        assert evidence.gate is not None
        match evidence.gate.gate:
            case Gate.CLOSED:
                return Row.GALLERY_GATE_CLOSED
            case Gate.UNDETERMINED:
                return Row.GALLERY_GATE_UNDETERMINED
            case Gate.PASSED:
                pass
    machine = evidence.machine
    if evidence.matrix.lists(machine.os_name, machine.os_version) is False:
        return Row.SYSTEM_NOT_LISTED
    return Row.MATRIX_SUPPORTED
