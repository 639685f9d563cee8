"""The pages that tell the user what happened where the app cannot."""

from http_api import Request, Response
from settings import Settings


def page(
    request: Request, settings: Settings, name: str, detail: str = "", start_query: str = ""
) -> Response:
    """Return the page *name* in the user's language: what happened, and what the user can do.

    Args:
        request: the request, whose ``Accept-Language`` chooses the language.
        settings: the app's name and URLs.
        name: a table of ``catalogue.toml``.
        detail: a reference to quote, or the names of invalid parameters; empty: not shown.
        start_query: the query for *Start again*; empty: unknown.

    """
    # Most responses are redirects, so a cold start does not load the pages.
    from pages import rendering  # noqa: PLC0415

    return rendering.page(request, settings, name, detail, start_query)
