"""A world whose operator reaches the API server and Azure through gates only."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import yaml
from manifests import Manifest, reason
from steps import AZURE_STEPS, END, Steps
from world import PATIENCE, POLL, World, leads

from judging.lock import Version
from lab import chart
from lab.audit import LOG_WRITES
from lab.controlplane import ControlPlane
from lab.gate import Gate, Moment, Trap
from lab.processes import Operator

LOG_TARGETS = {
    **LOG_WRITES,
    "rules": [
        {
            "level": "RequestResponse",
            "verbs": ["create", "update", "patch", "delete"],
            "resources": [
                {"group": "azpatch.dev", "resources": ["patchtargets", "patchtargets/status"]}
            ],
        },
        *LOG_WRITES["rules"],
    ],
}
"""Every version that a PatchTarget ever had, to judge the lock by."""


class GatedWorld(World):
    """As a World.

    Attributes:
        steps: names what passes either gate.
        kube, azure: the gates.
        kills: how often an operator was killed.
    """

    def __init__(
        self,
        name: str,
        fleet: Callable[[ControlPlane], Manifest],
        *,
        pace: float,
        seed: int,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(
            name,
            fleet,
            pace=pace,
            seed=seed,
            settings=settings,
            audit_policy=LOG_TARGETS,
            many_operators=True,
        )
        self.steps = Steps()
        self.kube = Gate("kube", self.folder, self.steps.seen)
        self.azure = Gate("azure", self.folder, self.steps.seen)
        self.kills = 0
        self._gates = ExitStack()
        self._standby: Operator | None = None

    def __enter__(self) -> Self:
        with ExitStack() as gates:
            gates.enter_context(self.kube)
            gates.enter_context(self.azure)
            super().__enter__()
            self._gates = gates.pop_all()
        self.kube.lead_to(self.controlplane.url, self.controlplane.ca_file)
        self._write_kubeconfig()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        super().__exit__(kind, error, trace)
        self._gates.close()

    def start_azure(self, fleet: Callable[[ControlPlane], Manifest] | None = None) -> None:
        super().start_azure(fleet)
        self.azure.lead_to(
            self.azsim.env["AZSIM_ARM_ENDPOINT"], Path(self.azsim.env["AZSIM_CA_FILE"])
        )

    def launch(self, **env: str) -> Operator:
        gates = {
            "KUBECONFIG": str(self._kubeconfig),
            "AZPATCH_ARM_ENDPOINT": self.azure.url,
            "AZURE_AUTHORITY_HOST": self.azure.url,
            "AZPATCH_AUTHORITY_HOST": self.azure.url,
            "AZPATCH_CA_FILE": str(self.azure.ca_file),
            # A Lease that is looked at often, and that a busy machine does not cost its leader.
            "AZPATCH_LEASE_RETRY_PERIOD": "1s",
            "AZPATCH_LEASE_RENEW_DEADLINE": "40s",
            "AZPATCH_LEASE_DURATION": "60s",
        }
        return super().launch(**{**gates, **env})

    # -- kills --------------------------------------------------------------------------------

    def start_pair(self) -> None:
        """An operator that leads, and one that is about to stand by."""
        self.start_operator()
        self._standby = self.launch()

    def kill(self) -> None:
        """SIGKILL to the one that leads. From any thread."""
        self.kills += 1
        self.operator.child.signal(signal.SIGKILL)

    def next_leads(self) -> None:
        """The one that stood by takes over, at once, and another stands by. For after a kill."""
        assert self._standby is not None
        self.operator.kill()
        chart.free_lease(self.controlplane)
        self.operator, self._standby = self._standby, None
        # Before a third is there that might be faster: whom to kill next must be known.
        self.wait("the one that stood by leads", lambda: leads(self.operator))
        self._standby = self.launch()

    def strike(self, step: str, moment: Moment, feed: Callable[[], None]) -> None:
        """Kills the operator at a step of whichever machine comes to it first; the next one leads
        on return. `feed` brings more work; it is called while there is next to none."""
        self.ready_to_be_killed()
        gate = self.azure if step in AZURE_STEPS else self.kube
        trap = gate.set(Trap(lambda passing: self.steps.name(passing) == step, moment, self.kill))
        end = time.monotonic() + PATIENCE
        while not trap.done.wait(POLL):
            lost = time.monotonic() > end or not self.operator.running
            if lost and not trap.sprung:
                gate.remove(trap)
                raise AssertionError(f"not seen in {PATIENCE:g} s: {step}; see {self.folder}")
            # What has been killed on its way needs a while; another may come to the step sooner.
            if self.busy() <= (0 if step in END else 1):
                feed()
        self.next_leads()

    def ready_to_be_killed(self) -> None:
        """Until another could take over at once."""
        assert self._standby is not None
        self._standby.wait_until_ready()

    def busy(self) -> int:
        """How many machines are not compliant yet."""
        return sum(reason(target, "Compliant") != "Compliant" for target in self.targets())

    # -- what the API server had --------------------------------------------------------------

    def versions(self) -> list[Version]:
        """Every version of every PatchTarget, oldest first."""
        written = [
            (event.time, event.raw.get("responseObject") or {})
            for event in self.controlplane.audit_events()
            if event.resource == "patchtargets" and event.code in (200, 201)
        ]
        # A deletion that is done at once is answered with a Status.
        return [
            Version(self._clock.at(time), answer)
            for time, answer in written
            if answer.get("kind") == "PatchTarget"
        ]

    @property
    def _kubeconfig(self) -> Path:
        return self.folder / "kubeconfig-gate"

    def _write_kubeconfig(self) -> None:
        config = yaml.safe_load(self.installed.kubeconfig.read_text())
        config["clusters"][0]["cluster"] = {
            "server": self.kube.url,
            "certificate-authority": str(self.kube.ca_file),
        }
        self._kubeconfig.touch(mode=0o600)
        self._kubeconfig.write_text(yaml.safe_dump(config))
