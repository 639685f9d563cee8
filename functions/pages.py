"""What a person reads when a redirect cannot say it; the texts are in ``pages.toml``."""

import tomllib
from base64 import b64encode
from hashlib import sha256
from html import escape
from pathlib import Path
from typing import Any

import browser_response
from deployment import Deployment

_PAGES = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))

_STYLE = (
    ":root{color-scheme:light dark;font:1.125rem/1.5 system-ui,sans-serif}"
    "body{max-width:32rem;margin:0 auto;padding:12vh 1.5rem}"
    "h1{font-size:1.5rem;line-height:1.25}"
    "small{opacity:.75}"
)
_STYLE_HASH = b64encode(sha256(_STYLE.encode()).digest()).decode()
_CONTENT_SECURITY_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)


def answer(name: str, deployment: Deployment, detail: str | None) -> dict[str, Any]:
    """Answer with the page *name*: what happened, what to do, and a way to do it.

    Args:
        name: a table of ``pages.toml``.
        deployment: whose app the person came from.
        detail: a reference to quote, or what was wrong with a request.

    """
    page = _PAGES[name]
    app = deployment.app_name or "the app"
    texts = {key: escape(page[key].format(app=app)) for key in ("title", "happened", "todo")}
    links = []
    if page.get("try_again"):
        # The same URL: the code is still good, or nothing was begun.
        links.append(("", "Try again"))
    elif deployment.return_urls:
        links.append((deployment.return_urls[0], f"Back to {app}"))
    if deployment.support_url:
        links.append((deployment.support_url, "Get help"))
    anchors = "".join(f'<p><a href="{escape(url)}">{escape(text)}</a></p>' for url, text in links)
    small = f"<p><small>{page['detail']}: {escape(detail)}</small></p>" if detail else ""
    html = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{texts['title']}</title><style>{_STYLE}</style></head>"
        f"<body><main><h1>{texts['title']}</h1><p>{texts['happened']}</p><p>{texts['todo']}</p>"
        f"{anchors}{small}</main></body></html>"
    )
    return browser_response.page(page["status"], html, _CONTENT_SECURITY_POLICY)
