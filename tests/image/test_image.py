"""The image, built from the Dockerfile and run as the chart runs it."""

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.binaries import ROOT
from lab.image import Image

COMPILERS = ("gcc", "cc", "c++", "clang", "ld", "as", "make", "rustc", "go")

EVERY_MODULE = """
import importlib, json, pkgutil, azpatch
found = {}
for module in pkgutil.walk_packages(azpatch.__path__, "azpatch."):
    found[module.name] = importlib.import_module(module.name).__cached__
print(json.dumps(found))
"""

DISTRIBUTIONS = """
import json
from importlib.metadata import distributions
print(json.dumps({item.name: item.version for item in distributions()}))
"""


def test_hadolint_finds_nothing() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run(
        [hadolint, ROOT / "Dockerfile"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_command_line_starts_without_a_writable_file_or_a_network(image: Image) -> None:
    done = image.run("--help")
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    assert re.search(r"^\s+run\b", done.stdout, re.MULTILINE)


def test_it_prints_the_definitions_of_this_checkout(image: Image) -> None:
    done = image.run("crds")
    assert done.returncode == 0, done.stderr
    definitions = {item["metadata"]["name"]: item for item in yaml.safe_load_all(done.stdout)}
    assert definitions == {
        path.stem: yaml.safe_load(path.read_text()) for path in (ROOT / "crds").glob("*.yaml")
    }


def test_it_runs_the_operator_unless_told_otherwise(image: Image) -> None:
    config = image.config()
    assert (config["Entrypoint"], config["Cmd"]) == (["azpatch"], ["run"])


def test_its_user_is_a_number_that_is_not_root(image: Image) -> None:
    assert image.config()["User"] == "65532:65532"
    assert _python(image, "import os; print(os.getuid(), os.getgid())") == "65532 65532\n"


@pytest.mark.parametrize("folder", ["/", "/tmp", "/opt/azpatch", "/home", "/run"])
def test_nothing_can_be_written(image: Image, folder: str) -> None:
    done = image.run("-c", f"open('{folder}/trial', 'w')", entrypoint="python")
    assert done.returncode == 1
    assert "Read-only file system" in done.stderr


def test_there_is_no_compiler(image: Image) -> None:
    assert _found(image, *COMPILERS) == []


def test_there_is_no_way_to_install_more(image: Image) -> None:
    assert _found(image, "pip", "pip3") == []
    for module in ("pip", "ensurepip"):
        for python in ("/opt/azpatch/bin/python", "/usr/local/bin/python"):
            done = image.run("-m", module, "--version", entrypoint=python)
            assert "No module named" in done.stderr


def test_it_has_the_packages_of_the_lock_and_no_other(image: Image) -> None:
    lock = (ROOT / "requirements.lock").read_text()
    pinned = dict(re.findall(r"^([\w.-]+)==([^\s;]+) \\$", lock, re.MULTILINE))
    marked = dict(re.findall(r"^([\w.-]+)==([^\s;]+) ;", lock, re.MULTILINE))
    found = {
        re.sub(r"[-_.]+", "-", name).lower(): version
        for name, version in _json(image, DISTRIBUTIONS).items()
    }
    assert pinned.items() <= found.items()
    # What has a marker depends on the platform.
    assert found.items() <= {**pinned, **marked}.items()


def test_every_module_of_azpatch_is_there_and_compiled(image: Image) -> None:
    found = _json(image, EVERY_MODULE)
    sources = {
        ".".join(path.relative_to(ROOT / "operator").with_suffix("").parts)
        for path in (ROOT / "operator" / "azpatch").rglob("*.py")
    }
    assert {name.removesuffix(".__init__") for name in sources} == {*found, "azpatch"}
    assert _missing(image, *found.values()) == []


def test_the_simulated_azure_is_not_there(image: Image) -> None:
    done = image.run("-c", "import azsim", entrypoint="python")
    assert "No module named 'azsim'" in done.stderr


def test_its_labels_say_what_it_is(image: Image) -> None:
    labels = image.config()["Labels"]
    assert isinstance(labels, Mapping)
    assert labels["org.opencontainers.image.title"] == "azpatch"
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"


def test_the_version_is_one_in_project_chart_and_image(image: Image) -> None:
    project = re.findall(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.M)
    chart = (ROOT / "charts" / "azpatch" / "Chart.yaml").read_text()
    labels = image.config()["Labels"]
    assert isinstance(labels, Mapping)
    assert [labels["org.opencontainers.image.version"]] == project
    assert re.findall(r'^appVersion: "(.+)"$', chart, re.M) == project
    assert re.findall(r"^version: (.+)$", chart, re.M) == project
    assert image.run("--version").stdout.split()[-1:] == project


def test_what_installs_the_packages_is_not_left_behind(image: Image) -> None:
    traces = ["/build", "/etc/pip.conf", "/run/secrets/ca-bundle"]
    assert _missing(image, *traces) == traces


def _python(image: Image, program: str) -> str:
    done = image.run("-c", program, entrypoint="python")
    assert done.returncode == 0, done.stderr
    return done.stdout


def _json(image: Image, program: str) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(_python(image, program))
    return answer


def _missing(image: Image, *paths: str) -> list[str]:
    """Those that are not there."""
    program = "import os, sys; print(*(p for p in sys.argv[1:] if not os.path.exists(p)))"
    done = image.run("-c", program, *paths, entrypoint="python")
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def _found(image: Image, *programs: str) -> list[str]:
    """Those that are on the path."""
    program = "import shutil, sys; print(*filter(shutil.which, sys.argv[1:]))"
    done = image.run("-c", program, *programs, entrypoint="python")
    assert done.returncode == 0, done.stderr
    return done.stdout.split()
