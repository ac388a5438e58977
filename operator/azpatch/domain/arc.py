"""Azure Arc-enabled servers: whether Azure reaches one, and what it charges for patching them."""

from __future__ import annotations

from collections.abc import Mapping

from azpatch.api.common import MachineKind
from azpatch.api.reasons import Reason
from azpatch.domain.facts import ARC_CONNECTED, Machine
from azpatch.domain.ids import is_arc_server
from azpatch.domain.words import counted

_CUT_OFF: Mapping[str, Reason] = {
    "Expired": Reason.ARC_EXPIRED,
    "Error": Reason.ARC_ERROR,
    # It was made in Azure, and no agent was ever connected to it.
    "AwaitingConnection": Reason.ARC_EXPIRED,
}
"""Statuses that do not pass by themselves."""

CUT_OFF = frozenset({Reason.ARC_DISCONNECTED, *_CUT_OFF.values()})
"""Why nothing can be sent to a server; `outcome.NOT_SENT` has the words."""


def kind_of(machine_id: str) -> MachineKind:
    """What a machine is, by its id."""
    arc = is_arc_server(machine_id)
    return MachineKind.ARC_SERVER if arc else MachineKind.VIRTUAL_MACHINE


def cut_off(machine: Machine) -> Reason | None:
    """Why Azure does not reach a server, as far as it knows; None: it is Connected."""
    if machine.arc_status == ARC_CONNECTED:
        return None
    return _CUT_OFF.get(machine.arc_status or "", Reason.ARC_DISCONNECTED)


# --- what it costs --------------------------------------------------------------------------------

PRICE = 5
"""US dollars for one server and month, at most: Azure charges by the day, a 31st of it, and only
for days on which the server was Connected and something was sent to it. An assessment suffices.

Source: Microsoft's Azure Update Manager FAQ (update-manager/update-manager-faq.md), section
Pricing, of 2025-04-16. It lists who is not charged: servers with Extended Security Updates enabled
by Azure Arc, whose subscription has Defender for Servers Plan 2, whose Windows Server licence has
Software Assurance or is paid by use, and virtual machines of Azure Local. None of that is seen from
here, so a forecast is what it costs at most."""

PRICE_DATE = "2025-04"


def forecast(servers: int) -> str:
    """What some servers cost, as a clause."""
    return (
        f"up to US$ {servers * PRICE} a month for {counted(servers, 'server')}, US$ {PRICE} each "
        f"(Azure Update Manager's price of {PRICE_DATE})"
    )


def not_accepted(servers: int, subscriptions: str) -> str:
    """Why nothing is sent to servers, what it would cost and who can change that. `subscriptions`
    names their AzureSubscriptions."""
    return _charged(servers, f"AzureSubscription {subscriptions}")


def to_be_accepted(servers: int) -> str:
    """What accepting it for a subscription would cost, if policies took in all its servers."""
    return (
        f"Nothing is sent to its {counted(servers, 'Azure Arc-enabled server')}: Azure charges for "
        f"that, {forecast(servers)}, if policies take in all. To accept it, set spec.arcBilling: "
        "Accepted."
    )


def unless_accepted(servers: int) -> str:
    """The same, where it is not known whether somebody has accepted it."""
    return _charged(
        servers, f"the AzureSubscription of {'its' if servers == 1 else 'their'} subscription"
    )


def _charged(servers: int, where: str) -> str:
    return (
        f"Azure charges for assessing and patching Azure Arc-enabled servers: {forecast(servers)}. "
        f"Nothing is sent until the platform team sets spec.arcBilling: Accepted in {where}."
    )
