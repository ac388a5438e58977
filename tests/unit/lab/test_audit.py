"""Reading the API server's audit log."""

import json
from pathlib import Path
from typing import Any

import pytest

from lab.audit import WRITE_VERBS, read_audit_log


def line(verb: str, user: str, stage: str = "ResponseComplete", **target: str) -> str:
    event: dict[str, Any] = {
        "stage": stage,
        "requestReceivedTimestamp": "2026-11-23T10:00:00.123456Z",
        "verb": verb,
        "user": {"username": user},
        "objectRef": {"resource": "patchtargets", "namespace": "web", **target},
        "responseStatus": {"code": 200},
    }
    return json.dumps(event) + "\n"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "audit.log"
    path.write_text(
        line("patch", "operator", subresource="status", name="web-1")
        + line("list", "operator")
        + line("watch", "operator", stage="ResponseStarted")
        + line("create", "controllers", name="web-2")
    )
    return path


@pytest.mark.parametrize(
    ("verbs", "user", "expected"),
    [
        pytest.param(None, None, ["patch", "list", "create"], id="all that has finished"),
        pytest.param(WRITE_VERBS, None, ["patch", "create"], id="writes"),
        pytest.param(WRITE_VERBS, "operator", ["patch"], id="writes of one user"),
    ],
)
def test_events_are_chosen_by_verb_and_user(
    verbs: frozenset[str] | None, user: str | None, expected: list[str], log: Path
) -> None:
    assert [event.verb for event in read_audit_log(log, verbs, user)] == expected


def test_an_event_reads_as_one_line(log: Path) -> None:
    event = read_audit_log(log, {"patch"}, None)[0]
    assert str(event) == "10:00:00.123456 operator patch patchtargets/status web/web-1 200"


def test_a_line_that_is_still_being_written_is_left_for_later(log: Path) -> None:
    with log.open("a") as growing:
        growing.write(line("delete", "operator")[:30])
    assert len(read_audit_log(log, None, None)) == 3


def test_a_log_that_is_not_there_yet_is_empty(tmp_path: Path) -> None:
    assert read_audit_log(tmp_path / "none", None, None) == []
