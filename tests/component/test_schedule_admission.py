"""What a schedule and freezes may say, and in which words the API server refuses the rest."""

from __future__ import annotations

from typing import Any

import pytest
from crd_objects import changed, collection, policy, put, refusal, subscription

from azpatch.api.policy import WINDOW_SHORTER_THAN_INSTALL, PatchPolicy
from azpatch.api.schedule import (
    FREEZE_ENDS_FIRST,
    INTERVAL_NEEDS_START,
    MONTHLY_ONE_OF,
    NO_LOCAL_TIME,
    NO_SUCH_DAY,
    NO_TIME_OF_DAY,
    SCHEDULE_ONE_OF,
    WINDOW_ENDS_FIRST,
    WINDOW_ONE_OF,
)
from azpatch.api.subscription import AzureSubscription
from lab.controlplane import ControlPlane

WINDOW = {"name": "night", "daily": {}, "startTime": "22:00", "duration": "4h"}
FREEZE = {"name": "peak", "start": "2026-12-18T00:00:00", "end": "2027-01-04T00:00:00"}
MONTHLY = {field: value for field, value in WINDOW.items() if field != "daily"}


def windows(*declared: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A policy with these windows."""
    return changed(policy(), put("spec.schedule", {"windows": list(declared), **more}))


def without(field: str) -> dict[str, Any]:
    return {name: value for name, value in WINDOW.items() if name != field}


SCHEDULE_REFUSALS = [
    pytest.param({}, "spec.schedule: Invalid value: ", SCHEDULE_ONE_OF, id="nothing"),
    pytest.param(
        {"always": {}, "windows": [WINDOW]},
        "spec.schedule: Invalid value: ",
        SCHEDULE_ONE_OF,
        id="windows and always",
    ),
    pytest.param(
        {"windows": [without("daily")]},
        "spec.schedule.windows[0]: Invalid value: ",
        WINDOW_ONE_OF,
        id="no recurrence",
    ),
    pytest.param(
        {"windows": [{**WINDOW, "weekly": {"days": ["Monday"]}}]},
        "spec.schedule.windows[0]: Invalid value: ",
        WINDOW_ONE_OF,
        id="two recurrences",
    ),
    *(
        pytest.param(
            {"windows": [{**MONTHLY, "monthly": monthly}]},
            "spec.schedule.windows[0].monthly: Invalid value: ",
            MONTHLY_ONE_OF,
            id=id_,
        )
        for monthly, id_ in (
            ({}, "no day of the month"),
            ({"day": 3, "weekday": "Monday", "nth": "First"}, "two days of the month"),
            ({"weekday": "Monday"}, "a weekday, and not which"),
            ({"day": 3, "offsetDays": 1}, "an offset from a day of the month"),
        )
    ),
    pytest.param(
        {"windows": [{**WINDOW, "interval": 2}]},
        "spec.schedule.windows[0]: Invalid value: ",
        INTERVAL_NEEDS_START,
        id="an interval from nowhere",
    ),
    pytest.param(
        {"windows": [{**WINDOW, "startDate": "2026-12-02", "endDate": "2026-12-01"}]},
        "spec.schedule.windows[0]: Invalid value: ",
        WINDOW_ENDS_FIRST,
        id="an end before the start",
    ),
    pytest.param(
        {"windows": [{**WINDOW, "startTime": "10pm"}]},
        "spec.schedule.windows[0].startTime: Invalid value: ",
        NO_TIME_OF_DAY,
        id="a time of day in another form",
    ),
    pytest.param(
        {"windows": [{**WINDOW, "duration": "PT4H"}]},
        "spec.schedule.windows[0].duration: Invalid value: ",
        "duration is not a duration: give hours and minutes such as 4h or 3h30m",
        id="a duration in Azure's form",
    ),
    pytest.param(
        {"windows": [{**WINDOW, "duration": "169h"}]},
        "spec.schedule.windows[0].duration: Invalid value: ",
        "duration is zero, or longer than 168h: give the time for which installs may run, or "
        "schedule: {always: {}} for any time",
        id="a window that never closes",
    ),
    pytest.param(
        {"windows": [{**WINDOW, "duration": "1h59m"}]},
        "spec: Invalid value: ",
        WINDOW_SHORTER_THAN_INSTALL,
        id="a window shorter than an install",
    ),
]

SCHEMA_REFUSALS = [
    pytest.param(
        {"windows": []},
        "spec.schedule.windows: Invalid value: ",
        "should have at least 1 items",
        id="no window",
    ),
    pytest.param(
        {"windows": [{**WINDOW, "startDate": "2026-02-30"}]},
        "spec.schedule.windows[0].startDate: Invalid value: ",
        "2026-02-30",
        id="a day that does not exist",
    ),
    pytest.param(
        {"windows": [WINDOW, WINDOW]},
        "spec.schedule.windows[1]: Duplicate value: ",
        '"name":"night"',
        id="two windows of one name",
    ),
    pytest.param(
        {"windows": [WINDOW], "timeZone": "CET/CEST;"},
        "spec.schedule.timeZone: Invalid value: ",
        "CET/CEST;",
        id="what cannot be a time zone",
    ),
]
"""What the schema refuses by itself."""

FREEZE_REFUSALS = [
    pytest.param(
        {**FREEZE, "end": FREEZE["start"]}, "", FREEZE_ENDS_FIRST, id="one that ends as it starts"
    ),
    pytest.param(
        {**FREEZE, "start": "2026-12-18T00:00:00Z"},
        ".start",
        NO_LOCAL_TIME,
        id="an instant in place of a local time",
    ),
    pytest.param(
        {**FREEZE, "start": "2026-12-18"},
        ".start",
        NO_LOCAL_TIME,
        id="a day in place of a time",
    ),
    pytest.param(
        {**FREEZE, "start": "2026-02-30T00:00:00"}, ".start", NO_SUCH_DAY, id="no such day"
    ),
]


@pytest.mark.parametrize(("schedule", "field", "message"), [*SCHEDULE_REFUSALS, *SCHEMA_REFUSALS])
def test_a_wrong_schedule_is_refused_with_the_field_and_the_remedy(
    crds: ControlPlane, namespace: str, schedule: dict[str, Any], field: str, message: str
) -> None:
    body = changed(policy(), put("spec.schedule", schedule))

    said = refusal(crds, collection("patchpolicies", namespace), body)

    assert field in said
    assert message in said


@pytest.mark.parametrize(("freeze", "field", "message"), FREEZE_REFUSALS)
def test_a_wrong_freeze_is_refused_in_a_policy_and_in_a_subscription(
    crds: ControlPlane, namespace: str, freeze: dict[str, Any], field: str, message: str
) -> None:
    mine = windows(WINDOW, freezes=[freeze])
    theirs = changed(subscription(), put("spec.freezes", [freeze]))

    for path, body, where in (
        (collection("patchpolicies", namespace), mine, "spec.schedule.freezes[0]"),
        (collection("azuresubscriptions"), theirs, "spec.freezes[0]"),
    ):
        said = refusal(crds, path, body)
        assert f"{where}{field}: Invalid value: " in said
        assert message in said


@pytest.mark.parametrize(
    "schedule",
    [
        pytest.param({"windows": [WINDOW]}, id="daily"),
        pytest.param({"windows": [{**WINDOW, "duration": "2h"}]}, id="as long as an install"),
        pytest.param(
            {"windows": [{**MONTHLY, "monthly": {"nth": "Second", "weekday": "Tuesday"}}]},
            id="Patch Tuesday",
        ),
        pytest.param(
            {
                "timeZone": "America/Argentina/Buenos_Aires",
                "windows": [
                    {
                        **MONTHLY,
                        "monthly": {"nth": "Last", "weekday": "Sunday", "offsetDays": -30},
                        "interval": 3,
                        "startDate": "2026-01-01",
                        "endDate": "2030-12-31",
                    }
                ],
                "freezes": [{**FREEZE, "timeZone": "Etc/GMT+5", "reason": "retail peak"}],
            },
            id="everything",
        ),
        pytest.param({"always": {}, "freezes": [FREEZE]}, id="always, but for freezes"),
        pytest.param(
            {
                "windows": [
                    {
                        **MONTHLY,
                        "name": f"w{number}",
                        "weekly": {"days": ["Monday"]},
                        "duration": "3h55m",
                    }
                    for number in range(20)
                ],
                "freezes": [{**FREEZE, "name": f"f{number}"} for number in range(50)],
            },
            id="as many as there may be",
        ),
    ],
)
def test_a_schedule_may_say(crds: ControlPlane, namespace: str, schedule: dict[str, Any]) -> None:
    path = f"{collection('patchpolicies', namespace)}?dryRun=All&fieldValidation=Strict"

    made = crds.admin.create(path, changed(policy(), put("spec.schedule", schedule)))

    assert PatchPolicy.from_object(made).spec.schedule is not None


def test_a_subscription_may_freeze(crds: ControlPlane) -> None:
    path = f"{collection('azuresubscriptions')}?dryRun=All&fieldValidation=Strict"

    made = crds.admin.create(path, changed(subscription(), put("spec.freezes", [FREEZE])))

    (freeze,) = AzureSubscription.from_object(made).spec.freezes
    assert freeze.end.year == 2027
