"""docs/operations.md names all that a running operator shows and takes."""

from pathlib import Path

import pytest
from prometheus_client import REGISTRY, CollectorRegistry

import azpatch.kube.client
import azpatch.kube.election
import azpatch.reconcile.metrics
import azpatch.reconcile.resync  # noqa: F401 - their metrics register themselves
from azpatch.api.policy import PolicyMachines
from azpatch.azure.metrics import AzureMetrics
from azpatch.settings import ENV_PREFIX, Settings

PAGE = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()


def _metrics() -> list[str]:
    azure = CollectorRegistry()
    AzureMetrics(azure)
    families = [*REGISTRY.collect(), *azure.collect()]
    return sorted(
        family.name + ("_total" if family.type == "counter" else "")
        for family in families
        if family.name.startswith("azpatch_")
    )


@pytest.mark.parametrize("metric", _metrics())
def test_every_metric_is_explained(metric: str) -> None:
    assert f"\n| `{metric}` | " in PAGE


@pytest.mark.parametrize("setting", Settings.model_fields)
def test_every_setting_is_explained(setting: str) -> None:
    assert f"`{ENV_PREFIX}{setting.upper()}`" in PAGE


@pytest.mark.parametrize("state", PolicyMachines().to_object())
def test_every_state_of_a_machine_is_explained(state: str) -> None:
    assert f"`{state}`" in PAGE
