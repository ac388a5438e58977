"""The marketplace rules that ship say what their source says.

The source is a condition of a built-in policy. A flat copy of it lies beside this test, and what
reads it shares nothing with azpatch's matcher: no grouping by publisher, no index, no compiled
pattern. Both are asked about thousands of images made from the source's own literals and globs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from azpatch.api.common import OperationName, OsType, Support
from azpatch.domain.detection import assumed
from azpatch.domain.facts import ImageReference, Machine
from azpatch.domain.image import classify
from azpatch.domain.marketplace import judge, patched_automatically, rules
from azpatch.domain.matrix import REVISIONS, revision
from azpatch.domain.verdict import verdicts
from azpatch.domain.verdict_row import SupportEvidence

SOURCE: dict[str, Any] = json.loads(
    Path(__file__).with_name("azure_policy_conditions.json").read_text()
)
CONDITIONS: list[dict[str, Any]] = SOURCE["conditions"]

RULES, LIST = "2026-04", "2024-07"

Named = tuple[OsType, str, str, str]
"""Operating system, publisher, offer, SKU."""


def one_of(globs: list[str], value: str) -> bool:
    return any(fnmatchcase(value.lower(), glob) for glob in globs)


def by_the_source(image: Named) -> Support:
    """An image is allowed if a condition is met, denied if one is but for what it excepts."""
    os_type, publisher, offer, sku = image
    almost = False
    for condition in CONDITIONS:
        met = (
            condition["os"] == os_type
            and one_of(condition["publisher"], publisher)
            and one_of(condition.get("offer", ["*"]), offer)
            and one_of(condition.get("sku", ["*"]), sku)
        )
        excepted = one_of(condition.get("offerNot", []), offer) or one_of(
            condition.get("skuNot", []), sku
        )
        if met and not excepted:
            return Support.SUPPORTED
        almost = almost or met
    return Support.UNSUPPORTED if almost else Support.UNKNOWN


def as_shipped(image: Named) -> Support:
    os_type, publisher, offer, sku = image
    reference = ImageReference(publisher=publisher, offer=offer, sku=sku)
    return judge(RULES, reference, os_type).support


def hits(glob: str) -> Iterator[str]:
    """Values that are just about what the glob says."""
    for filling in ("", "-9_x.y") if "*" in glob else ("",):
        yield glob.replace("*", filling)


def misses(glob: str) -> Iterator[str]:
    """Values that are just about not."""
    plain = glob.replace("*", "9")
    yield from (plain[:-1], plain[1:], f"{plain}x", f"x{plain}", plain.replace("-", "_", 1))
    yield from (plain.replace("_", "-", 1), plain.replace(".", "x", 1), f"{plain} ", "")


def images() -> Iterator[Named]:
    """Each literal and glob of a condition, hit and nearly hit, beside those of its fellows."""
    for condition in CONDITIONS:
        (publisher,) = condition["publisher"]
        offers = [*condition.get("offer", ["any"]), *condition.get("offerNot", [])]
        skus = [*condition.get("sku", ["any"]), *condition.get("skuNot", [])]
        pairs = [(o, s) for offer in offers for sku in skus for o in hits(offer) for s in hits(sku)]
        pairs += [(o, s) for offer in offers for o in misses(offer) for s in hits(skus[0])]
        pairs += [(o, s) for sku in skus for s in misses(sku) for o in hits(offers[0])]
        for offer, sku in pairs:
            yield condition["os"], publisher, offer, sku
        excepts = "offerNot" in condition or "skuNot" in condition
        for pair in pairs if excepts else pairs[:1]:
            yield condition["os"], publisher.title(), *(name.upper() for name in pair)
        other = OsType.WINDOWS if condition["os"] == OsType.LINUX else OsType.LINUX
        yield other, publisher, *pairs[0]
        for almost in misses(publisher):
            yield condition["os"], almost, *pairs[0]


def test_the_rules_agree_with_their_source_on_thousands_of_images() -> None:
    tried = sorted({(OsType(os), *names) for os, *names in images()})
    meant = {image: by_the_source(image) for image in tried}

    assert {image: as_shipped(image) for image in tried} == meant
    # They say something only if there are many, of every kind.
    assert len(tried) > 5000
    for support in Support:
        assert list(meant.values()).count(support) > 20


Alternative = tuple[str, str, str, str, frozenset[str], frozenset[str]]
"""Operating system, publisher, a glob of the offer and one of the SKU, what is excepted of each."""


def alternatives(os_type: str, publisher: str, rule: dict[str, Any]) -> Iterator[Alternative]:
    for offer in rule.get("offer") or ["*"]:
        for sku in rule.get("sku") or ["*"]:
            excepted = (frozenset(rule.get(name) or ()) for name in ("offerNot", "skuNot"))
            yield (os_type, publisher.lower(), offer.lower(), sku.lower(), *excepted)


def test_no_rule_ships_that_the_source_does_not_have() -> None:
    """Images made from the source would not show a rule too many."""
    sourced = {
        one
        for condition in CONDITIONS
        for one in alternatives(condition["os"], condition["publisher"][0], condition)
    }
    shipped = {
        one
        for os_type, publishers in rules(RULES).rules.items()
        for publisher, listed in publishers.items()
        for rule in listed
        for one in alternatives(os_type, publisher, rule.model_dump(by_alias=True))
    }

    assert shipped - sourced == set()
    assert {one[:2] for one in shipped} == {one[:2] for one in sourced}


# --- what is known of single images ---------------------------------------------------------------

LINUX, WINDOWS = OsType.LINUX, OsType.WINDOWS
YES, NO, NO_RULE = Support.SUPPORTED, Support.UNSUPPORTED, Support.UNKNOWN


@pytest.mark.parametrize(
    ("image", "support"),
    [
        pytest.param(
            (WINDOWS, "MicrosoftWindowsServer", "WindowsServer", "2025-datacenter-g2"),
            YES,
            id="Windows Server 2025 is",
        ),
        pytest.param((LINUX, "Canonical", "any", "thing"), YES, id="Canonical is, whatever it is"),
        pytest.param((LINUX, "RedHat", "RHEL", "9_6"), YES, id="RHEL 9 is"),
        pytest.param((LINUX, "Debian", "debian-12", "12-gen2"), YES, id="Debian 12 is"),
        pytest.param((LINUX, "resf", "rockylinux-x86_64", "9-base"), YES, id="resf's Rocky is"),
        pytest.param((LINUX, "SUSE", "sles-15-sp6", "gen2"), YES, id="SLES 15 SP6 is"),
        pytest.param(
            (LINUX, "OpenLogic", "CentOS", "8_5"),
            YES,
            id="CentOS 8 is, by the rule that excepts centos-hpc only",
        ),
        pytest.param((LINUX, "RedHat", "RHEL", "10_0"), NO_RULE, id="RHEL 10 is not"),
        pytest.param(
            (LINUX, "MicrosoftCBLMariner", "azure-linux-3", "azure-linux-3-gen2"),
            NO_RULE,
            id="Azure Linux 3 is not",
        ),
        pytest.param(
            (WINDOWS, "MicrosoftWindowsDesktop", "windows-11", "win11-24h2-ent"),
            NO_RULE,
            id="Windows 11 is not",
        ),
        pytest.param(
            (LINUX, "kinvolk", "flatcar-container-linux-free", "stable"),
            NO_RULE,
            id="Flatcar is not",
        ),
        pytest.param((LINUX, "RedHat", "rhel-ha", "81_gen2"), NO, id="rhel-ha 81_gen2 is excepted"),
        pytest.param(
            (LINUX, "MicrosoftSQLServer", "sql2019-rhel7", "enterprise"),
            NO,
            id="SQL Server 2019 on RHEL 7 is excepted",
        ),
        pytest.param(
            (LINUX, "MicrosoftSQLServer", "sql2022-ubuntu", "standard"),
            YES,
            id="SQL Server on Linux is, whatever is not excepted",
        ),
        pytest.param(
            (WINDOWS, "MicrosoftSQLServer", "sql2019-rhel7", "enterprise"),
            NO_RULE,
            id="on Windows SQL Server's offers are named",
        ),
    ],
)
def test_what_is_allowed(image: Named, support: Support) -> None:
    assert as_shipped(image) is support
    assert by_the_source(image) is support


@pytest.mark.parametrize("name", REVISIONS)
def test_azure_linux_3_is_on_the_automatic_list_and_yet_not_allowed(name: str) -> None:
    """An image that no rule allows is not left to automatic guest patching."""
    reference = ImageReference(
        publisher="MicrosoftCBLMariner", offer="azure-linux-3", sku="azure-linux-3-gen2"
    )
    machine = Machine(id="", vm_id="", location="", os_type=LINUX, image=reference)
    evidence = SupportEvidence(
        machine, classify(machine, {}), revision(name), None, None, assumed(None)
    )

    assert patched_automatically(LIST, reference)
    assert {ruling.operation: ruling.support for ruling in verdicts(evidence)} == {
        OperationName.ON_DEMAND_ASSESSMENT: Support.SUPPORTED,
        OperationName.ON_DEMAND_PATCHING: Support.UNKNOWN,
        OperationName.PERIODIC_ASSESSMENT: Support.UNKNOWN,
        OperationName.SCHEDULED_PATCHING: Support.UNKNOWN,
        OperationName.AUTOMATIC_GUEST_PATCHING: Support.UNSUPPORTED,
    }
