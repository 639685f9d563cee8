"""Renders a page from its texts (``catalogue.toml``), the template and the style."""

import tomllib
from base64 import b64encode
from hashlib import sha256
from html import escape
from pathlib import Path
from string import Template

import http_api
from http_api import Request, Response
from pages.language import preferred_language
from settings import Settings

_TOML, _HTML, _STYLE = (
    Path(__file__).with_name(name).read_text(encoding="utf-8")
    for name in ("catalogue.toml", "page.html", "style.css")
)
_PAGES = tomllib.loads(_TOML)
_WORDS = _PAGES.pop("words")
_STYLE_HASH = b64encode(sha256(_STYLE.encode()).digest()).decode()
_CONTENT_SECURITY_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)


def page(
    request: Request, settings: Settings, name: str, detail: str, start_query: str
) -> Response:
    """Return the page *name*; `pages.page` describes the arguments."""
    page = _PAGES[name]
    language = preferred_language(request["headers"].get("accept-language", ""), list(_WORDS))
    words = _WORDS[language]
    words = words | ({"app": settings.app_name} if settings.app_name else words["unnamed"])
    home = next(iter(settings.return_urls), None)
    urls = {
        "try_again": "",  # the URL of this page
        "start_again": f"/start?{start_query}" if start_query else None if home else "/start",
        "back": home,
        "help": settings.support_url or None,
    }
    links = [
        f'<p><a href="{escape(url)}">{escape(words[link].format_map(words))}</a></p>'
        for link, url in urls.items()
        if link in page["links"] and url is not None
    ]
    document = Template(_HTML).substitute(
        {key: escape(text.format_map(words)) for key, text in page[language].items()},
        language=language,
        style=_STYLE,
        app_name=escape(settings.app_name),
        links="".join(links),
        detail=escape(words[page["detail"]].format(detail=detail)) if detail else "",
    )
    return http_api.html(page["status"], document, _CONTENT_SECURITY_POLICY)
