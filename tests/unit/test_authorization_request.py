"""The query of /start, and the authorization request to Qonto."""

from base64 import urlsafe_b64encode
from hashlib import sha256
from urllib.parse import parse_qsl, quote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from http_api import InvalidQueryError
from settings import StartSettings
from start import authorization_request
from tests.unit.flow import STATE, pending

RETURN_URLS = ("https://app.example.com/connected", "http://localhost:3000/back?tab=bank")
ENDPOINT = "https://oauth.qonto.com/oauth2/auth"
ENVIRONMENT = {
    "QONTO_ENVIRONMENT": "production",
    "CLIENT_ID": "client-1",
    "SCOPE": "organization.read",
    "REDIRECT_URI": "https://connect.example.com/callback",
    "TABLE_NAME": "states",
}
SETTINGS = StartSettings.model_validate(ENVIRONMENT)


def test_empty_query_returns_to_first_return_url() -> None:
    query = authorization_request.parse("", RETURN_URLS)

    assert query.return_to == RETURN_URLS[0]
    assert query.context is query.organization_id is query.registration_id is None


def test_no_return_urls_means_no_return_to() -> None:
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


@pytest.mark.parametrize(
    "return_to",
    [
        " ",
        "//evil.example",
        "/\\evil.example",
        "https:evil.example",
        "https://app.example.com@evil.example/connected",
        "https://user@app.example.com/connected",
        "https://app.example.com/connected\r\nX: y",
        "javascript:alert(1)",
        "https://app.example.com:8443/connected",
        "https://app.example.com/connected/more",
        "https://app.example.com/connected?",
        "https://app.example.com/connecte",
        "HTTPS://APP.EXAMPLE.COM/connected",
        " https://app.example.com/connected",
    ],
)
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


@pytest.mark.parametrize("name", ["context", "return_to", "organization_id", "registration_id"])
@pytest.mark.parametrize("blank", ["{}=", "{}", "{0}=&{0}="])
def test_blank_parameter_counts_as_omitted(name: str, blank: str) -> None:
    query = authorization_request.parse(blank.format(name), RETURN_URLS)

    assert query == authorization_request.parse("", RETURN_URLS)


@pytest.mark.parametrize("name", ["context", "return_to", "organization_id", "registration_id"])
def test_repeated_parameter_is_refused(name: str) -> None:
    with pytest.raises(InvalidQueryError):
        authorization_request.parse(f"{name}=a&{name}=a", RETURN_URLS)


@given(st.text(alphabet=st.characters(codec=None, categories=None)))
def test_any_query_is_parsed_or_refused(raw_query: str) -> None:
    for query in (
        raw_query,
        f"context={raw_query}",
        f"return_to={quote(raw_query, errors='replace')}",
    ):
        try:
            parsed = authorization_request.parse(query, RETURN_URLS)
        except InvalidQueryError:
            continue
        assert parsed.return_to in RETURN_URLS


def test_request_holds_only_the_parameters_qonto_requires() -> None:
    assert authorization_request.url(pending(), SETTINGS) == (
        f"{ENDPOINT}?client_id=client-1"
        "&redirect_uri=https%3A%2F%2Fconnect.example.com%2Fcallback"
        "&response_type=code&scope=offline_access%20organization.read"
        f"&state={STATE}"
    )


def test_organization_and_registration_ids_are_passed_to_qonto() -> None:
    url = authorization_request.url(
        pending(organization_id="org", registration_id="reg", context="c", return_to="x"), SETTINGS
    )

    assert url.endswith(f"&state={STATE}&organization_id=org&registration_id=reg")


def test_identity_type_is_passed_to_qonto() -> None:
    settings = StartSettings.model_validate(ENVIRONMENT | {"IDENTITY_TYPE": "user"})

    url = authorization_request.url(pending(), settings)

    assert url.endswith(f"&state={STATE}&identity_type=user")


def test_pkce_sends_challenge_and_not_verifier() -> None:
    url = authorization_request.url(pending(code_verifier="v" * 43), SETTINGS)

    parameters = dict(parse_qsl(urlsplit(url).query))
    challenge = urlsafe_b64encode(sha256(b"v" * 43).digest()).decode().rstrip("=")
    assert parameters["code_challenge"] == challenge
    assert parameters["code_challenge_method"] == "S256"
    assert "v" * 43 not in url
