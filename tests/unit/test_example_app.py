"""The example app: workers on one file of sessions, with a scripted subscriber and API."""

import itertools
import json
import logging
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import httpx2
import pytest
from botocore.exceptions import EndpointConnectionError
from starlette.requests import Request
from starlette.testclient import TestClient

from demo import template as infra
from examples.app.app import CODE_LIFETIME, Ledgerly, create_app
from examples.app.browser import cookie
from examples.app.contexts import Contexts, opened
from examples.app.qonto import Qonto
from examples.app.sessions import LIFETIME, Sessions
from examples.app.subscriber import Subscriber
from examples.app.tokens import CLIENT_CONFIG, Tokens
from tests.support.navigations import AHEAD_OF_USER, BY_USER

APP_URL, CONNECTOR_URL = "http://localhost:8000", "http://localhost:8001"
ID, OTHER_ID = (f"{digit}b0f5a0e-0000-4000-8000-000000000001" for digit in (5, 6))
QUEUE_URL, FUNCTION = "https://sqs.example/subscriber", "subscriber-TokensFunction"
TOKEN, NEXT_TOKEN = "ory_at_secret-1", "ory_at_secret-2"
ACCOUNT = {"name": "Main & <b>", "iban": "FR76 2606", "balance": -1234567.8, "currency": "EUR"}
ACCOUNTS = {"organization": {"bank_accounts": [ACCOUNT, ACCOUNT | {"iban": "DE42"}]}}
DOWN = EndpointConnectionError(endpoint_url="https://aws.example")
FINAL = ["failed", "expired", "lost", "repudiated", "ended"]
HOME, STATUS = "/#_", "/connection#_"
NOT_ASKED, SIGNED_OUT, OUT_OF_DATE = "/not-asked#_", "/signed-out#_", "/out-of-date#_"


def returned(status: str, **members: object) -> dict[str, Any]:
    """Return what AWS returns when the function `tokens` has returned *status* and *members*."""
    return {"Payload": Mock(read=json.dumps({"status": status, **members}).encode)}


CONNECTED = returned("connected", access_token=TOKEN, expires_at=1, scope="a")
UNHANDLED = {"Payload": Mock(read=b"{}".strip), "FunctionError": "Unhandled"}
FAILURES = [DOWN, UNHANDLED, returned("unavailable")]


class Site:
    """The app's workers; *aws* and *api* hold the responses of AWS and of Qonto's API."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.database, self._monkeypatch = folder / "ledgerly.sqlite", monkeypatch
        self.aws, self.api = Mock(spec=["send_message", "get_item", "invoke"]), Mock()
        self.aws.get_item.return_value = {}
        self.aws.invoke.return_value = CONNECTED
        self.api.return_value = httpx2.Response(200, json=ACCOUNTS, headers={"set-cookie": "a=1"})

    def browser(self, app_url: str = APP_URL, connector_url: str = CONNECTOR_URL) -> "User":
        """Return a browser at a new worker."""
        clients = Subscriber(self.aws, QUEUE_URL, self.aws), Tokens(self.aws, FUNCTION)
        api = Qonto("https://api.example", "of-the-sandbox", httpx2.MockTransport(self.api))
        stores = Sessions(self.database), Contexts(self.database)
        ledgerly = Ledgerly(app_url, connector_url, *clients, api, *stores)
        return User(create_app(ledgerly), ledgerly.app_url, follow_redirects=False)

    def wait(self, seconds: float) -> None:
        later = time.time() + seconds
        self._monkeypatch.setattr(time, "time", lambda: later)

    @property
    def sent(self) -> list[Any]:
        """The messages in the subscriber's queue."""
        calls = [call.kwargs for call in self.aws.send_message.call_args_list]
        return [json.loads(call["MessageBody"]) for call in calls if call["QueueUrl"] == QUEUE_URL]

    @property
    def requests(self) -> list[Any]:
        """The requests to the function `tokens`."""
        calls = [call.kwargs for call in self.aws.invoke.call_args_list]
        return [json.loads(call["Payload"]) for call in calls if call["FunctionName"] == FUNCTION]


class User(TestClient):
    """A browser and its user."""

    def press(self, path: str = "/connect", page: httpx2.Response | None = None) -> httpx2.Response:
        """Press the button of *page* that leads to *path*."""
        return self.post(path, data=form(page or self.get("/out-of-date")))

    def connect(self) -> str:
        """Press *Connect with Qonto*; return the context that goes to the connector."""
        return str(httpx2.URL(end(self.press())).params["context"])

    def come_back(self, context: str, authorization_id: str = ID, outcome: str = "granted") -> str:
        """Open the address to which the connector leads; return where it ends."""
        query = {"authorization_id": authorization_id, "outcome": outcome, "context": context}
        return end(self.get("/connected", params=query))


def form(page: httpx2.Response) -> dict[str, str]:
    """Return what the buttons of *page* send."""
    return dict(re.findall(r'name="(token|connection)" value="([\w-]{43}|[0-9a-f]{8})"', page.text))


def end(response: httpx2.Response) -> str:
    """Return where *response* leads; or its status, with the name of the page that it shows."""
    if response.status_code == 303:
        return str(response.headers["location"])
    return " ".join([str(response.status_code), *re.findall('<main class="(.+?)"', response.text)])


def confirmation(context: str, authorization_id: str = ID, **members: bool) -> dict[str, Any]:
    return {"authorization_id": authorization_id, "context": context, **members}


@pytest.fixture
def site(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> Iterator[Site]:
    caplog.set_level(logging.DEBUG)
    yield Site(tmp_path, monkeypatch)
    assert TOKEN not in "".join(map(caplog.handler.format, caplog.get_records("call")))


@pytest.fixture
def connected(site: Site) -> User:
    """A browser whose connection has its tokens."""
    browser = site.browser()
    browser.come_back(browser.connect())
    site.aws.get_item.return_value = {"Item": {"status": "connected", "organization": "A & <b>"}}
    return browser


ORIGINS = {
    f"{APP_URL}/": APP_URL,
    " HTTP://LocalHost:8000 ": APP_URL,
    "https://A.io:443/": "https://a.io",
    "http://[::1]:80": "http://[::1]",
    "https://bücher.io": "https://xn--bcher-kva.io",
}
WRONG_URLS = """a.io:80 /a ftp://a.io https://:443 https://a.io/a https://a.io?a https://u:p@a.io
    https://a.io:99999 http://a#a"""


def test_app_is_at_the_origin_of_its_address(site: Site) -> None:
    for url, path in itertools.product(ORIGINS, ["", "/start", "/start/ "]):
        location = end(site.browser(url, url.rstrip(" /") + path).press())
        context = httpx2.URL(location).params["context"]
        query = httpx2.QueryParams(context=context, return_to=f"{ORIGINS[url]}/connected")
        assert (location, len(context)) == (f"{ORIGINS[url]}/start?{query}#", 43)
    for url in "", *WRONG_URLS.split():
        for urls in (url, CONNECTOR_URL), (APP_URL, url):
            with pytest.raises(ValueError, match="address"):
                site.browser(*urls)
    response = site.browser().get("http://127.0.0.1:8000/connected?a=%23&context=c")
    assert end(response) == f"{APP_URL}/connected?a=%23&context=c#"
    assert "set-cookie" not in response.headers


@pytest.mark.claim("S29", "S30")
@pytest.mark.parametrize("headers", BY_USER.values(), ids=BY_USER)
def test_context_confirms_one_authorization_once(site: Site, headers: dict[str, str]) -> None:
    browser = site.browser()
    browser.headers.update(headers)
    context = browser.connect()
    for query in "", "context=", "context=%C3%BC", "authorization_id=1", "context=unknown":
        assert end(browser.get(f"/connected?{query}")) == HOME
    for malformed in "", f"{ID}0", "A" + ID[1:]:
        assert browser.come_back(context, malformed) == NOT_ASKED
    for each, expected in (ID, STATUS), (ID, STATUS), (OTHER_ID, NOT_ASKED), (ID, STATUS):
        assert browser.come_back(context, each) == expected
    assert site.sent == [confirmation(context)]


@pytest.mark.parametrize(
    ("method", "headers"), [("HEAD", {}), *(("GET", each) for each in AHEAD_OF_USER.values())]
)
@pytest.mark.claim("S30", "T13")
def test_request_ahead_of_user_changes_nothing(
    site: Site, method: str, headers: dict[str, str]
) -> None:
    browser, stranger = site.browser(), site.browser()
    context = browser.connect()
    url = f"/connected?authorization_id={ID}&outcome=granted&context={context}"
    for each in browser, stranger:  # the stranger's own return would be repudiated
        responses = [each.request(method, path, headers=headers) for path in (url, "/connect")]
        assert [end(response) for response in responses] == ["425", HOME]
        responses.append(stranger.request(method, "/", headers=headers))
        assert not any("set-cookie" in response.headers for response in responses)
    assert site.sent == []
    assert browser.come_back(context) == STATUS


@pytest.mark.claim("S29", "T19")
def test_context_is_good_for_an_hour_of_its_session(site: Site) -> None:
    browser = site.browser()
    context = browser.connect()
    assert end(browser.press("/sign-out")) == HOME
    assert browser.come_back(context) == SIGNED_OUT
    punctual, late = browser.connect(), browser.connect()  # in another session
    assert browser.come_back(context) == SIGNED_OUT
    assert (end(browser.get("/connection")), site.sent) == (HOME, [])
    site.wait(3598)
    assert browser.come_back(punctual) == STATUS
    site.wait(3)
    assert browser.come_back(late, OTHER_ID) == HOME
    assert browser.come_back(punctual) == STATUS
    assert site.browser().come_back(late) == NOT_ASKED  # the subscriber decides if it counts
    assert site.sent == [confirmation(punctual), confirmation(late, repudiated=True)]


@pytest.mark.claim("S29")
def test_tabs_at_two_workers_come_back_after_restart(site: Site) -> None:
    tabs = [site.browser(), site.browser()]
    tabs[0].get("/")
    tabs[1].cookies = tabs[0].cookies
    with ThreadPoolExecutor() as threads:  # both tabs at once
        contexts = list(threads.map(User.connect, tabs))
    restarted = site.browser()
    restarted.cookies = tabs[1].cookies
    sent = [confirmation(contexts[0]), confirmation(contexts[1], OTHER_ID)]
    for each in *sent, sent[0]:
        assert restarted.come_back(**each) == STATUS
        restarted.get("/connection")
        site.aws.get_item.assert_called_with(Key=each)  # a repeated return shows its own connection
    restarted.come_back(contexts[0], outcome="denied")  # by hand
    assert end(restarted.get("/connection")) == "200 pending"
    assert site.sent == sent


@pytest.mark.claim("S29")
def test_context_read_by_two_workers_is_used_once(tmp_path: Path) -> None:
    workers = [Contexts(tmp_path / "ledgerly.sqlite") for _ in range(2)]
    context = workers[0].ask("session", "browser")
    asked: list[Any] = [contexts.asked(context) for contexts in workers]
    with ThreadPoolExecutor() as threads:
        used = threads.map(Contexts.use, workers, asked, [ID, OTHER_ID], ["granted"] * 2)
    assert sorted(used) == [False, True]


@pytest.mark.claim("S28", "T1", "T19")
def test_confirmation_and_repudiation_can_be_tried_again(site: Site) -> None:
    browser, victim = site.browser(), site.browser()
    own, victims, _ = browser.connect(), browser.connect(), victim.connect()
    site.aws.send_message.side_effect = [DOWN, DOWN, None, None]
    assert browser.come_back(own) == "503 unconfirmed"
    assert victim.come_back(victims) == "503 unrepudiated"
    assert end(browser.get("/")) == "200 home"  # not yet the connection
    assert browser.come_back(victims) == NOT_ASKED  # although nothing was sent
    assert browser.come_back(own) == STATUS
    assert victim.come_back(victims) == NOT_ASKED
    assert end(victim.get("/connection")) == HOME
    assert site.sent[2:] == [confirmation(own), confirmation(victims, repudiated=True)]


@pytest.mark.claim("S29", "T16")
def test_two_cookies_of_one_name_are_refused(site: Site) -> None:
    browser, neighbour = site.browser(), site.browser()
    context, _ = browser.connect(), neighbour.connect()
    data = form(browser.get("/"))
    own = [f"{name}={value}" for name, value in browser.cookies.items()]
    ends = [("ledgerly", SIGNED_OUT, OUT_OF_DATE), ("ledgerly-browser", NOT_ASKED, CONNECTOR_URL)]
    for name, returned, pressed in ends:
        forged = f"{name}={neighbour.cookies[name]}"
        for lines in ["; ".join([*own, forged])], [";".join([forged, *own])], [*own, forged]:
            victim = site.browser()
            victim.headers.update([("cookie", line) for line in lines])
            assert victim.come_back(context) == returned
            assert end(victim.post("/connect", data=data)).startswith(pressed)
    assert confirmation(context) not in site.sent
    for space in b"\x85", b"\xa0":  # browsers let any host set a name that begins with one
        headers = [(b"cookie", b"a=1; " + space + b"__Host-ledgerly=forged")]
        assert cookie(Request({"type": "http", "headers": headers}), "__Host-ledgerly") is None


@pytest.mark.claim("S30", "T14")
def test_form_names_account_and_needs_token_of_session(site: Site) -> None:
    browser = site.browser()
    pages = [browser.get("/"), browser.get("/out-of-date")]
    accounts = [re.findall(r"demo-[0-9a-f]{4}@", page.text) for page in pages]
    assert accounts == [[accounts[0][0]] * 2] * 2  # the name stands beside both buttons
    own, others = form(pages[0]), form(site.browser().get("/"))
    session = {"cookie": f"ledgerly={browser.cookies['ledgerly']}"}
    wrong: list[tuple[Any, Any]] = [({}, session), (others, session), (own, {}), (own, session)]
    for seconds, (data, headers) in zip((0, 0, 0, LIFETIME + 1), wrong, strict=True):
        assert form(site.browser().get("/", headers=session)) == own  # it has not ended
        site.wait(seconds)
        for path in "/connect", "/disconnect", "/sign-out":
            response = site.browser().post(path, data=data, headers=headers)
            assert end(response) == (HOME if path == "/sign-out" else OUT_OF_DATE)
            assert "set-cookie" not in response.headers
    assert form(site.browser().get("/", headers=session)) != own


@pytest.mark.parametrize(
    ("app_url", "prefix", "attributes", "transport"),
    [(APP_URL, "", "", None), ("https://a.io", "__Host-", "; Secure", "max-age=63072000")],
)
@pytest.mark.claim("S29", "T14", "T16")
def test_headers_and_cookies_are_as_strict_as_scheme_allows(
    site: Site, app_url: str, prefix: str, attributes: str, transport: str | None
) -> None:
    browser = site.browser(app_url)
    browser.come_back(browser.connect())
    pages = [browser.get("/connection") for _ in range(2)]
    refusals = [browser.get(path) for path in ("/not-asked", "/signed-out", "/out-of-date")]
    # Starlette's own redirect from a path with a slash would have no fragment.
    others = ["/", "/connect", "/connected", "/connected/", "/style.css", "/disconnect"]
    responses = [*pages, *refusals, *map(browser.get, others), browser.head("/connected")]
    responses += [browser.get("/", headers={"host": "other.example"}), browser.post("/connect")]
    browser.cookies.clear()
    responses += [browser.get("/"), browser.press()]

    assert [page.status_code for page in refusals] == [403] * 3
    expected = {
        "x-content-type-options": "nosniff",
        "cross-origin-opener-policy": "same-origin",
        "cache-control": "no-store",
        "referrer-policy": "no-referrer",
        "strict-transport-security": transport,
    }
    for response in responses:
        assert {name: response.headers.get(name) for name in expected} == expected
        assert "frame-ancestors 'none'" in response.headers["content-security-policy"]
        assert "unsafe" not in response.headers["content-security-policy"]
    nonces = [re.findall('<script nonce="(.+?)">', page.text)[0] for page in pages]
    assert nonces[0] != nonces[1]
    for nonce, page in zip(nonces, pages, strict=True):
        assert f"script-src 'nonce-{nonce}';" in page.headers["content-security-policy"]
    cookies = [line for each in responses for line in each.headers.get_list("set-cookie")]
    assert [re.sub("=.+?;", ";", line, count=1) for line in cookies] == [
        f"{prefix}{name}; HttpOnly; Max-Age={LIFETIME}; Path=/; SameSite=lax{attributes}"
        for name in ("ledgerly", "ledgerly-browser", "ledgerly-browser")
    ]


def test_outcome_without_grant_is_shown_and_not_confirmed(site: Site) -> None:
    browser = site.browser()
    for outcome in "denied", "expired", "failed", "home", "":
        browser.come_back(browser.connect(), outcome=outcome)
        page = outcome if outcome in {"denied", "expired"} else "failed"
        assert end(browser.get("/connection")) == f"200 {page}"
    assert site.sent == []


@pytest.mark.parametrize(
    ("status", "page", "later"),
    [
        *((status, f"200 {status}", f"200 {status}") for status in FINAL),
        *((status, "200 pending", "200 expired") for status in ("pending", "new", "")),
        ("down", "200 pending", "503 unknown"),
    ],
)
@pytest.mark.claim("T20")
def test_unconnected_status_uses_no_token(
    site: Site, connected: User, status: str, page: str, later: str
) -> None:
    with_button = connected.get("/connection")
    site.aws.invoke.side_effect = []  # no more responses
    # Nothing is stored for another user's authorization_id with this session's context.
    site.aws.get_item.return_value = {"Item": {"status": status}} if status else {}
    site.aws.get_item.side_effect = DOWN if status == "down" else None
    assert end(connected.get("/connection")) == page
    site.wait(CODE_LIFETIME + 1)
    assert end(connected.get("/connection")) == later
    pressed = "503 not-disconnected" if status == "down" else STATUS
    assert end(connected.press("/disconnect", with_button)) == pressed


@pytest.mark.claim("S33")
def test_connected_page_shows_accounts_and_keeps_no_token(site: Site, connected: User) -> None:
    tokens, accounts = [TOKEN, NEXT_TOKEN, NEXT_TOKEN], site.api.return_value
    site.aws.invoke.side_effect = [returned("connected", access_token=it) for it in tokens]
    site.api.side_effect = [httpx2.Response(401), accounts, accounts]
    pages = [connected.get("/connection") for _ in range(2)]
    texts = ["Connected to A &amp; &lt;b&gt;", "Main &amp; &lt;b&gt;", "-1,234,567.80 EUR"]
    for page, text in itertools.product(pages, [*texts, "ending in 2606", "ending in DE42"]):
        assert text in page.text
    asked = {"authorization_id": ID}
    assert site.requests == [asked, asked | {"refused": TOKEN}, asked]
    for token, ([request], _) in zip(tokens, site.api.call_args_list, strict=True):
        assert str(request.url) == "https://api.example/v2/organization"
        assert request.headers["authorization"] == f"Bearer {token}"
        assert request.headers["x-qonto-staging-token"] == "of-the-sandbox"
        assert "cookie" not in request.headers  # it may be another user's
    stored = b"".join(path.read_bytes() for path in site.database.parent.iterdir())
    assert ID.encode() in stored
    assert "ory_at_" not in f"{stored!r}{pages[0].text}{pages[0].headers}"


UNREAD = "cannot be read at the moment"
NOTES = [UNREAD, "You did not allow Ledgerly", "withdraw it there"]


@pytest.mark.parametrize(
    ("function", "api", "shown"),
    [
        *((failure, [], f"connected: {UNREAD}") for failure in FAILURES),
        (returned("connected", access_token=f"{TOKEN}ü"), [], f"connected: {UNREAD}"),
        *(
            (CONNECTED, [response], f"connected: {UNREAD}")
            for response in (
                httpx2.ReadTimeout(TOKEN),
                httpx2.Response(503, json=ACCOUNTS),
                httpx2.Response(302, headers={"location": "https://a.example"}),
                httpx2.Response(200, text=TOKEN),
                httpx2.Response(200, json={"organization": [TOKEN]}),
            )
        ),
        (CONNECTED, [httpx2.Response(401)] * 2, f"connected: {UNREAD}"),
        (CONNECTED, [httpx2.Response(403)], "connected: You did not allow Ledgerly"),
        (returned("ended"), [], "ended"),
        (returned("not-connected"), [], "ended"),
        (returned("disconnecting"), [], "disconnecting"),
        (returned("disconnected"), [], "disconnected"),
        (returned("disconnected", revoked=False), [], "disconnected: withdraw it there"),
        (returned("not-connected"), [], "disconnected"),  # a day later
        (returned("unavailable"), [], "disconnected"),
    ],
)
@pytest.mark.claim("S33")
def test_page_without_accounts_says_why(
    site: Site, connected: User, function: object, api: list[object], shown: str
) -> None:
    page, _, note = shown.partition(": ")
    stored = "disconnected" if page.startswith("disconnect") else "connected"
    site.aws.get_item.return_value = {"Item": {"status": stored}}
    site.aws.invoke.side_effect, site.api.side_effect = [function] * (len(api) or 1), api
    response = connected.get("/connection")
    assert end(response) == f"200 {page}"
    assert [each for each in NOTES if each in response.text] == [note] * bool(note)
    assert response.text.count('action="/disconnect"') == (page == "connected")
    assert site.api.call_count == len(api)
    assert TOKEN not in f"{response.text}{response.headers}"


@pytest.mark.parametrize("failure", FAILURES)
def test_disconnect_can_be_repeated(site: Site, connected: User, failure: object) -> None:
    page = connected.get("/connection")
    site.aws.invoke.side_effect = [failure, returned("disconnecting")]
    failed = connected.press("/disconnect", page)
    assert end(failed) == "503 not-disconnected"
    assert end(connected.press("/disconnect", failed)) == STATUS
    assert end(connected.get("/disconnect")) == STATUS  # a reload of its URL
    connected.come_back(connected.connect(), OTHER_ID)
    assert end(connected.press("/disconnect", page)) == STATUS  # of the earlier connection
    assert site.requests[1:] == [{"authorization_id": ID, "disconnect": True}] * 2


def test_app_opens_with_connection_months_later(site: Site, connected: User) -> None:
    connected.connect()  # and never comes back
    site.wait(LIFETIME - 10)
    connected.connect()
    assert end(connected.get("/")) == STATUS
    with opened(site.database) as database:
        [stored] = database.execute("SELECT COUNT(*) FROM contexts").fetchone()
    assert stored == 2  # the connected one and the latest


def test_app_waits_longer_than_the_function_runs() -> None:
    function = infra.function(infra.load(infra.EXAMPLE), "TokensFunction")
    assert vars(CLIENT_CONFIG)["read_timeout"] > function["Timeout"]
