"""Names of PatchTargets: sanitised machine name (40) and 10 digits of hash; and of PatchRuns."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

import pytest
from domain_builders import GROUP, VM
from hypothesis import given
from hypothesis import strategies as st

from azpatch.api.policy import NAME_LENGTH
from azpatch.domain.naming import run_name, target_name, window_of

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


WINDOW = datetime(2026, 12, 11, 21, 0, tzinfo=UTC)


def test_a_run_is_called_like_its_policy_and_its_window() -> None:
    berlin = WINDOW.astimezone(timezone(timedelta(hours=1)))

    assert run_name("web-linux", WINDOW) == "web-linux-202612112100"
    assert run_name("web-linux", berlin) == "web-linux-202612112100", "in UTC"


@given(
    st.text("ab1-", max_size=NAME_LENGTH),
    st.datetimes(WINDOW.replace(year=1000, tzinfo=None), timezones=st.just(UTC)),
)
def test_a_runs_name_fits_and_tells_the_window(policy: str, window: datetime) -> None:
    name = run_name(policy, window)

    assert len(name) <= 63
    assert window_of(name) == window.replace(second=0, microsecond=0)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("web-linux-tonight", id="words"),
        pytest.param("web-linux", id="no window"),
        pytest.param("web-20261211", id="a date only"),
        pytest.param("web-2026121121", id="no minutes"),
        pytest.param("web-202613112100", id="a month that there is not"),
        pytest.param("web-2026121121000", id="a digit too many"),
        pytest.param("web-", id="nothing"),
    ],
)
def test_a_name_that_a_person_gave_tells_none(name: str) -> None:
    assert window_of(name) is None
