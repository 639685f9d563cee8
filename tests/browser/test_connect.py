"""A person clicks *Connect with Qonto*, signs in, and allows or declines."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Demo, screenshot
from tests.demo_process import checked

CLEAN = re.compile(r"^http://localhost:\d+/connection#_$")


@pytest.fixture(scope="module", autouse=True)
def _checked(demo: Demo) -> Iterator[None]:
    """Hold what the demo publishes against the contract."""
    with checked(demo.port):
        yield


def connect(page: Page, demo: Demo, decision: str) -> None:
    """Click through to Qonto's question and answer it."""
    page.goto(demo.app)
    page.get_by_role("link", name="Connect with Qonto").click()
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("button", name=decision, exact=True).click()


def test_allow_ends_connected_with_a_granted_event_and_tokens(page: Page, demo: Demo) -> None:
    connect(page, demo, "Allow")

    expect(page.get_by_role("heading", level=1)).to_have_text("Connected to Atelier Martin")
    expect(page).to_have_url(CLEAN)
    screenshot(page, "allow-app")
    page.goto(demo.live)
    event = page.get_by_role("article").first
    expect(event.get_by_role("heading")).to_have_text("A code arrived")
    expect(event).to_contain_text("qonto-connect.authorization.granted.v1")
    expect(event).to_contain_text("Confirmed and exchanged: connected")
    expect(event).to_contain_text(re.compile(r"ory_at_.+ory_rt_", re.DOTALL))
    expect(event).not_to_contain_text(re.compile(r"ory_[a-z]{2}_[\w-]{20}"))  # shortened
    screenshot(page, "allow-live")


def test_decline_ends_not_connected_with_a_failed_event(page: Page, demo: Demo) -> None:
    live = page.context.new_page()
    live.goto(demo.live)

    connect(page, demo, "Decline")

    expect(page.get_by_role("heading", level=1)).to_have_text("Nothing was connected")
    expect(page).to_have_url(CLEAN)
    screenshot(page, "decline-app")
    event = live.get_by_role("article").first  # it came by itself
    expect(event.get_by_role("heading")).to_have_text("Qonto answered access_denied")
    expect(event).to_contain_text("qonto-connect.authorization.failed.v1")
    expect(event).to_contain_text("Nothing to exchange")
    screenshot(live, "decline-live")
