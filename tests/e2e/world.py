"""A control plane, a simulated Azure and the operator between them, for tests to watch."""

from __future__ import annotations

import base64
import json
import re
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml
from manifests import OPERATOR, OPERATOR_CLIENT, PERSON_CLIENT, PERSON_SECRET, TENANT, Manifest

from judging.azure_journal import Journal, Kind, Operation
from judging.invariants import Violations
from judging.leaks import Secret, leaks, secrets_of
from lab import chart
from lab.apiclient import ApiError
from lab.audit import LOG_WRITES, AuditEvent
from lab.controlplane import ControlPlane
from lab.folders import run_folder
from lab.nursery import Nursery
from lab.processes import AzSim, Clock, Operator, operator_nursery

PATIENCE = 120.0
"""Real seconds that a wait may take before it counts as failed: many times what it takes."""

POLL = 0.25
"""Real seconds between two looks."""

COMPUTE = "2024-07-01"
"""The api-version of the requests that tests send by themselves."""

RESYNCS = "azpatch_resyncs_total"
REFRESHES = 'azpatch_azure_calls_total{operation="snapshot",result="Succeeded"}'
"""The operator's own counts of what it does over and over."""

GROUP_VERSION = "/apis/azpatch.dev/v1alpha1"


class World:
    """Runs from `with` on; the operator starts with `start_operator`.

    Attributes:
        folder: logs of everything, the fleet file, the journal. A failure names it.
        controlplane, installed, azsim, operator: see `lab`.
    """

    def __init__(
        self,
        name: str,
        fleet: Callable[[ControlPlane], Manifest],
        *,
        pace: float,
        seed: int,
        settings: Mapping[str, str] | None = None,
        audit_policy: Mapping[str, Any] = LOG_WRITES,
        many_operators: bool = False,
    ) -> None:
        """`seed` draws what nobody has written down about Azure; see azsim's quirks.
        `many_operators` are forked, each in a tenth of a start's time."""
        self.folder = run_folder(name)
        self._many_operators = many_operators
        self._nursery: Nursery | None = None
        self.controlplane = ControlPlane(self.folder / "controlplane", audit_policy=audit_policy)
        self._fleet = fleet
        self._clock = Clock(pace=pace)
        self._seed = seed
        self._settings = dict(settings or {})
        self._journals: list[Path] = []
        self._azures: list[AzSim] = []
        self._token = ""
        self._replicas: list[Operator] = []

    def __enter__(self) -> Self:
        self.controlplane.start()
        try:
            self.installed = chart.install(self.controlplane)
            self.start_azure()
            if self._many_operators:
                self._nursery = operator_nursery(self.folder)
        except BaseException:
            self.controlplane.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        found: Violations = []
        try:
            found = self.leaks()
        except Exception as untold:
            # What broke the world is to be seen, and not that it could not be searched for it.
            if error is None:
                raise
            error.add_note(f"its secrets were not searched for: {untold!r}")
        finally:
            for process in (*self._replicas, self.azsim):
                process.stop()
            if self._nursery is not None:
                self._nursery.stop()
            self.controlplane.stop()
        if found:
            raise AssertionError(f"secrets are shown: {found}\nlogs: {self.folder}") from error

    # -- secrets ------------------------------------------------------------------------------

    def secrets(self) -> list[Secret]:
        """What nobody may be shown: every secret of azsim's, and of the AzureSubscriptions."""
        issued = [azsim.issued() for azsim in self._azures]
        assert any(each["tokens"] for each in issued), "nobody signed in: nothing to look for"
        stored = self.controlplane.admin.get(f"/api/v1/namespaces/{chart.NAMESPACE}/secrets")
        values = [one.get("data", {}).get("AZURE_CLIENT_SECRET", "") for one in stored["items"]]
        given = [base64.b64decode(value).decode() for value in values if value]
        return secrets_of([*issued, {"clientSecrets": given}])

    def shown(self) -> dict[str, str]:
        """What anybody may read, by where it is: logs, objects, events, metrics."""
        files = self.folder.glob("operator-*/*.log")
        texts = {str(file.relative_to(self.folder)): file.read_text() for file in files}
        texts["audit.log"] = self.controlplane.audit_log.read_text()
        for kinds in ("azpatch", "events.events.k8s.io", "configmaps,leases"):
            get = self.controlplane.kubectl("get", kinds, "--all-namespaces", "--output=yaml")
            texts[f"kubectl get {kinds}"] = get.stdout
        for number, operator in enumerate(self._replicas):
            if operator.running:
                texts[f"replica {number} /metrics"] = operator.metrics()
        return texts

    def leaks(self) -> Violations:
        """Where a secret is shown. Every World is asked this at its end, whatever the end."""
        return leaks(self.shown(), self.secrets())

    def azure_time(self) -> datetime:
        """What Azure's clock shows."""
        return self._clock.now()

    # -- life ---------------------------------------------------------------------------------

    def start_azure(self, fleet: Callable[[ControlPlane], Manifest] | None = None) -> None:
        """Starts azsim, with another fleet if one is given; time goes on where it was."""
        folder = self.folder / f"azure-{len(self._journals) + 1}"
        folder.mkdir()
        file = folder / "fleet.yaml"
        file.write_text(yaml.safe_dump((fleet or self._fleet)(self.controlplane)))
        # Another seed each time, else the ids of operations would come again.
        seed = self._seed + 1000 * len(self._journals)
        self.azsim = AzSim(file, folder, clock=self._clock, seed=seed)
        self._azures.append(self.azsim)
        self._journals.append(self.azsim.journal)
        self._token = ""

    def start_operator(self, **settings: str) -> None:
        """Starts the operator; ready on return. It leads at once: the one before does not run.
        `settings` are for this one only."""
        chart.free_lease(self.controlplane)
        self.operator = self.start_replica(**settings)

    def start_replica(self, **env: str) -> Operator:
        """Starts an operator beside those that run; ready on return, to lead or to take over."""
        operator = self.launch(**env)
        operator.wait_until_ready()
        return operator

    def launch(self, **env: str) -> Operator:
        """As `start_replica`, but does not wait for it."""
        operator = Operator(
            self.installed,
            azure=self.azsim.env,
            folder=self.folder / f"operator-{time.monotonic_ns()}",
            env={"AZURE_CLIENT_ID": OPERATOR_CLIENT, **self._settings, **env},
            nursery=self._nursery,
        )
        self._replicas.append(operator)
        return operator

    # -- Kubernetes -----------------------------------------------------------------------------

    def apply(self, *manifests: Manifest) -> None:
        """Server-side, as the administrator."""
        self.controlplane.kubectl(
            "apply", "--server-side", "--force-conflicts", "--filename=-",
            input=yaml.safe_dump_all(manifests),
        )  # fmt: skip

    def delete(self, manifest: Manifest) -> None:
        """Asks for the deletion; does not wait for it."""
        self.controlplane.admin.delete(path_of(manifest))

    def now(self, manifest: Manifest) -> Manifest | None:
        """The object as it is now; None: there is none."""
        try:
            return self.controlplane.admin.get(path_of(manifest))
        except ApiError as error:
            if error.code == 404:
                return None
            raise

    def targets(self, policy: Manifest | None = None) -> list[Manifest]:
        """The PatchTargets of a policy, or of all."""
        items: list[Manifest] = self.controlplane.admin.get(f"{GROUP_VERSION}/patchtargets")[
            "items"
        ]
        if policy is None:
            return items
        meta = policy["metadata"]
        return [
            item
            for item in items
            if (item["metadata"]["namespace"], item["spec"]["policy"])
            == (meta["namespace"], meta["name"])
        ]

    def target(self, policy: Manifest, machine: str | None = None) -> Manifest | None:
        """The PatchTarget of a machine; without one, the policy's only one."""
        found = [
            item
            for item in self.targets(policy)
            if machine is None or item["spec"]["machineId"].lower() == machine.lower()
        ]
        assert len(found) <= 1, f"{len(found)} PatchTargets of {policy['metadata']['name']}"
        return found[0] if found else None

    def operator_writes(self) -> list[AuditEvent]:
        """What the operator wrote to Kubernetes so far."""
        user = f"system:serviceaccount:{chart.NAMESPACE}:{self.installed.service_account}"
        return self.controlplane.audit_events(user=user)

    # -- Azure ----------------------------------------------------------------------------------

    def journal(self) -> Journal:
        """What azsim saw so far."""
        return Journal.read(*self._journals)

    def installs(self, machine: str) -> list[Operation]:
        """The installs that began on a machine."""
        return [one for one in self.journal().operations(machine) if one.kind == "Install"]

    def posts(self, machine: str, kind: Kind | None = None) -> int:
        """How many guest patch requests of the operator arrived for a machine."""
        return len(self.journal().posts(machine, kind, {OPERATOR}))

    def as_person(
        self, method: str, resource: str, body: Any = None, version: str = COMPUTE
    ) -> Any:
        """A request to ARM by somebody else than the operator. HTTPError if it is refused."""
        if not self._token:
            form = {
                "grant_type": "client_credentials",
                "client_id": PERSON_CLIENT,
                "client_secret": PERSON_SECRET,
                "scope": "https://management.azure.com/.default",
            }
            encoded = urllib.parse.urlencode(form).encode()
            answer = self._send("POST", f"/{TENANT}/oauth2/v2.0/token", encoded, {})
            self._token = answer["access_token"]
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        if method == "POST" and data is None:
            data = b""
        return self._send(method, f"{resource}?api-version={version}", data, headers)

    def _send(self, method: str, path: str, data: bytes | None, headers: dict[str, str]) -> Any:
        request = urllib.request.Request(
            self.azsim.env["AZSIM_ARM_ENDPOINT"] + path, data=data, headers=headers, method=method
        )
        context = ssl.create_default_context(cafile=self.azsim.env["AZSIM_CA_FILE"])
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )
        with opener.open(request, timeout=30) as answer:
            content = answer.read()
        return json.loads(content) if content else None

    # -- waiting ----------------------------------------------------------------------------------

    def wait(
        self,
        what: str,
        happened: Callable[[], Any],
        *about: Manifest,
        patience: float = PATIENCE,
    ) -> Any:
        """Until `happened` returns something true, which is returned.

        AssertionError after `patience` real seconds, with the objects of `about` and their
        PatchTargets as they are then, and where the logs are.
        """
        end = time.monotonic() + patience
        ran = self.operator.running
        while True:
            found = happened()
            if found:
                return found
            ended = ran and not self.operator.running
            if time.monotonic() > end or ended:
                state = " (the operator has ended)" if ended else ""
                raise AssertionError(
                    f"not seen in {patience:g} s{state}: {what}\n{self.describe(*about)}"
                )
            time.sleep(POLL)

    def wait_for_reason(
        self, manifest: Manifest, reason: str, type_: str = "Ready", patience: float = PATIENCE
    ) -> Manifest:
        """Until a condition of an object has this reason; the object then."""

        def seen() -> Manifest | None:
            found = self.now(manifest)
            return found if _reason(found, type_) == reason else None

        name = manifest["metadata"]["name"]
        result: Manifest = self.wait(
            f"{manifest['kind']} {name} {type_} {reason}", seen, manifest, patience=patience
        )
        return result

    def wait_for_target(
        self,
        policy: Manifest,
        reason: str,
        type_: str = "Ready",
        machine: str | None = None,
        patience: float = PATIENCE,
    ) -> Manifest:
        """Until a condition of a policy's PatchTarget has this reason; the PatchTarget then."""

        def seen() -> Manifest | None:
            found = self.target(policy, machine)
            return found if _reason(found, type_) == reason else None

        name = policy["metadata"]["name"]
        result: Manifest = self.wait(
            f"PatchTarget of {name} {type_} {reason}", seen, policy, patience=patience
        )
        return result

    def wait_for_install(self, machine: str, *about: Manifest) -> Operation:
        """Until an install has begun on a machine; the install."""
        result: Operation = self.wait(
            f"an install of {machine} begins",
            lambda: next(iter(self.installs(machine)), None),
            *about,
        )
        return result

    def let_pass(self, resyncs: int = 0, refreshes: int = 0) -> None:
        """Until so many of each were begun and ended: those under way do not count."""
        until = {
            name: self._count(name) + number + 1
            for name, number in ((RESYNCS, resyncs), (REFRESHES, refreshes))
            if number
        }
        self.wait(
            f"{resyncs} resyncs and {refreshes} refreshes",
            lambda: all(self._count(name) >= number for name, number in until.items()),
        )

    def _count(self, name: str) -> float:
        """A counter of the operator; 0 before its first count."""
        found = re.search(rf"^{re.escape(name)} (\S+)$", self.operator.metrics(), re.MULTILINE)
        return float(found[1]) if found else 0.0

    def describe(self, *about: Manifest) -> str:
        """The objects and their PatchTargets as they are, and where to look further."""
        shown = [self.now(manifest) or f"{path_of(manifest)} is not there" for manifest in about]
        for manifest in about:
            if manifest["kind"] == "PatchPolicy":
                shown += self.targets(manifest)
        for thing in shown:
            if isinstance(thing, dict):
                thing["metadata"].pop("managedFields", None)
        return f"{yaml.safe_dump_all(shown)}\nlogs and journal: {self.folder}"


def leads(operator: Operator) -> bool:
    """Whether it says so itself; one that has ended does not."""
    try:
        return "\nazpatch_leader 1.0\n" in operator.metrics()
    except OSError:
        return False


def path_of(manifest: Manifest) -> str:
    """Where the API server has an object."""
    meta = manifest["metadata"]
    plural = f"{manifest['kind'].lower()}{'es' if manifest['kind'].endswith('s') else 's'}"
    plural = plural.replace("policys", "policies")
    root = (
        GROUP_VERSION
        if manifest["apiVersion"].startswith("azpatch.dev/")
        else f"/api/{manifest['apiVersion']}"
    )
    where = f"namespaces/{meta['namespace']}/" if "namespace" in meta else ""
    return f"{root}/{where}{plural}/{meta['name']}"


def _reason(thing: Mapping[str, Any] | None, type_: str) -> str | None:
    """The reason of a condition that speaks of the present generation."""
    if thing is None:
        return None
    for condition in (thing.get("status") or {}).get("conditions") or ():
        current = condition.get("observedGeneration") == thing["metadata"].get("generation")
        if condition["type"] == type_ and current:
            reason: str = condition["reason"]
            return reason
    return None
