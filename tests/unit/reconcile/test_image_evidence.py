"""What a machine was built from, as its PatchTarget tells it, and what hangs on it."""

from __future__ import annotations

import pytest
from fakes import HOUR, IMAGE, MINUTE, SECOND, World, machine

from azpatch.api.common import Confidence, ImageClass, OsType
from azpatch.api.target import ImageStatus
from azpatch.azure.port import AzureError, Denied, Gone, Retry
from azpatch.domain.facts import ImageDefinition
from azpatch.domain.ids import key
from azpatch.reconcile.definitions import REFUSED_AGAIN_AFTER

SOON = 20 * SECOND
SPECIALIZED = ImageDefinition(IMAGE, "Specialized", OsType.LINUX)


def told(world: World) -> ImageStatus:
    image = world.status().image
    assert image is not None
    return image


@pytest.mark.parametrize(
    ("answer", "image_class", "confidence", "evidence"),
    [
        pytest.param(
            SPECIALIZED,
            ImageClass.GALLERY_SPECIALIZED,
            Confidence.MEDIUM,
            "osState of the image definition is Specialized, although the machine has osProfile",
            id="it decides, and osProfile disagrees",
        ),
        pytest.param(
            Denied("AuthorizationFailed", "No."),
            ImageClass.GALLERY_GENERALIZED,
            Confidence.MEDIUM,
            "The image definition cannot be read, so osProfile decides",
            id="403",
        ),
        pytest.param(
            Gone("ResourceNotFound", "No."),
            ImageClass.GALLERY_GENERALIZED,
            Confidence.MEDIUM,
            "The image definition does not exist any more (404), so osProfile decides",
            id="404",
        ),
        pytest.param(
            Retry("TooManyRequests", "Later."),
            ImageClass.GALLERY_GENERALIZED,
            Confidence.MEDIUM,
            "The image definition could not be read yet, so osProfile decides",
            id="429",
        ),
    ],
)
async def test_a_machine_tells_what_azure_says_of_its_image(
    answer: ImageDefinition | AzureError,
    image_class: ImageClass,
    confidence: Confidence,
    evidence: str,
) -> None:
    world = World()
    world.azure.add(machine())
    world.azure.definitions[key(IMAGE)] = answer
    async with world.operator_runs():
        await world.passes(SOON)

    image = told(world)
    assert (image.image_class, image.confidence) == (image_class, confidence)
    assert (image.evidence or "").startswith(evidence)


async def test_a_role_that_is_given_shows_within_the_hour() -> None:
    world = World()
    world.policy(assessment={"mode": "None"}, install=None, schedule=None)
    world.azure.add(machine(computer_name=None))
    async with world.operator_runs():
        await world.passes(SOON)
        assert told(world).confidence is Confidence.MEDIUM
        world.azure.definitions[key(IMAGE)] = SPECIALIZED
        await world.passes(REFUSED_AGAIN_AFTER + 5 * MINUTE)
        assert told(world).confidence is Confidence.HIGH
        assert world.azure.asked("image_definition") == 2


async def test_a_restart_concludes_the_same() -> None:
    world = World()
    world.policy(assessment={"mode": "None"}, install=None, schedule=None)
    world.azure.add(machine())
    world.azure.definitions[key(IMAGE)] = SPECIALIZED
    async with world.operator_runs():
        await world.passes(HOUR)
    before, written = told(world), len(world.journal)
    async with world.operator_runs():
        await world.passes(SOON)
    assert told(world) == before
    assert world.journal[written:] == []
    assert world.azure.asked("image_definition") == 2, "once a process"


@pytest.mark.parametrize(
    ("definition", "os_type", "installs"),
    [
        pytest.param(SPECIALIZED, OsType.LINUX, 1, id="the image definition says it"),
        pytest.param(ImageDefinition(IMAGE, "Specialized"), None, 0, id="nothing says it"),
    ],
)
async def test_a_machine_whose_model_names_no_operating_system(
    definition: ImageDefinition, os_type: OsType | None, installs: int
) -> None:
    world = World()
    world.azure.add(machine(os_type=None, computer_name=None))
    world.azure.definitions[key(IMAGE)] = definition
    world.due()
    async with world.operator_runs():
        await world.passes(5 * MINUTE)

    assert [kind for kind, _, _ in world.azure.posts] == ["Install"] * installs
    found = world.status().machine
    assert found is not None
    assert found.os_type is os_type
    assert "osType is missing" in (told(world).evidence or "")
