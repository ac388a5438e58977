"""What the end of an install means: failed or not, compliant or not, tried again or not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from azpatch.api.install import RebootSetting
from azpatch.api.reasons import Reason
from azpatch.api.target import Outcome
from azpatch.domain.facts import (
    GuestStatus,
    InstallationResult,
    OperationError,
    RebootStatus,
)
from azpatch.domain.selection import UBUNTU_PRO_VERSION
from azpatch.domain.words import at, azure_says, sentences

AGENT_PATIENCE = timedelta(minutes=30)
"""How long after an install the agent may take to report; Azure itself waits up to 25 minutes for
a reboot."""

ASSESSMENT_STALE = timedelta(days=7)
"""Azure Resource Graph keeps an assessment for so long; an older one says nothing of today."""

# The guest's own codes in a result's error details, and Compute's for a failure inside Azure.
_SUPERSEDED = "NEWER_OPERATION_SUPERSEDED"
_TRUNCATED = "PACKAGE_LIST_TRUNCATED"
_INTERNAL_ERROR = "VMGUESTPATCHINTERNALERROR"
_HARMLESS = frozenset(
    {"", "0", "INFORMATIONAL", "UA_ESM_REQUIRED", "CERTIFICATE_UPDATE", _TRUNCATED}
)


class Compliance(StrEnum):
    """What an end does to the condition Compliant until the next assessment."""

    BY_ASSESSMENT = "ByAssessment"
    """The re-assessment decides, by the policy's own selection."""
    FALSE = "False"
    UNKNOWN = "Unknown"
    UNKNOWN_WHEN_STALE = "UnknownWhenStale"
    """Unchanged until the last assessment is older than ASSESSMENT_STALE."""
    UNCHANGED = "Unchanged"
    NONE = "None"
    """There is no machine to speak of."""


class Retry(StrEnum):
    """Whether and when an install is sent again."""

    NO = "No"
    """Nothing is left to try."""
    ONCE_IN_WINDOW = "OnceInWindow"
    """Once in this window, then in the next."""
    NEXT_WINDOW = "NextWindow"
    ONCE = "Once"
    NOT_IN_WINDOW = "NotInWindow"
    """No POST in this window."""
    BY_PERSON = "ByPerson"
    """Only after a person has seen to the machine."""
    WHILE_OPEN = "WhileOpen"
    """As soon as the machine can, while the window is open."""
    BACKOFF = "Backoff"


@dataclass(frozen=True, slots=True)
class InstallOutcome:
    """What an install came to."""

    outcome: Outcome | None
    """None: pending, nothing was sent and nothing ended."""
    reason: Reason | None
    """None where the outcome says it all."""
    counts_as_failed: bool
    """Counts towards maxFailed, once however often it is tried; and, as long as there are no
    runs, keeps its slot of maxUnavailable until a later assessment succeeds."""
    compliance: Compliance
    retry: Retry
    message: str


@dataclass(frozen=True, slots=True)
class NotOver:
    """The install ended, its consequences have not: the machine stays unavailable."""

    until: datetime | None
    """When it is judged at the latest; None: when the newer operation ends."""
    reason: Reason
    message: str


def install_outcome(
    result: InstallationResult,
    *,
    reboot_setting: RebootSetting,
    agent_ready: bool,
    ended: datetime,
    deadline: datetime,
    newer_running: bool,
    now: datetime,
    next_window: datetime | None = None,
) -> InstallOutcome | NotOver:
    """What the result of an install means.

    `ended` is when the result was there, `deadline` the operation's, `newer_running` whether
    another guest patch operation runs on the machine. `next_window`: when the next begins, where
    this was the last try in its own; None: another is left.
    """
    if _SUPERSEDED in _codes(result.error):
        return _newer_is_running() if newer_running else _SUPERSEDED_AND_OVER
    return (
        _waits_for_machine(result, agent_ready, ended, deadline, now)
        or _not_back(result, agent_ready)
        or _failed_or_incomplete(result, next_window)
        or _succeeded(result, reboot_setting)
    )


def lost(reason: Reason, error: OperationError | None = None) -> InstallOutcome:
    """What it means that an install's result will not be known.

    `reason` is ResultUnknown, AccessLost, MachineGone, MachineReplaced or Superseded; KeyError for
    others.
    """
    outcome = _LOST[reason]
    return replace(outcome, message=sentences(outcome.message, azure_says(error)))


def _waits_for_machine(
    result: InstallationResult,
    agent_ready: bool,
    ended: datetime,
    deadline: datetime,
    now: datetime,
) -> NotOver | None:
    if result.reboot_status is RebootStatus.FAILED:
        return None
    if result.reboot_status is RebootStatus.STARTED:
        if now >= deadline:
            return None
        return NotOver(
            deadline,
            Reason.OPERATION_IN_PROGRESS,
            f"The install ended and the machine reboots; it has until {at(deadline)} to be back.",
        )
    back_by = ended + AGENT_PATIENCE
    if agent_ready or now >= back_by:
        return None
    return NotOver(
        back_by,
        Reason.AGENT_NOT_READY,
        f"The install ended; the machine's agent has until {at(back_by)} to report as ready.",
    )


def _not_back(result: InstallationResult, agent_ready: bool) -> InstallOutcome | None:
    if result.reboot_status is RebootStatus.FAILED:
        what = "Azure reports that the reboot after the install failed."
    elif result.reboot_status is RebootStatus.STARTED:
        what = "The reboot after the install had not ended by the deadline."
    elif not agent_ready:
        minutes = AGENT_PATIENCE // timedelta(minutes=1)
        what = f"The machine's agent was not ready {minutes} minutes after the install."
    else:
        return None
    return InstallOutcome(
        Outcome.NOT_BACK,
        Reason.NOT_BACK,
        True,
        Compliance.FALSE,
        Retry.BY_PERSON,
        f"{what} Nothing more is installed on it. Look at its console or boot diagnostics, and at "
        "its agent; an assessment that succeeds frees it.",
    )


def _failed_or_incomplete(
    result: InstallationResult, next_window: datetime | None
) -> InstallOutcome | None:
    failures = result.failed - _ubuntu_pro_failures(result)
    internal = _INTERNAL_ERROR in _codes(result.error)
    if failures <= 0 and result.maintenance_window_exceeded and not internal:
        return InstallOutcome(
            Outcome.INCOMPLETE,
            Reason.INSTALL_INCOMPLETE,
            False,
            Compliance.FALSE,
            Retry.NEXT_WINDOW,
            f"maximumDuration ended before everything was in: {_counts(result)}. The rest follows "
            "in the next window. Raise install.maximumDuration if this happens again.",
        )
    # Where all that failed needs Ubuntu Pro, that explains the result's status and codes.
    explained = failures <= 0 and result.failed > 0
    unexplained = not explained and (
        result.status is GuestStatus.FAILED or bool(_codes(result.error) - _HARMLESS)
    )
    if failures <= 0 and not internal and not unexplained:
        return None
    return InstallOutcome(
        Outcome.FAILED,
        Reason.INSTALL_FAILED,
        True,
        Compliance.FALSE,
        Retry.ONCE_IN_WINDOW,
        sentences(
            f"The install failed: {_counts(result)}{_names_of_failed(result)}.",
            azure_says(result.error),
            _again(result, next_window),
        ),
    )


def _again(result: InstallationResult, next_window: datetime | None) -> str:
    if next_window is None:
        return "It is tried at most twice in a window."
    if brought_nothing(result):
        return "It was the last try: these very patches are not installed again."
    return f"It was the last try in this window; the next is not before {at(next_window)}."


def brought_nothing(result: InstallationResult) -> bool:
    """Whether patches failed and none was installed: the same again would bring nothing."""
    return result.installed == 0 and result.failed > 0


def _succeeded(result: InstallationResult, reboot_setting: RebootSetting) -> InstallOutcome:
    reason: Reason | None = None
    compliance, retry = Compliance.BY_ASSESSMENT, Retry.NO
    message = f"The install succeeded: {_counts(result)}. An assessment tells what is left."
    if _TRUNCATED in _codes(result.error):
        message += " Azure cut the list of patches, so it may not name them all."
    ubuntu_pro = _ubuntu_pro_failures(result)
    if ubuntu_pro:
        reason = Reason.UBUNTU_PRO_REQUIRED
        message += (
            f" {ubuntu_pro} of them need Ubuntu Pro and are never tried again; attach the machine "
            "to Ubuntu Pro to get them."
        )
    if result.reboot_status is RebootStatus.REQUIRED:
        reason, compliance = Reason.REBOOT_PENDING, Compliance.FALSE
        message += _about_pending_reboot(reboot_setting)
    return InstallOutcome(Outcome.SUCCEEDED, reason, False, compliance, retry, message)


def _about_pending_reboot(reboot_setting: RebootSetting) -> str:
    if reboot_setting is RebootSetting.NEVER:
        return (
            " The machine needs a reboot, and install.rebootSetting is Never: reboot it, or set "
            "IfRequired."
        )
    return " The machine needs a reboot that did not take place; it is due until it has."


def _newer_is_running() -> NotOver:
    return NotOver(
        None,
        Reason.SUPERSEDED,
        "A newer guest patch operation replaced the install; it is judged when that one has ended.",
    )


_AFTER_ANOTHER = (
    "An assessment tells what is left; if the machine is due it is tried once more. Find out who "
    "else patches it."
)
_SUPERSEDED_AND_OVER = InstallOutcome(
    Outcome.SUPERSEDED,
    Reason.SUPERSEDED,
    False,
    Compliance.UNKNOWN,
    Retry.ONCE,
    f"A newer guest patch operation replaced the install and has ended. {_AFTER_ANOTHER}",
)


_LOST: Mapping[Reason, InstallOutcome] = {
    outcome.reason: outcome
    for outcome in (
        InstallOutcome(
            Outcome.UNKNOWN,
            Reason.RESULT_UNKNOWN,
            True,
            Compliance.UNKNOWN,
            Retry.NOT_IN_WINDOW,
            "The install had no result by its deadline. Nothing more is installed in this window; "
            "an assessment tells what is missing. Look at the machine and its agent.",
        ),
        InstallOutcome(
            Outcome.UNKNOWN,
            Reason.ACCESS_LOST,
            True,
            Compliance.UNKNOWN,
            Retry.BACKOFF,
            "Azure refuses to show the machine (403), so the install's result is not known. It is "
            "asked again, less and less often. Give the identity its role back.",
        ),
        InstallOutcome(
            Outcome.SKIPPED,
            Reason.MACHINE_GONE,
            False,
            Compliance.NONE,
            Retry.NO,
            "The machine was deleted while the install ran.",
        ),
        InstallOutcome(
            Outcome.SKIPPED,
            Reason.MACHINE_REPLACED,
            False,
            Compliance.NONE,
            Retry.NO,
            "Another machine has the name now; what was known of the old one is dropped.",
        ),
        replace(
            _SUPERSEDED_AND_OVER,
            message="Somebody else installed after it, or in its place, before its result could be "
            f"read: Azure shows the last install only. {_AFTER_ANOTHER}",
        ),
    )
    if outcome.reason is not None
}


def _skipped(reason: Reason, message: str) -> InstallOutcome:
    return InstallOutcome(
        Outcome.SKIPPED, reason, False, Compliance.UNKNOWN_WHEN_STALE, Retry.WHILE_OPEN, message
    )


def _pending(reason: Reason, message: str) -> InstallOutcome:
    return InstallOutcome(None, reason, False, Compliance.UNCHANGED, Retry.BACKOFF, message)


NOT_SENT: Mapping[Reason, InstallOutcome] = {
    Reason.VM_STOPPED: _skipped(
        Reason.VM_STOPPED,
        "The machine does not run, and Azure patches running machines only. It is patched when it "
        "runs; start it.",
    ),
    Reason.AGENT_NOT_READY: _skipped(
        Reason.AGENT_NOT_READY,
        "The machine's VM agent is not ready. It is patched when the agent is; look at the agent.",
    ),
    Reason.ARC_DISCONNECTED: _skipped(
        Reason.ARC_DISCONNECTED,
        "Azure does not hear the server's Azure Connected Machine agent, and reaches connected "
        "servers only. It is patched when the agent is back; see `azcmagent show` on the server, "
        "and its network.",
    ),
    Reason.ARC_EXPIRED: _skipped(
        Reason.ARC_EXPIRED,
        "The server was silent for 45 days and Azure no longer takes its agent's credentials, or "
        "its agent was never connected. It is patched when it is Connected; onboard it anew: "
        "`azcmagent disconnect`, then `connect`.",
    ),
    Reason.ARC_ERROR: _skipped(
        Reason.ARC_ERROR,
        "The server's Azure Connected Machine agent reports an error. It is patched when it is "
        "Connected; see `azcmagent show` and `azcmagent check` on the server.",
    ),
    Reason.FOREIGN_OPERATION: _pending(
        Reason.FOREIGN_OPERATION,
        "Someone else's guest patch operation runs on the machine. It holds a slot until it ends, "
        "then azpatch looks again.",
    ),
    Reason.THROTTLED: _pending(
        Reason.THROTTLED, "Azure asks to wait (429); the operation is sent later."
    ),
    Reason.MACHINE_GONE: _LOST[Reason.MACHINE_GONE],
    Reason.MACHINE_REPLACED: _LOST[Reason.MACHINE_REPLACED],
}
"""What it means that an install was not sent, by why. A 409 is someone else's operation."""


# --- in words -----------------------------------------------------------------------------------

_NAMES_SHOWN = 3


def _codes(error: OperationError | None) -> frozenset[str]:
    """The error's codes and its details', in upper case; `0` is a success."""
    if error is None:
        return frozenset()
    return frozenset(code.upper() for code in (error.code, *(code for code, _ in error.details)))


def _ubuntu_pro_failures(result: InstallationResult) -> int:
    return sum(
        1
        for patch in result.patches or ()
        if patch.state == "Failed" and (patch.version or "").lower() == UBUNTU_PRO_VERSION.lower()
    )


def _counts(result: InstallationResult) -> str:
    parts = (
        (result.installed, "installed"),
        (result.failed, "failed"),
        (result.pending, "pending"),
    )
    return ", ".join(f"{count} {what}" for count, what in parts if count or what == "installed")


def _names_of_failed(result: InstallationResult) -> str:
    names = [patch.name for patch in result.patches or () if patch.state == "Failed"]
    if not names:
        return ""
    more = ", …" if len(names) > _NAMES_SHOWN else ""
    return f" ({', '.join(names[:_NAMES_SHOWN])}{more})"
