"""May this operation be sent to this machine? The decision table, row by row.

The tables below are in the notation of the rule: for each sign S (may be sent), U (refused),
W (waits), knob (onUndeterminedSupport), probe (the assessment is the check), re-probe (refused,
but asked again from time to time), asked (refused unless probeUnsupported).
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from domain_builders import DAY, DEFINITION, MATRIX, NEEDED, NOW, READABLE

from azpatch.api.common import DetectedState, ImageClass, OperationName, Support
from azpatch.api.install import UndeterminedSupport
from azpatch.api.reasons import Reason
from azpatch.api.subscription import FeatureState, PreviewFeature
from azpatch.api.target import DetectedStatus
from azpatch.domain.detection import Detection, Sign
from azpatch.domain.facts import Feature
from azpatch.domain.feature import FeatureGate, Gate, feature_gate
from azpatch.domain.image import Image
from azpatch.domain.verdict import Ruling, SupportEvidence, verdict, verdicts
from azpatch.domain.workload import ExcludedWorkload

NAME = "VMGuestPatchGalleryX"


def a_gate(state: str | None) -> FeatureGate:
    features = () if state is None else (Feature(NAME, state),)
    return feature_gate(PreviewFeature(), NEEDED, features)


PASSED, CLOSED, UNDETERMINED = a_gate("Registered"), a_gate("NotRegistered"), a_gate(None)

_STATES = {
    Sign.SUPPORTED: DetectedState.SUPPORTED,
    Sign.SUCCEEDED: DetectedState.UNKNOWN,
    Sign.UNDETERMINED: DetectedState.UNABLE_TO_DETERMINE,
    Sign.UNSUPPORTED: DetectedState.UNSUPPORTED,
}


def detection(sign: Sign, *, probe_due: bool = False) -> Detection:
    if sign is Sign.NONE:
        return Detection(sign, None, row_counts=False, probe_due=False)
    status = DetectedStatus(
        state=_STATES[sign],
        time=NOW - DAY,
        image_reference=DEFINITION,
        next_probe_time=NOW if sign is Sign.UNSUPPORTED else None,
    )
    return Detection(sign, status, row_counts=True, probe_due=probe_due)


def case(
    image_class: ImageClass, sign: Sign, gate: FeatureGate = PASSED, *, probe_due: bool = False
) -> SupportEvidence:
    return SupportEvidence(
        image=Image(image_class, DEFINITION, "Because it says so."),
        matrix=MATRIX,
        workload=None,
        gate=gate,
        detection=detection(sign, probe_due=probe_due),
    )


ASSESS, PATCH, PERIODIC, SCHEDULED, AUTOMATIC = OperationName
SIGNS = {str(sign): sign for sign in Sign}

Table = tuple[str, ImageClass, FeatureGate, tuple[str, str, str, str, str]]

BY_DETECTION = "D+ D0 S; D? knob; D- U; D∅ W"
NO_RULE = "D+ D0 S; D? D∅ W; D- U"
TABLE: tuple[Table, ...] = (
    (
        "Marketplace, no rule",
        ImageClass.MARKETPLACE,
        CLOSED,
        ("probe; D- re-probe", NO_RULE, NO_RULE, NO_RULE, "U"),
    ),
    (
        "GalleryGeneralized, gate passed",
        ImageClass.GALLERY_GENERALIZED,
        PASSED,
        ("S; D- re-probe", BY_DETECTION, "S; D- U", BY_DETECTION, "U"),
    ),
    (
        "GallerySpecialized, gate passed",
        ImageClass.GALLERY_SPECIALIZED,
        PASSED,
        ("S; D- re-probe", BY_DETECTION, "U", "U", "U"),
    ),
    (
        # D+ and D0 prove the feature: the gate counts as passed.
        "GalleryGeneralized, gate closed",
        ImageClass.GALLERY_GENERALIZED,
        CLOSED,
        ("U; D+ D0 S", "U; D+ D0 S", "U; D+ D0 S", "U; D+ D0 S", "U"),
    ),
    (
        "GallerySpecialized, gate closed",
        ImageClass.GALLERY_SPECIALIZED,
        CLOSED,
        ("U; D+ D0 S", "U; D+ D0 S", "U", "U", "U"),
    ),
    (
        "GalleryGeneralized, gate undetermined",
        ImageClass.GALLERY_GENERALIZED,
        UNDETERMINED,
        (
            "probe; D+ D0 S; D- re-probe",
            "W; D+ D0 S; D- U",
            "W; D+ D0 S; D- U",
            "W; D+ D0 S; D- U",
            "U",
        ),
    ),
    (
        "GallerySpecialized, gate undetermined",
        ImageClass.GALLERY_SPECIALIZED,
        UNDETERMINED,
        ("probe; D+ D0 S; D- re-probe", "W; D+ D0 S; D- U", "U", "U", "U"),
    ),
    ("NonGallery", ImageClass.NON_GALLERY, CLOSED, ("asked; D+ S", "D+ S; U", "U", "U", "U")),
    (
        "Unknown",
        ImageClass.UNKNOWN,
        CLOSED,
        (
            "probe; D- re-probe",
            "D+ S; D0 D? knob; D- U; D∅ W",
            "D+ S; D- U; W",
            "D+ S; D- U; W",
            "U",
        ),
    ),
    ("NotApplicable", ImageClass.NOT_APPLICABLE, PASSED, ("W", "W", "W", "W", "W")),
)


def answer(cell: str, sign: Sign) -> str:
    """What a cell says of a sign: a clause that names it, else the clause that names none."""
    otherwise = ""
    for clause in cell.split(";"):
        *signs, word = clause.split()
        if str(sign) in signs:
            return word
        if not signs:
            otherwise = word
    return otherwise


ROWS = [
    pytest.param(
        operation,
        image_class,
        gate,
        sign,
        answer(cell, sign),
        id=f"{name}: {operation} {sign} is {answer(cell, sign)}",
    )
    for name, image_class, gate, cells in TABLE
    for operation, cell in zip(OperationName, cells, strict=True)
    for sign in Sign
]


@pytest.mark.parametrize(("operation", "image_class", "gate", "sign", "expected"), ROWS)
def test_the_table(
    operation: OperationName, image_class: ImageClass, gate: FeatureGate, sign: Sign, expected: str
) -> None:
    evidence = case(image_class, sign, gate)
    wait = verdict(operation, evidence)
    attempt = verdict(operation, replace(evidence, on_undetermined=UndeterminedSupport.TRY))
    asked = verdict(operation, replace(evidence, probe_unsupported=True))
    due = verdict(operation, case(image_class, sign, gate, probe_due=sign is Sign.UNSUPPORTED))

    def answers(*rulings: Ruling) -> tuple[tuple[Support, bool], ...]:
        return tuple((ruling.support, ruling.may_send) for ruling in rulings)

    yes, no = (Support.SUPPORTED, True), (Support.UNSUPPORTED, False)
    waits, probed = (Support.UNKNOWN, False), (Support.UNSUPPORTED, True)
    assert (
        answers(wait, attempt, asked, due)
        == {
            "S": (yes, yes, yes, yes),
            "U": (no, no, no, no),
            "W": (waits, waits, waits, waits),
            "knob": (waits, yes, waits, waits),
            "probe": (yes, yes, yes, yes),
            "re-probe": (no, no, no, probed),
            "asked": (no, no, no if sign is Sign.UNSUPPORTED else probed, no),
        }[expected]
    )
    assert wait.probe is (expected == "probe")


@pytest.mark.parametrize("sign", Sign)
@pytest.mark.parametrize("operation", OperationName)
@pytest.mark.parametrize("image_class", ImageClass)
def test_an_excluded_workload_is_refused_whatever_else(
    image_class: ImageClass, operation: OperationName, sign: Sign
) -> None:
    workload = ExcludedWorkload(Reason.SCALE_SET_MEMBER, "It belongs to a scale set.")
    evidence = replace(
        case(image_class, sign, probe_due=True),
        workload=workload,
        probe_unsupported=True,
        on_undetermined=UndeterminedSupport.TRY,
    )
    ruling = verdict(operation, evidence)

    assert (ruling.support, ruling.may_send) == (Support.UNSUPPORTED, False)
    assert (ruling.reason, ruling.message) == (workload.reason, workload.message)


def test_a_non_gallery_machine_found_unsupported_is_probed_again_only_when_asked_and_due() -> None:
    due = case(ImageClass.NON_GALLERY, Sign.UNSUPPORTED, probe_due=True)

    assert not verdict(ASSESS, due).may_send
    assert verdict(ASSESS, replace(due, probe_unsupported=True)).may_send


@pytest.mark.parametrize(
    ("operation", "evidence", "reason", "says"),
    [
        pytest.param(
            PATCH,
            case(ImageClass.GALLERY_GENERALIZED, Sign.SUPPORTED),
            Reason.DETECTED_SUPPORTED,
            "Azure found at 2026-11-22 12:00 UTC that it can patch this machine",
            id="D+",
        ),
        pytest.param(
            PATCH,
            case(ImageClass.GALLERY_GENERALIZED, Sign.SUCCEEDED),
            Reason.ASSESSED_SUCCESSFULLY,
            "An assessment succeeded",
            id="D0",
        ),
        pytest.param(
            ASSESS,
            case(ImageClass.GALLERY_GENERALIZED, Sign.NONE),
            Reason.MATRIX_SUPPORTED,
            "Support matrix 2023-05",
            id="the matrix",
        ),
        pytest.param(
            ASSESS,
            case(ImageClass.MARKETPLACE, Sign.NONE),
            Reason.PROBE,
            "has no rule for this marketplace image",
            id="a marketplace probe",
        ),
        pytest.param(
            PATCH,
            case(ImageClass.GALLERY_GENERALIZED, Sign.NONE),
            Reason.NOT_ASSESSED,
            "The next one decides",
            id="not assessed",
        ),
        pytest.param(
            PATCH,
            replace(case(ImageClass.GALLERY_GENERALIZED, Sign.NONE), row_awaited=True),
            Reason.WAITING_FOR_RESOURCE_GRAPH,
            "has not appeared in Azure Resource Graph",
            id="the row has not appeared",
        ),
        pytest.param(
            PATCH,
            case(ImageClass.GALLERY_GENERALIZED, Sign.UNDETERMINED),
            Reason.UNABLE_TO_DETERMINE,
            "Set install.onUndeterminedSupport to Try",
            id="undetermined",
        ),
        pytest.param(
            PATCH,
            case(ImageClass.MARKETPLACE, Sign.UNDETERMINED),
            Reason.NO_MARKETPLACE_RULE,
            "Azure judges again with every assessment",
            id="undetermined, and no rule",
        ),
        pytest.param(
            PATCH,
            case(ImageClass.UNKNOWN, Sign.SUCCEEDED),
            Reason.IMAGE_UNKNOWN,
            "Because it says so.",
            id="an unknown image",
        ),
        pytest.param(
            PATCH,
            case(ImageClass.GALLERY_GENERALIZED, Sign.UNSUPPORTED),
            Reason.DETECTED_UNSUPPORTED,
            "Azure is asked again at 2026-11-23 12:00 UTC",
            id="D-",
        ),
        pytest.param(
            ASSESS,
            case(ImageClass.GALLERY_GENERALIZED, Sign.NONE, CLOSED),
            Reason.PREVIEW_FEATURE_NOT_REGISTERED,
            f"az feature register --namespace Microsoft.Compute -n {NAME}",
            id="the gate is closed",
        ),
        pytest.param(
            PATCH,
            case(ImageClass.GALLERY_GENERALIZED, Sign.NONE, UNDETERMINED),
            Reason.PREVIEW_FEATURE_UNDETERMINED,
            "spec.previewFeature.name",
            id="the gate is undetermined",
        ),
        pytest.param(
            PATCH,
            case(ImageClass.NON_GALLERY, Sign.NONE),
            Reason.IMAGE_NOT_SUPPORTED,
            "assessment.probeUnsupported",
            id="non-gallery",
        ),
        pytest.param(
            SCHEDULED,
            case(ImageClass.NON_GALLERY, Sign.NONE),
            Reason.IMAGE_NOT_SUPPORTED,
            "assessment.probeUnsupported",
            id="non-gallery, where on demand is no way out either",
        ),
        pytest.param(
            PERIODIC,
            case(ImageClass.GALLERY_SPECIALIZED, Sign.SUPPORTED),
            Reason.IMAGE_NOT_SUPPORTED,
            "Set assessment.mode to Operator",
            id="periodic assessment of specialized images",
        ),
        pytest.param(
            SCHEDULED,
            case(ImageClass.GALLERY_SPECIALIZED, Sign.NONE),
            Reason.IMAGE_NOT_SUPPORTED,
            "Set install.executor to Operator",
            id="scheduled patching of specialized images",
        ),
        pytest.param(
            AUTOMATIC,
            case(ImageClass.GALLERY_GENERALIZED, Sign.SUPPORTED),
            Reason.IMAGE_NOT_SUPPORTED,
            "Give the policy a schedule",
            id="automatic guest patching",
        ),
    ],
)
def test_a_verdict_says_why_and_what_to_do(
    operation: OperationName, evidence: SupportEvidence, reason: Reason, says: str
) -> None:
    ruling = verdict(operation, evidence)

    assert ruling.reason is reason
    assert says in ruling.message


@pytest.mark.parametrize("image_class", ImageClass)
@pytest.mark.parametrize("gate", [PASSED, CLOSED, UNDETERMINED], ids=lambda gate: gate.gate)
@pytest.mark.parametrize("sign", Sign)
def test_every_message_is_readable_in_a_terminal(
    image_class: ImageClass, gate: FeatureGate, sign: Sign
) -> None:
    for ruling in verdicts(case(image_class, sign, gate)):
        assert ruling.message.endswith(".")
        assert len(ruling.message) <= READABLE


def test_status_has_the_message_only_where_it_is_needed() -> None:
    refused = verdict(PATCH, case(ImageClass.NON_GALLERY, Sign.NONE))
    allowed = verdict(PATCH, case(ImageClass.GALLERY_GENERALIZED, Sign.SUPPORTED))

    assert refused.to_status(used=True).message is not None
    assert refused.to_status(used=False).message is None
    assert allowed.to_status(used=True).message is None


def test_the_gates_used_here_are_what_their_names_say() -> None:
    assert [g.gate for g in (PASSED, CLOSED, UNDETERMINED)] == list(Gate)
    assert UNDETERMINED.state is FeatureState.UNDETERMINED
