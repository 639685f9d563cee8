"""Mock Qonto keeps the rules of Qonto that a browser or a subscriber can meet."""

import re
from typing import Any
from urllib.parse import parse_qsl

import pytest
from httpx2 import Response
from starlette.testclient import TestClient

from demo.qonto import ORGANIZATIONS, PASSWORD, USER, AuthorizationServer, create_app

REDIRECT_URI = "http://localhost:8001/callback"
REQUEST: dict[str, Any] = {
    "client_id": "client",
    "redirect_uri": REDIRECT_URI,
    "scope": "offline_access organization.read",
    "response_type": "code",
    "state": "a-state-of-enough-characters",
}
VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"  # RFC 7636, appendix B
CHALLENGE = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
UNAUTHORIZED, INVALID_CLIENT = "401 unauthorized", "401 invalid_client"
INVALID_GRANT, INVALID_REQUEST = "400 invalid_grant", "303 invalid_request"

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

    def decide(self, challenge: str, decision: str = "allow") -> Response:
        scopes = ["offline_access", "organization.read", "never.asked"]
        form = {"consent_challenge": challenge, "decision": decision, "scope": scopes}
        return self.browser.post("/consent", data=form | {"organization": ORGANIZATIONS[0].id})

    def code(self, **changes: str | None) -> str:
        return returned(self.decide(self.sign_in(**changes)))["code"]

    def exchange(self, code: str, **changes: str) -> Response:
        client = {"client_id": "client", "client_secret": "secret", "redirect_uri": REDIRECT_URI}
        form = {"grant_type": "authorization_code", "code": code}
        return self.browser.post("/oauth2/token", data=client | form | changes)

    def connect(self, **changes: str | None) -> Form:
        return dict(self.exchange(self.code(**changes)).json())

    def refresh(self, tokens: Form, **changes: str) -> Response:
        form = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
        return self.exchange("", **(form | changes))

    def api(self, tokens: Form, method: str = "GET", path: str = "organization") -> Response:
        headers = {"Authorization": f"Bearer {tokens['access_token']}"}
        return self.browser.request(method, f"/v2/{path}", headers=headers)

    def revoke(self, tokens: Form) -> Response:
        return self.api(tokens, "DELETE", "oauth2/consents")

    def work(self, *all_tokens: Form) -> list[bool]:
        """Tell which tokens work, both of a response; the refresh ends the access token."""
        used = [
            (self.api(tokens).is_success, self.refresh(tokens).is_success) for tokens in all_tokens
        ]
        assert all(of_api == refreshed for of_api, refreshed in used)
        return [of_api for of_api, _ in used]


@pytest.fixture
def qonto() -> Qonto:
    return Qonto()


def returned(response: Response) -> dict[str, str]:
    """Return the parameters on the redirection URI."""
    uri, _, query = response.headers["location"].partition("?")
    assert uri == REDIRECT_URI
    return dict(parse_qsl(query, keep_blank_values=True))


def error(response: Response) -> str:
    """Return the status and the error of *response*, in its body or on the redirection URI."""
    body = returned(response) if response.is_redirect else response.json()
    return f"{response.status_code} {body['error']}"


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"client_id": "another"}, "404 not_found"),
        ({"response_mode": "jwt"}, "400 unsupported_response_mode"),
        ({"redirect_uri": f"{REDIRECT_URI}/"}, "400 invalid_request"),
        ({"redirect_uri": "http://LOCALHOST:8001/callback"}, "400 invalid_request"),
        ({"redirect_uri": f"{REDIRECT_URI}?own=1", "state": None}, "303 invalid_state"),
        ({"scope": "organization.read unknown.scope"}, "303 invalid_scope"),
        ({"scope": None}, "303 invalid_scope"),
        ({"response_type": "token"}, "303 unsupported_response_type"),
        ({"state": "7-chars"}, "303 invalid_state"),
        ({"organization_id": "not/an/id"}, INVALID_REQUEST),
        ({"code_challenge": CHALLENGE}, INVALID_REQUEST),
    ],
)
def test_invalid_request_is_refused(qonto: Qonto, changes: Form, refusal: str) -> None:
    assert error(qonto.ask(**changes)) == refusal


def test_login_and_consent_can_be_declined_late_or_repeated(qonto: Qonto) -> None:
    declined, decided, late = qonto.sign_in(), qonto.sign_in(), qonto.sign_in()  # three tabs
    assert returned(qonto.decide(declined, "decline")) == {
        "error": "access_denied",
        "error_description": "The resource owner denied the request.",
        "state": REQUEST["state"],
    }
    assert "code" in returned(qonto.decide(decided))
    assert error(qonto.decide(decided)) == "303 access_denied"
    qonto.seconds += 1800
    assert error(qonto.decide(late)) == "303 request_unauthorized"
    qonto.browser.cookies.clear()
    assert error(qonto.decide(late)) == "303 request_forbidden"


@pytest.mark.parametrize(("mode", "separator"), [(None, "?"), ("query", "?"), ("fragment", "#")])
def test_response_mode_places_parameters(qonto: Qonto, mode: str | None, separator: str) -> None:
    granted = qonto.decide(qonto.sign_in(response_mode=mode))
    failed = qonto.ask(response_mode=mode, scope="unknown.scope").headers["location"]
    target = re.escape(REDIRECT_URI + separator)
    response = r"code=ory_ac_[\w.-]{87}&scope=offline_access\+organization.read&state=a-.+"
    assert granted.status_code == 303
    assert re.fullmatch(target + response, granted.headers["location"])
    assert re.match(f"{target}error=invalid_scope&error_description=", failed)


def test_code_and_refresh_token_give_new_tokens(qonto: Qonto) -> None:
    first = qonto.connect(scope="offline_access organization.read payment.write")  # not granted
    second = qonto.refresh(first).json()
    for tokens in (first, second):
        assert re.fullmatch(r"ory_at_[\w.-]{87}", tokens["access_token"])
        assert re.fullmatch(r"ory_rt_[\w.-]{87}", tokens["refresh_token"])
        assert tokens["scope"] == "offline_access organization.read"
        assert (tokens["expires_in"], tokens["token_type"]) == (3600, "bearer")
    assert first["refresh_token"] != second["refresh_token"]
    assert error(qonto.api(first)) == UNAUTHORIZED
    assert qonto.work(second) == [True]
    assert "refresh_token" not in qonto.connect(scope="organization.read")


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"client_id": "another"}, INVALID_CLIENT),
        ({"client_secret": "wrong"}, INVALID_CLIENT),
        ({"grant_type": "password"}, "400 unsupported_grant_type"),
        ({"code": "ory_ac_unknown"}, INVALID_GRANT),
        ({"redirect_uri": f"{REDIRECT_URI}/"}, INVALID_GRANT),
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


def test_client_authenticates_in_body_with_staging_token(qonto: Qonto) -> None:
    code, tokens = qonto.code(), qonto.connect(scope="offline_access")
    # The organisation needs a scope.
    assert error(qonto.api(tokens)) == error(qonto.revoke(tokens)) == "403 forbidden"
    assert error(qonto.refresh(tokens, client_id="another")) == INVALID_CLIENT
    assert error(qonto.refresh(tokens, client_secret="wrong")) == INVALID_CLIENT
    qonto.server.staging_token = "staging"
    refused = qonto.refresh(tokens), qonto.api(tokens), qonto.revoke(tokens)
    assert [error(response) for response in refused] == [UNAUTHORIZED] * 3
    qonto.browser.headers["X-Qonto-Staging-Token"] = "staging"
    assert qonto.refresh(tokens).is_success
    qonto.browser.auth = ("client", "secret")
    assert error(qonto.exchange(code)) == INVALID_CLIENT


def test_lifetime_ends(qonto: Qonto) -> None:
    codes, tokens = [qonto.code(), qonto.code()], [qonto.connect(), qonto.connect()]
    started_at, days = qonto.seconds, 24 * 3600
    uses: list[tuple[int, Any, list[Any]]] = [
        (600, qonto.exchange, codes),
        (3600, qonto.api, [tokens[0]] * 2),
        (90 * days, qonto.refresh, tokens),
    ]
    for lifetime, use, (early, late) in uses:
        qonto.seconds = started_at + lifetime - 0.1
        assert use(early).is_success
        qonto.seconds = started_at + lifetime
        assert not use(late).is_success
    assert qonto.server.reuses == 0


def test_code_reuse_revokes_tokens_of_grant(qonto: Qonto) -> None:
    code, others = qonto.code(), qonto.connect()
    first = qonto.exchange(code).json()
    second = qonto.refresh(first).json()
    assert error(qonto.exchange(code)) == INVALID_GRANT
    assert qonto.work(first, second, others) == [False, False, True]


def test_refresh_token_has_minute_of_grace(qonto: Qonto) -> None:
    first, others = qonto.connect(), qonto.connect()
    second = qonto.refresh(first).json()
    qonto.seconds += 59.9
    third = qonto.refresh(first).json()
    assert [qonto.api(tokens).status_code for tokens in (second, third)] == [200, 200]
    qonto.seconds += 0.1  # the second use has not prolonged the grace
    assert error(qonto.refresh(first)) == INVALID_GRANT
    assert qonto.work(second, third, others) == [False, False, True]
    assert error(qonto.refresh(others, refresh_token="ory_rt_unknown")) == INVALID_GRANT
    assert (qonto.server.refreshes, qonto.server.reuses) == (3, 1)


def test_revocation_ends_grants_of_organization(qonto: Qonto) -> None:
    one, another, code = qonto.connect(), qonto.connect(), qonto.code()
    others = qonto.connect(organization_id=ORGANIZATIONS[1].id)
    assert qonto.api(others).json()["organization"]["name"] == ORGANIZATIONS[1].name
    assert qonto.revoke(one).status_code == 204
    assert qonto.work(one, another, others, qonto.connect()) == [False, False, True, True]
    assert error(qonto.exchange(code)) == INVALID_GRANT
    assert error(qonto.revoke(one)) == UNAUTHORIZED
