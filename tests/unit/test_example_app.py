"""The example app: workers on one file of sessions, with a scripted subscriber and API."""

import io
import json
import logging
import re
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx2
import pytest
from botocore.exceptions import EndpointConnectionError
from starlette.requests import Request
from starlette.testclient import TestClient

from demo import template as infra
from examples.app.app import CODE_LIFETIME, Ledgerly, create_app
from examples.app.contexts import Contexts, opened
from examples.app.qonto import Qonto
from examples.app.sessions import LIFETIME, Sessions
from examples.app.subscriber import Subscriber
from examples.app.tokens import CLIENT_CONFIG, Tokens
from examples.app.web import cookie
from tests.support.navigations import AHEAD_OF_USER, BY_USER

APP_URL, CONNECTOR_URL = "http://localhost:8000", "http://localhost:8001"
ID, OTHER_ID = (f"5b0f5a0e-0000-4000-8000-00000000000{number}" for number in (1, 2))
QUEUE_URL, FUNCTION = "https://sqs.example/subscriber", "subscriber-TokensFunction"
TOKEN, NEXT_TOKEN = "ory_at_secret-1", "ory_at_secret-2"
CONNECTED = {"status": "connected", "access_token": TOKEN, "expires_at": 1, "scope": "a"}
ACCOUNT = {"name": "Main & <b>", "iban": "FR76 2606", "balance": -1234567.8, "currency": "EUR"}
ACCOUNTS = {"organization": {"bank_accounts": [ACCOUNT, ACCOUNT | {"iban": "DE42"}]}}
READ = httpx2.Response(200, json=ACCOUNTS, headers={"set-cookie": "user=1"})
REDIRECT = httpx2.Response(302, headers={"location": "https://other.example"})
WITHOUT_ACCOUNTS = httpx2.Response(200, json={"organization": {"bank_accounts": [TOKEN]}})
DISCONNECTED_HERE = {"status": "disconnected", "revoked": False}
HOME, STATUS = "/#_", "/connection#_"
NOT_ASKED, SIGNED_OUT, OUT_OF_DATE = "/not-asked#_", "/signed-out#_", "/out-of-date#_"


class Site:
    """The app's workers, AWS and Qonto's API."""

    def __init__(self, folder: Path) -> None:
        self.database = folder / "ledgerly.sqlite"
        self.down = ""  # the AWS service that does not respond
        self.sent: list[dict[str, Any]] = []  # the messages to the subscriber
        self.item: dict[str, str] = {}  # what its table of connections has
        self.key: dict[str, str] = {}  # what the app has read there
        # Requests to the function `tokens` and to Qonto's API, and their responses: the last one is
        # repeated, and None is a FunctionError or a time-out.
        self.requests: list[dict[str, Any]] = []
        self.responses: list[dict[str, Any] | None] = [CONNECTED]
        self.api_requests: list[httpx2.Request] = []
        self.api_responses: list[httpx2.Response | None] = [READ]

    def browser(
        self,
        app_url: str = APP_URL,
        connector_url: str = CONNECTOR_URL,
        cookies: Any = None,  # noqa: ANN401 - httpx's
    ) -> "User":
        """Return a browser at a new worker."""
        aws: Any = self
        stores = Sessions(self.database), Contexts(self.database)
        subscriber, tokens = Subscriber(aws, QUEUE_URL, aws), Tokens(aws, FUNCTION)
        api = Qonto("https://api.example", "of-the-sandbox", httpx2.MockTransport(self.read))
        ledgerly = Ledgerly(app_url, connector_url, subscriber, tokens, api, *stores)
        url = ledgerly.app_url
        return User(create_app(ledgerly), url, cookies=cookies, follow_redirects=False)

    def send_message(self, **call: str) -> None:
        self._respond("sqs")
        assert call["QueueUrl"] == QUEUE_URL
        self.sent.append(json.loads(call["MessageBody"]))

    def get_item(self, **call: dict[str, str]) -> dict[str, dict[str, str]]:
        self._respond("dynamodb")
        self.key = call["Key"]
        return {"Item": self.item} if self.item else {}

    def invoke(self, **call: Any) -> dict[str, Any]:  # noqa: ANN401 - boto3's own
        self._respond("lambda")
        assert call["FunctionName"] == FUNCTION
        self.requests.append(json.loads(call["Payload"]))
        response = self.responses.pop(0) if self.responses[1:] else self.responses[0]
        error = {} if response else {"FunctionError": "Unhandled"}
        return {"Payload": io.BytesIO(json.dumps(response or {}).encode()), **error}

    def read(self, request: httpx2.Request) -> httpx2.Response:
        self.api_requests.append(request)
        response = self.api_responses.pop(0) if self.api_responses[1:] else self.api_responses[0]
        if response is None:
            raise httpx2.ReadTimeout(TOKEN)
        return response

    def _respond(self, service: str) -> None:
        if service == self.down:
            raise EndpointConnectionError(endpoint_url=f"https://{service}")


class User(TestClient):
    """A browser and its user."""

    def press(self, token: str | None = None) -> httpx2.Response:
        """Press *Connect with Qonto* on a page with *token*."""
        token = form_token(self.get("/")) if token is None else token
        return self.post("/connect", data={"token": token})

    def connect(self, token: str | None = None) -> str:
        """Press the button; return the context that goes to the connector."""
        return dict(parse_qsl(urlsplit(led_to(self.press(token))).query))["context"]

    def come_back(
        self,
        context: str,
        authorization_id: str = ID,
        outcome: str = "granted",
        method: str = "GET",
        headers: Any = None,  # noqa: ANN401 - httpx's own
    ) -> httpx2.Response:
        """Open the address to which the connector leads."""
        query = {"authorization_id": authorization_id, "outcome": outcome, "context": context}
        return self.request(method, "/connected", params=query, headers=headers)

    def disconnect(self, page: httpx2.Response) -> httpx2.Response:
        """Press the button of *page*."""
        fields = re.findall(r'name="(token|connection)" value="(.+?)"', page.text)
        return self.post("/disconnect", data=dict(fields))


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.fixture
def connected(site: Site) -> User:
    """A browser whose connection has its tokens."""
    browser = site.browser()
    browser.come_back(browser.connect())
    site.item = {"status": "connected", "organization": "Martin"}
    return browser


def form_token(page: httpx2.Response) -> str:
    return str(re.findall(r'name="token" value="([\w-]{43})"', page.text)[-1])


def led_to(response: httpx2.Response) -> str:
    assert response.status_code == 303
    return str(response.headers["location"])


def confirmation(context: str, authorization_id: str = ID) -> dict[str, Any]:
    return {"authorization_id": authorization_id, "context": context}


def repudiation(context: str) -> dict[str, Any]:
    return confirmation(context) | {"repudiated": True}


def wait(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    later = time.time() + seconds
    monkeypatch.setattr(time, "time", lambda: later)


@pytest.mark.parametrize(
    ("app_url", "app", "connector_url", "connector"),
    [
        (f"{APP_URL}/", APP_URL, f"{CONNECTOR_URL}/", CONNECTOR_URL),
        (" HTTP://LocalHost:8000 ", APP_URL, f" {CONNECTOR_URL}/start/ ", CONNECTOR_URL),
        ("https://A.io:443/", "https://a.io", "http://c.io:80/start", "http://c.io"),
        ("http://[::1]:80", "http://[::1]", "https://c.io/start/", "https://c.io"),
        ("https://bücher.io", "https://xn--bcher-kva.io", CONNECTOR_URL, CONNECTOR_URL),
    ],
)
def test_button_leads_to_connector_with_return_url(
    site: Site, app_url: str, app: str, connector_url: str, connector: str
) -> None:
    location = led_to(site.browser(app_url, connector_url).press())

    url, query = urlsplit(location), dict(parse_qsl(urlsplit(location).query))
    assert f"{url.scheme}://{url.netloc}{url.path}" == f"{connector}/start"
    assert len(query.pop("context")) == 43
    assert query == {"return_to": f"{app}/connected"}
    assert location.endswith("#")


WRONG_URLS = ["", "a.io:80", "/a", "ftp://a.io", "https://:443", "https://a.io/a", "https://a.io?a"]


@pytest.mark.parametrize(
    "url", [*WRONG_URLS, "https://u:p@a.io", "https://a.io:99999", "http://a#a"]
)
def test_wrong_url_is_refused(site: Site, url: str) -> None:
    for urls in (url, CONNECTOR_URL), (APP_URL, url):
        with pytest.raises(ValueError, match="address"):
            site.browser(*urls)


def test_request_at_another_host_goes_to_app_url(site: Site) -> None:
    browser = site.browser()
    browser.base_url = "http://127.0.0.1:8000"

    response = browser.get("/connected?a=%23&context=c")

    assert led_to(response) == f"{APP_URL}/connected?a=%23&context=c#"
    assert "set-cookie" not in response.headers


# Who comes back with a context, with which authorization_ids, where each return ends, and what the
# subscriber is told.
REFUSED = [NOT_ASKED] * 3
RETURNS: dict[str, tuple[str, list[str], list[str], Any]] = {
    "again": ("own", [ID] * 3, [STATUS] * 3, confirmation),
    "another authorization": ("own", [ID, OTHER_ID], [STATUS, NOT_ASKED], confirmation),
    "malformed": (
        "own",
        ["", f"{ID}0", "A" + ID[1:], ID],
        [NOT_ASKED] * 3 + [STATUS],
        confirmation,
    ),
    "forwarded link": ("stranger", [ID], [NOT_ASKED], repudiation),
    "forwarded to another user": ("other user", [ID], [NOT_ASKED], repudiation),
    "signed out": ("signed out", [ID], [SIGNED_OUT], None),
    "signed in again": ("signed in again", [ID], [SIGNED_OUT], None),
}


@pytest.mark.parametrize(("who", "ids", "ends", "message"), RETURNS.values(), ids=RETURNS)
@pytest.mark.claim("S28", "S29", "S30", "T1", "T19")
def test_return_is_confirmed_refused_or_repudiated(
    site: Site,
    who: str,
    ids: list[str],
    ends: list[str],
    message: Any,  # noqa: ANN401 - a function
) -> None:
    own, other = site.browser(), site.browser()
    context = own.connect()
    if who == "other user":
        other.connect()
    if who.startswith("signed"):
        assert led_to(own.post("/sign-out", data={"token": form_token(own.get("/"))})) == HOME
    if who == "signed in again":
        own.connect()
    user = other if who in {"stranger", "other user"} else own

    assert [led_to(user.come_back(context, authorization_id)) for authorization_id in ids] == ends

    assert site.sent == ([message(context)] if message else [])
    if message is not confirmation:
        assert led_to(user.get("/connection")) == HOME


@pytest.mark.parametrize(
    ("method", "headers"), [("HEAD", {}), *(("GET", each) for each in AHEAD_OF_USER.values())]
)
@pytest.mark.claim("S30", "T13")
def test_request_ahead_of_user_changes_nothing(
    site: Site, method: str, headers: dict[str, str]
) -> None:
    browser, stranger = site.browser(), site.browser()
    context = browser.connect()

    for each in (browser, stranger):  # the stranger's own return would be repudiated
        response = each.come_back(context, method=method, headers=headers)
        assert (response.status_code, response.headers.get("set-cookie")) == (425, None)
        assert led_to(each.request(method, "/connect", headers=headers)) == HOME

    assert "set-cookie" not in site.browser().request(method, "/", headers=headers).headers
    assert site.sent == []
    assert led_to(browser.come_back(context)) == STATUS


@pytest.mark.parametrize("headers", BY_USER.values(), ids=BY_USER)
def test_each_navigation_of_user_confirms(site: Site, headers: dict[str, str]) -> None:
    browser = site.browser()
    context = browser.connect()

    assert led_to(browser.come_back(context, headers=headers)) == STATUS
    assert site.sent == [confirmation(context)]


@pytest.mark.claim("S29")
def test_tabs_at_two_workers_come_back_after_restart(site: Site) -> None:
    first = site.browser()
    token = form_token(first.get("/"))
    tabs = [first, site.browser(cookies=first.cookies)]
    with ThreadPoolExecutor() as threads:  # both tabs at once
        contexts = list(threads.map(lambda tab: tab.connect(token), tabs))
    restarted = site.browser(cookies=tabs[1].cookies)

    for each in (*zip(contexts, [ID, OTHER_ID], strict=True), (contexts[0], ID)):
        assert led_to(restarted.come_back(*each)) == STATUS
        restarted.get("/connection")
        assert site.key == confirmation(*each)  # a repeated return shows its own connection

    assert site.sent == [confirmation(contexts[0]), confirmation(contexts[1], OTHER_ID)]
    restarted.come_back(contexts[0], outcome="denied")  # by hand
    assert "Finishing" in restarted.get("/connection").text


def test_failed_message_can_be_tried_again(site: Site) -> None:
    browser, victim = site.browser(), site.browser()
    contexts = browser.connect(), browser.connect()
    returns = (browser, contexts[0]), (victim, contexts[1])

    site.down = "sqs"
    failed = [each.come_back(context) for each, context in returns]
    site.down = ""

    assert [response.status_code for response in failed] == [503, 503]
    assert all('<a class="button" href="">' in response.text for response in failed)
    assert browser.get("/").status_code == 200  # not yet the connection
    assert led_to(browser.come_back(contexts[1])) == NOT_ASKED  # although nothing was sent
    ends = [led_to(each.come_back(context)) for each, context in returns]
    assert ends == [STATUS, NOT_ASKED]
    assert site.sent == [confirmation(contexts[0]), repudiation(contexts[1])]


@pytest.mark.claim("S29", "T19")
def test_context_lives_for_an_hour(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    browser, stranger = site.browser(), site.browser()
    context, late = browser.connect(), browser.connect()

    wait(monkeypatch, 3598)
    assert led_to(browser.come_back(context)) == STATUS
    wait(monkeypatch, 3)
    assert led_to(browser.come_back(late, OTHER_ID)) == HOME
    assert led_to(browser.come_back(context)) == STATUS
    assert led_to(stranger.come_back(late)) == NOT_ASKED  # the subscriber decides if it counts
    assert site.sent == [confirmation(context), repudiation(late)]


@pytest.mark.claim("S29")
def test_context_read_by_two_workers_is_used_once(tmp_path: Path) -> None:
    workers = [Contexts(tmp_path / "ledgerly.sqlite") for _ in range(2)]
    context = workers[0].ask("session", "browser")
    asked: list[Any] = [contexts.asked(context) for contexts in workers]

    with ThreadPoolExecutor() as threads:
        used = threads.map(Contexts.use, workers, asked, [ID, OTHER_ID], ["granted"] * 2)
    assert sorted(used) == [False, True]


@pytest.mark.claim("S30")
def test_return_without_known_context_leads_home(site: Site) -> None:
    for query in "", "context=", "context=%C3%BC", "authorization_id=1", "context=unknown":
        assert led_to(site.browser().get(f"/connected?{query}")) == HOME
    assert site.sent == []


@pytest.mark.parametrize(
    ("app_url", "prefix", "attributes"),
    [(APP_URL, "", set()), ("https://a.example", "__Host-", {"secure"})],
)
@pytest.mark.claim("S29", "T16")
def test_cookies_are_as_strict_as_scheme_allows(
    site: Site, app_url: str, prefix: str, attributes: set[str]
) -> None:
    browser = site.browser(app_url)
    home = browser.get("/")
    token = form_token(home)

    lines = home.headers.get_list("set-cookie")
    lines += browser.post("/connect", data={"token": token}).headers.get_list("set-cookie")

    names = ["ledgerly", "ledgerly-browser", "ledgerly-browser"]
    assert [line.partition("=")[0] for line in lines] == [f"{prefix}{name}" for name in names]
    common = {f"max-age={LIFETIME}", "path=/", "httponly", "samesite=lax"}
    for line in lines:
        assert set(line.lower().split("; ")[1:]) == common | attributes


@pytest.mark.parametrize(
    ("name", "end", "pressed"),
    [("ledgerly", SIGNED_OUT, OUT_OF_DATE), ("ledgerly-browser", NOT_ASKED, CONNECTOR_URL)],
)
@pytest.mark.claim("S29", "T16")
def test_two_cookies_of_one_name_are_refused(site: Site, name: str, end: str, pressed: str) -> None:
    browser, neighbour = site.browser(), site.browser()
    context, _ = browser.connect(), neighbour.connect()
    token = form_token(browser.get("/"))
    own = [f"{own_name}={value}" for own_name, value in browser.cookies.items()]
    forged = f"{name}={neighbour.cookies[name]}"

    for lines in (["; ".join([*own, forged])], [";".join([forged, *own])], [*own, forged]):
        headers = [("cookie", line) for line in lines]
        assert led_to(site.browser().come_back(context, headers=headers)) == end
        response = site.browser().post("/connect", data={"token": token}, headers=headers)
        assert led_to(response).startswith(pressed)
    assert confirmation(context) not in site.sent


@pytest.mark.claim("T16")
def test_neighbours_cookies_confirm_nothing_on_https(site: Site) -> None:
    sender, victim = (site.browser("https://a.example") for _ in range(2))
    context = sender.connect()
    for name, value in sender.cookies.items():
        victim.cookies.set(name.removeprefix("__Host-"), value)

    assert led_to(victim.come_back(context)) == NOT_ASKED
    assert site.sent == [repudiation(context)]
    for space in b"\x85", b"\xa0":  # browsers let any host set a name that begins with one
        headers = [(b"cookie", b"a=1; " + space + b"__Host-ledgerly=forged")]
        assert cookie(Request({"type": "http", "headers": headers}), "__Host-ledgerly") is None


@pytest.mark.parametrize("kind", ["no-token", "another-sessions", "no-session", "expired"])
@pytest.mark.claim("S30", "T14")
def test_post_without_token_of_session_starts_nothing(
    site: Site, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    browser, other = site.browser(), site.browser()
    own, others = form_token(browser.get("/")), form_token(other.get("/"))
    data = {"token": {"no-token": "", "another-sessions": others}.get(kind, own)}
    own_cookie = [("cookie", f"ledgerly={browser.cookies['ledgerly']}")]  # even an expired one
    if kind == "expired":
        wait(monkeypatch, LIFETIME + 1)

    for path in "/connect", "/disconnect", "/sign-out":
        headers = [] if kind == "no-session" else own_cookie
        response = site.browser().post(path, data=data, headers=headers)
        assert led_to(response) == (HOME if path == "/sign-out" else OUT_OF_DATE)
        assert "set-cookie" not in response.headers

    signed_in = form_token(site.browser().get("/", headers=own_cookie))
    assert (signed_in == own) == (kind != "expired")


@pytest.mark.parametrize("app_url", [APP_URL, "https://a.example"])
@pytest.mark.claim("T14")
def test_each_response_has_security_headers(site: Site, app_url: str) -> None:
    browser = site.browser(app_url)
    context = browser.connect()
    browser.come_back(context)
    pages = [browser.get("/connection") for _ in range(2)]
    refusals = [browser.get(f"/{name}") for name in ("not-asked", "signed-out", "out-of-date")]
    others = ["/", "/connect", "/connected", "/style.css", "/disconnect"]
    others += ["/connected/"]  # Starlette's own redirect would have no fragment

    responses = [*pages, *refusals, *map(browser.get, others), browser.press("")]
    responses += [browser.come_back(context, method="HEAD")]
    responses += [browser.get("/", headers={"host": "other.example"})]

    assert [page.status_code for page in refusals] == [403] * 3
    expected = {
        "x-content-type-options": "nosniff",
        "cross-origin-opener-policy": "same-origin",
        "cache-control": "no-store",
        "referrer-policy": "no-referrer",
        "strict-transport-security": "max-age=63072000" if app_url != APP_URL else None,
    }
    for response in responses:
        assert {name: response.headers.get(name) for name in expected} == expected
        assert "frame-ancestors 'none'" in response.headers["content-security-policy"]
        assert "unsafe" not in response.headers["content-security-policy"]
    nonces = [re.findall(r'<script nonce="(.+?)">', page.text) for page in pages]
    assert nonces[0] != nonces[1]
    for [nonce], page in zip(nonces, pages, strict=True):
        assert f"script-src 'nonce-{nonce}';" in page.headers["content-security-policy"]


@pytest.mark.claim("T14")
def test_page_names_the_account_that_connects(site: Site) -> None:
    browser = site.browser()
    pages = [browser.get("/").text.partition("<main")[::2] for _ in range(2)]

    accounts = [re.findall(r"demo-[0-9a-f]{4}@", part) for page in pages for part in page]
    assert [len(found) for found in accounts] == [1] * 4
    assert accounts == accounts[:1] * 4


@pytest.mark.parametrize(
    ("outcome", "item", "sentence"),
    [
        ("denied", {}, "Nothing was connected"),
        ("expired", {}, "That took too long"),
        ("failed", {}, "That did not work"),
        ("home", {}, "That did not work"),
        ("", {}, "That did not work"),
        ("granted", {}, "Finishing…"),
        ("granted", {"status": "pending"}, "Finishing…"),
        ("granted", {"status": "of a later version"}, "Finishing…"),
        ("granted", {"status": "connected"}, "Connected to Qonto"),
        ("granted", {"status": "connected", "organization": "A & <b>"}, "to A &amp; &lt;b&gt;"),
        ("granted", {"status": "failed"}, "That did not work"),
        ("granted", {"status": "expired"}, "That took too long"),
        ("granted", {"status": "lost"}, "We did not hear back"),
        ("granted", {"status": "repudiated"}, "Nothing was connected"),
        ("granted", {"status": "ended"}, "Your connection has ended"),
    ],
)
def test_page_shows_outcome_and_status(
    site: Site, outcome: str, item: dict[str, str], sentence: str
) -> None:
    browser = site.browser()
    browser.come_back(browser.connect(), outcome=outcome)
    site.item = item

    page = browser.get("/connection").text

    assert sentence in page
    assert ("Connected to" in page) == (item.get("status") == "connected")
    assert bool(site.sent) == (outcome == "granted")
    assert 'action="/connect"' in page or outcome == "granted"


@pytest.mark.parametrize(
    ("down", "status", "sentence"),
    [("", 200, "That took too long"), ("dynamodb", 503, "we cannot see the status")],
)
def test_connection_without_event_expires(
    site: Site, monkeypatch: pytest.MonkeyPatch, down: str, status: int, sentence: str
) -> None:
    browser = site.browser()
    browser.come_back(browser.connect())
    site.down = down

    assert "Finishing…" in browser.get("/connection").text
    wait(monkeypatch, CODE_LIFETIME + 1)
    page = browser.get("/connection")

    assert (page.status_code, sentence in page.text) == (status, True)


@pytest.mark.claim("S33")
def test_connected_page_shows_accounts_and_keeps_no_token(
    site: Site, connected: User, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    page = [connected.get("/connection") for _ in range(2)][1]

    for text in ("Main &amp; &lt;b&gt;", "ending in 2606", "ending in DE42", "-1,234,567.80 EUR"):
        assert text in page.text
    assert site.requests == [{"authorization_id": ID}] * 2
    for request in site.api_requests:
        assert str(request.url) == "https://api.example/v2/organization"
        assert request.headers["authorization"] == f"Bearer {TOKEN}"
        assert request.headers["x-qonto-staging-token"] == "of-the-sandbox"
        assert "cookie" not in request.headers  # it may be another user's
    stored = b"".join(path.read_bytes() for path in site.database.parent.iterdir())
    assert ID.encode() in stored
    assert TOKEN not in f"{stored!r}{caplog.text}{page.text}{page.headers}"


@pytest.mark.parametrize("status", [200, 401])
def test_refused_token_is_replaced_once(site: Site, connected: User, status: int) -> None:
    site.responses = [CONNECTED, CONNECTED | {"access_token": NEXT_TOKEN}]
    site.api_responses = [httpx2.Response(401), httpx2.Response(status, json=ACCOUNTS)]

    page = connected.get("/connection").text

    assert ("ending in 2606" in page) == (status == 200)
    assert site.requests == [{"authorization_id": ID}, {"authorization_id": ID, "refused": TOKEN}]
    sent = [request.headers["authorization"] for request in site.api_requests]
    assert sent == [f"Bearer {TOKEN}", f"Bearer {NEXT_TOKEN}"]


UNREAD = "cannot be read at the moment"


@pytest.mark.parametrize(
    ("stored", "response", "api", "sentence", "button"),
    [
        ("connected", {"status": "ended"}, READ, "Your connection has ended", "connect"),
        ("connected", {"status": "not-connected"}, READ, "Your connection has ended", "connect"),
        ("disconnected", {"status": "disconnecting"}, READ, "Disconnecting…", ""),
        ("disconnected", {"status": "disconnected"}, READ, "no longer has", "connect"),
        ("disconnected", DISCONNECTED_HERE, READ, "withdraw it there", "connect"),
        ("disconnected", {"status": "not-connected"}, READ, "no longer has", "connect"),  # next day
        ("disconnected", {"status": "unavailable"}, READ, "no longer has", "connect"),
        ("connected", None, READ, UNREAD, "disconnect"),
        ("connected", {"status": "unavailable"}, READ, UNREAD, "disconnect"),
        ("connected", {"status": "down"}, READ, UNREAD, "disconnect"),
        ("connected", CONNECTED, httpx2.Response(503, json=ACCOUNTS), UNREAD, "disconnect"),
        ("connected", CONNECTED, REDIRECT, UNREAD, "disconnect"),
        ("connected", CONNECTED, httpx2.Response(200, text=TOKEN), UNREAD, "disconnect"),
        ("connected", CONNECTED, WITHOUT_ACCOUNTS, UNREAD, "disconnect"),
        ("connected", CONNECTED, None, UNREAD, "disconnect"),
        ("connected", CONNECTED | {"access_token": f"{TOKEN}ü"}, READ, UNREAD, "disconnect"),
        ("connected", CONNECTED, httpx2.Response(403), "You did not allow Ledgerly", "disconnect"),
    ],
)
@pytest.mark.claim("S33")
def test_page_without_accounts_shows_status_and_no_token(  # noqa: PLR0913, PLR0917 - a table
    site: Site,
    connected: User,
    caplog: pytest.LogCaptureFixture,
    stored: str,
    response: dict[str, Any] | None,
    api: httpx2.Response | None,
    sentence: str,
    button: str,
) -> None:
    caplog.set_level(logging.DEBUG)
    site.down = "lambda" if response == {"status": "down"} else ""
    site.item["status"], site.responses, site.api_responses = stored, [response], [api]

    page = connected.get("/connection")

    assert (page.status_code, sentence in page.text) == (200, True)
    assert re.findall('action="/((?:dis)?connect)"', page.text) == [button] * bool(button)
    assert ("Connected to Martin" in page.text) == (button == "disconnect")
    assert ('href="/connection">Try again' in page.text) == (sentence == UNREAD)
    assert ("withdraw it there" in page.text) == (response == DISCONNECTED_HERE)
    assert len(site.api_requests) <= (response is not None and "access_token" in response)
    assert TOKEN not in f"{caplog.text}{page.text}{page.headers}"


@pytest.mark.parametrize("status", ["pending", "failed", "lost", "expired", "repudiated", "ended"])
@pytest.mark.claim("T20")
def test_unconnected_status_uses_no_token(site: Site, connected: User, status: str) -> None:
    page = connected.get("/connection")
    site.requests.clear()
    site.api_requests.clear()

    # Nothing is stored for another user's authorization_id with this session's context.
    for site.item in {"status": status}, {}:
        connected.get("/connection")
        assert led_to(connected.disconnect(page)) == STATUS

    assert (site.requests, site.api_requests) == ([], [])


@pytest.mark.parametrize("fault", ["", "dynamodb", "lambda", "error", "unavailable"])
def test_disconnect_can_be_repeated(site: Site, connected: User, fault: str) -> None:
    page = connected.get("/connection")
    site.down = fault
    first = {"status": "unavailable" if fault else "disconnecting"}
    site.responses = [None if fault == "error" else first]

    disconnected = connected.disconnect(page)

    if fault:
        assert (disconnected.status_code, "Not disconnected yet" in disconnected.text) == (
            503,
            True,
        )
        page = disconnected
    site.down, site.responses = "", [{"status": "disconnected"}]
    assert led_to(connected.disconnect(page)) == STATUS
    assert site.requests[-1] == {"authorization_id": ID, "disconnect": True}
    assert led_to(connected.get("/disconnect")) == STATUS  # a reload of its URL


def test_button_of_an_earlier_connection_ends_nothing(site: Site, connected: User) -> None:
    earlier = connected.get("/connection")
    connected.come_back(connected.connect(form_token(earlier)), "6" + ID[1:])
    site.requests.clear()

    assert led_to(connected.disconnect(earlier)) == STATUS
    assert site.requests == []


def test_app_opens_with_connection_months_later(
    site: Site, connected: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = form_token(connected.get("/connection"))
    connected.connect(token)  # and never comes back

    wait(monkeypatch, LIFETIME - 10)
    connected.connect(token)

    assert led_to(connected.get("/")) == STATUS
    with opened(site.database) as database:
        [stored] = database.execute("SELECT COUNT(*) FROM contexts").fetchone()
    assert stored == 2  # the connected one and the latest


def test_app_waits_longer_than_the_function_runs() -> None:
    function = infra.function(infra.load(infra.EXAMPLE), "TokensFunction")

    assert vars(CLIENT_CONFIG)["read_timeout"] > function["Timeout"]
