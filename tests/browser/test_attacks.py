"""Attacks on the example app that a browser's own rules decide, with the app's defence and without.

tests/unit/test_example_app.py and tests/integration/test_attacks.py have those without a browser.
"""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from examples.app.app import Ledgerly
from tests.browser.site import Site, serve_example_app
from tests.support import careless

FORM = '<form method="post" action="%s"></form><script>document.forms[0].submit()</script>'


@pytest.mark.parametrize(
    ("ledgerly", "end"),
    [
        (Ledgerly, "Connected to Atelier Martin"),
        (careless.SetsCookiesForAnySite, "This browser did not ask for that"),
    ],
)
@pytest.mark.claim("S30", "T14")
def test_form_of_another_site_ends_no_flow(
    page: Page, site: Site, tmp_path: Path, ledgerly: type[Ledgerly], end: str
) -> None:
    """It is posted while the user's own flow is under way, without the user's cookies."""
    heading = page.get_by_role("heading", level=1)
    with serve_example_app(site, tmp_path, ledgerly) as app:
        page.goto(app)
        page.get_by_role("button", name="Connect with Qonto").click()
        expect(heading).to_have_text("Sign in")

        tab = page.context.new_page()
        with tab.expect_navigation(url=re.compile("#_$|/connect$")):
            tab.goto(site.page(FORM % f"{app}/connect"), wait_until="commit")

        page.get_by_role("button", name="Sign in").click()
        page.get_by_role("button", name="Allow", exact=True).click()
        expect(heading).to_have_text(end)


@pytest.mark.parametrize(
    ("ledgerly", "shown"), [(Ledgerly, []), (careless.LetsItselfBeFramed, ["Connect with Qonto"])]
)
@pytest.mark.claim("S30", "T14")
def test_neighbours_page_shows_no_frame_of_the_app(
    page: Page, site: Site, tmp_path: Path, ledgerly: type[Ledgerly], shown: list[str]
) -> None:
    with serve_example_app(site, tmp_path, ledgerly) as app:
        page.goto(app)
        neighbour = site.page(f'<iframe src="{app}"></iframe>').replace("localhost", "127.0.0.1", 1)
        page.goto(neighbour)

        buttons = page.frame_locator("iframe").get_by_role("button", name="Connect with Qonto")
        assert buttons.all_inner_texts() == shown
