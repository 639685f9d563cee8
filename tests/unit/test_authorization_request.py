"""The query of /start, and the authorization request to Qonto."""

from urllib.parse import quote, urlencode

import pytest

from http_api import InvalidQueryError
from settings import StartSettings
from start.authorization_request import parse, url
from tests.support.flow import STATE, pending
from tests.support.packages import VARIABLES

RETURN_URLS = ("https://app.example.com/connected", "http://localhost:3000/back?tab=bank")
NAMES = ["context", "organization_id", "registration_id"]


def test_app_parameters_are_accepted_and_optional() -> None:
    given = dict(zip(NAMES, ("aZ0._~-", "org_1-A", "reg"), strict=True))
    given |= {"return_to": RETURN_URLS[1]}
    assert parse(urlencode(given), RETURN_URLS).model_dump() == given
    default = dict.fromkeys(NAMES) | {"return_to": RETURN_URLS[0]}
    assert parse(urlencode(dict.fromkeys(given, "")), RETURN_URLS).model_dump() == default
    for name in given:
        with pytest.raises(InvalidQueryError):
            parse(f"{name}=a&{name}=a", RETURN_URLS)
    assert parse("", ()).return_to is None


OUTSIDE = rf"""//evil.example /\evil.example https:evil.example javascript:alert(1)
    https://app.example.com@evil.example/connected https://user@app.example.com/connected
    https://app.example.com:8443/connected {RETURN_URLS[0]}/more {RETURN_URLS[0]}?
    https://app.example.com/connecte HTTPS://APP.EXAMPLE.COM/connected"""


@pytest.mark.parametrize(
    "return_to", [*OUTSIDE.split(), " ", f" {RETURN_URLS[0]}", f"{RETURN_URLS[0]}\r\nX: y"]
)
@pytest.mark.claim("S13")
def test_return_to_outside_return_urls_is_refused(return_to: str) -> None:
    with pytest.raises(InvalidQueryError) as failure:
        parse(f"return_to={quote(return_to, safe='')}", RETURN_URLS)
    assert failure.value.parameters == ("return_to",)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [" ", "two words", "a/b", "é", "a" * 257, "a\n"])
def test_malformed_parameter_is_refused_by_name_without_value(name: str, value: str) -> None:
    with pytest.raises(InvalidQueryError) as failure:
        parse(f"{name}={quote(value)}", RETURN_URLS)
    assert failure.value.parameters == (name,)
    assert failure.value.__cause__ is None
    assert len(value) < 2 or value not in str(failure.value)


VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"  # RFC 7636, appendix B
S256 = "code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&code_challenge_method=S256"


@pytest.mark.parametrize(
    ("changes", "identity_type", "added"),
    [
        ({}, "user", "&identity_type=user"),
        ({"organization_id": "org", "context": "c"}, "", "&organization_id=org"),
        ({"registration_id": "reg", "return_to": "x"}, "", "&registration_id=reg"),
        ({"code_verifier": VERIFIER}, "", f"&{S256}"),
    ],
)
def test_request_holds_only_parameters_of_qonto(
    changes: dict[str, str], identity_type: str, added: str
) -> None:
    environment = {"QONTO_ENVIRONMENT": "production", "IDENTITY_TYPE": identity_type}
    settings = StartSettings.model_validate(VARIABLES | environment)
    assert url(pending(**changes), settings) == (
        "https://oauth.qonto.com/oauth2/auth?client_id=client-1"
        "&redirect_uri=https%3A%2F%2Fconnect.example.com%2Fcallback"
        "&response_type=code&scope=offline_access%20organization.read"
        f"&state={STATE}{added}"
    )
