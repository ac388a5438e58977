"""Running kubectl and helm without a trace of the developer's own configuration."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

COMMAND_SECONDS = 400.0
"""Until one that hangs is killed. An API server that met a conflict while it deleted a CRD looks at
it again after five minutes."""


class CommandFailed(RuntimeError):
    """A command ended with an error. ``stderr`` and ``stdout`` are what it printed."""

    def __init__(self, program: str, done: subprocess.CompletedProcess[str]) -> None:
        self.stderr = done.stderr
        self.stdout = done.stdout
        self.returncode = done.returncode
        words = " ".join(map(str, done.args[1:]))
        super().__init__(
            f"{program} {words}: status {done.returncode}\n{done.stderr or done.stdout}"
        )


def run(
    command: Sequence[str | Path], kubeconfig: Path, home: Path, input: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs it to its end, output captured; caches and configuration are under ``home``."""
    return subprocess.run(
        [str(word) for word in command],
        input=input,
        stdin=subprocess.DEVNULL if input is None else None,
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
        check=False,
        env=os.environ
        | {
            "KUBECONFIG": str(kubeconfig),
            "KUBECACHEDIR": str(home / "kube"),
            "HELM_CACHE_HOME": str(home / "helm-cache"),
            "HELM_CONFIG_HOME": str(home / "helm-config"),
            "HELM_DATA_HOME": str(home / "helm-data"),
            # The API server is on loopback; a proxy of the environment is for others.
            "NO_PROXY": "*",
            "no_proxy": "*",
        },
    )
