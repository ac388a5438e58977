"""A gate passes on what comes as it came, and springs its traps at their moment."""

import http.client
import json
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import trustme

from lab.gate import Gate, Moment, Passing, Trap


class Echo(BaseHTTPRequestHandler):
    """Answers with what it was asked."""

    seen: list[str]

    def do_POST(self) -> None:
        """Anything but a watch."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        self.seen.append(f"{self.command} {self.path} {body}")
        answer = json.dumps({"path": self.path, "body": body, "token": self.headers["X-Token"]})
        self.send_response(201)
        self.send_header("Content-Length", str(len(answer)))
        self.send_header("X-Said", "so")
        self.end_headers()
        self.wfile.write(answer.encode())

    def do_GET(self) -> None:
        """A watch: one line, and no end before the server's."""
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"a line\n")
        self.wfile.flush()
        self.server.ended.wait()  # type: ignore[attr-defined]

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


@pytest.fixture
def seen() -> list[str]:
    """What arrived at the server."""
    return []


@pytest.fixture
def gate(tmp_path: Path, seen: list[str]) -> Iterator[Gate]:
    authority = trustme.CA()
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(tls)
    handler = type("Handler", (Echo,), {"seen": seen})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.ended = threading.Event()  # type: ignore[attr-defined]
        server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        with Gate("test", tmp_path) as gate:
            gate.lead_to(f"https://localhost:{server.server_port}", ca_file)
            yield gate
        server.ended.set()  # type: ignore[attr-defined]
        server.shutdown()
        thread.join()


def ask(gate: Gate, path: str = "/a%2Fb?x=1%3D", body: bytes | None = b"said") -> Any:
    request = urllib.request.Request(gate.url + path, data=body, headers={"X-Token": "t"})
    context = ssl.create_default_context(cafile=str(gate.ca_file))
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
    )
    return opener.open(request, timeout=30)


def everything(_: Passing) -> bool:
    return True


def test_what_comes_is_passed_on_as_it_came_and_so_is_the_answer(gate: Gate) -> None:
    with ask(gate) as answer:
        assert answer.status == 201
        assert answer.headers["X-Said"] == "so"
        assert json.loads(answer.read()) == {"path": "/a%2Fb?x=1%3D", "body": "said", "token": "t"}


@pytest.mark.parametrize(
    ("moment", "arrived", "answered"),
    [(Moment.BEFORE, 0, False), (Moment.LOST, 1, False), (Moment.AFTER, 1, True)],
)
def test_a_trap_springs_at_its_moment_and_once(
    gate: Gate, seen: list[str], moment: Moment, arrived: int, answered: bool
) -> None:
    trap = gate.set(Trap(everything, moment))
    if answered:
        with ask(gate) as answer:
            assert answer.status == 201
    else:
        with pytest.raises((urllib.error.URLError, http.client.HTTPException, OSError)):
            ask(gate)
    assert trap.done.wait(30)
    assert len(seen) == arrived
    with ask(gate) as answer:
        assert answer.status == 201, "it sprang once"


def test_a_trap_answers_in_the_servers_place(gate: Gate, seen: list[str]) -> None:
    gate.set(Trap(lambda passing: passing.body == b"said", answer=(409, {"no": 1}), times=2))
    for _ in range(2):
        with pytest.raises(urllib.error.HTTPError) as refused:
            ask(gate)
        with refused.value as answer:
            assert answer.code == 409
            assert json.loads(answer.read()) == {"no": 1}
    assert seen == []
    with ask(gate):
        assert len(seen) == 1


def test_a_trap_that_is_removed_springs_no_more(gate: Gate) -> None:
    trap = gate.set(Trap(everything))
    gate.remove(trap)
    with ask(gate) as answer:
        assert answer.status == 201
    assert trap.sprung == 0


def test_an_answer_that_goes_on_can_be_cut(gate: Gate) -> None:
    with ask(gate, "/things?watch=true", None) as answer:
        assert answer.readline() == b"a line\n"
        assert gate.cut_streams() == 1
        with pytest.raises((http.client.HTTPException, OSError)):
            answer.read()
