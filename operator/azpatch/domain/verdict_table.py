"""The decision table of verdicts: kind of machine, operation and evidence to answer."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto

from azpatch.api.common import OperationName
from azpatch.domain.detection import Sign


class Answer(Enum):
    """What a cell says about one sign."""

    SEND = auto()
    REFUSE = auto()
    WAIT = auto()
    KNOB = auto()
    """The policy's onUndeterminedSupport decides."""
    PROBE = auto()
    """Send: the assessment is itself the check."""
    REPROBE = auto()
    """Refused, except that Azure is asked again at growing intervals."""
    IF_ASKED = auto()
    """Refused, unless the policy's probeUnsupported asks to let Azure judge."""


class Row(Enum):
    """The kinds of machine that the table tells apart."""

    EXCLUDED_WORKLOAD = auto()
    """A workload that guest patching does not serve, whatever the image."""
    MATRIX_SUPPORTED = auto()
    """The matrix says Supported, and the feature that it needs, if any, is there."""
    MATRIX_UNSUPPORTED = auto()
    SYSTEM_NOT_LISTED = auto()
    """The matrix says Supported, but not for the operating system that the agent reports."""
    GALLERY_GATE_CLOSED = auto()
    GALLERY_GATE_UNDETERMINED = auto()
    MARKETPLACE_LISTED = auto()
    """A rule allows the image, and the list of automatic guest patching has it."""
    MARKETPLACE_ALLOWED = auto()
    """A rule allows the image, and automatic guest patching does not serve it."""
    MARKETPLACE_DENIED = auto()
    MARKETPLACE_NO_RULE = auto()
    UNKNOWN_IMAGE = auto()
    UNKNOWN_CUSTOM_IMAGE = auto()
    """The image is not known, and the matrix serves every custom image."""
    NO_IMAGE = auto()
    """Azure Arc: what a server was built from does not matter, and nothing is detected there."""
    ARC_CUT_OFF = auto()
    """An Arc-enabled server that is not Connected, for what azpatch sends."""
    ARC_COMPUTE_NOT_SEEN = auto()
    """Nothing shows that Microsoft.Compute, which assesses Arc-enabled servers periodically, is
    registered in the server's subscription."""


Cell = Mapping[Sign, Answer]


def _cell(otherwise: Answer, by_sign: Mapping[Sign, Answer] | None = None) -> Cell:
    return {sign: (by_sign or {}).get(sign, otherwise) for sign in Sign}


_SEND = _cell(Answer.SEND)
_REFUSE = _cell(Answer.REFUSE)
_WAIT = _cell(Answer.WAIT)
_REFUSE_UNLESS_DETECTED = _cell(Answer.REFUSE, {Sign.SUPPORTED: Answer.SEND})
_SEND_UNLESS_DETECTED = _cell(Answer.SEND, {Sign.UNSUPPORTED: Answer.REFUSE})
_ASSESS = _cell(Answer.SEND, {Sign.UNSUPPORTED: Answer.REPROBE})
_WAIT_UNLESS_DETECTED = _cell(Answer.WAIT, {Sign.UNSUPPORTED: Answer.REFUSE})
_PROBE = _cell(Answer.PROBE, {Sign.UNSUPPORTED: Answer.REPROBE})

_BY_DETECTION = _cell(
    Answer.WAIT,
    {
        Sign.SUPPORTED: Answer.SEND,
        Sign.SUCCEEDED: Answer.SEND,
        Sign.UNDETERMINED: Answer.KNOB,
        Sign.UNSUPPORTED: Answer.REFUSE,
    },
)
_ON_EVIDENCE = _cell(
    Answer.WAIT,
    {
        Sign.SUPPORTED: Answer.SEND,
        Sign.SUCCEEDED: Answer.SEND,
        Sign.UNSUPPORTED: Answer.REFUSE,
    },
)
_UNKNOWN_ON_DEMAND = _cell(
    Answer.WAIT,
    {
        Sign.SUPPORTED: Answer.SEND,
        Sign.SUCCEEDED: Answer.KNOB,
        Sign.UNDETERMINED: Answer.KNOB,
        Sign.UNSUPPORTED: Answer.REFUSE,
    },
)
_UNKNOWN_BY_PLATFORM = _cell(
    Answer.WAIT, {Sign.SUPPORTED: Answer.SEND, Sign.UNSUPPORTED: Answer.REFUSE}
)

ASSESSMENT = OperationName.ON_DEMAND_ASSESSMENT
PATCHING = OperationName.ON_DEMAND_PATCHING
PERIODIC = OperationName.PERIODIC_ASSESSMENT
SCHEDULED = OperationName.SCHEDULED_PATCHING
AUTOMATIC = OperationName.AUTOMATIC_GUEST_PATCHING

ON_DEMAND = frozenset({ASSESSMENT, PATCHING})
"""What azpatch sends; the others the platform runs by itself."""

# No rule, no list speaks for the machine: only what Azure found by an assessment does.
_ONLY_EVIDENCE: Mapping[OperationName, Cell] = {
    ASSESSMENT: _PROBE,
    PATCHING: _ON_EVIDENCE,
    PERIODIC: _ON_EVIDENCE,
    SCHEDULED: _ON_EVIDENCE,
    AUTOMATIC: _REFUSE,
}
_ALLOWED: Mapping[OperationName, Cell] = {
    ASSESSMENT: _ASSESS,
    PATCHING: _SEND_UNLESS_DETECTED,
    PERIODIC: _SEND_UNLESS_DETECTED,
    SCHEDULED: _SEND_UNLESS_DETECTED,
    AUTOMATIC: _REFUSE,
}

TABLE: Mapping[Row, Mapping[OperationName, Cell]] = {
    Row.EXCLUDED_WORKLOAD: dict.fromkeys(OperationName, _REFUSE),
    Row.MATRIX_SUPPORTED: {
        ASSESSMENT: _ASSESS,
        PATCHING: _BY_DETECTION,
        PERIODIC: _SEND_UNLESS_DETECTED,
        SCHEDULED: _BY_DETECTION,
        # No revision calls it supported: the assessment, which detects, does not test it.
        AUTOMATIC: _REFUSE,
    },
    # Azure's own finding outranks the document for what azpatch sends, never for what the
    # platform runs by itself.
    Row.MATRIX_UNSUPPORTED: {
        ASSESSMENT: _cell(Answer.IF_ASKED, {Sign.SUPPORTED: Answer.SEND}),
        PATCHING: _REFUSE_UNLESS_DETECTED,
        PERIODIC: _REFUSE,
        SCHEDULED: _REFUSE,
        AUTOMATIC: _REFUSE,
    },
    Row.SYSTEM_NOT_LISTED: _ONLY_EVIDENCE,
    Row.GALLERY_GATE_CLOSED: dict.fromkeys(OperationName, _REFUSE),
    # What is refused by a closed gate and by a passed one is refused; the rest waits.
    Row.GALLERY_GATE_UNDETERMINED: {
        ASSESSMENT: _PROBE,
        PATCHING: _WAIT_UNLESS_DETECTED,
        PERIODIC: _WAIT_UNLESS_DETECTED,
        SCHEDULED: _WAIT_UNLESS_DETECTED,
        AUTOMATIC: _REFUSE,
    },
    Row.MARKETPLACE_LISTED: {**_ALLOWED, AUTOMATIC: _SEND_UNLESS_DETECTED},
    Row.MARKETPLACE_ALLOWED: _ALLOWED,
    Row.MARKETPLACE_DENIED: {
        ASSESSMENT: _REFUSE_UNLESS_DETECTED,
        PATCHING: _REFUSE_UNLESS_DETECTED,
        PERIODIC: _REFUSE,
        SCHEDULED: _REFUSE,
        AUTOMATIC: _REFUSE,
    },
    Row.MARKETPLACE_NO_RULE: _ONLY_EVIDENCE,
    Row.UNKNOWN_IMAGE: {
        ASSESSMENT: _PROBE,
        PATCHING: _UNKNOWN_ON_DEMAND,
        PERIODIC: _UNKNOWN_BY_PLATFORM,
        SCHEDULED: _UNKNOWN_BY_PLATFORM,
        AUTOMATIC: _REFUSE,
    },
    Row.UNKNOWN_CUSTOM_IMAGE: {
        ASSESSMENT: _PROBE,
        PATCHING: _BY_DETECTION,
        PERIODIC: _BY_DETECTION,
        SCHEDULED: _BY_DETECTION,
        AUTOMATIC: _REFUSE,
    },
    # An assessment there says nothing of support, so that nothing waits for it.
    Row.NO_IMAGE: {**dict.fromkeys(OperationName, _SEND), AUTOMATIC: _REFUSE},
    Row.ARC_CUT_OFF: dict.fromkeys(OperationName, _WAIT),
    Row.ARC_COMPUTE_NOT_SEEN: dict.fromkeys(OperationName, _WAIT),
}
