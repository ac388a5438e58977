"""Whether a preview feature is registered once, judged on azsim's journal."""

from __future__ import annotations

import re
from collections.abc import Collection

from judging.azure_journal import Event, Journal, Request

REGISTER = re.compile(
    r"(?P<subscription>/subscriptions/[^/]+)/providers/Microsoft\.Features/providers"
    r"/(?P<feature>[^/]+/features/[^/]+)/register",
    re.I,
)
CHANGED = "FeatureStateChanged"
LOST = frozenset({"Unregistering", "Unregistered", "NotRegistered"})
"""States of a feature that was registered, or on its way, and is no more."""


def feature_of(request: Request) -> str | None:
    """The key of the feature that a request registers; None: it is another request."""
    found = REGISTER.fullmatch(request.path)
    if request.method != "POST" or found is None:
        return None
    return f"{found['subscription']}/{found['feature']}".replace("/features/", "/").lower()


def registered_once(journal: Journal, ours: Collection[str]) -> list[str]:
    """Each of our registrations that Azure took is the first of its feature, or the feature was
    lost since the one before."""
    taken: dict[str, Request] = {}
    broken = []
    for entry in journal.entries:
        if isinstance(entry, Event):
            if entry.name == CHANGED and entry.details["after"] in LOST:
                taken.pop(f"{entry.resource}/{entry.details['feature']}".lower(), None)
            continue
        feature = feature_of(entry)
        if feature is None or entry.principal not in ours or entry.status != 200:
            continue
        if feature in taken:
            broken.append(f"{entry} registers what {taken[feature]} did")
        taken[feature] = entry
    return broken
