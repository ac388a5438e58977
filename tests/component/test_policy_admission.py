"""What a PatchPolicy may say, and in which words the API server refuses the rest."""

from __future__ import annotations

from typing import Any

import pytest
from crd_objects import (
    COMPUTE,
    IMAGE,
    MACHINE,
    SERVER,
    SUBSCRIPTION,
    Change,
    changed,
    collection,
    drop,
    policy,
    put,
    refusal,
)

from azpatch.api.policy import PatchPolicy
from azpatch.api.rollout import NOTHING_TO_PIN_FOR, WAVE_ONE_OF
from lab.controlplane import ControlPlane

NOT_A_MACHINE = (
    "virtualMachine.id is not the id of a virtual machine: give /subscriptions/SUBSCRIPTION/"
    "resourceGroups/GROUP/providers/Microsoft.Compute/virtualMachines/NAME, as `az vm show "
    "--query id` prints it"
)
NOT_AN_IMAGE = (
    "galleryImage.id is not the id of a gallery image: give /subscriptions/SUBSCRIPTION/"
    "resourceGroups/GROUP/providers/Microsoft.Compute/galleries/GALLERY/images/IMAGE, or that "
    "and /versions/1.2.3 for one version"
)
NOT_A_DURATION = (
    "install.maximumDuration is not an ISO 8601 duration in hours and minutes: give for example "
    "PT2H or PT1H30M"
)
NOT_AN_AGE = (
    "assessment.maxAge is not a duration: give hours, minutes and seconds such as 24h or 1h30m"
)
NEITHER = (
    "is neither a count nor a percentage: give a number from 1, or 1% to 100%; set spec.suspend to "
    "stop installs"
)
NOT_A_SHARE = f"rollout.maxUnavailable {NEITHER}"
NOT_A_SHARE_OF_A_GROUP = f"rollout.spread: maxUnavailable {NEITHER}"
TWICE = (
    "rollout.spread has two entries for the same groups (by, and key without case): keep one of "
    "them"
)
NO_FAILURES = (
    "rollout.maxFailed is neither a count nor a percentage: give a number from 0, or 1% to 100%"
)
NO_SUCCESSES = (
    "rollout.minSucceeded is neither a count nor a percentage: give a number from 1, or 1% to 100%"
)
NO_MACHINES = (
    "machines of a wave is neither a count nor a percentage: give a number from 1, or 1% to 100%"
)
NO_LAST_WAVE = "the last wave of rollout.waves leaves machines out: give it machines: 100%"
SHRINKING = (
    "shares of rollout.waves are cumulative, and one is smaller than the one before it: give each "
    "wave the share that it and those before it take together"
)

NIGHTS = {"windows": [{"name": "night", "daily": {}, "startTime": "22:00", "duration": "4h"}]}
REST = {"name": "rest", "machines": "100%"}


def waves(*declared: dict[str, Any], last: dict[str, Any] | None = REST) -> list[Change]:
    """A policy with windows and these waves."""
    ending = [] if last is None else [last]
    return [put("spec.schedule", NIGHTS), put("spec.rollout.waves", [*declared, *ending])]


TWO_TARGETS = (
    "target has more than one of virtualMachine, arcMachine, galleryImage and selector: keep one, "
    "and make another PatchPolicy for each of the others"
)


def machine_target(machine_id: str) -> Change:
    return put("spec.target", {"virtualMachine": {"id": machine_id}})


def image_target(image_id: str) -> Change:
    return put("spec.target", {"galleryImage": {"id": image_id}})


def spread(*entries: dict[str, Any]) -> Change:
    return put("spec.rollout.spread", [{"maxUnavailable": 1, **entry} for entry in entries])


POLICY_REFUSALS = [
    pytest.param(
        [put("spec.target", {})],
        "spec.target",
        "target is empty: give virtualMachine or arcMachine for one machine, galleryImage for all "
        "machines built from one image, or selector for machines by what they are",
        id="no target",
    ),
    pytest.param(
        [put("spec.target.galleryImage", {"id": IMAGE})],
        "spec.target",
        TWO_TARGETS,
        id="two targets",
    ),
    pytest.param(
        [put("spec.target.selector", {"azureSubscriptions": ["prod"]})],
        "spec.target",
        TWO_TARGETS,
        id="a machine and a selector",
    ),
    pytest.param(
        [put("spec.target.arcMachine", {"id": SERVER})],
        "spec.target",
        TWO_TARGETS,
        id="a machine and an Arc-enabled server",
    ),
    *(
        pytest.param(
            [put("spec.target", {"arcMachine": {"id": server}})],
            "spec.target.arcMachine.id",
            "arcMachine.id is not the id of an Azure Arc-enabled server: give /subscriptions/"
            "SUBSCRIPTION/resourceGroups/GROUP/providers/Microsoft.HybridCompute/machines/NAME, "
            "as `az connectedmachine show --query id` prints it",
            id=id_,
        )
        for server, id_ in (
            (MACHINE, "a virtual machine's id as a server"),
            (f"{SERVER}/extensions/x", "something inside a server"),
            (SERVER + 54 * "x", "a server with a name that Azure does not allow"),
        )
    ),
    pytest.param(
        [machine_target("web-1")],
        "spec.target.virtualMachine.id",
        NOT_A_MACHINE,
        id="a machine's name in place of its id",
    ),
    pytest.param(
        [machine_target(MACHINE.replace(SUBSCRIPTION, "prod"))],
        "spec.target.virtualMachine.id",
        NOT_A_MACHINE,
        id="a machine's id with a subscription's name",
    ),
    pytest.param(
        [machine_target(IMAGE)],
        "spec.target.virtualMachine.id",
        NOT_A_MACHINE,
        id="an image's id as a machine",
    ),
    pytest.param(
        [machine_target(f"{COMPUTE}/virtualMachineScaleSets/web/virtualMachines/0")],
        "spec.target.virtualMachine.id",
        NOT_A_MACHINE,
        id="an instance of a scale set",
    ),
    pytest.param(
        [machine_target(f"{MACHINE}/extensions/x")],
        "spec.target.virtualMachine.id",
        NOT_A_MACHINE,
        id="something inside a machine",
    ),
    pytest.param(
        [machine_target(f"{COMPUTE}/virtualMachines/..")],
        "spec.target.virtualMachine.id",
        NOT_A_MACHINE,
        id="an id that leaves its collection",
    ),
    pytest.param(
        [machine_target(f"{MACHINE}?api-version=1")],
        "spec.target.virtualMachine.id",
        NOT_A_MACHINE,
        id="an id with a query",
    ),
    pytest.param(
        [image_target(MACHINE)],
        "spec.target.galleryImage.id",
        NOT_AN_IMAGE,
        id="a machine's id as an image",
    ),
    pytest.param(
        [image_target(f"{COMPUTE}/images/web")],
        "spec.target.galleryImage.id",
        NOT_AN_IMAGE,
        id="a managed image as a gallery's",
    ),
    pytest.param(
        [image_target(f"{IMAGE}/versions/latest")],
        "spec.target.galleryImage.id",
        NOT_AN_IMAGE,
        id="a version that is no version",
    ),
    pytest.param(
        [drop("spec.install.linux")],
        "spec.install",
        "install selects nothing: give linux, windows or both ({} takes the critical and "
        "security patches)",
        id="an install of nothing",
    ),
    pytest.param(
        [put("spec.install.linux.classificationsToInclude", [])],
        "spec.install.linux",
        "install.linux selects nothing: give classificationsToInclude or "
        "packageNameMasksToInclude, or remove linux to skip Linux machines",
        id="no class and no package",
    ),
    pytest.param(
        [put("spec.install.windows.classificationsToInclude", [])],
        "spec.install.windows",
        "install.windows selects nothing: give classificationsToInclude or kbNumbersToInclude, "
        "or remove windows to skip Windows machines",
        id="no class and no KB",
    ),
    pytest.param(
        [put("spec.install.maximumDuration", "PT4H")],
        "spec.install.maximumDuration",
        "install.maximumDuration is longer than PT3H55M, the most that Azure takes: give that "
        "or less",
        id="PT4H",
    ),
    pytest.param(
        [put("spec.install.maximumDuration", "PT236M")],
        "spec.install.maximumDuration",
        "install.maximumDuration is longer than PT3H55M, the most that Azure takes: give that "
        "or less",
        id="PT236M",
    ),
    pytest.param(
        [put("spec.install.maximumDuration", "4h")],
        "spec.install.maximumDuration",
        NOT_A_DURATION,
        id="Go's duration for Azure's",
    ),
    pytest.param(
        [put("spec.install.maximumDuration", "P1D")],
        "spec.install.maximumDuration",
        NOT_A_DURATION,
        id="days",
    ),
    pytest.param(
        [put("spec.install.maximumDuration", "PT0M")],
        "spec.install.maximumDuration",
        "install.maximumDuration is zero: give the time that an install may take, for example PT2H",
        id="no time",
    ),
    pytest.param(
        [put("spec.install.windows.kbNumbersToExclude", ["KB5034441"])],
        "spec.install.windows.kbNumbersToExclude[0]",
        "this is no KB number: give its 6 to 8 digits, without the letters KB",
        id="a KB number with its letters",
    ),
    pytest.param(
        [drop("spec.schedule")],
        "spec",
        "install needs a schedule: give schedule.windows, or schedule: {always: {}} to install "
        "whenever a machine is due",
        id="an install without a schedule",
    ),
    pytest.param(
        [drop("spec.install")],
        "spec",
        "schedule says when to install, but there is no install: add install, or remove schedule "
        "to assess only",
        id="a schedule without an install",
    ),
    pytest.param(
        [drop("spec.install"), drop("spec.schedule"), put("spec.rollout", {})],
        "spec",
        "rollout says how to install, but there is no install: add install, or remove rollout "
        "to assess only",
        id="a rollout without an install",
    ),
    pytest.param(
        [put("spec.assessment.mode", "None")],
        "spec",
        "assessment.mode None leaves install without evidence, because an assessment tells what "
        "is missing before it and what is left after it: set assessment.mode to Operator, or "
        "remove install",
        id="an install without assessments",
    ),
    pytest.param(
        [put("spec.assessment.maxAge", "P1D")],
        "spec.assessment.maxAge",
        NOT_AN_AGE,
        id="Azure's duration for Go's",
    ),
    pytest.param(
        [put("spec.assessment.maxAge", "1d")],
        "spec.assessment.maxAge",
        NOT_AN_AGE,
        id="an age in days",
    ),
    pytest.param(
        [put("spec.assessment.maxAge", "10s")],
        "spec.assessment.maxAge",
        "assessment.maxAge is shorter than 5m: an assessment itself takes minutes, give at least "
        "that",
        id="an age too short",
    ),
    pytest.param(
        [put("spec.assessment.maxAge", "169h")],
        "spec.assessment.maxAge",
        "assessment.maxAge is longer than 168h: Azure keeps the result of an assessment for 7 "
        "days, give at most that",
        id="an age too long",
    ),
    *(
        pytest.param(
            [put("spec.rollout.maxUnavailable", share)],
            "spec.rollout.maxUnavailable",
            NOT_A_SHARE,
            id=f"maxUnavailable {share!r}",
        )
        for share in (0, -1, "0%", "101%", "3", "ten")
    ),
    *(
        pytest.param(
            [put(f"spec.rollout.{field}", share)],
            f"spec.rollout.{field}",
            message,
            id=f"{field} {share!r}",
        )
        for field, message, wrong in (
            ("maxFailed", NO_FAILURES, (-1, 100001, "0%", "101%", "3", "", "ten")),
            ("minSucceeded", NO_SUCCESSES, (0, -1, 100001, "0%", "101%", "3", "80")),
        )
        for share in wrong
    ),
    *(
        pytest.param(
            waves({"name": "canary", "machines": share}),
            "spec.rollout.waves[0].machines",
            NO_MACHINES,
            id=f"machines of a wave {share!r}",
        )
        for share in (0, -1, 100001, "0%", "101%", "5", "1.5%")
    ),
    pytest.param(
        waves({"name": "canary"}), "spec.rollout.waves[0]", WAVE_ONE_OF, id="a wave of nobody"
    ),
    pytest.param(
        waves({"name": "canary", "machines": 1, "tags": {"ring": ["0"]}}),
        "spec.rollout.waves[0]",
        WAVE_ONE_OF,
        id="a wave by share and by tags",
    ),
    *(
        pytest.param(
            waves({"name": "canary", "machines": 1, "soak": soak}),
            "spec.rollout.waves[0].soak",
            f"soak of a wave is {said}",
            id=f"a soak of {soak}",
        )
        for soak, said in (
            ("1d", "not a duration: give one such as 24h or 30m"),
            ("PT1H", "not a duration: give one such as 24h or 30m"),
            ("721h", "longer than 720h: give at most that"),
        )
    ),
    *(
        pytest.param(waves(last=last), "spec.rollout.waves", NO_LAST_WAVE, id=id_)
        for last, id_ in (
            ({"name": "rest", "machines": "99%"}, "waves that end before everybody's turn"),
            ({"name": "rest", "machines": 100}, "a last wave of 100 machines"),
            ({"name": "rest", "tags": {"ring": ["1"]}}, "a last wave by tags"),
        )
    ),
    pytest.param(
        waves(last={**REST, "soak": "24h"}),
        "spec.rollout.waves",
        "the last wave of rollout.waves has a soak, and nothing comes after it: remove soak",
        id="a soak that nothing waits for",
    ),
    pytest.param(
        waves({"name": "a", "machines": "50%"}, {"name": "b", "machines": "10%"}),
        "spec.rollout.waves",
        SHRINKING,
        id="shares of each wave by itself",
    ),
    *(
        pytest.param(
            [
                put("spec.schedule", NIGHTS),
                put("spec.rollout.approval", {"mode": "Required", "leadTime": lead}),
            ],
            "spec.rollout.approval.leadTime",
            f"rollout.approval.leadTime is {said}",
            id=f"a lead of {lead}",
        )
        for lead, said in (
            ("3d", "not a duration: give hours and minutes such as 72h"),
            ("721h", "longer than 720h: give at most that"),
        )
    ),
    pytest.param(
        [put("spec.rollout.approval", {"mode": "Required"})],
        "spec",
        "rollout.approval needs schedule.windows: with schedule.always each machine is installed "
        "on when it is due, and there is no run to approve",
        id="approval of what is no run",
    ),
    *(
        pytest.param(
            [*declared, put("spec.rollout.patchSet", "Pinned")],
            "spec.rollout",
            NOTHING_TO_PIN_FOR,
            id=f"pinned for nobody: {id_}",
        )
        for id_, declared in (
            ("without waves", [put("spec.schedule", NIGHTS), put("spec.rollout", {})]),
            ("with one wave", waves()),
        )
    ),
    pytest.param(
        [put("spec.rollout.waves", [REST])],
        "spec",
        "rollout.waves needs schedule.windows: with schedule.always each machine is installed on "
        "when it is due, and there is no run to have waves",
        id="waves without windows",
    ),
    pytest.param(
        waves({"name": "canary", "machines": 1, "windows": ["night", "noon"]}),
        "spec",
        "a wave of rollout.waves names a window that schedule.windows does not have: give the name "
        "of one of them, or remove windows from the wave",
        id="a wave in a window that there is not",
    ),
    pytest.param(
        [spread({"by": "Zone", "maxUnavailable": 0})],
        "spec.rollout.spread[0].maxUnavailable",
        NOT_A_SHARE_OF_A_GROUP,
        id="none of a group",
    ),
    pytest.param(
        [spread({"by": "Zone"}, {"by": "AvailabilitySet", "key": "role"})],
        "spec.rollout.spread[1]",
        "rollout.spread: key is the name of a tag, and by is not Tag: remove key, or set by to Tag",
        id="a key of an availability set",
    ),
    pytest.param(
        [spread({"by": "Tag"})],
        "spec.rollout.spread[0]",
        "rollout.spread: by Tag needs the name of the tag whose values are the groups: give key",
        id="a tag without its name",
    ),
    pytest.param(
        [spread({"by": "Zone"}, {"by": "Zone", "maxUnavailable": "50%"})],
        "spec.rollout.spread",
        TWICE,
        id="the zones twice",
    ),
    pytest.param(
        [spread({"by": "Tag", "key": "role"}, {"by": "Tag", "key": "Role"})],
        "spec.rollout.spread",
        TWICE,
        id="a tag twice, in another case",
    ),
    pytest.param(
        [put("metadata.name", "a" * 47)],
        "metadata.name",
        "metadata.name has more than 46 characters: what azpatch names after the policy would "
        "not fit, choose a shorter one",
        id="a long name",
    ),
]


@pytest.mark.parametrize(("changes", "field", "message"), POLICY_REFUSALS)
def test_a_wrong_policy_is_refused_with_the_field_and_the_remedy(
    crds: ControlPlane, namespace: str, changes: list[Change], field: str, message: str
) -> None:
    body = changed(policy(), *changes)
    said = refusal(crds, collection("patchpolicies", namespace), body)
    assert f"{field}: Invalid value: " in said
    assert message in said


@pytest.mark.parametrize(
    ("selector", "field"),
    [
        ({"azureSubscriptions": []}, "azureSubscriptions"),
        ({"azureSubscriptions": ["prod"], "tags": {"env": []}}, "tags.env"),
    ],
)
def test_an_empty_selection_is_refused(
    crds: ControlPlane, namespace: str, selector: dict[str, Any], field: str
) -> None:
    body = changed(policy(), put("spec.target", {"selector": selector}))

    said = refusal(crds, collection("patchpolicies", namespace), body)

    assert f"spec.target.selector.{field}: Invalid value: " in said
    assert "should have at least 1 items" in said


@pytest.mark.parametrize(
    "field",
    [
        "spec.schedule.cron",
        "spec.rollout.pinned",
    ],
)
def test_a_policy_has_no_field_that_this_release_does_not_act_on(
    crds: ControlPlane, namespace: str, field: str
) -> None:
    body = changed(policy(), put(field, {}))
    said = refusal(crds, collection("patchpolicies", namespace), body)
    assert f'unknown field "{field}"' in said


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param([machine_target(MACHINE.upper())], id="an id in other case"),
        pytest.param([put("spec.target", {"arcMachine": {"id": SERVER}})], id="an Arc server"),
        pytest.param(
            [
                put(
                    "spec.target",
                    {
                        "selector": {
                            "azureSubscriptions": ["prod", "test"],
                            "resourceGroups": ["rg-web"],
                            "locations": ["westeurope"],
                            "osTypes": ["Linux"],
                            "tags": {"env": ["prod"], "ring": ["0", "1"]},
                            "tagOperator": "All",
                            "imageClasses": ["Marketplace", "NotApplicable"],
                        }
                    },
                )
            ],
            id="a selector with everything",
        ),
        pytest.param([image_target(IMAGE)], id="an image definition"),
        pytest.param([image_target(f"{IMAGE}/versions/1.4.0")], id="an image version"),
        pytest.param([put("spec.install.maximumDuration", "PT3H55M")], id="the longest install"),
        pytest.param([put("spec.install.maximumDuration", "PT235M")], id="the same in minutes"),
        pytest.param([put("spec.assessment.maxAge", "1h30m")], id="Go's notation"),
        pytest.param([put("spec.assessment.maxAge", "168h")], id="the longest age"),
        pytest.param([put("spec.rollout.maxUnavailable", 3)], id="a count"),
        pytest.param([put("spec.rollout.maxUnavailable", "100%")], id="a percentage"),
        pytest.param([spread()], id="no groups"),
        pytest.param(
            [
                spread(
                    {"by": "AvailabilitySet"},
                    {"by": "Zone", "maxUnavailable": "50%"},
                    {"by": "Tag", "key": "role"},
                    {"by": "Tag", "key": "cluster", "maxUnavailable": 2},
                )
            ],
            id="groups of every kind",
        ),
        pytest.param(
            [
                put("spec.schedule", NIGHTS),
                put("spec.rollout.approval", {"mode": "Required", "leadTime": "720h"}),
            ],
            id="an approval a month ahead",
        ),
        pytest.param([put("spec.rollout.maxFailed", 0)], id="no failure"),
        pytest.param([put("spec.rollout.maxFailed", "1%")], id="failures in percent"),
        pytest.param([put("spec.rollout.minSucceeded", 1)], id="successes as a count"),
        pytest.param([put("spec.rollout.waves", [])], id="no waves"),
        pytest.param([put("spec.runHistory", {"succeeded": 0, "failed": 50})], id="no history"),
        pytest.param(
            waves(
                {"name": "canary", "machines": 3, "soak": "720h", "windows": ["night"]},
                {"name": "ring", "tags": {"ring": ["0", "1"]}},
                {"name": "half", "machines": "50%"},
                {"name": "more", "machines": "50%"},
            ),
            id="waves by count, by tags and by share",
        ),
        pytest.param(
            waves(*({"name": f"w{number}", "machines": "5%"} for number in range(9))),
            id="ten waves",
        ),
        pytest.param([put("metadata.name", "a" * 46)], id="the longest name"),
        pytest.param([drop("spec.install"), drop("spec.schedule")], id="assess only"),
        pytest.param(
            [
                drop("spec.install"),
                drop("spec.schedule"),
                put("spec.assessment.mode", "None"),
            ],
            id="report only",
        ),
    ],
)
def test_a_policy_may_say(crds: ControlPlane, namespace: str, changes: list[Change]) -> None:
    path = f"{collection('patchpolicies', namespace)}?dryRun=All&fieldValidation=Strict"
    body = changed(policy(), *changes)
    PatchPolicy.from_object(crds.admin.create(path, body))


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        *(
            pytest.param(
                [put(f"spec.rollout.{field}", value)],
                f"spec.rollout.{field}: ",
                id=f"{field} {value!r}",
            )
            for field in ("maxUnavailable", "maxFailed", "minSucceeded")
            for value in (True, 1.5, ["10%"], "1" * 40)
        ),
        pytest.param(
            waves(REST), 'spec.rollout.waves[1]: Duplicate value: {"name":"rest"}', id="twins"
        ),
        pytest.param(
            waves(*({"name": f"w{number}", "machines": 1} for number in range(10))),
            "spec.rollout.waves: Too many: 11: must have at most 10 items",
            id="eleven waves",
        ),
        pytest.param(
            waves({"name": "Canary!", "machines": 1}),
            "spec.rollout.waves[0].name: Invalid value",
            id="a name that is none",
        ),
        pytest.param(
            waves({"name": "ring", "tags": {"ring": []}}),
            "spec.rollout.waves[0].tags.ring: Invalid value",
            id="a tag with no value",
        ),
        pytest.param(
            waves({"name": "ring", "tags": {}}),
            "spec.rollout.waves[0].tags: Invalid value: 0: spec.rollout.waves[0].tags in body "
            "should have at least 1 properties",
            id="no tag",
        ),
        pytest.param(
            waves({"name": "canary", "machines": 1, "windows": []}),
            "spec.rollout.waves[0].windows: Invalid value: 0: spec.rollout.waves[0].windows in "
            "body should have at least 1 items",
            id="a wave in no window",
        ),
        pytest.param(
            [put("spec.runHistory", {"failed": 51})],
            "spec.runHistory.failed: Invalid value",
            id="a history too long",
        ),
    ],
)
def test_what_is_no_rollout_at_all_is_refused(
    crds: ControlPlane, namespace: str, changes: list[Change], error: str
) -> None:
    body = changed(policy(), *changes)

    assert error in refusal(crds, collection("patchpolicies", namespace), body)
