"""The preview feature gate: may gallery images be patched in this subscription?

Only revision 2023-05 of the matrix has one. The feature is registered in the machine's own
subscription, not in the gallery's. Its ARM name was never published, so it is looked for.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from azpatch.api.reasons import Reason
from azpatch.api.subscription import FeatureState, PreviewFeature, PreviewFeatureMode
from azpatch.domain.facts import Feature
from azpatch.domain.matrix import NeededFeature

_ABOUT_GALLERY = re.compile("gallery", re.IGNORECASE)
_ABOUT_PATCHING = re.compile("guest|patch", re.IGNORECASE)

_CANDIDATES_LISTED = 20
"""As many as AzureSubscription.status.previewFeature has room for."""

_REMEDY_NAME = (
    "Name the feature in the AzureSubscription's spec.previewFeature.name, or set "
    "spec.previewFeature.mode to Ignore."
)
_REMEDY_IGNORE = "If it does not matter, set spec.previewFeature.mode to Ignore."
_AZPATCH = (
    "spec.previewFeature.mode is Register; the condition PreviewFeature of the machine's "
    "AzureSubscription says how far that is."
)
_UNTIL_THEN = (
    "Until then assessments are sent, and what they detect decides; machines that Azure has not "
    "found supported are not patched."
)


class Gate(StrEnum):
    """Undetermined is not the same as closed: an assessment is sent then, and is the check."""

    PASSED = "Passed"
    CLOSED = "Closed"
    UNDETERMINED = "Undetermined"


@dataclass(frozen=True, slots=True)
class FeatureGate:
    """What the feature means for the machines of a subscription."""

    gate: Gate
    name: str | None
    """The feature, as Azure spells it; the one that spec names where Azure lists no such one."""
    state: FeatureState
    candidates: tuple[str, ...]
    """Names that might be meant, where it is not clear which."""
    reason: Reason
    message: str


def feature_gate(
    spec: PreviewFeature, needed: NeededFeature, features: tuple[Feature, ...] | None
) -> FeatureGate:
    """The gate of one subscription.

    `needed` is `Matrix.preview_feature`; `features` are those of its namespace in the
    subscription, None if they could not be read.
    """
    found, candidates = (None, ()) if features is None else _find(spec.name, needed, features)
    name = found.name if found else spec.name
    state = _state(found)
    if spec.mode is PreviewFeatureMode.IGNORE:
        message = "spec.previewFeature.mode is Ignore: the feature counts as registered."
        return FeatureGate(Gate.PASSED, name, state, candidates, Reason.FEATURE_IGNORED, message)
    if state is FeatureState.UNDETERMINED:
        why = _why_undetermined(spec.name, features, found, candidates)
        return FeatureGate(
            Gate.UNDETERMINED,
            name,
            state,
            candidates,
            Reason.PREVIEW_FEATURE_UNDETERMINED,
            f"{why} {_UNTIL_THEN}",
        )
    shown = str(name)
    remedy = _AZPATCH if spec.mode is PreviewFeatureMode.REGISTER else _remedy(state, by_hand(name))
    return _by_state(shown, name, state, remedy)


def assumed_gate(needed: NeededFeature, state: FeatureState | None) -> FeatureGate:
    """The gate where a person says what state the feature is in, without a cluster that would know
    its name. None: nothing was said."""
    shown = f'"{needed.display_name}"'
    if state is None or state is FeatureState.UNDETERMINED:
        undetermined = FeatureState.UNDETERMINED
        reason = Reason.PREVIEW_FEATURE_UNDETERMINED
        message = (
            f"It is not known whether the preview feature {shown} is registered in the machine's "
            f"subscription. {_UNTIL_THEN}"
        )
        return FeatureGate(Gate.UNDETERMINED, None, undetermined, (), reason, message)
    how = f"{by_hand('NAME')}; az feature list --namespace {needed.namespace} has the NAME"
    return _by_state(shown, None, state, _remedy(state, how))


def _by_state(shown: str, name: str | None, state: FeatureState, remedy: str) -> FeatureGate:
    if state is FeatureState.REGISTERED:
        message = f"The preview feature {shown} is registered."
        return FeatureGate(Gate.PASSED, name, state, (), Reason.FEATURE_REGISTERED, message)
    message = f"The preview feature {shown} is {state}. {remedy}"
    return FeatureGate(Gate.CLOSED, name, state, (), Reason.PREVIEW_FEATURE_NOT_REGISTERED, message)


def _find(
    name: str | None, needed: NeededFeature, features: tuple[Feature, ...]
) -> tuple[Feature | None, tuple[str, ...]]:
    """The feature, or the names of those that it might be."""
    similar = [
        feature
        for feature in features
        if _ABOUT_GALLERY.search(feature.name) and _ABOUT_PATCHING.search(feature.name)
    ]
    if name is not None:
        searches = [[feature for feature in features if feature.name.lower() == name.lower()]]
    else:
        # Azure tells a display name only of features that were registered once.
        shown = needed.display_name.lower()
        searches = [
            [feature for feature in features if (feature.display_name or "").lower() == shown],
            similar,
        ]
    for found in searches:
        if len(found) == 1:
            return found[0], ()
        if found:
            similar = found
            break
    return None, tuple(sorted(feature.name for feature in similar))[:_CANDIDATES_LISTED]


def _state(feature: Feature | None) -> FeatureState:
    """Azure's state; one that it does not document is as good as not read."""
    if feature is None:
        return FeatureState.UNDETERMINED
    for state in FeatureState:
        if state.lower() == feature.state.lower():
            return state
    return FeatureState.UNDETERMINED


def _why_undetermined(
    name: str | None,
    features: tuple[Feature, ...] | None,
    found: Feature | None,
    candidates: tuple[str, ...],
) -> str:
    if features is None:
        return (
            "The features of Microsoft.Compute could not be read; they are read again at the next "
            "refresh. Give the identity Microsoft.Features/providers/features/read, or set "
            "spec.previewFeature.mode to Ignore."
        )
    if found is not None:
        return (
            f"The preview feature {found.name} is {found.state}, a state that Azure does not "
            f"document. {_REMEDY_IGNORE}"
        )
    if name is not None:
        return f"Microsoft.Compute has no feature {name}. {_REMEDY_NAME}"
    if candidates:
        return f"Several features might be the preview feature. {_REMEDY_NAME}"
    return f"No feature of Microsoft.Compute looks like the preview feature. {_REMEDY_NAME}"


def _remedy(state: FeatureState, how: str) -> str:
    """What becomes of it, and who can do what. A registration takes up to 15 minutes."""
    if state in {FeatureState.REGISTERING, FeatureState.PENDING}:
        return (
            "It is read again at every refresh, and gallery machines go on as soon as it is "
            "Registered; Azure takes up to 15 minutes."
        )
    return f"Register it in the machine's subscription: {how}. It is read again at every refresh."


def by_hand(name: str | None) -> str:
    """What a person types to register it."""
    return (
        f"az feature register --namespace Microsoft.Compute -n {name}, then az provider register "
        "-n Microsoft.Compute"
    )
