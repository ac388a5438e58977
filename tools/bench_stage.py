"""What stays the same for all the measurements: the cluster, the fleet, who acts."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import bench_fleet as fleet
from bench_cluster import Writes, delete_patch_targets, release
from bench_process import samples, wait_until
from lab.chart import Installed
from lab.controlplane import ControlPlane
from lab.processes import AzSim, Clock, Operator

QUIET_SECONDS = 7.0
"""Without a write and with an empty queue: the operator has come to rest. A policy rests for less
between two reconciles."""

SECONDS_PER_MACHINE = 0.2
"""The longest that anything here may take, for each machine, beside two minutes for all: many times
what is usual."""


MOST_AT_WORK = 2000
"""More machines are not assessed or installed on here: two cores, which the API server and azsim
share, would be the limit and not Azure's budget. The wave in virtual time has all of them."""


@dataclass
class Stage:
    """What stays the same for all the measurements."""

    controlplane: ControlPlane
    installed: Installed
    folder: Path
    machines: int

    @property
    def user(self) -> str:
        """The operator, as the API server names it."""
        return f"system:serviceaccount:{self.installed.namespace}:{self.installed.service_account}"

    @property
    def patience(self) -> float:
        """Seconds that a measurement may take."""
        return 120 + self.machines * SECONDS_PER_MACHINE

    def writes(self) -> Writes:
        """The operator's from now on."""
        return Writes(self.controlplane.audit_log, self.user)

    @contextmanager
    def azure(self, pace: float = 1.0) -> Iterator[AzSim]:
        """azsim with the fleet."""
        path = self.folder / "fleet.json"
        key = self.controlplane.token_public_key
        document = fleet.fleet(self.machines, self.user, key, fleet.PROBES)
        path.write_text(json.dumps(document))
        with AzSim(path, self.folder / f"azsim-pace-{pace:g}", Clock(pace)) as azsim:
            yield azsim

    def operator(self, azsim: AzSim, name: str, arguments: Sequence[str] = ()) -> Operator:
        """Started; its log is in a folder of this name."""
        return Operator(self.installed, azsim.env, self.folder / name, arguments)

    def token(self) -> str:
        """The operator's, for a client with the same rights."""
        return self.controlplane.service_account_token(
            self.installed.namespace, self.installed.service_account
        )

    def clear(self) -> None:
        """No policy, no PatchTarget, whatever is in flight. No operator may run."""
        for kind in ("patchpolicies", "patchtargets"):
            release(self.controlplane.admin, fleet.NAMESPACE, kind)
        self.controlplane.kubectl(
            "delete", "patchpolicies", "--all", f"--namespace={fleet.NAMESPACE}"
        )
        delete_patch_targets(self.controlplane.admin, fleet.NAMESPACE)

    def apply(
        self,
        azsim: AzSim,
        access: str,
        *,
        assess: bool,
        install: bool = False,
        waves: bool = False,
    ) -> datetime:
        """Subscriptions and policies; returns the moment before."""
        tenant = azsim.env["AZURE_TENANT_ID"]
        objects = fleet.manifests(
            self.machines, tenant, access, assess=assess, install=install, waves=waves
        )
        listed = {"apiVersion": "v1", "kind": "List", "items": objects}
        before = datetime.now(UTC)
        self.controlplane.kubectl(
            "apply", "--server-side", "--filename=-", input=json.dumps(listed)
        )
        return before


def wait_until_quiet(operator: Operator, writes: Writes, seconds: float) -> None:
    """No write for a while, and nothing in the queue."""
    since = [time.monotonic(), writes.total]

    def quiet() -> bool:
        writes.read()
        page = operator.metrics()
        busy = sum(
            sum(samples(page, f"azpatch_workqueue_{name}").values())
            for name in ("depth", "in_hand")
        )
        if busy or writes.total != since[1]:
            since[:] = [time.monotonic(), writes.total]
        return time.monotonic() - since[0] > QUIET_SECONDS

    wait_until(operator.child, quiet, "rest", seconds)
