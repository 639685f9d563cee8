"""What a person meets in Chromium: tabs, reloads, the back button, another browser, no cookies."""

import json
import re
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from playwright.sync_api import Browser, Page, Response, expect

from tests.browser.conftest import ARGUMENTS, CHROMIUM
from tests.browser.site import Site

RETURNED = re.compile(r"/connected\?authorization_id=.+&outcome=(granted|denied|failed|expired)")


def go_to_qonto(page: Page, site: Site, **query: str) -> str:
    """Follow the app's link and sign in; return the state, which only Qonto's page knows."""
    with page.expect_request(re.compile("/oauth2/auth")) as request:
        page.goto(f"{site.app}/?{urlencode({'to': site.start(**query)})}")
        page.get_by_role("link", name="Connect with Qonto").click()
    page.get_by_role("button", name="Sign in").click()
    return parse_qs(urlsplit(request.value.url).query)["state"][0]


def response(page: Page, decision: str = "Allow") -> None:
    """Answer Qonto's question, or make it answer with another error."""
    if decision == "Answer with this error":
        page.get_by_text("Other outcomes").click()
    page.get_by_role("button", name=decision, exact=True).click()


def callback_url(page: Page) -> str:
    """Allow what Qonto asks for, but go no further; return where the way back leads."""
    challenge = page.locator("[name=consent_challenge]").input_value()
    answered = page.request.post(
        page.url,
        form={"consent_challenge": challenge, "decision": "allow", "scope": "offline_access"},
        max_redirects=0,
    )
    return answered.headers["location"]


@pytest.mark.parametrize(
    ("decision", "outcome"),
    [("Allow", "granted"), ("Decline", "denied"), ("Answer with this error", "failed")],
)
def test_with_an_app_to_return_to_no_page_of_ours_is_seen(
    page: Page, site: Site, decision: str, outcome: str
) -> None:
    go_to_qonto(page, site, context="ctx-1")
    response(page, decision)

    expect(page.get_by_role("heading")).to_have_text("The app")
    assert f"&outcome={outcome}&context=ctx-1" in page.url
    assert site.asked == ["/start", "/callback"]  # both redirects


def test_with_an_app_to_return_to_expired_is_no_page_of_ours_either(page: Page, site: Site) -> None:
    site.expire(go_to_qonto(page, site))
    response(page)

    expect(page.get_by_role("heading")).to_have_text("The app")
    assert "&outcome=expired" in page.url
    assert site.asked == ["/start", "/callback"]


def test_without_an_app_a_flow_takes_three_requests(page: Page, site: Site) -> None:
    site.use(RETURN_URLS="")
    go_to_qonto(page, site)

    response(page)

    page.wait_for_url(re.compile(r"/callback/granted\?reference=[0-9a-f]{8}$"))
    page.wait_for_load_state("networkidle")
    assert site.asked == ["/start", "/callback", "/callback/granted"]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["in-order", "the-other-way-round"])
def test_two_tabs_both_finish(page: Page, site: Site, order: tuple[int, int]) -> None:
    tabs = [page, page.context.new_page()]
    states = {go_to_qonto(tab, site, context=f"tab-{it}") for it, tab in enumerate(tabs)}

    for number in order:
        response(tabs[number])

    for number, tab in enumerate(tabs):
        tab.wait_for_url(RETURNED)
        assert f"&outcome=granted&context=tab-{number}" in tab.url
    assert not states & site.states()
    names = [it["name"] for it in page.context.cookies(site.connector)]
    assert names.count("__Host-qonto-connect") == 1


def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(page: Page, site: Site) -> None:
    go_to_qonto(page, site)

    [cookie] = [it for it in page.context.cookies() if it["name"] == "__Host-qonto-connect"]
    assert (cookie["httpOnly"], cookie["secure"], cookie["sameSite"]) == (True, True, "Lax")
    assert (cookie["domain"], cookie["path"]) == ("localhost", "/")
    page.goto(f"{site.connector}/callback/granted")
    assert page.evaluate("document.cookie") == ""


def test_a_reload_of_the_clean_page_changes_nothing(page: Page, site: Site) -> None:
    site.use(RETURN_URLS="")
    go_to_qonto(page, site)
    response(page)
    page.wait_for_url(re.compile(r"/callback/granted\?reference="))
    before = page.content()

    page.reload()

    assert page.content() == before
    assert site.asked == ["/start", "/callback", "/callback/granted", "/callback/granted"]


@pytest.mark.parametrize("return_urls", ["", None], ids=["without-an-app", "with-an-app"])
def test_the_back_button_leads_to_used_and_not_to_a_failure(
    page: Page, site: Site, return_urls: str | None
) -> None:
    if return_urls is not None:
        site.use(RETURN_URLS=return_urls)
    go_to_qonto(page, site)
    response(page)
    page.wait_for_url(re.compile("outcome=granted|/callback/granted"))

    page.go_back()
    if page.get_by_role("button", name="Allow", exact=True).is_visible():
        response(page)  # the page was kept; Qonto refuses a second answer

    expect(page.get_by_role("heading")).to_have_text("This link works only once")
    expect(page.get_by_role("main")).to_contain_text("may well have worked")


def test_another_browser_is_told_so_and_the_right_one_can_still_finish(
    page: Page, site: Site, chromium: Browser
) -> None:
    go_to_qonto(page, site, context="ctx-1")
    url = callback_url(page)
    stranger = chromium.new_context().new_page()
    stranger.goto(site.start())  # has a cookie of their own

    stranger.goto(url)

    expect(stranger.get_by_role("heading")).to_have_text("Please finish where you started")
    assert stranger.url == f"{site.connector}/callback/other-browser"
    assert "ctx-1" not in stranger.content()
    links = stranger.get_by_role("link")
    assert [it.get_attribute("href") for it in links.all()] == [
        f"{site.app}/connected",
        f"{site.app}/help",
    ]
    stranger.context.close()
    page.goto(url)
    expect(page.get_by_role("heading")).to_have_text("The app")
    assert "&outcome=granted&context=ctx-1" in page.url


def test_a_browser_that_blocks_cookies_is_told_so(
    chromium: Browser, site: Site, tmp_path: Path
) -> None:
    preferences = tmp_path / "Default" / "Preferences"
    preferences.parent.mkdir()
    # Cookies of the stand-in are let in: Qonto's own rules are not ours to show.
    let_in = {"exceptions": {"cookies": {"127.0.0.1,*": {"setting": 1}}}}
    profile = {"default_content_setting_values": {"cookies": 2}, "content_settings": let_in}
    preferences.write_text(json.dumps({"profile": profile}))
    context = chromium.browser_type.launch_persistent_context(
        tmp_path, executable_path=CHROMIUM, args=ARGUMENTS
    )
    page = context.new_page()

    go_to_qonto(page, site)
    response(page)

    expect(page.get_by_role("heading")).to_have_text("Please finish where you started")
    expect(page.get_by_role("main")).to_contain_text("allow cookies")
    assert context.cookies(site.connector) == []
    context.close()


def test_start_again_asks_for_the_same_again(page: Page, site: Site) -> None:
    site.use(RETURN_URLS="")
    asked = {"context": "ctx-1", "organization_id": "org-1", "registration_id": "reg-1"}
    go_to_qonto(page, site, **asked)
    response(page, "Decline")
    expect(page.get_by_role("heading")).to_have_text("Nothing was connected")

    with page.expect_request(re.compile("/oauth2/auth")) as request:
        page.get_by_role("link", name="Start again").click()

    query = parse_qs(urlsplit(request.value.url).query)
    assert (query["organization_id"], query["registration_id"]) == (["org-1"], ["reg-1"])
    assert site.context(query["state"][0]) == "ctx-1"


def test_expired_can_start_again(page: Page, site: Site) -> None:
    site.use(RETURN_URLS="")
    site.expire(go_to_qonto(page, site, context="ctx-1"))
    response(page)
    expect(page.get_by_role("heading")).to_have_text("That took too long")

    page.get_by_role("link", name="Start again").click()
    page.get_by_role("button", name="Sign in").click()
    response(page)

    page.wait_for_url(re.compile(r"/callback/granted\?reference="))


def test_try_again_is_the_same_address_and_ends_on_a_clean_one(page: Page, site: Site) -> None:
    site.use(RETURN_URLS="")
    go_to_qonto(page, site)
    site.use(RETURN_URLS="", reach_aws=False)
    response(page)
    expect(page.get_by_role("heading")).to_have_text("One more try, please")

    site.use(RETURN_URLS="")
    page.get_by_role("link", name="Try again").click()

    page.wait_for_url(re.compile(r"/callback/granted\?reference=[0-9a-f]{8}$"))


def test_what_a_browser_fetches_ahead_or_aside_starts_nothing(page: Page, site: Site) -> None:
    rules = '<script type="speculationrules">{"%s": [{"urls": ["URL"]}]}</script>'
    elements = [
        '<link rel="prefetch" href="URL">',
        '<iframe src="URL"></iframe>',
        '<img src="URL" alt="">',
        rules % "prefetch",
        rules % "prerender",
    ]
    ahead = [it.replace("URL", site.start(context=f"{at}")) for at, it in enumerate(elements)]
    query = urlencode({"to": site.start(), "ahead": "".join(ahead)})
    before = site.states()
    statuses: dict[str, int] = {}

    def all_answered(response: Response) -> bool:
        if "/start" in response.url:
            statuses[response.url] = response.status
        return len(statuses) == len(elements)

    with page.context.expect_event("response", all_answered):
        page.goto(f"{site.app}/?{query}")

    assert set(statuses.values()) == {503}
    assert site.states() == before
    assert page.context.cookies(site.connector) == []
    page.get_by_role("link", name="Connect with Qonto").click()
    expect(page.get_by_role("heading")).to_have_text("Sign in")
    assert len(site.states()) == len(before) + 1
