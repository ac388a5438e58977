"""What azpatch asks of the API server, as one protocol.

Objects travel as the JSON the API server sends; the models of `azpatch.api` read them. Every write
returns the object as it then is, so that the caller can take it in before its next decision.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind that azpatch reads or writes."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool


AZURE_SUBSCRIPTION = Kind(
    "azpatch.dev", "v1alpha1", "azuresubscriptions", "AzureSubscription", namespaced=False
)
PATCH_POLICY = Kind("azpatch.dev", "v1alpha1", "patchpolicies", "PatchPolicy", namespaced=True)
PATCH_RUN = Kind("azpatch.dev", "v1alpha1", "patchruns", "PatchRun", namespaced=True)
PATCH_TARGET = Kind("azpatch.dev", "v1alpha1", "patchtargets", "PatchTarget", namespaced=True)
NAMESPACE = Kind("", "v1", "namespaces", "Namespace", namespaced=False)

LEASE = Kind("coordination.k8s.io", "v1", "leases", "Lease", namespaced=True)

WATCHED = (AZURE_SUBSCRIPTION, PATCH_POLICY, PATCH_RUN, PATCH_TARGET, NAMESPACE)


class KubeError(Exception):
    """Base. The message is the API server's own.

    KubeError
    ├── NotFound      404
    ├── Conflict      409: the object changed since it was read (or, on create, exists already)
    ├── Refused       403, 422 and other 4xx: the same request will not be taken
    └── Unavailable   5xx, 429, timeout, lost connection: later
        └── NotLeading    not asked: this process does not hold the Lease
    """

    def __init__(self, message: str, retry_after: timedelta | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class NotFound(KubeError):
    """The object is not there."""


class Conflict(KubeError):
    """Somebody wrote first."""


class Refused(KubeError):
    """The API server will not take it."""


class Unavailable(KubeError):
    """The API server cannot answer now."""


class NotLeading(Unavailable):
    """This process does not hold the Lease, or not any more: what it was about to do is another's
    now. Nothing was sent."""


class Kube(Protocol):
    """The API server. Raises KubeError and nothing else (cancellation apart)."""

    async def get(self, kind: Kind, name: str, namespace: str = "") -> Object:
        """One object. Raises NotFound."""
        ...

    async def scan(self, kind: Kind, take: Callable[[Object], object]) -> Collection[str]:
        """Gives every object of the kind, in all namespaces, to `take`, as its page comes in.

        Returns the uids of a consistent picture, no older than the moment of the call.
        """
        ...

    async def create(self, kind: Kind, body: Object) -> Object:
        """Creates. Raises Conflict if the name is taken."""
        ...

    async def replace_status(self, kind: Kind, base: Object, status: Mapping[str, Any]) -> Object:
        """PUT of /status: `base` with this status, if `base` is still current (else Conflict)."""
        ...

    async def set_finalizers(self, kind: Kind, base: Object, finalizers: Sequence[str]) -> Object:
        """Sets metadata.finalizers, only if `base` is still current (else Conflict).

        Removing the last finalizer of an object under deletion ends it; its last form is returned.
        """
        ...

    async def delete(self, kind: Kind, base: Object) -> None:
        """Deletes exactly this object (by uid); one that is gone already is no error."""
        ...

    async def secret(self, name: str) -> Mapping[str, bytes]:
        """A Secret's data, decoded, from the operator's own namespace. Raises NotFound."""
        ...

    async def config_map(self, name: str) -> Mapping[str, str]:
        """A ConfigMap's data, from the operator's own namespace. Raises NotFound."""
        ...

    async def event(
        self, kind: Kind, regarding: Object, *, warning: bool, reason: str, action: str, note: str
    ) -> None:
        """An Event (events.k8s.io/v1) on this object, deduplicated. Best effort: never raises."""
        ...


class Leases(Protocol):
    """Leases (coordination.k8s.io/v1) in the operator's own namespace. Raises KubeError and nothing
    else (cancellation apart)."""

    async def get_lease(self, name: str) -> Object:
        """As it is now, not as a cache has it. Raises NotFound."""
        ...

    async def create_lease(self, name: str, spec: Mapping[str, Any]) -> Object:
        """Creates. Raises Conflict if it is there."""
        ...

    async def replace_lease(self, base: Object, spec: Mapping[str, Any]) -> Object:
        """`base` with this spec, only if `base` is still current (else Conflict; NotFound when it
        was deleted)."""
        ...
