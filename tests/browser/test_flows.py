"""Flows in browsers: another browser, a reload, the back button, links of the pages."""

import re
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Page, expect

from tests.browser.browsers import NewUser, go_to_qonto, tab_of
from tests.browser.site import Site


def test_flow_finishes_only_in_its_own_browser(new_user: NewUser, site: Site) -> None:
    user, stranger = new_user(), new_user()
    stranger.goto(site.start())  # sets a cookie for the stranger
    state = go_to_qonto(user, site, context="ctx-1")

    stranger.goto(f"{site.connector}/callback?code=ory_ac_1&state={state}")
    user.click("button[value=allow]")

    assert stranger.url == f"{site.connector}/callback/other-browser#_"
    assert "ctx-1" not in stranger.script("document.body.innerText")
    assert stranger.script("document.cookie") == ""
    assert stranger.script("getComputedStyle(document.querySelector('main')).maxWidth") == "480px"
    assert user.url.endswith("&outcome=granted&context=ctx-1#")
    assert site.requested_paths == [
        *("/start", "/start", "/callback", "/callback/other-browser", "/callback")
    ]


def test_reload_and_back_end_at_the_clean_page(page: Page, site: Site) -> None:
    site.use(RETURN_URLS="")
    user = tab_of(page)
    go_to_qonto(user, site)
    user.click("button[value=allow]")
    address = user.url
    assert re.search(r"/callback/granted\?reference=[0-9a-f]{8}#_$", address)

    page.reload()
    assert user.url == address
    page.go_back()
    if page.get_by_role("button", name="Allow", exact=True).is_visible():
        user.click("button[value=allow]")  # this time, mock Qonto responds with an error

    page.wait_for_url(address)
    paths = site.requested_paths
    assert (paths.count("/callback"), paths.count("/callback/granted")) == (2, 3)


def test_start_again_repeats_the_start_query(page: Page, site: Site) -> None:
    site.use(RETURN_URLS="")
    user = tab_of(page)
    go_to_qonto(user, site, context="ctx-1", organization_id="org-1", registration_id="reg-1")
    user.click("button[value=decline]")
    expect(page.get_by_role("heading")).to_have_text("Nothing was connected")

    with page.expect_request(re.compile("/oauth2/auth")) as request:
        page.get_by_role("link", name="Start again").click()

    query = parse_qs(urlsplit(request.value.url).query)
    assert (query["organization_id"], query["registration_id"]) == (["org-1"], ["reg-1"])
    item = site.functions.item(query["state"][0])
    assert item
    assert item["context"] == "ctx-1"


@pytest.mark.claim("S18")
def test_try_again_ends_without_code_or_state(page: Page, site: Site) -> None:
    user = tab_of(page)
    go_to_qonto(user, site)
    site.use(reach_aws=False)
    user.click("button[value=allow]")
    expect(page.get_by_role("heading")).to_have_text("One more try, please")

    site.use()
    user.click("a")

    assert re.search(r"/connected\?authorization_id=[0-9a-f-]{36}&outcome=granted#$", user.url)
