"""The settings that the functions accept, and the invalid ones that stop them."""

import pytest
from pydantic import ValidationError

from demo.qonto import SCOPES
from settings import CallbackSettings, StartSettings
from tests.support.packages import VARIABLES

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
    f"|javascript:alert(1)|https://a.io/ http://example.com/|https://example.com/{'x' * 500}",
    "PKCE": "plain",
    "IDENTITY_TYPE": "organization",
    "APP_NAME": "line\nbreak|" + "n" * 65,
    "SUPPORT_URL": "javascript:alert(1)",
    "TABLE_NAME": "",
    "OAUTH_BASE_URL": "https://evil.example.com|http://localhost.evil.example.com",
}
VALID = {
    "SCOPE": f"{' '.join(SCOPES)}|a.name.that.qonto.adds.tomorrow",
    "REDIRECT_URI": "https://connect.example.com/callback|http://localhost:8001/callback",
    "RETURN_URLS": " https://example.com  http://localhost:3000/back?tab=bank&x=%20"
    "|https://example.com/@me/a:b;c=(1)*~!$',",
    "APP_NAME": "Björn & Söhne <3",
    "SUPPORT_URL": "https://example.com/help|mailto:help@example.com",
    "OAUTH_BASE_URL": "http://127.0.0.1:8002",
    "IDENTITY_TYPE": "user",
}


def test_optional_settings_may_be_missing_and_others_are_named() -> None:
    settings = StartSettings.model_validate(VARIABLES)
    assert settings.return_urls == ()
    assert settings.pkce == "off"
    assert settings.identity_type == settings.app_name == settings.support_url == ""
    with pytest.raises(ValidationError, match="frozen"):
        settings.client_id = "another"  # type: ignore[misc] # must fail
    common = {"QONTO_ENVIRONMENT", "CLIENT_ID", "TABLE_NAME"}
    own = (StartSettings, {"SCOPE", "REDIRECT_URI"}), (CallbackSettings, {"TOPIC_ARN"})
    for model, variables in own:
        with pytest.raises(ValidationError) as failure:
            model.model_validate({})
        errors = {(error["loc"], error["type"]) for error in failure.value.errors()}
        assert errors == {((variable,), "missing") for variable in common | variables}


@pytest.mark.parametrize(
    ("variable", "value"),
    [(name, value) for name, values in INVALID.items() for value in values.split("|")],
)
@pytest.mark.claim("S24")
def test_invalid_value_is_refused_by_name_without_value(variable: str, value: str) -> None:
    with pytest.raises(ValidationError) as failure:
        StartSettings.model_validate(VARIABLES | {variable: value})
    assert variable in str(failure.value)
    assert not value or value not in str(failure.value)


def test_valid_value_is_accepted_as_it_is() -> None:
    for name, values in VALID.items():
        for value in values.split("|"):
            settings = StartSettings.model_validate(VARIABLES | {name: value})
            kept = getattr(settings, name.lower())
            assert kept == (tuple(value.split()) if name == "RETURN_URLS" else value)


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
    variables = VARIABLES | {variable: value}
    start = StartSettings.model_validate(variables)
    callback = CallbackSettings.model_validate(variables)
    assert start.authorization_endpoint == f"{host}/oauth2/auth"
    assert callback.token_endpoint == f"{host}/oauth2/token"
