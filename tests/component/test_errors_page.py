"""The mistakes of docs/errors.md that the API server refuses, in the words of the page."""

from __future__ import annotations

import pytest
import yaml

from error_cases import SAMPLES, Case, section
from lab.controlplane import ControlPlane

REFUSALS = section("manifests").cases


def applied(controlplane: ControlPlane, namespace: str, body: dict[str, object]) -> tuple[int, str]:
    """What `kubectl apply` says on standard error, without storing anything, and its status."""
    done = controlplane.kubectl(
        "apply", "--server-side", "--dry-run=server", "--namespace", namespace, "--filename=-",
        input=yaml.safe_dump(body), check=False,
    )  # fmt: skip
    return done.returncode, done.stderr.strip()


@pytest.mark.parametrize("case", REFUSALS, ids=lambda case: case.name)
def test_a_wrong_manifest_is_refused_in_the_words_of_the_page(
    crds: ControlPlane, namespace: str, case: Case
) -> None:
    status, said = applied(crds, namespace, case.manifest())
    assert status != 0
    assert case.shown_in(said), f"kubectl says:\n{said}"


@pytest.mark.parametrize("kind", SAMPLES)
def test_without_the_mistake_it_is_taken(crds: ControlPlane, namespace: str, kind: str) -> None:
    assert applied(crds, namespace, dict(SAMPLES[kind])) == (0, "")
