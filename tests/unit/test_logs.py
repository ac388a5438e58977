"""Logs: one JSON object a line, and nothing secret in it."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from azpatch import logs
from azpatch.logs import HIDDEN, redact

JWT = "eyJhbGciOiJSUzI1NiJ9.eyJhdWQiOiJodHRwczovL21hbmFnZW1lbnQifQ.c2lnbmF0dXJl"
ARM = "https://management.azure.com/subscriptions/S/providers/Microsoft.Compute/locations/we"
OPERATION = f"{ARM}/operations/0f3a?p=1b2c3d4e&api-version=2024-11-01"
SIGNATURE = "t=638400000000000000&c=MIIHpTCCBo2gAwIBAgITfwN&s=kZ3x0bQ8-dGkT_7QJxwYl&h=8fY2bV0nL1oRk"


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """What the process would write; the logging of the test run itself is put back."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    libraries = {name: logging.getLogger(name).level for name in logs._LIBRARIES}
    configured = structlog.get_config()
    written = io.StringIO()
    logs.configure("info", written)
    yield written
    structlog.configure(**configured)
    root.handlers[:], root.level = handlers, level
    for name, before in libraries.items():
        logging.getLogger(name).setLevel(before)


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        pytest.param(f"GET {OPERATION}&{SIGNATURE}", "kZ3x0bQ8", id="ARM's signed operation URL"),
        pytest.param(f"GET {OPERATION}&{SIGNATURE} 202", "8fY2bV0n", id="its hash"),
        pytest.param(f"GET {OPERATION}&{SIGNATURE}", "MIIHpTCC", id="its certificate"),
        pytest.param(
            "https://x.blob.core.windows.net/c/b?sv=2024-01-01&sig=Ab%2Bcd1234567890efgh%3D",
            "Ab%2Bcd",
            id="a storage signature",
        ),
        pytest.param(f"Authorization: Bearer {JWT}", "eyJhdWQi", id="a bearer token"),
        pytest.param("authorization: bearer abcdefgh12345678", "abcdefgh", id="an opaque token"),
        pytest.param(f"got {JWT} from the authority", "eyJ", id="a token by itself"),
        pytest.param("client_secret=hunter2hunter2&grant=x", "hunter2", id="a client secret"),
        pytest.param('{"client_secret": "hunter2"}', "hunter2", id="a client secret in JSON"),
        pytest.param("client_assertion=abc.def&x=1", "abc.def", id="an assertion"),
        pytest.param('{"access_token":"opaque", "n": 1}', "opaque", id="an access token in JSON"),
        pytest.param("AZURE_CLIENT_SECRET=hunter2", "hunter2", id="the variable"),
    ],
)
def test_secrets_are_taken_out(text: str, secret: str) -> None:
    assert secret in text
    assert secret not in redact(text)
    assert HIDDEN in redact(text)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("web-linux: 4 patches are missing (Critical, Security)", id="a sentence"),
        pytest.param(f"{ARM}/operations/0f3a?api-version=2024-11-01", id="an unsigned URL"),
        pytest.param("/subscriptions/6f1c/resourceGroups/rg/providers/x", id="an id"),
        pytest.param("Secret prod-sp has no key AZURE_CLIENT_SECRET", id="a name of a secret"),
    ],
)
def test_what_a_person_needs_stays(text: str) -> None:
    assert redact(text) == text


def test_a_decision_is_one_line_of_json(stream: io.StringIO) -> None:
    structlog.get_logger("azpatch.reconcile").info(
        "decision", policy="web/web-linux", machine="web-1", reason="VMStopped"
    )
    (line,) = lines(stream)
    assert line["event"] == "decision"
    assert line["level"] == "info"
    assert (line["policy"], line["machine"], line["reason"]) == (
        "web/web-linux",
        "web-1",
        "VMStopped",
    )
    assert line["timestamp"].endswith("Z")
    assert list(line)[:3] == ["timestamp", "level", "event"]


def test_every_part_of_a_line_is_redacted(stream: io.StringIO) -> None:
    structlog.get_logger().info(
        f"answer {JWT}",
        url=f"{OPERATION}&{SIGNATURE}",
        deep={"list": [f"Bearer {JWT}"], "client_secret": "hunter2"},
        access_token="opaque",
        error=ValueError(f"bad token {JWT}"),
        count=3,
    )
    text = stream.getvalue()
    for secret in ("eyJ", "kZ3x0bQ8", "hunter2", "opaque"):
        assert secret not in text
    assert lines(stream)[0]["count"] == 3


def test_a_traceback_is_redacted_and_stays_in_its_line(stream: io.StringIO) -> None:
    try:
        raise ValueError(f"cannot use {JWT}")
    except ValueError:
        structlog.get_logger().exception("reconcile failed")
    (line,) = lines(stream)
    assert "ValueError" in line["exception"]
    assert "eyJ" not in stream.getvalue()


def test_the_libraries_speak_through_the_same_lines_when_they_warn(stream: io.StringIO) -> None:
    logging.getLogger("kopf.objects").info("Handler 'PatchTarget seen' is invoked")
    logging.getLogger("azure.core.pipeline").info("Request URL: %s", OPERATION)
    logging.getLogger("azure.mgmt").warning("failed: %s", f"client_secret=hunter2 {JWT}")
    (line,) = lines(stream)
    assert line["level"] == "warning"
    assert line["logger"] == "azure.mgmt"
    assert "hunter2" not in line["event"]
    assert "eyJ" not in line["event"]


def test_the_level_holds_for_us_too(stream: io.StringIO) -> None:
    structlog.get_logger().debug("detail")
    assert lines(stream) == []
