"""The chart on a real control plane: admitted at the restricted level, with the rights it needs
and no other, upgraded and uninstalled without losing an object."""

import copy
import json
import re
import subprocess
import textwrap
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import pytest
import yaml
from rendering import Manifest, notes, render

from lab import chart
from lab.apiclient import ApiClient, ApiError
from lab.binaries import ROOT
from lab.controlplane import ControlPlane

NAMESPACE = chart.NAMESPACE
TEAM = "web"

MACHINE = (
    "/subscriptions/6f1c0000-0000-4000-8000-000000000001/resourceGroups/rg"
    "/providers/Microsoft.Compute/virtualMachines/web-1"
)

DEFINITIONS = ("azuresubscriptions", "patchpolicies", "patchruns", "patchtargets")


@pytest.fixture(scope="module")
def cluster() -> Iterator[ControlPlane]:
    """A control plane of this module's own: what is tested here is cluster-wide. It checks owner
    references as OpenShift does."""
    plugin = "--enable-admission-plugins=OwnerReferencesPermissionEnforcement"
    with ControlPlane(apiserver_flags=[plugin]) as running:
        chart.create_namespace(running, TEAM)
        yield running


@pytest.fixture(scope="module")
def installed(cluster: ControlPlane) -> chart.Installed:
    return chart.install(cluster)


@pytest.fixture(scope="module")
def operator(cluster: ControlPlane, installed: chart.Installed) -> ApiClient:
    """The API server as the operator's ServiceAccount sees it."""
    token = cluster.service_account_token(NAMESPACE, installed.service_account)
    return ApiClient(cluster.url, cluster.ca_file, token)


# -- admission --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def restricted(cluster: ControlPlane) -> str:
    """A namespace that enforces the restricted level, and warns of what it would refuse."""
    chart.create_restricted_namespace(cluster, "restricted")
    return "restricted"


def test_every_object_is_applied_server_side_without_a_warning(
    cluster: ControlPlane, restricted: str
) -> None:
    manifests = yaml.safe_dump_all(_moved(render({"metrics": {"service": True}}), restricted))
    done = cluster.kubectl(
        "apply", "--server-side", "--dry-run=server", "--warnings-as-errors", "--filename=-",
        input=manifests,
    )  # fmt: skip
    assert not done.stderr
    assert f"deployment.apps/{chart.RELEASE} serverside-applied" in done.stdout


def test_its_pod_is_admitted_at_the_restricted_level(
    cluster: ControlPlane, restricted: str
) -> None:
    done = _create_pod(cluster, render().pod["spec"], restricted)
    assert done.returncode == 0, done.stderr
    assert not done.stderr


@pytest.mark.parametrize(
    ("where", "field", "value", "refusal"),
    [
        pytest.param("pod", "runAsNonRoot", False, "runAsNonRoot", id="root"),
        pytest.param("pod", "seccompProfile", None, "seccompProfile", id="no seccomp profile"),
        pytest.param("container", "capabilities", None, "capabilities", id="all capabilities"),
        pytest.param(
            "container",
            "allowPrivilegeEscalation",
            True,
            "allowPrivilegeEscalation",
            id="escalation",
        ),
    ],
)
def test_a_laxer_pod_would_have_been_refused(
    cluster: ControlPlane, restricted: str, where: str, field: str, value: object, refusal: str
) -> None:
    spec = copy.deepcopy(render().pod["spec"])
    holder = spec if where == "pod" else spec["containers"][0]
    holder["securityContext"][field] = value
    done = _create_pod(cluster, spec, restricted)
    assert done.returncode != 0
    assert refusal in done.stderr


def _create_pod(
    cluster: ControlPlane, spec: Manifest, namespace: str
) -> subprocess.CompletedProcess[str]:
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "trial", "namespace": namespace},
        "spec": spec | {"serviceAccountName": "default"},
    }
    return cluster.kubectl(
        "create", "--dry-run=server", "--filename=-", input=json.dumps(pod), check=False
    )


def _moved(manifests: list[Manifest], namespace: str) -> list[Manifest]:
    moved = copy.deepcopy(manifests)
    for item in moved:
        if "namespace" in item["metadata"]:
            item["metadata"]["namespace"] = namespace
    return moved


# -- what the documents show ------------------------------------------------------------------


def _manifest_of_install_md() -> str:
    text = (ROOT / "docs" / "install.md").read_text()
    return text.partition("--filename - <<EOF\n")[2].partition("\nEOF")[0]


def _manifest_of_the_notes() -> str:
    (text,) = re.findall(r"   apiVersion.*?access: Patch", notes(), re.DOTALL)
    return textwrap.dedent(text)


@pytest.mark.parametrize("manifest", [_manifest_of_install_md, _manifest_of_the_notes])
@pytest.mark.usefixtures("installed")
def test_a_manifest_that_a_document_shows_is_admitted(
    cluster: ControlPlane, manifest: Callable[[], str]
) -> None:
    text = re.sub(r"\$\w+_ID|<[a-z]+ id>", "6f1c0000-0000-4000-8000-000000000001", manifest())
    done = cluster.kubectl("apply", "--server-side", "--dry-run=server", "--filename=-", input=text)
    assert "prod serverside-applied" in done.stdout


# -- rights -----------------------------------------------------------------------------------

ACCOUNT = f"system:serviceaccount:{NAMESPACE}:{chart.RELEASE}"

Rights = Mapping[str, Collection[str]]
"""Resource, as group/resource, to verbs."""

READ = ("get", "list", "watch")

EVERYWHERE = {
    "azpatch.dev/azuresubscriptions": {*READ, "patch"},
    "azpatch.dev/azuresubscriptions/status": {"update"},
    "azpatch.dev/patchpolicies": {*READ, "patch"},
    "azpatch.dev/patchpolicies/status": {"update"},
    "azpatch.dev/patchpolicies/finalizers": {"update"},
    "azpatch.dev/patchruns": {*READ, "create", "delete"},
    "azpatch.dev/patchruns/status": {"update"},
    "azpatch.dev/patchtargets": {*READ, "create", "patch", "delete"},
    "azpatch.dev/patchtargets/status": {"update"},
    "/namespaces": set(READ),
    "events.k8s.io/events": {"create"},
}
"""All that the operator may do in the whole cluster: resource to verbs."""

AT_HOME = EVERYWHERE | {
    "/secrets": {"get"},
    "/configmaps": {"get"},
    "coordination.k8s.io/leases": {"create", "get", "update"},
}
"""All that it may do in its own namespace."""


@pytest.mark.parametrize(
    ("namespace", "rights"),
    [
        pytest.param(TEAM, EVERYWHERE, id="in a team's namespace"),
        pytest.param(NAMESPACE, AT_HOME, id="in its own namespace"),
    ],
)
def test_the_operator_has_these_rights_and_no_other(
    cluster: ControlPlane, operator: ApiClient, namespace: str, rights: Rights
) -> None:
    anyone = cluster.service_account_token(TEAM, "default")
    common = _rights(ApiClient(cluster.url, cluster.ca_file, anyone), namespace)
    assert _rights(operator, namespace) - common == {
        (resource, verb) for resource, verbs in rights.items() for verb in verbs
    }


@pytest.mark.parametrize(
    ("verb", "resource", "namespace", "allowed"),
    [
        ("get", "secrets", NAMESPACE, "yes"),
        ("list", "secrets", NAMESPACE, "no"),
        ("watch", "secrets", NAMESPACE, "no"),
        ("get", "secrets", TEAM, "no"),
        ("get", "configmaps", NAMESPACE, "yes"),
        ("list", "configmaps", NAMESPACE, "no"),
        ("get", "configmaps", TEAM, "no"),
        ("update", "leases.coordination.k8s.io", NAMESPACE, "no"),
        ("list", "leases.coordination.k8s.io", NAMESPACE, "no"),
        ("create", "leases.coordination.k8s.io", TEAM, "no"),
        ("update", "patchpolicies.azpatch.dev", TEAM, "no"),
        ("create", "patchpolicies.azpatch.dev", TEAM, "no"),
        ("delete", "patchpolicies.azpatch.dev", TEAM, "no"),
        ("create", "azuresubscriptions.azpatch.dev", "", "no"),
        ("delete", "azuresubscriptions.azpatch.dev", "", "no"),
        ("create", "patchtargets.azpatch.dev", TEAM, "yes"),
        ("deletecollection", "patchtargets.azpatch.dev", TEAM, "no"),
        ("create", "patchruns.azpatch.dev", TEAM, "yes"),
        ("patch", "patchruns.azpatch.dev", TEAM, "no"),
        ("deletecollection", "patchruns.azpatch.dev", TEAM, "no"),
        ("create", "pods", NAMESPACE, "no"),
        ("create", "serviceaccounts/token", NAMESPACE, "no"),
        ("patch", "namespaces", "", "no"),
        ("get", "customresourcedefinitions.apiextensions.k8s.io", "", "no"),
        ("escalate", "clusterroles.rbac.authorization.k8s.io", "", "no"),
        ("impersonate", "users", "", "no"),
    ],
)
@pytest.mark.usefixtures("installed")
def test_kubectl_auth_can_i_says_so_too(
    cluster: ControlPlane, verb: str, resource: str, namespace: str, allowed: str
) -> None:
    resource, _, subresource = resource.partition("/")
    scope = [f"--namespace={namespace}"] if namespace else []
    extra = [f"--subresource={subresource}"] if subresource else []
    done = cluster.kubectl(
        "auth", "can-i", verb, resource, f"--as={ACCOUNT}", *scope, *extra, check=False
    )
    assert done.stdout.strip() == allowed, done.stderr


@pytest.mark.parametrize(
    ("verb", "name", "namespace", "allowed"),
    [
        ("get", "azpatch", NAMESPACE, "yes"),
        ("update", "azpatch", NAMESPACE, "yes"),
        ("update", "another", NAMESPACE, "no"),
        ("delete", "azpatch", NAMESPACE, "no"),
        ("get", "azpatch", TEAM, "no"),
    ],
)
@pytest.mark.usefixtures("installed")
def test_of_all_leases_the_operator_may_keep_its_own(
    cluster: ControlPlane, verb: str, name: str, namespace: str, allowed: str
) -> None:
    done = cluster.kubectl(
        *("auth", "can-i", verb, f"leases.coordination.k8s.io/{name}"),
        *(f"--as={ACCOUNT}", f"--namespace={namespace}"),
        check=False,
    )
    assert done.stdout.strip() == allowed, done.stderr


def test_the_operator_may_make_a_target_that_its_policy_waits_for(
    cluster: ControlPlane, operator: ApiClient
) -> None:
    path = f"/apis/azpatch.dev/v1alpha1/namespaces/{TEAM}"
    policy = {
        "apiVersion": "azpatch.dev/v1alpha1",
        "kind": "PatchPolicy",
        "metadata": {"name": "owner"},
        "spec": {"target": {"virtualMachine": {"id": MACHINE}}},
    }
    uid = cluster.admin.create(f"{path}/patchpolicies", policy)["metadata"]["uid"]
    owner = {
        "apiVersion": policy["apiVersion"],
        "kind": policy["kind"],
        "name": "owner",
        "uid": uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }
    target = {
        "apiVersion": "azpatch.dev/v1alpha1",
        "kind": "PatchTarget",
        "metadata": {"name": "owned", "ownerReferences": [owner]},
        "spec": {"machineId": MACHINE, "policy": "owner"},
    }
    made = _created(operator, f"{path}/patchtargets", target)
    assert made["metadata"]["ownerReferences"] == [owner]


def _created(operator: ApiClient, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """The admission plugin looks the owner's kind up in a list that it renews now and then."""
    deadline = time.monotonic() + RENEWAL_SECONDS
    while True:
        try:
            return operator.create(path, body)
        except ApiError as error:
            if "cannot find RESTMapping" not in str(error) or time.monotonic() > deadline:
                raise
        time.sleep(0.5)


RENEWAL_SECONDS = 60
"""Far more than it was ever seen to take; the rest is for a busy machine."""

POLICIES = "azpatch.dev/patchpolicies"
RUNS = "azpatch.dev/patchruns"
TARGETS = "azpatch.dev/patchtargets"
SUBSCRIPTIONS = "azpatch.dev/azuresubscriptions"
WRITE = ("create", "update", "patch", "delete", "deletecollection")

EDITS: Rights = {
    POLICIES: READ + WRITE,
    RUNS: READ + WRITE,
    TARGETS: READ,
}

AGGREGATION_SECONDS = 30
"""The controller needs less than one; the rest is for a busy machine."""


@pytest.mark.parametrize(
    ("role", "rights"),
    [
        pytest.param("view", {POLICIES: READ, RUNS: READ, TARGETS: READ}, id="view reads"),
        pytest.param("edit", EDITS, id="edit writes policies, and what it has to say to a run"),
        pytest.param("admin", EDITS, id="admin too"),
        pytest.param(
            "azpatch-platform",
            {SUBSCRIPTIONS: READ + WRITE, POLICIES: READ, RUNS: READ, TARGETS: READ},
            id="the platform team writes subscriptions",
        ),
        pytest.param(
            "azpatch-approver",
            {POLICIES: READ, RUNS: (*READ, "update", "patch", "approve"), TARGETS: READ},
            id="who approves runs, and nobody else",
        ),
        pytest.param(
            "azpatch-override",
            {
                POLICIES: READ,
                RUNS: (*READ, "create", "update", "patch", "override"),
                TARGETS: READ,
            },
            id="who lifts windows and freezes in an emergency, and nobody else",
        ),
    ],
)
@pytest.mark.usefixtures("installed")
def test_what_people_may_do(cluster: ControlPlane, role: str, rights: Rights) -> None:
    user = f"{role}-user"
    cluster.kubectl("create", "clusterrolebinding", user, f"--clusterrole={role}", f"--user={user}")
    wanted = {(resource, verb) for resource, verbs in rights.items() for verb in verbs}
    # A controller copies the chart's rules into view, edit and admin.
    deadline = time.monotonic() + AGGREGATION_SECONDS
    while (found := _rights_of(cluster, user)) != wanted and time.monotonic() < deadline:
        time.sleep(0.2)
    assert found == wanted


IN_TIME = {"notAfter": "2026-12-12T02:00:00Z"}
AT_ONCE = {**IN_TIME, "start": "Immediate"}
LIFTED = {**IN_TIME, "override": {"freezes": True, "reason": "CVE-2026-1"}}
APPROVED = {"approved": True, "approvedBy": "edit-azpatch-approver-maker"}
TOO_EARLY = "spec.approved comes too early: approve the PatchRun when it is AwaitingApproval"
MAY_NOT_APPROVE = "spec.start: user {} may not make Immediate PatchRuns in namespace web"
MAY_NOT_OVERRIDE = "spec.override: user {} may not lift windows or freezes in namespace web"


@pytest.mark.parametrize(
    ("roles", "spec", "refusal"),
    [
        pytest.param(["edit"], IN_TIME, "", id="an editor, a run in a window"),
        pytest.param(["edit"], {}, "spec.notAfter is missing", id="an editor, a run without end"),
        pytest.param(["edit"], AT_ONCE, MAY_NOT_APPROVE, id="an editor, at once"),
        pytest.param(["edit"], LIFTED, MAY_NOT_OVERRIDE, id="an editor, in a freeze"),
        pytest.param(["edit", "azpatch-approver"], AT_ONCE, "", id="an approver, at once"),
        pytest.param(
            ["edit", "azpatch-approver"], LIFTED, MAY_NOT_OVERRIDE, id="an approver, in a freeze"
        ),
        pytest.param(
            ["edit", "azpatch-approver"], {**IN_TIME, **APPROVED}, TOO_EARLY, id="approved unseen"
        ),
        pytest.param(["azpatch-override"], LIFTED, "", id="in an emergency, in a freeze"),
        pytest.param(["azpatch-override"], AT_ONCE, MAY_NOT_APPROVE, id="in an emergency, at once"),
    ],
)
@pytest.mark.usefixtures("installed")
def test_who_may_make_which_one_time_run(
    cluster: ControlPlane, roles: list[str], spec: dict[str, Any], refusal: str
) -> None:
    user = "-".join([*roles, "maker"])
    for role in roles:
        cluster.kubectl(
            "create", "clusterrolebinding", f"{user}-{role}",
            f"--clusterrole={role}", f"--user={user}", check=False,
        )  # fmt: skip
    told = _created_as(cluster, user, {"generateName": "now-"}, spec)

    if refusal:
        assert refusal.format(user) in told
    else:
        assert "created" in told


OWNER = {"apiVersion": "azpatch.dev/v1alpha1", "kind": "PatchPolicy", "name": "web", "uid": "1"}


@pytest.mark.parametrize(
    ("metadata", "refusal"),
    [
        pytest.param(
            {"name": "mine", "ownerReferences": [OWNER]},
            "metadata.ownerReferences names a PatchPolicy: only azpatch makes runs that belong to",
            id="as if the policy had made it",
        ),
        pytest.param(
            {"name": "web-209912112100"},
            "metadata.name ends like that of a run which azpatch makes for a window",
            id="named as a window's run",
        ),
    ],
)
@pytest.mark.usefixtures("installed")
def test_nobody_makes_a_run_that_looks_like_the_operators(
    cluster: ControlPlane, operator: ApiClient, metadata: Manifest, refusal: str
) -> None:
    user = "cluster-admin-maker"
    cluster.kubectl(
        "create", "clusterrolebinding", user, "--clusterrole=cluster-admin", f"--user={user}",
        check=False,
    )  # fmt: skip

    assert refusal in _created_as(cluster, user, metadata, IN_TIME)

    path = f"/apis/azpatch.dev/v1alpha1/namespaces/{TEAM}/patchruns?dryRun=All"
    operator.create(path, _run({"name": metadata["name"], "namespace": TEAM}, {}))


def _run(metadata: Manifest, spec: Manifest) -> Manifest:
    return {
        "apiVersion": "azpatch.dev/v1alpha1",
        "kind": "PatchRun",
        "metadata": {"namespace": TEAM, **metadata},
        "spec": {"policyRef": {"name": "web"}, **spec},
    }


def _created_as(cluster: ControlPlane, user: str, metadata: Manifest, spec: Manifest) -> str:
    """What the API server says, once the user's rights have reached it: that takes a moment after a
    role is bound, or edit is filled."""
    deadline, body = time.monotonic() + AGGREGATION_SECONDS, json.dumps(_run(metadata, spec))
    while True:
        done = cluster.kubectl("create", f"--as={user}", "--filename=-", input=body, check=False)
        told = " ".join((done.stdout + done.stderr).split())
        if "patchruns.azpatch.dev is forbidden: User" not in told or time.monotonic() > deadline:
            return told
        time.sleep(0.2)


def _rights_of(cluster: ControlPlane, user: str) -> set[tuple[str, str]]:
    """All that ``user`` may do with azpatch's kinds in the team's namespace."""
    kinds = (POLICIES, RUNS, TARGETS, SUBSCRIPTIONS)
    resources = (*kinds, *(f"{kind}/status" for kind in kinds[:3]))
    asked = (
        (resource, verb)
        for resource in resources
        for verb in (*READ, *WRITE, "approve", "override")
    )
    return {right for right in asked if _may(cluster, user, *right)}


def _may(cluster: ControlPlane, user: str, right: str, verb: str) -> bool:
    group, resource, subresource = [*right.split("/"), ""][:3]
    attributes = {
        "group": group, "resource": resource, "subresource": subresource,
        "verb": verb, "namespace": TEAM,
    }  # fmt: skip
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": user, "resourceAttributes": attributes},
    }
    path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
    allowed: bool = cluster.admin.create(path, review)["status"]["allowed"]
    return allowed


def _rights(user: ApiClient, namespace: str) -> set[tuple[str, str]]:
    """All rights of a user in a namespace, as (group/resource, verb)."""
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectRulesReview",
        "spec": {"namespace": namespace},
    }
    answer = user.create("/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", review)
    assert not answer["status"]["incomplete"]
    return {
        (f"{group}/{resource}", verb)
        for rule in answer["status"]["resourceRules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
