"""Mock Qonto: its authorization server and a part of its business API, in memory.

Qonto runs Ory Hydra, so names, texts, order of the checks and rotation of refresh tokens are
Hydra's (`flow_refresh.go`, and `gracefulRefreshRotation` in `persister_oauth2.go`). qonto.json has
the texts, the scopes that Qonto documents, and organisations with IBANs from documentation. The
user clicks through two pages, because a chain of bare redirects would hide cookie mistakes.
"""

import base64
import hashlib
import json
import os
import re
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from math import inf
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from starlette.applications import Starlette
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.templating import Jinja2Templates

# Seconds. Qonto documents those of tokens, and the grace of a used refresh token.
CODE_LIFETIME, LOGIN_LIFETIME = 600, 1800
ACCESS_TOKEN_LIFETIME, REFRESH_TOKEN_LIFETIME, GRACE = 3600, 90 * 24 * 3600, 60
MIN_STATE_LENGTH = 8
BROWSER_COOKIE = "mock_qonto_browser"
NO_STORE = {"Cache-Control": "no-store"}
USER = "camille@example.com"
PASSWORD = "in-the-demo-only"  # noqa: S105  (shown on the sign-in page)
FOLDER = Path(__file__).parent
TEMPLATES = Jinja2Templates(FOLDER / "templates")
DATA = json.loads((FOLDER / "qonto.json").read_text("utf-8"))
SCOPES = DATA["scopes"]  # in words
STATUSES = {"not_found": 404, "unauthorized": 401, "invalid_client": 401, "forbidden": 403}
ID = re.compile("[A-Za-z0-9_-]{1,128}")


@dataclass(frozen=True)
class Organization:
    """An organisation that a user can share, with the members of the business API."""

    id: str
    name: str
    legal_name: str  # documented by Qonto; public code has also seen `name`
    slug: str
    bank_accounts: Sequence[dict[str, Any]] = ()


ORGANIZATIONS = tuple(Organization(**organization) for organization in DATA["organizations"])


class ShownError(Exception):
    """An error, as JSON, that the server shows itself: it does not redirect to the client."""


@dataclass(frozen=True)
class AuthorizationResponse:
    """The parameters that the browser takes to the client."""

    redirect_uri: str
    mode: str  # Hydra lets every client have all: who forwards a link can add another
    parameters: dict[str, str]  # at first the state alone

    @property
    def location(self) -> str:
        """Where the browser is sent, in every mode but ``form_post``."""
        separator = "#" if self.mode == "fragment" else "&" if "?" in self.redirect_uri else "?"
        # `urlencode` joins scopes with "+", as Qonto does.
        return f"{self.redirect_uri}{separator}{urlencode(self.parameters)}"

    def having(self, **parameters: str) -> "AuthorizationResponse":
        """Return the response with *parameters* before its own."""
        return replace(self, parameters=parameters | self.parameters)


@dataclass(eq=False)
class AuthorizationErrorResponse(Exception):  # noqa: N818  (RFC 6749, section 4.1.2.1)
    """An error that goes back to the client on its redirection URI."""

    response: AuthorizationResponse


def require(met: object, cause: str, to: AuthorizationResponse | None = None, **words: str) -> None:
    """Raise the error of *cause* if its condition is not *met*, *to* the client if given."""
    if not met:
        error = DATA["errors"][cause].items()
        body = {name: text.format_map(words) if words else text for name, text in error}
        raise AuthorizationErrorResponse(to.having(**body)) if to else ShownError(body)


@dataclass
class LoginAndConsent:
    """One user's way, in one browser, from a valid request to the response: its *target*."""

    target: AuthorizationResponse
    scopes: Sequence[str]
    organization: Organization | None
    code_challenge: str
    browser: str
    started_at: float
    challenge: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    is_signed_in: bool = False
    is_decided: bool = False


@dataclass
class Grant:
    """The permission of a user, with the one code that stands for it."""

    login: LoginAndConsent
    scopes: Sequence[str]
    organization: Organization
    code: str
    code_expires_at: float
    is_exchanged: bool = False
    is_revoked: bool = False


@dataclass
class Token:
    """The grant that a token stands for, and the token's end in epoch seconds."""

    grant: Grant
    expires_at: float
    # Of a refresh token: the access token of the same response, and the end of its uses.
    access_token: str = ""
    grace_ends_at: float = inf


@dataclass
class AuthorizationServer:
    """The server's rules and memory; *now* is its clock, in epoch seconds."""

    client_id: str
    client_secret: str
    redirect_uris: Sequence[str]
    staging_token: str = ""
    now: Callable[[], float] = time.time
    exchanges_attempted: int = 0
    exchanges_succeeded: int = 0
    refreshes: int = 0  # that succeeded
    reuses: int = 0  # uses of refresh tokens after their grace
    _logins: dict[str, LoginAndConsent] = field(default_factory=dict)
    # By the signature of the code: Hydra identifies a code by it, and so finds the used ones.
    _grants: dict[str, Grant] = field(default_factory=dict)
    _access_tokens: dict[str, Token] = field(default_factory=dict)
    _refresh_tokens: dict[str, Token] = field(default_factory=dict)

    def begin(self, query: Mapping[str, str], browser: str) -> LoginAndConsent:
        """Open a login for a valid request; raise ShownError or AuthorizationErrorResponse."""
        mode, redirect_uri = query.get("response_mode") or "query", query.get("redirect_uri", "")
        require(query.get("client_id") == self.client_id, "unknown_client")
        require(mode in ("query", "fragment", "form_post"), "response_mode", mode=mode)
        require(redirect_uri in self.redirect_uris, "redirect_uri")
        state, scopes = query.get("state", ""), query.get("scope", "").split()
        target = AuthorizationResponse(redirect_uri, mode, {"state": state})
        unknown = [scope for scope in scopes if scope not in SCOPES]
        require(scopes and not unknown, "scope", target, scopes=" ".join(unknown))
        require(query.get("response_type") == "code", "response_type", target)
        require(len(state) >= MIN_STATE_LENGTH, "state", target)
        ids = [query[name] for name in ("organization_id", "registration_id") if name in query]
        require(all(map(ID.fullmatch, ids)), "organization", target)
        challenge, method = query.get("code_challenge", ""), query.get("code_challenge_method")
        require(not challenge or method == "S256", "code_challenge", target)
        organization = _organization(ids[0]) if ids else None
        login = LoginAndConsent(target, scopes, organization, challenge, browser, self.now())
        self._logins[login.challenge] = login
        return login

    def login(self, challenge: str, browser: str) -> LoginAndConsent:
        """Return an open login; raise if it is of another browser, too old, or decided."""
        require(challenge in self._logins, "unknown_login")
        login = self._logins[challenge]
        require(login.browser == browser, "other_browser", login.target)
        require(not login.is_decided, "used_login", login.target)
        require(self.now() < login.started_at + LOGIN_LIFETIME, "expired_login", login.target)
        return login

    def decide(self, login: LoginAndConsent, form: FormData) -> AuthorizationResponse:
        """Return the response with a fresh code, or raise AuthorizationErrorResponse."""
        login.is_decided, target = True, login.target
        if form.get("decision") == "error":
            # Hydra's own name for a refusal to which the consent page gave no name.
            error = str(form.get("error") or "consent request denied")
            text = str(form.get("error_description", ""))
            raise AuthorizationErrorResponse(target.having(error=error, error_description=text))
        require(form.get("decision") == "allow", "declined", target)
        scopes = [scope for scope in login.scopes if scope in form.getlist("scope")]
        organization = login.organization or _organization(str(form.get("organization", "")))
        code, end = _opaque("ory_ac_"), self.now() + CODE_LIFETIME
        self._grants[code.rpartition(".")[2]] = Grant(login, scopes, organization, code, end)
        return target.having(code=code, scope=" ".join(scopes))

    def exchange(self, form: Mapping[str, Any], headers: Mapping[str, str]) -> dict[str, str | int]:
        """Exchange a code for tokens, once; raise ShownError with the RFC 6749 error."""
        self.exchanges_attempted += 1
        self._authenticate_client(form, headers)
        require(form.get("grant_type") == "authorization_code", "grant_type")
        signature = form.get("code", "").rpartition(".")[2]
        require(signature in self._grants, "unknown_code")
        grant = self._grants[signature]
        grant.is_revoked |= grant.is_exchanged
        require(not grant.is_exchanged, "used_code")
        require(form.get("code") == grant.code, "wrong_code")
        # From here on, a refusal leaves the code usable: the right request can still follow.
        require(self.now() < grant.code_expires_at, "expired_code")
        target = grant.login.target
        require(form.get("redirect_uri") == target.redirect_uri, "other_redirect_uri")
        verifier = form.get("code_verifier", "")
        digest = hashlib.sha256(verifier.encode()).digest()  # RFC 7636, section 4.2
        given = base64.urlsafe_b64encode(digest).rstrip(b"=").decode() if verifier else ""
        require(given == grant.login.code_challenge, "code_verifier")
        grant.is_exchanged = True
        self.exchanges_succeeded += 1
        return self._issue(grant)

    def refresh(self, form: Mapping[str, Any], headers: Mapping[str, str]) -> dict[str, str | int]:
        """Return new tokens for a refresh token; raise ShownError with the RFC 6749 error."""
        self._authenticate_client(form, headers)
        now, value = self.now(), form.get("refresh_token", "")
        require(value in self._refresh_tokens, "unknown_refresh_token")
        token = self._refresh_tokens[value]
        require(not token.grant.is_revoked, "unknown_refresh_token")
        token.grant.is_revoked = now >= token.grace_ends_at
        self.reuses += token.grant.is_revoked
        require(not token.grant.is_revoked, "reused_refresh_token")
        require(now < token.expires_at, "expired_refresh_token")
        token.grace_ends_at = min(token.grace_ends_at, now + GRACE)
        self._access_tokens.pop(token.access_token, None)
        self.refreshes += 1
        return self._issue(token.grant)

    def organization(self, headers: Mapping[str, str]) -> Organization:
        """Return the organisation that a valid access token stands for."""
        require(self.staging_token in ("", headers.get("x-qonto-staging-token")), "staging_token")
        value = headers.get("authorization", "").removeprefix("Bearer ")
        require(value in self._access_tokens, "access_token")
        token = self._access_tokens[value]
        require(self.now() < token.expires_at and not token.grant.is_revoked, "access_token")
        require("organization.read" in token.grant.scopes, "missing_scope")
        return token.grant.organization

    def revoke_consents(self, headers: Mapping[str, str]) -> None:
        """End all grants of the user and the organisation of a valid access token."""
        organization = self.organization(headers)
        for signature, grant in list(self._grants.items()):
            if grant.organization == organization:
                grant.is_revoked = True
                del self._grants[signature]  # as in Hydra, its code is deleted too

    def _issue(self, grant: Grant) -> dict[str, str | int]:
        value, now = _opaque("ory_at_"), self.now()
        self._access_tokens[value] = Token(grant, now + ACCESS_TOKEN_LIFETIME)
        response: dict[str, str | int] = {"access_token": value, "token_type": "bearer"}
        response |= {"expires_in": ACCESS_TOKEN_LIFETIME, "scope": " ".join(grant.scopes)}
        if "offline_access" in grant.scopes:
            refresh_token = response["refresh_token"] = _opaque("ory_rt_")
            self._refresh_tokens[refresh_token] = Token(grant, now + REFRESH_TOKEN_LIFETIME, value)
        return response

    def _authenticate_client(self, form: Mapping[str, Any], headers: Mapping[str, str]) -> None:
        require(self.staging_token in ("", headers.get("x-qonto-staging-token")), "staging_token")
        given = headers.get("authorization"), form.get("client_id"), form.get("client_secret")
        require(given == (None, self.client_id, self.client_secret), "client_authentication")


def create_app(server: AuthorizationServer) -> Starlette:
    """Put the server behind its routes and pages."""

    async def authorize(request: Request) -> Response:
        browser = request.cookies.get(BROWSER_COOKIE) or secrets.token_urlsafe(32)
        login = server.begin(request.query_params, browser)
        response = RedirectResponse(f"/sign-in?login_challenge={login.challenge}", 303)
        response.set_cookie(BROWSER_COOKIE, browser, httponly=True, samesite="lax")
        return response

    async def sign_in(request: Request) -> Response:
        login = await _opened(server, request, "login_challenge")
        form = await request.form()
        if (form.get("user"), form.get("password")) == (USER, PASSWORD):
            login.is_signed_in = True
            return RedirectResponse(f"/consent?consent_challenge={login.challenge}", 303)
        wrong = request.method == "POST"
        page = {"challenge": login.challenge, "user": USER, "password": PASSWORD, "wrong": wrong}
        return TEMPLATES.TemplateResponse(request, "sign_in.html", page, 401 if wrong else 200)

    async def consent(request: Request) -> Response:
        login = await _opened(server, request, "consent_challenge")
        if not login.is_signed_in:
            return RedirectResponse(f"/sign-in?login_challenge={login.challenge}", 303)
        if request.method == "GET":
            page = {"login": login, "organizations": ORGANIZATIONS, "in_words": SCOPES.get}
            return TEMPLATES.TemplateResponse(request, "consent.html", page)
        return _to_client(request, server.decide(login, await request.form()))

    async def token(request: Request) -> Response:
        form = await request.form()
        respond = server.refresh if form.get("grant_type") == "refresh_token" else server.exchange
        return JSONResponse(respond(form, request.headers), headers=NO_STORE)

    async def organization(request: Request) -> Response:
        return JSONResponse({"organization": asdict(server.organization(request.headers))})

    async def consents(request: Request) -> Response:
        server.revoke_consents(request.headers)
        return Response(status_code=204)  # assumed: a success is some 2xx

    routes = [
        Route("/oauth2/auth", authorize),
        Route("/sign-in", sign_in, methods=["GET", "POST"]),
        Route("/consent", consent, methods=["GET", "POST"]),
        Route("/oauth2/token", token, methods=["POST"]),
        Route("/v2/organization", organization),
        Route("/v2/oauth2/consents", consents, methods=["DELETE"]),
        Mount("/static", StaticFiles(directory=FOLDER / "static")),
    ]
    failed = dict.fromkeys((ShownError, AuthorizationErrorResponse), _failed)
    return Starlette(routes=routes, exception_handlers=failed)


async def _opened(server: AuthorizationServer, request: Request, name: str) -> LoginAndConsent:
    given = request.query_params if request.method == "GET" else await request.form()
    return server.login(str(given.get(name, "")), request.cookies.get(BROWSER_COOKIE, ""))


def _organization(organization_id: str) -> Organization:
    """Return an organisation; an unknown id gets a new one."""
    name = f"Organisation {organization_id}"
    new = Organization(organization_id, name, name, organization_id)
    return next((known for known in ORGANIZATIONS if known.id == organization_id), new)


def _opaque(prefix: str) -> str:
    """Return a code or token in Hydra's form: with its prefix, 94 characters."""
    return f"{prefix}{secrets.token_urlsafe(32)}.{secrets.token_urlsafe(32)}"


async def _failed(request: Request, error: Exception) -> Response:
    if isinstance(error, AuthorizationErrorResponse):
        return _to_client(request, error.response)
    [body] = error.args
    return JSONResponse(body, STATUSES.get(body["error"], 400), NO_STORE)


def _to_client(request: Request, response: AuthorizationResponse) -> Response:
    if response.mode == "form_post":
        return TEMPLATES.TemplateResponse(request, "form_post.html", {"response": response})
    return RedirectResponse(response.location, 303)


def create() -> Starlette:
    """Return the server for the client that the environment names (a factory for uvicorn)."""
    client = os.environ["CLIENT_ID"], os.environ["CLIENT_SECRET"], [os.environ["REDIRECT_URI"]]
    return create_app(AuthorizationServer(*client, os.environ["STAGING_TOKEN"]))
