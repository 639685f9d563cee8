"""The demo's six ports, asked what another site, another user or another name would ask."""

import http.client
import io
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from time import sleep, time
from urllib.parse import urlencode

import pytest

from demo.__main__ import HOSTS, STAND_IN, variables_file
from demo.lambda_api import TOKENS_FUNCTION
from demo.local_aws import LocalAws, free_port, ministack
from tests.demo_process import local_aws, running
from tests.unguarded import ministack_without_a_guard

LOCALHOST, LOOPBACK = "localhost", "127.0.0.1"
SIGNED = "AWS4-HMAC-SHA256 Credential={access_key}/20261126/any/any/aws4_request"
EVIL = "http://localhost:1"
CLIENT = {"client_id": STAND_IN["CLIENT_ID"], "client_secret": STAND_IN["CLIENT_SECRET"]}


@dataclass(frozen=True)
class Request:
    """A request of a server's own client."""

    method: str
    path: str
    headers: dict[str, str]
    credentials: dict[str, str]
    body: str = ""


REQUESTS = {
    "app": Request("GET", "/?a=%20b&c", {}, {}),
    "pair": Request("GET", "/callback/granted", {}, {}),
    "qonto": Request(
        "POST",
        "/oauth2/token",
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"X-Qonto-Staging-Token": STAND_IN["STAGING_TOKEN"]},
        urlencode({"grant_type": "authorization_code", "code": "unknown", **CLIENT}),
    ),
    "subscriber": Request("GET", "/", {}, {}),
    "aws": Request(
        "POST",
        "/",
        {"X-Amz-Target": "DynamoDB_20120810.ListTables"},
        {"Authorization": SIGNED},
        "{}",
    ),
    "tokens": Request(
        "POST",
        f"/2015-03-31/functions/{TOKENS_FUNCTION}/invocations",
        {},
        {"Authorization": SIGNED},
        '{"authorization_id": "5b0f5a0e-0000-4000-8000-000000000001"}',
    ),
}
PREFLIGHT = {
    "Origin": EVIL,
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization, x-amz-target",
}
# Who asks, how that differs from the server's own client, and the status that each server gives.
QUESTIONS: dict[str, tuple[dict[str, str], tuple[int, ...]]] = {
    "own client": ({}, (200, 200, 400, 200, 200, 200)),
    "name of another site": ({"Host": "evil.example:{port}"}, (421, 421, 421, 421, 403, 403)),
    "another port": ({"Host": "{host}:1"}, (421, 421, 421, 421, 403, 403)),
    "no name": ({"Host": ""}, (421, 421, 421, 421, 403, 403)),
    "page of another site": ({"Origin": EVIL}, (200, 200, 400, 200, 403, 403)),
    "page in a sandbox": ({"Origin": "null"}, (200, 200, 400, 200, 403, 403)),
    "image on another page": ({"Sec-Fetch-Site": "same-site"}, (200, 200, 400, 200, 403, 403)),
    "preflight": (PREFLIGHT, (405, 404, 405, 405, 403, 403)),
    "without credentials": ({}, (200, 200, 401, 200, 403, 403)),
}


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """A whole demo's first port."""
    first = free_port(len(HOSTS))
    with running(PORT=str(first)):
        yield first


@pytest.mark.parametrize("name", REQUESTS)
@pytest.mark.parametrize("question", QUESTIONS)
def test_a_port_serves_its_own_clients_and_no_other_site(
    port: int, name: str, question: str
) -> None:
    place, request = list(HOSTS).index(name), REQUESTS[name]
    changes, statuses = QUESTIONS[question]
    headers = {"Host": "{host}:{port}", **request.headers}
    if question != "without credentials":
        headers |= request.credentials
    known = {"host": HOSTS[name], "port": port + place, "access_key": local_aws(port).access_key}
    sent = {header: value.format(**known) for header, value in (headers | changes).items()}

    status, got, _ = ask(
        port + place,
        "OPTIONS" if question == "preflight" else request.method,
        request.path,
        sent,
        request.body,
    )

    assert status == statuses[place]
    if question != "own client":
        assert not [it for it in got if it.lower().startswith("access-control-")]


@pytest.mark.parametrize("name", ["app", "pair", "subscriber", "qonto"])
def test_other_loopback_name_leads_to_own_url(port: int, name: str) -> None:
    its_port, path = port + list(HOSTS).index(name), REQUESTS[name].path
    other = LOOPBACK if HOSTS[name] == LOCALHOST else LOCALHOST

    status, headers, _ = ask(its_port, "GET", path, {"Host": f"{other}:{its_port}"})

    assert status == 307
    assert headers["location"] == f"http://{HOSTS[name]}:{its_port}{path}"


def test_shell_of_the_user_reaches_local_aws(port: int) -> None:
    program = "import boto3; print(len(boto3.client('sns').list_topics()['Topics']))"

    done = subprocess.run(
        ["/bin/sh", "-c", f'. {variables_file(port)}; {sys.executable} -c "{program}"'],
        env=os.environ | {"AWS_PROFILE": "theirs", "AWS_ENDPOINT_URL_SNS": "http://127.0.0.1:1"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.stdout == "1\n", done.stderr


def test_access_key_is_random_and_private(port: int) -> None:
    with ministack() as another:
        assert another.access_key != local_aws(port).access_key
    assert variables_file(port).stat().st_mode & 0o077 == 0


def seconds_ahead(aws: LocalAws) -> float:
    """Return by how much the clock of the local AWS is ahead."""
    url = aws.sqs.create_queue(QueueName="clock")["QueueUrl"]
    aws.sqs.send_message(QueueUrl=url, MessageBody="now")
    [message] = aws.sqs.receive_message(
        QueueUrl=url, MessageSystemAttributeNames=["SentTimestamp"], VisibilityTimeout=0
    )["Messages"]
    aws.sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    return int(message["Attributes"]["SentTimestamp"]) / 1000 - time()


def test_live_page_alone_puts_clock_forward(port: int) -> None:
    live = f"http://localhost:{port + 3}"
    form = {"Host": f"localhost:{port + 3}", "Content-Type": "application/x-www-form-urlencoded"}

    def press(**origin: str) -> tuple[int, int]:
        status, _, _ = ask(port + 3, "POST", "/clock", form | origin, "jump=An+hour+later")
        return status, round(seconds_ahead(local_aws(port)) / 60)

    for origin in ({}, {"Origin": "null"}, {"Origin": EVIL}, {"Origin": f"{live}.evil.example"}):
        assert press(**origin) == (403, 0)
    assert press(Origin=live) == (303, 60)


def ask(
    port: int, method: str, path: str, headers: dict[str, str], body: str = ""
) -> tuple[int, dict[str, str], str]:
    """Send just that; return status, headers and body."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=10)
    connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
    for name, value in {**headers, "Content-Length": str(len(body))}.items():
        connection.putheader(name, value)
    connection.endheaders(body.encode())
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, dict(answer.headers), text


# ------------------------------------------------------- functions are not executed

FUNCTION = """
import pathlib
def handler(event, context):
    pathlib.Path({marker!r}).touch()
    return {{}}
"""
ROLE = "arn:aws:iam::000000000000:role/any"
CONFIGURATION = {"Runtime": "python3.13", "Role": ROLE, "Handler": "index.handler"}


def create(aws: LocalAws, marker: Path) -> str:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("index.py", FUNCTION.format(marker=str(marker)))
    function = aws.awslambda.create_function(
        FunctionName="function",
        Code={"ZipFile": archive.getvalue()},
        **CONFIGURATION,  # type: ignore[arg-type]
    )
    return function["FunctionArn"]


def by_a_call(aws: LocalAws, marker: Path) -> None:
    create(aws, marker)
    aws.awslambda.invoke(FunctionName="function")


def by_a_topic(aws: LocalAws, marker: Path) -> None:
    topic = aws.sns.create_topic(Name="topic")["TopicArn"]
    aws.sns.subscribe(TopicArn=topic, Protocol="lambda", Endpoint=create(aws, marker))
    aws.sns.publish(TopicArn=topic, Message="any")


def by_a_queue(aws: LocalAws, marker: Path) -> None:
    queue = aws.sqs.create_queue(QueueName="queue")["QueueUrl"]
    arn = aws.sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])
    aws.awslambda.create_event_source_mapping(
        FunctionName=create(aws, marker), EventSourceArn=arn["Attributes"]["QueueArn"]
    )
    aws.sqs.send_message(QueueUrl=queue, MessageBody="any")


def by_a_stack(aws: LocalAws, marker: Path) -> None:
    code = {"ZipFile": FUNCTION.format(marker=str(marker))}
    function = {"FunctionName": "function", "Code": code, **CONFIGURATION}
    custom = {"ServiceToken": {"Fn::GetAtt": ["Function", "Arn"]}, "ServiceTimeout": 1}
    resources = {
        "Function": {"Type": "AWS::Lambda::Function", "Properties": function},
        "Custom": {"Type": "Custom::Any", "Properties": custom},
    }
    aws.cloudformation.create_stack(
        StackName="stack", TemplateBody=json.dumps({"Resources": resources})
    )


def wait_until_invoked(aws: LocalAws) -> None:
    """Return when ministack has logged the end of an invocation, whatever came of it."""
    logs = aws.session.client("logs", endpoint_url=aws.endpoint_url)
    for _ in range(400):
        try:
            events = logs.filter_log_events(logGroupName="/aws/lambda/function")["events"]
        except logs.exceptions.ResourceNotFoundException:
            events = []
        if any(event["message"].startswith("REPORT") for event in events):
            return
        sleep(0.05)
    pytest.fail("nothing was invoked")


@pytest.mark.parametrize("way", [by_a_call, by_a_topic, by_a_queue, by_a_stack])
@pytest.mark.parametrize(
    ("run", "executed"), [(ministack, False), (ministack_without_a_guard, True)]
)
def test_no_function_is_executed_even_for_the_runs_own_client(
    tmp_path: Path,
    run: Callable[[], AbstractContextManager[LocalAws]],
    way: Callable[[LocalAws, Path], None],
    *,
    executed: bool,
) -> None:
    """As it comes, ministack executes each of them: this test could see it."""
    marker = tmp_path / "executed"
    with run() as aws:
        way(aws, marker)
        wait_until_invoked(aws)

    assert marker.exists() == executed
