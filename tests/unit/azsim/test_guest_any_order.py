"""Whatever is asked of a guest in whatever order, its story stays a possible one."""

from __future__ import annotations

from datetime import datetime

from hypothesis import given, settings
from hypothesis import strategies as st
from simulated import Azure, linux

from azsim.fleet import PowerState
from azsim.journal import EventEntry

FLEET = """
machines:
  - name: web
    guest:
      failures: {failures}
      missing:
        - {{name: a, version: "1", rebootBehavior: AlwaysRequiresReboot}}
        - {{name: b, version: "1", rebootBehavior: CanRequestReboot}}
        - {{name: c, version: "1", classification: Other}}
"""

FAILURES = (
    "{}",
    "{assessFails: true, times: 1}",
    "{failingPatches: [b]}",
    "{rebootDoesNotComeBack: true}",
    "{agentLost: true}",
    "{exceedsWindow: true}",
    "{internalError: true, times: 1}",
)

deeds = st.lists(
    st.tuples(
        st.sampled_from(
            ["assessPatches", "installPatches", "deallocate", "powerOff", "start", "restart"]
        ),
        st.integers(min_value=0, max_value=25),
    ),
    max_size=12,
)


@settings(max_examples=40, deadline=None)
@given(deeds=deeds, failures=st.sampled_from(FAILURES), seed=st.integers(0, 3))
def test_any_order(deeds: list[tuple[str, int]], failures: str, seed: int) -> None:
    sim = Azure(FLEET.format(failures=failures), seed=seed)
    accepted = []
    for verb, minutes in deeds:
        answer = sim.post("web", verb, linux("Security") if verb == "installPatches" else None)
        assert answer.status in (202, 409, 429)
        if answer.status == 202:
            accepted.append(answer)
        sim.wait(minutes=minutes)
    if sim.machine("web").power is not PowerState.RUNNING:
        sim.wait(minutes=10)
        sim.post("web", "start")
    sim.wait(hours=5)

    events = [entry for entry in sim.journal.events() if entry.resource == sim.machine("web").id]
    one_at_a_time(events)
    in_order([entry.time for entry in events])
    assert all(sim.operation(each)["status"] in ("Succeeded", "Failed") for each in accepted)
    installed = {e.details["name"] for e in events if e.event == "PatchInstalled"}
    assert installed == {"a", "b", "c"} - {patch.name for patch in sim.machine("web").missing}


def one_at_a_time(events: list[EventEntry]) -> None:
    """Every operation that began has ended, and before another did so."""
    running = None
    for entry in events:
        if entry.event == "OperationStarted":
            assert running is None
            running = entry.operation_id
        elif entry.event == "OperationEnded":
            assert entry.operation_id == running
            running = None
        elif entry.event.startswith(("Patch", "Reboot")):
            assert entry.operation_id == running
    assert running is None


def in_order(times: list[datetime]) -> None:
    """No event is recorded before an earlier one."""
    assert times == sorted(times)
