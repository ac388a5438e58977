"""What the end-to-end tests share beside their helpers."""

from collections.abc import Generator

import pytest
from world import World


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that failed says where the logs and the journal of its world are."""
    report = yield
    world = item.funcargs.get("world") if isinstance(item, pytest.Function) else None
    if report.failed and isinstance(world, World):
        report.sections.append(("logs and journal", str(world.folder)))
    return report
