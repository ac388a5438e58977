"""What cannot be answered gets one line on stderr that says why and what to do, and status 2."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from asking import Told, ask
from hypothesis import given, settings
from hypothesis import strategies as st
from printed_models import GROUP, Model, arc, definition, in_arms_form, instance_view, vm, written

from azpatch.domain.matrix import REVISIONS

SHIPPED = ", ".join(REVISIONS)
IMAGE = ("--publisher", "a", "--offer", "b", "--sku", "c")


def refused(told: Told) -> str:
    """The one line."""
    assert told.status == 2
    assert told.out == ""
    (line,) = told.err.splitlines()
    assert line.startswith("Error: ")
    return line


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param([], f"--revision is needed, one of {SHIPPED}.", id="no revision"),
        pytest.param(
            ["--revision", "2024-01"], f"'2024-01' is none of {SHIPPED}.", id="an unknown revision"
        ),
        pytest.param(["--output", "xml"], "'--output'", id="an unknown output"),
        pytest.param(["--frobnicate"], "No such option '--frobnicate'", id="an unknown option"),
        pytest.param(["vm.json"], "Got unexpected extra argument (vm.json).", id="an argument"),
        pytest.param(["--publisher", "a"], "needs --offer and --sku too.", id="half an image"),
        pytest.param(
            ["--publisher", "a", "--offer", "b", "--sku", ""], "needs --sku too.", id="no SKU"
        ),
        pytest.param(
            [*IMAGE, "--vm-json", "x"], "--publisher and --vm-json are about", id="two questions"
        ),
        pytest.param(
            [*IMAGE, "--image-definition", "x"],
            "--publisher and --image-definition are about",
            id="two other questions",
        ),
        pytest.param(["--os", "Linux"], "--os goes with --publisher", id="an OS of nothing"),
        pytest.param(
            ["--os", "Linux", "--vm-json", "x"], "--vm-json says its own. Leave it out", id="an OS"
        ),
        pytest.param([*IMAGE, "--os", "BeOS"], "'BeOS' is none of Linux, Windows.", id="no OS"),
        pytest.param(
            [*IMAGE, "--detected", "Maybe"],
            "'Maybe' is none of Unknown, Supported, Unsupported, UnableToDetermine.",
            id="no detected state",
        ),
        pytest.param(
            [*IMAGE, "--feature", "On"], "'On' is none of NotSpecified, NotRegistered", id="feature"
        ),
        pytest.param(
            [*IMAGE, "--operation", "Reboot"], "none of OnDemandAssessment", id="no operation"
        ),
        pytest.param(
            ["--vm-json", "-", "--image-definition", "-"], "Give a file for one.", id="stdin twice"
        ),
        pytest.param(
            ["--detected", "Supported", "--operation", "OnDemandPatching"],
            "--detected and --operation must be about something. Give --vm-json",
            id="circumstances of nothing",
        ),
    ],
)
def test_options_that_do_not_go_together(arguments: list[str], words: str) -> None:
    revision = [] if not arguments or "--revision" in arguments else ["--revision", "2025-02"]

    assert words in refused(ask(*revision, *arguments))


NO_MODEL = "Give what `az vm show -o json`, `az vm list -o json` or"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param(b"", "is empty. " + NO_MODEL, id="nothing"),
        pytest.param(b" \n", "is empty. " + NO_MODEL, id="blanks"),
        pytest.param(
            b'{\n  "id": \n}', "is not JSON: Expecting value at line 3, column 1.", id="cut short"
        ),
        pytest.param(b"ERROR: Please run 'az login'", "is not JSON", id="an error of az"),
        pytest.param(b"\xff\xfe\x00", "is not JSON", id="bytes"),
        pytest.param(b"[" * 100_000, "is nested too deeply", id="a well"),
        pytest.param(b"[" + b"9" * 5000 + b"]", "is not JSON", id="a number without end"),
        pytest.param(rb'[{"name": "\ud800"}]', "is not JSON: 'utf-8' codec", id="half a character"),
        pytest.param(b'"\xed\xa0\x80"', "is not JSON: 'utf-8' codec", id="half a character, raw"),
        pytest.param(b"null", "is no JSON object. " + NO_MODEL, id="null"),
        pytest.param(b'["web-1"]', "item 1 is no JSON object. " + NO_MODEL, id="names"),
        pytest.param(
            written({"value": [vm()]}), "under 'value'. Give the list alone: jq .value", id="ARM's"
        ),
        pytest.param(
            written({"count": 1, "data": [vm()]}), "Give the list alone: jq .data", id="a graph's"
        ),
        pytest.param(written({"name": "web-1"}), "has no id. " + NO_MODEL, id="no id"),
        pytest.param(
            written([vm(), definition()]),
            "item 2 (web) is no machine, but microsoft.compute/galleries/images. " + NO_MODEL,
            id="an image among machines",
        ),
        pytest.param(
            written({"id": vm()["id"], "name": "web-1"}),
            "(web-1) has no storageProfile. Give the whole model: no --query.",
            id="a part of a machine",
        ),
        pytest.param(
            written({"id": f"{GROUP}/providers/Microsoft.Network/loadBalancers/lb"}),
            "(lb) is no machine, but microsoft.network/loadbalancers.",
            id="something else",
        ),
    ],
)
def test_json_that_is_no_machine(content: bytes, words: str) -> None:
    told = ask("--revision", "2025-02", "--vm-json", "-", stdin=content)

    line = refused(told)
    assert line.startswith("Error: --vm-json from stdin")
    assert words in line


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param(written([vm()]), "item 1 (web-1) is no image definition", id="a machine"),
        pytest.param(written([arc()]), "but microsoft.hybridcompute/machines", id="a server"),
        pytest.param(
            written(definition(id=f"{definition()['id']}/versions/1.0.0")),
            "is no image definition, but microsoft.compute/galleries/images/versions. Give what",
            id="a version",
        ),
        pytest.param(
            written({**definition(), "osState": None}),
            "(web) has no osState. Give the whole definition: no --query.",
            id="a part of a definition",
        ),
        pytest.param(b"{", "is not JSON", id="cut short"),
    ],
)
def test_json_that_is_no_image_definition(tmp_path: Path, content: bytes, words: str) -> None:
    file = tmp_path / "definition.json"
    file.write_bytes(content)
    machine: Any = written(vm())

    for told in (
        ask("--revision", "2025-02", "--image-definition", file),
        ask("--revision", "2025-02", "--image-definition", file, "--vm-json", "-", stdin=machine),
    ):
        line = refused(told)
        assert line.startswith(f"Error: --image-definition {file}")
        assert words in line


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    missing, folder = tmp_path / "missing.json", tmp_path

    told = ask("--revision", "2025-02", "--vm-json", missing)
    assert refused(told) == f"Error: --vm-json {missing} cannot be read: No such file or directory."
    told = ask("--revision", "2025-02", "--image-definition", folder)
    assert f"{folder} cannot be read: Is a directory" in refused(told)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_a_file_that_another_shell_wrote_is_read(tmp_path: Path, encoding: str) -> None:
    file = tmp_path / "vm.json"
    file.write_bytes(written(vm()).decode().encode(encoding))

    assert ask("--revision", "2025-02", "--vm-json", file).status == 4


def _paths(model: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Where something stands in a model."""
    inner = model.items() if isinstance(model, dict) else ()
    return [path, *(found for key, value in inner for found in _paths(value, (*path, key)))]


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=5,
)

WHOLE = vm(instanceView=instance_view("ubuntu", "22.04"), virtualMachineScaleSet={"id": "x"})


@pytest.mark.parametrize("model", [WHOLE, in_arms_form(WHOLE), arc()], ids=["vm", "arm", "arc"])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_no_json_makes_it_crash(model: Model, data: st.DataObject) -> None:
    """Anything may stand where something else is expected."""
    changed = copy.deepcopy(model)
    path = data.draw(st.sampled_from(_paths(changed)[1:]))
    parent = changed
    for key in path[:-1]:
        parent = parent[key]
    parent[path[-1]] = data.draw(ANY_JSON)
    output = data.draw(st.sampled_from(["table", "json", "yaml"]))

    told = ask(
        *("--revision", "2025-02", "--vm-json", "-", "-o", output),
        stdin=written(data.draw(st.sampled_from([changed, [changed, model]]))),
    )

    if told.status == 2:
        refused(told)
    else:
        assert told.status in {0, 3, 4}
        assert told.err == ""
