"""Microsoft's Azure CLI in a virtual environment of its own, made once per version.

The CLI pins what azpatch pins otherwise, so it cannot share the project's environment. It lives
under `${XDG_CACHE_HOME:-~/.cache}/azpatch/`, from the hashed lock beside this file.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

LOCK = Path(__file__).with_name("requirements.lock")
REQUIRE = "AZPATCH_REQUIRE_AZ"


class AzureCliMissing(Exception):
    """The CLI is not there and could not be installed; the message says why."""


def version() -> str:
    """The version that the lock pins."""
    found = re.search(r"^azure-cli==(\S+)", LOCK.read_text(), re.MULTILINE)
    if found is None:
        raise AzureCliMissing(f"{LOCK.name} pins no azure-cli")
    return found[1]


def home() -> Path:
    """Where this version lives for this Python."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    python = f"{sys.version_info.major}{sys.version_info.minor}"
    return cache / "azpatch" / f"azure-cli-{version()}-py{python}"


def ensure() -> Path:
    """The interpreter for `python -m azure.cli`, installed first if need be (about 90 s)."""
    python = home() / "bin" / "python"
    if not python.exists():
        _install(home())
    return python


def _install(target: Path) -> None:
    """Build beside the target and rename, so that two runs may race and none sees a half."""
    print(f"installing azure-cli {version()} into {target}, about 90 s", file=sys.stderr)
    target.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix=f"{target.name}.", dir=target.parent))
    try:
        _run([sys.executable, "-m", "venv", str(building)])
        _run(
            [
                str(building / "bin" / "python"),
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
                "--require-hashes",
                "--requirement",
                str(LOCK),
            ]
        )
        building.rename(target)
    except OSError:
        if not (target / "bin" / "python").exists():
            raise
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        tail = "\n".join((done.stdout + done.stderr).strip().splitlines()[-5:])
        raise AzureCliMissing(f"{' '.join(command[:4])} failed:\n{tail}")


if __name__ == "__main__":
    print(ensure())
