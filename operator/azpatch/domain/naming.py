"""Names of what azpatch makes."""

from __future__ import annotations

import hashlib
import re

from azpatch.domain.ids import key

_MACHINE_NAME_LENGTH = 40
"""With a dash and ten digits of hash the name stays below the 63 characters of a label."""


def target_name(policy_uid: str, machine_id: str) -> str:
    """A PatchTarget's name: readable, and the same for the same policy object and machine."""
    machine = key(machine_id).rsplit("/", 1)[-1]
    readable = re.sub(r"[^a-z0-9]+", "-", machine).strip("-")[:_MACHINE_NAME_LENGTH].strip("-")
    digest = hashlib.sha256((policy_uid + key(machine_id)).encode()).hexdigest()[:10]
    return f"{readable or 'machine'}-{digest}"
