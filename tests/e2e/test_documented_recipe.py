"""The recipe of docs/azsim.md, as it stands there, on a control plane of the tests."""

import os
import re
import subprocess
import sys
from pathlib import Path

from lab.binaries import ROOT, binaries
from lab.controlplane import ControlPlane

RECIPE_SECONDS = 240.0
"""Half a minute is usual."""

SET_UP = re.compile(r"^(?:make |eval |export PATH=).*\n", re.MULTILINE)
"""What makes the environment and the cluster, which are there."""


def test_the_recipe_for_testing_policies_ends_with_what_it_says(tmp_path: Path) -> None:
    section = (ROOT / "docs" / "azsim.md").read_text().partition("## Your policies against it\n")[2]
    recipe, printed = re.findall(r"^```(?:sh)?\n(.*?)^```", section, re.DOTALL | re.MULTILINE)[:2]
    (tmp_path / "crds").symlink_to(ROOT / "crds")
    with ControlPlane(folder=tmp_path / "controlplane") as cluster:
        folders = [Path(sys.executable).parent, binaries()["kubectl"].parent, os.environ["PATH"]]
        done = subprocess.run(
            ["bash", "-eu", "-c", SET_UP.sub("", recipe)],
            cwd=tmp_path,
            env=os.environ
            | {"PATH": ":".join(map(str, folders)), "KUBECONFIG": str(cluster.kubeconfig)},
            capture_output=True,
            text=True,
            timeout=RECIPE_SECONDS,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert printed in done.stdout
