"""Each page as Chromium shows it: by axe, as a screen reader reads it, and for a person to look at.

One language and the smaller screen in `make test`, all of them in `make check`. The sheets are in
build/contact-sheets.
"""

import tomllib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Literal

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
# Under which address to see a page, if not under its own name; those in IN_PLACE come in place of
# a redirect, from a pair that cannot reach AWS.
ADDRESSES = {
    "not-found": "/callback/nowhere",
    "start-invalid": "/start?return_to=https://evil.example&context=%20",
    "start-unavailable": "/start",
    "callback-unavailable": f"/callback?code=ory_ac_1&state={'s' * 43}",
}
# Pages of a flow that is the browser's own, and so has a reference and may be started again.
OWN = {"granted", "denied", "failed", "expired", "start-again"}
IN_PLACE = {"start-unavailable", "callback-unavailable"}
RULES = {
    "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
    "resultTypes": ["violations", "incomplete"],
}
SHEETS = ROOT / "build" / "contact-sheets"


def address(site: Site, name: str, reference: str = "1a2b3c4d") -> str:
    """Return where page *name* is seen."""
    query = f"?reference={reference}" if name in OWN else ""
    return site.connector + ADDRESSES.get(name, f"/callback/{name}{query}")


def reading(site: Site, name: str, language: str, reference: str) -> str:
    """Return what a screen reader finds on page *name*, in Playwright's notation."""
    text = {key: it.format(app="Ledgerly") for key, it in TEXTS[name][language].items()}
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
        for way in urls
        if way in TEXTS[name]["links"]
        for line in (
            "    - paragraph:",
            f'      - link "{words[way].format(app="Ledgerly")}":',
            f"        - /url: {urls[way]}",
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
    """A language; at its end, its contact sheets."""
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
    """A browser that has been at the pair, and declined.

    Attributes:
        context: the browser.
        reference: of that flow, whose pages can start it again.

    """

    context: BrowserContext
    reference: str


@pytest.fixture(scope="module")
def visitors(chromium: Browser, served: Site, language: str) -> Iterator[dict[str, Visitor]]:
    """Browsers that speak *language*, of each size."""
    served.use(RETURN_URLS="")
    with ExitStack() as contexts:
        visitors = {}
        for name, (width, height) in VIEWPORTS.items():
            context = contexts.enter_context(
                chromium.new_context(locale=language, viewport={"width": width, "height": height})
            )
            page = context.new_page()
            before = served.states()
            page.goto(served.start(context="ctx-1"))
            [state] = served.states() - before
            page.goto(f"{served.connector}/callback?error=access_denied&state={state}")
            visitors[name] = Visitor(context, page.url.partition("reference=")[2])
        yield visitors


def show(page: Page, site: Site, name: str, reference: str) -> Response:
    """Go where page *name* is seen."""
    site.use(reach_aws=name not in IN_PLACE)
    response = page.goto(address(site, name, reference))
    assert response
    return response


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("viewport", VIEWPORTS)
def test_a_page_is_for_everybody_loads_nothing_and_has_no_error(
    visitors: dict[str, Visitor], site: Site, language: str, viewport: str, name: str
) -> None:
    reference = visitors[viewport].reference
    page = visitors[viewport].context.new_page()
    errors: list[str] = []
    requested: list[str] = []
    page.on("console", lambda it: errors.append(it.text))
    page.on("pageerror", lambda it: errors.append(str(it)))
    page.on("request", lambda it: requested.append(it.url))

    response = show(page, site, name, reference)

    assert page.locator("html").get_attribute("lang") == language
    assert page.locator("body").aria_snapshot() == reading(site, name, language, reference)
    for scheme in SCHEMES:
        page.emulate_media(color_scheme=scheme)
        found = Axe().run(page, options=RULES).response
        assert [(it["id"], it["help"]) for it in found["violations"] + found["incomplete"]] == []
        screenshot(page, f"{language}-{viewport}-{scheme}-{name}")
    assert requested == [address(site, name, reference)]
    # Chromium notes any status but 200, of the page itself too.
    status = f"{response.status} ({response.status_text})"
    noted = f"Failed to load resource: the server responded with a status of {status}"
    assert errors == ([] if response.ok else [noted])
    page.close()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_keyboard_reaches_each_way_on_and_shows_where_it_is(
    visitors: dict[str, Visitor], site: Site, scheme: Literal["light", "dark"]
) -> None:
    page = visitors["phone"].context.new_page()
    page.emulate_media(color_scheme=scheme)
    show(page, site, "denied", visitors["phone"].reference)
    links = page.get_by_role("link")

    for index in range(3):
        page.keyboard.press("Tab")

        expect(links.nth(index)).to_be_focused()
        expect(links.nth(index)).to_have_css("outline-style", "solid")
        expect(links.nth(index)).to_have_css("outline-width", "3px")
    assert links.count() == 3
    page.close()


def test_every_page_fits_a_small_phone_with_text_twice_as_large(
    visitors: dict[str, Visitor], site: Site
) -> None:
    page = visitors["phone"].context.new_page()
    for name in TEXTS:
        show(page, site, name, visitors["phone"].reference)

        for size in ("100%", "200%"):
            page.evaluate(f"document.documentElement.style.fontSize = '{size}'")
            assert page.evaluate("document.documentElement.scrollWidth") == 320, (name, size)


def test_every_page_makes_sense_without_its_style(
    visitors: dict[str, Visitor], site: Site, language: str
) -> None:
    page = visitors["phone"].context.new_page()
    for name in TEXTS:
        show(page, site, name, visitors["phone"].reference)

        page.evaluate("document.styleSheets[0].disabled = true")

        tops = page.get_by_role("link").evaluate_all("all => all.map(a => a.offsetTop)")
        assert len(set(tops)) == len(tops) > 0, name  # each on a line of its own
        screenshot(page, f"{language}-phone-unstyled-{name}")
