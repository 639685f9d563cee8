"""Drives WebKit, Safari's engine, by WebKitGTK's driver: MiniBrowser on a virtual screen."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from selenium.common.exceptions import WebDriverException
from selenium.webdriver import WebKitGTK, WebKitGTKOptions
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait
from selenium.webdriver.webkitgtk.service import Service

MINI_BROWSER = next(Path("/usr/lib").glob("*/webkit2gtk-4.*/MiniBrowser"), None)
DRIVER = shutil.which("WebKitWebDriver")
SECONDS = 30
INSTALLED = MINI_BROWSER and DRIVER and shutil.which("Xvfb")


class WebKit:
    """WebKit, with a session for each user."""

    def __init__(self, environment: dict[str, str], sessions: ExitStack) -> None:
        """Start drivers in *environment*; *sessions* quits them."""
        self._environment = environment
        self._sessions = sessions

    def new_user(self) -> "WebKitTab":
        """Return a tab of a new user, without cookies."""
        options = WebKitGTKOptions()
        options.binary_location = str(MINI_BROWSER)
        options.add_argument("--automation")
        options.accept_insecure_certs = True  # the certificate of the test run
        driver = WebKitGTK(options, Service(str(DRIVER), env=self._environment))
        self._sessions.callback(driver.quit)
        driver.set_window_size(400, 740)
        return WebKitTab(driver)


class WebKitTab:
    """A tab of one user."""

    def __init__(self, driver: WebKitGTK) -> None:
        """Use the session of *driver*."""
        self._driver = driver

    def goto(self, url: str) -> None:
        """Go to *url* and wait until it is loaded."""
        self._driver.get(url)

    def click(self, selector: str) -> None:
        """Click the first element that *selector* matches and wait for the next page."""
        self.script("window.left = false")
        self._driver.find_element(By.CSS_SELECTOR, selector).click()
        loaded = "window.left === undefined && document.readyState === 'complete'"
        waiting = WebDriverWait(self._driver, SECONDS, 0.02, [WebDriverException])
        waiting.until(lambda _: self.script(loaded))

    def script(self, expression: str) -> Any:  # noqa: ANN401 - JSON
        """Return the value of a JavaScript *expression*."""
        return self._driver.execute_script(f"return {expression}")

    def cookies(self) -> list[str]:
        """Return the names of this user's cookies for the page's host."""
        return [str(cookie["name"]) for cookie in self._driver.get_cookies()]

    def screenshot(self, path: Path) -> None:
        """Save a screenshot of the page to *path*."""
        assert self._driver.save_screenshot(str(path))


@contextmanager
def webkit() -> Iterator[WebKit]:
    """Run WebKit on a virtual screen, without a locale, while the block runs."""
    read, write = os.pipe()
    with (
        subprocess.Popen(
            ["Xvfb", "-displayfd", str(write), "-screen", "0", "1280x1024x24"],  # noqa: S607
            pass_fds=[write],
            stderr=subprocess.DEVNULL,
        ) as screen,
        ExitStack() as sessions,
    ):
        sessions.callback(screen.terminate)
        os.close(write)
        with os.fdopen(read) as number:
            environment = {
                **os.environ,
                "DISPLAY": f":{number.readline().strip()}",
                "LC_ALL": "C",
            }
        yield WebKit(environment, sessions)
