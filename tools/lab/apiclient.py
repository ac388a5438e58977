"""The few requests that the lab itself makes of an API server, with the standard library alone."""

import json
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

TIMEOUT_SECONDS = 10.0
"""The API server is on the same machine; nothing that the lab asks of it takes longer."""

AGAIN_SECONDS = 0.2
"""After the API server was too busy (429)."""

PATCH_TYPES = {
    "merge": "application/merge-patch+json",
    "apply": "application/apply-patch+yaml",
    "json": "application/json-patch+json",
}


class ApiError(RuntimeError):
    """The API server refused. ``code`` is the HTTP status, ``reason`` Kubernetes' word for it."""

    def __init__(self, code: int, status: Mapping[str, Any]) -> None:
        self.code = code
        self.reason = str(status.get("reason", ""))
        super().__init__(f"{code} {self.reason}: {status.get('message', '')}")


class ApiClient:
    """Talks JSON to one API server as one user. A connection per request, proxies ignored."""

    def __init__(self, url: str, ca_file: Path, token: str) -> None:
        context = ssl.create_default_context(cafile=str(ca_file))
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )
        self._url = url
        self._token = token

    def get(self, path: str) -> dict[str, Any]:
        return self._json("GET", path)

    def create(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return self._json("POST", path, body)

    def patch(self, path: str, body: Any, kind: str = "merge") -> dict[str, Any]:
        """``kind`` is one of ``PATCH_TYPES``; an apply needs ``?fieldManager=`` in the path."""
        return self._json("PATCH", path, body, PATCH_TYPES[kind])

    def delete(self, path: str) -> dict[str, Any]:
        return self._json("DELETE", path)

    def exists(self, path: str) -> bool:
        try:
            self.get(path)
        except ApiError as error:
            if error.code == 404:
                return False
            raise
        return True

    def ready(self) -> bool:
        """Whether ``/readyz`` says so; False also while nothing listens."""
        try:
            self._send("GET", "/readyz")
        except (OSError, ApiError):
            return False
        return True

    def _json(
        self,
        method: str,
        path: str,
        body: Any = None,
        content_type: str = "application/json",
    ) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self._send(method, path, body, content_type))
        return answer

    def _send(
        self, method: str, path: str, body: Any = None, content_type: str = "application/json"
    ) -> bytes:
        request = urllib.request.Request(
            self._url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={
                "Authorization": f"Bearer {self._token}",
                "Accept": "application/json, */*",
                "Content-Type": content_type,
            },
        )
        until = time.monotonic() + TIMEOUT_SECONDS
        while True:
            try:
                with self._opener.open(request, timeout=TIMEOUT_SECONDS) as response:
                    content: bytes = response.read()
                    return content
            except urllib.error.HTTPError as error:
                with error:
                    # As a CRD is while its storage is set up; clients of Kubernetes wait and ask
                    # again.
                    if error.code != 429 or time.monotonic() > until:
                        raise ApiError(error.code, _status(error.read())) from None
            time.sleep(AGAIN_SECONDS)


def _status(content: bytes) -> Mapping[str, Any]:
    try:
        status = json.loads(content)
    except ValueError:
        status = None
    if isinstance(status, dict):
        return status
    return {"message": content.decode(errors="replace")}
