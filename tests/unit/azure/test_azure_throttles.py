"""Which budgets a call is charged to, how reads wait, and what a refusal closes: on the wire."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from azpatch.azure import port
from azpatch.azure.client import SdkAzureClient, SdkAzureClients
from azpatch.azure.cloud import AZURE_PUBLIC
from azpatch.azure.credentials import SignIn
from azpatch.azure.graph_quota import QUERIES, RESERVE, WINDOW, GraphQuota
from azpatch.azure.metrics import AzureMetrics
from azpatch.azure.port import Credentials
from azpatch.azure.throttles import IN_HAND, KEPT, LONGEST_WAIT, Throttles

SUBSCRIPTION = "6f1c0000-0000-4000-8000-000000000001"
REGION = "westeurope"
POLICY = "web/linux"
NOW = timedelta(0)
URL = "https://management.azure.com"
PATCHED = "x-ms-ratelimit-remaining-resource"
WHOLE = "Microsoft.Compute/VMGuestPatchOperationSubscriptionMaximum"


def vm(number: int, subscription: str = SUBSCRIPTION) -> str:
    return (
        f"/subscriptions/{subscription}/resourceGroups/rg/providers/Microsoft.Compute"
        f"/virtualMachines/web-{number}"
    )


def reserve(throttles: Throttles, machine: str, region: str = REGION) -> timedelta:
    """For an install of a policy."""
    return throttles.reserve(machine, region, POLICY, yields=False)


@pytest.fixture
def throttles(clock: Any) -> Throttles:
    return Throttles(clock)


@pytest.fixture
async def connect(wire: Any, authority: Any, clock: Any, throttles: Throttles) -> Any:
    """Makes clients of one process."""
    made: list[SdkAzureClient] = []

    def connect(quota: GraphQuota | None = None) -> SdkAzureClient:
        sign_in = SignIn(
            Credentials("ClientSecret", "tenant", "client", "s"), AZURE_PUBLIC, transport=authority
        )
        client = SdkAzureClient(
            AZURE_PUBLIC, sign_in, clock, lambda _: None, wire, throttles=throttles, quota=quota
        )
        made.append(client)
        return client

    yield connect
    for client in made:
        await client.close()


Connect = Callable[..., SdkAzureClient]


def taken(answer: Any, left: int) -> Any:
    """Azure took an operation, and this much is left for the region."""
    url = f"{URL}/subscriptions/{SUBSCRIPTION}/operations/op-1?s=sig"
    headers = {"Azure-AsyncOperation": url, PATCHED: f"{WHOLE};{left}"}
    return answer(202, None, headers)


def ready(throttles: Throttles, count: int, region: str = REGION, first: int = 100) -> int:
    """How many of so many new machines have their turn now; all leave again."""
    machines = [vm(number) for number in range(first, first + count)]
    turns = [reserve(throttles, machine, region) == NOW for machine in machines]
    for machine in machines:
        throttles.release(machine)
    return sum(turns)


async def test_before_the_first_answer_a_few_operations_have_their_turn(
    throttles: Throttles,
) -> None:
    assert ready(throttles, 50) == 5


async def test_the_first_answer_tells_how_many_more(
    connect: Connect, throttles: Throttles, wire: Any, answer: Any
) -> None:
    wire.answers(taken(answer, 26))
    assert reserve(throttles, vm(1), REGION) == NOW
    await connect().assess(vm(1), "attempt")
    assert throttles.waiting() == 0
    # ARM's writes have not been told.
    assert ready(throttles, 50) == 4
    assert ready(throttles, 50, first=200) == 4


async def test_a_registration_is_one_of_arms_writes_and_does_not_wait_for_its_turn(
    connect: Connect, throttles: Throttles, wire: Any, answer: Any, clock: Any
) -> None:
    client = connect()
    wire.answers(answer(200, None, {"x-ms-ratelimit-remaining-subscription-writes": "20"}))
    await client.register_feature(SUBSCRIPTION, "X", "attempt")
    # What is left is the reserve.
    assert ready(throttles, 1) == 0
    with pytest.raises(port.Throttled) as caught:
        await client.register_compute(SUBSCRIPTION, "attempt")
    assert (len(wire.posts()), clock.slept) == (1, [])
    assert caught.value.retry_after is not None
    clock.slept.append(caught.value.retry_after)
    await client.register_compute(SUBSCRIPTION, "attempt")
    assert len(wire.posts()) == 2
    assert throttles.waiting() == 0


async def test_what_is_asked_again_is_where_it_was_in_the_line(
    throttles: Throttles, clock: Any
) -> None:
    waits = [reserve(throttles, vm(number), REGION) for number in range(8)]
    assert [wait == NOW for wait in waits] == [True] * 5 + [False] * 3
    assert [reserve(throttles, vm(number), REGION) for number in range(8)] == waits
    clock.slept.append(waits[5])
    assert reserve(throttles, vm(9), REGION) > NOW, "no newcomer takes it"
    assert reserve(throttles, vm(5), REGION) == NOW


@pytest.mark.parametrize(
    ("number", "kept"), [(0, IN_HAND), (5, KEPT + 0.3)], ids=["whose turn it was", "who waited"]
)
async def test_a_place_that_nobody_comes_for_ends(
    number: int, kept: float, throttles: Throttles, clock: Any
) -> None:
    for each in range(6):
        reserve(throttles, vm(each), REGION)
    for each in range(6):
        if each != number:
            throttles.release(vm(each))
    assert throttles.waiting() == 1
    clock.slept.append(timedelta(seconds=kept + 1))
    reserve(throttles, vm(20), REGION)
    throttles.release(vm(20))
    assert throttles.waiting() == 0


async def test_a_machine_is_sent_two_operations_a_minute_after_its_burst(
    connect: Connect, throttles: Throttles, wire: Any, answer: Any, clock: Any
) -> None:
    client = connect()
    machine = "Microsoft.Compute/VMGuestPatchOperationResource"
    sent = 0
    for left in range(5, -1, -1):
        url = f"{URL}/subscriptions/{SUBSCRIPTION}/operations/op?s=sig"
        wire.answers(answer(202, None, {"Azure-AsyncOperation": url, PATCHED: f"{machine};{left}"}))
        if reserve(throttles, vm(1), REGION):
            break
        await client.assess(vm(1), "attempt")
        sent += 1
    assert sent == 5, "one is left for who comes after us"
    clock.slept.append(reserve(throttles, vm(1), REGION))
    assert clock.slept == [timedelta(seconds=0.3)], "nothing was told of the region's"
    assert reserve(throttles, vm(1), REGION) == timedelta(seconds=29.7)


async def test_a_refusal_closes_the_budget_that_it_names_for_all_identities(
    connect: Connect, throttles: Throttles, wire: Any, answer: Any
) -> None:
    words = f"the limit has been reached for {WHOLE.rpartition('/')[2]}"
    refusal = answer(
        429, {"error": {"code": "TooManyRequests", "message": words}}, {"Retry-After": "90"}
    )
    wire.answers(refusal)
    reserve(throttles, vm(1), REGION)
    with pytest.raises(port.Throttled):
        await connect().assess(vm(1), "attempt")
    assert reserve(throttles, vm(2), REGION) >= timedelta(seconds=90)
    assert ready(throttles, 1, region="northeurope") == 1


async def test_an_operation_that_did_not_go_out_costs_nothing(
    connect: Connect, throttles: Throttles, authority: Any, answer: Any
) -> None:
    authority.answers(answer(401, {"error": "invalid_client", "error_description": "AADSTS1: no"}))
    client = connect()
    for _ in range(10):
        assert reserve(throttles, vm(1), REGION) == NOW
        with pytest.raises(port.SignInFailed):
            await client.assess(vm(1), "attempt")


async def test_a_read_waits_a_little_and_is_then_put_off(
    connect: Connect, wire: Any, answer: Any, clock: Any
) -> None:
    client = connect()
    wire.answers(answer(200, {"id": vm(1), "properties": {}}, {}))
    for number in range(20):
        await client.machine(vm(number))
    assert clock.slept == [], "what may be asked before an answer told more"
    await client.machine(vm(20))
    assert clock.slept == [timedelta(milliseconds=40)], "25 a second"


async def test_a_read_that_would_wait_long_is_not_sent(
    connect: Connect, wire: Any, answer: Any, clock: Any
) -> None:
    client = connect()
    wire.answers(answer(429, {"error": {"code": "TooMany", "message": "…"}}, {"Retry-After": "60"}))
    with pytest.raises(port.Retry):
        await client.machine(vm(1))
    with pytest.raises(port.OverBudget) as put_off:
        await client.machine(vm(2))
    assert put_off.value.retry_after is not None
    assert put_off.value.retry_after > LONGEST_WAIT
    assert len(wire.sent) == 1
    assert clock.slept == []


async def test_each_repeat_of_a_read_is_counted(
    connect: Connect, throttles: Throttles, wire: Any, answer: Any, clock: Any
) -> None:
    client = connect()
    for number in range(7):
        wire.answers(answer(500), answer(500), answer(200, {"id": vm(1), "properties": {}}))
        await client.machine(vm(number))
    assert len(wire.sent) == 21
    await client.machine(vm(20))
    assert clock.slept != []


# --- Resource Graph -------------------------------------------------------------------------------


async def test_queries_stay_inside_the_window_even_if_azure_says_nothing(clock: Any) -> None:
    quota = GraphQuota(clock)
    times: list[timedelta] = []
    for _ in range(100):
        while wait := quota.wait():
            await clock.sleep(wait)
        times.append(clock.elapsed())
        quota.asked()
    for begin, end in zip(times, times[QUERIES - RESERVE :], strict=False):
        assert end - begin >= WINDOW


@pytest.mark.parametrize(
    ("remaining", "resets_after", "expected"),
    [
        ("14", "00:00:05", 0),
        ("4", "00:00:05", 0),
        ("3", "00:00:05", 6),
        ("0", "00:01:02.5", 63.5),
        ("0", "nonsense", 1),
        ("0", None, 1),
        (None, None, 0),
    ],
)
def test_the_quota_is_waited_for_when_only_the_reserve_is_left(
    remaining: str | None, resets_after: str | None, expected: float, clock: Any
) -> None:
    headers = {
        "x-ms-user-quota-remaining": remaining,
        "x-ms-user-quota-resets-after": resets_after,
    }
    quota = GraphQuota(clock)
    quota.hear({name: value for name, value in headers.items() if value is not None})
    assert quota.wait().total_seconds() == expected


async def test_clients_of_one_principal_share_its_quota(
    connect: Connect, wire: Any, answer: Any, clock: Any
) -> None:
    quota = GraphQuota(clock)
    clients = [connect(quota), connect(quota)]
    wire.answers(answer(200, {"data": []}))
    await asyncio.gather(*(client.snapshot([SUBSCRIPTION]) for client in clients * 4))
    assert len(wire.sent) == 40
    assert sum(clock.slept, NOW) >= 2 * WINDOW


async def test_a_long_wait_that_azure_names_holds_for_the_next_query_too(
    connect: Connect, wire: Any, answer: Any
) -> None:
    client = connect()
    wire.answers(answer(429, None, {"Retry-After": "600"}))
    for expected in (port.Retry, port.OverBudget):
        with pytest.raises(expected) as put_off:
            await client.assessments([vm(1)])
        assert put_off.value.retry_after == timedelta(minutes=10)
    assert len(wire.sent) == 1


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        pytest.param(
            Credentials("WorkloadIdentity", "T"),
            Credentials("WorkloadIdentity", "t", "POD"),
            True,
            id="the pod's own, named or not",
        ),
        pytest.param(
            Credentials("ClientSecret", "t", "a", "old"),
            Credentials("ClientSecret", "t", "a", "new"),
            True,
            id="a secret that was replaced",
        ),
        pytest.param(
            Credentials("ClientSecret", "t", "a", "x"),
            Credentials("ClientSecret", "t", "b", "x"),
            False,
            id="another client",
        ),
    ],
)
def test_a_principal_is_told_by_tenant_and_client(
    one: Credentials, other: Credentials, same: bool
) -> None:
    environment = {"AZURE_CLIENT_ID": "pod"}
    signs = [SignIn(each, AZURE_PUBLIC, environment=environment) for each in (one, other)]
    assert (signs[0].principal == signs[1].principal) is same


def test_the_line_is_a_metric(clock: Any) -> None:
    registry = CollectorRegistry()
    clients = SdkAzureClients(AZURE_PUBLIC, clock, AzureMetrics(registry))
    for number in range(7):
        clients.reserve(vm(number), REGION, POLICY, yields=False)
    clients.release(vm(3))
    assert registry.get_sample_value("azpatch_azure_budget_waiting") == 6
