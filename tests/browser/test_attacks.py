"""Attacks that a browser's own rules decide, each with the defence and without.

tests/unit/test_example_app.py and tests/integration have those without a browser.
"""

import json
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect
from starlette.requests import Request
from starlette.responses import Response

from demo.local_aws import LocalAws, ministack
from examples.app.app import Ledgerly
from tests.browser.site import Site, serve_example_app
from tests.support.unguarded import ministack_without_a_guard

# Each of the first two requests makes a queue of its own name; the last one reads a secret.
FETCHES = """(async aws => {
  await fetch(aws + "/?Action=CreateQueue&QueueName=get", {mode: "no-cors"})
  const form = new URLSearchParams({Action: "CreateQueue", QueueName: "post"})
  await fetch(aws, {method: "POST", mode: "no-cors", body: form})
  const headers = {"X-Amz-Target": "secretsmanager.GetSecretValue"}
  const body = JSON.stringify({SecretId: "client"})
  return fetch(aws, {method: "POST", headers, body}).then(it => it.text(), String)
})(%s)"""
FORM = '<form method="post" action="%s"></form><script>document.forms[0].submit()</script>'


class SetsCookiesForAnySite(Ledgerly):
    """Shows in place that a form is out of date, and sets new cookies where it got none."""

    async def connect(self, request: Request) -> Response:
        response = await super().connect(request)
        refused = response.headers["location"].startswith("/out-of-date")
        return self.out_of_date(request) if refused else response


class LetsItselfBeFramed(Ledgerly):
    """Does not say who may frame its pages."""

    def _page(self, *arguments: Any, **named: Any) -> Response:  # noqa: ANN401 - Ledgerly's own
        response = super()._page(*arguments, **named)
        policy = response.headers["Content-Security-Policy"].partition("frame-ancestors")[0]
        response.headers["Content-Security-Policy"] = f"{policy}frame-ancestors *"
        return response


@pytest.mark.parametrize(
    ("ledgerly", "end"),
    [
        (Ledgerly, "Connected to Atelier Martin"),
        (SetsCookiesForAnySite, "This browser did not ask for that"),
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
    ("ledgerly", "shown"), [(Ledgerly, []), (LetsItselfBeFramed, ["Connect with Qonto"])]
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


@pytest.mark.parametrize(
    ("run", "guarded"), [(ministack, True), (ministack_without_a_guard, False)]
)
@pytest.mark.claim("S36")
def test_page_of_another_site_reads_and_changes_nothing(
    page: Page, site: Site, run: Callable[[], AbstractContextManager[LocalAws]], *, guarded: bool
) -> None:
    """Browsers let it send requests to any port of the developer's machine."""
    page.goto(site.app)
    with run() as aws:
        aws.secrets.create_secret(Name="client", SecretString="of-the-client")
        read = page.evaluate(FETCHES % json.dumps(aws.endpoint_url))
        made = aws.sqs.list_queues().get("QueueUrls", [])

    assert ("of-the-client" in read) is not guarded
    assert {url.rpartition("/")[2] for url in made} == (set() if guarded else {"get", "post"})
