"""A simulated Azure under a clock that the test moves: requests in, answers out, no sockets."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from azsim.arcmachine import ArcMachine
from azsim.clock import ManualClock
from azsim.cloud import Cloud
from azsim.edge import build_router
from azsim.fleetfile import parse
from azsim.http import Principal, Request, Response
from azsim.journal import Journal
from azsim.machine import Machine
from azsim.virtualmachine import VirtualMachine

START = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
HOST = "azure.test"
API = "2026-04-01"


class Azure:
    """One cloud, called as one of its principals (the first, unless told otherwise)."""

    def __init__(self, fleet: str, *, seed: int = 1, journal: Journal | None = None) -> None:
        self.clock = ManualClock(START)
        self.journal = journal or Journal()
        self.cloud = Cloud(
            parse(fleet), self.clock, random.Random(seed), self.journal, build_router()
        )
        self._tokens: dict[str, str] = {}

    def call(
        self,
        method: str,
        url: str,
        body: Any = None,
        *,
        headers: Mapping[str, str] | None = None,
        principal: int = 0,
    ) -> Response:
        """One request; `url` is a path or a whole URL, with or without a query."""
        answer = self.send(method, url, body, headers=headers, principal=principal)
        assert answer is not None, f"{method} {url}: the connection ended"
        return answer

    def send(
        self,
        method: str,
        url: str,
        body: Any = None,
        *,
        headers: Mapping[str, str] | None = None,
        principal: int = 0,
    ) -> Response | None:
        """As `call`, by the whole way that a request goes; None: the connection ended."""
        content = b"" if body is None else json.dumps(body).encode()
        signed = {"authorization": f"Bearer {self._token(principal)}", **(headers or {})}
        request = self.request(method, url, content, signed)
        effect = self.cloud.faults.strike(request)
        self.clock.advance(effect.arrive_after)
        response = self.cloud.answer(request, effect)
        self.clock.advance(effect.answer_after)
        return response

    def request(
        self, method: str, url: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Request:
        """A request to this cloud, not yet sent; without sign-in unless `headers` have it."""
        parts = urlsplit(url)
        query = {"api-version": API, **dict(parse_qsl(parts.query))}
        return Request(method, parts.path, query, {"host": HOST, **(headers or {})}, body)

    def _token(self, number: int) -> str:
        spec = self.cloud.fleet.principals[number]
        if spec.name not in self._tokens:
            principal = Principal(spec.object_id, spec.client_id, spec.tenant_id)
            issued = self.cloud.signin.issue(principal, f"https://{HOST}", f"https://{HOST}/")
            self._tokens[spec.name] = issued["access_token"]
        return self._tokens[spec.name]

    def machine(self, name: str) -> VirtualMachine:
        """The virtual machine of this name."""
        found = self.any_machine(name)
        assert isinstance(found, VirtualMachine)
        return found

    def arc(self, name: str) -> ArcMachine:
        """The Arc-enabled server of this name."""
        found = self.any_machine(name)
        assert isinstance(found, ArcMachine)
        return found

    def any_machine(self, name: str) -> Machine:
        """The machine of this name, whatever its kind."""
        return next(m for m in self.cloud.machines.values() if m.name == name)

    def post(self, name: str, verb: str, body: Any = None, **more: Any) -> Response:
        """An action on a machine."""
        return self.call("POST", f"{self.any_machine(name).id}/{verb}", body, **more)

    def view(self, name: str) -> Any:
        """A machine's instance view."""
        answer = self.call("GET", f"{self.machine(name).id}/instanceView")
        assert answer.status == 200
        return answer.json()

    def operation(self, accepted: Response) -> Any:
        """The operation that a 202 spoke of, as it is now."""
        assert accepted.status == 202, accepted.body
        return self.call("GET", accepted.headers["azure-asyncoperation"]).json()

    def output(self, accepted: Response) -> Any:
        """The result of an operation that has succeeded."""
        operation = self.operation(accepted)
        assert operation["status"] == "Succeeded", operation
        return operation["properties"]["output"]

    def wait(self, **duration: float) -> None:
        """Let simulated time pass, and with it whatever is due."""
        self.cloud.advance(self.clock.advance(timedelta(**duration)))

    def story(self, name: str) -> list[str]:
        """What has happened to a machine, by the names of the events."""
        machine = self.any_machine(name)
        return [e.event for e in self.journal.events() if e.resource == machine.id]


def linux(*classifications: str, **more: Any) -> dict[str, Any]:
    """A body of installPatches for Linux; `more` overrides its fields."""
    return {
        "maximumDuration": "PT2H",
        "rebootSetting": "IfRequired",
        "linuxParameters": {"classificationsToInclude": list(classifications)},
        **more,
    }
