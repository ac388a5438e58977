"""The search for secrets finds each, in every form, and nothing else."""

import base64
import json
from urllib.parse import quote, quote_plus, urlencode

import pytest

from judging.leaks import Secret, leaks, needles, secrets_of

TOKEN = Secret(
    "tokens",
    "eyJhbGciOiJSUzI1NiIsImtpZCI6ImF6c2ltLTEifQ."
    "eyJhdWQiOiJodHRwczovL2xvY2FsaG9zdDo0NDMiLCJvaWQiOiJkZTBhIiwidGlkIjoiN2UwYSIsImV4cCI6MX0"
    "eyJhdWQiOiJodHRwczovL2xvY2FsaG9zdDo0NDMiLCJvaWQiOiJkZTBhIiwidGlkIjoiN2UwYSIsImV4cCI6MX0."
    "Yt3k-9_sL0pQwErTyUiOpAsDfGhJkLzXcVbNm1234567890qWeRtYuIoPaSdFgHjKlZxCvBnM",
)
SIGNATURE = Secret("signatures", "b7tQ-x_9dK2mZp0LrVhYs4WcN8uJgEaTfRiOqXn1kC0")
CLIENT_SECRET = Secret("clientSecrets", "q8Q~the+partner's/secret&=7")

WAYS = {
    "as it is": lambda secret: secret,
    "in a sentence": lambda secret: f"sign-in failed: client_secret={secret}, try again",
    "quoted for a URL": lambda secret: f"?sig={quote(secret, safe='')}&x=1",
    "in a form": lambda secret: urlencode({"a": 1, "client_secret": secret}),
    "quoted for a form": quote_plus,
    "in JSON": lambda secret: json.dumps({"a": f"x{secret}"}),
    "in base64": lambda secret: base64.b64encode(secret.encode()).decode(),
    "in base64 for URLs, without padding": lambda secret: (
        base64.urlsafe_b64encode(secret.encode()).decode().rstrip("=")
    ),
    "after a name in base64": lambda secret: base64.b64encode(f"id:{secret}".encode()).decode(),
    "in the middle of base64": lambda secret: base64.b64encode(
        f'{{"a": "{secret}", "b": 1}}'.encode()
    ).decode(),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "secret", [TOKEN, SIGNATURE, CLIENT_SECRET], ids=lambda secret: secret.kind
)
def test_a_secret_is_found_in_whatever_form_it_is_shown(secret: Secret, way: str) -> None:
    [found, *_] = leaks({"a log": f"before {WAYS[way](secret.text)} after"}, [secret])
    assert found.startswith(f"a log: one of {secret.kind}")


@pytest.mark.parametrize("part", [TOKEN.text[:110], TOKEN.text[-65:]], ids=["beginning", "end"])
def test_a_part_of_a_token_that_gives_it_away_is_found(part: str) -> None:
    assert leaks({"a status": f"Bearer {part}…"}, [TOKEN])


def test_the_header_that_all_tokens_share_is_not_a_leak() -> None:
    assert leaks({"a log": TOKEN.text.partition(".")[0]}, [TOKEN]) == []


def test_what_is_no_secret_is_not_found() -> None:
    shown = {"a log": "the partner's secret is not here", "a status": SIGNATURE.text[:10]}
    assert leaks(shown, [TOKEN, SIGNATURE, CLIENT_SECRET]) == []


def test_the_find_itself_is_not_told() -> None:
    [found, *_] = leaks({"a log": f"given: {CLIENT_SECRET.text}"}, [CLIENT_SECRET])
    assert "'given: '" in found
    assert CLIENT_SECRET.text not in found


def test_several_clouds_secrets_are_looked_for_once_each() -> None:
    one = {"tokens": [TOKEN.text], "signatures": [SIGNATURE.text]}
    assert secrets_of([one, one]) == [SIGNATURE, TOKEN]


def test_a_secret_that_stands_in_texts_by_chance_is_not_accepted() -> None:
    with pytest.raises(ValueError, match="clientSecrets"):
        secrets_of([{"clientSecrets": ["right"]}])


@pytest.mark.parametrize("secret", [TOKEN, SIGNATURE, CLIENT_SECRET], ids=lambda s: s.kind)
def test_no_needle_is_so_short_that_it_is_found_by_chance(secret: Secret) -> None:
    assert all(len(needle) >= 12 for _, needle in needles(secret))
