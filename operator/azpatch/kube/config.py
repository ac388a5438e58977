"""How the API server is reached: the service account of the pod, or a kubeconfig."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from kubernetes.aio.client import Configuration
from kubernetes.aio.config import ConfigException, load_incluster_config, load_kube_config

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where Kubernetes mounts a pod's token, CA and namespace."""


class NoClusterError(Exception):
    """No usable way to the API server; the message says what was tried."""


@dataclass(frozen=True, slots=True)
class Login:
    """What a client needs to sign in. Files, where Kubernetes gives files."""

    server: str
    ca_file: str | None
    certificate_file: str | None
    key_file: str | None
    authorization: str | None
    """The value of the Authorization header: scheme and token."""
    verify: bool
    proxy: str | None

    def __repr__(self) -> str:
        return f"Login({self.server})"


async def configuration(kubeconfig: Path | None = None) -> Configuration:
    """Tried in the order that Kubernetes' own tools have: this kubeconfig, $KUBECONFIG, the pod's
    service account, ~/.kube/config. Raises NoClusterError."""
    config = Configuration()
    path = kubeconfig or os.environ.get("KUBECONFIG")
    try:
        if path:
            await load_kube_config(  # type: ignore[no-untyped-call]
                config_file=str(path), client_configuration=config, persist_config=False
            )
        elif "KUBERNETES_SERVICE_HOST" in os.environ:
            load_incluster_config(client_configuration=config)  # type: ignore[no-untyped-call]
        else:
            await load_kube_config(  # type: ignore[no-untyped-call]
                client_configuration=config, persist_config=False
            )
    except (ConfigException, OSError) as error:
        source = path or "no --kubeconfig, no KUBECONFIG, not in a pod"
        raise NoClusterError(f"no Kubernetes cluster ({source}): {error}") from error
    config.proxy = config.proxy or environment_proxy(config.host)
    # Else aiohttp asks a thread for ~/.netrc and another for the proxy, at every request; and a
    # password in ~/.netrc for the API server's host would make every request fail.
    config.client_session_kwargs = {"trust_env": False}
    return config


def environment_proxy(url: str) -> str | None:
    """The proxy that HTTPS_PROXY and NO_PROXY name for this URL."""
    parts = urlsplit(url)
    if proxy_bypass(parts.netloc):
        return None
    return getproxies().get(parts.scheme)


async def login(config: Configuration) -> Login:
    """The configuration as plain facts, with a token that is fresh."""
    return Login(
        server=config.host,
        ca_file=config.ssl_ca_cert,
        certificate_file=config.cert_file,
        key_file=config.key_file,
        authorization=await config.get_api_key_with_prefix("BearerToken"),
        verify=bool(config.verify_ssl),
        proxy=config.proxy,
    )


def own_namespace() -> str | None:
    """The namespace of the pod; None outside of a pod."""
    try:
        return (SERVICE_ACCOUNT / "namespace").read_text(encoding="ascii").strip() or None
    except OSError:
        return None
