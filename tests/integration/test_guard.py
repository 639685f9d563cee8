"""The demo's six ports, asked what another site, another user or another name would ask."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import httpx2
import pytest

from demo.__main__ import HOSTS
from demo.local_aws import LocalAws, free_port, ministack
from tests.support.demo_process import VARIABLES, local_aws, running
from tests.support.unguarded import ministack_without_a_guard

SIGNED = {"Authorization": "AWS4-HMAC-SHA256 Credential={access_key}/20261126/any/any/aws4_request"}
INVOCATIONS = "/2015-03-31/functions/TokensFunction/invocations"
INVOCATION = '{"authorization_id": "5b0f5a0e-0000-4000-8000-000000000001"}'
# The request of each server's own client: method, path, headers, body.
REQUESTS: dict[str, tuple[str, str, dict[str, str], str]] = {
    "app": ("GET", "/?a=%20b&c", {}, ""),
    "connector": ("GET", "/callback/granted", {}, ""),
    "qonto": ("GET", "/v2/organization", {}, ""),
    "subscriber": ("GET", "/", {}, ""),
    "aws": ("POST", "/", SIGNED | {"X-Amz-Target": "DynamoDB_20120810.ListTables"}, "{}"),
    "tokens": ("POST", INVOCATIONS, SIGNED, INVOCATION),
}
EVIL = "http://localhost:1"
PREFLIGHT = {"Origin": EVIL, "Access-Control-Request-Method": "POST"}
ANOTHER_KEY = {"Authorization": SIGNED["Authorization"].replace("{access_key}", "local-0")}
# How a request differs from the own client's, and the statuses of the servers above, in order.
QUESTIONS: dict[str, tuple[dict[str, str], tuple[int, ...]]] = {
    "own client": ({}, (200, 200, 401, 200, 200, 200)),
    "name of another site": ({"Host": "evil.example:{port}"}, (421, 421, 421, 421, 403, 403)),
    "other loopback name": ({"Host": "{other}:{port}"}, (307, 307, 307, 307, 403, 403)),
    "another port": ({"Host": "{host}:1"}, (421, 421, 421, 421, 403, 403)),
    "no name": ({"Host": ""}, (421, 421, 421, 421, 403, 403)),
    "page of another site": ({"Origin": EVIL}, (200, 200, 401, 200, 403, 403)),
    "image on another page": ({"Sec-Fetch-Site": "same-site"}, (200, 200, 401, 200, 403, 403)),
    "preflight": (PREFLIGHT, (405, 404, 405, 405, 403, 403)),
    "without credentials": ({"Authorization": ""}, (200, 200, 401, 200, 403, 403)),
    "another access key": (ANOTHER_KEY, (200, 200, 401, 200, 403, 403)),
}
METHODS = {"preflight": "OPTIONS", "other loopback name": "GET"}  # else the own client's


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """A whole demo's first port."""
    first = free_port(len(HOSTS))
    with running(PORT=str(first)):
        yield first


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.claim("S36")
def test_a_port_serves_its_own_clients_and_no_other_site(port: int, question: str) -> None:
    changes, statuses = QUESTIONS[question]
    key = local_aws(port).access_key
    servers = zip(HOSTS.items(), statuses, strict=True)
    for its_port, ((server, host), status) in enumerate(servers, port):
        method, path, headers, body = REQUESTS[server]
        sent = {"Host": "{host}:{port}"} | headers | changes
        [other] = {"localhost", "127.0.0.1"} - {host}
        values = {"host": host, "other": other, "port": its_port, "access_key": key}
        response = httpx2.request(
            METHODS.get(question, method),
            f"http://127.0.0.1:{its_port}{path}",
            headers={name: value.format_map(values) for name, value in sent.items()},
            content=body,
        )
        assert (server, response.status_code) == (server, status)
        own_url = f"http://{host}:{its_port}{path}"
        assert response.headers.get("location") == (own_url if status == 307 else None)
        if question != "own client":
            assert not [it for it in response.headers if it.startswith("access-control-")]


@pytest.mark.claim("S36")
def test_shell_of_the_user_alone_reaches_local_aws(port: int) -> None:
    program = "import boto3; print(len(boto3.client('sns').list_topics()['Topics']))"

    done = subprocess.run(
        ["/bin/sh", "-c", f'. {VARIABLES[port]}; {sys.executable} -c "{program}"'],
        env=os.environ | {"AWS_PROFILE": "theirs", "AWS_ENDPOINT_URL_SNS": "http://127.0.0.1:1"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.stdout == "1\n", done.stderr
    assert VARIABLES[port].parent.stat().st_mode & 0o077 == 0
    with ministack() as another:
        assert another.access_key != local_aws(port).access_key


@pytest.mark.claim("S36")
def test_live_page_alone_puts_clock_forward(port: int) -> None:
    live = f"http://localhost:{port + 3}"

    def press(**origin: str) -> tuple[int, bool]:
        response = httpx2.post(f"{live}/clock", headers=origin, data={"jump": "An hour later"})
        return response.status_code, "<b>1 hour</b> ahead" in httpx2.get(live).text

    for origin in ({}, {"Origin": "null"}, {"Origin": EVIL}, {"Origin": f"{live}.evil.example"}):
        assert press(**origin) == (403, False)
    assert press(Origin=live) == (303, True)


@pytest.mark.parametrize(
    ("run", "executed"), [(ministack, []), (ministack_without_a_guard, ["executed"])]
)
@pytest.mark.claim("S36")
def test_no_function_is_executed_even_for_the_runs_own_client(
    tmp_path: Path, run: Callable[[], AbstractContextManager[LocalAws]], executed: list[str]
) -> None:
    code = (
        f"import pathlib\nhandler = lambda *_: pathlib.Path({str(tmp_path / 'executed')!r}).touch()"
    )
    function = {
        "FunctionName": "any",
        "Code": {"ZipFile": code},
        "Runtime": "python3.13",
        "Role": "arn:aws:iam::000000000000:role/any",
        "Handler": "index.handler",
    }
    resource = {"Type": "AWS::Lambda::Function", "Properties": function}
    with run() as aws:
        template = json.dumps({"Resources": {"Function": resource}})
        aws.cloudformation.create_stack(StackName="any", TemplateBody=template)
        aws.cloudformation.get_waiter("stack_create_complete").wait(
            StackName="any", WaiterConfig={"Delay": 1}
        )
        aws.awslambda.invoke(FunctionName="any")

    assert [path.name for path in tmp_path.iterdir()] == executed
