"""Drives headless Firefox by WebDriver BiDi, since Playwright cannot drive Debian's build."""

import json
import re
import shutil
import subprocess
from base64 import b64decode
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import websocket

FIREFOX = shutil.which("firefox-esr") or shutil.which("firefox")
SECONDS = 30


class Firefox:
    """A running Firefox."""

    def __init__(self, connection: websocket.WebSocket) -> None:
        """Start a WebDriver session over *connection*."""
        self._connection = connection
        self._sent = 0
        self._loaded: list[str] = []  # the tab of each page load
        self.command("session.new", capabilities={})
        self.command("session.subscribe", events=["browsingContext.load"])

    def command(self, method: str, **parameters: object) -> Any:  # noqa: ANN401 - JSON
        """Send the BiDi command *method* and return its result."""
        self._sent += 1
        message = {"id": self._sent, "method": method, "params": parameters}
        self._connection.send(json.dumps(message))
        while (response := self._receive()).get("id") != self._sent:
            pass
        assert response["type"] == "success", response
        return response["result"]

    def click(self, context: str, expression: str) -> None:
        """Run *expression*, which clicks in the tab *context*, and wait for the next page."""
        self._loaded.clear()
        self.evaluate(context, expression)
        while context not in self._loaded:
            self._receive()

    def evaluate(self, context: str, expression: str) -> Any:  # noqa: ANN401 - JSON
        """Return the value of a JavaScript *expression* in the tab *context*."""
        target = {"context": context}
        response = self.command(
            "script.evaluate", expression=expression, target=target, awaitPromise=True
        )
        assert response["type"] == "success", response
        return response["result"].get("value")

    def _receive(self) -> Any:  # noqa: ANN401 - JSON
        message = json.loads(self._connection.recv())
        if message.get("method") == "browsingContext.load":
            self._loaded.append(message["params"]["context"])
        return message

    def new_user(self) -> "FirefoxTab":
        """Return a tab of a new user, without cookies."""
        user = self.command("browser.createUserContext")["userContext"]
        tab = self.command("browsingContext.create", type="tab", userContext=user)
        return FirefoxTab(self, tab["context"])


class FirefoxTab:
    """A tab of one user."""

    def __init__(self, firefox: Firefox, context: str) -> None:
        """Use the tab *context* of *firefox*, at the size of a phone."""
        self._firefox = firefox
        self._context = context
        size = {"width": 400, "height": 640}
        self._command("browsingContext.setViewport", viewport=size)

    def goto(self, url: str) -> None:
        """Go to *url* and wait until it is loaded."""
        self._command("browsingContext.navigate", url=url, wait="complete")

    def click(self, selector: str) -> None:
        """Click the first element that *selector* matches and wait for the next page."""
        self._firefox.click(self._context, f"document.querySelector({selector!r}).click()")

    def script(self, expression: str) -> Any:  # noqa: ANN401 - JSON
        """Return the value of a JavaScript *expression*."""
        return self._firefox.evaluate(self._context, expression)

    def cookies(self) -> list[str]:
        """Return the names of this user's cookies for the page's host."""
        partition = {"type": "context", "context": self._context}
        found = self._firefox.command("storage.getCookies", partition=partition)["cookies"]
        return [cookie["name"] for cookie in found]

    def screenshot(self, path: Path) -> None:
        """Save a screenshot of the page to *path*."""
        shot = self._command("browsingContext.captureScreenshot", origin="document")
        path.write_bytes(b64decode(shot["data"]))

    def _command(self, method: str, **parameters: object) -> Any:  # noqa: ANN401 - JSON
        return self._firefox.command(method, context=self._context, **parameters)


@contextmanager
def firefox(language: str) -> Iterator[Firefox]:
    """Run Firefox with the preferred *language* while the block runs."""
    assert FIREFOX
    with TemporaryDirectory() as profile:
        preference = f'user_pref("intl.accept_languages", "{language}");'
        Path(profile, "user.js").write_text(preference, encoding="utf-8")
        command = [FIREFOX, "--headless", "--no-remote", "--profile", profile]
        with subprocess.Popen(
            [*command, "--remote-debugging-port", "0"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stderr
            try:
                urls = (re.search(r"listening on (ws://\S+)", line) for line in process.stderr)
                url = next(filter(None, urls))[1]
                connection = websocket.create_connection(
                    f"{url}/session", SECONDS, suppress_origin=True
                )
                with closing(connection):
                    yield Firefox(connection)
            finally:
                process.terminate()
