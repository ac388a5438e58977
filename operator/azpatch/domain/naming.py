"""Names of what azpatch makes."""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime

from azpatch.domain.ids import key

_MACHINE_NAME_LENGTH = 40
"""With a dash and ten digits of hash the name stays below the 63 characters of a label."""


def target_name(policy_uid: str, machine_id: str) -> str:
    """A PatchTarget's name: readable, and the same for the same policy object and machine."""
    machine = key(machine_id).rsplit("/", 1)[-1]
    readable = re.sub(r"[^a-z0-9]+", "-", machine).strip("-")[:_MACHINE_NAME_LENGTH].strip("-")
    digest = hashlib.sha256((policy_uid + key(machine_id)).encode()).hexdigest()[:10]
    return f"{readable or 'machine'}-{digest}"


_RUN_TIME = "%Y%m%d%H%M"


def run_name(policy: str, window: datetime) -> str:
    """A PatchRun's name: the policy's, and when the window that it was made for begins, in UTC. So
    there is one for each window, whoever makes it."""
    return f"{policy}-{window.astimezone(UTC).strftime(_RUN_TIME)}"


def window_of(run: str) -> datetime | None:
    """When the window begins that a run of this name was made for; None: a person named it."""
    policy, _, told = run.rpartition("-")
    try:
        window = datetime.strptime(told, _RUN_TIME).replace(tzinfo=UTC)
    except ValueError:
        return None
    # Digits that are no such time as they stand can still be read as one: 1 for 01.
    return window if run_name(policy, window) == run else None
