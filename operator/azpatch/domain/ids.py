"""Azure resource ids, taken apart.

ARM spells the same id in different cases in different answers, so ids are compared by their *key*,
the lower-cased id without a trailing slash.
"""

from __future__ import annotations

from dataclasses import dataclass


def key(resource_id: str) -> str:
    """The form in which two ids are compared."""
    return resource_id.strip().rstrip("/").lower()


@dataclass(frozen=True, slots=True)
class ResourceId:
    """`/subscriptions/S/resourceGroups/G/providers/NS/type/name[/type/name…]`, as it is spelt."""

    subscription: str
    resource_group: str
    provider: str
    types: tuple[str, ...]
    names: tuple[str, ...]

    @property
    def type(self) -> str:
        """Lower-cased full type: `microsoft.compute/galleries/images`."""
        return "/".join((self.provider, *self.types)).lower()

    @property
    def name(self) -> str:
        """The last name: the machine's, the image's, the version's."""
        return self.names[-1]


def parse(resource_id: str) -> ResourceId | None:
    """The parts of a resource-group resource's id; None if it is not one."""
    parts = resource_id.strip().strip("/").split("/")
    if len(parts) < 8 or len(parts) % 2 or "" in parts:
        return None
    if [p.lower() for p in (parts[0], parts[2], parts[4])] != [
        "subscriptions",
        "resourcegroups",
        "providers",
    ]:
        return None
    return ResourceId(parts[1], parts[3], parts[5], tuple(parts[6::2]), tuple(parts[7::2]))


_ARC_SERVER = "/providers/microsoft.hybridcompute/machines/"


def is_arc_server(resource_id: str) -> bool:
    """Whether an id, or a key, is that of an Azure Arc-enabled server, or of something below it."""
    return _ARC_SERVER in resource_id.lower()


def is_another_vm(vm_id: str | None, known: str | None) -> bool:
    """Whether two vmIds under one ARM id are of two machines. An answer may lack it, which says
    nothing."""
    return bool(vm_id and known and vm_id.lower() != known.lower())


def subscription_of(resource_id: str) -> str:
    """The subscription's id in lower case, "" if the id names none."""
    parts = key(resource_id).strip("/").split("/")
    return parts[1] if len(parts) > 1 and parts[0] == "subscriptions" else ""
