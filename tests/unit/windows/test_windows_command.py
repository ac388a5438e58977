"""`azpatch windows`: what it prints, and what it says to what is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from azpatch.windows.command import windows

SUBSCRIPTION = "11111111-1111-1111-1111-111111111111"
GROUP = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg/providers/Microsoft.Compute"
MACHINE = {"virtualMachine": {"id": f"{GROUP}/virtualMachines/web-1"}}
IMAGE = {"galleryImage": {"id": f"{GROUP}/galleries/g/images/web"}}
SUNDAYS = {
    "name": "sundays",
    "weekly": {"days": ["Sunday"]},
    "startTime": "02:30",
    "duration": "3h",
}
PEAK = {"name": "peak", "start": "2026-03-22T04:00:00", "end": "2026-03-23T00:00:00"}


def policy(name: str = "web-linux", **spec: Any) -> dict[str, Any]:
    """Sundays at half past two in Berlin."""
    declared = {
        "target": MACHINE,
        "install": {"linux": {}},
        "schedule": {"timeZone": "Europe/Berlin", "windows": [SUNDAYS]},
        **spec,
    }
    return {
        "apiVersion": "azpatch.dev/v1alpha1",
        "kind": "PatchPolicy",
        "metadata": {"name": name, "namespace": "web"},
        "spec": {field: value for field, value in declared.items() if value is not None},
    }


def scheduled(**schedule: Any) -> dict[str, Any]:
    return policy(schedule={"timeZone": "Europe/Berlin", "windows": [SUNDAYS], **schedule})


def frozen(subscription: str = SUBSCRIPTION, **freeze: Any) -> dict[str, Any]:
    """An AzureSubscription with a freeze on Sunday the 22nd."""
    return {
        "apiVersion": "azpatch.dev/v1alpha1",
        "kind": "AzureSubscription",
        "metadata": {"name": "prod"},
        "spec": {
            "subscriptionId": subscription,
            "tenantId": SUBSCRIPTION,
            "supportMatrix": "2023-05",
            "freezes": [{**PEAK, "start": "2026-03-22T00:00:00", **freeze}],
        },
    }


def selecting(name: str) -> dict[str, Any]:
    return {"selector": {"azureSubscriptions": [name]}}


def asked(*documents: object, args: str = "--from 2026-03-20") -> Result:
    text = documents[0] if isinstance(documents[0], str) else yaml.safe_dump_all(documents)
    return CliRunner().invoke(windows, ["-f", "-", *args.split()], input=text)


def answers(*documents: object, args: str = "--from 2026-03-20 --count 2") -> list[dict[str, Any]]:
    found = asked(*documents, args=f"{args} -o json")
    assert found.exit_code == 0, found.output
    listed: list[dict[str, Any]] = json.loads(found.stdout)
    return listed


def refused(*documents: object, args: str = "--from 2026-03-20") -> str:
    found = asked(*documents, args=args)
    assert found.exit_code == 2, found.output
    assert found.stdout == ""
    (line,) = found.stderr.splitlines()
    return line.removeprefix("Error: ")


def test_the_next_windows_as_json() -> None:
    assert answers(policy()) == [
        {
            "window": "sundays",
            "start": "2026-03-22T02:30:00+01:00",
            "end": "2026-03-22T05:30:00+01:00",
            "startUtc": "2026-03-22T01:30:00Z",
            "endUtc": "2026-03-22T04:30:00Z",
            "frozen": False,
        },
        {
            "window": "sundays",
            "start": "2026-03-29T03:00:00+02:00",
            "end": "2026-03-29T06:00:00+02:00",
            "startUtc": "2026-03-29T01:00:00Z",
            "endUtc": "2026-03-29T04:00:00Z",
            "frozen": False,
        },
    ]


def test_the_next_windows_as_a_table() -> None:
    found = asked(policy(), args="--from 2026-03-20 --count 2")

    assert found.stdout.splitlines() == [
        "WINDOW   OPENS (Europe/Berlin)       CLOSES (Europe/Berlin)      "
        "OPENS (UTC)       CLOSES (UTC)",
        "sundays  Sun 2026-03-22 02:30 +0100  Sun 2026-03-22 05:30 +0100  "
        "2026-03-22 01:30  2026-03-22 04:30",
        "sundays  Sun 2026-03-29 03:00 +0200  Sun 2026-03-29 06:00 +0200  "
        "2026-03-29 01:00  2026-03-29 04:00",
    ]
    assert found.stderr == ""


def test_in_utc_every_time_is_printed_once() -> None:
    found = asked(policy(schedule={"windows": [SUNDAYS]}), args="--from 2026-03-20 --count 1")

    assert found.stdout.splitlines() == [
        "WINDOW   OPENS (UTC)           CLOSES (UTC)",
        "sundays  Sun 2026-03-22 02:30  Sun 2026-03-22 05:30",
    ]


@pytest.mark.parametrize(
    ("documents", "expected"),
    [
        pytest.param([scheduled(freezes=[PEAK])], [True, False], id="an hour and a half is left"),
        pytest.param(
            [scheduled(freezes=[{**PEAK, "start": "2026-03-22T04:30:00"}])],
            [False, False],
            id="two hours are left, enough for an install",
        ),
        pytest.param([policy(), frozen()], [True, False], id="the subscription's"),
        pytest.param(
            [policy(), frozen("22222222-2222-2222-2222-222222222222")],
            [False, False],
            id="another subscription's",
        ),
        pytest.param(
            [policy(target=IMAGE), frozen("22222222-2222-2222-2222-222222222222")],
            [True, False],
            id="another subscription's, of an image that may be there",
        ),
        pytest.param(
            [policy(target=selecting("prod")), frozen()], [True, False], id="one that it selects"
        ),
        pytest.param(
            [policy(target=selecting("test")), frozen()],
            [False, False],
            id="one that it does not select",
        ),
        pytest.param(
            [scheduled(freezes=[{**PEAK, "timeZone": "America/New_York"}])],
            [False, False],
            id="in the freeze's own zone it is later",
        ),
    ],
)
def test_windows_that_a_freeze_swallows_are_marked(
    documents: list[dict[str, Any]], expected: list[bool]
) -> None:
    assert [one["frozen"] for one in answers(*documents)] == expected


def test_the_table_says_which_freeze_and_what_it_leaves() -> None:
    peak = {**PEAK, "start": "2026-03-22T04:30:00"}
    gone = {"name": "gone", "start": "2026-03-29T00:00:00", "end": "2026-03-30T00:00:00"}
    found = asked(
        scheduled(freezes=[{**peak, "reason": "retail"}, gone]), args="--from 2026-03-20 --count 2"
    )

    first, second = found.stdout.splitlines()[1:]
    assert first.endswith("  open Sun 02:30 to Sun 04:30: peak (retail)")
    assert second.endswith("  frozen: gone")


@pytest.mark.parametrize(
    ("since", "first"),
    [
        pytest.param("2026-03-22T05:29", "2026-03-22", id="one that is open at that time"),
        pytest.param("2026-03-22T05:30", "2026-03-29", id="not one that just closed"),
        pytest.param("2026-03-22T05:29:00+00:00", "2026-03-29", id="with an offset"),
        pytest.param("2026-03-22", "2026-03-22", id="a day"),
    ],
)
def test_from_is_in_the_schedules_zone_unless_it_has_an_offset(since: str, first: str) -> None:
    (found,) = answers(policy(), args=f"--from {since} --count 1")

    assert found["start"].startswith(first)


def test_without_from_it_is_from_now_on() -> None:
    assert len(answers(policy(), args="")) == 10


def test_files_have_several_objects(tmp_path: Path) -> None:
    one, other = tmp_path / "policies.yaml", tmp_path / "prod.yaml"
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "web"}}
    list_ = {"apiVersion": "v1", "kind": "List", "items": [policy(), policy("other")]}
    one.write_text(yaml.safe_dump_all([namespace, None, list_]))
    other.write_text(yaml.safe_dump(frozen()))

    found = CliRunner().invoke(
        windows,
        ["-f", str(one), "-f", str(other), "other", "--from", "2026-03-20", "-o", "json"],
    )

    assert found.exit_code == 0, found.output
    assert json.loads(found.stdout)[0]["frozen"] is True


def test_times_and_days_without_quotes_are_read_as_kubectl_reads_them() -> None:
    text = yaml.safe_dump(scheduled(freezes=[PEAK])).replace("'", "")
    assert "startTime: 02:30\n" in text
    assert "start: 2026-03-22T04:00:00\n" in text

    assert [one["frozen"] for one in answers(text)] == [True, False]


def test_of_two_policies_of_one_name_the_namespace_tells_which() -> None:
    other = policy(schedule={"always": {}})
    other["metadata"]["namespace"] = "bank"

    assert "Name one: web/web-linux, bank/web-linux." in refused(
        policy(), other, args="web-linux --from 2026-03-20"
    )
    assert answers(policy(), other, args="bank/web-linux") == []


def test_a_freeze_for_ever_is_shown() -> None:
    forever = {**PEAK, "end": "9999-12-31T00:00:00", "timeZone": "America/New_York"}

    found = asked(scheduled(freezes=[forever]), args="--from 2026-03-20 --count 1")

    assert (found.exit_code, found.exception) == (0, None)


def test_a_schedule_that_is_always_open_has_no_windows() -> None:
    found = asked(policy(schedule={"always": {}}))

    assert (found.exit_code, found.stdout) == (0, "")
    assert found.stderr == (
        "Note: PatchPolicy web-linux installs at any time (schedule.always): it has no windows.\n"
    )
    assert answers(policy(schedule={"always": {}})) == []


def test_windows_in_which_nothing_can_start_are_noted() -> None:
    short = asked(scheduled(windows=[{**SUNDAYS, "duration": "2h"}]))
    ended = asked(scheduled(windows=[{**SUNDAYS, "endDate": "2026-01-01"}]))

    assert short.stderr.startswith(
        "Note: No window is long enough: install.maximumDuration is PT2H"
    )
    assert ended.stderr.startswith("Note: The schedule has no window within five years")
    assert (ended.exit_code, ended.stdout) == (0, "")


WRONG = [
    pytest.param([""], "There is no PatchPolicy in the files.", id="nothing"),
    pytest.param(["a: ["], "-f from stdin is not YAML: ", id="no YAML"),
    pytest.param(
        ["[1]"], "-f from stdin holds something that is no Kubernetes object", id="a list"
    ),
    pytest.param(
        [policy(install=None, schedule=None)],
        "PatchPolicy web-linux does not install: it has no windows.",
        id="one that assesses only",
    ),
    pytest.param(
        [policy(), policy("other")],
        "There are several PatchPolicies in the files: web-linux, other. Name one.",
        id="two",
    ),
    pytest.param(
        [scheduled(timeZone="Europe/Belin")],
        "PatchPolicy web-linux, spec.schedule: timeZone Europe/Belin is not in the IANA",
        id="a time zone that nobody knows",
    ),
    pytest.param(
        [policy(), frozen(timeZone="Europe/Belin")],
        "AzureSubscription prod, spec.freezes: timeZone Europe/Belin is not in the IANA",
        id="a freeze's time zone",
    ),
    pytest.param(
        [scheduled(windows=[{**SUNDAYS, "intervall": 2}])],
        "spec.schedule.windows[0].intervall: no such field.",
        id="a field that does not exist",
    ),
    pytest.param(
        [scheduled(windows=[{**SUNDAYS, "daily": {}}])],
        "spec.schedule.windows[0]: a window recurs in one way",
        id="two recurrences",
    ),
    pytest.param(
        [scheduled(windows=[{**SUNDAYS, "interval": 2}])],
        "spec.schedule.windows[0]: interval counts from startDate",
        id="an interval from nowhere",
    ),
    pytest.param(
        [scheduled(windows=[{**SUNDAYS, "startDate": "2026-03-02", "endDate": "2026-03-01"}])],
        "spec.schedule.windows[0]: endDate is before startDate",
        id="an end before the start",
    ),
    pytest.param(
        [scheduled(windows=[{**SUNDAYS, "weekly": None, "monthly": {"weekday": "Monday"}}])],
        "spec.schedule.windows[0].monthly: monthly takes a day of the month, or a weekday",
        id="a weekday, and not which",
    ),
    pytest.param(
        [scheduled(windows=[{**SUNDAYS, "startTime": "2:30"}])],
        "spec.schedule.windows[0].startTime: startTime is no time of day",
        id="a time of day in another form",
    ),
    pytest.param(
        [scheduled(windows=[{**SUNDAYS, "duration": "PT3H"}])],
        "spec.schedule.windows[0].duration: 'PT3H' is not a duration",
        id="a duration in Azure's form",
    ),
    pytest.param(
        [scheduled(windows=[{**SUNDAYS, "weekly": None, "monthly": {"day": "15"}}])],
        "spec.schedule.windows[0].monthly.day: input should be a valid integer",
        id="a number in quotes",
    ),
    pytest.param(
        [scheduled(windows=[{**SUNDAYS, "startDate": "1798070400"}])],
        "spec.schedule.windows[0].startDate: ",
        id="a day as seconds",
    ),
    pytest.param(
        [scheduled(windows=[{**SUNDAYS, "startDate": "2026-03-01T00:00:00"}])],
        "spec.schedule.windows[0].startDate: ",
        id="an instant as a day",
    ),
    pytest.param(
        [scheduled(windows=[{**SUNDAYS, "start_time": "02:30"}])],
        "spec.schedule.windows[0].start_time: no such field",
        id="a field's name in another style",
    ),
    pytest.param(
        [scheduled(windows=[SUNDAYS, SUNDAYS])],
        "spec.schedule.windows: two are called sundays",
        id="two windows of one name",
    ),
    pytest.param(
        [scheduled(windows=[{**SUNDAYS, "duration": "1h"}])],
        "spec: a window is shorter than install.maximumDuration",
        id="a window shorter than an install",
    ),
    pytest.param(
        [policy(target={**MACHINE, **IMAGE})],
        "spec.target: exactly one of virtualMachine, arcMachine, galleryImage and selector",
        id="two targets",
    ),
    pytest.param(
        [policy(install={"linux": {}, "maximumDuration": "PT0M"})],
        "spec.install.maximumDuration: ",
        id="an install of no time",
    ),
    pytest.param([{**policy(), "spec": "x"}], "spec: is required, an object.", id="no spec"),
    pytest.param(
        [{"apiVersion": "v1", "kind": "List", "items": [{"apiVersion": "azpatch.dev/v1alpha1"}]}],
        "There is no PatchPolicy in the files.",
        id="an object without a kind",
    ),
    pytest.param(
        [scheduled(always={})], "spec.schedule: a schedule is windows or always", id="both"
    ),
    pytest.param(
        [scheduled(freezes=[{**PEAK, "end": PEAK["start"]}])],
        "spec.schedule.freezes[0]: the freeze ends before it starts",
        id="a freeze that ends as it starts",
    ),
    pytest.param(
        [scheduled(freezes=[{**PEAK, "start": "2026-02-30T00:00:00"}])],
        "spec.schedule.freezes[0].start: this is no day of the calendar",
        id="a freeze on no day",
    ),
    pytest.param(
        [scheduled(freezes=[{**PEAK, "start": "2026-03-22T00:00:00Z"}])],
        "spec.schedule.freezes[0].start: this is no date and time: give both without a time zone",
        id="a freeze at an instant",
    ),
]


@pytest.mark.parametrize(("documents", "message"), WRONG)
def test_what_is_wrong_is_told_in_one_line_with_the_field(
    documents: list[object], message: str
) -> None:
    assert message in refused(*documents)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (
            "--from tomorrow",
            "--from tomorrow is no date of these times. Give one such as 2026-12-24",
        ),
        ("--from 9999-12-31", "--from 9999-12-31 is no date of these times."),
        ("--count 0", "Invalid value for '--count': 0 is not in the range 1<=x<=10000"),
        ("-f -", "Stdin can be given once."),
        ("-f nowhere.yaml", "-f nowhere.yaml cannot be read: No such file or directory."),
        ("nobody", "There is no PatchPolicy nobody in the files, which have web-linux."),
    ],
)
def test_what_was_asked_wrongly(args: str, message: str) -> None:
    assert message in refused(policy(), args=args)


def test_without_a_file() -> None:
    found = CliRunner().invoke(windows, [])

    assert (found.exit_code, found.stderr) == (
        2,
        "Error: -f is needed: a file with a PatchPolicy.\n",
    )


def test_a_freeze_of_a_subscription_says_whose_it_is() -> None:
    found = asked(policy(), frozen(), args="--from 2026-03-20 --count 1")

    assert found.stdout.splitlines()[1].endswith("  frozen: peak of AzureSubscription prod")


def test_a_subscription_that_is_selected_and_not_given_is_noted() -> None:
    found = asked(policy(target=selecting("prodd")), frozen(), args="--from 2026-03-20 --count 1")

    assert found.stderr == "Note: not in the files, so their freezes are not shown: prodd.\n"


def test_windows_that_are_too_short_are_told_though_a_freeze_holds() -> None:
    short = {**SUNDAYS, "duration": "2h"}

    found = asked(scheduled(windows=[short], freezes=[PEAK]), args="--from 2026-03-22T12:00")

    assert found.stderr.startswith("Note: No window is long enough")


@pytest.mark.parametrize(
    ("document", "message"),
    [
        pytest.param(
            scheduled(windows=[{**SUNDAYS, "duration": "2400h"}]),
            "spec.schedule.windows[0].duration: duration is zero, or longer than 168h",
            id="a window of a hundred days",
        ),
        pytest.param(
            scheduled(windows=[{**SUNDAYS, "weekly": {"days": []}}]),
            "spec.schedule.windows[0].weekly.days: give at least one",
            id="no day",
        ),
        pytest.param(
            scheduled(windows=[{**SUNDAYS, "weekly": {"days": "Sunday"}}]),
            "spec.schedule.windows[0].weekly.days: give a list, such as [Sunday]",
            id="a day in place of a list",
        ),
        pytest.param(
            policy(install={"linux": {}, "maximumDuration": "PT5H"}),
            "spec.install.maximumDuration: give more than nothing, and at most PT3H55M",
            id="an install that Azure refuses",
        ),
        pytest.param(
            {**policy(), "apiVersion": "azpatch.dev/v1"},
            "PatchPolicy web-linux: apiVersion is azpatch.dev/v1, not azpatch.dev/v1alpha1.",
            id="another version",
        ),
    ],
)
def test_messages_are_for_people(document: dict[str, Any], message: str) -> None:
    assert message in refused(document)
