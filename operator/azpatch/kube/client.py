"""The API server, through the official client's authenticated session.

JSON in, JSON out: the client's typed calls validate every argument and cost a third of the
throughput, and our models read the objects anyway.
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import aiohttp
from kubernetes.aio.client import ApiClient
from prometheus_client import Histogram

from azpatch.kube import config
from azpatch.kube.errors import Expired, translate
from azpatch.kube.events import Recorder
from azpatch.kube.port import LEASE, Conflict, Kind, NotFound, Object, Unavailable

TIMEOUT = aiohttp.ClientTimeout(total=60, connect=10)
"""Seconds. 60 is the API server's own limit for a request that is not a watch."""

GOODBYE_SECONDS = 0.1
"""aiohttp closes TLS connections behind the back of `close`; its documentation asks to wait."""

PAGE = 250
"""Objects a LIST returns at a time: some 2 MiB, which the loop is kept 20 ms by."""

CONFIG_MAP = Kind("", "v1", "configmaps", "ConfigMap", namespaced=True)
SECRET = Kind("", "v1", "secrets", "Secret", namespaced=True)
FIELD_MANAGER = "azpatch"

REQUESTS = Histogram(
    "azpatch_kube_request_duration_seconds",
    'Real seconds one request to the API server took; code is "" without an answer.',
    ["verb", "resource", "code"],
)

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"


class KubernetesClient:
    """Implements `azpatch.kube.port.Kube` and `Leases`."""

    def __init__(self, api: ApiClient, namespace: str, kubeconfig: Path | None = None) -> None:
        self._api = api
        self._namespace = namespace
        self._kubeconfig = kubeconfig
        self._events = Recorder(self)

    @classmethod
    async def connect(cls, namespace: str, kubeconfig: Path | None = None) -> KubernetesClient:
        """A client for the operator that runs in this namespace. Sends nothing yet. Raises
        `config.NoClusterError`."""
        return cls(ApiClient(await config.configuration(kubeconfig)), namespace, kubeconfig)

    async def close(self) -> None:
        """Ends its connections."""
        await self._api.close()  # type: ignore[no-untyped-call]
        # The watch's connections, too, take some turns of the loop to say goodbye in TLS.
        await asyncio.sleep(GOODBYE_SECONDS)

    async def login(self) -> config.Login:
        """How the watch signs in: as this client does, with a fresh token."""
        await self._sign_in()
        return await config.login(self._api.configuration)

    async def get(self, kind: Kind, name: str, namespace: str = "") -> Object:
        """One object. Raises NotFound."""
        return await self._request("GET", kind, _path(kind, namespace, name))

    async def scan(self, kind: Kind, take: Callable[[Object], object]) -> Collection[str]:
        """Gives every object of the kind, in all namespaces, to `take`, as its page comes in: ten
        thousand at once take hundreds of MiB.

        Returns the uids of a consistent picture, no older than the moment of the call. One whose
        pages expired under way is asked for anew, whole.
        """
        try:
            return await self._pages(kind, take, PAGE)
        except Expired:
            return await self._pages(kind, take, None)

    async def create(self, kind: Kind, body: Object) -> Object:
        """Creates. Raises Conflict if the name is taken."""
        namespace = str(body.get("metadata", {}).get("namespace") or "")
        return await self._write("POST", kind, _path(kind, namespace), body)

    async def replace_status(self, kind: Kind, base: Object, status: Mapping[str, Any]) -> Object:
        """PUT of /status, only if `base` is still current (else Conflict)."""
        meta = base["metadata"]
        body = {
            "apiVersion": _api_version(kind),
            "kind": kind.kind,
            "metadata": {
                field: meta[field]
                for field in ("name", "namespace", "uid", "resourceVersion")
                if field in meta
            },
            "spec": base.get("spec"),
            "status": dict(status),
        }
        return await self._write("PUT", kind, f"{_path_of(kind, base)}/status", body)

    async def set_finalizers(self, kind: Kind, base: Object, finalizers: Sequence[str]) -> Object:
        """Sets metadata.finalizers, only if `base` is still current (else Conflict)."""
        meta = {
            "uid": base["metadata"]["uid"],
            "resourceVersion": base["metadata"]["resourceVersion"],
            "finalizers": list(finalizers),
        }
        return await self._write(
            "PATCH", kind, _path_of(kind, base), {"metadata": meta}, content_type=MERGE_PATCH
        )

    async def delete(self, kind: Kind, base: Object) -> None:
        """Deletes exactly this object (by uid); one that is gone already is no error."""
        options = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": {"uid": base["metadata"]["uid"]},
            "propagationPolicy": "Background",
        }
        try:
            await self._request("DELETE", kind, _path_of(kind, base), options)
        except NotFound:
            return
        except Conflict:
            if await self._exists(kind, base):
                raise

    async def secret(self, name: str) -> Mapping[str, bytes]:
        """A Secret's data, decoded, from the operator's own namespace. Raises NotFound."""
        secret = await self.get(SECRET, name, self._namespace)
        return {key: base64.b64decode(value) for key, value in (secret.get("data") or {}).items()}

    async def config_map(self, name: str) -> Mapping[str, str]:
        """A ConfigMap's data, from the operator's own namespace. Raises NotFound."""
        return (await self.get(CONFIG_MAP, name, self._namespace)).get("data") or {}

    async def event(
        self, kind: Kind, regarding: Object, *, warning: bool, reason: str, action: str, note: str
    ) -> None:
        """An Event on this object, deduplicated. Best effort: never raises."""
        await self._events.event(
            kind, regarding, warning=warning, reason=reason, action=action, note=note
        )

    async def get_lease(self, name: str) -> Object:
        """A Lease of the operator's own namespace. Raises NotFound."""
        return await self.get(LEASE, name, self._namespace)

    async def create_lease(self, name: str, spec: Mapping[str, Any]) -> Object:
        """Creates it there. Raises Conflict if it is there."""
        return await self.create(LEASE, self._lease({"name": name}, spec))

    async def replace_lease(self, base: Object, spec: Mapping[str, Any]) -> Object:
        """PUT, only if `base` is still current (else Conflict). Other people's labels stay."""
        body = self._lease(base["metadata"], spec)
        return await self._write("PUT", LEASE, _path_of(LEASE, body), body)

    def _lease(self, metadata: Mapping[str, Any], spec: Mapping[str, Any]) -> Object:
        return {
            "apiVersion": _api_version(LEASE),
            "kind": LEASE.kind,
            "metadata": {**metadata, "namespace": self._namespace},
            "spec": dict(spec),
        }

    async def _exists(self, kind: Kind, base: Object) -> bool:
        """This very object, not one that was made anew under its name."""
        meta = base["metadata"]
        try:
            found = await self.get(kind, meta["name"], meta.get("namespace") or "")
        except NotFound:
            return False
        return bool(found["metadata"]["uid"] == meta["uid"])

    async def _pages(
        self, kind: Kind, take: Callable[[Object], object], limit: int | None
    ) -> Collection[str]:
        seen: set[str] = set()
        query = {"limit": str(limit)} if limit else {}
        while True:
            page = await self._request("GET", kind, _path(kind), query=query, verb="LIST")
            for item in page.get("items") or ():
                # Kubernetes' own kinds come without them inside a list.
                item.setdefault("apiVersion", _api_version(kind))
                item.setdefault("kind", kind.kind)
                seen.add(item["metadata"]["uid"])
                take(item)
            following = page["metadata"].get("continue")
            if not following:
                return seen
            query["continue"] = following

    async def _write(
        self, method: str, kind: Kind, path: str, body: Object, content_type: str = JSON
    ) -> Object:
        """A write that fails, rather than loses a field, where the CRD does not have it."""
        query = {"fieldManager": FIELD_MANAGER, "fieldValidation": "Strict"}
        return await self._request(method, kind, path, body, query=query, content_type=content_type)

    async def _request(
        self,
        method: str,
        kind: Kind,
        path: str,
        body: Object | None = None,
        *,
        query: Mapping[str, str] | None = None,
        content_type: str = JSON,
        verb: str | None = None,
    ) -> Object:
        """One request; a second one only after 401, when the first was not looked at."""
        started = time.monotonic()
        code = ""
        url = f"{path}?{urlencode(query)}" if query else path
        try:
            status, data, headers = await self._send(method, url, body, content_type)
            if status == 401:
                await self._sign_in()
                status, data, headers = await self._send(method, url, body, content_type)
            code = str(status)
            if not 200 <= status < 300:
                raise translate(status, data, headers)
            answer: Object = json.loads(data)
            return answer
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise Unavailable(f"no answer from the API server: {error or type(error)}") from error
        finally:
            elapsed = time.monotonic() - started
            REQUESTS.labels(verb or method, kind.plural, code).observe(elapsed)

    async def _send(
        self, method: str, url: str, body: Object | None, content_type: str
    ) -> tuple[int, bytes, Mapping[str, str]]:
        settings = self._api.configuration
        headers = {"Content-Type": content_type, "Accept": JSON, "User-Agent": FIELD_MANAGER}
        for auth in (await settings.auth_settings()).values():
            if auth["value"]:
                headers[auth["key"]] = auth["value"]
        answer = await self._api.rest_client.request(  # type: ignore[no-untyped-call]
            method, settings.host + url, headers=headers, body=body, _request_timeout=TIMEOUT
        )
        return answer.status, await answer.read(), answer.headers

    async def _sign_in(self) -> None:
        """Reads token files and asks exec plugins again."""
        fresh = await config.configuration(self._kubeconfig)
        self._api.configuration.api_key = fresh.api_key
        self._api.configuration.refresh_api_key_hook = fresh.refresh_api_key_hook


def _api_version(kind: Kind) -> str:
    return f"{kind.group}/{kind.version}" if kind.group else kind.version


def _path(kind: Kind, namespace: str = "", name: str = "") -> str:
    """The URL's path of an object, or of a kind's objects in one or all namespaces."""
    root = f"/apis/{kind.group}" if kind.group else "/api"
    parts = [root, kind.version]
    if kind.namespaced and namespace:
        parts += ["namespaces", quote(namespace, safe="")]
    parts.append(kind.plural)
    if name:
        parts.append(quote(name, safe=""))
    return "/".join(parts)


def _path_of(kind: Kind, base: Object) -> str:
    meta = base["metadata"]
    return _path(kind, meta.get("namespace") or "", meta["name"])
