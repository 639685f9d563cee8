"""A user presses *Connect with Qonto* in the demo, signs in, and allows or declines."""

import re

import pytest
from playwright.sync_api import Browser, Page, expect

from demo.__main__ import HOSTS
from demo.local_aws import free_port
from tests.browser.site import Site
from tests.browser.test_pages import expect_accessible
from tests.support.demo_process import running
from tests.support.slow import SLOW, slow


def connect(page: Page, decision: str = "Allow") -> None:
    """Press the app's button, sign in at Qonto, and decide."""
    page.get_by_role("button", name=re.compile("^Connect")).click()
    decide(page, decision)


def decide(page: Page, decision: str = "Allow") -> None:
    """Sign in at Qonto, and decide."""
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("button", name=decision, exact=True).click()


@pytest.mark.claim("S34")
def test_connection_lives_until_it_is_unused_or_disconnected(page: Page) -> None:
    live, accounts = page.context.new_page(), page.get_by_role("listitem")
    heading, event = page.get_by_role("heading", level=1), live.get_by_role("article").first
    port = free_port(len(HOSTS))
    with running(PORT=str(port)):
        page.goto(f"http://localhost:{port}")
        live.goto(f"http://localhost:{port + 3}")

        connect(page)
        expect(heading).to_have_text("Connected to Atelier Martin")
        expect(page).to_have_url(f"http://localhost:{port}/connection#_")
        expect(accounts).to_have_text([re.compile("12,843.50 EUR"), re.compile("3,100.00 EUR")])
        expect(event).to_contain_text("authorization.granted.v1")  # it came by itself
        expect(event).to_contain_text(re.compile(r"ory_at_.+ory_rt_", re.DOTALL))
        expect(event).not_to_contain_text(re.compile(r"ory_[a-z]{2}_[\w-]{20}"))  # shortened

        live.get_by_role("button", name="An hour later").click()
        expect(live.get_by_role("main")).to_contain_text("1 hour ahead")
        page.reload()
        expect(accounts).to_have_count(2)
        expect(event).to_contain_text("(refresh 1)")

        live.get_by_role("button", name="91 days later").click()
        expect(live.get_by_role("main")).to_contain_text("91 days")
        page.reload()
        expect(heading).to_have_text("Your connection has ended")

        connect(page)
        expect(heading).to_have_text("Connected to Atelier Martin")
        page.get_by_role("button", name="Disconnect").click()
        expect(heading).to_have_text("Disconnected")
        page.goto(f"http://localhost:{port}")
        expect(heading).to_have_text("Disconnected")
        expect(event).to_contain_text("and revoked at Qonto")

        connect(page, "Decline")
        expect(heading).to_have_text("Nothing was connected")


@pytest.mark.parametrize("scripts", [True, pytest.param(False, marks=slow)])
def test_finishing_page_turns_connected_without_error(
    chromium: Browser, site: Site, example_app: str, *, scripts: bool
) -> None:
    with chromium.new_context(java_script_enabled=scripts) as context:
        page, heading = context.new_page(), context.pages[0].get_by_role("heading", level=1)
        errors = list[str]()
        page.on("console", lambda message: errors.append(message.text))
        page.on("pageerror", lambda error: errors.append(str(error)))
        site.connection["status"] = "pending"
        page.goto(example_app)

        connect(page)

        expect(heading).to_have_text("Finishing…")
        site.connection["status"] = "connected"
        expect(heading).to_have_text("Connected to Atelier Martin", timeout=15_000)
        expect(page).to_have_title("Connected to Atelier Martin · Ledgerly")
        assert errors == []
        if scripts and SLOW:
            page.set_viewport_size({"width": 320, "height": 640})
            for status in ("connected", "ended", "disconnected", "failed", "lost"):
                site.connection["status"] = status
                page.reload()
                expect_accessible(page, f"phone-{status}-app")
