"""The outcomes of a callback, with the page and the destination of each."""

from enum import Enum


class Outcome(Enum):
    """How a callback ends.

    Attributes:
        reason: the name in logs and metrics, and in the app's return URL.
        page: the page that tells the user, at ``/callback/{page}``.
        app_is_told: whether the browser returns to the app with this outcome. The app could not act
            on the others.

    """

    GRANTED = "granted", "granted", True
    DENIED = "denied", "denied", True
    FAILED = "failed", "failed", True
    # The callback was refused.
    INVALID_REQUEST = "invalid_request", "invalid-request", False
    NO_COOKIE = "no_cookie", "other-browser", False
    OTHER_BROWSER = "other_browser", "other-browser", False
    UNKNOWN = "unknown", "used", False
    EXPIRED = "expired", "expired", True

    def __init__(self, reason: str, page: str, app_is_told: bool) -> None:  # noqa: FBT001 - a row
        """Keep the values of the member's row."""
        self.reason = reason
        self.page = page
        self.app_is_told = app_is_told
