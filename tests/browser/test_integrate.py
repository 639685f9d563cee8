"""The app of docs/integrate.md, as its reader makes it, against the demo."""

import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from demo.__main__ import HOSTS
from demo.local_aws import free_port
from demo.template import ROOT
from tests.browser.site import wait_until
from tests.browser.test_connect import connect, decide
from tests.support.demo_process import VARIABLES, running
from tests.support.slow import slow

PAGE = (ROOT / "docs" / "integrate.md").read_text("utf-8")
CODE = re.findall(r"(?s)```python\n(import .+?)```", PAGE)[0]
COPIED = re.findall(r"examples/app/\{(.+?)\}\.py", PAGE)[0].split(",")


@slow
@pytest.mark.claim("T1")
def test_app_of_the_page_connects_its_own_user_alone(chromium: Browser, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(CODE, "utf-8")
    for name in COPIED:
        shutil.copy(ROOT / "examples" / "app" / f"{name}.py", tmp_path)
    port, app_port = free_port(len(HOSTS)), free_port()
    url = f"http://localhost:{app_port}"
    with running(PORT=str(port), APP_URL=f"{url}/connected"):
        flask = f"{sys.executable} -m flask run --host localhost --port {app_port}"
        command = f"source {VARIABLES[port]} && SECRET_KEY=test exec {flask}"
        with subprocess.Popen(["/bin/bash", "-c", command], cwd=tmp_path) as process:
            try:
                wait_until(lambda: is_listening(app_port))
                expect_own_user_alone(chromium, url)
            finally:
                process.terminate()


def is_listening(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def expect_own_user_alone(chromium: Browser, url: str) -> None:
    with chromium.new_context() as own, chromium.new_context() as other:
        user, stranger, links = own.new_page(), other.new_page(), list[str]()
        user.on("request", lambda request: links.append(request.url))
        user.goto(url)
        connect(user)
        expect(user.get_by_role("heading")).to_have_text("Connected to Atelier Martin")

        stranger.goto(next(link for link in links if "/start?context=" in link))
        decide(stranger)
        expect(stranger.get_by_role("heading")).to_have_text("This browser did not ask for that")
        assert stranger.url == f"{url}/not-asked#_"
