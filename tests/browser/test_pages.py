"""Each page of the connector in Chromium: its accessibility by axe, and screenshots for review."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Browser, Page, Route, expect

import pages
from demo.template import ROOT
from settings import Settings
from tests.support.packages import VARIABLES
from tests.support.slow import SLOW

TEXTS = tomllib.loads(Path(pages.__file__).with_name("catalogue.toml").read_text("utf-8"))
WORDS = TEXTS.pop("words")
LANGUAGES = list(WORDS) if SLOW else ["de"]  # German has the longest words
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
VIEWPORTS = {"phone": (320, 640)} | ({"desktop": (1280, 800)} if SLOW else {})
LINKS = {"RETURN_URLS": "https://app.example.com/", "SUPPORT_URL": "https://app.example.com/help"}
SETTINGS = Settings.model_validate(VARIABLES | LINKS | {"APP_NAME": "Ledgerly"})
OWN = ("granted", "denied", "failed", "expired")  # pages of the browser's own flow
DETAILS = dict.fromkeys(OWN, "1a2b3c4d") | {"start-invalid": "context"}
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}


def expect_accessible(page: Page, name: str) -> None:
    """Expect nothing for axe to report, and a *page* that fits its width at twice the text size."""
    found = Axe().run(page, options=RULES).response
    assert found["violations"] + found["incomplete"] == []
    page.screenshot(path=ROOT / "build" / "screenshots" / f"{name}.png", full_page=True)
    for size in ("200%", "100%"):
        page.evaluate(f"document.documentElement.style.fontSize = '{size}'")
        assert page.evaluate("document.documentElement.scrollWidth === innerWidth"), size


@pytest.fixture(params=LANGUAGES)
def visitor(request: pytest.FixtureRequest, chromium: Browser) -> Iterator[Page]:
    """A tab in a language, for which each path is the name of a page."""

    def respond(route: Route) -> None:
        headers = {"headers": route.request.headers}
        name = route.request.url.rpartition("/")[2]
        sent = pages.page(headers, SETTINGS, name, DETAILS.get(name, ""), "context=ctx-1")
        route.fulfill(status=sent["statusCode"], headers=sent["headers"], body=sent["body"])

    with chromium.new_context(locale=request.param) as context:
        context.route("**/*", respond)
        yield context.new_page()


@pytest.mark.parametrize("name", TEXTS)
def test_page_is_accessible_self_contained_and_error_free(visitor: Page, name: str) -> None:
    errors, requested = list[str](), list[str]()
    visitor.on("console", lambda message: errors.append(message.text))
    visitor.on("pageerror", lambda error: errors.append(str(error)))
    visitor.on("request", lambda request: requested.append(request.url))

    response = visitor.goto(f"https://connector.example.com/{name}")

    assert response
    assert requested == [response.url]
    # Chromium logs an error for each status but 200, even that of the page itself.
    assert [error for error in errors if f"a status of {response.status}" not in error] == []
    language = visitor.locator("html").get_attribute("lang")
    assert visitor.get_by_role("heading").inner_text() == TEXTS[name][language]["title"]
    for viewport, (width, height) in VIEWPORTS.items():
        visitor.set_viewport_size({"width": width, "height": height})
        for scheme in SCHEMES:
            visitor.emulate_media(color_scheme=scheme)
            expect_accessible(visitor, f"{language}-{viewport}-{scheme}-{name}")
    for link in visitor.get_by_role(
        "link"
    ).all():  # the keyboard reaches each link, with visible focus
        visitor.keyboard.press("Tab")
        expect(link).to_be_focused()
        expect(link).to_have_css("outline", re.compile("solid 3px$"))
