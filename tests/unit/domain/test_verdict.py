"""May this operation be sent to this machine? The decision table, row by row.

In a cell, for each sign: S (may be sent), U (refused), W (waits), knob (onUndeterminedSupport),
probe (the assessment is the check), re-probe (refused, but asked again from time to time), asked
(refused unless probeUnsupported). A clause without a sign is for all signs that no clause names.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from domain_builders import DAY, DEFINITION, NEEDED, NOW, READABLE, arc_server, machine

from azpatch.api.common import DetectedState, ImageClass, OperationName, OsType, Support
from azpatch.api.install import UndeterminedSupport
from azpatch.api.reasons import Reason
from azpatch.api.subscription import FeatureState, PreviewFeature
from azpatch.api.target import DetectedStatus
from azpatch.domain.detection import Detection, Sign
from azpatch.domain.facts import Feature, ImageReference, Machine
from azpatch.domain.feature import FeatureGate, Gate, feature_gate
from azpatch.domain.image import Image
from azpatch.domain.matrix import CUSTOM_IMAGES, REVISIONS, revision
from azpatch.domain.verdict import Ruling, verdict, verdicts
from azpatch.domain.verdict_row import SupportEvidence, row_of
from azpatch.domain.verdict_table import Row
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


def from_marketplace(publisher: str, offer: str, sku: str) -> Machine:
    return machine(image=ImageReference(publisher=publisher, offer=offer, sku=sku))


LISTED = from_marketplace("Canonical", "ubuntu-24_04-lts", "server")
ALLOWED = from_marketplace("Canonical", "ubuntu-24_10", "server")
DENIED = from_marketplace("RedHat", "rhel-ha", "81_gen2")
NO_RULE = from_marketplace("kinvolk", "flatcar", "stable")
WITH_OTHER_SYSTEM = machine(os_name="flatcar", os_version="4081.2.0")


def case(
    image_class: ImageClass,
    sign: Sign,
    gate: FeatureGate | None = PASSED,
    *,
    of: Machine | None = None,
    by: str = "2023-05",
    workload: ExcludedWorkload | None = None,
    probe_due: bool = False,
) -> SupportEvidence:
    fallback = NO_RULE if image_class is ImageClass.MARKETPLACE else machine()
    return SupportEvidence(
        machine=of or fallback,
        image=Image(image_class, DEFINITION, "Because it says so."),
        matrix=revision(by),
        workload=workload,
        gate=gate,
        detection=detection(sign, probe_due=probe_due),
    )


ASSESS, PATCH, PERIODIC, SCHEDULED, AUTOMATIC = OperationName
SIGNS = {str(sign): sign for sign in Sign}
IN_A_SCALE_SET = ExcludedWorkload(Reason.SCALE_SET_MEMBER, "It belongs to a scale set.")
MARKETPLACE, UNKNOWN = ImageClass.MARKETPLACE, ImageClass.UNKNOWN
ARC = ImageClass.NOT_APPLICABLE
GENERALIZED, SPECIALIZED, NON_GALLERY = CUSTOM_IMAGES

THE_TABLE = """
| class, revision | OnDemandAssessment | OnDemandPatching | Periodic | Scheduled | Automatic |
|---|---|---|---|---|---|
| excluded workload, all | U | U | U | U | U |
| Marketplace, allowed and listed, all | S; D- re-probe | S; D- U | S; D- U | S; D- U | S; D- U |
| Marketplace, allowed, all | S; D- re-probe | S; D- U | S; D- U | S; D- U | U |
| Marketplace, denied, all | U; D+ S | U; D+ S | U | U | U |
| Marketplace, no rule, all | probe; D- re-probe | NO_RULE | NO_RULE | NO_RULE | U |
| GalleryGeneralized, passed, 2023-05 | S; D- re-probe | DETECT | S; D- U | DETECT | U |
| GallerySpecialized, passed, 2023-05 | S; D- re-probe | DETECT | U | U | U |
| GalleryGeneralized, closed, 2023-05 | U; D+ D0 S | U; D+ D0 S | U; D+ D0 S | U; D+ D0 S | U |
| GallerySpecialized, closed, 2023-05 | U; D+ D0 S | U; D+ D0 S | U | U | U |
| GalleryGeneralized, undetermined, 2023-05 | PROBE | UNCLEAR | UNCLEAR | UNCLEAR | U |
| GallerySpecialized, undetermined, 2023-05 | PROBE | UNCLEAR | U | U | U |
| NonGallery, 2023-05 | asked; D+ S | D+ S; U | U | U | U |
| Gallery and NonGallery, later | S; D- re-probe | DETECT | S; D- U | DETECT | U |
| Gallery and NonGallery, other system, 2025-02 | PROBE | NO_RULE | NO_RULE | NO_RULE | U |
| Unknown, 2023-05 | probe; D- re-probe | UNKNOWN | D+ S; D- U; W | D+ S; D- U; W | U |
| Unknown, later | probe; D- re-probe | DETECT | DETECT | DETECT | U |
| Arc, Connected, all | S | S | S | S | U |
| Arc, Connected, without Compute, all | S | S | W | S | U |
| Arc, not Connected, all | W | W | S | S | U |
"""
# D+ and D0 prove the feature, and the system: a gate that is not passed counts as passed then.
ABBREVIATED = {
    "DETECT": "D+ D0 S; D? knob; D- U; D∅ W",
    "NO_RULE": "D+ D0 S; D? D∅ W; D- U",
    "UNKNOWN": "D+ S; D0 D? knob; D- U; D∅ W",
    "UNCLEAR": "D+ D0 S; D- U; W",
    "PROBE": "D+ D0 S; D- re-probe; probe",
}
LATER = tuple(name for name in REVISIONS if name != "2023-05")
WHICH = {"all": REVISIONS, "later": LATER, **{name: (name,) for name in REVISIONS}}


Subject = tuple[ImageClass, FeatureGate | None, Machine, ExcludedWorkload | None]

OF_A_GALLERY, UBUNTU = machine(), machine(os_name="ubuntu", os_version="22.04")
SUBJECTS: dict[str, list[Subject]] = {
    "excluded workload": [(c, CLOSED, OF_A_GALLERY, IN_A_SCALE_SET) for c in ImageClass],
    "Marketplace, allowed and listed": [(MARKETPLACE, CLOSED, LISTED, None)],
    "Marketplace, allowed": [(MARKETPLACE, CLOSED, ALLOWED, None)],
    "Marketplace, denied": [(MARKETPLACE, CLOSED, DENIED, None)],
    "Marketplace, no rule": [
        (MARKETPLACE, CLOSED, NO_RULE, None),
        (MARKETPLACE, CLOSED, replace(LISTED, os_type=OsType.WINDOWS), None),
    ],
    **{
        f"{image_class}, {name}": [(image_class, gate, OF_A_GALLERY, None)]
        for image_class in (GENERALIZED, SPECIALIZED)
        for name, gate in (
            ("passed", PASSED),
            ("closed", CLOSED),
            ("undetermined", UNDETERMINED),
        )
    },
    "NonGallery": [(NON_GALLERY, CLOSED, OF_A_GALLERY, None)],
    "Gallery and NonGallery": [
        (c, None, of, None) for c in CUSTOM_IMAGES for of in (OF_A_GALLERY, UBUNTU)
    ],
    "Gallery and NonGallery, other system": [
        (c, None, WITH_OTHER_SYSTEM, None) for c in CUSTOM_IMAGES
    ],
    "Unknown": [(UNKNOWN, gate, OF_A_GALLERY, None) for gate in (CLOSED, None)],
    "Arc, Connected": [(ARC, CLOSED, arc_server(), None)],
    "Arc, Connected, without Compute": [(ARC, CLOSED, arc_server(), None)],
    "Arc, not Connected": [
        (ARC, CLOSED, arc_server(arc_status=status), None)
        for status in ("Disconnected", "Expired", "Error", "AwaitingConnection", None)
    ],
}
"""The machines that a row of the table is about."""


def cases(kind: str, by: str, sign: Sign, *, probe_due: bool = False) -> Iterator[SupportEvidence]:
    for image_class, gate, of, workload in SUBJECTS[kind]:
        found = case(image_class, sign, gate, of=of, by=by, workload=workload, probe_due=probe_due)
        yield replace(found, compute_registered=not kind.endswith("without Compute"))


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


def rows() -> Iterator[tuple[str, str, OperationName, Sign, str]]:
    for line in THE_TABLE.strip().splitlines()[2:]:
        label, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        kind, _, which = label.rpartition(", ")
        for operation, cell in zip(OperationName, cells, strict=True):
            for sign in Sign:
                yield kind, which, operation, sign, answer(ABBREVIATED.get(cell, cell), sign)


@pytest.mark.parametrize(
    ("kind", "which", "operation", "sign", "expected"),
    [pytest.param(*row, id=f"{row[0]}, {row[1]}: {row[2]} {row[3]} is {row[4]}") for row in rows()],
)
def test_the_table(
    kind: str, which: str, operation: OperationName, sign: Sign, expected: str
) -> None:
    def answers(*rulings: Ruling) -> tuple[tuple[Support, bool], ...]:
        return tuple((ruling.support, ruling.may_send) for ruling in rulings)

    yes, no = (Support.SUPPORTED, True), (Support.UNSUPPORTED, False)
    waits, probed = (Support.UNKNOWN, False), (Support.UNSUPPORTED, True)
    wanted = {
        "S": (yes, yes, yes, yes),
        "U": (no, no, no, no),
        "W": (waits, waits, waits, waits),
        "knob": (waits, yes, waits, waits),
        "probe": (yes, yes, yes, yes),
        "re-probe": (no, no, no, probed),
        "asked": (no, no, no if sign is Sign.UNSUPPORTED else probed, no),
    }[expected]
    for by in WHICH[which]:
        found = list(cases(kind, by, sign))
        due = list(cases(kind, by, sign, probe_due=sign is Sign.UNSUPPORTED))
        for evidence, when_due in zip(found, due, strict=True):
            attempt = replace(evidence, on_undetermined=UndeterminedSupport.TRY)
            asked = replace(evidence, probe_unsupported=True)
            first, *others = (
                verdict(operation, one) for one in (evidence, attempt, asked, when_due)
            )

            assert answers(first, *others) == wanted, (by, evidence.image.image_class)
            assert first.probe is (expected == "probe")


def test_the_table_speaks_of_every_class_and_revision() -> None:
    spoken = {
        (evidence.image.image_class, by)
        for kind, which, *_ in rows()
        if kind != "excluded workload"
        for by in WHICH[which]
        for evidence in cases(kind, by, Sign.NONE)
    }

    assert spoken == {(image_class, by) for image_class in ImageClass for by in REVISIONS}


@pytest.mark.parametrize("operation", OperationName)
def test_an_excluded_workload_is_told_as_such_whatever_azure_detected(
    operation: OperationName,
) -> None:
    for sign in Sign:
        evidence = case(GENERALIZED, sign, workload=IN_A_SCALE_SET, probe_due=True)
        ruling = verdict(operation, replace(evidence, probe_unsupported=True))

        assert (ruling.support, ruling.may_send) == (Support.UNSUPPORTED, False)
        assert (ruling.reason, ruling.message) == (IN_A_SCALE_SET.reason, IN_A_SCALE_SET.message)


@pytest.mark.parametrize("image_class", CUSTOM_IMAGES)
@pytest.mark.parametrize(
    ("os_name", "os_version"), [(None, None), (None, "22.04"), ("ubuntu", None)]
)
def test_a_system_that_the_agent_has_not_told_keeps_nobody_waiting(
    image_class: ImageClass, os_name: str | None, os_version: str | None
) -> None:
    untold = machine(os_name=os_name, os_version=os_version)

    assert verdicts(case(image_class, Sign.UNDETERMINED, None, of=untold, by="2025-02")) == (
        verdicts(case(image_class, Sign.UNDETERMINED, None, by="2025-02"))
    )


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
            "The marketplace rules of 2026-04 have no rule for this image",
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
            case(MARKETPLACE, Sign.NONE, of=ALLOWED),
            Reason.MATRIX_SUPPORTED,
            "The marketplace rules of 2026-04 allow this image (canonical:*:*)",
            id="a marketplace rule allows",
        ),
        pytest.param(
            PATCH,
            case(MARKETPLACE, Sign.NONE, of=DENIED),
            Reason.IMAGE_NOT_SUPPORTED,
            "except this image (redhat:rhel-ha:8*, except SKU 81_gen2)",
            id="a marketplace rule denies",
        ),
        pytest.param(
            AUTOMATIC,
            case(MARKETPLACE, Sign.SUPPORTED, of=LISTED),
            Reason.MATRIX_SUPPORTED,
            "The list of automatic guest patching of 2024-07 has this image",
            id="on the list of automatic guest patching",
        ),
        pytest.param(
            AUTOMATIC,
            case(MARKETPLACE, Sign.SUPPORTED, of=ALLOWED),
            Reason.IMAGE_NOT_SUPPORTED,
            "Give the policy a schedule",
            id="not on the list of automatic guest patching",
        ),
        pytest.param(
            PATCH,
            case(GENERALIZED, Sign.UNDETERMINED, None, of=WITH_OTHER_SYSTEM, by="2025-02"),
            Reason.SYSTEM_NOT_LISTED,
            "Support matrix 2025-02 does not list flatcar 4081.2.0 for custom images",
            id="a system that is not listed",
        ),
        pytest.param(
            ASSESS,
            case(SPECIALIZED, Sign.NONE, None, of=WITH_OTHER_SYSTEM, by="2025-02"),
            Reason.PROBE,
            "does not list flatcar 4081.2.0",
            id="a system that is not listed, and not assessed",
        ),
        pytest.param(
            PERIODIC,
            case(NON_GALLERY, Sign.NONE, None, by="2023-09"),
            Reason.MATRIX_SUPPORTED,
            "as a preview",
            id="a preview",
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
        pytest.param(
            PATCH,
            case(ARC, Sign.NONE, of=arc_server()),
            Reason.ARC_SERVER_SUPPORTED,
            "OnDemandPatching serves every Azure Arc-enabled server",
            id="Arc",
        ),
        pytest.param(
            AUTOMATIC,
            case(ARC, Sign.SUCCEEDED, of=arc_server()),
            Reason.ARC_SERVER_UNSUPPORTED,
            "Give the policy a schedule",
            id="automatic guest patching of an Arc-enabled server",
        ),
        pytest.param(
            PERIODIC,
            case(ARC, Sign.SUCCEEDED, of=arc_server()),
            Reason.COMPUTE_NOT_SEEN,
            "where the resource provider Microsoft.Compute is registered",
            id="periodic assessment of an Arc-enabled server without Compute",
        ),
        *(
            pytest.param(
                PATCH, case(ARC, Sign.NONE, of=arc_server(arc_status=status)), reason, says, id=id_
            )
            for status, reason, says, id_ in (
                ("Disconnected", Reason.ARC_DISCONNECTED, "does not hear", "Arc, disconnected"),
                ("AwaitingConnection", Reason.ARC_EXPIRED, "never connected", "Arc, new"),
                (None, Reason.ARC_DISCONNECTED, "azcmagent show", "Arc, status not known"),
                ("Expired", Reason.ARC_EXPIRED, "onboard it anew", "Arc, expired"),
                ("Error", Reason.ARC_ERROR, "azcmagent check", "Arc, error"),
            )
        ),
    ],
)
def test_a_verdict_says_why_and_what_to_do(
    operation: OperationName, evidence: SupportEvidence, reason: Reason, says: str
) -> None:
    ruling = verdict(operation, evidence)

    assert ruling.reason is reason
    assert says in ruling.message


@pytest.mark.parametrize("sign", Sign)
def test_every_message_is_readable_in_a_terminal(sign: Sign) -> None:
    for kind, which, *_ in rows():
        for by in WHICH[which]:
            for evidence in cases(kind, by, sign):
                for ruling in verdicts(evidence):
                    assert ruling.message.endswith(".")
                    assert len(ruling.message) <= READABLE


def test_status_has_the_message_only_where_it_is_needed() -> None:
    refused = verdict(PATCH, case(ImageClass.NON_GALLERY, Sign.NONE))
    allowed = verdict(PATCH, case(ImageClass.GALLERY_GENERALIZED, Sign.SUPPORTED))

    assert refused.to_status(used=True).message is not None
    assert refused.to_status(used=False).message is None
    assert allowed.to_status(used=True).message is None


@pytest.mark.parametrize("gate", [CLOSED, UNDETERMINED])
def test_an_install_proves_the_feature_until_the_assessment_after_it(gate: FeatureGate) -> None:
    """Else the machine would keep its slot of maxUnavailable for ever, if the feature is found to
    be gone after the install."""
    before = case(GENERALIZED, Sign.NONE, gate, of=OF_A_GALLERY)
    after = replace(before, installed=True)
    unsupported = case(GENERALIZED, Sign.UNSUPPORTED, gate, of=OF_A_GALLERY)
    assessment = OperationName.ON_DEMAND_ASSESSMENT
    gated = row_of(assessment, before)
    assert gated in {Row.GALLERY_GATE_CLOSED, Row.GALLERY_GATE_UNDETERMINED}
    assert row_of(assessment, after) is Row.MATRIX_SUPPORTED
    assert row_of(assessment, replace(unsupported, installed=True)) is gated


def test_the_gates_used_here_are_what_their_names_say() -> None:
    assert [g.gate for g in (PASSED, CLOSED, UNDETERMINED)] == list(Gate)
    assert UNDETERMINED.state is FeatureState.UNDETERMINED
