"""What a person reads when a redirect cannot say it; the texts are in ``pages.toml``."""

import tomllib
from base64 import b64encode
from collections.abc import Mapping
from hashlib import sha256
from html import escape
from pathlib import Path
from string import Template
from urllib.parse import urlencode

import browser_request
import browser_response
from browser_request import Event
from browser_response import Answer
from deployment import Deployment

DEFAULT_LANGUAGE = "en"
_TOML, _HTML, _STYLE = (
    Path(__file__).with_suffix(suffix).read_text(encoding="utf-8")
    for suffix in (".toml", ".html", ".css")
)
_PAGES = tomllib.loads(_TOML)
_WORDS = _PAGES.pop("words")
_STYLE_HASH = b64encode(sha256(_STYLE.encode()).digest()).decode()
_CONTENT_SECURITY_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)


def answer(
    name: str,
    event: Event,
    deployment: Deployment,
    detail: str | None = None,
    start_query: Mapping[str, str] | None = None,
) -> Answer:
    """Answer *event* with a page in the person's language: what happened, what to do, a way on.

    Args:
        name: a table of ``pages.toml``.
        event: the request.
        deployment: whose app the person came from.
        detail: a reference to quote, or what was wrong with a request.
        start_query: what to start again with, where the page knows.

    """
    page = _PAGES[name]
    language = browser_request.language(event, _WORDS) or DEFAULT_LANGUAGE
    words = _WORDS[language]
    app = deployment.app_name or words["app"]
    label = page.get("detail", "reference")
    home = next(iter(deployment.return_urls), None)
    links = {}
    if page["way_on"] == "try_again":
        links[words["try_again"]] = ""  # the same address
    if page["way_on"] == "start_again" and (start_query or not home):
        links[words["start_again"]] = f"/start?{urlencode(start_query or {})}"
    if page["way_on"] != "try_again" and home:
        links[words["back"].format(app=app)] = home
    if deployment.support_url:
        links[words["help"]] = deployment.support_url
    html = Template(_HTML).substitute(
        {key: escape(text.format(app=app)) for key, text in page[language].items()},
        language=language,
        style=_STYLE,
        app_name=escape(deployment.app_name),
        links="".join(f'<a href="{escape(url)}">{escape(text)}</a>' for text, url in links.items()),
        detail=f"<small>{words[label]}: {escape(detail)}</small>" if detail else "",
    )
    return browser_response.page(page["status"], html, _CONTENT_SECURITY_POLICY)
