"""Flows in Chromium: tabs, reloads, the back button, another browser, blocked cookies."""

import json
import re
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import ARGUMENTS, CHROMIUM
from tests.browser.site import Site

RETURNED = re.compile(r"/connected\?authorization_id=.+&outcome=(granted|denied|failed|expired)")


def go_to_qonto(page: Page, site: Site, **query: str) -> str:
    """Follow the app's link and sign in; return the state from the request to Qonto."""
    with page.expect_request(re.compile("/oauth2/auth")) as request:
        page.goto(f"{site.app}/?{urlencode({'to': site.start(**query)})}")
        page.get_by_role("link", name="Connect with Qonto").click()
    page.get_by_role("button", name="Sign in").click()
    return parse_qs(urlsplit(request.value.url).query)["state"][0]


def decide(page: Page, decision: str = "Allow") -> None:
    """Press the button *decision* on mock Qonto's consent page."""
    if decision == "Answer with this error":
        page.get_by_text("Other outcomes").click()
    page.get_by_role("button", name=decision, exact=True).click()


def callback_url(page: Page) -> str:
    """Allow access at mock Qonto and return the callback URL, but do not follow it."""
    challenge = page.locator("[name=consent_challenge]").input_value()
    redirect = page.request.post(
        page.url,
        form={"consent_challenge": challenge, "decision": "allow", "scope": "offline_access"},
        max_redirects=0,
    )
    return redirect.headers["location"]


@pytest.mark.parametrize(
    ("decision", "outcome"),
    [("Allow", "granted"), ("Decline", "denied"), ("Answer with this error", "failed")],
)
def test_return_url_redirects_straight_to_the_app(
    page: Page, site: Site, decision: str, outcome: str
) -> None:
    go_to_qonto(page, site, context="ctx-1")
    decide(page, decision)

    expect(page.get_by_role("heading")).to_have_text("The app")
    assert f"&outcome={outcome}&context=ctx-1" in page.url
    assert site.requested_paths == ["/start", "/callback"]  # both redirects


def test_expired_state_with_return_url_redirects_to_app(page: Page, site: Site) -> None:
    site.expire(go_to_qonto(page, site))
    decide(page)

    expect(page.get_by_role("heading")).to_have_text("The app")
    assert "&outcome=expired" in page.url
    assert site.requested_paths == ["/start", "/callback"]


def test_flow_without_return_url_takes_three_requests(page: Page, site: Site) -> None:
    site.use(RETURN_URLS="")
    go_to_qonto(page, site)

    decide(page)

    page.wait_for_url(re.compile(r"/callback/granted\?reference=[0-9a-f]{8}#_$"))
    page.wait_for_load_state("networkidle")
    assert site.requested_paths == ["/start", "/callback", "/callback/granted"]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["in-order", "the-other-way-round"])
def test_two_tabs_both_finish(page: Page, site: Site, order: tuple[int, int]) -> None:
    tabs = [page, page.context.new_page()]
    states = {go_to_qonto(tab, site, context=f"tab-{number}") for number, tab in enumerate(tabs)}

    for number in order:
        decide(tabs[number])

    for number, tab in enumerate(tabs):
        tab.wait_for_url(RETURNED)
        assert f"&outcome=granted&context=tab-{number}" in tab.url
    assert not states & site.states()
    names = [cookie["name"] for cookie in page.context.cookies(site.connector)]
    assert names.count("__Host-qonto-connect") == 1


def test_cookie_is_hidden_from_scripts_and_other_sites(page: Page, site: Site) -> None:
    go_to_qonto(page, site)

    [cookie] = [each for each in page.context.cookies() if each["name"] == "__Host-qonto-connect"]
    assert (cookie["httpOnly"], cookie["secure"], cookie["sameSite"]) == (True, True, "Lax")
    assert (cookie["domain"], cookie["path"]) == ("localhost", "/")
    page.goto(f"{site.connector}/callback/granted")
    assert page.evaluate("document.cookie") == ""


def test_reload_of_the_clean_page_changes_nothing(page: Page, site: Site) -> None:
    site.use(RETURN_URLS="")
    go_to_qonto(page, site)
    decide(page)
    page.wait_for_url(re.compile(r"/callback/granted\?reference="))
    before = page.content()

    page.reload()

    assert page.content() == before
    assert site.requested_paths == ["/start", "/callback", "/callback/granted", "/callback/granted"]


@pytest.mark.parametrize("return_urls", ["", None], ids=["without-an-app", "with-an-app"])
def test_back_button_ends_at_the_same_address(
    page: Page, site: Site, return_urls: str | None
) -> None:
    if return_urls is not None:
        site.use(RETURN_URLS=return_urls)
    go_to_qonto(page, site, context="ctx-1")
    decide(page)
    page.wait_for_url(re.compile("outcome=granted|/callback/granted"))
    address = page.url

    page.go_back()
    if page.get_by_role("button", name="Allow", exact=True).is_visible():
        decide(page)  # the browser kept the page; this time, mock Qonto responds with an error

    page.wait_for_url(lambda url: url == address)
    assert site.requested_paths.count("/callback") == 2


def test_callback_in_another_browser_leaves_the_flow_intact(
    page: Page, site: Site, chromium: Browser
) -> None:
    go_to_qonto(page, site, context="ctx-1")
    url = callback_url(page)
    stranger = chromium.new_context().new_page()
    stranger.goto(site.start())  # sets a cookie for the stranger

    stranger.goto(url)

    expect(stranger.get_by_role("heading")).to_have_text("Please finish where you started")
    assert stranger.url == f"{site.connector}/callback/other-browser#_"
    assert "ctx-1" not in stranger.content()
    links = stranger.get_by_role("link")
    assert [link.get_attribute("href") for link in links.all()] == [
        f"{site.app}/connected",
        f"{site.app}/help",
    ]
    stranger.context.close()
    page.goto(url)
    expect(page.get_by_role("heading")).to_have_text("The app")
    assert "&outcome=granted&context=ctx-1" in page.url


def test_blocked_cookies_show_the_other_browser_page(
    chromium: Browser, site: Site, tmp_path: Path
) -> None:
    preferences = tmp_path / "Default" / "Preferences"
    preferences.parent.mkdir()
    # Mock Qonto's cookies stay allowed, because the test is about the connector's alone.
    allowed = {"exceptions": {"cookies": {"127.0.0.1,*": {"setting": 1}}}}
    profile = {"default_content_setting_values": {"cookies": 2}, "content_settings": allowed}
    preferences.write_text(json.dumps({"profile": profile}))
    context = chromium.browser_type.launch_persistent_context(
        tmp_path, executable_path=CHROMIUM, args=ARGUMENTS
    )
    page = context.new_page()

    go_to_qonto(page, site)
    decide(page)

    expect(page.get_by_role("heading")).to_have_text("Please finish where you started")
    expect(page.get_by_role("main")).to_contain_text("allow cookies")
    assert context.cookies(site.connector) == []
    context.close()


def test_start_again_repeats_the_start_query(page: Page, site: Site) -> None:
    site.use(RETURN_URLS="")
    start_query = {"context": "ctx-1", "organization_id": "org-1", "registration_id": "reg-1"}
    go_to_qonto(page, site, **start_query)
    decide(page, "Decline")
    expect(page.get_by_role("heading")).to_have_text("Nothing was connected")

    with page.expect_request(re.compile("/oauth2/auth")) as request:
        page.get_by_role("link", name="Start again").click()

    query = parse_qs(urlsplit(request.value.url).query)
    assert (query["organization_id"], query["registration_id"]) == (["org-1"], ["reg-1"])
    assert site.context(query["state"][0]) == "ctx-1"


def test_start_again_after_expiry_completes_the_flow(page: Page, site: Site) -> None:
    site.use(RETURN_URLS="")
    site.expire(go_to_qonto(page, site, context="ctx-1"))
    decide(page)
    expect(page.get_by_role("heading")).to_have_text("That took too long")

    page.get_by_role("link", name="Start again").click()
    page.get_by_role("button", name="Sign in").click()
    decide(page)

    page.wait_for_url(re.compile(r"/callback/granted\?reference="))


def test_try_again_ends_on_the_clean_page(page: Page, site: Site) -> None:
    site.use(RETURN_URLS="")
    go_to_qonto(page, site)
    site.use(RETURN_URLS="", reach_aws=False)
    decide(page)
    expect(page.get_by_role("heading")).to_have_text("One more try, please")

    site.use(RETURN_URLS="")
    page.get_by_role("link", name="Try again").click()

    page.wait_for_url(re.compile(r"/callback/granted\?reference=[0-9a-f]{8}#_$"))
