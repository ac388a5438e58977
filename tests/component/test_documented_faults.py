"""The commands of docs/azsim.md that make azsim hostile, as they stand there."""

import re
import subprocess
from pathlib import Path

import pytest

from lab.binaries import ROOT
from lab.processes import AzSim, Clock

FLEET = "machines: [{name: 'web-{n}', count: 3}]"

EXPECTED = """{"ids":["fault-1"]}
{"ids":["fault-2"]}
{"ids":["fault-3","fault-4","fault-5"]}
{"ids":["fault-6"]}
{"ids":["fault-7"]}
{"ids":["fault-8","fault-9","fault-10"]}
["fault-1",0]
["fault-2",0]
["fault-3",0]
["fault-4",0]
["fault-5",0]
["fault-6",0]
["fault-7",0]
["fault-8",0]
["fault-9",0]
["fault-10",0]


3
"""


def test_the_documented_commands_are_accepted(tmp_path: Path) -> None:
    section = (ROOT / "docs" / "azsim.md").read_text().partition("## Make it hostile\n")[2]
    commands = re.findall(r"^```sh\n(.*?)^```", section, re.DOTALL | re.MULTILINE)[0]
    fleet = tmp_path / "fleet.yaml"
    fleet.write_text(FLEET)
    # The pace is that of a wall clock, so that no fault ends by itself before it is listed.
    with AzSim(fleet, tmp_path / "run", Clock()) as azsim:
        (tmp_path / "azsim.env").symlink_to(azsim.env_file)
        done = subprocess.run(
            ["bash", "-eu", "-o", "pipefail", "-c", commands],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        journal = azsim.journal.read_text()

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == EXPECTED
    assert journal.count('"FaultBegan"') == journal.count('"FaultEnded"') == 10
    assert '"AgentLost"' in journal


@pytest.mark.parametrize("page", ["azsim.md", "azsim-faults.md"])
def test_the_pages_refer_to_each_other(page: str) -> None:
    other = {"azsim.md": "azsim-faults.md", "azsim-faults.md": "azsim.md#make-it-hostile"}[page]

    assert f"]({other})" in (ROOT / "docs" / page).read_text()
