"""What Azure found out by itself about a machine, and for how long it is believed.

An assessment makes Azure judge whether it can patch the machine. The judgement appears, some time
later, in Azure Resource Graph's row, and vanishes from there after seven days.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from azpatch.api.common import DetectedState
from azpatch.api.target import DetectedStatus
from azpatch.domain.clocks import no_earlier
from azpatch.domain.facts import AssessmentResult, GuestStatus, Machine
from azpatch.domain.ids import key

SUPPORTED_REMEMBERED = timedelta(days=30)
"""Longer than the seven days of the row, short enough to notice when Azure's support ends."""

PROBE_INTERVALS = (timedelta(hours=24), timedelta(days=3), timedelta(days=7))
"""After the first, second and every later time that Azure found a machine unsupported."""


class Sign(StrEnum):
    """The evidence, in the notation of the decision table."""

    SUPPORTED = "D+"
    SUCCEEDED = "D0"
    """The assessment succeeded and says nothing of support: its success is the evidence."""
    UNDETERMINED = "D?"
    UNSUPPORTED = "D-"
    NONE = "D∅"
    """No row that counts, or the assessment runs or failed."""


@dataclass(frozen=True, slots=True)
class Detection:
    """The evidence on one machine, and what to remember of it."""

    sign: Sign
    status: DetectedStatus | None
    """For PatchTarget.status.detected."""
    row_counts: bool
    """Whether Resource Graph's row may be believed at all, for its age and its counts too."""
    probe_due: bool
    """The machine was found unsupported, and it is time to let Azure judge it again."""


def counts(row: AssessmentResult, machine: Machine, since: datetime | None) -> bool:
    """Whether a row is about the machine as it is now.

    `since` is the start of our last operation on the machine: from then on older rows do not
    count. Before it, a row counts if it is newer than the machine.
    """
    if row.last_modified is None:
        return False
    if machine.time_created is not None and row.last_modified <= machine.time_created:
        return False
    if since is not None:
        return row.last_modified >= since
    return machine.time_created is not None


def detect(
    row: AssessmentResult | None,
    remembered: DetectedStatus | None,
    machine: Machine,
    image_reference: str | None,
    since: datetime | None,
    now: datetime,
) -> Detection:
    """The evidence from Resource Graph's row and from what is remembered.

    The caller has dropped what is remembered of a machine with another vmId. `image_reference`
    is the machine's now (`Image.reference`). A changed reference leaves a mark, state Unknown at
    `now`, because a row from before the change is still in Resource Graph.
    """
    if remembered is not None and not _same(remembered.image_reference, image_reference):
        remembered = DetectedStatus(
            state=DetectedState.UNKNOWN,
            time=no_earlier(now, row.last_modified if row else None),
            image_reference=image_reference,
        )
    row_counts = (
        row is not None
        and counts(row, machine, since)
        and (remembered is None or (row.last_modified or now) >= remembered.time)
    )
    seen = _sign(row) if row is not None and row_counts else Sign.NONE
    status = _remember(seen, row, remembered, image_reference) if row_counts else remembered
    status = _postpone(status, since)
    sign = _merge(seen, status, now)
    return Detection(sign, status, row_counts, probe_due=_probe_due(sign, status, now))


def assumed(state: DetectedState | None) -> Detection:
    """The evidence where all that is known is the state of an assessment that has just succeeded;
    None: there was none."""
    found = Sign.NONE
    if state is not None:
        found = _sign(AssessmentResult(GuestStatus.SUCCEEDED, detected=state))
    return Detection(found, None, row_counts=False, probe_due=False)


def _sign(row: AssessmentResult) -> Sign:
    ended_well = row.status in {GuestStatus.SUCCEEDED, GuestStatus.COMPLETED_WITH_WARNINGS}
    match row.detected:
        case DetectedState.UNSUPPORTED if row.status.ended:
            return Sign.UNSUPPORTED
        case DetectedState.SUPPORTED if ended_well:
            return Sign.SUPPORTED
        case DetectedState.UNABLE_TO_DETERMINE if ended_well:
            return Sign.UNDETERMINED
        case DetectedState.UNKNOWN | None if row.status is GuestStatus.SUCCEEDED:
            return Sign.SUCCEEDED
        case _:
            return Sign.NONE


_STATE = {
    Sign.SUPPORTED: DetectedState.SUPPORTED,
    Sign.SUCCEEDED: DetectedState.UNKNOWN,
    Sign.UNDETERMINED: DetectedState.UNABLE_TO_DETERMINE,
    Sign.UNSUPPORTED: DetectedState.UNSUPPORTED,
}


def _remember(
    seen: Sign,
    row: AssessmentResult | None,
    before: DetectedStatus | None,
    image_reference: str | None,
) -> DetectedStatus | None:
    assert row is not None
    assert row.last_modified is not None
    # A success that says nothing of support contradicts "unsupported", not "supported".
    silent = (
        seen is Sign.SUCCEEDED
        and before is not None
        and before.state is DetectedState.SUPPORTED
        and row.last_modified - before.time <= SUPPORTED_REMEMBERED
    )
    if seen is Sign.NONE or silent:
        return before
    if before is not None and before.time == row.last_modified and before.state is _STATE[seen]:
        return before
    probes, next_probe = 0, None
    if seen is Sign.UNSUPPORTED:
        if before is not None and before.state is DetectedState.UNSUPPORTED:
            probes = before.probes + 1
        next_probe = row.last_modified + _interval(probes)
    return DetectedStatus(
        state=_STATE[seen],
        time=row.last_modified,
        image_reference=image_reference,
        probes=probes,
        next_probe_time=next_probe,
    )


def _merge(seen: Sign, status: DetectedStatus | None, now: datetime) -> Sign:
    """What is remembered, where the row says nothing of support."""
    if status is None:
        return seen
    if status.state is DetectedState.UNSUPPORTED:
        return Sign.UNSUPPORTED
    if status.state is DetectedState.SUPPORTED and now - status.time <= SUPPORTED_REMEMBERED:
        return Sign.SUPPORTED
    return seen


def _postpone(status: DetectedStatus | None, since: datetime | None) -> DetectedStatus | None:
    """A probe that was sent and brought no row is not sent again and again."""
    if status is None or status.next_probe_time is None or since is None:
        return status
    if since < status.next_probe_time:
        return status
    return status.replace(next_probe_time=since + _interval(status.probes))


def _probe_due(sign: Sign, status: DetectedStatus | None, now: datetime) -> bool:
    if sign is not Sign.UNSUPPORTED or status is None:
        return False
    return status.next_probe_time is None or now >= status.next_probe_time


def _interval(probes: int) -> timedelta:
    return PROBE_INTERVALS[min(probes, len(PROBE_INTERVALS) - 1)]


def _same(one: str | None, other: str | None) -> bool:
    return key(one or "") == key(other or "")
