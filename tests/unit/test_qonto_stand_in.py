"""Mock Qonto keeps every rule and quirk that a browser or a subscriber can meet."""

import re
from collections.abc import Iterator
from urllib.parse import parse_qs, parse_qsl, urlsplit

import httpx2
import pytest
from starlette.testclient import TestClient

from demo.qonto import ORGANIZATIONS, PASSWORD, PERSON, AuthorizationServer, create_app

REDIRECT_URI = "http://localhost:8001/callback"
REQUEST = {
    "client_id": "client",
    "redirect_uri": REDIRECT_URI,
    "scope": "offline_access organization.read",
    "response_type": "code",
    "state": "a-state-of-enough-characters",
}
VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"  # RFC 7636, appendix B
CHALLENGE = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


class Clock:
    """Seconds that pass only when a test says so."""

    def __init__(self) -> None:
        self.seconds = 1_800_000_000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def server(clock: Clock) -> AuthorizationServer:
    return AuthorizationServer("client", "secret", [REDIRECT_URI], now=clock)


@pytest.fixture
def browser(server: AuthorizationServer) -> Iterator[TestClient]:
    app = create_app(server)
    with TestClient(app, "http://127.0.0.1:8002", follow_redirects=False) as client:
        yield client


def ask(browser: TestClient, **changes: str | None) -> httpx2.Response:
    parameters = {name: value for name, value in (REQUEST | changes).items() if value is not None}
    return browser.get("/oauth2/auth", params=parameters)


def sign_in(browser: TestClient, asked: httpx2.Response) -> str:
    """Sign in on the page that an authorization request led to; returns the login's challenge."""
    challenge = dict(parse_qsl(urlsplit(asked.headers["location"]).query))["login_challenge"]
    browser.post(
        "/sign-in",
        data={"login_challenge": challenge, "person": PERSON, "password": PASSWORD},
    )
    return challenge


def decide(browser: TestClient, challenge: str, decision: str, **form: str) -> httpx2.Response:
    fields = {
        "consent_challenge": challenge,
        "decision": decision,
        "scope": ["offline_access", "organization.read"],
        "organization": ORGANIZATIONS[0].id,
    }
    return browser.post("/consent", data=fields | form)


def allow(browser: TestClient, **changes: str | None) -> dict[str, str]:
    """Go all the way; returns the parameters on the redirection URI."""
    challenge = sign_in(browser, ask(browser, **changes))
    return returned(decide(browser, challenge, "allow"))


def returned(response: httpx2.Response) -> dict[str, str]:
    assert response.status_code == 303
    assert response.headers["location"].startswith(f"{REDIRECT_URI}?")
    return dict(parse_qsl(urlsplit(response.headers["location"]).query, keep_blank_values=True))


def exchange(client: TestClient, code: str, **changes: str) -> httpx2.Response:
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": REDIRECT_URI,
        "client_id": "client",
        "client_secret": "secret",
    }
    return client.post("/oauth2/token", data=form | changes)


def connect(browser: TestClient, **changes: str | None) -> httpx2.Response:
    """Allow what the client asks for, and exchange the code."""
    return exchange(browser, allow(browser, **changes)["code"])


def refresh(client: TestClient, tokens: httpx2.Response, **changes: str) -> httpx2.Response:
    form = {
        "grant_type": "refresh_token",
        "refresh_token": tokens.json()["refresh_token"],
        "client_id": "client",
        "client_secret": "secret",
    }
    return client.post("/oauth2/token", data=form | changes)


def ask_organization(client: TestClient, tokens: httpx2.Response) -> httpx2.Response:
    return client.get("/v2/organization", headers=bearer(tokens))


def revoke_consents(client: TestClient, tokens: httpx2.Response) -> httpx2.Response:
    return client.delete("/v2/oauth2/consents", headers=bearer(tokens))


def bearer(tokens: httpx2.Response) -> dict[str, str]:
    return {"Authorization": f"Bearer {tokens.json()['access_token']}"}


def error_of(response: httpx2.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]


INVALID_GRANT = (400, "invalid_grant")


# The authorization endpoint


@pytest.mark.parametrize("client_id", ["another", "", None])
def test_an_unknown_client_is_answered_in_place(browser: TestClient, client_id: str | None) -> None:
    response = ask(browser, client_id=client_id)

    assert response.status_code == 404
    assert response.json() == {"error": "not_found", "error_description": "Client not found"}


@pytest.mark.parametrize(
    "redirect_uri",
    [f"{REDIRECT_URI}/", f"{REDIRECT_URI}?", "http://LOCALHOST:8001/callback", "", None],
)
def test_a_redirection_uri_is_compared_byte_for_byte(
    browser: TestClient, redirect_uri: str | None
) -> None:
    response = ask(browser, redirect_uri=redirect_uri)

    assert response.status_code == 400
    assert response.json().keys() == {
        "error",
        "error_verbose",
        "error_description",
        "status_code",
    }


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"scope": "organization.read unheard.of"}, "invalid_scope"),
        ({"scope": None}, "invalid_scope"),
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"response_type": None}, "unsupported_response_type"),
        ({"state": "7-chars"}, "invalid_state"),
        ({"state": None}, "invalid_state"),
        ({"organization_id": "not/an/id"}, "invalid_request"),
        ({"registration_id": ""}, "invalid_request"),
        ({"code_challenge": CHALLENGE}, "invalid_request"),
        ({"code_challenge": CHALLENGE, "code_challenge_method": "plain"}, "invalid_request"),
    ],
)
def test_a_wrong_parameter_is_answered_on_the_redirection_uri(
    browser: TestClient, changes: dict[str, str | None], error: str
) -> None:
    response = ask(browser, **changes)

    answer = returned(response)
    assert answer["error"] == error
    assert answer["state"] == ((REQUEST | changes)["state"] or "")
    assert answer.keys() == {"error", "error_description", "state"}


@pytest.mark.parametrize(
    ("mode", "separator"), [("", "?"), (None, "?"), ("query", "?"), ("fragment", "#")]
)
def test_response_mode_says_where_the_parameters_are(
    browser: TestClient, mode: str | None, separator: str
) -> None:
    challenge = sign_in(browser, ask(browser, response_mode=mode))

    granted = decide(browser, challenge, "allow").headers["location"]
    failed = ask(browser, response_mode=mode, scope="unheard.of").headers["location"]

    assert granted.startswith(f"{REDIRECT_URI}{separator}code=ory_ac_")
    assert granted.endswith(f"&state={REQUEST['state']}")
    assert failed.startswith(f"{REDIRECT_URI}{separator}error=invalid_scope&")


def test_form_post_is_a_page_that_posts_the_parameters(browser: TestClient) -> None:
    challenge = sign_in(browser, ask(browser, response_mode="form_post"))

    response = decide(browser, challenge, "allow")

    assert response.status_code == 200
    assert f'<form method="post" action="{REDIRECT_URI}">' in response.text
    fields = dict(re.findall('name="(.+?)" value="(.*?)"', response.text))
    assert fields.keys() == {"code", "scope", "state"}


def test_unsupported_response_mode_is_answered_in_place(browser: TestClient) -> None:
    response = ask(browser, response_mode="jwt")

    assert response.status_code == 400
    assert response.json()["error"] == "unsupported_response_mode"


def test_every_page_says_that_it_is_not_qonto(browser: TestClient) -> None:
    asked = ask(browser)

    sign_in_page = browser.get(asked.headers["location"])
    challenge = sign_in(browser, asked)
    consent_page = browser.get(f"/consent?consent_challenge={challenge}")

    assert "This is not Qonto" in sign_in_page.text
    assert "This is not Qonto" in consent_page.text


def test_a_wrong_password_signs_nobody_in(browser: TestClient) -> None:
    challenge = ask(browser).headers["location"].partition("=")[2]

    response = browser.post(
        "/sign-in",
        data={"login_challenge": challenge, "person": PERSON, "password": "wrong"},
    )

    assert response.status_code == 401
    consent = browser.get(f"/consent?consent_challenge={challenge}")
    assert consent.headers["location"] == f"/sign-in?login_challenge={challenge}"


@pytest.mark.parametrize("name", ["organization_id", "registration_id"])
def test_a_given_organization_skips_the_picker(browser: TestClient, name: str) -> None:
    with_picker = sign_in(browser, ask(browser))
    without_picker = sign_in(browser, ask(browser, **{name: ORGANIZATIONS[1].id}))

    pages = [
        browser.get(f"/consent?consent_challenge={challenge}").text
        for challenge in (with_picker, without_picker)
    ]

    assert 'type="radio"' in pages[0]
    assert 'type="radio"' not in pages[1]
    assert ORGANIZATIONS[1].name in pages[1]


# Its answers


def test_consent_comes_back_with_a_code_the_granted_scope_and_the_state(
    browser: TestClient,
) -> None:
    challenge = sign_in(browser, ask(browser))

    response = decide(browser, challenge, "allow")

    answer = returned(response)
    assert answer.keys() == {"code", "scope", "state"}
    assert re.fullmatch(r"ory_ac_[\w.-]{87}", answer["code"])
    assert answer["state"] == REQUEST["state"]
    assert "scope=offline_access+organization.read&" in response.headers["location"]


def test_a_person_can_grant_fewer_scopes_but_not_more(browser: TestClient) -> None:
    challenge = sign_in(browser, ask(browser))

    fields = {
        "consent_challenge": challenge,
        "decision": "allow",
        "scope": ["organization.read", "payment.write"],
    }
    response = browser.post("/consent", data=fields)

    assert returned(response)["scope"] == "organization.read"


def test_declining_is_access_denied(browser: TestClient) -> None:
    challenge = sign_in(browser, ask(browser))

    response = decide(browser, challenge, "decline")

    assert returned(response) == {
        "error": "access_denied",
        "error_description": "The resource owner denied the request.",
        "state": REQUEST["state"],
    }


def test_another_error_and_its_commas_arrive_as_chosen(browser: TestClient) -> None:
    challenge = sign_in(browser, ask(browser))

    response = decide(
        browser, challenge, "error", error="server_error", error_description="One, two, three."
    )

    assert returned(response)["error"] == "server_error"
    assert returned(response)["error_description"] == "One, two, three."


def test_a_refusal_without_a_name_gets_hydras_with_spaces(browser: TestClient) -> None:
    challenge = sign_in(browser, ask(browser))

    response = decide(browser, challenge, "error", error="")

    assert returned(response)["error"] == "consent request denied"


def test_a_browser_that_lost_its_cookie_is_forbidden(browser: TestClient) -> None:
    challenge = sign_in(browser, ask(browser))
    browser.cookies.clear()

    response = decide(browser, challenge, "allow")

    assert returned(response)["error"] == "request_forbidden"


def test_two_tabs_of_one_browser_both_finish(browser: TestClient) -> None:
    first = sign_in(browser, ask(browser))
    second = sign_in(browser, ask(browser, state="another-state"))

    answers = [decide(browser, challenge, "allow") for challenge in (second, first)]

    assert [returned(answer)["state"] for answer in answers] == ["another-state", REQUEST["state"]]


def test_a_consent_given_again_from_history_is_denied(browser: TestClient) -> None:
    challenge = sign_in(browser, ask(browser))
    decide(browser, challenge, "allow")

    response = decide(browser, challenge, "allow")

    assert returned(response)["error"] == "access_denied"


def test_a_login_of_thirty_minutes_is_unauthorized(browser: TestClient, clock: Clock) -> None:
    challenge = sign_in(browser, ask(browser))
    clock.seconds += 1800

    response = decide(browser, challenge, "allow")

    assert returned(response)["error"] == "request_unauthorized"


# The token endpoint


def test_a_code_is_exchanged_for_tokens(browser: TestClient, server: AuthorizationServer) -> None:
    code = allow(browser)["code"]

    response = exchange(browser, code)

    tokens = response.json()
    assert tokens["access_token"].startswith("ory_at_")
    assert tokens["refresh_token"].startswith("ory_rt_")
    assert tokens["expires_in"] == 3600
    assert tokens["scope"] == "offline_access organization.read"
    assert tokens["token_type"] == "bearer"
    assert (server.exchanges_attempted, server.exchanges_succeeded) == (1, 1)


def test_there_is_no_refresh_token_without_offline_access(browser: TestClient) -> None:
    code = allow(browser, scope="organization.read")["code"]

    response = exchange(browser, code)

    assert "refresh_token" not in response.json()


def test_basic_authentication_is_refused(browser: TestClient) -> None:
    code = allow(browser)["code"]

    response = browser.post(
        "/oauth2/token",
        data={"grant_type": "authorization_code", "code": code, "redirect_uri": REDIRECT_URI},
        auth=("client", "secret"),
    )

    assert (response.status_code, response.json()["error"]) == (401, "invalid_client")


@pytest.mark.parametrize("wrong", [{"client_secret": "wrong"}, {"client_id": "another"}])
def test_a_client_that_is_not_authenticated_gets_nothing(
    browser: TestClient, server: AuthorizationServer, wrong: dict[str, str]
) -> None:
    code = allow(browser)["code"]

    response = exchange(browser, code, **wrong)

    assert (response.status_code, response.json()["error"]) == (401, "invalid_client")
    assert (server.exchanges_attempted, server.exchanges_succeeded) == (1, 0)


def test_another_grant_type_is_not_supported(browser: TestClient) -> None:
    code = allow(browser)["code"]

    response = exchange(browser, code, grant_type="password")

    assert response.json()["error"] == "unsupported_grant_type"


def test_an_unknown_code_is_an_invalid_grant(browser: TestClient) -> None:
    response = exchange(browser, "ory_ac_unknown")

    assert (response.status_code, response.json()["error"]) == (400, "invalid_grant")


def test_a_wrong_redirection_uri_does_not_use_the_code_up(browser: TestClient) -> None:
    code = allow(browser)["code"]

    wrong = exchange(browser, code, redirect_uri=f"{REDIRECT_URI}/")
    right = exchange(browser, code)

    assert (wrong.status_code, wrong.json()["error"]) == (400, "invalid_grant")
    assert right.status_code == 200


def test_a_code_lives_ten_minutes(browser: TestClient, clock: Clock) -> None:
    codes = [allow(browser)["code"], allow(browser)["code"]]

    clock.seconds += 599
    in_time = exchange(browser, codes[0])
    clock.seconds += 1
    too_late = exchange(browser, codes[1])

    assert in_time.status_code == 200
    assert too_late.json()["error"] == "invalid_grant"


def test_a_second_use_of_a_code_revokes_the_tokens_of_the_first(browser: TestClient) -> None:
    code = allow(browser)["code"]
    tokens = exchange(browser, code)

    before = ask_organization(browser, tokens)
    second = exchange(browser, code)
    after = ask_organization(browser, tokens)

    assert before.status_code == 200
    assert (second.status_code, second.json()["error"]) == (400, "invalid_grant")
    assert after.status_code == 401


@pytest.mark.parametrize(
    ("verifier", "error"), [(VERIFIER, None), ("wrong", "invalid_grant"), ("", "invalid_grant")]
)
def test_a_challenge_needs_its_verifier(
    browser: TestClient, verifier: str, error: str | None
) -> None:
    code = allow(browser, code_challenge=CHALLENGE, code_challenge_method="S256")["code"]

    response = exchange(browser, code, code_verifier=verifier)

    assert response.json().get("error") == error


def test_a_verifier_needs_its_challenge(browser: TestClient) -> None:
    code = allow(browser)["code"]

    response = exchange(browser, code, code_verifier=VERIFIER)

    assert response.json()["error"] == "invalid_grant"


def test_the_sandbox_wants_its_staging_token(
    browser: TestClient, server: AuthorizationServer
) -> None:
    code = allow(browser)["code"]
    server.staging_token = "staging"

    without = exchange(browser, code)
    browser.headers["X-Qonto-Staging-Token"] = "staging"
    with_it = exchange(browser, code)

    assert without.status_code == 401
    assert with_it.status_code == 200


# The token endpoint, with a refresh token


def test_refresh_gives_new_tokens_of_granted_scope(
    browser: TestClient, server: AuthorizationServer
) -> None:
    first = connect(browser, scope="offline_access organization.read payment.write")

    second = refresh(browser, first)

    old, new = first.json(), second.json()
    assert new.keys() == old.keys()
    assert new["scope"] == "offline_access organization.read"
    assert not {new["access_token"], new["refresh_token"]} & set(old.values())
    assert ask_organization(browser, second).status_code == 200
    assert (server.refreshes, server.reuses, server.exchanges_attempted) == (1, 0, 1)


def test_refresh_deletes_the_previous_access_token(browser: TestClient) -> None:
    first = connect(browser)
    refresh(browser, first)

    assert ask_organization(browser, first).status_code == 401


def test_use_within_grace_leaves_other_tokens_valid(
    browser: TestClient, server: AuthorizationServer
) -> None:
    first = connect(browser)
    second = refresh(browser, first)

    third = refresh(browser, first)

    assert [ask_organization(browser, it).status_code for it in (second, third)] == [200, 200]
    assert [refresh(browser, it).status_code for it in (second, third)] == [200, 200]
    assert (server.refreshes, server.reuses) == (4, 0)


@pytest.mark.parametrize(("seconds", "status"), [(59.999, 200), (60, 400)])
def test_grace_ends_sixty_seconds_after_first_use(
    browser: TestClient, clock: Clock, seconds: float, status: int
) -> None:
    tokens = connect(browser)
    clock.seconds += 1000
    refresh(browser, tokens)
    clock.seconds += seconds

    assert refresh(browser, tokens).status_code == status


def test_use_within_grace_does_not_prolong_it(browser: TestClient, clock: Clock) -> None:
    tokens = connect(browser)
    refresh(browser, tokens)
    clock.seconds += 30
    refresh(browser, tokens)
    clock.seconds += 30

    assert error_of(refresh(browser, tokens)) == INVALID_GRANT


def test_reuse_revokes_all_tokens_of_the_grant(
    browser: TestClient, server: AuthorizationServer, clock: Clock
) -> None:
    first = connect(browser)
    second = refresh(browser, first)
    third = refresh(browser, first)
    clock.seconds += 60

    assert error_of(refresh(browser, first)) == INVALID_GRANT

    for tokens in (second, third):
        assert ask_organization(browser, tokens).status_code == 401
        assert error_of(refresh(browser, tokens)) == INVALID_GRANT
    assert (server.refreshes, server.reuses) == (2, 1)


def test_reuse_spares_other_grants(browser: TestClient, clock: Clock) -> None:
    tokens, others = connect(browser), connect(browser)
    refresh(browser, tokens)
    clock.seconds += 60
    refresh(browser, tokens)

    assert ask_organization(browser, others).status_code == 200
    assert refresh(browser, others).status_code == 200


@pytest.mark.parametrize(("seconds", "status"), [(-0.001, 200), (0, 400)])
def test_refresh_token_lives_ninety_days(
    browser: TestClient, clock: Clock, seconds: float, status: int
) -> None:
    tokens = connect(browser)
    clock.seconds += 90 * 24 * 3600 + seconds

    assert refresh(browser, tokens).status_code == status


def test_expired_refresh_token_revokes_nothing(
    browser: TestClient, server: AuthorizationServer, clock: Clock
) -> None:
    first = connect(browser)
    clock.seconds += 90 * 24 * 3600 - 1
    second = refresh(browser, first)
    clock.seconds += 1

    assert error_of(refresh(browser, first)) == INVALID_GRANT
    assert refresh(browser, second).status_code == 200
    assert server.reuses == 0


def test_unknown_refresh_token_is_an_invalid_grant(browser: TestClient) -> None:
    response = refresh(browser, connect(browser), refresh_token="ory_rt_unknown")

    assert error_of(response) == INVALID_GRANT


def test_missing_refresh_token_is_an_invalid_grant(browser: TestClient) -> None:
    form = {"grant_type": "refresh_token", "client_id": "client", "client_secret": "secret"}

    assert error_of(browser.post("/oauth2/token", data=form)) == INVALID_GRANT


@pytest.mark.parametrize("wrong", [{"client_secret": "wrong"}, {"client_id": "another"}])
def test_refresh_without_client_authentication_uses_nothing(
    browser: TestClient, server: AuthorizationServer, wrong: dict[str, str]
) -> None:
    response = refresh(browser, connect(browser), **wrong)

    assert error_of(response) == (401, "invalid_client")
    assert not server.refresh_token_uses


def test_refresh_in_sandbox_needs_staging_token(
    browser: TestClient, server: AuthorizationServer
) -> None:
    tokens = connect(browser)
    server.staging_token = "staging"

    assert error_of(refresh(browser, tokens)) == (401, "unauthorized")


def test_each_use_of_a_refresh_token_is_recorded(
    browser: TestClient, server: AuthorizationServer, clock: Clock
) -> None:
    tokens = connect(browser)
    start = clock.seconds
    for _ in range(3):
        refresh(browser, tokens)
        clock.seconds += 40

    assert server.refresh_token_uses == {
        tokens.json()["refresh_token"]: [start, start + 40, start + 80]
    }


def test_code_reuse_revokes_refreshed_tokens(browser: TestClient) -> None:
    code = allow(browser)["code"]
    tokens = refresh(browser, exchange(browser, code))

    exchange(browser, code)

    assert ask_organization(browser, tokens).status_code == 401
    assert error_of(refresh(browser, tokens)) == INVALID_GRANT


# The business API


def test_an_access_token_opens_the_organization_that_was_chosen(browser: TestClient) -> None:
    challenge = sign_in(browser, ask(browser))
    answer = decide(browser, challenge, "allow", organization=ORGANIZATIONS[1].id)
    tokens = exchange(browser, returned(answer)["code"])

    response = ask_organization(browser, tokens)

    assert response.json()["organization"]["name"] == ORGANIZATIONS[1].name
    assert response.json()["organization"]["slug"] == ORGANIZATIONS[1].slug


def test_organization_lists_its_bank_accounts(browser: TestClient) -> None:
    organization = ask_organization(browser, connect(browser)).json()["organization"]

    assert organization["legal_name"] == "Atelier Martin"
    assert [account["main"] for account in organization["bank_accounts"]] == [True, False]
    assert organization["bank_accounts"][0] == {
        "id": "5e0d4c1b-7a68-4f92-b3d1-2c6a9e8f7041",
        "name": "Compte principal",
        "status": "active",
        "main": True,
        "iban": "FR1420041010050500013M02606",
        "currency": "EUR",
        "balance": 12843.5,
        "balance_cents": 1284350,
    }


@pytest.mark.parametrize(("seconds", "status"), [(3599.999, 200), (3600, 401)])
def test_an_access_token_lives_an_hour(
    browser: TestClient, clock: Clock, seconds: float, status: int
) -> None:
    first = connect(browser)
    clock.seconds += 3000
    second = refresh(browser, first)
    clock.seconds += seconds

    assert ask_organization(browser, second).status_code == status


def test_the_organization_needs_its_scope(browser: TestClient) -> None:
    tokens = exchange(browser, allow(browser, scope="offline_access")["code"])

    response = ask_organization(browser, tokens)

    assert response.status_code == 403


def test_revocation_ends_all_grants_of_the_membership(browser: TestClient) -> None:
    one, another = refresh(browser, connect(browser)), connect(browser)

    assert revoke_consents(browser, one).status_code == 204

    for tokens in (one, another):
        assert ask_organization(browser, tokens).status_code == 401
        assert error_of(refresh(browser, tokens)) == INVALID_GRANT


def test_revocation_spares_other_organizations(browser: TestClient) -> None:
    others = connect(browser, organization_id=ORGANIZATIONS[1].id)

    revoke_consents(browser, connect(browser))

    assert ask_organization(browser, others).status_code == 200
    assert refresh(browser, others).status_code == 200


def test_revocation_ends_codes_that_wait(browser: TestClient) -> None:
    code = allow(browser)["code"]

    revoke_consents(browser, connect(browser))

    assert error_of(exchange(browser, code)) == INVALID_GRANT


def test_revocation_spares_later_grants(browser: TestClient) -> None:
    challenge = sign_in(browser, ask(browser))
    revoke_consents(browser, connect(browser))

    code = returned(decide(browser, challenge, "allow"))["code"]

    assert ask_organization(browser, exchange(browser, code)).status_code == 200


def test_revocation_needs_a_valid_access_token(browser: TestClient) -> None:
    first = connect(browser)
    second = refresh(browser, first)

    assert revoke_consents(browser, first).status_code == 401
    assert ask_organization(browser, second).status_code == 200


def test_revocation_needs_scope_organization_read(browser: TestClient) -> None:
    tokens = connect(browser, scope="offline_access")

    assert revoke_consents(browser, tokens).status_code == 403
    assert refresh(browser, tokens).status_code == 200


def test_revocation_in_sandbox_needs_staging_token(
    browser: TestClient, server: AuthorizationServer
) -> None:
    tokens = connect(browser)
    server.staging_token = "staging"

    assert error_of(revoke_consents(browser, tokens)) == (401, "unauthorized")


def test_a_redirection_uri_keeps_its_own_query(clock: Clock) -> None:
    redirect_uri = f"{REDIRECT_URI}?own=1"
    server = AuthorizationServer("client", "secret", [redirect_uri], now=clock)
    browser = TestClient(create_app(server), "http://127.0.0.1:8002", follow_redirects=False)

    answer = ask(browser, redirect_uri=redirect_uri, state="short")

    assert parse_qs(urlsplit(answer.headers["location"]).query)["own"] == ["1"]
