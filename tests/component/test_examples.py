"""Every manifest in examples/ is what the API server and the models take, without exception."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from azpatch.api import crd
from azpatch.api.common import API_VERSION, Resource
from azpatch.api.policy import Target
from lab import chart
from lab.binaries import ROOT
from lab.controlplane import ControlPlane

KINDS = {kind.KIND: kind for kind in crd.KINDS}

WRITTEN_BY_PEOPLE = {"AzureSubscription", "PatchPolicy", "PatchRun"}


def manifests(file: Path) -> list[dict[str, Any]]:
    """The azpatch objects of a file; a fleet of azsim is none."""
    documents = [found for found in yaml.safe_load_all(file.read_text()) if found]
    return [found for found in documents if found.get("apiVersion") == API_VERSION]


FILES = sorted(file for file in (ROOT / "examples").glob("*.yaml") if manifests(file))


def model(body: dict[str, Any]) -> type[Resource]:
    return KINDS[body["kind"]]


@pytest.fixture(scope="module")
def prepared(crds: ControlPlane) -> Iterator[ControlPlane]:
    """The control plane with the namespaces that the examples are for; nothing of them stays."""
    for file in FILES:
        for body in manifests(file):
            if namespace := body["metadata"].get("namespace"):
                chart.create_namespace(crds, namespace)
    yield crds
    for file in FILES:
        crds.kubectl("delete", "--ignore-not-found", "--wait=false", "--filename", file)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_an_example_is_applied_without_a_warning(prepared: ControlPlane, file: Path) -> None:
    done = prepared.kubectl("apply", "--server-side", "--validate=strict", "--filename", file)
    assert done.stderr == ""
    assert done.stdout.count("serverside-applied") == len(manifests(file))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_an_example_applied_again_changes_nothing(prepared: ControlPlane, file: Path) -> None:
    prepared.kubectl("apply", "--server-side", "--filename", file)
    assert prepared.kubectl("diff", "--server-side", "--filename", file).stdout == ""


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_an_example_has_only_fields_that_the_models_know(file: Path) -> None:
    for body in manifests(file):
        model(body).model_validate(body, extra="forbid")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_an_example_explains_itself(file: Path) -> None:
    assert file.read_text().startswith("# ")


def test_there_is_an_example_of_every_kind_that_people_write() -> None:
    kinds = {body["kind"] for file in FILES for body in manifests(file)}
    assert kinds >= WRITTEN_BY_PEOPLE


def test_the_examples_show_every_way_to_sign_in_and_every_target() -> None:
    bodies = [body["spec"] for file in FILES for body in manifests(file)]
    identities = {spec["identity"]["type"] for spec in bodies if "identity" in spec}
    targets = {next(iter(spec["target"])) for spec in bodies if "target" in spec}
    assert identities >= {"WorkloadIdentity", "ManagedIdentity", "ClientSecret"}
    assert targets == {field.alias for field in Target.model_fields.values()}
