"""Where a verdict comes from, held to what its message speaks of."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from domain_builders import machine

from azpatch.api.common import DetectedState, ImageClass
from azpatch.api.subscription import FeatureState
from azpatch.domain.detection import Sign, assumed
from azpatch.domain.facts import ImageReference
from azpatch.domain.feature import Gate, assumed_gate
from azpatch.domain.image import Image, classify
from azpatch.domain.matrix import CUSTOM_IMAGES, REVISIONS, revision
from azpatch.domain.verdict import Ruling, verdicts
from azpatch.domain.verdict_row import SupportEvidence
from azpatch.domain.verdict_source import SourceKind, source_of
from azpatch.domain.workload import excluded

SPOKEN_OF = {
    "The marketplace rules of 2026-04": SourceKind.MARKETPLACE_RULES,
    "The list of automatic guest patching of 2024-07": SourceKind.AUTOMATIC_IMAGES,
    "Azure found": SourceKind.DETECTED_STATE,
    "Azure could not determine": SourceKind.DETECTED_STATE,
    "An assessment succeeded": SourceKind.DETECTED_STATE,
    "It belongs to the virtual machine scale set": SourceKind.UNSUPPORTED_WORKLOADS,
    **{f"Support matrix {name}": SourceKind.SUPPORT_MATRIX for name in REVISIONS},
}
"""How a message begins that names what decided."""

PLANS = (
    ("canonical", "ubuntu-24_04-lts", "server"),
    ("canonical", "any", "other"),
    ("redhat", "rhel-ha", "81_gen2"),
    ("kinvolk", "flatcar", "stable"),
    ("microsoftcblmariner", "azure-linux-3", "azure-linux-3-gen2"),
)


def evidence() -> Iterator[SupportEvidence]:
    """Every class and marketplace answer, revision, feature state and sign."""
    marketplace = [
        machine(image=ImageReference(publisher=publisher, offer=offer, sku=sku))
        for publisher, offer, sku in PLANS
    ]
    found = [(one, classify(one, {})) for one in marketplace]
    found += [(machine(), Image(c, None, "e")) for c in (*CUSTOM_IMAGES, ImageClass.UNKNOWN)]
    found += [
        (machine(os_name="flatcar", os_version="1"), Image(CUSTOM_IMAGES[0], None, "e")),
        (machine(scale_set="/scaleSets/pool"), Image(CUSTOM_IMAGES[0], None, "e")),
    ]
    for name in REVISIONS:
        matrix = revision(name)
        for state in (None, FeatureState.REGISTERED, FeatureState.NOT_REGISTERED):
            needed = matrix.preview_feature
            gate = None if needed is None else assumed_gate(needed, state)
            for detected in (None, *DetectedState):
                for one, image in found:
                    workload = excluded(one)
                    yield SupportEvidence(one, image, matrix, workload, gate, assumed(detected))


EVIDENCE = list(evidence())


def rulings() -> Iterator[tuple[Ruling, SupportEvidence]]:
    for one in EVIDENCE:
        for ruling in verdicts(one):
            yield ruling, one


def test_a_verdict_comes_from_what_its_message_begins_with() -> None:
    seen = set()
    for ruling, one in rulings():
        for words, kind in SPOKEN_OF.items():
            if ruling.message.startswith(words):
                assert source_of(ruling, one).kind is kind, ruling
                seen.add(words)

    assert seen == set(SPOKEN_OF)


def test_a_document_has_its_date_and_shipped_data_its_revision() -> None:
    for ruling, one in rulings():
        source = source_of(ruling, one)
        assert source.title
        assert (source.document is None) is (source.kind is SourceKind.DETECTED_STATE)
        assert (source.date is None) is (source.document is None)
        if source.kind is SourceKind.SUPPORT_MATRIX:
            assert source.revision == one.matrix.revision
        if source.rule is not None:
            assert source.rule in ruling.message


def test_the_rule_that_decided_is_named() -> None:
    denied = next(
        one
        for one in EVIDENCE
        if one.machine.image == ImageReference(publisher="redhat", offer="rhel-ha", sku="81_gen2")
    )

    rules = {source_of(ruling, denied).rule for ruling in verdicts(denied)}

    assert rules == {"redhat:rhel-ha:8*, except SKU 81_gen2"}


# --- circumstances that a person gives ------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "sign"),
    [
        (None, Sign.NONE),
        (DetectedState.SUPPORTED, Sign.SUPPORTED),
        (DetectedState.UNKNOWN, Sign.SUCCEEDED),
        (DetectedState.UNABLE_TO_DETERMINE, Sign.UNDETERMINED),
        (DetectedState.UNSUPPORTED, Sign.UNSUPPORTED),
    ],
)
def test_a_state_that_is_told_counts_as_a_fresh_assessment(
    state: DetectedState | None, sign: Sign
) -> None:
    assert assumed(state).sign is sign


@pytest.mark.parametrize("state", [None, *FeatureState])
def test_a_feature_state_that_is_told_opens_or_closes_the_gate(state: FeatureState | None) -> None:
    needed = revision("2023-05").preview_feature
    assert needed is not None

    gate = assumed_gate(needed, state)

    expected = Gate.CLOSED
    if state in {None, FeatureState.UNDETERMINED}:
        expected = Gate.UNDETERMINED
    if state is FeatureState.REGISTERED:
        expected = Gate.PASSED
    assert gate.gate is expected
    assert f'"{needed.display_name}"' in gate.message
    assert "None" not in gate.message
