"""Mock Qonto refuses what Qonto refuses, so the tests of what connects to it can fail."""

from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from httpx2 import Response
from starlette.testclient import TestClient

from demo.qonto import ORGANIZATIONS, PASSWORD, USER, AuthorizationServer, create_app

REQUEST = {
    "client_id": "client",
    "redirect_uri": "http://localhost:8001/callback",
    "scope": "offline_access organization.read payment.write",
    "response_type": "code",
    "state": "a-state-of-enough-characters",
}
VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"  # RFC 7636, appendix B
CHALLENGE = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
UNAUTHORIZED, INVALID_CLIENT = "401 unauthorized", "401 invalid_client"
INVALID_GRANT, INVALID_REQUEST = "400 invalid_grant", "400 invalid_request"

type Form = dict[str, Any]


class Qonto(TestClient):
    """A browser at mock Qonto, whose clock a test puts forward."""

    def __init__(self) -> None:
        self.seconds = 1_800_000_000.0
        client = "client", "secret", [REQUEST["redirect_uri"]]
        self.server = AuthorizationServer(*client, now=lambda: self.seconds)
        super().__init__(create_app(self.server), "http://qonto", follow_redirects=False)

    def ask(self, **changes: str) -> Response:
        return self.get("/oauth2/auth", params=REQUEST | changes)

    def sign_in(self, **changes: str) -> str:
        challenge = self.ask(**changes).headers["location"].partition("=")[2]
        form = {"login_challenge": challenge, "user": USER, "password": PASSWORD}
        self.post("/sign-in", data=form)
        return challenge

    def decide(self, challenge: str, decision: str = "allow") -> Response:
        scopes = ["offline_access", "organization.read", "never.asked"]
        form = {"consent_challenge": challenge, "decision": decision, "scope": scopes}
        return self.post("/consent", data=form | {"organization": ORGANIZATIONS[0].id})

    def code(self, **changes: str) -> str:
        return returned(self.decide(self.sign_in(**changes)))["code"]

    def exchange(self, code: str, **changes: str) -> Response:
        form = {"client_id": "client", "client_secret": "secret", "code": code}
        form |= {"grant_type": "authorization_code", "redirect_uri": REQUEST["redirect_uri"]}
        return self.post("/oauth2/token", data=form | changes)

    def connect(self, **changes: str) -> Form:
        return dict(self.exchange(self.code(**changes)).json())

    def refresh(self, tokens: Form, **changes: str) -> Response:
        form = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
        return self.exchange("", **(form | changes))

    def api(self, tokens: Form, method: str = "GET", path: str = "organization") -> Response:
        headers = {"Authorization": f"Bearer {tokens['access_token']}"}
        return self.request(method, f"/v2/{path}", headers=headers)

    def work(self, tokens: Form) -> tuple[bool, bool]:
        """Tell which of a response's two tokens work; the refresh ends the access token."""
        return self.api(tokens).is_success, self.refresh(tokens).is_success


@pytest.fixture
def qonto() -> Qonto:
    return Qonto()


def returned(response: Response) -> dict[str, str]:
    """Return the parameters on the redirection URI."""
    return dict(parse_qsl(urlsplit(response.headers["location"]).query))


def error(response: Response) -> str:
    """Return the status and the error of *response*, in its body or on the redirection URI."""
    body = returned(response) if response.is_redirect else response.json()
    return f"{response.status_code} {body['error']}"


@pytest.mark.parametrize(
    ("name", "value", "refusal"),
    [
        ("client_id", "another", "404 not_found"),
        ("response_mode", "jwt", "400 unsupported_response_mode"),
        ("redirect_uri", "http://localhost:8001/callback/", INVALID_REQUEST),
        ("redirect_uri", "http://LOCALHOST:8001/callback", INVALID_REQUEST),
        ("scope", "organization.read unknown.scope", "303 invalid_scope"),
        ("scope", "", "303 invalid_scope"),
        ("response_type", "token", "303 unsupported_response_type"),
        ("state", "7-chars", "303 invalid_state"),
        ("organization_id", "not/an/id", "303 invalid_request"),
        ("code_challenge", CHALLENGE, "303 invalid_request"),  # without its method
    ],
)
def test_invalid_request_is_refused(qonto: Qonto, name: str, value: str, refusal: str) -> None:
    assert error(qonto.ask(**{name: value})) == refusal


def test_consent_can_be_declined_late_or_repeated(qonto: Qonto) -> None:
    declined, decided, late = qonto.sign_in(), qonto.sign_in(), qonto.sign_in()  # three tabs
    assert error(qonto.decide(declined, "decline")) == "303 access_denied"
    assert returned(qonto.decide(decided))["state"] == REQUEST["state"]
    assert error(qonto.decide(decided)) == "303 access_denied"
    qonto.seconds += 1800
    assert error(qonto.decide(late)) == "303 request_unauthorized"
    qonto.cookies.clear()
    assert error(qonto.decide(late)) == "303 request_forbidden"


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"client_id": "another"}, INVALID_CLIENT),
        ({"client_secret": "wrong"}, INVALID_CLIENT),
        ({"grant_type": "password"}, "400 unsupported_grant_type"),
        ({"code": "ory_ac_unknown"}, INVALID_GRANT),
        ({"redirect_uri": "http://localhost:8001/callback/"}, INVALID_GRANT),
        ({"code_verifier": ""}, INVALID_GRANT),
        ({"code_verifier": "wrong"}, INVALID_GRANT),
    ],
)
def test_refused_exchange_keeps_code(qonto: Qonto, changes: Form, refusal: str) -> None:
    code = qonto.code(code_challenge=CHALLENGE, code_challenge_method="S256")
    form = {"code": code, "code_verifier": VERIFIER}
    assert error(qonto.exchange(**(form | changes))) == refusal
    assert qonto.exchange(**form).is_success
    assert (qonto.server.exchanges_attempted, qonto.server.exchanges_succeeded) == (2, 1)
    assert error(qonto.exchange(qonto.code(), code_verifier=VERIFIER)) == INVALID_GRANT


def test_client_needs_scopes_staging_token_and_secret_in_form(qonto: Qonto) -> None:
    tokens = qonto.connect()
    assert error(qonto.api(qonto.connect(scope="offline_access"))) == "403 forbidden"
    assert "refresh_token" not in qonto.connect(scope="organization.read")
    qonto.server.staging_token = "staging"
    assert error(qonto.refresh(tokens)) == error(qonto.api(tokens)) == UNAUTHORIZED
    qonto.headers["X-Qonto-Staging-Token"] = "staging"
    assert qonto.work(tokens) == (True, True)
    qonto.auth = ("client", "secret")
    assert error(qonto.refresh(tokens)) == INVALID_CLIENT


def test_code_and_tokens_end(qonto: Qonto) -> None:
    code, tokens, started_at = qonto.code(), qonto.connect(), qonto.seconds
    qonto.seconds = started_at + 600
    assert error(qonto.exchange(code)) == INVALID_GRANT
    qonto.seconds = started_at + 3600
    assert error(qonto.api(tokens)) == UNAUTHORIZED
    qonto.seconds = started_at + 90 * 24 * 3600
    assert error(qonto.refresh(tokens)) == INVALID_GRANT


def test_reuse_revokes_tokens_of_grant(qonto: Qonto) -> None:
    code, others = qonto.code(), qonto.connect()
    first = qonto.exchange(code).json()
    second = qonto.refresh(first).json()
    assert first["scope"] == second["scope"] == "offline_access organization.read"
    assert error(qonto.api(first)) == UNAUTHORIZED
    qonto.seconds += 59.9
    third = qonto.refresh(first).json()
    assert qonto.api(second).is_success
    qonto.seconds += 0.1  # the second use has not prolonged the grace
    assert error(qonto.refresh(first)) == INVALID_GRANT
    assert qonto.work(second) == qonto.work(third) == (False, False)
    assert (qonto.server.refreshes, qonto.server.reuses) == (2, 1)

    code = qonto.code()
    tokens = qonto.exchange(code).json()
    assert error(qonto.exchange(code)) == INVALID_GRANT
    assert qonto.work(tokens) == (False, False)
    assert qonto.work(others) == (True, True)


def test_revocation_ends_grants_of_organization(qonto: Qonto) -> None:
    one, another, code = qonto.connect(), qonto.connect(), qonto.code()
    others = qonto.connect(organization_id=ORGANIZATIONS[1].id)
    assert qonto.api(one, "DELETE", "oauth2/consents").status_code == 204
    assert qonto.work(one) == qonto.work(another) == (False, False)
    assert error(qonto.exchange(code)) == INVALID_GRANT
    assert qonto.work(others) == qonto.work(qonto.connect()) == (True, True)
