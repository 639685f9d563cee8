"""Drives Chromium, Firefox and WebKit (Safari's engine) with the few steps that tests need of all.

Playwright cannot drive Debian's builds of the last two. Firefox is driven by WebDriver BiDi, WebKit
by WebKitGTK's own driver with MiniBrowser on a virtual screen.
"""

import json
import os
import re
import shutil
import subprocess
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import playwright.sync_api
import pytest
import websocket
from selenium.common.exceptions import WebDriverException
from selenium.webdriver import WebKitGTK, WebKitGTKOptions
from selenium.webdriver.webkitgtk.service import Service

from tests.browser.site import Site, wait_until

FIREFOX = shutil.which("firefox-esr") or shutil.which("firefox")
MINI_BROWSER = next(Path("/usr/lib").glob("*/webkit2gtk-4.*/MiniBrowser"), None)
WEBKIT_DRIVER = shutil.which("WebKitWebDriver")


class BidiError(Exception):
    """Firefox refused a command."""


@dataclass(frozen=True)
class Tab:
    """A tab of one user, who has no cookies at first.

    Attributes:
        goto: goes to a URL and waits until it is loaded.
        script: returns the value of a JavaScript expression.

    """

    goto: Callable[[str], object]
    script: Callable[[str], Any]

    @property
    def url(self) -> str:
        """The address that the browser shows once its page is loaded."""
        self.wait_for("document.readyState === 'complete'")
        return str(self.script("location.href"))

    def click(self, selector: str) -> None:
        """Click the first element that *selector* matches and wait for the next page."""
        self.wait_for(f"document.querySelector({selector!r}) !== null")
        self.script(f"[window.left = false, document.querySelector({selector!r}).click()]")
        self.wait_for("window.left === undefined && document.readyState === 'complete'")

    def wait_for(self, expression: str) -> None:
        """Wait until a JavaScript *expression* is true, on this page or the next one."""
        navigating = BidiError, WebDriverException, playwright.sync_api.Error
        wait_until(lambda: bool(self.script(expression)), *navigating)


type NewUser = Callable[[], Tab]


def tab_of(page: playwright.sync_api.Page) -> Tab:
    """Return the tab of a Chromium *page*."""
    return Tab(page.goto, page.evaluate)


@contextmanager
def firefox() -> Iterator[NewUser]:
    """Run headless Firefox while the block runs."""
    if FIREFOX is None:
        pytest.skip("Firefox is not installed (Debian: apt install firefox-esr)")
    with TemporaryDirectory() as profile:
        arguments = ["--headless", "--no-remote", "--remote-debugging-port=0", "--profile", profile]
        with subprocess.Popen(
            [FIREFOX, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stderr
            try:
                urls = (re.search(r"listening on (ws://\S+)", line) for line in process.stderr)
                url = f"{next(filter(None, urls))[1]}/session"
                with closing(websocket.create_connection(url, 30, suppress_origin=True)) as session:
                    _command(session, "session.new", capabilities={})
                    yield lambda: _firefox_tab(session)
            finally:
                process.terminate()


def _firefox_tab(session: websocket.WebSocket) -> Tab:
    user = _command(session, "browser.createUserContext")["userContext"]
    tab = _command(session, "browsingContext.create", type="tab", userContext=user)["context"]

    def goto(url: str) -> None:
        _command(session, "browsingContext.navigate", context=tab, url=url, wait="complete")

    def script(expression: str) -> Any:  # noqa: ANN401 - JSON
        run = {"expression": expression, "target": {"context": tab}, "awaitPromise": True}
        return _command(session, "script.evaluate", **run)["result"].get("value")

    return Tab(goto, script)


def _command(session: websocket.WebSocket, method: str, **parameters: object) -> Any:  # noqa: ANN401
    """Send the BiDi command *method* and return its result."""
    session.send(json.dumps({"id": 1, "method": method, "params": parameters}))
    response = json.loads(session.recv())  # without a subscription, there are no events
    if "error" in response or "exceptionDetails" in response["result"]:
        raise BidiError(response)
    return response["result"]


@contextmanager
def webkit() -> Iterator[NewUser]:
    """Run WebKit on a virtual screen, with a session for each user, while the block runs."""
    if not (MINI_BROWSER and WEBKIT_DRIVER and shutil.which("Xvfb")):
        pytest.skip("WebKit is not installed (Debian: apt install webkit2gtk-driver xvfb)")
    command = ["Xvfb", "-displayfd", "1"]
    with (
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as screen,
        ExitStack() as sessions,
    ):
        sessions.callback(screen.terminate)
        assert screen.stdout
        # WebKitGTK follows the machine's locale, which a bare Debian lacks.
        display = {"DISPLAY": f":{screen.stdout.readline().strip()}", "LC_ALL": "C"}

        def new_user() -> Tab:
            options = WebKitGTKOptions()
            options.binary_location = str(MINI_BROWSER)
            options.add_argument("--automation")
            options.accept_insecure_certs = True  # the certificate of the test run
            with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
                driver = WebKitGTK(options, Service(WEBKIT_DRIVER, env=os.environ | display))
            sessions.callback(driver.quit)
            return Tab(driver.get, lambda text: driver.execute_script(f"return {text}"))

        yield new_user


def go_to_qonto(tab: Tab, site: Site, **query: str) -> str:
    """Follow the app's link and sign in; return the flow's state."""
    before = site.states()
    tab.goto(site.page("", **query))
    tab.click("a")
    tab.click("button")
    [state] = site.states() - before
    return state
