"""The marketplace rules and the list of automatic guest patching.

A matcher as simple as can be, over the files as they are, says what the rules mean; the compiled
ones must agree with it on thousands of images.
"""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from importlib import resources
from typing import Any

import pytest
import yaml

from azpatch.api.common import OsType, Support
from azpatch.domain.facts import ImageReference
from azpatch.domain.marketplace import (
    automatic_images,
    judge,
    patched_automatically,
    rules,
)
from azpatch.domain.matrix import REVISIONS, revision

LINUX, WINDOWS = OsType.LINUX, OsType.WINDOWS
RULES, LIST = "2026-04", "2024-07"

Plan = tuple[str, str, str]


def image(plan: str | Plan) -> ImageReference:
    publisher, offer, sku = plan.split(":") if isinstance(plan, str) else plan
    return ImageReference(publisher=publisher, offer=offer, sku=sku)


# --- an independent reading of the file -----------------------------------------------------------


def in_the_file(name: str) -> Any:
    return yaml.safe_load(resources.files("azpatch.domain.data").joinpath(name).read_text())


PUBLISHERS: dict[str, dict[str, list[dict[str, list[str]]]]] = in_the_file(
    f"marketplace-{RULES}.yaml"
)["rules"]


def one_matches(globs: list[str], value: str) -> bool:
    return any(fnmatchcase(value.lower(), glob.lower()) for glob in globs)


def meant(os_type: OsType, plan: Plan) -> Support:
    """By the words at the top of the file: no index, no cache, no compiled pattern."""
    publisher, offer, sku = plan
    stopped = False
    for name, listed in PUBLISHERS[os_type].items():
        for rule in listed if name.lower() == publisher.lower() else []:
            if "offer" in rule and not one_matches(rule["offer"], offer):
                continue
            if "sku" in rule and not one_matches(rule["sku"], sku):
                continue
            if not one_matches(rule.get("offerNot", []), offer) and not one_matches(
                rule.get("skuNot", []), sku
            ):
                return Support.SUPPORTED
            stopped = True
    return Support.UNSUPPORTED if stopped else Support.UNKNOWN


def near(glob: str) -> Iterator[str]:
    """Values that a glob matches, and values that it only just does not."""
    yield glob.replace("*", "")
    yield glob.replace("*", "-1_x.")
    yield glob.replace("*", "").upper()
    yield f"{glob.replace('*', 'x')}-preview"
    yield f"x{glob.replace('*', 'x')}"
    yield glob.replace("*", "")[:-1]
    yield glob.replace("*", "").replace(".", "_", 1)


def plans() -> Iterator[tuple[OsType, Plan]]:
    """Images made from every literal and glob of the rules, each beside all of its publisher's."""
    for os_type in OsType:
        for publisher, listed in PUBLISHERS[os_type].items():
            for rule in listed:
                offers = [*rule.get("offer", []), *rule.get("offerNot", []), "anything"]
                skus = [*rule.get("sku", []), *rule.get("skuNot", []), "anything"]
                tried = [(o, s) for offer in offers for o in near(offer) for s in skus[:1]]
                tried += [(o, s) for o in offers[:1] for sku in skus for s in near(sku)]
                for offer, sku in tried:
                    yield os_type, (publisher, offer, sku.replace("*", ""))
                    yield os_type, (publisher.upper(), offer.upper(), sku.replace("*", "9"))
                yield os_type, (f"{publisher}x", offers[0], skus[0])


def test_the_rules_mean_what_the_file_says() -> None:
    tried = sorted(set(plans()))
    answers = {plan: judge(RULES, image(plan[1]), plan[0]) for plan in tried}

    assert {plan: answer.support for plan, answer in answers.items()} == {
        plan: meant(*plan) for plan in tried
    }
    # The images made up say something only if there are many, of every kind.
    assert len(tried) > 3000
    for support in Support:
        assert sum(answer.support is support for answer in answers.values()) > 40


# --- what is known of single images ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("os_type", "plan", "support"),
    [
        (WINDOWS, "MicrosoftWindowsServer:WindowsServer:2025-datacenter", Support.SUPPORTED),
        (LINUX, "Canonical:ubuntu-24_04-lts:server", Support.SUPPORTED),
        (LINUX, "canonical:whatever:comes", Support.SUPPORTED),
        (LINUX, "RedHat:RHEL:9_4", Support.SUPPORTED),
        (LINUX, "redhat:rhel:96-gen2", Support.SUPPORTED),
        (LINUX, "debian:debian-12:12-gen2", Support.SUPPORTED),
        (LINUX, "resf:rockylinux-x86_64:9-base", Support.SUPPORTED),
        (LINUX, "SUSE:sles-15-sp6:gen2", Support.SUPPORTED),
        (LINUX, "openlogic:centos:8_5", Support.SUPPORTED),
        (LINUX, "redhat:rhel-ha:8_6", Support.SUPPORTED),
        (LINUX, "RedHat:RHEL:10_0", Support.UNKNOWN),
        (LINUX, "MicrosoftCBLMariner:azure-linux-3:azure-linux-3-gen2", Support.UNKNOWN),
        (WINDOWS, "MicrosoftWindowsDesktop:windows-11:win11-24h2-pro", Support.UNKNOWN),
        (LINUX, "kinvolk:flatcar-container-linux-free:stable-gen2", Support.UNKNOWN),
        (LINUX, "redhat:rhel-ha:81_gen2", Support.UNSUPPORTED),
        (LINUX, "microsoftsqlserver:sql2019-rhel7:enterprise", Support.UNSUPPORTED),
        (LINUX, "microsoftsqlserver:sql2019-sles12sp5:standard", Support.UNSUPPORTED),
        (LINUX, "openlogic:centos-hpc:7.9", Support.UNSUPPORTED),
        (LINUX, "redhat:rhel:74-gen2", Support.UNSUPPORTED),
        (LINUX, "redhat:rhel-sap:7.7", Support.UNSUPPORTED),
    ],
    ids=str,
)
def test_spot_checks(os_type: OsType, plan: str, support: Support) -> None:
    assert judge(RULES, image(plan), os_type).support is support


@pytest.mark.parametrize(
    ("plan", "rule"),
    [
        ("RedHat:RHEL:9_4", "redhat:rhel:9*, except SKU 74-gen2"),
        ("redhat:rhel-ha:81_gen2", "redhat:rhel-ha:8*, except SKU 81_gen2"),
        ("openlogic:centos-hpc:7.9", "openlogic:*:*, except offer centos-hpc"),
        ("openlogic:centos-lvm:8-lvm", "openlogic:centos-lvm:8-lvm"),
        ("redhat:rhel:10_0", None),
    ],
)
def test_the_rule_that_decided_is_named(plan: str, rule: str | None) -> None:
    assert judge(RULES, image(plan), LINUX).rule == rule


def test_a_rule_is_about_its_operating_system_and_about_any_where_that_is_not_known() -> None:
    ubuntu = image("canonical:ubuntu:server")

    assert judge(RULES, ubuntu, WINDOWS).support is Support.UNKNOWN
    assert judge(RULES, ubuntu, None).support is Support.SUPPORTED


def test_a_name_is_a_name_and_no_pattern() -> None:
    """`.` and `[` mean themselves, in rules and in images."""
    assert judge(RULES, image("oracle:oracle-database-21:18.9"), LINUX).support is Support.SUPPORTED
    assert judge(RULES, image("oracle:oracle-database-21:1889"), LINUX).support is Support.UNKNOWN
    assert judge(RULES, image("credativ:debian:[89]"), LINUX).support is Support.UNKNOWN


@pytest.mark.parametrize(
    ("plan", "listed"),
    [
        ("Canonical:UbuntuServer:18.04-LTS", True),
        ("canonical:ubuntuserver:18.04-lts", True),
        ("MicrosoftCblMariner:azure-linux-3:azure-linux-3-gen2", True),
        ("MicrosoftWindowsServer:WindowsServer:2022-datacenter-azure-edition-hotpatch", True),
        ("redhat:rhel:8_10", True),
        ("redhat:rhel:9_5", False),
        ("canonical:ubuntu-24_10:server", False),
        ("canonical:ubuntuserver:18.04-lts-x", False),
    ],
)
def test_automatic_guest_patching_serves_an_exact_list(plan: str, listed: bool) -> None:
    assert patched_automatically(LIST, image(plan)) is listed


def test_the_list_has_as_many_images_as_its_page() -> None:
    images = automatic_images(LIST).images

    assert sum(len(skus) for offers in images.values() for skus in offers.values()) == 155


@pytest.mark.parametrize("name", REVISIONS)
def test_a_revision_goes_with_rules_and_a_list_named_after_their_sources(name: str) -> None:
    matrix = revision(name)

    for data in (
        rules(matrix.marketplace_rules),
        automatic_images(matrix.automatic_guest_patching),
    ):
        assert data.source.date.strftime("%Y-%m") == data.revision


def test_rules_that_do_not_ship_are_a_key_error() -> None:
    with pytest.raises(KeyError):
        judge("1999-01", image("a:b:c"), None)
    with pytest.raises(KeyError):
        patched_automatically("1999-01", image("a:b:c"))
