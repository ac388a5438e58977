"""The image, or the reason why there is none."""

import os
from collections.abc import Iterator

import pytest

from lab.image import Image, ImageImpossible, built_image

REQUIRE = "AZPATCH_REQUIRE_IMAGE"
"""Set to 1 where a machine that cannot build the image is a fault: in CI."""

BUILD_SECONDS = 900
"""A first build downloads Debian and the wheels: a minute, more on a busy machine."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "image" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.timeout(BUILD_SECONDS))


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    """The image of this checkout. Its store is locked for one module at a time."""
    try:
        with built_image() as built:
            yield built
    except ImageImpossible as reason:
        if os.environ.get(REQUIRE) == "1":
            pytest.fail(f"{REQUIRE}=1, and the image cannot be built here: {reason}")
        pytest.skip(f"the image cannot be built here: {reason}")
