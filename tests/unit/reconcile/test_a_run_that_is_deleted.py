"""A person deletes a run as soon as it is made: its window is over for the policy."""

from __future__ import annotations

from fakes import HOUR, MINUTE, SECOND
from run_fleet import EVENING, FIRST, SECOND_RUN, Fleet

from azpatch.kube.port import PATCH_POLICY, PATCH_RUN, Kind, KubeError, Object, Unavailable


class Deleted(Fleet):
    """A machine that is due, and a person who lets no run be."""

    def __init__(self, *, answers_are_lost: bool = False) -> None:
        super().__init__(1)
        self.made: list[str] = []
        create, delete = self.world.kube.create, self.world.kube.delete

        async def made(kind: Kind, body: Object) -> Object:
            answer = await create(kind, body)
            if kind == PATCH_RUN:
                self.made.append(answer["metadata"]["name"])
                await delete(kind, answer)
                if answers_are_lost:
                    raise Unavailable("no answer")
            return answer

        self.world.kube.create = made  # type: ignore[method-assign]


def no_policy_is_told(line: str) -> KubeError | None:
    return Unavailable("etcd is away") if line.startswith("status PatchPolicy") else None


async def test_it_is_not_made_anew_by_who_could_not_write_down_that_it_was_made() -> None:
    fleet = Deleted()
    async with fleet.world.operator_runs():
        await fleet.until(17, 59)
        fleet.world.kube.refuse = no_policy_is_told
        await fleet.passes(30 * MINUTE)
        assert fleet.made == [FIRST]
        fleet.world.kube.refuse = lambda _line: None
        await fleet.until(18, 30, day=1)
        assert fleet.made == [FIRST, SECOND_RUN], "the next window has its own"


async def test_it_is_not_made_anew_by_who_has_only_seen_it() -> None:
    """No answer has told that it was made."""
    fleet = Deleted(answers_are_lost=True)
    async with fleet.world.operator_runs():
        await fleet.until(21)
    assert fleet.made == [FIRST]


async def test_it_is_not_made_anew_by_who_reads_in_the_policy_that_there_was_one() -> None:
    """No watch has shown what another leader made and wrote down."""
    fleet = Deleted()
    async with fleet.world.operator_runs():
        await fleet.until(17, 50)
        seen = fleet.world.kube.watch

        def watch(kind: Kind, raw: Object, gone: bool) -> None:
            if kind not in (PATCH_POLICY, PATCH_RUN):
                seen(kind, raw, gone)

        fleet.world.kube.watch = watch
        (raw,) = fleet.world.kube.all(PATCH_POLICY)
        told = {**raw["status"], "lastScheduleTime": "2026-11-23T18:00:00Z"}
        await fleet.world.kube.replace_status(PATCH_POLICY, raw, told)
        await fleet.until(21)
    assert fleet.made == []
    (raw,) = fleet.world.kube.all(PATCH_POLICY)
    assert raw["status"]["lastScheduleTime"] == told["lastScheduleTime"], "it is not written over"


async def test_no_run_is_made_for_a_window_that_ends_while_the_policy_is_read() -> None:
    fleet = Deleted()
    async with fleet.world.operator_runs():
        await fleet.until(17, 50)
        get = fleet.world.kube.get

        async def slow(kind: Kind, name: str, namespace: str = "") -> Object:
            if kind == PATCH_POLICY:
                await fleet.world.clock.sleep(6 * HOUR)
            return await get(kind, name, namespace)

        fleet.world.kube.get = slow  # type: ignore[method-assign]
        await fleet.until(23)
    assert fleet.made == []


async def test_it_is_not_made_anew_by_the_next_operator() -> None:
    """Though the policy's status was written a moment before, and waits a while as a rule."""
    fleet = Deleted()
    async with fleet.world.operator_runs():
        await fleet.until(17, 59)
        await fleet.passes(58 * SECOND)
        fleet.scheduled({**EVENING, "duration": "5h"})
        await fleet.passes(3 * SECOND)
        assert fleet.made == [FIRST]
    async with fleet.world.operator_runs():
        await fleet.until(21)
    assert fleet.made == [FIRST]


async def test_what_its_maker_did_not_live_to_write_down_the_next_does_not_know() -> None:
    """As it is with a CronJob."""
    fleet = Deleted()
    async with fleet.world.operator_runs():
        await fleet.until(17, 59)
        fleet.world.kube.refuse = no_policy_is_told
        await fleet.passes(2 * MINUTE)
    fleet.world.kube.refuse = lambda _line: None
    async with fleet.world.operator_runs():
        await fleet.until(21)
    assert fleet.made == [FIRST, FIRST]
