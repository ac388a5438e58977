"""How the API server is reached: what a kubeconfig and the environment say of it."""

from pathlib import Path

import pytest
import yaml
from kubernetes.aio.client import ApiClient

from azpatch.kube.config import configuration

API_SERVER = "https://api.example:6443"
PROXY = "http://proxy.example:3128"
OWN_PROXY = "http://kubeconfig.example:3128"


def kubeconfig(folder: Path, proxy_url: str | None = None) -> Path:
    cluster = {"server": API_SERVER} | ({"proxy-url": proxy_url} if proxy_url else {})
    path = folder / "kubeconfig"
    path.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "c",
                "clusters": [{"name": "c", "cluster": cluster}],
                "users": [{"name": "c", "user": {"token": "t"}}],
                "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
            }
        )
    )
    return path


@pytest.mark.parametrize(
    ("environment", "proxy_url", "expected"),
    [
        pytest.param({}, None, None, id="none"),
        pytest.param({"HTTPS_PROXY": PROXY}, None, PROXY, id="the environment's"),
        pytest.param({"HTTP_PROXY": PROXY}, None, None, id="not that for HTTP"),
        pytest.param(
            {"HTTPS_PROXY": PROXY, "NO_PROXY": ".example"}, None, None, id="not for NO_PROXY"
        ),
        pytest.param({"HTTPS_PROXY": PROXY}, OWN_PROXY, OWN_PROXY, id="the kubeconfig's first"),
    ],
)
async def test_the_proxy_is_the_kubeconfigs_or_the_environments(
    environment: dict[str, str],
    proxy_url: str | None,
    expected: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    found = await configuration(kubeconfig(tmp_path, proxy_url))

    assert found.proxy == expected


async def test_no_request_looks_at_the_environment(tmp_path: Path) -> None:
    api = ApiClient(await configuration(kubeconfig(tmp_path)))
    session = api.rest_client._create_pool_manager()

    async with session:
        assert session.trust_env is False
    await api.close()
