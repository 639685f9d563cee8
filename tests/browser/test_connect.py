"""A user presses *Connect with Qonto* in the demo, signs in, and allows or declines."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from demo.__main__ import HOSTS
from demo.local_aws import free_port
from tests.browser.test_pages import expect_accessible, screenshot
from tests.demo_process import checked, running
from tests.slow import SLOW, slow


@pytest.fixture(scope="module")
def demo(chromium: Browser) -> Iterator[int]:
    """The first port of the running demo; its events are checked against the contract."""
    assert chromium.is_connected()
    port = free_port(len(HOSTS))
    with running(PORT=str(port)), checked(port):
        yield port


def connect(page: Page, app: str, decision: str = "Allow") -> None:
    """Press the button of *app*, sign in at Qonto, and decide."""
    page.goto(app)
    page.get_by_role("button", name=re.compile("^Connect")).click()
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("button", name=decision, exact=True).click()


@pytest.mark.claim("S34")
def test_connection_lives_until_it_is_disconnected(page: Page, demo: int) -> None:
    """The flows after this one begin with a clock that is an hour ahead."""
    live, accounts = page.context.new_page(), page.get_by_role("listitem")
    heading, event = page.get_by_role("heading", level=1), live.get_by_role("article").first
    live.goto(f"http://localhost:{demo + 3}")

    connect(page, f"http://localhost:{demo}")

    expect(heading).to_have_text("Connected to Atelier Martin")
    expect(page).to_have_url(re.compile(r"^http://localhost:\d+/connection#_$"))
    expect(accounts).to_have_text([re.compile("2606.+12,843.50 EUR"), re.compile("3,100.00 EUR")])
    expect(event.get_by_role("heading")).to_have_text("A code arrived")  # it came by itself
    expect(event).to_contain_text("qonto-connect.authorization.granted.v1")
    expect(event).to_contain_text("Confirmed and exchanged: connected")
    expect(event).to_contain_text(re.compile(r"ory_at_.+ory_rt_", re.DOTALL))
    expect(event).not_to_contain_text(re.compile(r"ory_[a-z]{2}_[\w-]{20}"))  # shortened
    screenshot(page, "allow-app")
    screenshot(live, "allow-live")

    live.get_by_role("button", name="An hour later").click()
    expect(live.get_by_role("main")).to_contain_text("It is 1 hour ahead")
    page.reload()
    expect(accounts).to_have_count(2)
    expect(event).to_contain_text("(refresh 1)")

    page.get_by_role("button", name="Disconnect").click()
    expect(heading).to_have_text("Disconnected")
    page.goto(f"http://localhost:{demo}")
    expect(heading).to_have_text("Disconnected")
    expect(event).to_contain_text("and revoked at Qonto")


def test_decline_ends_unconnected_with_failed_event(page: Page, demo: int) -> None:
    connect(page, f"http://localhost:{demo}", "Decline")

    expect(page.get_by_role("heading", level=1)).to_have_text("Nothing was connected")
    page.goto(f"http://localhost:{demo + 3}")
    event = page.get_by_role("article").first
    expect(event).to_contain_text("qonto-connect.authorization.failed.v1")
    expect(event).to_contain_text("Nothing to exchange")


@slow
def test_unused_connection_ends_after_91_days(page: Page, demo: int) -> None:
    connect(page, f"http://localhost:{demo}")
    expect(page.get_by_role("listitem")).to_have_count(2)
    live = page.context.new_page()
    live.goto(f"http://localhost:{demo + 3}")

    live.get_by_role("button", name="91 days later").click()
    expect(live.get_by_role("main")).to_contain_text("ahead")
    page.reload()

    heading = page.get_by_role("heading", level=1)
    expect(heading).to_have_text("Your connection has ended")
    connect(page, page.url)
    expect(heading).to_have_text("Connected to Atelier Martin")


@pytest.mark.parametrize("scripts", [True, pytest.param(False, marks=slow)])
def test_finishing_page_turns_connected_without_error(
    chromium: Browser, example_app: str, connection: dict[str, str], *, scripts: bool
) -> None:
    with chromium.new_context(java_script_enabled=scripts) as context:
        page, heading = context.new_page(), context.pages[0].get_by_role("heading", level=1)
        errors: list[str] = []
        page.on("console", lambda message: errors.append(message.text))
        page.on("pageerror", lambda error: errors.append(str(error)))
        connection["status"] = "pending"

        connect(page, example_app)

        expect(heading).to_have_text("Finishing…")
        connection["status"] = "connected"
        expect(heading).to_have_text("Connected to Atelier Martin", timeout=15_000)
        expect(page).to_have_title("Connected to Atelier Martin · Ledgerly")
        assert errors == []
        if scripts and SLOW:
            page.set_viewport_size({"width": 320, "height": 640})
            for status in ("connected", "ended", "disconnected", "failed", "lost"):
                connection["status"] = status
                page.reload()
                expect_accessible(page, f"phone-{status}-app")
