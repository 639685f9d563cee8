"""A page of another site on the developer's machine, and what it can do to the demo.

Chromium and Firefox let such a page send requests to any port of the loopback. Without the guard
ministack does what they say, and the page can read its responses.
"""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest
from playwright.sync_api import Browser
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from demo.__main__ import HOSTS
from demo.local_aws import LocalAws, ministack
from tests.browser.conftest import Demo
from tests.browser.firefox import FIREFOX, firefox
from tests.http_server import serving
from tests.slow import slow
from tests.unguarded import ministack_without_a_guard

# Each attempt makes a queue of its own name; the last one reads a secret.
PAGE = """<!doctype html><title>Another site</title><iframe name="frame"></iframe><script>
const aws = %s
const form = name => new URLSearchParams({Action: "CreateQueue", QueueName: name})

function byImage() {
  return new Promise(done => {
    const image = new Image()
    image.onload = image.onerror = done
    image.src = aws + "/?" + form("image")
  })
}
function byForm() {
  return new Promise(done => {
    const element = document.createElement("form")
    Object.assign(element, {method: "POST", action: aws, target: "frame"})
    for (const [name, value] of form("form")) {
      const input = document.createElement("input")
      Object.assign(input, {name, value})
      element.append(input)
    }
    document.body.append(element)
    frames.frame.frameElement.onload = done
    element.submit()
  })
}
async function attack() {
  await byImage()
  await byForm()
  await fetch(aws, {method: "POST", mode: "no-cors", body: form("fetch")})
  const headers = {"X-Amz-Target": "secretsmanager.GetSecretValue"}
  const body = JSON.stringify({SecretId: "client"})
  return fetch(aws, {method: "POST", headers, body}).then(it => it.text(), String)
}
</script>"""
SECRET = "of-the-client"

type Visit = Callable[[str, str], object]


@pytest.fixture(scope="module", params=["chromium", pytest.param("firefox", marks=slow)])
def visit(request: pytest.FixtureRequest, chromium: Browser) -> Iterator[Visit]:
    """Go to an address in a browser, and return the value of an expression there."""
    if request.param == "chromium":

        def visit_in_chromium(url: str, expression: str) -> object:
            page = chromium.new_page()
            page.goto(url)
            value: object = page.evaluate(expression)
            page.close()
            return value

        yield visit_in_chromium
    elif not FIREFOX:
        pytest.skip("Firefox is not installed (Debian: apt install firefox-esr)")
    else:
        with firefox("en") as running:

            def visit_in_firefox(url: str, expression: str) -> object:
                tab = running.new_user()
                tab.goto(url)
                return tab.script(expression)

            yield visit_in_firefox


@contextmanager
def another_site(html: str) -> Iterator[str]:
    """Serve one page; its address is given."""

    async def page(_: Request) -> Response:
        return HTMLResponse(html)

    with serving(Starlette(routes=[Route("/", page)])) as port:
        yield f"http://localhost:{port}"


@pytest.mark.parametrize(
    ("run", "guarded"), [(ministack, True), (ministack_without_a_guard, False)]
)
def test_a_page_of_another_site_reads_and_changes_nothing(
    visit: Visit, run: Callable[[], AbstractContextManager[LocalAws]], *, guarded: bool
) -> None:
    with run() as aws:
        aws.secrets.create_secret(Name="client", SecretString=SECRET)
        with another_site(PAGE % json.dumps(aws.endpoint_url)) as url:
            read = str(visit(url, "attack()"))
        made = aws.sqs.list_queues().get("QueueUrls", [])

    assert (SECRET in read) is not guarded
    assert {url.rpartition("/")[2] for url in made} == (
        set() if guarded else {"image", "form", "fetch"}
    )


@slow
def test_another_site_reads_no_port(visit: Visit, demo: Demo) -> None:
    """Neither by another site's page nor by one whose own name leads here: *.localhost does."""
    ports = [*range(demo.port, demo.port + len(HOSTS))]

    with another_site("<!doctype html><title>Another site</title>") as url:
        for host in ("localhost", "127.0.0.1"):
            read = f"fetch('http://{host}:{{}}/').then(it => it.text(), () => 'refused')"
            by_page = [visit(url, read.format(it)) for it in ports]
            assert by_page == ["refused"] * len(ports)
    by_name = [visit(f"http://evil.localhost:{it}", "document.body.innerText") for it in ports]
    for text in by_name[:4]:
        assert re.fullmatch(r"This is http://[a-z0-9.]+:\d+\.\s*", str(text))
    for text in by_name[4:]:
        assert str(text).strip() == "The local AWS serves the AWS clients of its own run alone."
