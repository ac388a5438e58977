"""What azpatch asks of Azure, as one protocol. One client per identity."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from azpatch.domain.facts import (
    AssessmentResult,
    Feature,
    ImageDefinition,
    InstallationResult,
    MachineView,
    MissingPatch,
    OperationError,
    Permissions,
    Snapshot,
)

UNTRUSTED = "CertificateNotTrusted"
"""The code of an error where whoever answered has a certificate that no trusted CA signed."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """Azure took the operation."""

    operation_id: str
    """GUID in the operation's URL: also the activity id of the result. Whether it is so on an
    Arc-enabled server nobody has written down."""
    poll_url: str = field(repr=False)
    """Signed, expiring; kept in memory only, never logged nor stored."""


@dataclass(frozen=True, slots=True)
class Progress:
    """An operation as its URL shows it. `running`, or ended with a result, or with an error.

    Ended with neither (Azure says Succeeded and shows no output): the result is read elsewhere.
    """

    running: bool
    assessment: AssessmentResult | None = None
    installation: InstallationResult | None = None
    error: OperationError | None = None
    ended: datetime | None = None
    """When, as the operation says; a result may tell only when it began."""
    retry_after: timedelta | None = None
    """How long Azure asks to wait before the next look, while it runs."""


class AzureError(Exception):
    """Base. `code` and `message` are Azure's own words, free of tokens and signed URLs.

    Raised by a mutating call, every one of these but Unconfirmed means that nothing began.

    AzureError
    ├── Gone          404: it does not exist (an operation's URL: no longer kept, or 403)
    ├── Denied        403: a right is missing
    ├── SignInFailed  no token: the identity does not work
    ├── NotStarted    the mutating call was refused for certain
    │   ├── NeverSent no connection was made
    │   ├── Busy      409: something else runs on the machine
    │   └── Throttled 429: later
    ├── Unconfirmed   a mutating call whose answer is unknown (5xx, timeout, lost connection)
    └── Retry         a read that failed for now (5xx, 429, timeout, lost connection)
        └── OverBudget it was not sent: our own count says that Azure would refuse it
    """

    def __init__(self, code: str, message: str, retry_after: timedelta | None = None) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.retry_after = retry_after
        """How long Azure asks to wait; None if it does not say."""


class Gone(AzureError):
    """ARM answered 404."""


class Denied(AzureError):
    """ARM answered 403."""


class SignInFailed(AzureError):
    """The identity gets no token."""


class NotStarted(AzureError):
    """A mutating call that was refused: nothing began."""


class NeverSent(NotStarted):
    """No connection was made: the request did not leave."""


class Busy(NotStarted):
    """ARM answered 409."""


class Throttled(NotStarted):
    """ARM answered 429."""


class Unconfirmed(AzureError):
    """A mutating call without a usable answer: it may have begun."""


class Retry(AzureError):
    """A read that failed for now."""


class OverBudget(Retry):
    """A read that was not sent; `retry_after` is when its turn comes."""


class AzureClient(Protocol):
    """Azure, through one identity. Raises AzureError and nothing else (cancellation apart)."""

    async def snapshot(self, subscriptions: Iterable[str]) -> Snapshot:
        """Machines, image definitions, assessment rows of these subscriptions (Resource Graph)."""
        ...

    async def assessments(self, machine_ids: Iterable[str]) -> Mapping[str, AssessmentResult]:
        """Resource Graph's assessment rows of these machines, by key; without a row, absent."""
        ...

    async def missing_patches(
        self, machine_ids: Iterable[str]
    ) -> Mapping[str, tuple[MissingPatch, ...]]:
        """What the last assessment of each machine found (Resource Graph), by key."""
        ...

    async def installations(self, machine_ids: Iterable[str]) -> Mapping[str, InstallationResult]:
        """Each machine's latest install row with its patches (Resource Graph), by key."""
        ...

    async def installs(self, activities: Mapping[str, str]) -> Mapping[str, InstallationResult]:
        """Of each machine the install with this activity id, with its patches (Resource Graph), by
        key. It keeps them for 30 days."""
        ...

    async def machine(self, machine_id: str) -> MachineView:
        """GET at ARM, of a VM with instanceView. It does not say who manages the resource group."""
        ...

    async def image_definition(
        self, definition_id: str, subscription: str, location: str
    ) -> ImageDefinition:
        """GET of a gallery image definition at ARM; of a shared or community gallery's, as this
        subscription sees it in this location. Denied also where it lies in another tenant."""
        ...

    async def assess(self, machine_id: str, attempt_id: str) -> Accepted:
        """One POST of assessPatches, never repeated by any layer below."""
        ...

    async def install(
        self, machine_id: str, parameters: Mapping[str, object], attempt_id: str
    ) -> Accepted:
        """One POST of installPatches with this body, never repeated by any layer below."""
        ...

    async def operation(self, poll_url: str) -> Progress:
        """One GET of an operation's URL. Gone, and no GET, if it is not on the cloud's ARM host."""
        ...

    async def features(self, subscription: str) -> tuple[Feature, ...]:
        """The features of Microsoft.Compute in this subscription."""
        ...

    async def permissions(self, scope: str) -> tuple[Permissions, ...]:
        """What this identity may do at a scope (`/subscriptions/…[/resourceGroups/…]`)."""
        ...

    async def register_feature(self, subscription: str, feature: str, attempt_id: str) -> None:
        """One POST that registers a feature of Microsoft.Compute in this subscription, never
        repeated by any layer below. Throttled, and nothing sent, if it would have to wait."""
        ...

    async def register_compute(self, subscription: str, attempt_id: str) -> None:
        """One POST that registers Microsoft.Compute anew in this subscription. Likewise."""
        ...

    async def close(self) -> None:
        """Ends its connections."""
        ...


@dataclass(frozen=True, slots=True)
class Credentials:
    """How one identity signs in. Two AzureSubscriptions with equal ones share a client."""

    type: str
    """`WorkloadIdentity`, `ManagedIdentity` or `ClientSecret`."""
    tenant_id: str
    client_id: str | None = None
    client_secret: str | None = field(default=None, repr=False)


class AzureClients(Protocol):
    """Makes clients, and keeps the budgets that they share."""

    def client(self, credentials: Credentials) -> AzureClient:
        """A client that signs in with these credentials when it is first used."""
        ...

    def reserve(self, machine_id: str, location: str, policy: str, *, yields: bool) -> timedelta:
        """Takes a place in the line of those who want to assess or install, if the machine has
        none. Zero: it is its turn, and one operation may be sent to it. Else, in Azure's time, when
        to ask again.

        Policies (`namespace/name`) take turns, one operation each; within one, first come is first
        served. Who `yields` comes after all who do not. Asked for another policy, or another
        `yields`, before its turn, it takes a new place. No I/O."""
        ...

    def release(self, machine_id: str) -> None:
        """Gives the machine's place back, if it has one; the operation uses it up by itself."""
        ...
