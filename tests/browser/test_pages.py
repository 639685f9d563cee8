"""Each page in Chromium: its axe results, its accessibility tree, and screenshots for review.

`make test` covers one language and the smaller screen, `make check` all of them. The contact sheets
are in build/contact-sheets.
"""

import tomllib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Browser, BrowserContext, Page, Response, expect

from demo.template import ROOT
from tests.browser.conftest import SCREENSHOTS, screenshot
from tests.browser.contact_sheet import compose
from tests.browser.site import Site
from tests.slow import SLOW

TEXTS: dict[str, Any] = tomllib.loads(
    (ROOT / "functions" / "pages" / "catalogue.toml").read_text("utf-8")
)
WORDS = TEXTS.pop("words")
# German has the longest words.
LANGUAGES = list(WORDS) if SLOW else ["de"]
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
VIEWPORTS = {"phone": (320, 640)} | ({"desktop": (1280, 800)} if SLOW else {})
# The URLs of pages that are not at /callback/<name>. A connector that cannot reach AWS returns the
# pages in IN_PLACE instead of a redirect.
ADDRESSES = {
    "not-found": "/callback/nowhere",
    "start-invalid": "/start?return_to=https://evil.example&context=%20",
    "start-unavailable": "/start",
    "callback-unavailable": "/callback?code=ory_ac_1&state={state}",
    "callback-in-flight": "/callback?code=ory_ac_1&state={state}",
}
# Pages of the browser's own flow, which have its reference and may offer to start it again.
OWN = {"granted", "denied", "failed", "expired"}
IN_PLACE = {"start-unavailable", "callback-unavailable"}
RULES = {
    "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
    "resultTypes": ["violations", "incomplete"],
}
SHEETS = ROOT / "build" / "contact-sheets"


def address(site: Site, name: str, state: str, reference: str = "1a2b3c4d") -> str:
    """Return the URL of page *name*; *state* is claimed for a response in flight."""
    query = f"?reference={reference}" if name in OWN else ""
    return site.connector + ADDRESSES.get(name, f"/callback/{name}{query}").format(state=state)


def reading(site: Site, name: str, language: str, reference: str) -> str:
    """Return the accessibility tree of page *name*, in Playwright's notation."""
    text = {key: each.format(app="Ledgerly") for key, each in TEXTS[name][language].items()}
    words = WORDS[language]
    urls = {
        "try_again": '""',
        "start_again": "/start?context=ctx-1",
        "back": f"{site.app}/connected",
        "help": f"{site.app}/help",
    }
    if name not in OWN:
        del urls["start_again"]
    links = [
        line
        for link in urls
        if link in TEXTS[name]["links"]
        for line in (
            "    - paragraph:",
            f'      - link "{words[link].format(app="Ledgerly")}":',
            f"        - /url: {urls[link]}",
        )
    ]
    lines = [
        "- banner: Ledgerly",
        "- main:",
        f'  - heading "{text["title"]}" [level=1]',
        f"  - paragraph: {text['happened']}",
        f"  - paragraph: {text['todo']}",
        "  - navigation:",
        *links,
    ]
    if name in OWN:
        lines.append(f'  - text: "{words["reference"].format(detail=reference)}"')
    if name == "start-invalid":
        lines.append(f'  - text: "{words["invalid"].format(detail="context")}"')
    return "\n".join(lines).replace("\N{NO-BREAK SPACE}", " ")


@pytest.fixture(scope="module", params=LANGUAGES)
def language(request: pytest.FixtureRequest) -> Iterator[str]:
    """The language of the pages; its contact sheets are written at the end."""
    spoken: str = request.param
    yield spoken
    for viewport, looks, columns in (("phone", (*SCHEMES, "unstyled"), 6), ("desktop", SCHEMES, 4)):
        pictures = [
            (f"{name}, {look}", file)
            for name in TEXTS
            for look in looks
            if (file := SCREENSHOTS / f"{spoken}-{viewport}-{look}-{name}.png").exists()
        ]
        if pictures:
            compose(SHEETS / f"{spoken}-{viewport}.png", f"{spoken}, {viewport}", pictures, columns)


@dataclass
class Visitor:
    """A browser whose user has declined a flow and begun another one.

    Attributes:
        context: the browser's context in Playwright.
        reference: the reference of the declined flow, whose pages can start it again.
        state: the state of the other flow, claimed for a response in flight.

    """

    context: BrowserContext
    reference: str
    state: str


@pytest.fixture(scope="module")
def visitors(chromium: Browser, served: Site, language: str) -> Iterator[dict[str, Visitor]]:
    """One browser in *language* for each of VIEWPORTS, by its name."""
    served.use(RETURN_URLS="")
    with ExitStack() as contexts:
        visitors = {}
        for name, (width, height) in VIEWPORTS.items():
            context = contexts.enter_context(
                chromium.new_context(locale=language, viewport={"width": width, "height": height})
            )
            page = context.new_page()
            declined, in_flight = (begin(page, served) for _ in range(2))
            served.claim(in_flight)
            page.goto(f"{served.connector}/callback?error=access_denied&state={declined}")
            visitors[name] = Visitor(
                context, parse_qs(urlsplit(page.url).query)["reference"][0], in_flight
            )
        yield visitors


def begin(page: Page, site: Site) -> str:
    """Begin a flow and return its state."""
    before = site.states()
    page.goto(site.start(context="ctx-1"))
    [state] = site.states() - before
    return state


def show(page: Page, site: Site, name: str, visitor: Visitor) -> Response:
    """Go to page *name* as *visitor*, and return its response."""
    site.use(reach_aws=name not in IN_PLACE)
    response = page.goto(address(site, name, visitor.state, visitor.reference))
    assert response
    return response


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("viewport", VIEWPORTS)
def test_page_is_accessible_self_contained_and_error_free(
    visitors: dict[str, Visitor], site: Site, language: str, viewport: str, name: str
) -> None:
    visitor = visitors[viewport]
    page = visitor.context.new_page()
    errors: list[str] = []
    requested: list[str] = []
    page.on("console", lambda message: errors.append(message.text))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: requested.append(request.url))

    response = show(page, site, name, visitor)

    assert page.locator("html").get_attribute("lang") == language
    assert page.locator("body").aria_snapshot() == reading(site, name, language, visitor.reference)
    for scheme in SCHEMES:
        page.emulate_media(color_scheme=scheme)
        found = Axe().run(page, options=RULES).response
        assert [
            (result["id"], result["help"]) for result in found["violations"] + found["incomplete"]
        ] == []
        screenshot(page, f"{language}-{viewport}-{scheme}-{name}")
    assert requested == [response.url]
    # Chromium logs an error for each status but 200, even that of the page itself.
    status = f"{response.status} ({response.status_text})"
    logged = f"Failed to load resource: the server responded with a status of {status}"
    assert errors == ([] if response.ok else [logged])
    page.close()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_keyboard_reaches_each_link_with_visible_focus(
    visitors: dict[str, Visitor], site: Site, scheme: Literal["light", "dark"]
) -> None:
    page = visitors["phone"].context.new_page()
    page.emulate_media(color_scheme=scheme)
    show(page, site, "denied", visitors["phone"])
    links = page.get_by_role("link")

    for index in range(3):
        page.keyboard.press("Tab")

        expect(links.nth(index)).to_be_focused()
        expect(links.nth(index)).to_have_css("outline-style", "solid")
        expect(links.nth(index)).to_have_css("outline-width", "3px")
    assert links.count() == 3
    page.close()


def test_page_with_doubled_text_fits_a_small_phone(
    visitors: dict[str, Visitor], site: Site
) -> None:
    page = visitors["phone"].context.new_page()
    for name in TEXTS:
        show(page, site, name, visitors["phone"])

        for size in ("100%", "200%"):
            page.evaluate(f"document.documentElement.style.fontSize = '{size}'")
            assert page.evaluate("document.documentElement.scrollWidth") == 320, (name, size)


def test_unstyled_page_keeps_links_on_separate_lines(
    visitors: dict[str, Visitor], site: Site, language: str
) -> None:
    page = visitors["phone"].context.new_page()
    for name in TEXTS:
        show(page, site, name, visitors["phone"])

        page.evaluate("document.styleSheets[0].disabled = true")

        tops = page.get_by_role("link").evaluate_all("all => all.map(a => a.offsetTop)")
        assert len(set(tops)) == len(tops) > 0, name  # each link has its own line
        screenshot(page, f"{language}-phone-unstyled-{name}")
