"""The sessions of Ledgerly, in the same SQLite file: replace them by those of your app."""

import secrets
import time
from pathlib import Path
from typing import NamedTuple

from examples.app.contexts import opened, sha256

LIFETIME = 180 * 24 * 60 * 60  # seconds; long, because Ledgerly has no sign-in
_SCHEMA = """CREATE TABLE IF NOT EXISTS sessions (
    id TEXT PRIMARY KEY, account TEXT NOT NULL, token TEXT NOT NULL, expires_at INTEGER NOT NULL
)"""


class Session(NamedTuple):
    """A browser that is signed in.

    Attributes:
        id: the SHA-256 of the session cookie.
        account: the name of the account.
        token: what a form of this session must send (against cross-site request forgery).

    """

    id: str
    account: str
    token: str


class Sessions:
    """Stores sessions. Ledgerly gives each browser an account of its own."""

    def __init__(self, path: Path) -> None:
        """Use the file at *path*, and make it if it is missing."""
        self._path = path
        with opened(self._path) as database:
            database.execute(_SCHEMA)

    def new(self) -> tuple[str, Session]:
        """Return a cookie's value and its session."""
        cookie, now = secrets.token_urlsafe(32), int(time.time())
        account = f"demo-{secrets.token_hex(2)}@example.com"
        session = Session(sha256(cookie), account, secrets.token_urlsafe(32))
        with opened(self._path) as database:
            database.execute("DELETE FROM sessions WHERE expires_at < ?", [now])
            database.execute("INSERT INTO sessions VALUES (?, ?, ?, ?)", [*session, now + LIFETIME])
        return cookie, session

    def find(self, cookie: str) -> Session | None:
        """Return the session of *cookie* if it has not ended."""
        with opened(self._path) as database:
            row = database.execute(
                "SELECT id, account, token FROM sessions WHERE id = ? AND expires_at > ?",
                [sha256(cookie), int(time.time())],
            ).fetchone()
        return Session(*row) if row else None

    def end(self, session: Session) -> None:
        """End *session*."""
        with opened(self._path) as database:
            database.execute("DELETE FROM sessions WHERE id = ?", [session.id])
