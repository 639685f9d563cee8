"""The example app, with two workers on one file of sessions and a scripted subscriber."""

import json
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

from examples.app.app import CODE_LIFETIME, Ledgerly, create_app
from examples.app.contexts import Contexts
from examples.app.sessions import LIFETIME, Sessions
from examples.app.subscriber import Subscriber
from examples.app.web import cookie
from tests.navigations import AHEAD_OF_USER, BY_USER

APP_URL = "http://localhost:8000"
CONNECTOR_URL = "http://localhost:8001"
QUEUE_URL = "https://sqs.eu-west-3.amazonaws.com/000000000000/subscriber"
AUTHORIZATION_ID = "5b0f5a0e-0000-4000-8000-000000000001"
OTHER_ID = "5b0f5a0e-0000-4000-8000-000000000002"
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
    """Both AWS clients of the app: they keep its messages, and return the status of a test."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.item: dict[str, str] = {}
        self.read: dict[str, str] = {}  # the key
        self.down = False

    def send_message(self, **call: str) -> None:
        self._respond()
        assert call["QueueUrl"] == QUEUE_URL
        self.sent.append(json.loads(call["MessageBody"]))

    def get_item(self, **call: dict[str, str]) -> dict[str, dict[str, str]]:
        self._respond()
        self.read = call["Key"]
        return {"Item": self.item} if self.item else {}

    def _respond(self) -> None:
        if self.down:
            raise EndpointConnectionError(endpoint_url="https://sqs")


type Worker = Callable[..., TestClient]


@pytest.fixture
def subscriber() -> FakeSubscriber:
    return FakeSubscriber()


@pytest.fixture
def worker(subscriber: FakeSubscriber, tmp_path: Path) -> Worker:
    """Start a worker, and return a browser at it, new or with the cookies of another browser."""

    def start(
        same: TestClient | None = None, app_url: str = APP_URL, connector_url: str = CONNECTOR_URL
    ) -> TestClient:
        clients: Any = subscriber
        database = tmp_path / "ledgerly.sqlite"
        stores = Sessions(database), Contexts(database)
        own = Subscriber(clients, QUEUE_URL, clients)
        ledgerly = Ledgerly(app_url, connector_url, own, *stores)
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

    for path, end in (("/connect", OUT_OF_DATE), ("/sign-out", HOME)):
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
    others += ["/connected/"]  # Starlette's own redirect would have no fragment

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
    browser: TestClient, subscriber: FakeSubscriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    come_back(browser, connect(browser))
    subscriber.down = True  # the table as well

    assert "Finishing…" in browser.get("/connection").text
    wait(monkeypatch, CODE_LIFETIME + 1)
    assert "That took too long" in browser.get("/connection").text
