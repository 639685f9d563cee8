"""The points of docs/first-deploy.md that a deployed stack shows from outside."""

import re
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from secrets import token_hex
from urllib.parse import urlsplit

import httpx2
import pytest

from tests.e2e import report
from tests.e2e.conftest import STACK_NAME
from tests.e2e.deployed_stack import Deployed

type Seen = Callable[[str], None]

COOKIE = "__Host-qonto-connect"
ATTRIBUTES = "Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=86400"
HOSTS = {"production": "oauth.qonto.com", "sandbox": "oauth-sandbox.staging.qonto.co"}
SECURITY_HEADERS = {
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "strict-transport-security": "max-age=63072000",
    "x-content-type-options": "nosniff",
}
PREFETCH = {"Sec-Purpose": "prefetch"}


@pytest.mark.point("Redirect and cookie of a start")
def test_start_redirects_to_qonto_and_sets_cookie(
    deployed: Deployed, browser: httpx2.Client
) -> None:
    response = browser.get("/start?context=abc")

    location = urlsplit(response.headers["location"])
    host = HOSTS[deployed.stack.parameters["QontoEnvironment"]]
    assert (response.status_code, location.netloc, location.path) == (302, host, "/oauth2/auth")
    assert re.fullmatch(rf"{COOKIE}=[\w-]{{43}}; {ATTRIBUTES}", response.headers["set-cookie"])
    assert "abc" not in response.headers["location"]


@pytest.mark.point("A granted flow")
def test_code_reaches_subscriber_and_can_be_exchanged(
    deployed: Deployed, browser: httpx2.Client
) -> None:
    """The exchange sends the redirect URI of the event, which must equal that of the request."""
    returned = deployed.decided(browser)
    code = httpx2.URL(returned).params["code"]

    response = browser.get(returned)

    event = deployed.event(code=code)
    data = event["data"]
    assert response.status_code == 303
    assert code not in response.headers["location"]
    assert event["type"] == "qonto-connect.authorization.granted.v1"
    assert event["source"].startswith(f"/qonto-connect/{data['environment']}/")
    names = ("code", "code_verifier", "redirect_uri", "client_id")
    form = {name: data[name] for name in names if name in data}
    form |= {"client_secret": "secret", "grant_type": "authorization_code"}
    assert deployed.qonto.exchange(form, {})["token_type"] == "bearer"


@pytest.mark.point("A denied flow")
def test_denial_reaches_subscriber(deployed: Deployed, browser: httpx2.Client) -> None:
    response = browser.get(deployed.decided(browser, "deny"))

    event = deployed.event(error="access_denied")
    assert response.status_code == 303
    assert event["type"] == "qonto-connect.authorization.failed.v1"


@pytest.mark.point("A repeated callback")
def test_repeated_callback_gets_the_same_response(
    deployed: Deployed, browser: httpx2.Client
) -> None:
    returned = deployed.decided(browser)

    first, repeated = browser.get(returned), browser.get(returned)
    with closing(deployed.browser()) as another:
        another.get("/start")
        refused = another.get(returned)
        page = another.get(refused.headers["location"])

    assert "granted" in first.headers["location"]
    assert repeated.headers["location"] == first.headers["location"]
    assert refused.headers["location"] == "/callback/used#_"
    assert (page.status_code, page.headers["cache-control"]) == (410, "no-store")


@pytest.mark.point("Another browser")
def test_only_the_browser_that_started_can_finish(
    deployed: Deployed, browser: httpx2.Client
) -> None:
    returned = deployed.decided(browser)

    with closing(deployed.browser()) as another:
        refused = another.get(returned)
        page = another.get(refused.headers["location"])

    assert (refused.headers["location"], page.status_code) == ("/callback/other-browser#_", 403)
    assert "granted" in browser.get(returned).headers["location"]


@pytest.mark.point("The gateway's own 404")
@pytest.mark.parametrize(
    ("method", "path"),
    [
        *(("HEAD", "/start"), ("POST", "/start"), ("HEAD", "/callback"), ("POST", "/callback")),
        *(("GET", "/"), ("GET", "/callback/granted/more")),
    ],
)
def test_other_routes_are_not_found(browser: httpx2.Client, method: str, path: str) -> None:
    response = browser.request(method, path)

    assert response.status_code == 404
    assert "set-cookie" not in response.headers


@pytest.mark.point("Headers of each response")
@pytest.mark.parametrize(
    ("url", "headers", "status"),
    [
        *(("/start", {}, 302), ("/start?context=two+words", {}, 400), ("/start", PREFETCH, 425)),
        *(("/callback?code=a&state=b", {}, 303), ("/callback/granted", {}, 200)),
        ("/callback/unheard-of", {}, 404),
    ],
)
def test_every_response_has_the_security_headers(
    browser: httpx2.Client, seen: Seen, url: str, headers: dict[str, str], status: int
) -> None:
    response = browser.get(url, headers=headers)

    missing = sorted(name for name, _ in SECURITY_HEADERS.items() - response.headers.items())
    seen(f"{response.status_code}" + "".join(f" without {name}" for name in missing))
    assert (response.status_code, missing) == (status, [])


def denied_with(deployed: Deployed, browser: httpx2.Client, *cookies: str) -> httpx2.Response:
    """Deny; send the callback with a ``Cookie`` field for each of *cookies*, a format of ours."""
    url = deployed.decided(browser, "deny")
    fields = [each.format(f"{COOKIE}={browser.cookies[COOKIE]}") for each in cookies]
    with closing(deployed.browser()) as sender:  # in UTF-8, as browsers send them
        return sender.get(url, headers=[(b"Cookie", field.encode()) for field in fields])


@pytest.mark.point("Two cookie headers over HTTP/2")
@pytest.mark.parametrize("cookies", [("{}", "theme=dark"), ("theme=dark", "{}")])
def test_cookie_in_a_header_of_its_own_is_found(
    deployed: Deployed, browser: httpx2.Client, seen: Seen, cookies: tuple[str, str]
) -> None:
    response = denied_with(deployed, browser, *cookies)

    seen(response.http_version)
    assert "denied" in response.headers["location"]
    if STACK_NAME is None:
        pytest.skip("the local gateway has no HTTP/2")
    assert response.http_version == "HTTP/2"


@pytest.mark.point("A Unicode space before the cookie's name")
@pytest.mark.parametrize("space", ["\u00a0", "\u2003"], ids=ascii)
def test_cookie_with_unicode_space_is_not_ours(
    deployed: Deployed, browser: httpx2.Client, seen: Seen, space: str
) -> None:
    """A browser checks the prefix ``__Host-`` alone, so any host of the domain can set this one."""
    path = urlsplit(denied_with(deployed, browser, f"{space}{{}}").headers["location"]).path

    seen(f"U+{ord(space):04X}: {path}")
    assert path == "/callback/other-browser"


@pytest.mark.point("U+FFFE on its way to SQS")
def test_noncharacter_reaches_the_queue_replaced(
    deployed: Deployed, browser: httpx2.Client, seen: Seen
) -> None:
    error = f"first-deploy-{token_hex(8)}"
    state = httpx2.URL(browser.get("/start").headers["location"]).params["state"]

    browser.get(f"/callback?error={error}&error_description=a%EF%BF%BEb&state={state}")

    description = deployed.event(error=error)["data"]["error_description"]
    seen(ascii(description))
    assert description == "a\ufffdb"


@pytest.mark.point("10 kB of query")
def test_query_of_10_kilobytes_gets_the_gateways_431(browser: httpx2.Client, seen: Seen) -> None:
    response = browser.get(f"/start?unknown={'a' * 10_240}")

    seen(f"{response.status_code} {response.text}")
    assert response.status_code == 431


def test_points_of_report_are_tested_here_or_by_hand() -> None:
    source = Path(__file__).read_text("utf-8")
    titles = re.findall(r'^@pytest\.mark\.point\("(.+)"\)$', source, re.MULTILINE)

    assert sorted(report.CHECKED_POINTS) == sorted(set(titles))
    for title in report.POINTS_BY_HAND:
        section = report.CHECKLIST.split(f"\n### {title}\n")[1].partition("\n##")[0]
        assert section.count("Report: ") == 1
