"""The example app, with two workers on one file of sessions, a scripted subscriber and API."""

import io
import json
import logging
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx2
import pytest
from botocore.exceptions import EndpointConnectionError
from starlette.requests import Request
from starlette.testclient import TestClient

from demo import live
from demo import template as infra
from examples.app.app import CODE_LIFETIME, Ledgerly, create_app
from examples.app.contexts import Contexts, opened
from examples.app.qonto import Qonto
from examples.app.sessions import LIFETIME, Sessions
from examples.app.subscriber import Subscriber
from examples.app.tokens import CLIENT_CONFIG, Tokens
from examples.app.web import cookie
from tests.navigations import AHEAD_OF_USER, BY_USER

APP_URL = "http://localhost:8000"
CONNECTOR_URL = "http://localhost:8001"
QUEUE_URL = "https://sqs.eu-west-3.amazonaws.com/000000000000/subscriber"
AUTHORIZATION_ID = "5b0f5a0e-0000-4000-8000-000000000001"
OTHER_ID = "5b0f5a0e-0000-4000-8000-000000000002"
TOKENS_FUNCTION = "subscriber-TokensFunction"
TOKEN, NEXT_TOKEN = "ory_at_secret-1", "ory_at_secret-2"
CONNECTED = {"status": "connected", "access_token": TOKEN, "expires_at": 1, "scope": "a"}
ACCOUNT = {
    "name": "Main & <b>",
    "iban": "FR1420041010050500013M02606",
    "balance": -1234567.8,
    "currency": "EUR",
}
ACCOUNTS = {"organization": {"bank_accounts": [ACCOUNT, ACCOUNT | {"iban": "DE42"}]}}
UNREAD = "Your accounts cannot be read at the moment"
HOME, STATUS = "/#_", "/connection#_"
NOT_ASKED, SIGNED_OUT, OUT_OF_DATE = "/not-asked#_", "/signed-out#_", "/out-of-date#_"
# The URLs that the app is given, and the base URLs that it uses.
BASE_URLS = [
    (f"{APP_URL}/", APP_URL, f"{CONNECTOR_URL}/", CONNECTOR_URL),
    (" HTTP://LocalHost:8000 ", APP_URL, f" {CONNECTOR_URL}/start/ ", CONNECTOR_URL),
    (
        "https://A.example:443/",
        "https://a.example",
        "http://c.example:80/start",
        "http://c.example",
    ),
    ("http://[::1]:80", "http://[::1]", "https://c.example/start/", "https://c.example"),
    ("https://bücher.example", "https://xn--bcher-kva.example", CONNECTOR_URL, CONNECTOR_URL),
]
WRONG_URLS = ["", "a.example:80", "/a", "ftp://a.example", "https://:443"]
WRONG_URLS += [
    "https://a.example/a",
    "https://u:p@a.example",
    "https://a.example:99999",
    "https://a.example?a",
    "https://a.example#a",
]


class FakeSubscriber:
    """The AWS clients of the app: they keep its messages, and return the status of a test.

    Attributes:
        requests: those to the function `tokens`.
        responses: its responses; the last one is repeated. None is a `FunctionError`.

    """

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.item: dict[str, str] = {}
        self.read: dict[str, str] = {}  # the key
        self.down = False
        self.requests: list[dict[str, Any]] = []
        self.responses: list[dict[str, Any] | None] = [{"status": "unavailable"}]
        self.tokens_down = False

    def send_message(self, **call: str) -> None:
        self._respond()
        assert call["QueueUrl"] == QUEUE_URL
        self.sent.append(json.loads(call["MessageBody"]))

    def get_item(self, **call: dict[str, str]) -> dict[str, dict[str, str]]:
        self._respond()
        self.read = call["Key"]
        return {"Item": self.item} if self.item else {}

    def invoke(self, **call: Any) -> dict[str, Any]:  # noqa: ANN401 - boto3's own
        if self.tokens_down:
            raise EndpointConnectionError(endpoint_url="https://lambda")
        assert call["FunctionName"] == TOKENS_FUNCTION
        self.requests.append(json.loads(call["Payload"]))
        response = self.responses.pop(0) if len(self.responses) > 1 else self.responses[0]
        if response is None:
            return {"FunctionError": "Unhandled", "Payload": io.BytesIO(b'{"errorMessage": ""}')}
        return {"Payload": io.BytesIO(json.dumps(response).encode())}

    def _respond(self) -> None:
        if self.down:
            raise EndpointConnectionError(endpoint_url="https://sqs")


class FakeQonto:
    """Qonto's API: it keeps the requests, and returns what a test says, the last one repeatedly."""

    def __init__(self) -> None:
        self.requests: list[httpx2.Request] = []
        self.responses = [httpx2.Response(200, json=ACCOUNTS)]

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        response = self.responses.pop(0) if len(self.responses) > 1 else self.responses[0]
        if response.status_code == 599:  # none
            raise httpx2.ReadTimeout(TOKEN)
        return response


type Worker = Callable[..., TestClient]


@pytest.fixture
def subscriber() -> FakeSubscriber:
    return FakeSubscriber()


@pytest.fixture
def qonto() -> FakeQonto:
    return FakeQonto()


@pytest.fixture
def worker(subscriber: FakeSubscriber, qonto: FakeQonto, tmp_path: Path) -> Worker:
    """Start a worker, and return a browser at it, new or with the cookies of another browser."""

    def start(
        same: TestClient | None = None, app_url: str = APP_URL, connector_url: str = CONNECTOR_URL
    ) -> TestClient:
        clients: Any = subscriber
        database = tmp_path / "ledgerly.sqlite"
        stores = Sessions(database), Contexts(database)
        own = Subscriber(clients, QUEUE_URL, clients)
        tokens = Tokens(clients, TOKENS_FUNCTION)
        api = Qonto("https://api.example", "of-the-sandbox", httpx2.MockTransport(qonto))
        ledgerly = Ledgerly(app_url, connector_url, own, tokens, api, *stores)
        cookies = same.cookies if same else None
        return TestClient(
            create_app(ledgerly), ledgerly.app_url, cookies=cookies, follow_redirects=False
        )

    return start


@pytest.fixture
def browser(worker: Worker) -> TestClient:
    return worker()


def form_token(page: httpx2.Response) -> str:
    return str(re.findall(r'name="token" value="([\w-]{43})"', page.text)[-1])


def press(browser: TestClient, token: str) -> httpx2.Response:
    return browser.post("/connect", data={"token": token})


def context_in(response: httpx2.Response) -> str:
    return dict(parse_qsl(urlsplit(led_to(response)).query))["context"]


def connect(browser: TestClient) -> str:
    """Press the button; return the context that goes to the connector."""
    return context_in(press(browser, form_token(browser.get("/"))))


def come_back(
    browser: TestClient,
    context: str,
    authorization_id: str = AUTHORIZATION_ID,
    outcome: str = "granted",
    **request: Any,  # noqa: ANN401 - httpx's own
) -> httpx2.Response:
    query = {"authorization_id": authorization_id, "outcome": outcome, "context": context}
    return browser.request(**{"method": "GET", "url": "/connected", "params": query, **request})


@pytest.fixture
def connected(browser: TestClient, subscriber: FakeSubscriber) -> TestClient:
    """A browser whose connection has its tokens."""
    come_back(browser, connect(browser))
    subscriber.item = {"status": "connected", "organization": "Martin"}
    subscriber.responses = [CONNECTED]
    return browser


def disconnect(browser: TestClient, page: httpx2.Response | None = None) -> httpx2.Response:
    """Press the button of *page*."""
    page = page or browser.get("/connection")
    fields = re.findall(r'name="(token|connection)" value="(.+?)"', page.text)
    return browser.post("/disconnect", data=dict(fields))


def led_to(response: httpx2.Response) -> str:
    assert response.status_code == 303
    return str(response.headers["location"])


def confirmation(context: str, authorization_id: str = AUTHORIZATION_ID) -> dict[str, Any]:
    return {"authorization_id": authorization_id, "context": context}


def repudiation(context: str) -> dict[str, Any]:
    return confirmation(context) | {"repudiated": True}


def wait(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    later = time.time() + seconds
    monkeypatch.setattr(time, "time", lambda: later)


@pytest.mark.parametrize(("app_url", "app", "connector_url", "connector"), BASE_URLS)
def test_button_leads_to_connector_with_return_url(
    worker: Worker, app_url: str, app: str, connector_url: str, connector: str
) -> None:
    browser = worker(app_url=app_url, connector_url=connector_url)

    location = led_to(press(browser, form_token(browser.get("/"))))

    url = urlsplit(location)
    assert f"{url.scheme}://{url.netloc}{url.path}" == f"{connector}/start"
    query = dict(parse_qsl(url.query))
    assert len(query.pop("context")) == 43
    assert query == {"return_to": f"{app}/connected"}
    assert location.endswith("#")


@pytest.mark.parametrize("url", WRONG_URLS)
def test_wrong_url_is_refused(worker: Worker, url: str) -> None:
    with pytest.raises(ValueError, match="address"):
        worker(app_url=url)
    with pytest.raises(ValueError, match="address"):
        worker(connector_url=url)


def test_request_at_another_host_goes_to_app_url(worker: Worker) -> None:
    browser = worker()
    browser.base_url = "http://127.0.0.1:8000"

    response = browser.get("/connected?a=%23&context=c")

    assert led_to(response) == f"{APP_URL}/connected?a=%23&context=c#"
    assert "set-cookie" not in response.headers


def test_page_names_the_account_that_connects(browser: TestClient) -> None:
    account = re.compile(r"demo-[0-9a-f]{4}@example\.com")

    pages = [browser.get("/").text.partition("<main")[::2] for _ in range(2)]

    accounts = [account.findall(part) for page in pages for part in page]
    assert [len(found) for found in accounts] == [1] * 4
    assert accounts == accounts[:1] * 4


def test_return_confirms_once_and_shows_status(worker: Worker, subscriber: FakeSubscriber) -> None:
    browser, other = worker(), worker()
    context, _ = connect(browser), connect(other)

    assert [led_to(come_back(browser, context)) for _ in range(3)] == [STATUS] * 3

    assert subscriber.sent == [confirmation(context)]
    browser.get("/connection")
    assert subscriber.read == confirmation(context)
    assert led_to(other.get("/connection")) == HOME


@pytest.mark.parametrize("query", ["", "?context=", "?context=%C3%BC", "?authorization_id=1"])
def test_return_without_known_context_leads_home(
    browser: TestClient, subscriber: FakeSubscriber, query: str
) -> None:
    assert led_to(browser.get(f"/connected{query}")) == HOME
    assert led_to(come_back(browser, "unknown")) == HOME
    assert subscriber.sent == []


@pytest.mark.parametrize("authorization_id", ["", f"{AUTHORIZATION_ID}0", "A" + OTHER_ID[1:]])
def test_invalid_authorization_id_is_not_confirmed(
    browser: TestClient, subscriber: FakeSubscriber, authorization_id: str
) -> None:
    context = connect(browser)

    assert led_to(come_back(browser, context, authorization_id)) == NOT_ASKED
    assert led_to(come_back(browser, context)) == STATUS
    assert subscriber.sent == [confirmation(context)]


@pytest.mark.parametrize(
    ("method", "headers"),
    [("HEAD", {}), *(("GET", headers) for headers in AHEAD_OF_USER.values())],
)
def test_request_ahead_of_user_changes_nothing(
    worker: Worker, subscriber: FakeSubscriber, method: str, headers: dict[str, str]
) -> None:
    browser, stranger = worker(), worker()
    context = connect(browser)

    for each in (browser, stranger):  # the stranger's own return would be repudiated
        response = come_back(each, context, method=method, headers=headers)
        assert (response.status_code, response.headers.get("set-cookie")) == (425, None)
        assert led_to(each.get("/connection")) == HOME
        assert led_to(each.request(method, "/connect", headers=headers)) == HOME

    assert "set-cookie" not in worker().request(method, "/", headers=headers).headers
    assert subscriber.sent == []
    assert led_to(come_back(browser, context)) == STATUS


@pytest.mark.parametrize("headers", BY_USER.values(), ids=BY_USER)
def test_each_navigation_of_user_confirms(
    browser: TestClient, subscriber: FakeSubscriber, headers: dict[str, str]
) -> None:
    context = connect(browser)

    assert led_to(come_back(browser, context, headers=headers)) == STATUS
    assert subscriber.sent == [confirmation(context)]


def test_tabs_at_two_workers_come_back_after_restart(
    worker: Worker, subscriber: FakeSubscriber
) -> None:
    first = worker()
    token = form_token(first.get("/"))
    tabs = [first, worker(first)]
    with ThreadPoolExecutor() as threads:  # both tabs at once
        contexts = [context_in(it) for it in threads.map(press, tabs, [token, token])]

    restarted = worker(tabs[1])
    ids = [AUTHORIZATION_ID, OTHER_ID]
    ends = [led_to(come_back(restarted, *each)) for each in zip(contexts, ids, strict=True)]

    assert ends == [STATUS, STATUS]
    assert subscriber.sent == [confirmation(*it) for it in zip(contexts, ids, strict=True)]


def test_repeated_return_shows_its_own_connection(
    browser: TestClient, subscriber: FakeSubscriber
) -> None:
    returns = [(connect(browser), AUTHORIZATION_ID), (connect(browser), OTHER_ID)]

    for each in (*returns, returns[0]):
        come_back(browser, *each)
        browser.get("/connection")
        assert subscriber.read == confirmation(*each)
    come_back(browser, *returns[1], outcome="denied")  # by hand
    assert "Finishing" in browser.get("/connection").text


@pytest.mark.parametrize("known", [True, False], ids=["user-of-the-app", "no-cookie"])
def test_forwarded_link_is_repudiated(
    worker: Worker, subscriber: FakeSubscriber, *, known: bool
) -> None:
    sender, victim = worker(), worker()
    context = connect(sender)
    if known:
        connect(victim)

    assert led_to(come_back(victim, context)) == NOT_ASKED
    assert subscriber.sent == [repudiation(context)]

    for authorization_id in (AUTHORIZATION_ID, OTHER_ID):
        assert led_to(come_back(sender, context, authorization_id)) == NOT_ASKED
    assert subscriber.sent == [repudiation(context)]
    page = victim.get("/not-asked")
    assert (page.status_code, context in page.text) == (403, False)


def test_failed_message_can_be_tried_again(worker: Worker, subscriber: FakeSubscriber) -> None:
    browser, victim = worker(), worker()
    contexts = connect(browser), connect(browser)
    returns = (browser, contexts[0]), (victim, contexts[1])

    subscriber.down = True
    failed = [come_back(*each) for each in returns]
    subscriber.down = False

    assert [response.status_code for response in failed] == [503, 503]
    assert all('<a class="button" href="">' in response.text for response in failed)
    assert browser.get("/").status_code == 200  # not yet the connection
    assert led_to(come_back(browser, contexts[1])) == NOT_ASKED  # although nothing was sent
    assert [led_to(come_back(*each)) for each in returns] == [STATUS, NOT_ASKED]
    assert subscriber.sent == [confirmation(contexts[0]), repudiation(contexts[1])]


@pytest.mark.parametrize("signs_in", [True, False])
def test_changed_session_is_refused_and_repudiates_nothing(
    browser: TestClient, subscriber: FakeSubscriber, *, signs_in: bool
) -> None:
    context = connect(browser)
    assert led_to(browser.post("/sign-out", data={"token": form_token(browser.get("/"))})) == HOME
    if signs_in:
        connect(browser)

    assert led_to(come_back(browser, context)) == SIGNED_OUT

    assert browser.get("/signed-out").status_code == 403
    assert led_to(browser.get("/connection")) == HOME
    assert subscriber.sent == []


def test_context_is_used_for_one_authorization(
    browser: TestClient, subscriber: FakeSubscriber
) -> None:
    context = connect(browser)
    come_back(browser, context)

    assert led_to(come_back(browser, context, OTHER_ID)) == NOT_ASKED

    browser.get("/connection")
    assert subscriber.read == confirmation(context)
    assert subscriber.sent == [confirmation(context)]


def test_context_lives_for_an_hour(
    worker: Worker, subscriber: FakeSubscriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser, stranger = worker(), worker()
    context, late = connect(browser), connect(browser)

    wait(monkeypatch, 3598)
    assert led_to(come_back(browser, context)) == STATUS
    wait(monkeypatch, 3)
    assert led_to(come_back(browser, late, OTHER_ID)) == HOME
    assert led_to(come_back(browser, context)) == STATUS
    assert subscriber.sent == [confirmation(context)]
    assert led_to(come_back(stranger, late)) == NOT_ASKED  # the subscriber decides if it counts
    assert subscriber.sent[1:] == [repudiation(late)]


def test_context_read_by_two_workers_is_used_once(tmp_path: Path) -> None:
    workers = [Contexts(tmp_path / "ledgerly.sqlite") for _ in range(2)]
    context = workers[0].ask("session", "browser")
    asked = [contexts.asked(context) for contexts in workers]

    def use(contexts: Contexts, read: Any, authorization_id: str) -> bool:  # noqa: ANN401 - not None
        return contexts.use(read, authorization_id, "granted")

    with ThreadPoolExecutor() as threads:
        used = threads.map(use, workers, asked, [AUTHORIZATION_ID, OTHER_ID])
    assert sorted(used) == [False, True]


@pytest.mark.parametrize(
    ("app_url", "prefix", "attributes"),
    [(APP_URL, "", set()), ("https://a.example", "__Host-", {"secure"})],
)
def test_cookies_are_as_strict_as_scheme_allows(
    worker: Worker, app_url: str, prefix: str, attributes: set[str]
) -> None:
    browser = worker(app_url=app_url)
    home = browser.get("/")

    lines = home.headers.get_list("set-cookie")
    lines += press(browser, form_token(home)).headers.get_list("set-cookie")

    names = ["ledgerly", "ledgerly-browser", "ledgerly-browser"]
    assert [line.partition("=")[0] for line in lines] == [f"{prefix}{name}" for name in names]
    common = {f"max-age={LIFETIME}", "path=/", "httponly", "samesite=lax"}
    for line in lines:
        assert set(line.lower().split("; ")[1:]) == common | attributes


@pytest.mark.parametrize(
    ("name", "end", "pressed"),
    [("ledgerly", SIGNED_OUT, OUT_OF_DATE), ("ledgerly-browser", NOT_ASKED, CONNECTOR_URL)],
)
def test_two_cookies_of_one_name_are_refused(
    worker: Worker, subscriber: FakeSubscriber, name: str, end: str, pressed: str
) -> None:
    browser, neighbour = worker(), worker()
    context, _ = connect(browser), connect(neighbour)
    token = form_token(browser.get("/"))
    own = [f"{own_name}={value}" for own_name, value in browser.cookies.items()]
    forged = f"{name}={neighbour.cookies[name]}"

    for lines in (["; ".join([*own, forged])], [";".join([forged, *own])], [*own, forged]):
        headers = [("cookie", line) for line in lines]
        assert led_to(come_back(worker(), context, headers=headers)) == end
        response = worker().post("/connect", data={"token": token}, headers=headers)
        assert led_to(response).startswith(pressed)
    assert confirmation(context) not in subscriber.sent


def test_neighbours_cookies_confirm_nothing_on_https(
    worker: Worker, subscriber: FakeSubscriber
) -> None:
    sender, victim = (worker(app_url="https://a.example") for _ in range(2))
    context = connect(sender)
    for name, value in sender.cookies.items():
        victim.cookies.set(name.removeprefix("__Host-"), value)

    assert led_to(come_back(victim, context)) == NOT_ASKED
    assert subscriber.sent == [repudiation(context)]


@pytest.mark.parametrize("space", [b"\x85", b"\xa0"])
def test_space_before_cookies_name_belongs_to_it(space: bytes) -> None:
    """A browser lets any host of the domain set this cookie, whose name begins with the space."""
    headers = [(b"cookie", b"a=1; " + space + b"__Host-ledgerly=forged")]

    assert cookie(Request({"type": "http", "headers": headers}), "__Host-ledgerly") is None


@pytest.mark.parametrize("kind", ["no-token", "another-sessions", "no-session", "expired"])
def test_post_without_token_of_session_starts_nothing(
    worker: Worker, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    browser, other = worker(), worker()
    own, others = form_token(browser.get("/")), form_token(other.get("/"))
    data = {"token": {"no-token": "", "another-sessions": others}.get(kind, own)}
    cookie = f"ledgerly={browser.cookies['ledgerly']}"  # sent even when a browser would drop it
    headers = [] if kind == "no-session" else [("cookie", cookie)]
    if kind == "expired":
        wait(monkeypatch, LIFETIME + 1)

    ends = {"/connect": OUT_OF_DATE, "/disconnect": OUT_OF_DATE, "/sign-out": HOME}
    for path, end in ends.items():
        response = worker().post(path, data=data, headers=headers)
        assert (led_to(response), response.headers.get("set-cookie")) == (end, None)

    signed_in = form_token(worker().get("/", headers=[("cookie", cookie)]))
    assert (signed_in == own) == (kind != "expired")


@pytest.mark.parametrize("app_url", [APP_URL, "https://a.example"])
def test_each_response_has_security_headers(worker: Worker, app_url: str) -> None:
    browser = worker(app_url=app_url)
    context = connect(browser)
    come_back(browser, context)
    pages = [browser.get("/connection") for _ in range(2)]
    others = ["/", "/connect", "/connected", "/not-asked", "/out-of-date", "/style.css"]
    others += ["/disconnect", "/connected/"]  # Starlette's own redirect would have no fragment

    responses = [*pages, *map(browser.get, others)]
    responses += [press(browser, ""), come_back(browser, context, method="HEAD")]
    responses += [browser.get("/", headers={"host": "other.example"})]

    for response in responses:
        assert "frame-ancestors 'none'" in response.headers["content-security-policy"]
        assert "unsafe" not in response.headers["content-security-policy"]
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["cross-origin-opener-policy"] == "same-origin"
        assert response.headers["cache-control"] == "no-store"
        assert response.headers["referrer-policy"] == "no-referrer"
        https = app_url.startswith("https")
        assert ("strict-transport-security" in response.headers) == https
    nonces = [re.findall(r'<script nonce="(.+?)">', page.text) for page in pages]
    assert nonces[0] != nonces[1]
    for [nonce], page in zip(nonces, pages, strict=True):
        assert f"script-src 'nonce-{nonce}';" in page.headers["content-security-policy"]


@pytest.mark.parametrize(
    ("outcome", "sentence"),
    [
        ("denied", "Nothing was connected"),
        ("expired", "That took too long"),
        ("failed", "That did not work"),
        ("home", "That did not work"),
        ("", "That did not work"),
    ],
)
def test_other_outcome_can_be_tried_again(
    browser: TestClient, subscriber: FakeSubscriber, outcome: str, sentence: str
) -> None:
    come_back(browser, connect(browser), outcome=outcome)

    page = browser.get("/connection")

    assert sentence in page.text
    assert 'action="/connect"' in page.text
    assert subscriber.sent == []


@pytest.mark.parametrize(
    ("item", "sentence"),
    [
        ({}, "Finishing…"),
        ({"status": "pending"}, "Finishing…"),
        ({"status": "of a later version"}, "Finishing…"),
        ({"status": "connected"}, "Connected to Qonto"),
        ({"status": "connected", "organization": "Martin & <b>"}, "to Martin &amp; &lt;b&gt;"),
        ({"status": "failed"}, "That did not work"),
        ({"status": "expired"}, "That took too long"),
        ({"status": "lost"}, "We did not hear back"),
        ({"status": "repudiated"}, "Nothing was connected"),
        ({"status": "ended"}, "Your connection has ended"),
        ({"status": "disconnected"}, "no longer has access"),
    ],
)
def test_page_shows_status_of_subscriber(
    browser: TestClient, subscriber: FakeSubscriber, item: dict[str, str], sentence: str
) -> None:
    come_back(browser, connect(browser))
    subscriber.item = item

    page = browser.get("/connection")

    assert sentence in page.text
    assert ("Connected to" in page.text) == (item.get("status") == "connected")


def test_connection_without_event_expires(
    browser: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    come_back(browser, connect(browser))

    assert "Finishing…" in browser.get("/connection").text
    wait(monkeypatch, CODE_LIFETIME + 1)
    assert "That took too long" in browser.get("/connection").text


def test_unreadable_status_is_not_called_expired(
    browser: TestClient, subscriber: FakeSubscriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    come_back(browser, connect(browser))
    subscriber.down = True

    assert "Finishing…" in browser.get("/connection").text
    wait(monkeypatch, CODE_LIFETIME + 1)
    page = browser.get("/connection")

    assert (page.status_code, 'href="/connection"' in page.text) == (503, True)
    assert 'action="/connect"' not in page.text


def test_connected_page_shows_accounts(
    connected: TestClient, subscriber: FakeSubscriber, qonto: FakeQonto
) -> None:
    page = connected.get("/connection").text

    for text in ("Main &amp; &lt;b&gt;", "ending in 2606", "ending in DE42", "-1,234,567.80 EUR"):
        assert text in page
    assert subscriber.requests == [{"authorization_id": AUTHORIZATION_ID}]
    [request] = qonto.requests
    assert str(request.url) == "https://api.example/v2/organization"
    assert request.headers["authorization"] == f"Bearer {TOKEN}"
    assert request.headers["x-qonto-staging-token"] == "of-the-sandbox"


@pytest.mark.parametrize(("statuses", "shows"), [((401, 200), True), ((401, 401), False)])
def test_refused_token_is_replaced_once(
    connected: TestClient,
    subscriber: FakeSubscriber,
    qonto: FakeQonto,
    statuses: tuple[int, ...],
    *,
    shows: bool,
) -> None:
    subscriber.responses = [CONNECTED, CONNECTED | {"access_token": NEXT_TOKEN}]
    qonto.responses = [httpx2.Response(status, json=ACCOUNTS) for status in statuses]

    page = connected.get("/connection").text

    assert ("ending in 2606" in page, UNREAD in page) == (shows, not shows)
    request = {"authorization_id": AUTHORIZATION_ID}
    assert subscriber.requests == [request, request | {"refused": TOKEN}]
    sent = [request.headers["authorization"] for request in qonto.requests]
    assert sent == [f"Bearer {TOKEN}", f"Bearer {NEXT_TOKEN}"]


@pytest.mark.parametrize(
    ("stored", "response", "sentence", "connects"),
    [
        ("connected", {"status": "ended"}, "Your connection has ended", True),
        ("connected", {"status": "not-connected"}, "Your connection has ended", True),
        ("disconnected", {"status": "disconnecting"}, "Disconnecting…", False),
        ("disconnected", {"status": "disconnected", "revoked": True}, "no longer has", True),
        ("disconnected", {"status": "disconnected", "revoked": False}, "withdraw it there", True),
        ("disconnected", {"status": "not-connected"}, "no longer has", True),  # a day later
        ("disconnected", {"status": "unavailable"}, "no longer has", True),
    ],
)
def test_page_shows_status_of_tokens(  # noqa: PLR0913, PLR0917 - the cases
    connected: TestClient,
    subscriber: FakeSubscriber,
    qonto: FakeQonto,
    stored: str,
    response: dict[str, Any],
    sentence: str,
    connects: bool,  # noqa: FBT001
) -> None:
    subscriber.item["status"] = stored
    subscriber.responses = [response]

    page = connected.get("/connection").text

    assert sentence in page
    assert ('action="/connect"' in page, 'action="/disconnect"' in page) == (connects, False)
    assert ("withdraw it there" in page) == (response.get("revoked") is False)
    assert qonto.requests == []


@pytest.mark.parametrize(
    ("response", "api"),
    [
        (None, httpx2.Response(200, json=ACCOUNTS)),
        ({"status": "unavailable"}, httpx2.Response(200, json=ACCOUNTS)),
        ("down", httpx2.Response(200, json=ACCOUNTS)),
        (CONNECTED, httpx2.Response(503, json=ACCOUNTS)),
        (CONNECTED, httpx2.Response(302, headers={"location": "https://other.example"})),
        (CONNECTED, httpx2.Response(200, text=TOKEN)),
        (CONNECTED, httpx2.Response(200, json={"organization": {"bank_accounts": [TOKEN]}})),
        (CONNECTED, httpx2.Response(599)),
        (CONNECTED | {"access_token": f"{TOKEN}ü"}, httpx2.Response(200, json=ACCOUNTS)),
    ],
)
def test_unread_accounts_leave_connection_and_no_token(  # noqa: PLR0913, PLR0917 - fixtures
    connected: TestClient,
    subscriber: FakeSubscriber,
    qonto: FakeQonto,
    caplog: pytest.LogCaptureFixture,
    response: Any,  # noqa: ANN401 - JSON
    api: httpx2.Response,
) -> None:
    caplog.set_level(logging.DEBUG)
    subscriber.tokens_down = response == "down"
    subscriber.responses, qonto.responses = [response], [api]

    page = connected.get("/connection")

    assert (page.status_code, "Connected to Martin" in page.text) == (200, True)
    assert UNREAD in page.text
    assert 'href="/connection">Try again' in page.text
    assert len(qonto.requests) <= 1
    assert TOKEN not in f"{caplog.text}{page.text}{page.headers}"


def test_missing_scope_is_not_called_an_outage(connected: TestClient, qonto: FakeQonto) -> None:
    qonto.responses = [httpx2.Response(403)]

    page = connected.get("/connection").text

    assert "You did not allow Ledgerly to read your accounts" in page
    assert "Try again" not in page
    assert 'action="/disconnect"' in page


@pytest.mark.parametrize("status", ["pending", "failed", "lost", "expired", "repudiated", "ended"])
def test_unconnected_status_uses_no_token(
    connected: TestClient, subscriber: FakeSubscriber, qonto: FakeQonto, status: str
) -> None:
    page = connected.get("/connection")
    subscriber.requests.clear()
    qonto.requests.clear()

    subscriber.item["status"] = status
    connected.get("/connection")
    ends = [led_to(disconnect(connected, page))]
    subscriber.item = {}  # as for another user's authorization_id, with this session's context
    connected.get("/connection")
    ends.append(led_to(disconnect(connected, page)))

    assert (ends, subscriber.requests, qonto.requests) == ([STATUS, STATUS], [], [])


def test_access_token_stays_in_memory(
    connected: TestClient, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    page = connected.get("/connection")

    assert "ending in 2606" in page.text
    stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert AUTHORIZATION_ID.encode() in stored
    assert TOKEN not in f"{stored!r}{caplog.text}{page.text}{page.headers}"


def test_cookie_of_the_api_is_not_sent_back(connected: TestClient, qonto: FakeQonto) -> None:
    qonto.responses = [httpx2.Response(200, json=ACCOUNTS, headers={"set-cookie": "user=1"})]

    for _ in range(2):
        connected.get("/connection")

    assert ["cookie" in request.headers for request in qonto.requests] == [False, False]


def test_disconnect_can_be_repeated(connected: TestClient, subscriber: FakeSubscriber) -> None:
    page = connected.get("/connection")
    subscriber.requests.clear()
    subscriber.responses = [{"status": "disconnecting"}, {"status": "disconnected"}]

    for _ in range(2):
        assert led_to(disconnect(connected, page)) == STATUS
    assert led_to(connected.get("/disconnect")) == STATUS  # a reload of its address

    request = {"authorization_id": AUTHORIZATION_ID, "disconnect": True}
    assert subscriber.requests == [request, request]


@pytest.mark.parametrize("fault", ["table", "function", "error", "unavailable"])
def test_failed_disconnect_can_be_tried_again(
    connected: TestClient, subscriber: FakeSubscriber, fault: str
) -> None:
    page = connected.get("/connection")
    subscriber.down, subscriber.tokens_down = fault == "table", fault == "function"
    subscriber.responses = [None if fault == "error" else {"status": "unavailable"}]

    failed = disconnect(connected, page)

    assert (failed.status_code, "Not disconnected yet" in failed.text) == (503, True)
    subscriber.down = subscriber.tokens_down = False
    subscriber.responses = [{"status": "disconnected"}]
    assert led_to(disconnect(connected, failed)) == STATUS


def test_button_of_an_earlier_connection_ends_nothing(
    connected: TestClient, subscriber: FakeSubscriber
) -> None:
    session = form_token(connected.get("/connection"))
    earlier = connected.get("/connection")
    come_back(connected, context_in(press(connected, session)), "6" + AUTHORIZATION_ID[1:])
    subscriber.requests.clear()

    assert led_to(disconnect(connected, earlier)) == STATUS
    assert subscriber.requests == []


def test_app_opens_with_connection_months_later(
    connected: TestClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    token = form_token(connected.get("/connection"))
    press(connected, token)  # and never comes back

    wait(monkeypatch, LIFETIME - 10)
    press(connected, token)

    assert led_to(connected.get("/")) == STATUS
    assert "ending in 2606" in connected.get("/connection").text
    with opened(tmp_path / "ledgerly.sqlite") as database:
        [stored] = database.execute("SELECT COUNT(*) FROM contexts").fetchone()
    assert stored == 2  # the connected one and the latest


def test_app_waits_longer_than_the_function_runs() -> None:
    function = infra.function(infra.load(live.EXAMPLE), "TokensFunction")

    assert vars(CLIENT_CONFIG)["read_timeout"] > function["Timeout"]
