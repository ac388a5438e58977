"""What the store keeps, finds and lets go."""

import asyncio
from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any

import pytest

from azpatch.domain import ids
from azpatch.kube.port import (
    AZURE_SUBSCRIPTION,
    NAMESPACE,
    PATCH_POLICY,
    PATCH_RUN,
    PATCH_TARGET,
    WATCHED,
    Kind,
    Object,
)
from azpatch.reconcile import routing, store
from azpatch.reconcile.queue import Key
from azpatch.reconcile.store import Store, Stored

MACHINE = (
    "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/rg"
    "/providers/Microsoft.Compute/virtualMachines/web-1"
)


def thing(
    kind: Kind,
    name: str,
    *,
    namespace: str = "web",
    version: str = "1",
    uid: str = "",
    spec: dict[str, Any] | None = None,
    **more: Any,
) -> Object:
    meta: dict[str, Any] = {"name": name, "uid": uid or f"uid-{name}", "resourceVersion": version}
    if kind.namespaced:
        meta["namespace"] = namespace
    return {
        "apiVersion": "azpatch.dev/v1alpha1",
        "kind": kind.kind,
        "metadata": {**meta, **more},
        "spec": spec or {},
    }


def target(name: str, policy: str = "web-linux", machine: str = MACHINE, **more: Any) -> Object:
    return thing(PATCH_TARGET, name, spec={"machineId": machine, "policy": policy}, **more)


def policy(name: str, **more: Any) -> Object:
    spec = {"target": {"virtualMachine": {"id": MACHINE}}}
    return thing(PATCH_POLICY, name, spec=spec, **more)


def run(name: str, policy: str = "uid-web-linux", **more: Any) -> Object:
    """One that the policy made."""
    owner = {"kind": PATCH_POLICY.kind, "name": "web-linux", "uid": policy, "controller": True}
    spec = {"policyRef": {"name": "web-linux"}}
    return thing(PATCH_RUN, name, spec=spec, **{"ownerReferences": [owner], **more})


def namespace(name: str, **labels: str) -> Object:
    return thing(NAMESPACE, name, labels=labels)


@pytest.mark.parametrize(
    ("known", "seen", "taken"),
    [
        pytest.param("9", "10", True, id="newer, compared as a number"),
        pytest.param("10", "9", False, id="older, compared as a number"),
        pytest.param("10", "10", False, id="the echo of our own write"),
        pytest.param("abc", "abd", True, id="not a number: any change"),
        pytest.param("abc", "abc", False, id="not a number: no change"),
    ],
)
def test_the_newest_version_stays(known: str, seen: str, taken: bool) -> None:
    objects = Store()
    assert objects.observe(PATCH_TARGET, target("web-1", version=known))
    assert objects.observe(PATCH_TARGET, target("web-1", version=seen)) is taken
    found = objects.target("web", "web-1")
    assert found
    assert found.resource_version == (seen if taken else known)


def test_an_object_is_parsed_and_kept_without_managed_fields() -> None:
    objects = Store()
    objects.observe(PATCH_POLICY, policy("web-linux", generation=3, managedFields=[{}]))
    found = objects.policy("web", "web-linux")
    assert found
    assert found.parsed
    assert found.parsed.metadata.name == "web-linux"
    assert found.error is None
    assert (found.generation, found.finalizers, found.deleting) == (3, (), False)
    assert "managedFields" not in found.raw["metadata"]


def test_an_object_that_cannot_be_read_is_kept_with_the_reason() -> None:
    objects = Store()
    objects.observe(PATCH_TARGET, target("web-1"))
    broken = thing(PATCH_TARGET, "web-1", version="2", spec={"policy": "web-linux"})
    objects.observe(PATCH_TARGET, broken)
    found = objects.target("web", "web-1")
    assert found
    assert found.parsed is None
    assert "machineId" in (found.error or "")
    assert objects.targets_of("web", "web-linux") == (found,)


def test_targets_are_found_by_policy_and_by_machine() -> None:
    objects = Store()
    objects.observe(PATCH_TARGET, target("a", "linux", MACHINE))
    objects.observe(PATCH_TARGET, target("b", "windows", MACHINE.upper()))
    objects.observe(PATCH_TARGET, target("c", "linux", MACHINE + "2"))
    objects.observe(PATCH_TARGET, target("d", "linux", MACHINE, namespace="db"))
    assert [s.name for s in objects.targets_of("web", "linux")] == ["a", "c"]
    assert [s.name for s in objects.targets_on(ids.key(MACHINE))] == ["a", "b", "d"]
    assert objects.targets_of("web", "none") == ()
    assert len(objects.targets()) == 4


def test_an_index_follows_its_object() -> None:
    objects = Store()
    objects.observe(PATCH_TARGET, target("a", "linux"))
    objects.observe(PATCH_TARGET, target("a", "windows", version="2"))
    assert objects.targets_of("web", "linux") == ()
    assert [s.resource_version for s in objects.targets_of("web", "windows")] == ["2"]
    assert objects.forget(PATCH_TARGET, "web", "a", "uid-a")
    assert objects.targets_of("web", "windows") == ()
    assert objects.targets_on(ids.key(MACHINE)) == ()


def test_a_deletion_spares_an_object_made_anew_under_the_name() -> None:
    objects = Store()
    objects.observe(PATCH_TARGET, target("a", version="5", uid="second"))
    assert not objects.forget(PATCH_TARGET, "web", "a", "first")
    assert objects.target("web", "a")


def test_a_late_answer_does_not_bring_a_deleted_object_back() -> None:
    objects = Store()
    objects.observe(PATCH_TARGET, target("a", version="5"))
    objects.forget(PATCH_TARGET, "web", "a", "uid-a")
    assert not objects.observe(PATCH_TARGET, target("a", version="6"))
    assert objects.target("web", "a") is None


def test_deletions_are_remembered_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "REMEMBERED_DELETIONS", 3)
    objects = Store()
    for number in range(10):
        objects.forget(PATCH_TARGET, "web", "a", f"uid-{number}")
    assert len(objects._deleted) == 3


def listed(objects: Store, before: Collection[str], *shown: Object) -> tuple[Stored[Any], ...]:
    for raw in shown:
        objects.observe(PATCH_TARGET, raw)
    return objects.sweep(PATCH_TARGET, before, {raw["metadata"]["uid"] for raw in shown})


def test_a_list_sweeps_what_it_does_not_show() -> None:
    objects = Store()
    objects.observe(PATCH_TARGET, target("stays"))
    objects.observe(PATCH_TARGET, target("goes"))
    before = objects.uids(PATCH_TARGET)
    gone = listed(objects, before, target("stays"), target("comes"))
    assert [s.name for s in gone] == ["goes"]
    assert {s.name for s in objects.targets()} == {"stays", "comes"}


def test_a_list_spares_what_came_after_it_was_asked_for() -> None:
    objects = Store()
    before = objects.uids(PATCH_TARGET)
    objects.observe(PATCH_TARGET, target("created-meanwhile"))
    assert listed(objects, before) == ()
    assert objects.target("web", "created-meanwhile")


def test_a_list_does_not_bring_back_what_was_deleted_while_it_was_read() -> None:
    objects = Store()
    objects.observe(PATCH_TARGET, target("a"))
    before = objects.uids(PATCH_TARGET)
    objects.forget(PATCH_TARGET, "web", "a", "uid-a")
    listed(objects, before, target("a"))
    assert objects.target("web", "a") is None


def test_a_list_does_not_undo_a_newer_write() -> None:
    objects = Store()
    objects.observe(PATCH_TARGET, target("a", version="7"))
    listed(objects, objects.uids(PATCH_TARGET), target("a", version="6"))
    found = objects.target("web", "a")
    assert found
    assert found.resource_version == "7"


async def test_synced_is_when_every_kind_was_listed() -> None:
    objects = Store()
    waiting = asyncio.create_task(objects.wait_synced())
    for kind in WATCHED:
        await asyncio.sleep(0)
        assert not waiting.done()
        assert not objects.is_synced
        objects.sweep(kind, frozenset(), [])
    await asyncio.wait_for(waiting, 1)
    assert objects.is_synced


def test_the_labels_of_a_namespace_are_at_hand() -> None:
    objects = Store()
    objects.observe(NAMESPACE, namespace("web", team="web"))
    assert objects.namespace_labels("web") == {"team": "web"}
    assert objects.namespace_labels("db") is None


class TestRouting:
    """Which keys an object's change concerns."""

    @pytest.fixture
    def objects(self) -> Store:
        objects = Store()
        objects.observe(PATCH_POLICY, policy("linux"))
        objects.observe(PATCH_POLICY, policy("windows"))
        objects.observe(PATCH_TARGET, target("a", "linux"))
        objects.observe(PATCH_TARGET, target("b", "windows", MACHINE.upper()))
        objects.observe(PATCH_TARGET, target("c", "linux", MACHINE + "2"))
        objects.observe(NAMESPACE, namespace("web"))
        objects.observe(AZURE_SUBSCRIPTION, thing(AZURE_SUBSCRIPTION, "prod"))
        return objects

    @pytest.mark.parametrize(
        ("kind", "name", "expected"),
        [
            pytest.param(
                AZURE_SUBSCRIPTION,
                ("", "prod"),
                ["AzureSubscription/prod", "PatchPolicy/web/linux", "PatchPolicy/web/windows"],
                id="a subscription: itself and every policy",
            ),
            pytest.param(
                NAMESPACE,
                ("", "web"),
                ["PatchPolicy/web/linux", "PatchPolicy/web/windows"],
                id="a namespace: every policy",
            ),
            pytest.param(
                PATCH_POLICY,
                ("web", "linux"),
                ["PatchPolicy/web/linux"],
                id="a policy: itself",
            ),
            pytest.param(
                PATCH_TARGET,
                ("web", "c"),
                ["PatchPolicy/web/linux", "PatchTarget/web/c"],
                id="a target: itself and its policy",
            ),
            pytest.param(
                PATCH_TARGET,
                ("web", "a"),
                [
                    "PatchPolicy/web/linux",
                    "PatchPolicy/web/windows",
                    "PatchTarget/web/a",
                    "PatchTarget/web/b",
                ],
                id="a target of a wanted machine: also its neighbours and their policies",
            ),
        ],
    )
    def test_keys(
        self, objects: Store, kind: Kind, name: tuple[str, str], expected: list[str]
    ) -> None:
        changed = objects.get(kind, *name)
        assert changed
        assert sorted(str(key) for key in routing.keys(objects, changed)) == expected

    def test_a_target_that_went_concerns_the_same(self, objects: Store) -> None:
        gone = objects.target("web", "a")
        assert gone
        objects.forget(PATCH_TARGET, "web", "a", gone.uid)
        assert set(routing.keys(objects, gone)) == {
            Key("PatchTarget", "web", "a"),
            Key("PatchTarget", "web", "b"),
            Key("PatchPolicy", "web", "linux"),
            Key("PatchPolicy", "web", "windows"),
        }


# --- windows that there were runs for -------------------------------------------------------------

MONDAY, TUESDAY = "web-linux-202611231800", "web-linux-202611241800"
TUESDAY_EVENING = datetime(2026, 11, 24, 18, tzinfo=UTC)


def test_the_last_window_of_a_policys_runs_is_known_when_they_are_gone() -> None:
    objects = Store()
    assert objects.scheduled("uid-web-linux") is None
    for name in (TUESDAY, MONDAY):
        objects.observe(PATCH_RUN, run(name))
    objects.forget(PATCH_RUN, "web", TUESDAY, f"uid-{TUESDAY}")
    assert objects.runs_of("web", "web-linux") != ()
    assert objects.scheduled("uid-web-linux") == TUESDAY_EVENING
    assert objects.scheduled("uid-another") is None


@pytest.mark.parametrize(
    "made",
    [
        pytest.param(run("web-linux-tonight"), id="its name tells of none"),
        pytest.param(run(TUESDAY, ownerReferences=[]), id="a person made it"),
        pytest.param(
            run(TUESDAY, ownerReferences=[{"kind": PATCH_POLICY.kind, "uid": "uid-web-linux"}]),
            id="a person made it, and has it deleted with the policy",
        ),
    ],
)
def test_no_window_is_told_by_a_run(made: Object) -> None:
    objects = Store()
    objects.observe(PATCH_RUN, made)
    assert objects.scheduled("uid-web-linux") is None


def test_the_windows_of_a_policy_go_with_it() -> None:
    objects = Store()
    objects.observe(PATCH_POLICY, policy("web-linux"))
    objects.observe(PATCH_RUN, run(TUESDAY))
    objects.forget(PATCH_POLICY, "web", "web-linux", "uid-web-linux")
    assert objects.scheduled("uid-web-linux") is None
    objects.observe(PATCH_RUN, run(TUESDAY, resourceVersion="9"))
    assert objects.scheduled("uid-web-linux") is None, "its runs are collected after it"


def test_a_run_that_is_gone_when_its_maker_is_answered_counts() -> None:
    objects = Store()
    objects.forget(PATCH_RUN, "web", TUESDAY, f"uid-{TUESDAY}")
    objects.observe(PATCH_RUN, run(TUESDAY))
    assert objects.scheduled("uid-web-linux") == TUESDAY_EVENING
    assert objects.runs_of("web", "web-linux") == ()
