"""The query of /start, and the authorization request to Qonto."""

from base64 import urlsafe_b64encode
from hashlib import sha256
from urllib.parse import quote

import pytest

from http_api import InvalidQueryError
from settings import StartSettings
from start import authorization_request
from tests.support.flow import STATE, pending

RETURN_URLS = ("https://app.example.com/connected", "http://localhost:3000/back?tab=bank")
NAMES = ["context", "return_to", "organization_id", "registration_id"]
ENVIRONMENT = {
    "QONTO_ENVIRONMENT": "production",
    "CLIENT_ID": "client-1",
    "SCOPE": "organization.read",
    "REDIRECT_URI": "https://connect.example.com/callback",
    "TABLE_NAME": "states",
}
CHALLENGE = urlsafe_b64encode(sha256(b"v" * 43).digest()).decode().rstrip("=")


def test_empty_query_returns_to_first_return_url() -> None:
    query = authorization_request.parse("", RETURN_URLS)

    assert query.return_to == RETURN_URLS[0]
    assert query.context is query.organization_id is query.registration_id is None
    assert authorization_request.parse("", ()).return_to is None


def test_all_app_parameters_are_accepted() -> None:
    query = authorization_request.parse(
        f"context=aZ0._~-&organization_id=org_1-A&registration_id=reg&return_to={quote(RETURN_URLS[1])}",
        RETURN_URLS,
    )

    assert query.model_dump() == {
        "context": "aZ0._~-",
        "organization_id": "org_1-A",
        "registration_id": "reg",
        "return_to": RETURN_URLS[1],
    }


OUTSIDE = r"""//evil.example /\evil.example https:evil.example javascript:alert(1)
    https://app.example.com@evil.example/connected https://user@app.example.com/connected
    https://app.example.com:8443/connected https://app.example.com/connected/more
    https://app.example.com/connected? https://app.example.com/connecte
    HTTPS://APP.EXAMPLE.COM/connected"""


@pytest.mark.parametrize(
    "return_to", [*OUTSIDE.split(), " ", f" {RETURN_URLS[0]}", f"{RETURN_URLS[0]}\r\nX: y"]
)
@pytest.mark.claim("S13")
def test_return_to_outside_return_urls_is_refused(return_to: str) -> None:
    with pytest.raises(InvalidQueryError) as failure:
        authorization_request.parse(f"return_to={quote(return_to, safe='')}", RETURN_URLS)

    assert failure.value.parameters == ("return_to",)


@pytest.mark.parametrize("name", ["context", "organization_id", "registration_id"])
@pytest.mark.parametrize("value", [" ", "two words", "a/b", "é", "a" * 257, "a\n"])
def test_malformed_parameter_is_refused_by_name_without_value(name: str, value: str) -> None:
    with pytest.raises(InvalidQueryError) as failure:
        authorization_request.parse(f"{name}={quote(value)}", RETURN_URLS)

    assert failure.value.parameters == (name,)
    assert failure.value.__cause__ is None
    assert len(value) < 2 or value not in str(failure.value)


@pytest.mark.parametrize("name", NAMES)
def test_blank_is_omitted_and_repeat_refused(name: str) -> None:
    for blank in (f"{name}=", name, f"{name}=&{name}="):
        query = authorization_request.parse(blank, RETURN_URLS)
        assert query == authorization_request.parse("", RETURN_URLS)
    with pytest.raises(InvalidQueryError):
        authorization_request.parse(f"{name}=a&{name}=a", RETURN_URLS)


@pytest.mark.parametrize(
    ("changes", "identity_type", "added"),
    [
        ({}, "", ""),
        (
            {"organization_id": "org", "registration_id": "reg", "context": "c", "return_to": "x"},
            "",
            "&organization_id=org&registration_id=reg",
        ),
        ({}, "user", "&identity_type=user"),
        (
            {"code_verifier": "v" * 43},
            "",
            f"&code_challenge={CHALLENGE}&code_challenge_method=S256",
        ),
    ],
    ids=["required", "ids", "identity type", "challenge, and not verifier"],
)
def test_request_holds_only_parameters_of_qonto(
    changes: dict[str, str], identity_type: str, added: str
) -> None:
    settings = StartSettings.model_validate(ENVIRONMENT | {"IDENTITY_TYPE": identity_type})

    assert authorization_request.url(pending(**changes), settings) == (
        "https://oauth.qonto.com/oauth2/auth?client_id=client-1"
        "&redirect_uri=https%3A%2F%2Fconnect.example.com%2Fcallback"
        "&response_type=code&scope=offline_access%20organization.read"
        f"&state={STATE}{added}"
    )
