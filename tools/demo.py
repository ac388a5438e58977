"""``make demo``: policies patch the machines of a simulated Azure, on a real control plane.

With ``DEMO_EXIT=1`` it ends with a table, exit status 0 if every machine came to its expected end;
without, it stays up until Ctrl-C and says how to look around. ``tools/demo`` has the manifests and
the fleet, ``demo_story`` the expected ends.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.padding import Padding

from demo_cluster import Seen, View, look, posts
from demo_screen import Lines, console, explanations, origins, screen, summary
from demo_story import missing
from judging.leaks import leaks, secrets_of
from lab import chart
from lab.binaries import ROOT, BinariesMissing, binaries
from lab.child import ChildFailed
from lab.command import CommandFailed
from lab.controlplane import SERVICE_ACCOUNT_ISSUER, ControlPlane
from lab.folders import run_folder
from lab.processes import AzSim, Clock, Operator

FOLDER = ROOT / "tools" / "demo"
"""The manifests and the fleet."""
ROLES = ROOT / "docs" / "azure-roles"
ROLE_FILES = ("reader", "assessor", "patcher")
MANIFESTS = ("subscriptions.yaml", "shop.yaml", "billing.yaml", "ops.yaml")
NAMESPACES = ("shop", "billing", "ops")

PACE = 30.0
"""A minute in Azure is two seconds here, so that an install can be watched. DEMO_PACE overrides."""

LOOK_SECONDS = 0.5
"""Between two looks at the cluster."""

APPROVER = "anna@example.com"
"""Who has the verb approve in namespace ops."""

END_SECONDS = 300.0
"""For all machines to come to their end; a third of it is usual."""


@dataclass(frozen=True)
class Stage:
    """What runs."""

    console: Console
    folder: Path
    controlplane: ControlPlane
    azsim: AzSim
    operator: Operator
    clock: Clock
    began: datetime
    """Azure's time when the set-up was done."""


def main() -> int:
    """Set up, watch, judge; with DEMO_EXIT end, without stay."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    stay = os.environ.get("DEMO_EXIT", "") in ("", "0")
    with ExitStack() as stack:
        try:
            stage = _set_up(stack)
            _apply(stage)
            unexpected = _watch(stage)
            if stay:
                _stay(stage)
        except KeyboardInterrupt:
            # Typed by somebody who has seen enough; in a script it is an end before the end.
            print("\nGoodbye: all that the demo started is being ended.", flush=True)
            return 0 if stay else 130
        except (BinariesMissing, ChildFailed, CommandFailed) as problem:
            print(problem, file=sys.stderr)
            return 1
        return 1 if unexpected else 0


# --- set-up ---------------------------------------------------------------------------------------


def _set_up(stack: ExitStack) -> Stage:
    to, folder, clock = console(), run_folder("demo"), Clock(_pace())
    _say(to, "control plane", "etcd, kube-apiserver and kube-controller-manager")
    controlplane = stack.enter_context(ControlPlane(folder=folder))
    _say(to, "chart", f"charts/azpatch in namespace {chart.NAMESPACE}")
    installed = chart.install(controlplane)
    for namespace in NAMESPACES:
        chart.create_namespace(controlplane, namespace)
    _say(to, "simulated Azure", f"its clock runs {clock.pace:g} times as fast")
    fleet = folder / "fleet.json"
    subject = f"system:serviceaccount:{installed.namespace}:{installed.service_account}"
    fleet.write_text(json.dumps(_fleet(subject, controlplane.token_public_key)))
    azsim = stack.enter_context(AzSim(fleet, folder, clock))
    _say(to, "operator", "with the chart's ServiceAccount, in Kubernetes and in Azure")
    operator = stack.enter_context(Operator(installed, azsim.env, folder))
    operator.wait_until_ready()
    return Stage(to, folder, controlplane, azsim, operator, clock, clock.now())


def _pace() -> float:
    return float(os.environ.get("DEMO_PACE") or PACE)


def _say(to: Console, what: str, detail: str) -> None:
    to.print(f"[bold]{what:<16}[/bold] {detail}")


def _fleet(subject: str, token_public_key: str) -> dict[str, Any]:
    """The fleet file, and who the operator is in Azure: its ServiceAccount, with the roles that
    docs/install.md gives it, in the declared subscriptions, and nothing more."""
    fleet: dict[str, Any] = yaml.safe_load((FOLDER / "fleet.yaml").read_text())
    roles = [json.loads((ROLES / f"{name}.json").read_text()) for name in ROLE_FILES]
    declared = yaml.safe_load_all((FOLDER / MANIFESTS[0]).read_text())
    scopes = [f"/subscriptions/{one['spec']['subscriptionId']}" for one in declared]
    fleet["roles"] = {role["Name"]: {"actions": role["Actions"]} for role in roles}
    fleet["principals"] = [
        {
            "name": "azpatch",
            "federatedSubjects": [
                {
                    "issuer": SERVICE_ACCOUNT_ISSUER,
                    "subject": subject,
                    "publicKey": token_public_key,
                }
            ],
            "roleAssignments": [
                {"scope": scope, "role": role["Name"]} for scope in scopes for role in roles
            ],
        }
    ]
    return fleet


# --- act and watch --------------------------------------------------------------------------------


def _apply(stage: Stage) -> None:
    stage.console.print()
    for name in MANIFESTS:
        path = FOLDER / name
        stage.console.print(f"$ kubectl apply --server-side -f {path.relative_to(ROOT)}")
        done = stage.controlplane.kubectl("apply", "--server-side", "--filename", path)
        stage.console.print(done.stdout.rstrip(), style="dim")
    stage.console.print()


def _watch(stage: Stage) -> list[str]:
    """Until all is as expected, or time is up; what is not as expected."""
    deadline, approved = time.monotonic() + END_SECONDS, set[str]()
    with screen(stage.console) as shown:
        while True:
            view, counted = _look(stage)
            shown.show(view, stage.clock.now() - stage.began)
            for run in view.runs:
                if run.phase == "AwaitingApproval" and run.name not in approved:
                    _approve(stage, run)
                    approved.add(run.name)
            unexpected = missing(view, counted)
            if not unexpected or time.monotonic() > deadline or not stage.operator.running:
                break
            time.sleep(LOOK_SECONDS)
    unexpected = [*unexpected, *secrets_shown(stage)]
    _report(stage, view, unexpected, stage.clock.now() - stage.began)
    return unexpected


def _approve(stage: Stage, run: Seen) -> None:
    """As somebody who may would, with kubectl."""
    said = json.dumps({"spec": {"approved": True, "approvedBy": APPROVER}})
    words = ("patch", "azpr", run.name, "-n", run.namespace, "--as", APPROVER, "--type", "merge")
    stage.console.print(f"$ kubectl {' '.join(words)} -p '{said}'", markup=False)
    done = stage.controlplane.kubectl(*words, "--patch", said)
    stage.console.print(done.stdout.rstrip(), style="dim")


def _look(stage: Stage) -> tuple[View, Counter[tuple[str, str]]]:
    return look(stage.controlplane.admin), posts(stage.azsim.journal)


def secrets_shown(stage: Stage) -> list[str]:
    """Where a token, or what else is secret, stands in what anybody may read: logs, objects, events
    and metrics."""
    issued = stage.azsim.issued()
    if not issued["tokens"]:
        return ["nobody signed in to Azure"]
    shown = {
        log.name: log.read_text() for log in (stage.operator.log, stage.controlplane.audit_log)
    }
    for kinds in ("azpatch", "events.events.k8s.io", "configmaps,leases"):
        get = stage.controlplane.kubectl("get", kinds, "--all-namespaces", "--output=yaml")
        shown[f"kubectl get {kinds}"] = get.stdout
    if stage.operator.running:
        shown["/metrics"] = stage.operator.metrics()
    return leaks(shown, secrets_of([issued]))


# --- end ------------------------------------------------------------------------------------------


def _report(stage: Stage, view: View, unexpected: list[str], took: timedelta) -> None:
    to = stage.console
    counted = posts(stage.azsim.journal)
    to.print(summary(view, counted, unexpected))
    to.print("\nWhat each was built from, and how azpatch knows:")
    for text in origins(view):
        to.print(Padding(text, (0, 0, 0, 2)))
    to.print("\nWhy some are not compliant, in the words of their status:")
    for text in explanations(view):
        to.print(Padding(text, (0, 0, 0, 2)))
    to.print()
    if not unexpected:
        seconds = took.total_seconds() / stage.clock.pace
        to.print(
            f"All as expected, {took // timedelta(minutes=1)} minutes of Azure's time after the "
            f"policies were applied ({seconds:.0f} seconds of yours)."
        )
    else:
        to.print("Not as expected:", style="red")
        for line in unexpected:
            to.print(f"  {line}")
        for line in _operator_troubles(stage.operator):
            to.print(f"  {line}", style="red", markup=False)
    to.print(f"Logs: {stage.folder}", soft_wrap=True)


def _operator_troubles(operator: Operator) -> Iterator[str]:
    """What its log says that explains an end which was not expected."""
    if not operator.running:
        yield "the operator has ended"
    errors = [line for line in operator.log.read_text().splitlines() if '"level": "error"' in line]
    if errors:
        last = json.loads(errors[-1])
        cause = last.get("exception", "").rpartition("\n")[2]
        yield f"the operator's log has {len(errors)} errors, the last: {last['event']}: {cause}"


TRY = """
It all stays up until Ctrl-C. To look around, in another terminal:

  export KUBECONFIG={kubeconfig}{path}
  kubectl get azsub,azpp,azpr,azpt -A
  kubectl describe azpp web -n shop
  kubectl get events -n shop
  kubectl explain azpp.spec.install

Azure's clock runs ahead of yours here. For what it dates, kubectl shows <invalid> as the age, with
-o wide for instance. In a real cluster it does not.

To change something, and see here what comes of it:

  # Go on without the preview feature; invoice-1 is assessed and patched.
  kubectl patch azsub billing --type merge \\
    --patch '{{"spec": {{"previewFeature": {{"mode": "Ignore"}}}}}}'
  # Let Azure judge the machine that has no gallery image.
  kubectl patch azpp legacy --namespace shop --type merge \\
    --patch '{{"spec": {{"assessment": {{"probeUnsupported": true}}}}}}'
  # You have looked into the canary that failed: let the run go on.
  kubectl patch azpr {run} --namespace ops --type merge \\
    --patch '{{"spec": {{"acknowledgedFailures": 1}}}}'
  # No longer accept what Azure charges for Arc-enabled servers; dc and branch say how much that is.
  kubectl patch azsub ops --type json --patch '[{{"op": "remove", "path": "/spec/arcBilling"}}]'

What Azure received and what happened in its machines, one JSON object a line:

  tail -f {journal}

And what azpatch sent to each machine, counted:

  jq -r 'select(.method == "POST" and .status < 300) | .path | split("/")
    | select(.[-1] | test("Patches$")) | "\\(.[-1]) \\(.[-2])"' {journal} | sort | uniq -c
"""


def _stay(stage: Stage) -> None:
    """Shows what changes, until Ctrl-C."""
    kubectl = binaries()["kubectl"]
    path = "" if shutil.which("kubectl") else f"\n  export PATH=$PATH:{kubectl.parent}"
    view = look(stage.controlplane.admin)
    paused = next((run.name for run in view.runs if run.phase == "Paused"), "NAME")
    text = TRY.format(
        kubeconfig=stage.controlplane.kubeconfig,
        path=path,
        journal=stage.azsim.journal,
        run=paused,
    )
    stage.console.print(text, soft_wrap=True, markup=False)
    changes = Lines(stage.console, view)
    while stage.operator.running:
        changes.show(look(stage.controlplane.admin), stage.clock.now() - stage.began)
        time.sleep(LOOK_SECONDS)
    raise ChildFailed(f"the operator has ended; its log is {stage.operator.log}")


if __name__ == "__main__":
    sys.exit(main())
