"""Every secret that a simulated Azure has given out, been shown or knows.

A test that searches logs, statuses and metrics for secrets needs to know what to search for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from azsim.cloud import Cloud


def issued(cloud: Cloud) -> dict[str, list[str]]:
    """All of them by kind, each in the order of its first use.

    tokens: what the token endpoints gave. signatures: the `s` of operation URLs, as in the URL when
    decoded. clientSecrets: those of the fleet file. assertions: federated ones that clients showed.
    """
    return {
        "tokens": list(cloud.signin.tokens),
        "signatures": list(cloud.operations.signatures),
        "clientSecrets": [each.secret for each in cloud.fleet.principals if each.secret],
        "assertions": list(cloud.signin.assertions),
    }
