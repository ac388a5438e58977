"""What `azpatch support` answers about machines, images and definitions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from asking import ask, ask_json
from printed_models import (
    GROUP,
    IMAGE,
    MANAGED_IMAGE,
    Model,
    arc,
    definition,
    in_arms_form,
    instance_view,
    plan,
    storage,
    vm,
    written,
)

from azpatch.api.common import OperationName
from azpatch.domain.arc import unless_accepted
from azpatch.domain.os_type import only_assessed

OPERATIONS = [str(operation) for operation in OperationName]

SCALE_SET = f"{GROUP}/providers/Microsoft.Compute/virtualMachineScaleSets/pool"


def about(*models: Model, revision: str = "2025-02", arguments: tuple[str, ...] = ()) -> list[Any]:
    """The answers on a list of machines."""
    told = ask_json(
        "--revision", revision, "--vm-json", "-", *arguments, stdin=written(list(models))
    )
    assert isinstance(told, list)
    return told


def verdicts(answer: Any, field: str = "verdict") -> list[str]:
    return [answer["operations"][name][field] for name in OPERATIONS]


S, U, W = "Supported", "Unsupported", "Unknown"


@pytest.mark.parametrize(
    ("model", "image_class", "revision", "expected"),
    [
        pytest.param(
            vm(storageProfile=plan("Canonical", "ubuntu-24_04-lts", "server")),
            "Marketplace",
            "2025-02",
            [S, S, S, S, S],
            id="marketplace, on the automatic list",
        ),
        pytest.param(
            vm(storageProfile=plan("canonical", "anything", "new")),
            "Marketplace",
            "2023-05",
            [S, S, S, S, U],
            id="marketplace, a rule allows",
        ),
        pytest.param(
            vm(storageProfile=plan("RedHat", "rhel-ha", "81_gen2")),
            "Marketplace",
            "2025-02",
            [U, U, U, U, U],
            id="marketplace, a rule denies",
        ),
        pytest.param(
            vm(storageProfile=plan("kinvolk", "flatcar", "stable")),
            "Marketplace",
            "2025-02",
            [S, W, W, W, U],
            id="marketplace, no rule: the assessment is the check",
        ),
        pytest.param(vm(), "GalleryGeneralized", "2025-02", [S, W, S, W, U], id="generalized, now"),
        pytest.param(
            vm(osProfile=None), "GallerySpecialized", "2025-02", [S, W, S, W, U], id="specialized"
        ),
        pytest.param(
            vm(osProfile=None), "GallerySpecialized", "2023-05", [S, W, U, U, U], id="in 2023-05"
        ),
        pytest.param(
            vm(storageProfile=storage(id=MANAGED_IMAGE)),
            "NonGallery",
            "2023-05",
            [U, U, U, U, U],
            id="a managed image, in 2023-05",
        ),
        pytest.param(
            vm(storageProfile=storage(create_option="Attach")),
            "NonGallery",
            "2023-09",
            [S, W, S, W, U],
            id="an attached disk, in 2023-09",
        ),
        pytest.param(
            vm(storageProfile=storage(communityGalleryImageId="/CommunityGalleries/g/Images/i")),
            "GalleryGeneralized",
            "2025-02",
            [S, W, S, W, U],
            id="a community gallery",
        ),
        pytest.param(
            vm(instanceView=instance_view("ubuntu", "24.04")),
            "GalleryGeneralized",
            "2025-02",
            [S, W, W, W, U],
            id="a system that is not listed",
        ),
        pytest.param(
            vm(virtualMachineScaleSet={"id": SCALE_SET}),
            "GalleryGeneralized",
            "2025-02",
            [U, U, U, U, U],
            id="a member of a scale set",
        ),
        pytest.param(
            vm(licenseType="Windows_Client"),
            "GalleryGeneralized",
            "2025-02",
            [U, U, U, U, U],
            id="Windows client",
        ),
    ],
)
def test_the_verdicts_are_those_of_the_decision_table(
    model: Model, image_class: str, revision: str, expected: list[str]
) -> None:
    (answer,) = about(model, revision=revision)

    assert answer["imageClass"] == image_class
    assert verdicts(answer) == expected


@pytest.mark.parametrize("extras", ["show", "details", "instance view", "ARM"])
@pytest.mark.parametrize("upper", [False, True], ids=["as spelt", "upper-case ids"])
def test_each_way_to_print_a_machine_gives_the_same_answer(extras: str, upper: bool) -> None:
    (expected,) = about(vm())
    model = vm()
    if extras == "details":
        model |= {"powerState": "VM running", "publicIps": "", "fqdns": "", "macAddresses": ""}
    if extras == "instance view":
        model |= {"instanceView": instance_view("ubuntu", "22.04")}
    if extras == "ARM":
        model = in_arms_form(model)
    if upper:
        model["id"] = model["id"].upper()

    (answer,) = about(model)

    assert answer == {**expected, "id": model["id"]}


def test_a_server_of_azure_arc_is_told_by_its_type() -> None:
    shouted = arc(id=arc()["id"].upper(), type="MICROSOFT.HYBRIDCOMPUTE/MACHINES")
    answers = about(arc(), in_arms_form(arc()), shouted)

    for answer in answers:
        assert answer["imageClass"] == "NotApplicable"
        assert (answer["name"], answer["os"]) == ("dc-7", "Windows")
        assert {found["source"]["kind"] for found in answer["operations"].values()} == {"AzureArc"}


def test_what_is_supported_on_a_server_of_azure_arc_says_what_it_costs_and_waits_for() -> None:
    server, machine = about(arc(), vm(storageProfile=plan("canonical", "x", "y")))

    for found in server["operations"].values():
        waits = found["message"].endswith(unless_accepted(1))
        assert waits == (found["verdict"] == S)
    assert not any("arcBilling" in found["message"] for found in machine["operations"].values())


def test_a_machine_whose_system_nothing_tells_is_only_assessed() -> None:
    unknown = vm(storageProfile=plan("canonical", "x", "y"))
    del unknown["storageProfile"]["osDisk"]["osType"]

    (answer,) = about(unknown)

    assert answer["os"] is None
    found = answer["operations"]
    assert found["OnDemandPatching"]["verdict"] == S
    assert found["OnDemandPatching"]["message"].endswith(only_assessed(None))
    assert "only assessed" not in found["OnDemandAssessment"]["message"]


def test_a_list_gives_a_list_in_its_order_and_one_machine_gives_one_answer() -> None:
    names = [f"vm-{number}" for number in range(7, 0, -1)]

    answers = about(*(vm(name) for name in names))
    one = ask_json("--revision", "2025-02", "--vm-json", "-", stdin=written(vm("vm-7")))

    assert [answer["name"] for answer in answers] == names
    assert one == answers[0]
    assert about() == []


def test_a_machine_in_a_list_is_judged_as_if_it_were_alone() -> None:
    """What is said of machines of one kind is made once: none may get what is said of another."""
    models = [
        vm("a"),
        vm("b", tags={"karpenter.sh_nodepool": "default"}),
        vm("c", instanceView=instance_view("ubuntu", "24.04")),
        vm("d", instanceView=instance_view("ubuntu", "22.04")),
        vm("e", osProfile=None),
        vm("f", storageProfile=plan("canonical", "x", "y")),
        vm("g", storageProfile=plan("canonical", "x", "z")),
        vm("h", storageProfile=storage("Windows", id=MANAGED_IMAGE)),
        vm("i", licenseType="Windows_Client"),
        vm("j", virtualMachineScaleSet={"id": SCALE_SET}),
        vm("k", virtualMachineScaleSet={"id": f"{SCALE_SET}-2"}),
        arc("l"),
        arc("m", status="Disconnected"),
        vm("n"),
    ]

    for revision in ("2023-05", "2025-02"):
        together = about(*models, revision=revision)
        alone = [about(model, revision=revision)[0] for model in models]
        assert together == alone


# --- the circumstances ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("detected", "patching", "reason"),
    [
        (None, W, "NotAssessed"),
        ("Supported", S, "DetectedSupported"),
        ("Unknown", S, "AssessedSuccessfully"),
        ("UnableToDetermine", W, "UnableToDetermine"),
        ("Unsupported", U, "DetectedUnsupported"),
        ("uNsUpPoRtEd", U, "DetectedUnsupported"),
    ],
)
def test_what_azure_detected_decides_about_a_custom_image(
    detected: str | None, patching: str, reason: str
) -> None:
    arguments = () if detected is None else ("--detected", detected)

    (answer,) = about(vm(), arguments=arguments)

    found = answer["operations"]["OnDemandPatching"]
    assert (found["verdict"], found["reason"]) == (patching, reason)
    kind = "SupportMatrix" if detected is None else "DetectedState"
    assert found["source"]["kind"] == kind


@pytest.mark.parametrize(
    ("feature", "expected", "words"),
    [
        (None, [S, W, W, W, U], "It is not known whether"),
        ("Undetermined", [S, W, W, W, U], "It is not known whether"),
        ("Registered", [S, W, S, W, U], "No assessment that counts"),
        ("NotRegistered", [U, U, U, U, U], "is NotRegistered. Register it in the machine's"),
        ("Unregistered", [U, U, U, U, U], "az feature register --namespace Microsoft.Compute"),
        ("Registering", [U, U, U, U, U], "Azure takes up to 15 minutes"),
    ],
)
def test_the_state_of_the_feature_decides_where_a_revision_needs_it(
    feature: str | None, expected: list[str], words: str
) -> None:
    arguments = () if feature is None else ("--feature", feature)

    (answer,) = about(vm(), revision="2023-05", arguments=arguments)

    assert verdicts(answer) == expected
    assert words in answer["operations"]["OnDemandPatching"]["message"]


def test_a_revision_that_needs_no_feature_does_not_look_at_its_state() -> None:
    assert about(vm(), arguments=("--feature", "NotRegistered")) == about(vm())


# --- image definitions ----------------------------------------------------------------------------


@pytest.mark.parametrize("form", [lambda d: d, lambda d: [definition("other"), d], in_arms_form])
def test_a_definition_beside_a_machine_decides_its_class(tmp_path: Path, form: Any) -> None:
    file = tmp_path / "definition.json"
    shouted = definition("web", "Specialized", id=f"{IMAGE}/web".upper())
    file.write_bytes(written(form(shouted)))

    answer, other = about(
        vm(),
        vm("x", storageProfile=storage(id=MANAGED_IMAGE)),
        arguments=("--image-definition", str(file)),
    )

    assert answer["imageClass"] == "GallerySpecialized"
    assert "osState of the image definition is Specialized" in answer["evidence"]
    assert other["imageClass"] == "NonGallery"


def test_a_definition_of_a_shared_gallery_is_known_by_its_unique_id(tmp_path: Path) -> None:
    file = tmp_path / "definition.json"
    shared = {
        "uniqueId": "/SharedGalleries/team-1/Images/web",
        "name": "web",
        "osState": "Specialized",
        "osType": "Linux",
    }
    file.write_bytes(written(shared))
    machine = vm(
        storageProfile=storage(
            sharedGalleryImageId="/sharedGalleries/TEAM-1/images/web/versions/latest"
        )
    )

    (answer,) = about(machine, arguments=("--image-definition", str(file)))

    assert answer["imageClass"] == "GallerySpecialized"


def test_a_definition_that_no_machine_was_built_from_is_noted(tmp_path: Path) -> None:
    file = tmp_path / "definition.json"
    file.write_bytes(written(definition("other")))

    told = ask(
        "--revision", "2025-02", "--vm-json", "-", "--image-definition", file, stdin=written(vm())
    )

    assert told.status == 4
    assert told.err == "Note: no machine was built from other of --image-definition.\n"


@pytest.mark.parametrize(
    ("os_state", "image_class", "expected"),
    [
        ("Generalized", "GalleryGeneralized", [S, W, S, W, U]),
        ("Specialized", "GallerySpecialized", [S, W, U, U, U]),
    ],
)
def test_a_definition_alone_is_about_the_machines_that_will_be_made_from_it(
    os_state: str, image_class: str, expected: list[str]
) -> None:
    answer = ask_json(
        *("--revision", "2023-05", "--feature", "Registered", "--image-definition", "-"),
        stdin=written(definition("web", os_state)),
    )

    assert (answer["id"], answer["name"], answer["os"]) == (f"{IMAGE}/web", "web", "Linux")
    assert answer["imageClass"] == image_class
    assert answer["evidence"] == f"osState of the image definition is {os_state}."
    assert verdicts(answer) == expected


# --- marketplace images ---------------------------------------------------------------------------


def test_a_marketplace_image_needs_no_machine() -> None:
    answer = ask_json(
        *("--revision", "2023-11", "--publisher", "RedHat", "--offer", "RHEL", "--sku", "9_4")
    )

    assert (answer["id"], answer["name"], answer["os"]) == (None, "RedHat:RHEL:9_4", None)
    assert answer["imageReference"] == "RedHat:RHEL:9_4"
    found = answer["operations"]["OnDemandPatching"]
    assert (found["verdict"], found["reason"]) == (S, "MatrixSupported")
    assert found["source"]["kind"] == "MarketplaceRules"
    assert found["source"]["rule"] == "redhat:rhel:9*, except SKU 74-gen2"


def test_the_operating_system_of_a_marketplace_image_counts() -> None:
    image = ("--publisher", "canonical", "--offer", "ubuntu", "--sku", "server")

    linux = ask_json("--revision", "2025-02", *image, "--os", "linux")
    windows = ask_json("--revision", "2025-02", *image, "--os", "Windows")

    assert (linux["os"], verdicts(linux)[1]) == ("Linux", S)
    assert (windows["os"], verdicts(windows)[1]) == ("Windows", W)
