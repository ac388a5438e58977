"""The preview feature gate of matrix revision 2023-05."""

from __future__ import annotations

import pytest
from domain_builders import NEEDED, READABLE

from azpatch.api.reasons import Reason
from azpatch.api.subscription import FeatureState, PreviewFeature, PreviewFeatureMode
from azpatch.domain.facts import Feature
from azpatch.domain.feature import FeatureGate, Gate, feature_gate

SHOWN = NEEDED.display_name
NAME = "VMGuestPatchGalleryX"

UNRELATED = Feature("InGuestPatchVMPreview", "Registered")
ONLY_GALLERY = Feature("GalleryReplication", "Registered")


def gate(*features: Feature, name: str | None = None) -> FeatureGate:
    return feature_gate(PreviewFeature(name=name), NEEDED, features)


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("Registered", Gate.PASSED),
        ("registered", Gate.PASSED),
        ("NotRegistered", Gate.CLOSED),
        ("Pending", Gate.CLOSED),
        ("Unregistered", Gate.CLOSED),
        ("NotSpecified", Gate.CLOSED),
        ("Registering", Gate.CLOSED),
        ("Unregistering", Gate.CLOSED),
        ("Paused", Gate.UNDETERMINED),
    ],
)
def test_the_features_state_opens_or_closes_the_gate(state: str, expected: Gate) -> None:
    found = gate(UNRELATED, Feature(NAME, state))

    assert (found.gate, found.name) == (expected, NAME)
    if expected is not Gate.UNDETERMINED:
        assert found.state.lower() == state.lower()


@pytest.mark.parametrize(
    ("features", "name", "found", "candidates"),
    [
        pytest.param(
            (Feature("Odd", "Registered"), Feature(NAME, "Registered")),
            "odd",
            "Odd",
            (),
            id="spec's name goes first, without case",
        ),
        pytest.param(
            (Feature(NAME, "Registered"),),
            "Missing",
            "Missing",
            (NAME,),
            id="spec's name is absent",
        ),
        pytest.param(
            (Feature("Odd", "Registered", SHOWN), Feature(NAME, "NotRegistered")),
            None,
            "Odd",
            (),
            id="then the display name",
        ),
        pytest.param(
            (UNRELATED, ONLY_GALLERY, Feature(NAME, "Registered")),
            None,
            NAME,
            (),
            id="then the only name about galleries and patching",
        ),
        pytest.param(
            (Feature(NAME + "2", "Registered"), Feature(NAME, "Registered")),
            None,
            None,
            (NAME, NAME + "2"),
            id="several names",
        ),
        pytest.param(
            (Feature("A", "Registered", SHOWN), Feature("B", "Registered", SHOWN)),
            None,
            None,
            ("A", "B"),
            id="several display names",
        ),
        pytest.param((UNRELATED, ONLY_GALLERY), None, None, (), id="none"),
    ],
)
def test_the_feature_is_looked_for(
    features: tuple[Feature, ...],
    name: str | None,
    found: str | None,
    candidates: tuple[str, ...],
) -> None:
    result = gate(*features, name=name)

    assert (result.name, result.candidates) == (found, candidates)
    known = found is not None and any(f.name.lower() == found.lower() for f in features)
    assert (result.gate is Gate.UNDETERMINED) is not known


def test_features_that_cannot_be_read_leave_the_gate_undetermined() -> None:
    result = feature_gate(PreviewFeature(), NEEDED, None)

    assert result.gate is Gate.UNDETERMINED
    assert result.reason is Reason.PREVIEW_FEATURE_UNDETERMINED
    assert "Microsoft.Features/providers/features/read" in result.message


@pytest.mark.parametrize("features", [None, (), (Feature(NAME, "NotRegistered"),)])
def test_mode_ignore_passes_whatever_azure_says(features: tuple[Feature, ...] | None) -> None:
    result = feature_gate(PreviewFeature(mode=PreviewFeatureMode.IGNORE), NEEDED, features)

    assert (result.gate, result.reason) == (Gate.PASSED, Reason.FEATURE_IGNORED)


def test_a_closed_gate_says_how_to_open_it() -> None:
    result = gate(Feature(NAME, "NotRegistered"))

    assert result.reason is Reason.PREVIEW_FEATURE_NOT_REGISTERED
    assert f"az feature register --namespace Microsoft.Compute -n {NAME}" in result.message


def test_candidates_fit_into_status() -> None:
    result = gate(*(Feature(f"{NAME}{i}", "Registered") for i in range(30)))

    assert len(result.candidates) == 20
    assert (result.state, len(result.message) <= READABLE) == (
        FeatureState.UNDETERMINED,
        True,
    )


def test_in_mode_register_a_machine_points_to_where_the_registration_stands() -> None:
    spec = PreviewFeature(mode=PreviewFeatureMode.REGISTER)
    result = feature_gate(spec, NEEDED, (Feature(NAME, "NotRegistered"),))
    assert (result.gate, result.reason) == (Gate.CLOSED, Reason.PREVIEW_FEATURE_NOT_REGISTERED)
    assert "condition PreviewFeature" in result.message
    assert "az feature register" not in result.message
