"""Mock Qonto: its authorization server and a part of its business API, in memory.

Qonto runs Ory Hydra, so names, texts and order of the checks are Hydra's. The user clicks
through a sign-in and a consent, because a chain of bare redirects would hide cookie mistakes.
"""

import base64
import hashlib
import os
import re
import secrets
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlencode

from starlette.applications import Starlette
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.templating import Jinja2Templates

from demo.qonto_tokens import TokenStore, opaque

CODE_LIFETIME = 600
LOGIN_LIFETIME = 1800
MIN_STATE_LENGTH = 8
BROWSER_COOKIE = "stand_in_browser"
RESPONSE_MODES = ("query", "fragment", "form_post")
TEMPLATES = Jinja2Templates(Path(__file__).parent / "templates")

# Qonto's documented scopes, then the three that only other pages of its documentation name.
SCOPES = frozenset(
    """
    attachment.read attachment.write bank_account.write beneficiary.trust card.read card.write
    client.read client.write client_invoice.write client_invoices.read einvoicing.read
    embed_auth_link.write insurance_contract.read insurance_contract.write internal_transfer.write
    international_transfer.write membership.read membership.write offline_access organization.read
    payment.write payment_link.read payment_link.write product.read product.write
    request_cards.write request_review.read request_review.write request_transfers.write
    sepa_direct_debit.read sepa_direct_debit.write supplier_invoice.read supplier_invoice.write
    team.read team.write terminal.read terminal.write webhook
    openid subscription.read user_organization.read
    """.split()  # noqa: SIM905  (forty strings would take forty lines)
)


@dataclass(frozen=True)
class BankAccount:
    """A bank account of an organisation, in euros."""

    id: str
    name: str
    iban: str
    balance_cents: int
    main: bool = False

    def as_json(self) -> dict[str, str | int | float]:
        """Return the account as the business API does, with the members that an app shows."""
        return {
            "id": self.id,
            "name": self.name,
            "status": "active",
            "main": self.main,
            "iban": self.iban,
            "currency": "EUR",
            "balance": self.balance_cents / 100,
            "balance_cents": self.balance_cents,
        }


@dataclass(frozen=True)
class Organization:
    """An organisation that a user can share, with its bank accounts."""

    id: str
    name: str
    slug: str
    bank_accounts: Sequence[BankAccount] = ()

    def as_json(self) -> dict[str, object]:
        """Return the organisation as the business API does.

        Qonto documents ``legal_name``, and public code has also seen ``name``.
        """
        return {
            "id": self.id,
            "name": self.name,
            "legal_name": self.name,
            "slug": self.slug,
            "bank_accounts": [account.as_json() for account in self.bank_accounts],
        }


PERSON = "camille@example.com"
PASSWORD = "in-the-demo-only"  # noqa: S105  (shown on the sign-in page)
ORGANIZATIONS = (  # the IBANs are examples from documentation
    Organization(
        "3f1a2b64-5c0e-4b52-9d1c-8a7e6f5d4c3b",
        "Atelier Martin",
        "atelier-martin-4821",
        (
            BankAccount(
                "5e0d4c1b-7a68-4f92-b3d1-2c6a9e8f7041",
                "Compte principal",
                "FR1420041010050500013M02606",
                1_284_350,
                main=True,
            ),
            BankAccount(
                "a7c3f2e9-0b14-4d86-9e57-61d8b2a4c930",
                "TVA",
                "FR7630006000011234567890189",
                310_000,
            ),
        ),
    ),
    Organization(
        "9c8b7a65-1d2e-4f30-8a4b-0b1c2d3e4f5a",
        "Café Lumière",
        "cafe-lumiere-1107",
        (
            BankAccount(
                "d2b9e6a4-3f71-4c05-8d2e-94f0a1c7b568",
                "Compte principal",
                "FR7616798000010000005663951",
                467_218,
                main=True,
            ),
        ),
    ),
)


class ShownError(Exception):
    """An error that the server shows itself, as JSON: the redirection URI is never called."""

    def __init__(self, status: HTTPStatus, **body: str | int) -> None:
        """Keep the status and the members of the body."""
        super().__init__(body["error"])
        self.status = status
        self.body = body


@dataclass(frozen=True)
class AuthorizationResponse:
    """What the browser takes to the client, and how (``response_mode``).

    A client that wants its response in the query asks for no mode. But an attacker who forwards a
    link can ask for another one, and Hydra lets every client have all three.
    """

    redirect_uri: str
    mode: str
    parameters: Mapping[str, str]

    @property
    def location(self) -> str:
        """Where the browser is sent, in every mode but ``form_post``.

        `urlencode` joins scopes with ``+``, as Qonto does.
        """
        separator = "#" if self.mode == "fragment" else "&" if "?" in self.redirect_uri else "?"
        return f"{self.redirect_uri}{separator}{urlencode(self.parameters)}"


class AuthorizationErrorResponse(Exception):  # noqa: N818  (RFC 6749, section 4.1.2.1)
    """An error that goes back to the client on its redirection URI."""

    def __init__(self, response: AuthorizationResponse) -> None:
        """Keep *response*."""
        super().__init__(response.parameters["error"])
        self.response = response


@dataclass(frozen=True)
class ResponseTarget:
    """Where the client wants its response, how, and with which state."""

    redirect_uri: str
    mode: str
    state: str

    def response(self, **parameters: str) -> AuthorizationResponse:
        """Return the response with *parameters* and the state."""
        return AuthorizationResponse(
            self.redirect_uri, self.mode, parameters | {"state": self.state}
        )

    def error(self, error: str, description: str) -> AuthorizationErrorResponse:
        """Return the error with the three parameters that Hydra sends."""
        return AuthorizationErrorResponse(self.response(error=error, error_description=description))


@dataclass(frozen=True)
class AuthorizationRequest:
    """A request whose parameters all held."""

    target: ResponseTarget
    scopes: Sequence[str]
    organization: Organization | None
    code_challenge: str


@dataclass
class LoginAndConsent:
    """One person's way from the authorization request to the answer, in one browser."""

    request: AuthorizationRequest
    browser: str
    started_at: float
    challenge: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    signed_in: bool = False
    answered: bool = False


@dataclass
class Grant:
    """What a person allowed, with the one code that stands for it."""

    request: AuthorizationRequest
    scopes: Sequence[str]
    organization: Organization
    code: str
    code_expires_at: float
    exchanged: bool = False


@dataclass
class AuthorizationServer:
    """The server's rules and memory.

    Attributes:
        now: its clock, in epoch seconds.
        refreshes: how many refreshes succeeded.
        reuses: how many times a refresh token was used again after its grace.
        refresh_token_uses: when an authenticated client used each refresh token, refused or not.

    """

    client_id: str
    client_secret: str
    redirect_uris: Sequence[str]
    staging_token: str = ""
    now: Callable[[], float] = time.time
    exchanges_attempted: int = 0
    exchanges_succeeded: int = 0
    refreshes: int = 0
    reuses: int = 0
    refresh_token_uses: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    _logins: dict[str, LoginAndConsent] = field(default_factory=dict)
    _grants_by_signature: dict[str, Grant] = field(default_factory=dict)
    _tokens: TokenStore = field(default_factory=TokenStore)

    def begin(self, query: Mapping[str, str], browser: str) -> LoginAndConsent:
        """Check an authorization request and open a login for this browser.

        Raises ShownError while the redirection URI is not known to be the client's, and
        AuthorizationErrorResponse from then on.
        """
        if query.get("client_id") != self.client_id:
            raise ShownError(
                HTTPStatus.NOT_FOUND, error="not_found", error_description="Client not found"
            )
        mode = query.get("response_mode") or "query"
        if mode not in RESPONSE_MODES:
            raise ShownError(
                HTTPStatus.BAD_REQUEST,
                error="unsupported_response_mode",
                error_description="The authorization server does not support obtaining a response "
                f"using this response mode. Request with unsupported response_mode '{mode}'.",
            )
        redirect_uri = query.get("redirect_uri", "")
        if redirect_uri not in self.redirect_uris:
            raise ShownError(
                HTTPStatus.BAD_REQUEST,
                error="invalid_request",
                error_verbose="The request is missing a required parameter, includes an invalid "
                "parameter value, includes a parameter more than once, or is otherwise malformed.",
                error_description="The 'redirect_uri' parameter does not match any of the OAuth "
                "2.0 Client's pre-registered redirect urls.",
                status_code=HTTPStatus.BAD_REQUEST,
            )
        target = ResponseTarget(redirect_uri, mode, query.get("state", ""))
        request = _authorization_request(target, query)
        login = LoginAndConsent(request, browser, self.now())
        self._logins[login.challenge] = login
        return login

    def login(self, challenge: str, browser: str) -> LoginAndConsent:
        """Find an open login; raises when it is not this browser's, too old, or answered."""
        login = self._logins.get(challenge)
        if login is None:
            raise ShownError(
                HTTPStatus.NOT_FOUND,
                error="not_found",
                error_description="Unable to locate the requested resource",
            )
        if not secrets.compare_digest(login.browser.encode(), browser.encode()):
            raise login.request.target.error(
                "request_forbidden",
                "The request is not allowed. No CSRF value available in the session cookie.",
            )
        if login.answered:
            raise login.request.target.error(
                "access_denied",
                "The resource owner or authorization server denied the request. "
                "The consent verifier has already been used.",
            )
        if self.now() >= login.started_at + LOGIN_LIFETIME:
            raise login.request.target.error(
                "request_unauthorized",
                "The request could not be authorized. The login request has expired, "
                "please try again.",
            )
        return login

    def answer(self, login: LoginAndConsent, form: FormData) -> AuthorizationResponse:
        """Answer as the person decided; returns the response with a fresh code.

        Raises AuthorizationErrorResponse for anything but *Allow*.
        """
        login.answered = True
        chosen = _texts(form)
        if chosen.get("decision") == "error":
            # Hydra's own name for a refusal to which the consent page gave none.
            error = chosen.get("error") or "consent request denied"
            raise login.request.target.error(error, chosen.get("error_description", ""))
        if chosen.get("decision") != "allow":
            raise login.request.target.error(
                "access_denied", "The resource owner denied the request."
            )
        scopes = [scope for scope in login.request.scopes if scope in form.getlist("scope")]
        code = opaque("ory_ac_")
        self._grants_by_signature[_signature(code)] = Grant(
            login.request,
            scopes,
            login.request.organization or _organization(chosen.get("organization", "")),
            code,
            code_expires_at=self.now() + CODE_LIFETIME,
        )
        return login.request.target.response(code=code, scope=" ".join(scopes))

    def exchange(self, form: Mapping[str, str], headers: Mapping[str, str]) -> dict[str, str | int]:
        """Exchange a code for tokens, once; raises ShownError with the RFC 6749 error."""
        self.exchanges_attempted += 1
        self._require_staging_token(headers)
        self._authenticate_client(form, headers)
        if form.get("grant_type") != "authorization_code":
            raise _token_error(
                "unsupported_grant_type", "Only authorization_code and refresh_token are supported."
            )
        signature = _signature(form.get("code", ""))
        grant = self._grants_by_signature.get(signature)
        if grant is None:
            raise _token_error("invalid_grant", "The authorization code is not known.")
        if grant.exchanged:
            self._tokens.revoke(signature)
            raise _token_error("invalid_grant", "The authorization code has already been used.")
        if form.get("code") != grant.code:
            raise _token_error("invalid_grant", "The authorization code is not valid.")
        # From here a refusal leaves the code as it is: the right request can still follow.
        if self.now() >= grant.code_expires_at:
            raise _token_error("invalid_grant", "The authorization code has expired.")
        if form.get("redirect_uri") != grant.request.target.redirect_uri:
            raise _token_error(
                "invalid_grant",
                "The 'redirect_uri' from this request does not match the one from the authorize "
                "request.",
            )
        if _challenge(form.get("code_verifier", "")) != grant.request.code_challenge:
            raise _token_error(
                "invalid_grant", "The PKCE code challenge did not match the code verifier."
            )
        grant.exchanged = True
        self.exchanges_succeeded += 1
        return self._tokens.issue(signature, grant.scopes, self.now())

    def refresh(self, form: Mapping[str, str], headers: Mapping[str, str]) -> dict[str, str | int]:
        """Return new tokens for a refresh token; raises ShownError with the RFC 6749 error."""
        self._require_staging_token(headers)
        self._authenticate_client(form, headers)
        now = self.now()
        value = form.get("refresh_token", "")
        self.refresh_token_uses[value].append(now)
        refresh_token = self._tokens.refresh.get(value)
        if refresh_token is None:
            raise _token_error("invalid_grant", "The refresh token is malformed or not valid.")
        if refresh_token.is_reused(now):
            self.reuses += 1
            self._tokens.revoke(refresh_token.grant_id)
            raise _token_error("invalid_grant", "The refresh token was already used.")
        if now >= refresh_token.expires_at:
            raise _token_error("invalid_grant", "The refresh token expired.")
        self._tokens.use(refresh_token, now)
        self.refreshes += 1
        grant = self._grants_by_signature[refresh_token.grant_id]
        return self._tokens.issue(refresh_token.grant_id, grant.scopes, now)

    def organization(self, headers: Mapping[str, str]) -> Organization:
        """Give the organisation that a valid access token stands for."""
        self._require_staging_token(headers)
        token = headers.get("authorization", "").removeprefix("Bearer ")
        access_token = self._tokens.access.get(token)
        if access_token is None or self.now() >= access_token.expires_at:
            raise ShownError(HTTPStatus.UNAUTHORIZED, error="unauthorized")
        grant = self._grants_by_signature[access_token.grant_id]
        if "organization.read" not in grant.scopes:
            raise ShownError(HTTPStatus.FORBIDDEN, error="forbidden")
        return grant.organization

    def revoke_consents(self, headers: Mapping[str, str]) -> None:
        """End all grants of the membership that a valid access token stands for.

        A membership is a user in one organisation, and mock Qonto has one user. Hydra's
        `revokeConsentSession` deletes the consents with their tokens, and its database deletes
        codes with their consent, so a code that was not exchanged yet becomes unknown.
        """
        organization = self.organization(headers)
        for signature, grant in list(self._grants_by_signature.items()):
            if grant.organization == organization:
                self._tokens.revoke(signature)
                del self._grants_by_signature[signature]

    def _authenticate_client(self, form: Mapping[str, str], headers: Mapping[str, str]) -> None:
        secret = form.get("client_secret", "").encode()
        if (
            "authorization" in headers
            or form.get("client_id") != self.client_id
            or not secrets.compare_digest(secret, self.client_secret.encode())
        ):
            raise _token_error(
                "invalid_client",
                "Client authentication failed: client_id and client_secret belong in the body.",
                HTTPStatus.UNAUTHORIZED,
            )

    def _require_staging_token(self, headers: Mapping[str, str]) -> None:
        given = headers.get("x-qonto-staging-token", "")
        if self.staging_token and not secrets.compare_digest(
            given.encode(), self.staging_token.encode()
        ):
            raise _token_error(
                "unauthorized",
                "The sandbox needs the header X-Qonto-Staging-Token.",
                HTTPStatus.UNAUTHORIZED,
            )


def create_app(server: AuthorizationServer) -> Starlette:
    """Put the server behind its routes and pages."""

    async def authorize(request: Request) -> Response:
        browser = request.cookies.get(BROWSER_COOKIE) or secrets.token_urlsafe(32)
        login = server.begin(request.query_params, browser)
        response = _see_other(f"/sign-in?login_challenge={login.challenge}")
        response.set_cookie(BROWSER_COOKIE, browser, httponly=True, samesite="lax")
        return response

    async def sign_in(request: Request) -> Response:
        parameters = await _parameters(request)
        login = server.login(parameters.get("login_challenge", ""), _browser(request))
        page = {"challenge": login.challenge, "person": PERSON, "password": PASSWORD}
        if request.method == "GET":
            return TEMPLATES.TemplateResponse(request, "sign_in.html", page)
        if (parameters.get("person"), parameters.get("password")) != (PERSON, PASSWORD):
            return TEMPLATES.TemplateResponse(
                request, "sign_in.html", page | {"wrong": True}, HTTPStatus.UNAUTHORIZED
            )
        login.signed_in = True
        return _see_other(f"/consent?consent_challenge={login.challenge}")

    async def consent(request: Request) -> Response:
        parameters = await _parameters(request)
        login = server.login(parameters.get("consent_challenge", ""), _browser(request))
        if not login.signed_in:
            return _see_other(f"/sign-in?login_challenge={login.challenge}")
        if request.method == "GET":
            page = {"login": login, "organizations": ORGANIZATIONS, "in_words": _in_words}
            return TEMPLATES.TemplateResponse(request, "consent.html", page)
        return _to_client(request, server.answer(login, await request.form()))

    async def token(request: Request) -> Response:
        form = _texts(await request.form())
        respond = server.refresh if form.get("grant_type") == "refresh_token" else server.exchange
        tokens = respond(form, request.headers)
        return JSONResponse(tokens, headers={"Cache-Control": "no-store"})

    return Starlette(
        routes=[
            Route("/oauth2/auth", authorize),
            Route("/sign-in", sign_in, methods=["GET", "POST"]),
            Route("/consent", consent, methods=["GET", "POST"]),
            Route("/oauth2/token", token, methods=["POST"]),
            *_business_api(server),
            Mount("/static", StaticFiles(directory=Path(__file__).parent / "static")),
        ],
        exception_handlers={
            ShownError: _show,
            AuthorizationErrorResponse: _send_error,
        },
    )


def _business_api(server: AuthorizationServer) -> list[Route]:
    async def organization(request: Request) -> Response:
        return JSONResponse({"organization": server.organization(request.headers).as_json()})

    async def consents(request: Request) -> Response:
        server.revoke_consents(request.headers)
        return Response(status_code=HTTPStatus.NO_CONTENT)  # assumed: a success is some 2xx

    return [
        Route("/v2/organization", organization),
        Route("/v2/oauth2/consents", consents, methods=["DELETE"]),
    ]


def _authorization_request(
    target: ResponseTarget, query: Mapping[str, str]
) -> AuthorizationRequest:
    """Check what comes back to the client when it is wrong, in Hydra's order."""
    scopes = query.get("scope", "").split()
    unknown = [scope for scope in scopes if scope not in SCOPES]
    if unknown or not scopes:
        raise target.error(
            "invalid_scope",
            "The requested scope is invalid, unknown, or malformed. The OAuth 2.0 Client is not "
            f"allowed to request scope '{' '.join(unknown)}'.",
        )
    if query.get("response_type") != "code":
        raise target.error(
            "unsupported_response_type",
            "The authorization server does not support obtaining a token using this method.",
        )
    if len(target.state) < MIN_STATE_LENGTH:
        raise target.error(
            "invalid_state",
            "The state is missing or does not have enough characters and is therefore considered "
            "too weak. Request parameter 'state' must be at least be 8 characters long to ensure "
            "sufficient entropy.",
        )
    ids = [query[name] for name in ("organization_id", "registration_id") if name in query]
    if not all(re.fullmatch(r"[A-Za-z0-9_-]{1,128}", value) for value in ids):
        raise target.error(
            "invalid_request", "The organization_id or registration_id is malformed."
        )
    challenge = query.get("code_challenge", "")
    if challenge and query.get("code_challenge_method") != "S256":
        raise target.error(
            "invalid_request",
            "Clients must use code_challenge_method=S256, plain is not allowed.",
        )
    organization = _organization(ids[0]) if ids else None
    return AuthorizationRequest(target, scopes, organization, challenge)


def _organization(organization_id: str) -> Organization:
    """Find an organisation; an id that mock Qonto does not know gets one of its own."""
    known = {organization.id: organization for organization in ORGANIZATIONS}
    unheard_of = Organization(organization_id, f"Organisation {organization_id}", organization_id)
    return known.get(organization_id, unheard_of)


def _challenge(verifier: str) -> str:
    """Compute the S256 challenge (RFC 7636, section 4.2); no verifier has none."""
    digest = hashlib.sha256(verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode() if verifier else ""


def _signature(code: str) -> str:
    """Return the part by which Hydra knows a code, and revokes the tokens of a used one."""
    return code.rpartition(".")[2]


def _token_error(
    error: str, description: str, status: HTTPStatus = HTTPStatus.BAD_REQUEST
) -> ShownError:
    return ShownError(status, error=error, error_description=description)


async def _show(_request: Request, error: Exception) -> Response:
    assert isinstance(error, ShownError)  # noqa: S101  (Starlette's handlers take any exception)
    return JSONResponse(error.body, error.status, headers={"Cache-Control": "no-store"})


async def _send_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, AuthorizationErrorResponse)  # noqa: S101  (as in _show)
    return _to_client(request, error.response)


def _to_client(request: Request, response: AuthorizationResponse) -> Response:
    if response.mode == "form_post":
        return TEMPLATES.TemplateResponse(request, "form_post.html", {"response": response})
    return _see_other(response.location)


def _see_other(location: str) -> RedirectResponse:
    return RedirectResponse(location, HTTPStatus.SEE_OTHER)


def _browser(request: Request) -> str:
    return request.cookies.get(BROWSER_COOKIE, "")


async def _parameters(request: Request) -> Mapping[str, str]:
    return request.query_params if request.method == "GET" else _texts(await request.form())


def _texts(form: FormData) -> dict[str, str]:
    return {name: value for name, value in form.items() if isinstance(value, str)}


def _in_words(scope: str) -> str:
    """Say a scope in words: `client_invoices.read` is *Read client invoices*."""
    if scope == "offline_access":
        return "Stay connected while you are away"
    resource, _, verb = scope.partition(".")
    return f"{verb} {resource}".strip().replace("_", " ").capitalize()


def create() -> Starlette:
    """Return the server that the environment describes (a factory for uvicorn)."""
    sandbox = os.environ["QONTO_ENVIRONMENT"] == "sandbox"
    server = AuthorizationServer(
        os.environ["CLIENT_ID"],
        os.environ["CLIENT_SECRET"],
        [os.environ["REDIRECT_URI"]],
        os.environ["STAGING_TOKEN"] if sandbox else "",
    )
    return create_app(server)
