"""Asks the operator's own decisions about machines that nobody has in an inventory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from operator import attrgetter

from azpatch.api.common import DetectedState, MachineKind, OperationName, OsType, Support
from azpatch.api.subscription import FeatureState
from azpatch.domain.arc import unless_accepted
from azpatch.domain.detection import Detection, assumed
from azpatch.domain.facts import ImageDefinition, ImageReference, Machine
from azpatch.domain.feature import FeatureGate, assumed_gate
from azpatch.domain.image import built_from, classify, with_os_type
from azpatch.domain.matrix import Matrix
from azpatch.domain.os_type import only_assessed
from azpatch.domain.verdict import Ruling, verdicts
from azpatch.domain.verdict_row import SupportEvidence
from azpatch.domain.verdict_source import source_of
from azpatch.domain.verdict_table import PATCHING
from azpatch.domain.words import sentences
from azpatch.domain.workload import excluded
from azpatch.support.answers import Answer, OperationAnswer, Source
from azpatch.support.reading import Named


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What holds for all that is asked about in one call."""

    matrix: Matrix
    gate: FeatureGate | None
    detection: Detection

    @classmethod
    def of(
        cls, matrix: Matrix, feature: FeatureState | None, detected: DetectedState | None
    ) -> Circumstances:
        """The feature's state and what Azure detected, as far as they were told."""
        needed = matrix.preview_feature
        gate = None if needed is None else assumed_gate(needed, feature)
        return cls(matrix, gate, assumed(detected))


class Judge:
    """Answers under the same circumstances. What is said of machines of one kind is made once:
    thousands of machines are of a few dozen kinds."""

    def __init__(self, around: Circumstances, definitions: Mapping[str, ImageDefinition]) -> None:
        """`definitions` by key."""
        self._around = around
        self._definitions = definitions
        self._said: dict[tuple[object, ...], dict[OperationName, OperationAnswer]] = {}

    def answer(self, asked: Named) -> Answer:
        """The verdicts on a machine, as the operator has them for a policy that sets neither
        onUndeterminedSupport nor probeUnsupported."""
        image = classify(asked.machine, self._definitions)
        machine = with_os_type(asked.machine, image)
        workload = excluded(machine)
        kind = (image, workload, *_WHAT_IT_IS(machine))
        if kind not in self._said:
            evidence = SupportEvidence(
                machine=machine,
                image=image,
                matrix=self._around.matrix,
                workload=workload,
                gate=self._around.gate,
                detection=self._around.detection,
            )
            self._said[kind] = _operations(evidence)
        return Answer(
            id=asked.id,
            name=asked.name,
            os=machine.os_type,
            image_class=image.image_class,
            image_reference=image.reference,
            evidence=image.evidence,
            confidence=image.confidence,
            operations=self._said[kind],
        )


_WHO_IT_IS = frozenset(
    {
        "id",
        "vm_id",
        "location",
        "time_created",
        "power_state",
        "tags",
        "zones",
        "availability_set",
        "computer_name",
    }
)
"""What tells one machine from another of its kind. The image's class and the excluded workload, to
which some of it leads, are looked at apart."""

_WHAT_IT_IS = attrgetter(*(f.name for f in fields(Machine) if f.name not in _WHO_IT_IS))


def _operations(evidence: SupportEvidence) -> dict[OperationName, OperationAnswer]:
    return {
        ruling.operation: OperationAnswer(
            verdict=ruling.support,
            reason=ruling.reason,
            message=sentences(ruling.message, _held_up(ruling, evidence.machine)),
            source=Source(**asdict(source_of(ruling, evidence))),
        )
        for ruling in verdicts(evidence)
    }


def _held_up(ruling: Ruling, machine: Machine) -> str:
    """What keeps the operator from what Azure supports."""
    if ruling.support is Support.SUPPORTED and machine.kind is MachineKind.ARC_SERVER:
        return unless_accepted(1)
    # A plan or a definition is no machine yet, and has an empty id.
    unknown = machine.os_type is None and bool(machine.id)
    if unknown and (ruling.operation, ruling.support) == (PATCHING, Support.SUPPORTED):
        return only_assessed(None)
    return ""


def of_plan(publisher: str, offer: str, sku: str, os_type: OsType | None) -> Named:
    """A machine from a marketplace image."""
    reference = ImageReference(publisher=publisher, offer=offer, sku=sku)
    return Named(None, f"{publisher}:{offer}:{sku}", _new(reference, os_type))


def of_definition(name: str, definition: ImageDefinition) -> Named:
    """A machine that Azure makes from a gallery image: it gives a computer name to one that was
    generalized, and to no other."""
    generalized = definition.os_state.lower() == "generalized"
    reference = ImageReference(id=definition.id)
    machine = _new(reference, definition.os_type, name if generalized else None)
    return Named(definition.id, name, machine)


def used(asked: Named) -> str | None:
    """Key of the image definition that the machine was built from, if it was from one."""
    image = built_from(asked.machine)
    return None if image is None else image.definition


def _new(
    reference: ImageReference, os_type: OsType | None, computer_name: str | None = None
) -> Machine:
    return Machine(
        id="",
        vm_id="",
        location="",
        os_type=os_type,
        image=reference,
        computer_name=computer_name,
    )
