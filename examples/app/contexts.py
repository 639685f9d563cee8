"""The connections that sessions asked for, in an SQLite file that all workers share; copy it."""

import hashlib
import secrets
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

LIFETIME = 60 * 60  # seconds: the lifetime of the connector's state
KEPT = 24 * 60 * 60  # seconds; a confirmed connection is kept for longer
_SCHEMA = """CREATE TABLE IF NOT EXISTS contexts (
    context TEXT PRIMARY KEY, session_id TEXT NOT NULL, browser TEXT NOT NULL,
    asked_at INTEGER NOT NULL, authorization_id TEXT, outcome TEXT, returned_at REAL,
    confirmed INTEGER NOT NULL DEFAULT 0, repudiated INTEGER NOT NULL DEFAULT 0
)"""
_INDEX = "CREATE INDEX IF NOT EXISTS returned ON contexts (session_id, returned_at)"


class Asked(NamedTuple):
    """A connection that a session asked for.

    Attributes:
        context: its random name, which comes back with the browser.
        session_id: the session's.
        browser: the SHA-256 of the cookie of the browser that asked.
        asked_at: when, in epoch seconds.
        authorization_id: the connector's name for it, None until the browser is back.
        outcome: the connector's.
        returned_at: when the browser came back, in epoch seconds.
        confirmed: whether the subscriber was told.

    """

    context: str
    session_id: str
    browser: str
    asked_at: int
    authorization_id: str | None
    outcome: str | None
    returned_at: float | None
    confirmed: bool

    @property
    def is_over(self) -> bool:
        """Whether the hour ended before the browser was back."""
        return self.authorization_id is None and time.time() >= self.asked_at + LIFETIME

    @property
    def reference(self) -> str:
        """The name of the connection that a page may show."""
        return str(self.authorization_id)[:8]

    def confirmation(self, authorization_id: str) -> dict[str, str]:
        """Return the confirmation that the subscriber expects."""
        return {"authorization_id": authorization_id, "context": self.context}


class Contexts:
    """Stores the contexts. Every change is one SQL statement, so that workers do not interfere."""

    def __init__(self, path: Path) -> None:
        """Use the file at *path*, and make it if it is missing."""
        self.path = path
        with opened(self.path) as database:
            database.execute(_SCHEMA)
            database.execute(_INDEX)

    def ask(self, session_id: str, browser_cookie: str) -> str:
        """Return a new context of the session, bound to the browser that has *browser_cookie*."""
        context, now = secrets.token_urlsafe(32), int(time.time())
        with opened(self.path) as database:
            database.execute(
                "DELETE FROM contexts WHERE asked_at < ? AND NOT confirmed", [now - KEPT]
            )
            database.execute(
                "INSERT INTO contexts (context, session_id, browser, asked_at) VALUES (?, ?, ?, ?)",
                [context, session_id, sha256(browser_cookie), now],
            )
        return context

    def asked(self, context: str) -> Asked | None:
        """Return the connection with *context*; an old one can still be repudiated."""
        return self._find("context = ?", context)

    def latest(self, session_id: str) -> Asked | None:
        """Return the connection with which the session came back last."""
        return self._find(
            "session_id = ? AND returned_at IS NOT NULL ORDER BY returned_at DESC", session_id
        )

    def use(self, asked: Asked, authorization_id: str, outcome: str) -> bool:
        """Bind the context to *authorization_id*; False if it is another's or repudiated."""
        with opened(self.path) as database:
            used = database.execute(
                "UPDATE contexts SET authorization_id = ?1, returned_at = ?3,"
                " outcome = CASE WHEN confirmed THEN outcome ELSE ?2 END"
                " WHERE context = ?4 AND NOT repudiated"
                " AND (authorization_id IS NULL OR authorization_id = ?1)",
                [authorization_id, outcome, time.time(), asked.context],
            )
        return used.rowcount == 1

    def repudiate(self, asked: Asked) -> None:
        """Record that the context must never be used."""
        with opened(self.path) as database:
            database.execute(
                "UPDATE contexts SET repudiated = 1 WHERE context = ?", [asked.context]
            )

    def set_confirmed(self, asked: Asked) -> None:
        """Record that the confirmation was sent."""
        with opened(self.path) as database:
            database.execute("UPDATE contexts SET confirmed = 1 WHERE context = ?", [asked.context])

    def _find(self, condition: str, *values: object) -> Asked | None:
        with opened(self.path) as database:
            row = database.execute(
                f"SELECT {', '.join(Asked._fields)} FROM contexts WHERE {condition}",  # noqa: S608 - ours
                values,
            ).fetchone()
        return Asked(*row) if row else None


@contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    """Open the file at *path* for one transaction, the block."""
    with closing(sqlite3.connect(path)) as database, database:
        yield database


def sha256(cookie: str) -> str:
    """Return the hash of *cookie*: it is stored instead, because a reader cannot use it."""
    return hashlib.sha256(cookie.encode()).hexdigest()
