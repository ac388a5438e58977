"""What a process may still do that lost its Lease: read."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any

import pytest

from azpatch.kube.fencing import LeadersOnly
from azpatch.kube.port import PATCH_TARGET, Kind, Kube, NotLeading, Object

TARGET: Object = {"metadata": {"name": "web-1", "namespace": "web"}}


class Recorder:
    """A Kube that notes what it is asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def get(self, kind: Kind, name: str, namespace: str = "") -> Object:
        self.asked.append("get")
        return TARGET

    async def scan(self, kind: Kind, take: Callable[[Object], object]) -> Collection[str]:
        self.asked.append("scan")
        return ()

    async def create(self, kind: Kind, body: Object) -> Object:
        self.asked.append("create")
        return TARGET

    async def replace_status(self, kind: Kind, base: Object, status: Mapping[str, Any]) -> Object:
        self.asked.append("replace_status")
        return TARGET

    async def set_finalizers(self, kind: Kind, base: Object, finalizers: Sequence[str]) -> Object:
        self.asked.append("set_finalizers")
        return TARGET

    async def delete(self, kind: Kind, base: Object) -> None:
        self.asked.append("delete")

    async def secret(self, name: str) -> Mapping[str, bytes]:
        self.asked.append("secret")
        return {}

    async def event(
        self, kind: Kind, regarding: Object, *, warning: bool, reason: str, action: str, note: str
    ) -> None:
        self.asked.append("event")


Call = Callable[[Kube], Awaitable[object]]

READS: dict[str, Call] = {
    "get": lambda kube: kube.get(PATCH_TARGET, "web-1", "web"),
    "scan": lambda kube: kube.scan(PATCH_TARGET, print),
    "secret": lambda kube: kube.secret("prod-sp"),
}
WRITES: dict[str, Call] = {
    "create": lambda kube: kube.create(PATCH_TARGET, TARGET),
    "replace_status": lambda kube: kube.replace_status(PATCH_TARGET, TARGET, {}),
    "set_finalizers": lambda kube: kube.set_finalizers(PATCH_TARGET, TARGET, []),
    "delete": lambda kube: kube.delete(PATCH_TARGET, TARGET),
}
EVENT: dict[str, Call] = {
    "event": lambda kube: kube.event(
        PATCH_TARGET, TARGET, warning=False, reason="R", action="A", note="n"
    )
}


@pytest.mark.parametrize("name", READS | WRITES | EVENT)
async def test_a_leader_does_everything(name: str) -> None:
    kube = Recorder()
    await (READS | WRITES | EVENT)[name](LeadersOnly(kube, lambda: True))
    assert kube.asked == [name]


@pytest.mark.parametrize("name", READS)
async def test_who_does_not_lead_may_read(name: str) -> None:
    kube = Recorder()
    await READS[name](LeadersOnly(kube, lambda: False))
    assert kube.asked == [name]


@pytest.mark.parametrize("name", WRITES)
async def test_who_does_not_lead_writes_nothing(name: str) -> None:
    kube = Recorder()
    with pytest.raises(NotLeading):
        await WRITES[name](LeadersOnly(kube, lambda: False))
    assert kube.asked == []


async def test_who_does_not_lead_sends_no_event_and_is_told_no_error() -> None:
    kube = Recorder()
    await EVENT["event"](LeadersOnly(kube, lambda: False))
    assert kube.asked == []
