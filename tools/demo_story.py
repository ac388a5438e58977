"""What the demo is about: every sample machine, and how it must end.

The end is judged on both sides: by the conditions that azpatch wrote, and by what the simulated
Azure received.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from demo_cluster import Condition, Seen, View


@dataclass(frozen=True)
class Sample:
    """One machine under one policy, and its expected end."""

    namespace: str
    policy: str
    machine: str
    about: str
    supported: tuple[str, str]
    """Status and reason of the condition Supported."""
    compliant: str
    """Status of the condition Compliant."""
    installs: int
    """Installs that Azure took for it, no more and no fewer."""
    assessed: bool = True
    """Whether Azure took any assessment."""

    @property
    def of(self) -> str:
        """Namespace and name of the policy."""
        return f"{self.namespace}/{self.policy}"

    @property
    def name(self) -> str:
        """As messages call it."""
        return f"{self.of}/{self.machine}"


YES = ("True", "DetectedSupported")
ARC = ("True", "ArcServerSupported")

SAMPLES = (
    Sample("shop", "db", "db-1", "gallery image, by VM id", YES, "True", 1),
    *(Sample("shop", "web", f"web-{n}", "a gallery image", YES, "True", 1) for n in (1, 2, 3)),
    Sample("shop", "web", "web-4", "a gallery image; one package fails", YES, "False", 2),
    Sample("shop", "web", "web-5", "a gallery image's older version", YES, "True", 1),
    Sample(
        "shop",
        "legacy",
        "legacy-1",
        "no gallery image",
        ("False", "ImageNotSupported"),
        "Unknown",
        0,
        assessed=False,
    ),
    Sample(
        "shop",
        "appliance",
        "appliance-1",
        "a gallery image; OS not patchable",
        ("False", "DetectedUnsupported"),
        "Unknown",
        0,
    ),
    Sample("billing", "report", "report-1", "a specialized gallery image", YES, "True", 1),
    Sample(
        "billing",
        "invoice",
        "invoice-1",
        "subscription without the preview",
        ("False", "PreviewFeatureNotRegistered"),
        "Unknown",
        0,
        assessed=False,
    ),
    Sample("ops", "gateway", "gateway-1", "a marketplace image", YES, "True", 1),
    Sample("ops", "moved", "moved-1", "a disk that was migrated", YES, "True", 1),
    Sample("ops", "firewall", "firewall-1", "a partner's gallery image", YES, "True", 1),
    Sample(
        "ops",
        "mystery",
        "mystery-1",
        "its model names no image",
        ("Unknown", "ImageUnknown"),
        "False",
        0,
    ),
    Sample(
        "ops",
        "node",
        "node-1",
        "a node of an AKS cluster",
        ("False", "AKSNode"),
        "Unknown",
        0,
        assessed=False,
    ),
    Sample("ops", "dc", "dc-7", "an Arc-enabled server", ARC, "True", 1),
    Sample(
        "ops",
        "branch",
        "branch-3",
        "an Arc-enabled server, cut off",
        ("Unknown", "ArcDisconnected"),
        "Unknown",
        0,
        assessed=False,
    ),
    Sample("ops", "ledger", "ledger-1", "selected by its tag, and frozen", YES, "False", 0),
    *(
        Sample("ops", "api", f"api-{n}", "in waves; one goes first", YES, "True", 1)
        for n in (1, 2, 3)
    ),
    Sample("ops", "search", "search-1", "a canary; one package fails", YES, "False", 1),
    Sample("ops", "search", "search-2", "a canary", YES, "True", 1),
    Sample("ops", "search", "search-3", "after the canaries", YES, "False", 0),
    Sample("ops", "vault", "vault-1", "after an approval", YES, "True", 1),
    Sample("ops", "batch", "batch-1", "frozen; an emergency lifts that", YES, "True", 1),
)

RUNS = (
    ("ops", "api", "Succeeded"),
    ("ops", "search", "Paused"),
    ("ops", "vault", "Succeeded"),
    ("ops", "batch", "Succeeded"),
)
"""Each policy that has a PatchRun, by namespace and name, with the phase of that."""

SUBSCRIPTIONS = (
    ("shop", ("True", "FeatureRegistered")),
    ("billing", ("False", "PreviewFeatureNotRegistered")),
)
"""Each AzureSubscription whose matrix asks for the preview feature, with status and reason of its
condition PreviewFeature."""


def missing(view: View, posts: Counter[tuple[str, str]]) -> list[str]:
    """What is not yet as it must end, a line each; empty at the end."""
    machines = {(seen.namespace, seen.policy, seen.name): seen for seen in view.machines}
    lines: list[str] = []
    for sample in SAMPLES:
        seen = machines.pop((sample.namespace, sample.policy, sample.machine), None)
        if seen is None:
            lines.append(f"{sample.name}: there is no PatchTarget")
        else:
            lines += (f"{sample.name}: {what}" for what in _differences(sample, seen, posts))
    lines += (f"{'/'.join(key)}: a PatchTarget that should not be" for key in machines)
    phases = {(seen.namespace, seen.policy): seen.phase for seen in view.runs}
    for namespace, policy, phase in RUNS:
        found = phases.get((namespace, policy), "absent")
        if found != phase:
            lines.append(f"{namespace}/{policy}: its PatchRun is {found}, not {phase}")
    subscriptions = {seen.name: seen for seen in view.subscriptions}
    for name, (status, reason) in SUBSCRIPTIONS:
        feature = subscriptions.get(name, Seen("", name)).condition("PreviewFeature")
        if (feature.status, feature.reason) != (status, reason):
            lines.append(_instead(f"AzureSubscription {name}: PreviewFeature", feature, status))
    return lines


def _differences(sample: Sample, seen: Seen, posts: Counter[tuple[str, str]]) -> Iterator[str]:
    if seen.operation:
        yield f"an operation ({seen.operation}) is in flight"
    supported, compliant = seen.condition("Supported"), seen.condition("Compliant")
    if (supported.status, supported.reason) != sample.supported:
        yield _instead("Supported", supported, "/".join(sample.supported))
    if compliant.status != sample.compliant:
        yield _instead("Compliant", compliant, sample.compliant)
    installs = posts[sample.machine, "Install"]
    if installs != sample.installs:
        yield f"Azure took {installs} installs, not {sample.installs}"
    if bool(posts[sample.machine, "Assess"]) != sample.assessed:
        yield f"Azure took {posts[sample.machine, 'Assess']} assessments"


def _instead(what: str, found: Condition, wanted: str) -> str:
    return f"{what} is {found.status}/{found.reason}, not {wanted}"
