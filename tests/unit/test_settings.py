"""The settings that the functions accept, and the invalid ones that stop them."""

import pytest
from pydantic import ValidationError

from demo.qonto import SCOPES
from settings import CallbackSettings, StartSettings

START = {
    "QONTO_ENVIRONMENT": "sandbox",
    "CLIENT_ID": "5c2a7f1e-client",
    "SCOPE": "offline_access organization.read",
    "REDIRECT_URI": "https://abc123.execute-api.eu-west-3.amazonaws.com/callback",
    "TABLE_NAME": "states",
}
CALLBACK = {
    "QONTO_ENVIRONMENT": "sandbox",
    "CLIENT_ID": "5c2a7f1e-client",
    "TABLE_NAME": "states",
    "TOPIC_ARN": "arn:aws:sns:eu-west-3:123456789012:authorizations",
}
LISTED_SCOPES = " ".join(SCOPES)


def test_optional_settings_may_be_missing() -> None:
    settings = StartSettings.model_validate(START)

    assert settings.return_urls == ()
    assert settings.pkce == "off"
    assert settings.identity_type == ""
    assert settings.app_name == settings.support_url == ""
    assert settings.oauth_base_url is None
    with pytest.raises(ValidationError, match="frozen"):
        settings.client_id = "another"  # type: ignore[misc] # must fail


@pytest.mark.parametrize(
    ("model", "environment"), [(StartSettings, START), (CallbackSettings, CALLBACK)]
)
def test_error_names_missing_variable(
    model: type[StartSettings | CallbackSettings], environment: dict[str, str]
) -> None:
    for variable in environment:
        others = {name: value for name, value in environment.items() if name != variable}
        with pytest.raises(ValidationError, match=rf"(?s){variable}.*Field required"):
            model.model_validate(others)


# The values of each variable are between "|".
INVALID = {
    "QONTO_ENVIRONMENT": "staging",
    "CLIENT_ID": "|two words",
    "SCOPE": '|two  spaces|quo"te|' + "s" * 1025,
    "REDIRECT_URI": "https://example.com/callback/|https://example.com/callback?x=1"
    "|https://example.com/callback#x|https://user@example.com/callback"
    "|http://example.com/callback|https://example.com/other",
    "RETURN_URLS": "http://example.com/|https://user:password@example.com/"
    "|https://example.com/#fragment|https:example.com|//example.com|https://example.com\\evil"
    "|javascript:alert(1)|https://example.com/ http://example.com/|https://example.com/"
    + "x"
    * 500,
    "PKCE": "plain",
    "IDENTITY_TYPE": "organization",
    "APP_NAME": "line\nbreak|" + "n" * 65,
    "SUPPORT_URL": "javascript:alert(1)",
    "TABLE_NAME": "",
    "OAUTH_BASE_URL": "https://evil.example.com|http://localhost.evil.example.com",
}
VALID = {
    "SCOPE": f"{LISTED_SCOPES}|a.name.that.qonto.adds.tomorrow",
    "REDIRECT_URI": "https://connect.example.com/callback|http://localhost:8001/callback",
    "RETURN_URLS": "https://example.com http://localhost:3000/back?tab=bank&x=%20"
    "|https://example.com/@me/a:b;c=(1)*~!$',",
    "APP_NAME": "Björn & Söhne <3",
    "SUPPORT_URL": "https://example.com/help|mailto:help@example.com",
    "OAUTH_BASE_URL": "http://127.0.0.1:8002",
    "IDENTITY_TYPE": "user",
}


@pytest.mark.parametrize(
    ("variable", "value"),
    [(name, value) for name, values in INVALID.items() for value in values.split("|")],
)
@pytest.mark.claim("S24")
def test_invalid_value_is_refused_by_name_without_value(variable: str, value: str) -> None:
    with pytest.raises(ValidationError) as failure:
        StartSettings.model_validate(START | {variable: value})

    assert variable in str(failure.value)
    assert not value or value not in str(failure.value)


@pytest.mark.parametrize(
    ("variable", "value"),
    [(name, value) for name, values in VALID.items() for value in values.split("|")],
)
def test_valid_value_is_accepted(variable: str, value: str) -> None:
    StartSettings.model_validate(START | {variable: value})


def test_urls_stay_as_they_are() -> None:
    environment = START | {"RETURN_URLS": " https://example.com  http://localhost:3000 "}

    settings = StartSettings.model_validate(environment)

    assert settings.redirect_uri == START["REDIRECT_URI"]
    assert settings.return_urls == ("https://example.com", "http://localhost:3000")


@pytest.mark.parametrize(
    ("variable", "value", "host"),
    [
        ("QONTO_ENVIRONMENT", "production", "https://oauth.qonto.com"),
        ("QONTO_ENVIRONMENT", "sandbox", "https://oauth-sandbox.staging.qonto.co"),
        ("OAUTH_BASE_URL", "http://localhost:1", "http://localhost:1"),
    ],
)
@pytest.mark.claim("S35")
def test_environment_decides_every_host(variable: str, value: str, host: str) -> None:
    start = StartSettings.model_validate(START | {variable: value})
    callback = CallbackSettings.model_validate(CALLBACK | {variable: value})

    assert start.authorization_endpoint == f"{host}/oauth2/auth"
    assert callback.token_endpoint == f"{host}/oauth2/token"
