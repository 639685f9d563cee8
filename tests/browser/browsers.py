"""Drives Chromium, Firefox and WebKit (Safari's engine) with the few steps that tests need of all.

Playwright cannot drive Debian's builds of the last two. Selenium can: Firefox by WebDriver BiDi,
WebKit by WebKitGTK's own driver with MiniBrowser on a virtual screen.
"""

import os
import re
import shutil
import subprocess
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import DEVNULL, PIPE
from tempfile import TemporaryDirectory
from typing import Any

import playwright.sync_api
import pytest
from selenium.common.exceptions import WebDriverException
from selenium.webdriver import WebKitGTK, WebKitGTKOptions
from selenium.webdriver.common.bidi.browser import Browser
from selenium.webdriver.common.bidi.browsing_context import BrowsingContext
from selenium.webdriver.common.bidi.script import Script
from selenium.webdriver.common.bidi.session import Session
from selenium.webdriver.remote.websocket_connection import WebSocketConnection
from selenium.webdriver.webkitgtk.service import Service

from tests.browser.site import wait_until

FIREFOX = shutil.which("firefox-esr") or shutil.which("firefox")
MINI_BROWSER = next(Path("/usr/lib").glob("*/webkit2gtk-4.*/MiniBrowser"), None)
WEBKIT_DRIVER = shutil.which("WebKitWebDriver")
NAVIGATING = KeyError, WebDriverException, playwright.sync_api.Error  # of a script meanwhile


@dataclass(frozen=True)
class Tab:
    """A tab of one user, who has no cookies at first."""

    goto: Callable[[str], object]  # goes to a URL and waits until it is loaded
    script: Callable[[str], Any]  # returns the value of a JavaScript expression

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
        wait_until(lambda: bool(self.script(expression)), *NAVIGATING)


type NewUser = Callable[[], Tab]


def tab_of(page: playwright.sync_api.Page) -> Tab:
    return Tab(page.goto, page.evaluate)


@contextmanager
def firefox() -> Iterator[NewUser]:
    if FIREFOX is None:
        pytest.skip("Firefox is not installed (Debian: apt install firefox-esr)")
    command = [FIREFOX, "--headless", "--no-remote", "--remote-debugging-port=0", "--profile"]
    with (
        TemporaryDirectory() as profile,
        subprocess.Popen([*command, profile], stdout=DEVNULL, stderr=PIPE, text=True) as process,
        ExitStack() as ending,
    ):
        ending.callback(process.terminate)
        found = (re.search(r"listening on (ws://\S+)", line) for line in process.stderr or ())
        url = f"{next(filter(None, found))[1]}/session"
        bidi = WebSocketConnection(url, 30, 0.01)  # type: ignore[no-untyped-call] # Selenium's
        ending.callback(bidi.close)
        Session(bidi).new(capabilities={})
        tabs, scripts = BrowsingContext(bidi), Script(bidi)

        def new_user() -> Tab:
            tab = tabs.create("tab", user_context=Browser(bidi).create_user_context())

            def script(expression: str) -> Any:  # noqa: ANN401 - JSON
                evaluated = scripts.evaluate(expression, {"context": tab}, await_promise=True)
                return evaluated["result"].get("value")

            return Tab(lambda url: tabs.navigate(tab, url, "complete"), script)

        yield new_user


@contextmanager
def webkit() -> Iterator[NewUser]:
    """Run WebKit on a virtual screen, with a session for each user."""
    if not (MINI_BROWSER and WEBKIT_DRIVER and shutil.which("Xvfb")):
        pytest.skip("WebKit is not installed (Debian: apt install webkit2gtk-driver xvfb)")
    options = WebKitGTKOptions()
    options.binary_location = str(MINI_BROWSER)
    options.add_argument("--automation")
    options.accept_insecure_certs = True  # the certificate of the test run
    command = ["Xvfb", "-displayfd", "1"]
    with (
        subprocess.Popen(command, stdout=PIPE, stderr=DEVNULL, text=True) as screen,
        ExitStack() as ending,
    ):
        ending.callback(screen.terminate)
        assert screen.stdout
        # WebKitGTK follows the machine's locale, which a bare Debian lacks.
        display = {"DISPLAY": f":{screen.stdout.readline().strip()}", "LC_ALL": "C"}

        def new_user() -> Tab:
            with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
                driver = WebKitGTK(options, Service(WEBKIT_DRIVER, env=os.environ | display))
            ending.callback(driver.quit)
            return Tab(driver.get, lambda text: driver.execute_script(f"return {text}"))

        yield new_user
