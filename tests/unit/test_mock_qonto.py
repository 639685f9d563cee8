"""Mock Qonto refuses what Qonto refuses, so the tests that connect to it can fail."""

from collections.abc import Callable
from typing import Any

import pytest
from starlette.datastructures import FormData

from demo.qonto import ORGANIZATIONS, AuthorizationErrorResponse, AuthorizationServer, ShownError

CLIENT = {"client_id": "client", "redirect_uri": "http://localhost:8001/callback"}
REQUEST = CLIENT | {
    "scope": "offline_access organization.read payment.write",
    "response_type": "code",
    "state": "a-state-of-enough-characters",
}
VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"  # RFC 7636, appendix B
CHALLENGE = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
CONSENT = [("decision", "allow"), ("organization", ORGANIZATIONS[0].id)]
SCOPES = [("scope", "offline_access"), ("scope", "organization.read"), ("scope", "never.asked")]


class Qonto:
    """Mock Qonto with a clock; its methods return the name of an error, if there is one."""

    def __init__(self) -> None:
        self.seconds = 1_800_000_000.0
        client = CLIENT["client_id"], "secret", [CLIENT["redirect_uri"]]
        self.server = AuthorizationServer(*client, now=lambda: self.seconds)
        self.headers: dict[str, str] = {}

    def code(self, **changes: str) -> str:
        login = self.server.begin(REQUEST | changes, "browser")
        return self.server.decide(login, FormData([*CONSENT, *SCOPES])).parameters["code"]

    def exchange(self, code: str, **changes: str) -> Any:  # noqa: ANN401 - tokens, or an error
        form = {"client_secret": "secret", "grant_type": "authorization_code", "code": code}
        return _result(self.server.exchange, CLIENT | form | changes, self.headers)

    def refresh(self, tokens: dict[str, str]) -> Any:  # noqa: ANN401 - the same
        form = {"client_secret": "secret", "refresh_token": tokens["refresh_token"]}
        return _result(self.server.refresh, CLIENT | form, self.headers)

    def read(self, tokens: dict[str, str]) -> object:
        headers = self.headers | {"authorization": f"Bearer {tokens['access_token']}"}
        return _result(self.server.organization, headers)

    def work(self, tokens: dict[str, str]) -> tuple[bool, bool]:
        """Tell which of a response's two tokens work; the refresh ends the access token."""
        return self.read(tokens) in ORGANIZATIONS, isinstance(self.refresh(tokens), dict)


def _result(use: Callable[..., object], *arguments: object) -> object:
    try:
        return use(*arguments)
    except ShownError as error:
        return error.args[0]["error"]


@pytest.fixture
def qonto() -> Qonto:
    return Qonto()


INVALID = f"""client_id=another response_mode=jwt redirect_uri={CLIENT["redirect_uri"]}/
    redirect_uri=http://LOCALHOST:8001/callback scope= scope=unknown.scope response_type=token
    state=7-chars organization_id=not/an/id code_challenge=without-a-method"""


@pytest.mark.parametrize("change", INVALID.split())
def test_invalid_request_is_refused(qonto: Qonto, change: str) -> None:
    with pytest.raises((ShownError, AuthorizationErrorResponse)):
        qonto.server.begin(REQUEST | dict([change.split("=")]), "browser")


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("client_id", "another", "invalid_client"),
        ("client_secret", "wrong", "invalid_client"),
        ("grant_type", "password", "unsupported_grant_type"),
        ("code", "ory_ac_unknown", "invalid_grant"),
        ("redirect_uri", "http://localhost:8001/callback/", "invalid_grant"),
        ("code_verifier", "", "invalid_grant"),
        ("code_verifier", "wrong", "invalid_grant"),
    ],
)
def test_refused_exchange_keeps_code(qonto: Qonto, name: str, value: str, error: str) -> None:
    code = qonto.code(code_challenge=CHALLENGE, code_challenge_method="S256")
    form = {"code": code, "code_verifier": VERIFIER}
    assert qonto.exchange(**(form | {name: value})) == error
    assert "access_token" in qonto.exchange(**form)
    assert (qonto.server.exchanges_attempted, qonto.server.exchanges_succeeded) == (2, 1)
    assert qonto.exchange(qonto.code(), code_verifier=VERIFIER) == "invalid_grant"


def test_client_needs_scopes_staging_token_and_secret_in_form(qonto: Qonto) -> None:
    tokens, scopeless = qonto.exchange(qonto.code()), qonto.code(scope="offline_access")
    assert qonto.work(qonto.exchange(scopeless)) == (False, True)
    assert "refresh_token" not in qonto.exchange(qonto.code(scope="organization.read"))
    qonto.server.staging_token = "staging"
    assert qonto.work(tokens) == (False, False)
    qonto.headers = {"x-qonto-staging-token": "staging"}
    assert qonto.work(tokens) == (True, True)
    qonto.headers |= {"authorization": "Basic Y2xpZW50OnNlY3JldA=="}
    assert qonto.refresh(tokens) == "invalid_client"


def test_code_and_tokens_end(qonto: Qonto) -> None:
    code, tokens, started_at = qonto.code(), qonto.exchange(qonto.code()), qonto.seconds
    qonto.seconds = started_at + 600
    assert qonto.exchange(code) == "invalid_grant"
    qonto.seconds = started_at + 3600
    assert qonto.read(tokens) == "unauthorized"
    qonto.seconds = started_at + 90 * 24 * 3600
    assert qonto.refresh(tokens) == "invalid_grant"


def test_reuse_revokes_tokens_of_grant(qonto: Qonto) -> None:
    first, others = qonto.exchange(qonto.code()), qonto.exchange(qonto.code())
    second = qonto.refresh(first)
    assert first["scope"] == second["scope"] == "offline_access organization.read"
    assert qonto.read(first) == "unauthorized"
    qonto.seconds += 59.9
    third = qonto.refresh(first)
    assert qonto.read(second) == ORGANIZATIONS[0]
    qonto.seconds += 0.1  # the second use has not prolonged the grace
    assert qonto.refresh(first) == "invalid_grant"
    assert qonto.work(second) == qonto.work(third) == (False, False)
    assert (qonto.server.refreshes, qonto.server.reuses) == (2, 1)

    code = qonto.code()
    tokens = qonto.exchange(code)
    assert qonto.exchange(code) == "invalid_grant"
    assert qonto.work(tokens) == (False, False)
    assert qonto.work(others) == (True, True)


def test_revocation_ends_grants_of_organization(qonto: Qonto) -> None:
    one, another, others = (
        qonto.exchange(qonto.code(organization_id=organization.id))
        for organization in (ORGANIZATIONS[0], *ORGANIZATIONS[:2])
    )
    code = qonto.code()
    qonto.server.revoke_consents({"authorization": f"Bearer {one['access_token']}"})
    assert qonto.work(one) == qonto.work(another) == (False, False)
    assert qonto.exchange(code) == "invalid_grant"
    assert qonto.work(others) == qonto.work(qonto.exchange(qonto.code())) == (True, True)
