"""What a person reads when a redirect cannot say it; the texts are in ``pages.toml``."""

import tomllib
from base64 import b64encode
from hashlib import sha256
from html import escape
from pathlib import Path
from string import Template

import browser_request
from browser_request import Event
from deployment import Deployment

_TOML, _HTML, _STYLE = (
    Path(__file__).with_suffix(suffix).read_text(encoding="utf-8")
    for suffix in (".toml", ".html", ".css")
)
_PAGES = tomllib.loads(_TOML)
_WORDS = _PAGES.pop("words")
_STYLE_HASH = b64encode(sha256(_STYLE.encode()).digest()).decode()
CONTENT_SECURITY_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)


def page(
    event: Event, deployment: Deployment, name: str, detail: str, start_query: str
) -> tuple[int, str]:
    """Return status and HTML of the page *name*; `browser_response.page` says of what."""
    page = _PAGES[name]
    language = browser_request.language(event, list(_WORDS))
    words = _WORDS[language]
    words = words | ({"app": deployment.app_name} if deployment.app_name else words["unnamed"])
    home = next(iter(deployment.return_urls), None)
    urls = {
        "try_again": "",  # the same address
        "start_again": f"/start?{start_query}" if start_query else None if home else "/start",
        "back": home,
        "help": deployment.support_url or None,
    }
    links = [
        f'<p><a href="{escape(url)}">{escape(words[way].format_map(words))}</a></p>'
        for way, url in urls.items()
        if way in page["ways"] and url is not None
    ]
    html = Template(_HTML).substitute(
        {key: escape(text.format_map(words)) for key, text in page[language].items()},
        language=language,
        style=_STYLE,
        app_name=escape(deployment.app_name),
        links="".join(links),
        detail=escape(words[page["detail"]].format(detail=detail)) if detail else "",
    )
    return page["status"], html
