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

    MATRIX_SUPPORTED = auto()
    """The matrix says Supported, and the feature that it needs, if any, is there."""
    MATRIX_UNSUPPORTED = auto()
    GALLERY_GATE_CLOSED = auto()
    GALLERY_GATE_UNDETERMINED = auto()
    MARKETPLACE_NO_RULE = auto()
    UNKNOWN_IMAGE = auto()
    NO_IMAGE = auto()
    """Azure Arc: there is no operation for it in this release."""


Cell = Mapping[Sign, Answer]


def _cell(otherwise: Answer, by_sign: Mapping[Sign, Answer] | None = None) -> Cell:
    return {sign: (by_sign or {}).get(sign, otherwise) for sign in Sign}


_REFUSE = _cell(Answer.REFUSE)
_WAIT = _cell(Answer.WAIT)
_SEND_UNLESS_DETECTED = _cell(Answer.SEND, {Sign.UNSUPPORTED: Answer.REFUSE})
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
_NO_RULE = _cell(
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

TABLE: Mapping[Row, Mapping[OperationName, Cell]] = {
    Row.MATRIX_SUPPORTED: {
        ASSESSMENT: _cell(Answer.SEND, {Sign.UNSUPPORTED: Answer.REPROBE}),
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
        PATCHING: _cell(Answer.REFUSE, {Sign.SUPPORTED: Answer.SEND}),
        PERIODIC: _REFUSE,
        SCHEDULED: _REFUSE,
        AUTOMATIC: _REFUSE,
    },
    Row.GALLERY_GATE_CLOSED: dict.fromkeys(OperationName, _REFUSE),
    # What is refused by a closed gate and by a passed one is refused; the rest waits.
    Row.GALLERY_GATE_UNDETERMINED: {
        ASSESSMENT: _PROBE,
        PATCHING: _WAIT_UNLESS_DETECTED,
        PERIODIC: _WAIT_UNLESS_DETECTED,
        SCHEDULED: _WAIT_UNLESS_DETECTED,
        AUTOMATIC: _REFUSE,
    },
    Row.MARKETPLACE_NO_RULE: {
        ASSESSMENT: _PROBE,
        PATCHING: _NO_RULE,
        PERIODIC: _NO_RULE,
        SCHEDULED: _NO_RULE,
        AUTOMATIC: _REFUSE,
    },
    Row.UNKNOWN_IMAGE: {
        ASSESSMENT: _PROBE,
        PATCHING: _UNKNOWN_ON_DEMAND,
        PERIODIC: _UNKNOWN_BY_PLATFORM,
        SCHEDULED: _UNKNOWN_BY_PLATFORM,
        AUTOMATIC: _REFUSE,
    },
    Row.NO_IMAGE: dict.fromkeys(OperationName, _WAIT),
}
