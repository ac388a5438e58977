"""A sign-in that keeps failing for the same reason must read the same every time."""

from __future__ import annotations

import pytest

from azpatch.azure.errors import Call, TokenUnavailable, translated
from azpatch.azure.port import SignInFailed

ENTRA = (
    "WorkloadIdentity: Microsoft Entra ID error '(invalid_client) AADSTS700213: No matching "
    "federated identity record found for 'api://x'. Trace ID: {trace} Correlation ID: {trace} "
    "Timestamp: {time}'\nContent: {{}}"
)


@pytest.mark.parametrize("call", list(Call))
def test_trace_ids_and_times_are_left_out(call: Call) -> None:
    first, second = (
        translated(TokenUnavailable(ENTRA.format(trace=trace, time=time)), call)
        for trace, time in (("d8ab0b30", "03:04:13Z"), ("a4e695c9", "03:05:13Z"))
    )
    assert isinstance(first, SignInFailed)
    assert first.code == "AADSTS700213"
    assert first.message == "No matching federated identity record found for 'api://x'."
    assert first.message == second.message


def test_words_that_are_not_entras_are_kept_to_their_first_line() -> None:
    error = translated(TokenUnavailable("no token file at /var/run/token\nmore"), Call.READ)
    assert error.message == "no token file at /var/run/token"
