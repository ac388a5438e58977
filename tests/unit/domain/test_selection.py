"""What a policy selects of what a machine misses, and how it asks for it."""

from __future__ import annotations

import fnmatch
from datetime import datetime, timedelta
from typing import Any

import pytest
from domain_builders import DAY, NOW
from hypothesis import given
from hypothesis import strategies as st

from azpatch.api.common import OsType
from azpatch.api.install import (
    Install,
    LinuxClassification,
    LinuxSelection,
    RebootSetting,
    WindowsClassification,
    WindowsSelection,
)
from azpatch.domain.facts import MissingPatch
from azpatch.domain.selection import (
    Selection,
    install_parameters,
    mask_matches,
    select,
)


def package(name: str, classification: str = "Other", version: str = "1.0") -> MissingPatch:
    return MissingPatch(name, version, None, (classification,), None, None)


def update(
    kb: str,
    classification: str = "Updates",
    reboot: str | None = "NeverReboots",
    published: datetime | None = NOW - 30 * DAY,
) -> MissingPatch:
    return MissingPatch(f"Update {kb}", None, kb, (classification,), reboot, published)


def linux(**fields: Any) -> Install:
    return Install(linux=LinuxSelection(**fields))


def windows(**fields: Any) -> Install:
    return Install(windows=WindowsSelection(**fields))


def chosen(install: Install, *missing: MissingPatch) -> set[str]:
    os_type = OsType.LINUX if install.linux else OsType.WINDOWS
    selection = select(missing, install, os_type)
    assert selection is not None
    return {patch.kb or patch.name for patch in selection.patches}


SECURITY = {"classifications_to_include": (LinuxClassification.SECURITY,)}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        pytest.param(
            SECURITY, {"openssl", "linux-image-6.8"}, id="a classification that is listed"
        ),
        pytest.param(
            {**SECURITY, "package_name_masks_to_include": ("curl",)},
            {"openssl", "linux-image-6.8", "curl"},
            id="OR an include that matches",
        ),
        pytest.param(
            {**SECURITY, "package_name_masks_to_exclude": ("linux-image*",)},
            {"openssl"},
            id="AND no exclude that matches",
        ),
        pytest.param(
            {
                **SECURITY,
                "package_name_masks_to_include": ("linux-image*",),
                "package_name_masks_to_exclude": ("linux-image*",),
            },
            {"openssl"},
            id="an exclude goes before an include",
        ),
        pytest.param(
            {"classifications_to_include": (), "package_name_masks_to_include": ("curl=2*",)},
            set(),
            id="another version than the include's",
        ),
        pytest.param(
            {**SECURITY, "package_name_masks_to_exclude": ("openssl=1.0",)},
            {"linux-image-6.8"},
            id="the version that an exclude names",
        ),
    ],
)
def test_linux_packages_are_selected_by_classification_and_name(
    fields: dict[str, Any], expected: set[str]
) -> None:
    missing = (
        package("openssl", "security"),
        package("linux-image-6.8", "Security"),
        package("curl"),
    )

    assert chosen(linux(**fields), *missing) == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        pytest.param({}, {"5030211"}, id="critical and security, as Azure's portal has it"),
        pytest.param(
            {"classifications_to_include": (WindowsClassification.UPDATE_ROLL_UP,)},
            {"5030300"},
            id="UpdateRollUp, which Azure also spells UpdateRollup",
        ),
        pytest.param(
            {"kb_numbers_to_include": ("5030400",)}, {"5030211", "5030400"}, id="a KB included"
        ),
        pytest.param({"kb_numbers_to_exclude": ("5030211",)}, set(), id="a KB excluded"),
    ],
)
def test_windows_updates_are_selected_by_classification_and_kb(
    fields: dict[str, Any], expected: set[str]
) -> None:
    missing = (
        update("5030211", "Security"),
        update("5030300", "UpdateRollup"),
        update("5030400", "Definition"),
    )

    assert chosen(windows(**fields), *missing) == expected


@pytest.mark.parametrize("spelt", ["5030211", "KB5030211", "kb5030211", "KB 5030211"])
def test_a_kb_is_the_same_with_and_without_the_letters(spelt: str) -> None:
    selection = WindowsSelection().replace(classifications_to_include=())
    fields = {**dict(selection), "kb_numbers_to_include": (spelt,)}
    install = Install(windows=type(selection).model_construct(**fields))

    assert chosen(install, update("5030211"), update("5030212")) == {"5030211"}
    assert chosen(install, update("KB5030211")) == {"KB5030211"}


@pytest.mark.parametrize(
    ("reboot", "selected"),
    [
        ("NeverReboots", True),
        ("AlwaysRequiresReboot", False),
        ("CanRequestReboot", False),
        (None, False),
    ],
)
def test_exclude_kbs_requiring_reboot_leaves_what_is_sure_not_to_reboot(
    reboot: str | None, selected: bool
) -> None:
    install = windows(exclude_kbs_requiring_reboot=True, kb_numbers_to_include=("5030211",))

    assert bool(chosen(install, update("5030211", "Security", reboot))) is selected


@pytest.mark.parametrize(
    ("published", "selected"),
    [(NOW - DAY, True), (NOW, True), (NOW + timedelta(seconds=1), False), (None, False)],
)
def test_max_patch_publish_date_leaves_what_was_published_until_then(
    published: datetime | None, selected: bool
) -> None:
    install = windows(max_patch_publish_date=NOW)

    assert bool(chosen(install, update("5030211", "Security", published=published))) is selected


@pytest.mark.parametrize(
    ("install", "os_type"), [(linux(), OsType.WINDOWS), (windows(), OsType.LINUX)]
)
def test_an_operating_system_without_a_section_is_skipped(
    install: Install, os_type: OsType
) -> None:
    assert select([package("curl", "Security")], install, os_type) is None
    assert install_parameters(install, os_type) is None


def test_what_needs_ubuntu_pro_is_counted_apart() -> None:
    selection = select(
        [
            package("openssl", "Security"),
            package("esm", "Security", "UA_ESM_Required"),
            package("other-esm", "Other", "UA_ESM_Required"),
        ],
        linux(),
        OsType.LINUX,
    )

    assert selection is not None
    assert [patch.name for patch in selection.patches] == ["openssl"]
    assert [patch.name for patch in selection.ubuntu_pro] == ["esm"]


def test_the_selection_is_counted() -> None:
    selection = Selection(
        (package("a", "Critical"), package("b", "security"), package("c", "Other")), ()
    )

    assert (selection.selected, selection.critical_and_security, selection.other) == (3, 2, 1)


@pytest.mark.parametrize(
    ("mask", "name", "version", "matches"),
    [
        ("curl", "curl", "1", True),
        ("curl", "curl-dev", "1", False),
        ("curl*", "curl-dev", None, True),
        ("*", "anything", None, True),
        ("lib*ssl*", "libopenssl3", "3", True),
        ("curl=7.81*", "curl", "7.81.0-1ubuntu1.19", True),
        ("curl=7.81*", "curl", "8.0", False),
        ("curl=7.81*", "curl", None, False),
        ("curl = 7.81*", "curl", "7.81.1", True),
        ("curl=1:2=3", "curl", "1:2=3", True),
        ("g++", "g++", "1", True),
        ("a.c", "abc", "1", False),
        ("curl?", "curlx", "1", False),
        ("NetworkManager", "networkmanager", "1", False),
        ("kernel", "kernel.x86_64", "5", True),
        ("kernel.x86_64", "kernel.x86_64", "5", True),
    ],
)
def test_a_mask_is_a_name_or_name_and_version(
    mask: str, name: str, version: str | None, matches: bool
) -> None:
    assert mask_matches(mask, name, version) is matches


LETTERS = st.text(alphabet="ab.+-*", max_size=8)


@given(mask=LETTERS, name=st.text(alphabet="ab.+-", max_size=8))
def test_masks_mean_what_shells_mean_by_a_star(mask: str, name: str) -> None:
    assert mask_matches(mask, name, None) is fnmatch.fnmatchcase(name, mask)


@given(name=st.text(alphabet="ab.+-", max_size=8), version=st.text(alphabet="01.:~", max_size=8))
def test_a_package_is_matched_by_its_own_name_and_version(name: str, version: str) -> None:
    assert mask_matches(f"{name}={version}", name, version)


PATCHES = st.builds(
    package,
    st.text(alphabet="abc", min_size=1, max_size=3),
    st.sampled_from(LinuxClassification),
    st.sampled_from(["1", "2"]),
)


@given(patches=st.lists(PATCHES, max_size=6), order=st.randoms())
def test_the_hash_depends_on_the_set_alone(patches: list[MissingPatch], order: Any) -> None:
    shuffled = [*patches, *patches[:1]]
    order.shuffle(shuffled)

    assert Selection(tuple(patches), ()).hash == Selection(tuple(shuffled), ()).hash


@given(patches=st.lists(PATCHES, max_size=6))
def test_another_set_has_another_hash(patches: list[MissingPatch]) -> None:
    more = (*patches, package("another"))

    assert Selection(tuple(patches), ()).hash != Selection(more, ()).hash


def test_linux_parameters_are_as_the_guest_reads_them() -> None:
    install = Install(
        linux=LinuxSelection(package_name_masks_to_exclude=("linux-image*",)),
        reboot_setting=RebootSetting.NEVER,
        maximum_duration=timedelta(hours=1, minutes=30),
    )

    assert install_parameters(install, OsType.LINUX) == {
        "maximumDuration": "PT1H30M",
        "rebootSetting": "Never",
        "linuxParameters": {
            "classificationsToInclude": ["Critical", "Security"],
            "packageNameMasksToExclude": ["linux-image*"],
        },
    }


def test_windows_parameters_are_as_azure_reads_them() -> None:
    install = Install(
        windows=WindowsSelection(
            kb_numbers_to_include=("5030211",),
            kb_numbers_to_exclude=("5030212",),
            exclude_kbs_requiring_reboot=True,
            max_patch_publish_date=NOW,
        )
    )

    assert install_parameters(install, OsType.WINDOWS) == {
        "maximumDuration": "PT2H",
        "rebootSetting": "IfRequired",
        "windowsParameters": {
            "classificationsToInclude": ["Critical", "Security"],
            "kbNumbersToInclude": ["5030211"],
            "kbNumbersToExclude": ["5030212"],
            "excludeKbsRequiringReboot": True,
            "maxPatchPublishDate": "2026-11-23T12:00:00Z",
        },
    }
