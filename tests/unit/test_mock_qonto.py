"""Mock Qonto keeps the rules of Qonto that a browser or a subscriber can meet."""

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from httpx2 import Response
from starlette.testclient import TestClient

from demo.qonto import ORGANIZATIONS, PASSWORD, USER, AuthorizationServer, create_app

REDIRECT_URI = "http://localhost:8001/callback"
CLIENT = {"client_id": "client", "client_secret": "secret"}
REQUEST: dict[str, Any] = {
    "client_id": "client",
    "redirect_uri": REDIRECT_URI,
    "scope": "offline_access organization.read",
    "response_type": "code",
    "state": "a-state-of-enough-characters",
}
VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"  # RFC 7636, appendix B
CHALLENGE = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
S256 = {"code_challenge": CHALLENGE, "code_challenge_method": "S256"}
UNAUTHORIZED = (401, "unauthorized")
INVALID_CLIENT = (401, "invalid_client")
INVALID_GRANT = (400, "invalid_grant")

type Form = dict[str, Any]


class Qonto:
    """Mock Qonto, a browser that follows no redirect, and a clock that a test puts forward."""

    def __init__(self) -> None:
        self.seconds = 1_800_000_000.0
        uris = [REDIRECT_URI, f"{REDIRECT_URI}?own=1"]
        self.server = AuthorizationServer("client", "secret", uris, now=lambda: self.seconds)
        self.browser = TestClient(create_app(self.server), "http://qonto", follow_redirects=False)

    def ask(self, **changes: str | None) -> Response:
        query = {name: value for name, value in (REQUEST | changes).items() if value is not None}
        return self.browser.get("/oauth2/auth", params=query)

    def sign_in(self, **changes: str | None) -> str:
        challenge = self.ask(**changes).headers["location"].partition("=")[2]
        form = {"login_challenge": challenge, "user": USER, "password": PASSWORD}
        self.browser.post("/sign-in", data=form)
        return challenge

    def decide(self, challenge: str, decision: str = "allow", **form: str) -> Response:
        scopes = ["offline_access", "organization.read", "never.asked"]
        decided = {"consent_challenge": challenge, "decision": decision, "scope": scopes}
        chosen = {"organization": ORGANIZATIONS[0].id} | form
        return self.browser.post("/consent", data=decided | chosen)

    def code(self, **changes: str | None) -> str:
        return returned(self.decide(self.sign_in(**changes)))["code"]

    def exchange(self, code: str, **changes: str) -> Response:
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": REDIRECT_URI}
        return self.browser.post("/oauth2/token", data=CLIENT | form | changes)

    def connect(self, **changes: str | None) -> Form:
        return dict(self.exchange(self.code(**changes)).json())

    def refresh(self, tokens: Form, **changes: str) -> Response:
        form = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
        return self.browser.post("/oauth2/token", data=CLIENT | form | changes)

    def api(self, tokens: Form, method: str = "GET", path: str = "organization") -> Response:
        headers = {"Authorization": f"Bearer {tokens['access_token']}"}
        return self.browser.request(method, f"/v2/{path}", headers=headers)

    def revoke(self, tokens: Form) -> Response:
        return self.api(tokens, "DELETE", "oauth2/consents")

    def works(self, tokens: Form) -> bool:
        """Tell whether both tokens do; the refresh ends the access token."""
        statuses = self.api(tokens).status_code, self.refresh(tokens).status_code
        assert statuses in {(200, 200), (401, 400)}
        return statuses == (200, 200)


@pytest.fixture
def qonto() -> Qonto:
    return Qonto()


def returned(response: Response) -> dict[str, str]:
    """Return the parameters on the redirection URI."""
    assert response.headers["location"].startswith(f"{REDIRECT_URI}?")
    return dict(parse_qsl(urlsplit(response.headers["location"]).query, keep_blank_values=True))


def error_of(response: Response) -> tuple[int, str]:
    body = returned(response) if response.is_redirect else response.json()
    return response.status_code, body["error"]


@pytest.mark.parametrize(
    ("changes", "status", "error"),
    [
        ({"client_id": "another"}, 404, "not_found"),
        ({"response_mode": "jwt"}, 400, "unsupported_response_mode"),
        ({"redirect_uri": f"{REDIRECT_URI}/"}, 400, "invalid_request"),
        ({"redirect_uri": "http://LOCALHOST:8001/callback"}, 400, "invalid_request"),
        ({"redirect_uri": f"{REDIRECT_URI}?own=1", "state": None}, 303, "invalid_state"),
        ({"scope": "organization.read unknown.scope"}, 303, "invalid_scope"),
        ({"scope": None}, 303, "invalid_scope"),
        ({"response_type": "token"}, 303, "unsupported_response_type"),
        ({"state": "7-chars"}, 303, "invalid_state"),
        ({"organization_id": "not/an/id"}, 303, "invalid_request"),
        ({"code_challenge": CHALLENGE}, 303, "invalid_request"),
    ],
)
def test_invalid_request_is_refused(qonto: Qonto, changes: Form, status: int, error: str) -> None:
    assert error_of(qonto.ask(**changes)) == (status, error)


def test_login_and_consent_can_be_declined_late_or_repeated(qonto: Qonto) -> None:
    declined, decided, late = qonto.sign_in(), qonto.sign_in(), qonto.sign_in()  # three tabs

    assert returned(qonto.decide(declined, "decline")) == {
        "error": "access_denied",
        "error_description": "The resource owner denied the request.",
        "state": REQUEST["state"],
    }
    assert "code" in returned(qonto.decide(decided))
    assert error_of(qonto.decide(decided)) == (303, "access_denied")
    qonto.seconds += 1800
    assert error_of(qonto.decide(late)) == (303, "request_unauthorized")
    qonto.browser.cookies.clear()
    assert error_of(qonto.decide(late)) == (303, "request_forbidden")


@pytest.mark.parametrize(("mode", "separator"), [(None, "?"), ("query", "?"), ("fragment", "#")])
def test_response_mode_places_parameters(qonto: Qonto, mode: str | None, separator: str) -> None:
    granted = qonto.decide(qonto.sign_in(response_mode=mode))
    failed = qonto.ask(response_mode=mode, scope="unknown.scope")

    target = re.escape(REDIRECT_URI + separator)
    response = r"code=ory_ac_[\w.-]{87}&scope=offline_access\+organization.read&state=a-.+"
    assert granted.status_code == 303
    assert re.fullmatch(target + response, granted.headers["location"])
    assert re.match(f"{target}error=invalid_scope&error_description=", failed.headers["location"])


def test_code_and_refresh_token_give_new_tokens(qonto: Qonto) -> None:
    first = qonto.connect(scope="offline_access organization.read payment.write")  # not granted
    second = qonto.refresh(first).json()

    for tokens in (first, second):
        assert re.fullmatch(r"ory_at_[\w.-]{87}", tokens["access_token"])
        assert re.fullmatch(r"ory_rt_[\w.-]{87}", tokens["refresh_token"])
        assert tokens["scope"] == "offline_access organization.read"
        assert (tokens["expires_in"], tokens["token_type"]) == (3600, "bearer")
    assert first["refresh_token"] != second["refresh_token"]
    assert error_of(qonto.api(first)) == UNAUTHORIZED
    assert qonto.works(second)
    assert "refresh_token" not in qonto.connect(scope="organization.read")


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"client_id": "another"}, INVALID_CLIENT),
        ({"client_secret": "wrong"}, INVALID_CLIENT),
        ({"grant_type": "password"}, (400, "unsupported_grant_type")),
        ({"code": "ory_ac_unknown"}, INVALID_GRANT),
        ({"redirect_uri": f"{REDIRECT_URI}/"}, INVALID_GRANT),
        ({"code_verifier": ""}, INVALID_GRANT),
        ({"code_verifier": "wrong"}, INVALID_GRANT),
    ],
)
def test_refused_exchange_keeps_code(qonto: Qonto, changes: Form, error: tuple[int, str]) -> None:
    form = {"code": qonto.code(**S256), "code_verifier": VERIFIER}

    assert error_of(qonto.exchange(**(form | changes))) == error
    assert qonto.exchange(**form).is_success
    assert (qonto.server.exchanges_attempted, qonto.server.exchanges_succeeded) == (2, 1)
    assert error_of(qonto.exchange(qonto.code(), code_verifier=VERIFIER)) == INVALID_GRANT


def test_client_authenticates_in_body(qonto: Qonto) -> None:
    code, tokens = qonto.code(), qonto.connect()

    assert error_of(qonto.refresh(tokens, client_id="another")) == INVALID_CLIENT
    assert error_of(qonto.refresh(tokens, client_secret="wrong")) == INVALID_CLIENT
    qonto.browser.auth = ("client", "secret")
    assert error_of(qonto.exchange(code)) == INVALID_CLIENT


def test_sandbox_needs_staging_token_and_organization_its_scope(qonto: Qonto) -> None:
    tokens = qonto.connect(scope="offline_access")

    assert error_of(qonto.api(tokens)) == error_of(qonto.revoke(tokens)) == (403, "forbidden")
    qonto.server.staging_token = "staging"
    refused = (qonto.refresh(tokens), qonto.api(tokens), qonto.revoke(tokens))
    assert {error_of(response) for response in refused} == {UNAUTHORIZED}
    qonto.browser.headers["X-Qonto-Staging-Token"] = "staging"
    assert qonto.refresh(tokens).is_success


@pytest.mark.parametrize(
    ("lifetime", "use"),
    [
        (600, lambda qonto, code, _tokens: qonto.exchange(code)),
        (3600, lambda qonto, _code, tokens: qonto.api(tokens)),
        (90 * 24 * 3600, lambda qonto, _code, tokens: qonto.refresh(tokens)),
    ],
)
def test_lifetime_ends(lifetime: int, use: Callable[[Qonto, str, Form], Response]) -> None:
    for early in (0.1, 0):
        qonto = Qonto()
        code, tokens = qonto.code(), qonto.connect()
        qonto.seconds += lifetime - early
        assert use(qonto, code, tokens).is_success == bool(early)
        assert qonto.server.reuses == 0


def test_code_reuse_revokes_tokens_of_grant(qonto: Qonto) -> None:
    code, others = qonto.code(), qonto.connect()
    first = qonto.exchange(code).json()
    second = qonto.refresh(first).json()

    assert error_of(qonto.exchange(code)) == INVALID_GRANT
    assert [qonto.works(tokens) for tokens in (first, second, others)] == [False, False, True]


def test_refresh_token_has_minute_of_grace(qonto: Qonto) -> None:
    first, others = qonto.connect(), qonto.connect()
    second = qonto.refresh(first).json()
    qonto.seconds += 59.9
    third = qonto.refresh(first).json()

    assert [qonto.api(tokens).status_code for tokens in (second, third)] == [200, 200]
    qonto.seconds += 0.1  # the second use has not prolonged the grace
    assert error_of(qonto.refresh(first)) == INVALID_GRANT
    assert [qonto.works(tokens) for tokens in (second, third, others)] == [False, False, True]
    assert error_of(qonto.refresh(others, refresh_token="ory_rt_unknown")) == INVALID_GRANT
    assert (qonto.server.refreshes, qonto.server.reuses) == (3, 1)


def test_revocation_ends_grants_of_organization(qonto: Qonto) -> None:
    one, another, code = qonto.connect(), qonto.connect(), qonto.code()
    others = qonto.connect(organization_id=ORGANIZATIONS[1].id)

    assert qonto.api(others).json()["organization"]["name"] == ORGANIZATIONS[1].name
    assert qonto.revoke(one).status_code == 204
    assert [qonto.works(tokens) for tokens in (one, another, others)] == [False, False, True]
    assert error_of(qonto.exchange(code)) == INVALID_GRANT
    assert error_of(qonto.revoke(one)) == UNAUTHORIZED
    assert qonto.works(qonto.connect())
