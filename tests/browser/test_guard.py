"""A page of another site on the developer's machine, and what it can do to the local AWS.

Chromium and Firefox let such a page send requests to any port of the loopback. Without the guard
each of its attempts is carried out, and the answers can be read.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest
from playwright.sync_api import Browser
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from demo.local_aws import LocalAws, ministack
from tests.browser.firefox import FIREFOX, firefox
from tests.http_server import serving
from tests.unguarded import ministack_without_a_guard

# Each attempt makes a queue of its own name; the last one reads a secret.
PAGE = """<!doctype html><title>Another site</title><iframe name="frame"></iframe><script>
const aws = %s
const form = name => new URLSearchParams({Action: "CreateQueue", QueueName: name})
const json = {"Content-Type": "text/plain"}

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

type Attack = Callable[[str], str]


@pytest.fixture(scope="module", params=["chromium", "firefox"])
def attack(request: pytest.FixtureRequest) -> Iterator[Attack]:
    """Visit the page that is at an address, let it attack, and return what it could read."""
    if request.param == "chromium":
        chromium: Browser = request.getfixturevalue("chromium")

        def visit(url: str) -> str:
            page = chromium.new_page()
            page.goto(url)
            read: str = page.evaluate("attack()")
            page.close()
            return read

        yield visit
    elif not FIREFOX:
        pytest.skip("Firefox is not installed (Debian: apt install firefox-esr)")
    else:
        with firefox("en") as running:

            def visit_in_firefox(url: str) -> str:
                tab = running.someone()
                tab.goto(url)
                return str(tab.script("attack()"))

            yield visit_in_firefox


@pytest.mark.parametrize(
    ("run", "guarded"), [(ministack, True), (ministack_without_a_guard, False)]
)
def test_a_page_of_another_site_reads_and_changes_nothing(
    attack: Attack, run: Callable[[], AbstractContextManager[LocalAws]], *, guarded: bool
) -> None:
    with run() as aws:
        aws.secrets.create_secret(Name="client", SecretString=SECRET)

        async def page(_: Request) -> Response:
            return HTMLResponse(PAGE % json.dumps(aws.endpoint_url))

        with serving(Starlette(routes=[Route("/", page)])) as port:
            read = attack(f"http://localhost:{port}")
        made = aws.sqs.list_queues().get("QueueUrls", [])

    assert (SECRET in read) is not guarded
    assert {url.rpartition("/")[2] for url in made} == (
        set() if guarded else {"image", "form", "fetch"}
    )
