"""A user presses *Connect with Qonto*, signs in, and allows or declines."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import Demo, screenshot
from tests.browser.site import Site
from tests.browser.test_flows import decide
from tests.demo_process import checked
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
