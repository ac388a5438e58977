"""What an error of Azure is called in a status: the reason, the words, when it is tried again.

One place, so that every answer reads alike: what happened, Azure's code and message as they came,
what the operator does next, what a person can do. docs/errors.md shows them all.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from azpatch.api.reasons import Reason
from azpatch.azure.port import (
    UNTRUSTED,
    AzureError,
    Busy,
    Denied,
    Gone,
    NeverSent,
    SignInFailed,
    Throttled,
    Unconfirmed,
)
from azpatch.domain.facts import OperationError
from azpatch.domain.look import LOOK_AT_FOREIGN
from azpatch.domain.outcome import NOT_SENT
from azpatch.domain.plan import Idle
from azpatch.domain.subscription import Trouble
from azpatch.domain.words import QUOTED_ON_MACHINE, azure_says, quoted, sentences

AZURE_AGAIN = timedelta(minutes=1)
"""After a request that did not reach Azure, or a look at the machine that failed for now."""

REFUSED_AGAIN = timedelta(hours=1)
"""After a refusal that will most likely be repeated: a request that Azure calls wrong."""

_ROLES = "Give it the custom roles of docs/install.md."

_SIGN_IN_REMEDIES: Mapping[str, str] = {
    UNTRUSTED: "Check AZPATCH_CA_FILE, in the chart azure.caConfigMap: it must hold the CA of "
    "whoever answers, which may be a proxy.",
    "InvalidAuthenticationTokenTenant": "Check spec.tenantId: the subscription is another's.",
    "AADSTS90002": "Check spec.tenantId.",
    "AADSTS700016": "Check spec.identity.clientId and spec.tenantId.",
    "AADSTS7000215": "Put the secret's value, not its id, under AZURE_CLIENT_SECRET into the "
    "Secret that spec.identity.secretRef names.",
    "AADSTS7000222": "The client secret has expired: make another, and put it under "
    "AZURE_CLIENT_SECRET into the Secret that spec.identity.secretRef names.",
    "AADSTS700213": "Give the identity a federated credential with this issuer, subject and "
    "audience.",
    "AADSTS70021": "Give the identity a federated credential for the operator's ServiceAccount.",
}
"""By Microsoft Entra ID's code, and for what comes before it. Source: its error reference."""

_SIGN_IN_REMEDY = (
    "Check spec.identity, spec.tenantId and the identity's federated credential or secret."
)


def of_subscription(error: AzureError) -> Trouble:
    """Why a subscription cannot be read."""
    words = quoted(error.code, error.message)
    if isinstance(error, SignInFailed):
        remedy = _SIGN_IN_REMEDIES.get(error.code, _SIGN_IN_REMEDY)
        at_arm = error.code.startswith("InvalidAuthenticationToken")
        what = "Azure refuses the identity's token" if at_arm else "Signing in to Azure failed"
        return Trouble(
            Reason.IDENTITY_FAILED,
            f"{what} {words}. It is tried again every minute. {remedy}",
            stalled=True,
        )
    if isinstance(error, Denied):
        return Trouble(
            Reason.ACCESS_MISSING,
            f"Azure refuses the identity {words}. It is asked again every minute. {_ROLES}",
            stalled=True,
        )
    return Trouble(
        Reason.AZURE_UNREACHABLE,
        f"Azure cannot be read now {words}. It is tried again every minute; what was read before "
        f"still counts.{_remedy(error)}",
        stalled=False,
    )


def of_look(error: AzureError, now: datetime) -> Idle:
    """Why a machine cannot be looked at, which comes before everything that is sent to it."""
    words = quoted(error.code, error.message, QUOTED_ON_MACHINE)
    wake = now + _wait(error, AZURE_AGAIN)
    match error:
        case Gone():
            return Idle(False, Reason.MACHINE_GONE, _no_machine(words), wake)
        case Denied():
            return Idle(
                False,
                Reason.ACCESS_LOST,
                f"Azure refuses to show the machine {words}. It is asked again every minute. Give "
                "the identity its role back.",
                wake,
            )
        case SignInFailed():
            return Idle(False, Reason.IDENTITY_FAILED, _not_signed_in(words), wake)
    return Idle(
        False,
        Reason.AZURE_UNREACHABLE,
        f"Azure does not show the machine {words}. It is asked again every minute, and nothing is "
        "sent to the machine before.",
        wake,
    )


def of_operation(error: AzureError, now: datetime) -> Idle:
    """Why Azure did not take an operation."""
    words = quoted(error.code, error.message, QUOTED_ON_MACHINE)
    match error:
        case Busy():
            return Idle(
                False,
                Reason.FOREIGN_OPERATION,
                f"Azure did not take the operation {words}: something else seems to run on the "
                "machine. It holds a slot until that ends; it is looked at again in a minute.",
                now + (error.retry_after or LOOK_AT_FOREIGN),
            )
        case Throttled():
            return Idle(
                True,
                Reason.THROTTLED,
                sentences(
                    NOT_SENT[Reason.THROTTLED].message,
                    azure_says(OperationError(error.code, error.message)),
                ),
                now + (error.retry_after or AZURE_AGAIN),
            )
        case SignInFailed():
            return Idle(False, Reason.IDENTITY_FAILED, _not_signed_in(words), now + AZURE_AGAIN)
        case NeverSent():
            return Idle(
                False,
                Reason.AZURE_UNREACHABLE,
                f"The request did not reach Azure {words}. It is sent again in a minute.",
                now + AZURE_AGAIN,
            )
        case Gone():
            return Idle(False, Reason.MACHINE_GONE, _no_machine(words), now + AZURE_AGAIN)
        case Denied():
            return Idle(
                False,
                Reason.ACCESS_MISSING,
                f"Azure refused the operation {words}. It is sent again in an hour. {_ROLES}",
                now + REFUSED_AGAIN,
            )
    return Idle(
        False,
        Reason.REJECTED,
        f"Azure refused the operation {words}. It is sent again in an hour, or when the policy "
        "changes.",
        now + REFUSED_AGAIN,
    )


def registration_again(error: AzureError | TimeoutError) -> timedelta:
    """When a registration that Azure did not take is sent again; `domain.registration` has the
    words. What Azure refused it will most likely refuse again."""
    if isinstance(error, TimeoutError):
        return AZURE_AGAIN
    if isinstance(error, Throttled | NeverSent | SignInFailed | Unconfirmed):
        return error.retry_after or AZURE_AGAIN
    return REFUSED_AGAIN


def _wait(error: AzureError, least: timedelta) -> timedelta:
    return max(error.retry_after or least, least)


def _no_machine(words: str) -> str:
    return f"Azure says that the machine does not exist {words}. It is looked at again in a minute."


def _not_signed_in(words: str) -> str:
    return (
        f"Azure does not take the identity {words}. It is tried again every minute; see the "
        "condition Ready of the machine's AzureSubscription."
    )


def _remedy(error: AzureError) -> str:
    """What a person can do about an error that ordinarily passes by itself."""
    return f" {_SIGN_IN_REMEDIES[UNTRUSTED]}" if error.code == UNTRUSTED else ""
