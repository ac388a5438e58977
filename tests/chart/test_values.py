"""The chart's values: documented, checked by the schema, refused with words that help."""

import json
from typing import Any

import pytest
import yaml
from rendering import Values, helm, render, template

import chart_docs
from lab.chart import CHART

SUBSCRIPTION = "6f1c0000-0000-4000-8000-000000000001"


def test_helm_lint_finds_nothing() -> None:
    done = helm("lint", "--strict", CHART)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stdout


@pytest.mark.parametrize(
    ("values", "words"),
    [
        pytest.param({"replicas": "two"}, ["/replicas", "want integer"], id="replicas in words"),
        pytest.param(
            {"leaderElection": False}, ["leaderElection", "not allowed"], id="no election"
        ),
        pytest.param(
            {"azure": {"cloud": "AzureGermany"}},
            ["/azure/cloud", "AzurePublic", "AzureChina"],
            id="a cloud that does not exist",
        ),
        pytest.param(
            {"azure": {"armEndpoint": "http://management.example.com"}},
            ["/azure/armEndpoint", "https://"],
            id="an endpoint without TLS",
        ),
        pytest.param(
            {"workloadIdentity": {"clientId": "azpatch"}},
            ["/workloadIdentity/clientId", "does not match"],
            id="a client id that is a name",
        ),
        pytest.param(
            {"image": {"repository": ""}}, ["/image/repository"], id="an image without a repository"
        ),
        pytest.param(
            {"image": {"repository": "registry.example.com/azpatch:1.0"}},
            ["/image/repository", "does not match"],
            id="a tag in the repository",
        ),
        pytest.param({"image": {"digest": "sha256:abc"}}, ["/image/digest"], id="half a digest"),
        pytest.param(
            {"image": {"tag": 1.0}}, ["/image/tag", "want string"], id="a tag as a number"
        ),
        pytest.param({"logLevel": "verbose"}, ["/logLevel", "debug"], id="an unknown log level"),
        pytest.param(
            {"resources": {"limits": {"memory": "1 GB"}}},
            ["/resources/limits/memory"],
            id="a quantity that is none",
        ),
        pytest.param(
            {"image": {"pullSecrets": ["mirror"]}},
            ["/image/pullSecrets/0", "want object"],
            id="a pull secret as a string",
        ),
        pytest.param(
            {"podAnnotations": {"team": True}},
            ["/podAnnotations/team", "want string"],
            id="an annotation that YAML reads as a boolean",
        ),
    ],
)
def test_a_wrong_value_is_refused_by_its_path_and_with_what_is_right(
    values: Values, words: list[str]
) -> None:
    done = template(values)
    assert done.returncode != 0
    for word in words:
        assert word in done.stderr


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(
            {"image": {"repository": "registry.example.com:5000/team/azpatch"}}, id="port"
        ),
        pytest.param({"image": {"digest": "sha256:" + "0" * 64}}, id="digest"),
        pytest.param({"workloadIdentity": {"clientId": SUBSCRIPTION}}, id="client id"),
        pytest.param({"azure": {"armEndpoint": "https://localhost:8443"}}, id="endpoint"),
        pytest.param({"resources": {"limits": {"cpu": 1, "memory": "1.5Gi"}}}, id="quantities"),
        pytest.param({"global": {"umbrella": "value"}}, id="the values of an umbrella chart"),
    ],
)
def test_a_right_value_is_taken(values: Values) -> None:
    assert render(values).container["name"] == "azpatch"


def test_the_schema_knows_every_value_of_values_yaml_and_no_other() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    schema = json.loads((CHART / "values.schema.json").read_text())
    known = _names(schema) - {"global"}
    given = {name for name, _ in _leaves(values)}
    # resources.limits is a map whose keys the schema leaves open.
    opened = {name: name.rpartition(".")[0] for name in given if name not in known}
    assert known == given - opened.keys() | set(opened.values())


def test_every_value_is_documented() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    documented = {value.name for value in chart_docs.values(CHART / "values.yaml")}
    assert documented == {name for name, _ in _leaves(values)}


def test_the_table_in_the_readme_is_that_of_values_yaml() -> None:
    assert (CHART / "README.md").read_text() == chart_docs.readme(CHART)


def _leaves(values: Values, prefix: str = "") -> list[tuple[str, Any]]:
    leaves = []
    for key, value in values.items():
        if isinstance(value, dict) and value:
            leaves += _leaves(value, f"{prefix}{key}.")
        else:
            leaves.append((f"{prefix}{key}", value))
    return leaves


def _names(schema: dict[str, Any]) -> set[str]:
    names = set()
    for key, value in schema["properties"].items():
        below = _names(value) if "properties" in value else {""}
        names |= {f"{key}.{name}".rstrip(".") for name in below}
    return names
