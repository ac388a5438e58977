"""Microsoft's own command line works against azsim, unmodified.

`session.sh` is what a person would type; `expected.txt` what it printed, with what differs between
runs replaced. `AZPATCH_WRITE_EXPECTED=1` writes it anew, to be read before it is committed.
"""

import os
import re
import subprocess
from pathlib import Path

import azure_cli
import pytest

from lab.processes import AzSim, Clock

HERE = Path(__file__).parent
EXPECTED = HERE / "expected.txt"

PACE = 600
"""Ten simulated minutes a second: the CLI looks at an operation every 30 s anyway."""

SESSION_SECONDS = 600
"""The session takes 75 s on an idle machine."""


@pytest.fixture
def azure_cli_python() -> Path:
    """The interpreter that has the Azure CLI; skips with the reason where there can be none."""
    try:
        return azure_cli.ensure()
    except azure_cli.AzureCliMissing as missing:
        if os.environ.get(azure_cli.REQUIRE):
            raise
        pytest.skip(f"no Azure CLI here: {missing}")


@pytest.mark.timeout(1200)
def test_a_session_with_the_azure_cli_prints_what_it_always_prints(
    azure_cli_python: Path, logs: Path, tmp_path: Path
) -> None:
    with AzSim(HERE / "fleet.yaml", logs, Clock(PACE)) as azsim:
        done = subprocess.run(
            ["bash", str(HERE / "session.sh")],
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(tmp_path),
                "AZ_PYTHON": str(azure_cli_python),
                "AZURE_CONFIG_DIR": str(tmp_path / "azure"),
                "LC_ALL": "C.UTF-8",
                **azsim.env,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=SESSION_SECONDS,
        )
    printed = normalised(done.stdout)
    (logs / "session.txt").write_text(done.stdout)

    assert done.returncode == 0, done.stdout
    if os.environ.get("AZPATCH_WRITE_EXPECTED"):
        EXPECTED.write_text(printed)
    assert printed == EXPECTED.read_text()


def normalised(text: str) -> str:
    """Times, the port and the ids that azsim draws, replaced by what does not change."""
    text = re.sub(r"https://localhost:\d+", "https://localhost:PORT", text)
    text = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "TIME", text)
    known = (HERE / "fleet.yaml").read_text()
    names: dict[str, str] = {}

    def name(found: re.Match[str]) -> str:
        drawn = found[0]
        return drawn if drawn in known else names.setdefault(drawn, f"<id {len(names) + 1}>")

    return re.sub(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", name, text)
