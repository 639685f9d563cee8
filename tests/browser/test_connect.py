"""A user presses *Connect with Qonto*, signs in, and allows or declines."""

import re
from collections.abc import Iterator

import httpx2
import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Browser, Page, expect

from demo.__main__ import STAND_IN
from tests.browser.conftest import Demo, screenshot
from tests.browser.site import Site
from tests.browser.test_flows import decide
from tests.browser.test_pages import RULES
from tests.demo_process import checked, local_aws
from tests.slow import slow

CLEAN = re.compile(r"^http://localhost:\d+/connection#_$")


@pytest.fixture(scope="module")
def checked_demo(demo: Demo) -> Iterator[Demo]:
    """The running demo; its events are checked against the contract."""
    with checked(demo.port):
        yield demo


def connect(page: Page, app: str, decision: str) -> None:
    """Press the button of *app*, sign in at Qonto, and decide."""
    page.goto(app)
    page.get_by_role("button", name="Connect with Qonto").click()
    page.get_by_role("button", name="Sign in").click()
    decide(page, decision)


def test_home_page_shows_the_account(page: Page, demo: Demo) -> None:
    page.goto(demo.app)

    account = page.get_by_role("main").get_by_text(re.compile(r"^demo-.{4}@example\.com$"))
    expect(account).to_be_visible()
    screenshot(page, "home-app")


def test_connection_lives_until_it_is_disconnected(page: Page, checked_demo: Demo) -> None:
    """The flows after this one begin with a clock that is an hour ahead."""
    demo, accounts = checked_demo, page.get_by_role("listitem")
    connect(page, demo.app, "Allow")
    expect(accounts).to_have_text([re.compile("2606.+12,843.50 EUR"), re.compile("3,100.00 EUR")])

    live = page.context.new_page()
    live.goto(demo.live)
    live.get_by_role("button", name="An hour later").click()
    expect(live.get_by_role("main")).to_contain_text("It is 1 hour ahead")
    page.reload()
    expect(accounts).to_have_count(2)
    expect(live.get_by_role("article").first).to_contain_text("(refresh 1)")

    token = access_token(demo)
    assert reads(demo, token)
    page.get_by_role("button", name="Disconnect").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Disconnected")
    assert not reads(demo, token)
    page.goto(demo.app)
    expect(page.get_by_role("heading", level=1)).to_have_text("Disconnected")
    expect(live.get_by_role("article").first).to_contain_text("and revoked at Qonto")


def access_token(demo: Demo) -> str:
    """Return the access token of the only connection."""
    aws = local_aws(demo.port)
    tables = aws.dynamodb.list_tables()["TableNames"]
    items = [item for table in tables for item in aws.dynamodb.scan(TableName=table)["Items"]]
    [tokens] = [item["tokens"]["M"] for item in items if "tokens" in item]
    return str(tokens["access_token"]["S"])


def reads(demo: Demo, token: str) -> bool:
    """Tell whether mock Qonto lets *token* read."""
    headers = {
        "Authorization": f"Bearer {token}",
        "X-Qonto-Staging-Token": STAND_IN["STAGING_TOKEN"],
    }
    url = f"http://127.0.0.1:{demo.port + 2}/v2/organization"
    return httpx2.get(url, headers=headers).is_success


def test_allow_ends_connected_with_event_and_tokens(page: Page, checked_demo: Demo) -> None:
    connect(page, checked_demo.app, "Allow")

    expect(page.get_by_role("heading", level=1)).to_have_text("Connected to Atelier Martin")
    expect(page).to_have_url(CLEAN)
    screenshot(page, "allow-app")
    page.goto(checked_demo.live)
    event = page.get_by_role("article").first
    expect(event.get_by_role("heading")).to_have_text("A code arrived")
    expect(event).to_contain_text("qonto-connect.authorization.granted.v1")
    expect(event).to_contain_text("Confirmed and exchanged: connected")
    expect(event).to_contain_text(re.compile(r"ory_at_.+ory_rt_", re.DOTALL))
    expect(event).not_to_contain_text(re.compile(r"ory_[a-z]{2}_[\w-]{20}"))  # shortened
    screenshot(page, "allow-live")


def test_decline_ends_unconnected_with_failed_event(page: Page, checked_demo: Demo) -> None:
    live = page.context.new_page()
    live.goto(checked_demo.live)

    connect(page, checked_demo.app, "Decline")

    expect(page.get_by_role("heading", level=1)).to_have_text("Nothing was connected")
    expect(page).to_have_url(CLEAN)
    screenshot(page, "decline-app")
    event = live.get_by_role("article").first  # it came by itself
    expect(event.get_by_role("heading")).to_have_text("Qonto answered access_denied")
    expect(event).to_contain_text("qonto-connect.authorization.failed.v1")
    expect(event).to_contain_text("Nothing to exchange")
    screenshot(live, "decline-live")


@pytest.mark.parametrize("scripts", [True, pytest.param(False, marks=slow)])
def test_finishing_page_turns_connected_without_error(
    chromium: Browser, served: Site, example_app: str, connection: dict[str, str], *, scripts: bool
) -> None:
    served.use(RETURN_URLS=f"{example_app}/connected")
    connection.clear()
    page = chromium.new_context(java_script_enabled=scripts).new_page()
    errors: list[str] = []
    page.on("console", lambda message: errors.append(message.text))
    page.on("pageerror", lambda error: errors.append(str(error)))

    connect(page, example_app, "Allow")

    heading = page.get_by_role("heading", level=1)
    expect(heading).to_have_text("Finishing…")
    connection |= {"status": "connected", "organization": "Atelier Martin"}
    expect(heading).to_have_text("Connected to Atelier Martin", timeout=15_000)
    expect(page).to_have_title("Connected to Atelier Martin · Ledgerly")
    assert page.url.startswith(f"{example_app}/connection")
    assert errors == []
    page.context.close()


@slow
def test_unused_connection_ends_after_91_days(page: Page, demo: Demo) -> None:
    connect(page, demo.app, "Allow")
    expect(page.get_by_role("listitem")).to_have_count(2)
    live = page.context.new_page()
    live.goto(demo.live)

    live.get_by_role("button", name="91 days later").click()
    expect(live.get_by_role("main")).to_contain_text("ahead")
    page.reload()

    heading = page.get_by_role("heading", level=1)
    expect(heading).to_have_text("Your connection has ended")
    page.get_by_role("button", name="Connect again").click()
    page.get_by_role("button", name="Sign in").click()
    decide(page, "Allow")
    expect(heading).to_have_text("Connected to Atelier Martin")


@slow
@pytest.mark.parametrize("status", ["connected", "ended", "disconnected", "failed", "lost"])
def test_page_of_each_status_is_accessible(
    page: Page, served: Site, example_app: str, connection: dict[str, str], status: str
) -> None:
    served.use(RETURN_URLS=f"{example_app}/connected")
    connection |= {"status": status, "organization": "Atelier Martin"}
    page.set_viewport_size({"width": 320, "height": 640})

    connect(page, example_app, "Allow")

    page.wait_for_url(re.compile("/connection"))
    found = Axe().run(page, options=RULES).response
    assert found["violations"] + found["incomplete"] == []
    screenshot(page, f"phone-{status}-app")
    for size in ("100%", "200%"):
        page.evaluate(f"document.documentElement.style.fontSize = '{size}'")
        assert page.evaluate("document.documentElement.scrollWidth") == 320
