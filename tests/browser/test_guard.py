"""Browsers let a page of another site send requests to any port of the developer's machine."""

import json
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from demo.local_aws import LocalAws, ministack
from tests.browser.browsers import NewUser
from tests.browser.site import Site
from tests.support.unguarded import ministack_without_a_guard

# Each of the first two requests makes a queue of its own name; the last one reads a secret.
ATTACK = """(async aws => {
  await fetch(aws + "/?Action=CreateQueue&QueueName=get", {mode: "no-cors"})
  const form = new URLSearchParams({Action: "CreateQueue", QueueName: "post"})
  await fetch(aws, {method: "POST", mode: "no-cors", body: form})
  const headers = {"X-Amz-Target": "secretsmanager.GetSecretValue"}
  const body = JSON.stringify({SecretId: "client"})
  return fetch(aws, {method: "POST", headers, body}).then(it => it.text(), String)
})(%s)"""


@pytest.mark.parametrize(
    ("run", "guarded"), [(ministack, True), (ministack_without_a_guard, False)]
)
@pytest.mark.claim("S36")
def test_a_page_of_another_site_reads_and_changes_nothing(
    new_user: NewUser,
    site: Site,
    run: Callable[[], AbstractContextManager[LocalAws]],
    *,
    guarded: bool,
) -> None:
    user = new_user()
    user.goto(site.app.replace("https", "http"))
    with run() as aws:
        aws.secrets.create_secret(Name="client", SecretString="of-the-client")
        read = str(user.script(ATTACK % json.dumps(aws.endpoint_url)))
        made = aws.sqs.list_queues().get("QueueUrls", [])

    assert ("of-the-client" in read) is not guarded
    assert {url.rpartition("/")[2] for url in made} == (set() if guarded else {"get", "post"})
