"""What does the end of an install mean? The outcome table, row by row."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from domain_builders import HOUR, NOW, READABLE

from azpatch.api.install import RebootSetting
from azpatch.api.reasons import Reason
from azpatch.api.target import Outcome
from azpatch.domain.facts import (
    GuestStatus,
    InstallationResult,
    InstalledPatch,
    OperationError,
    RebootStatus,
)
from azpatch.domain.outcome import (
    NOT_SENT,
    Compliance,
    InstallOutcome,
    NotOver,
    Retry,
    install_outcome,
    lost,
)

ENDED = NOW - timedelta(minutes=5)
DEADLINE = NOW + HOUR
MINUTE = timedelta(minutes=1)


def patch(name: str, state: str = "Failed", version: str = "1.0") -> InstalledPatch:
    return InstalledPatch(name, version, None, ("Security",), state)


ESM = patch("esm", version="UA_ESM_Required")


def error(code: str, *details: str) -> OperationError:
    return OperationError(code, "Said Azure.", tuple((d, "Said the guest.") for d in details))


def result(status: GuestStatus = GuestStatus.SUCCEEDED, **fields: Any) -> InstallationResult:
    return InstallationResult(
        status, **{"installed": 3, "reboot_status": RebootStatus.NOT_NEEDED, **fields}
    )


def judge(found: InstallationResult, **given: Any) -> InstallOutcome | NotOver:
    facts: dict[str, Any] = {
        "reboot_setting": RebootSetting.IF_REQUIRED,
        "agent_ready": True,
        "ended": ENDED,
        "deadline": DEADLINE,
        "newer_running": False,
        "now": NOW,
    }
    return install_outcome(found, **{**facts, **given})


FAILED, WARNED = GuestStatus.FAILED, GuestStatus.COMPLETED_WITH_WARNINGS
NEVER = {"reboot_setting": RebootSetting.NEVER}

SUCCEEDED = (Outcome.SUCCEEDED, None, False, Compliance.BY_ASSESSMENT, Retry.NO)
REBOOT_PENDING = (
    Outcome.SUCCEEDED, Reason.REBOOT_PENDING, False, Compliance.FALSE, Retry.NO,
)  # fmt: skip
UBUNTU_PRO = (
    Outcome.SUCCEEDED, Reason.UBUNTU_PRO_REQUIRED, False, Compliance.BY_ASSESSMENT, Retry.NO,
)  # fmt: skip
FAILURE = (
    Outcome.FAILED, Reason.INSTALL_FAILED, True, Compliance.FALSE, Retry.ONCE_IN_WINDOW,
)  # fmt: skip
INCOMPLETE = (
    Outcome.INCOMPLETE, Reason.INSTALL_INCOMPLETE, False, Compliance.FALSE, Retry.NEXT_WINDOW,
)  # fmt: skip
SUPERSEDED = (Outcome.SUPERSEDED, Reason.SUPERSEDED, False, Compliance.UNKNOWN, Retry.ONCE)
NOT_BACK = (Outcome.NOT_BACK, Reason.NOT_BACK, True, Compliance.FALSE, Retry.BY_PERSON)

Row = tuple[Outcome | None, Reason | None, bool, Compliance, Retry]


def as_row(outcome: InstallOutcome) -> Row:
    return (
        outcome.outcome,
        outcome.reason,
        outcome.counts_as_failed,
        outcome.compliance,
        outcome.retry,
    )


@pytest.mark.parametrize(
    ("found", "given", "expected"),
    [
        pytest.param(result(), {}, SUCCEEDED, id="Succeeded"),
        pytest.param(result(error=error("0")), {}, SUCCEEDED, id='error.code "0" is a success'),
        pytest.param(
            result(WARNED, reboot_status=RebootStatus.REQUIRED),
            NEVER,
            REBOOT_PENDING,
            id="warnings only because a reboot is needed, and rebootSetting is Never",
        ),
        pytest.param(
            result(reboot_status=RebootStatus.REQUIRED),
            NEVER,
            REBOOT_PENDING,
            id="Succeeded, a reboot is needed, and rebootSetting is Never",
        ),
        pytest.param(
            result(WARNED, failed=1, patches=(ESM, patch("a", "Installed"))),
            {},
            UBUNTU_PRO,
            id="every failed patch is UA_ESM_Required",
        ),
        pytest.param(
            result(FAILED, failed=1, patches=(ESM,), error=error("1", "UA_ESM_REQUIRED")),
            {},
            UBUNTU_PRO,
            id="every failed patch is UA_ESM_Required, status Failed",
        ),
        pytest.param(
            result(WARNED, failed=2, patches=(ESM, patch("openssl"))),
            {},
            FAILURE,
            id="a failed patch beside UA_ESM_Required",
        ),
        pytest.param(
            result(WARNED, failed=1, patches=(ESM,), maintenance_window_exceeded=True),
            {},
            INCOMPLETE,
            id="window exceeded, all that failed is UA_ESM_Required",
        ),
        pytest.param(
            result(WARNED, error=error("PACKAGE_LIST_TRUNCATED")),
            {},
            SUCCEEDED,
            id="warning only about a truncated list",
        ),
        pytest.param(
            result(WARNED, error=error("1", "package_list_truncated")),
            {},
            FAILURE,
            id="a truncated list beside a code that says something went wrong",
        ),
        pytest.param(
            result(WARNED, failed=1, patches=(patch("openssl"),)), {}, FAILURE, id="failed patches"
        ),
        pytest.param(
            result(FAILED, failed=1), {}, FAILURE, id="failed patches, which are not listed"
        ),
        pytest.param(
            result(FAILED, installed=0, error=error("VMGuestPatchInternalError")),
            {},
            FAILURE,
            id="VMGuestPatchInternalError",
        ),
        pytest.param(
            result(
                FAILED,
                maintenance_window_exceeded=True,
                error=error("VMGuestPatchInternalError"),
            ),
            {},
            FAILURE,
            id="VMGuestPatchInternalError, window exceeded",
        ),
        pytest.param(
            result(FAILED, error=error("1", "PACKAGE_MANAGER_FAILURE")),
            {},
            FAILURE,
            id="Failed without a failed patch",
        ),
        pytest.param(
            result(WARNED, pending=4, maintenance_window_exceeded=True),
            {},
            INCOMPLETE,
            id="maintenanceWindowExceeded with no failed patch",
        ),
        pytest.param(
            result(FAILED, failed=1, maintenance_window_exceeded=True),
            {},
            FAILURE,
            id="maintenanceWindowExceeded with a failed patch",
        ),
        pytest.param(
            result(FAILED, error=error("1", "NEWER_OPERATION_SUPERSEDED")),
            {},
            SUPERSEDED,
            id="superseded, and the newer operation has ended",
        ),
        pytest.param(
            result(reboot_status=RebootStatus.FAILED), {}, NOT_BACK, id="the reboot failed"
        ),
        pytest.param(
            result(FAILED, failed=1, reboot_status=RebootStatus.FAILED),
            {},
            NOT_BACK,
            id="the reboot failed, and patches too",
        ),
        pytest.param(
            result(reboot_status=RebootStatus.STARTED),
            {"now": DEADLINE},
            NOT_BACK,
            id="the reboot still Started at the deadline",
        ),
        pytest.param(
            result(),
            {"agent_ready": False, "now": ENDED + 30 * MINUTE},
            NOT_BACK,
            id="the agent not ready 30 minutes after",
        ),
        pytest.param(
            result(),
            {"agent_ready": True, "now": ENDED + 40 * MINUTE},
            SUCCEEDED,
            id="the agent ready, later than 30 minutes",
        ),
    ],
)
def test_the_table(found: InstallationResult, given: dict[str, Any], expected: Row) -> None:
    outcome = judge(found, **given)

    assert isinstance(outcome, InstallOutcome)
    assert as_row(outcome) == expected
    assert len(outcome.message) <= READABLE


@pytest.mark.parametrize(
    ("found", "given", "until", "reason"),
    [
        pytest.param(
            result(reboot_status=RebootStatus.STARTED),
            {"now": DEADLINE - MINUTE},
            DEADLINE,
            Reason.OPERATION_IN_PROGRESS,
            id="the reboot Started, before the deadline",
        ),
        pytest.param(
            result(),
            {"agent_ready": False, "now": ENDED + 29 * MINUTE},
            ENDED + 30 * MINUTE,
            Reason.AGENT_NOT_READY,
            id="the agent not ready, before 30 minutes",
        ),
        pytest.param(
            result(FAILED, error=error("1", "NEWER_OPERATION_SUPERSEDED")),
            {"newer_running": True},
            None,
            Reason.SUPERSEDED,
            id="superseded, and the newer operation runs",
        ),
    ],
)
def test_an_install_is_not_over_before_its_consequences(
    found: InstallationResult, given: dict[str, Any], until: Any, reason: Reason
) -> None:
    outcome = judge(found, **given)

    assert isinstance(outcome, NotOver)
    assert (outcome.until, outcome.reason) == (until, reason)


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        pytest.param(
            Reason.RESULT_UNKNOWN,
            (Outcome.UNKNOWN, True, Compliance.UNKNOWN, Retry.NOT_IN_WINDOW),
            id="no result by the deadline",
        ),
        pytest.param(
            Reason.MACHINE_GONE,
            (Outcome.SKIPPED, False, Compliance.NONE, Retry.NO),
            id="ARM GET 404",
        ),
        pytest.param(
            Reason.ACCESS_LOST,
            (Outcome.UNKNOWN, True, Compliance.UNKNOWN, Retry.BACKOFF),
            id="ARM GET 403",
        ),
        pytest.param(
            Reason.MACHINE_REPLACED,
            (Outcome.SKIPPED, False, Compliance.NONE, Retry.NO),
            id="another vmId",
        ),
        pytest.param(
            Reason.SUPERSEDED,
            (Outcome.SUPERSEDED, False, Compliance.UNKNOWN, Retry.ONCE),
            id="a newer install has ended",
        ),
    ],
)
def test_a_result_that_will_not_be_known(reason: Reason, expected: tuple[Any, ...]) -> None:
    outcome = lost(reason)

    assert outcome.reason is reason
    assert (
        outcome.outcome,
        outcome.counts_as_failed,
        outcome.compliance,
        outcome.retry,
    ) == expected


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        pytest.param(
            Reason.VM_STOPPED,
            (Outcome.SKIPPED, Compliance.UNKNOWN_WHEN_STALE, Retry.WHILE_OPEN),
            id="stopped",
        ),
        pytest.param(
            Reason.AGENT_NOT_READY,
            (Outcome.SKIPPED, Compliance.UNKNOWN_WHEN_STALE, Retry.WHILE_OPEN),
            id="agent not ready",
        ),
        pytest.param(
            Reason.FOREIGN_OPERATION,
            (None, Compliance.UNCHANGED, Retry.BACKOFF),
            id="someone else's operation running, 409: pending",
        ),
        pytest.param(
            Reason.THROTTLED, (None, Compliance.UNCHANGED, Retry.BACKOFF), id="429: pending"
        ),
        pytest.param(
            Reason.MACHINE_GONE, (Outcome.SKIPPED, Compliance.NONE, Retry.NO), id="ARM GET 404"
        ),
    ],
)
def test_an_install_that_was_not_sent(reason: Reason, expected: tuple[Any, ...]) -> None:
    outcome = NOT_SENT[reason]

    assert (outcome.outcome, outcome.compliance, outcome.retry) == expected
    assert not outcome.counts_as_failed


def test_the_reasons_for_not_sending_are_their_own_keys() -> None:
    assert all(reason is outcome.reason for reason, outcome in NOT_SENT.items())


def test_a_failure_says_what_failed_in_whose_words_and_what_comes_next() -> None:
    failed = tuple(patch(name) for name in ("openssl", "curl", "bash", "zsh"))
    found = result(WARNED, failed=4, patches=failed, error=error("1", "PACKAGE_MANAGER_FAILURE"))
    outcome = judge(found)

    assert isinstance(outcome, InstallOutcome)
    assert outcome.message == (
        "The install failed: 3 installed, 4 failed (openssl, curl, bash, …). "
        "Azure says PACKAGE_MANAGER_FAILURE: Said the guest. "
        "It is tried at most twice in a window."
    )


@pytest.mark.parametrize(
    ("installed", "says"),
    [
        (1, "It was the last try in this window; the next is not before 2026-11-24 06:00 UTC."),
        (0, "It was the last try: these very patches are not installed again."),
    ],
)
def test_the_last_failure_of_a_window_says_when_it_is_tried_again(
    installed: int, says: str
) -> None:
    found = result(WARNED, installed=installed, failed=1, patches=(patch("curl"),))
    outcome = judge(found, next_window=NOW + 18 * HOUR)

    assert isinstance(outcome, InstallOutcome)
    assert outcome.message.endswith(f"failed (curl). {says}")


def test_a_lost_result_carries_azures_words() -> None:
    assert "Azure says AuthorizationFailed: Said Azure." in (
        lost(Reason.ACCESS_LOST, error("AuthorizationFailed")).message
    )


def test_a_pending_reboot_names_the_setting_that_keeps_it_pending() -> None:
    required = result(WARNED, reboot_status=RebootStatus.REQUIRED)
    never, allowed = judge(required, **NEVER), judge(required)

    assert isinstance(never, InstallOutcome)
    assert isinstance(allowed, InstallOutcome)
    assert "install.rebootSetting is Never" in never.message
    assert "rebootSetting" not in allowed.message
    assert as_row(allowed) == REBOOT_PENDING


def test_ubuntu_pro_is_recognised_in_any_case() -> None:
    esm = replace(ESM, version="ua_esm_required")
    outcome = judge(result(WARNED, failed=1, patches=(esm,)))

    assert isinstance(outcome, InstallOutcome)
    assert as_row(outcome) == UBUNTU_PRO
