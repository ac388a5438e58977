"""examples/support/gate.sh, as it stands there, with an `az` that answers what Azure would."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from printed_models import IMAGE, definition, vm, written

from lab.processes import python_env

GATE = Path(__file__).parents[3] / "examples" / "support" / "gate.sh"

AZ = """#!/usr/bin/env bash
printf '%s\\n' "$*" >>"$FOLDER/calls"
case "$*" in
  'sig image-definition show'*) cat "$FOLDER/definition.json" ;;
  'vm show'*) echo /subscriptions/s/resourceGroups/rg-probe/providers/x/virtualMachines/p ;;
  'vm get-instance-view'*) cat "$FOLDER/vm.json" ;;
  'rest'*)  # Resource Graph is late
    if [[ $(grep -c ^rest "$FOLDER/calls") -ge 2 ]]; then echo "$DETECTED"; fi ;;
  *) echo '{}' ;;
esac
"""


@pytest.mark.parametrize(
    ("detected", "status"), [("Supported", 0), ("Unknown", 0), ("Unsupported", 3), ("", 4)]
)
@pytest.mark.parametrize("os_state", ["Generalized", "Specialized"])
def test_the_gate_opens_by_what_azure_detected(
    tmp_path: Path, detected: str, status: int, os_state: str
) -> None:
    (tmp_path / "definition.json").write_bytes(written(definition("web", os_state)))
    (tmp_path / "vm.json").write_bytes(written(vm("probe")))
    programs = {
        "az": AZ,
        "azpatch": f'#!/bin/sh\nexec "{sys.executable}" -m azpatch "$@"\n',
        "sleep": "#!/bin/sh\n",
    }
    for name, text in programs.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    env = python_env()

    done = subprocess.run(
        [GATE, f"{IMAGE}/web/versions/1.4.0", "rg-probe"],
        env=env
        | {
            "PATH": f"{tmp_path}:{env['PATH']}",
            "FOLDER": str(tmp_path),
            "DETECTED": detected,
            "PATIENCE": "60" if detected else "0",
        },
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == status, done.stderr
    assert f"osState of the image definition is {os_state}" in done.stdout
    calls = (tmp_path / "calls").read_text().splitlines()
    (made,) = [call for call in calls if call.startswith("vm create")]
    assert ("--specialized true" in made) is (os_state == "Specialized")
    assert calls[-1].startswith("vm delete")
