"""Names of PatchTargets: sanitised machine name (40) and 10 digits of hash."""

from __future__ import annotations

import re

import pytest
from domain_builders import GROUP, VM
from hypothesis import given
from hypothesis import strategies as st

from azpatch.domain.naming import target_name

VMS = f"{GROUP}/providers/Microsoft.Compute/virtualMachines"


@pytest.mark.parametrize(
    ("machine", "readable"),
    [
        pytest.param("web-1", "web-1", id="as it is"),
        pytest.param("WEB_01.prod", "web-01-prod", id="what a name may not have is a dash"),
        pytest.param("-web-", "web", id="no dash at its ends"),
        pytest.param("a" * 64, "a" * 40, id="40 characters of a long one"),
        pytest.param("a" * 39 + "_b", "a" * 39, id="no dash where it is cut"),
        pytest.param("___", "machine", id="nothing readable"),
    ],
)
def test_a_name_begins_with_the_machines(machine: str, readable: str) -> None:
    assert re.fullmatch(rf"{readable}-[0-9a-f]{{10}}", target_name("uid", f"{VMS}/{machine}"))


def test_a_name_is_the_same_for_the_same_policy_object_and_machine() -> None:
    assert target_name("uid", VM) == target_name("uid", VM.upper() + "/")
    assert target_name("uid", VM) != target_name("other", VM), "a policy made anew"
    assert target_name("uid", VM) != target_name("uid", VM.replace("/rg/", "/rg2/"))


@given(st.text(min_size=1).map(lambda text: text.replace("/", "")))
def test_any_name_is_a_kubernetes_name_that_fits_a_label(machine: str) -> None:
    name = target_name("uid", f"{VMS}/{machine}")
    assert re.fullmatch("[a-z0-9]([-a-z0-9]*[a-z0-9])?", name)
    assert len(name) <= 63
