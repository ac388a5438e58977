"""A machine's operating system, where its model does not say it.

`storageProfile.osDisk.osType` says it of almost every machine. Where it is missing, the publishers
decide that Azure's built-in policies take for Windows, then the definition of the gallery image.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from azpatch.api.common import OsType
from azpatch.domain.facts import ImageDefinition, ImageReference, Unread
from azpatch.domain.globs import Globs, compiled, matches

_ANY = compiled(("*",))

_WINDOWS_PUBLISHERS: Mapping[str, Globs] = {
    "microsoftwindowsserver": _ANY,
    "microsoftwindowsserverhpcpack": _ANY,
    # Its offers name the system below: `sql2022-ws2022`, or `sql2019-rhel8`.
    "microsoftsqlserver": compiled(("*ws*",)),
    "microsoftazuresiterecovery": _ANY,
    "microsoftbiztalkserver": _ANY,
    "microsoftdynamicsax": _ANY,
    "microsoftpowerbi": _ANY,
    "microsoftsharepoint": _ANY,
    "microsoftvisualstudio": _ANY,
}
"""Publisher → its offers that the built-in policies of Update Manager take for Windows."""


@dataclass(frozen=True, slots=True)
class OperatingSystem:
    """What a machine runs, and the sentence that says why where its model does not say it."""

    type: OsType | None
    evidence: str = ""


def only_assessed(os_type: OsType | None) -> str:
    """What becomes of a machine for whose system a policy's install says nothing; None: nobody
    knows the system."""
    system = os_type or "an unknown operating system"
    return f"install says nothing for {system}, so this machine is only assessed."


def operating_system(
    model: OsType | None,
    reference: ImageReference | None,
    definition: ImageDefinition | Unread | None,
) -> OperatingSystem:
    """`model` is what the machine's model says."""
    if model is not None:
        return OperatingSystem(model)
    publisher = (reference.publisher or "") if reference else ""
    offers = _WINDOWS_PUBLISHERS.get(publisher.lower())
    if reference and offers and matches(offers, reference.offer or ""):
        return OperatingSystem(OsType.WINDOWS, f"osType is missing; {publisher} tells Windows.")
    if isinstance(definition, ImageDefinition) and definition.os_type is not None:
        told = definition.os_type
        return OperatingSystem(told, f"osType is missing; the definition's is {told}.")
    return OperatingSystem(None, "osType is missing, and nothing else tells it.")
