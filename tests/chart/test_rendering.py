"""What the chart makes of its values."""

import json
import subprocess
from collections.abc import Callable

import pytest
from openapi_schemas import write_schemas
from rendering import Values, notes, render, template

from azpatch.azure.cloud import CLOUDS
from azpatch.handlers.engine import EXIT_SECONDS
from azpatch.kube.election import LEASE_NAME, RELEASE_SECONDS
from azpatch.runtime import ENGINE_STOP, WORKERS_STOP
from azpatch.settings import ENV_PREFIX, Settings, parse
from lab.binaries import binaries
from lab.chart import NAMESPACE
from lab.controlplane import ControlPlane

Kubeconform = Callable[[str], subprocess.CompletedProcess[str]]
"""Takes YAML documents."""

CLIENT = "0d4e0000-0000-4000-8000-000000000001"
TENANT = "72f90000-0000-4000-8000-000000000002"

EVERYTHING = {
    "image": {"digest": "sha256:" + "0" * 64, "pullSecrets": [{"name": "mirror"}]},
    "workloadIdentity": {"clientId": CLIENT, "tenantId": TENANT},
    "azure": {"cloud": "AzureChina", "caConfigMap": "proxy-ca"},
    "extraEnv": [{"name": "HTTPS_PROXY", "value": "http://proxy.example.com:3128"}],
    "serviceAccount": {"name": "patcher", "annotations": {"team": "platform"}},
    "metrics": {"service": True, "scrapeAnnotations": True},
    "podAnnotations": {"a": "b"},
    "podLabels": {"c": "d"},
    "commonLabels": {"e": "f"},
    "nodeSelector": {"kubernetes.io/os": "linux"},
    "tolerations": [{"key": "system", "operator": "Exists", "effect": "NoSchedule"}],
    "affinity": {"nodeAffinity": {}},
    "priorityClassName": "system-cluster-critical",
    "fullnameOverride": "patching",
}
"""Every value that adds something, at once."""


@pytest.fixture(scope="module")
def kubeconform(
    controlplane: ControlPlane, tmp_path_factory: pytest.TempPathFactory
) -> Kubeconform:
    """Validates YAML against the schemas of the running API server, strictly."""
    kinds = ((item["apiVersion"], item["kind"]) for item in render(EVERYTHING))
    location = write_schemas(controlplane.admin, kinds, tmp_path_factory.mktemp("schemas"))
    program = binaries(["kubeconform"])["kubeconform"]

    def run(manifests: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [program, "-strict", "-summary", "-schema-location", location],
            input=manifests, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    return run


@pytest.mark.parametrize(
    "values", [pytest.param({}, id="defaults"), pytest.param(EVERYTHING, id="everything")]
)
def test_every_object_is_valid_for_the_api_server(kubeconform: Kubeconform, values: Values) -> None:
    done = kubeconform(template(values).stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Skipped: 0" in done.stdout


def test_kubeconform_would_have_noticed_a_misspelt_field(kubeconform: Kubeconform) -> None:
    misspelt = template().stdout.replace("terminationGracePeriodSeconds", "gracePeriodSeconds")
    done = kubeconform(misspelt)
    assert done.returncode != 0
    assert "gracePeriodSeconds" in done.stdout


def test_there_are_two_pods_and_a_new_one_is_ready_before_an_old_one_goes() -> None:
    spec = render().one("Deployment")["spec"]
    assert spec["replicas"] == 2
    rolling = {"maxSurge": 1, "maxUnavailable": 0}
    assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": rolling}


def test_a_drain_takes_one_pod_at_a_time_and_always_one_that_is_not_ready() -> None:
    spec = render().one("PodDisruptionBudget")["spec"]
    selector = render().one("Deployment")["spec"]["selector"]
    assert spec == {
        "maxUnavailable": 1,
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
        "selector": selector,
    }


@pytest.mark.parametrize("replicas", [0, 1])
def test_where_nobody_can_take_over_a_drain_is_not_held_up(replicas: int) -> None:
    rendered = render({"replicas": replicas})
    assert rendered.one("Deployment")["spec"]["replicas"] == replicas
    assert not [item for item in rendered if item["kind"] == "PodDisruptionBudget"]


def test_the_pods_are_spread_over_nodes_and_zones_where_there_are_several() -> None:
    pod = render({"podLabels": {"c": "d"}}).pod
    spread = pod["spec"]["topologySpreadConstraints"]
    assert {item["topologyKey"]: item["whenUnsatisfiable"] for item in spread} == {
        "kubernetes.io/hostname": "ScheduleAnyway",
        "topology.kubernetes.io/zone": "ScheduleAnyway",
    }
    for item in spread:
        assert item["labelSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()


def test_the_role_knows_the_name_of_the_lease() -> None:
    rules = render().one("Role")["rules"]
    named = {
        name: set(rule["verbs"])
        for rule in rules
        if rule["resources"] == ["leases"]
        for name in rule.get("resourceNames", [None])
    }
    assert named == {None: {"create"}, LEASE_NAME: {"get", "update"}}


def test_the_pod_has_time_to_end_by_itself() -> None:
    grace = render().pod["spec"]["terminationGracePeriodSeconds"]
    assert grace > EXIT_SECONDS
    ends = WORKERS_STOP.total_seconds() + RELEASE_SECONDS + ENGINE_STOP.total_seconds()
    assert grace > ends + 5


def test_probes_ask_the_port_that_the_container_opens() -> None:
    container = render().container
    _, port = Settings().address()
    assert container["ports"] == [{"name": "http", "containerPort": port}]
    probes = {
        name: container[name]["httpGet"]
        for name in ("startupProbe", "livenessProbe", "readinessProbe")
    }
    assert probes == {
        "startupProbe": {"path": "/healthz", "port": "http"},
        "livenessProbe": {"path": "/healthz", "port": "http"},
        "readinessProbe": {"path": "/readyz", "port": "http"},
    }


@pytest.mark.parametrize(
    ("image", "reference"),
    [
        pytest.param({}, "localhost/azpatch:0.1.0", id="the chart's version"),
        pytest.param(
            {"repository": "r.example/azpatch", "tag": "1"}, "r.example/azpatch:1", id="tag"
        ),
        pytest.param(
            {"tag": "1", "digest": "sha256:" + "a" * 64},
            "localhost/azpatch@sha256:" + "a" * 64,
            id="a digest wins over a tag",
        ),
    ],
)
def test_the_image(image: Values, reference: str) -> None:
    assert render({"image": image}).container["image"] == reference


@pytest.mark.parametrize("cloud", CLOUDS)
def test_every_cloud_that_the_operator_knows_can_be_named(cloud: str) -> None:
    assert _settings({"azure": {"cloud": cloud}}).azure() == CLOUDS[cloud]


def test_another_cloud_is_two_endpoints() -> None:
    azure = {"armEndpoint": "https://arm.local", "authorityHost": "https://login.local"}
    settings = _settings({"azure": azure}).azure()
    assert (settings.arm_endpoint, settings.authority_host) == (*azure.values(),)


def test_the_operator_finds_nothing_wrong_with_what_the_chart_sets() -> None:
    settings = _settings({"logLevel": "debug", "azure": {"caConfigMap": "proxy-ca"}})
    assert settings.log_level == "debug"
    assert settings.ca_file is not None


def _settings(values: Values) -> Settings:
    """What the operator makes of the container's environment."""
    return parse(
        {
            name.removeprefix(ENV_PREFIX).lower(): value
            for name, value in render(values).env.items()
            if name.startswith(ENV_PREFIX)
        }
    )


def test_certificates_of_a_config_map_are_mounted_where_the_operator_is_told() -> None:
    rendered = render({"azure": {"caConfigMap": "proxy-ca", "caKey": "bundle.pem"}})
    (volume,) = rendered.pod["spec"]["volumes"]
    (mount,) = rendered.container["volumeMounts"]
    (item,) = volume["configMap"]["items"]
    assert volume["configMap"]["name"] == "proxy-ca"
    assert item["key"] == "bundle.pem"
    assert rendered.env["AZPATCH_CA_FILE"] == f"{mount['mountPath']}/{item['path']}"


def test_without_certificates_of_its_own_the_pod_has_no_volume() -> None:
    assert "volumes" not in render().pod["spec"]


def test_workload_identity_is_announced_on_account_and_pod() -> None:
    rendered = render({"workloadIdentity": {"clientId": CLIENT, "tenantId": TENANT}})
    assert rendered.one("ServiceAccount")["metadata"]["annotations"] == {
        "azure.workload.identity/client-id": CLIENT,
        "azure.workload.identity/tenant-id": TENANT,
    }
    assert rendered.pod["metadata"]["labels"]["azure.workload.identity/use"] == "true"


def test_without_workload_identity_nothing_mentions_it() -> None:
    rendered = render({"workloadIdentity": {"enabled": False, "clientId": CLIENT}})
    assert "azure.workload.identity" not in json.dumps(rendered)


def test_an_account_that_exists_is_used_and_bound() -> None:
    rendered = render({"serviceAccount": {"create": False, "name": "mine"}})
    assert "ServiceAccount" not in {item["kind"] for item in rendered}
    assert rendered.pod["spec"]["serviceAccountName"] == "mine"
    subject = {"kind": "ServiceAccount", "name": "mine", "namespace": NAMESPACE}
    for kind in ("ClusterRoleBinding", "RoleBinding"):
        assert rendered.one(kind)["subjects"] == [subject]


def test_the_metrics_service_leads_to_the_pod() -> None:
    rendered = render({"metrics": {"service": True}})
    service = rendered.one("Service", "azpatch-metrics")["spec"]
    assert service["selector"].items() <= rendered.pod["metadata"]["labels"].items()
    assert [port["targetPort"] for port in service["ports"]] == ["http"]


def test_definitions_come_with_the_chart_and_stay_without_it() -> None:
    definitions = {
        item["metadata"]["name"]: item["metadata"].get("annotations", {})
        for item in render()
        if item["kind"] == "CustomResourceDefinition"
    }
    assert definitions.keys() == {
        "azuresubscriptions.azpatch.dev",
        "patchpolicies.azpatch.dev",
        "patchruns.azpatch.dev",
        "patchtargets.azpatch.dev",
    }
    for annotations in definitions.values():
        assert annotations["helm.sh/resource-policy"] == "keep"


def test_definitions_are_left_to_others_on_request() -> None:
    kinds = {item["kind"] for item in render({"crds": {"enabled": False}})}
    assert "CustomResourceDefinition" not in kinds


@pytest.mark.parametrize(
    ("values", "warned"),
    [
        pytest.param({}, True, id="the default, which nobody publishes"),
        pytest.param({"image": {"repository": "r.example/azpatch"}}, False, id="a repository"),
    ],
)
def test_the_notes_warn_while_no_image_is_named(values: Values, warned: bool) -> None:
    assert ("WARNING: image.repository" in notes(values)) == warned


def test_the_notes_warn_while_the_operator_has_no_identity() -> None:
    assert "WARNING: workloadIdentity.clientId" in notes(None)
    assert "WARNING: workloadIdentity" not in notes({"workloadIdentity": {"clientId": CLIENT}})
    assert "WARNING: workloadIdentity" not in notes({"workloadIdentity": {"enabled": False}})
