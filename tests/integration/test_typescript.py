"""The subscriber in TypeScript against mock Qonto, and what generators make of the schemas."""

import json
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from urllib.parse import urlsplit

import pytest
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response

from demo.local_aws import LocalAws, Stack, subscribe_queue
from demo.qonto import ORGANIZATIONS
from demo.template import ROOT, Json
from tests.contract.schemas import FOLDER
from tests.support import subscription
from tests.support.connector import Browser, Connector, Subscriber
from tests.support.slow import slow
from tests.support.subscription import SCOPE, Event, MockQonto, confirmation_of, granted, rfc3339

EXAMPLE = ROOT / "examples" / "subscriber-typescript"
NODE = ROOT / ".node" / "node_modules"
TYPES = {"AuthorizationGranted", "AuthorizationGrantedData", "QontoEnvironment"}
TYPES |= {"AuthorizationFailed", "AuthorizationFailedData"}
CLIENT = {name: getattr(subscription, name) for name in ("CLIENT_ID", "CLIENT_SECRET")}
CLIENT["STAGING_TOKEN"] = subscription.STAGING_TOKEN
FILTER = json.dumps({"type": ["qonto-connect.authorization.granted.v1"]})
RESPONSES = [
    ("failed", JSONResponse({"error": "invalid_grant"}, 400)),
    ("failed", JSONResponse({"error": "invalid_client"}, 401)),
    ("failed", Response(status_code=401)),
    ("failed", JSONResponse({"access_token": "ory_at_", "scope": f"{SCOPE} more"})),
    ("lost", Response(status_code=500)),
    ("lost", PlainTextResponse("no JSON")),
    ("lost", RedirectResponse("/v2/organization", 307)),
]
FOREIGN = {
    "type": "qonto-connect.authorization.granted.v2",
    "source": "/qonto-connect/sandbox/other",
    "environment": "production",
    "client_id": "other",
    "token_endpoint": "https://oauth.qonto.com/oauth2/token",
}
pytestmark = pytest.mark.skipif(
    not (shutil.which("node") and (NODE / ".bin" / "tsc").exists()),
    reason="needs Node.js and packages of npm: run `make .node/.ready` once",
)


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    return subprocess.run(command, cwd=cwd, stdout=subprocess.PIPE, text=True, check=True).stdout


class TypeScript:
    """The subscriber, compiled and running, with a queue and a table of its own."""

    def __init__(self, aws: LocalAws, topic_arn: str, token_endpoint: str, folder: Path) -> None:
        self.aws, self.output, self._lines = aws, list[str](), SimpleQueue[str]()
        url, arn = subscribe_queue(aws.sns, aws.sqs, topic_arn)
        filtered: Json = {"AttributeName": "FilterPolicy", "AttributeValue": FILTER}
        aws.sns.set_subscription_attributes(SubscriptionArn=arn, **filtered)
        aws.sqs.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": "3"})
        self.queue: Json = {"QueueUrl": url}
        self._table: Json = {"TableName": url.rpartition("/")[2]}
        key: Json = {"AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "S"}]}
        key["KeySchema"] = [{"AttributeName": "pk", "KeyType": "HASH"}]
        aws.dynamodb.create_table(**self._table, **key, BillingMode="PAY_PER_REQUEST")
        shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("node_modules", "build"))
        (folder / "node_modules").symlink_to(NODE)
        run("npm", "run", "build", cwd=folder)
        own = {"QUEUE_URL": url, "TABLE_NAME": self._table["TableName"]}
        own |= CLIENT | {"TOKEN_ENDPOINT": token_endpoint}
        self.process = subprocess.Popen(
            ["node", folder / "build" / "subscriber.js"],  # noqa: S607 - from the path
            env=aws.environment() | own,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        for line in self.process.stdout or ():
            self.output.append(line)
            if line.startswith("{"):  # and not a warning of Node.js
                self._lines.put(line)

    def stop(self) -> None:
        self.process.kill()
        self._reader.join()
        self.process.communicate()

    def send(self, *messages: Event) -> None:
        for message in messages:
            self.aws.sqs.send_message(**self.queue, MessageBody=json.dumps(message))

    def said(self, status: str, **fields: str) -> None:
        """Wait for the line of the log that has *status* and *fields*."""
        wanted, deadline = {"status": status, **fields}.items(), time.monotonic() + 20
        while (
            not wanted <= json.loads(self._lines.get(timeout=deadline - time.monotonic())).items()
        ):
            pass

    def connect(self, event: Event, status: str = "connected") -> Event:
        """Send *event* and its confirmation, wait for *status*, and return the flow's item."""
        self.send(event, confirmation_of(event))
        self.said(status, event_id=event["id"])
        return self.item(event)

    def item(self, event: Event) -> Event:
        key: Json = {"pk": {"S": "/".join(["flow", *confirmation_of(event).values()])}}
        response = self.aws.dynamodb.get_item(**self._table, Key=key, ConsistentRead=True)
        return {name: next(iter(each.values())) for name, each in response["Item"].items()}


@pytest.fixture(scope="module")
def typescript(
    aws: LocalAws, stack: Stack, _mock_qonto: MockQonto, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TypeScript]:
    """The subscriber, whose log has no secret."""
    folder = tmp_path_factory.mktemp("typescript") / "subscriber"
    endpoint = _mock_qonto.environment["TOKEN_ENDPOINT"]
    subscriber = TypeScript(aws, stack.topic_arn, endpoint, folder)
    yield subscriber
    subscriber.stop()
    secrets = "|".join(["ory_", CLIENT["CLIENT_SECRET"], CLIENT["STAGING_TOKEN"]])
    assert not re.search(secrets, "".join(subscriber.output))


def test_flow_is_connected_once(
    aws: LocalAws, stack: Stack, typescript: TypeScript, qonto: MockQonto, subscriber: Subscriber
) -> None:
    own = {"OAUTH_BASE_URL": qonto.url, "REDIRECT_URI": subscription.REDIRECT_URI}
    browser, at = Browser(Connector(aws, stack, **own)), int(time.time())
    asked = browser.start(at=at, context="own").parameters
    browser.granted(asked["state"], code=qonto.allow(ORGANIZATIONS[0], **asked), at=at)
    event = subscriber.message()

    typescript.said("held", event_id=event["id"])
    item = typescript.connect(event)
    typescript.connect(event | {"time": "2100-01-01T00:00:00Z"}, "duplicate")

    assert qonto.exchanges == (1, 1)
    assert qonto.takes(json.loads(item["tokens"])["access_token"])
    assert (item["connection_status"], "held" in typescript.item(event)) == ("connected", False)


def test_code_of_another_event_is_not_exchanged(typescript: TypeScript, qonto: MockQonto) -> None:
    event = granted(qonto)
    item = typescript.connect(event)
    code = f"ory_ac_other.{event['data']['code'].rpartition('.')[2]}"
    other = typescript.connect(granted(qonto, code=code), "failed")

    assert (other["connection_status"], "tokens" in other) == ("failed", False)
    assert qonto.takes(json.loads(item["tokens"])["access_token"])


@pytest.mark.parametrize(("status", "response"), RESPONSES)
def test_code_is_sent_once_whatever_the_response(
    typescript: TypeScript, qonto: MockQonto, status: str, response: Response
) -> None:
    qonto.instead, event = response, granted(qonto)
    assert typescript.connect(event, status)["connection_status"] == status
    qonto.instead = None

    typescript.connect(event, "duplicate")
    assert qonto.exchanges == (0, 0)


def test_request_that_never_left_is_repeated(typescript: TypeScript, down: MockQonto) -> None:
    event = granted(down)
    typescript.send(event, confirmation_of(event))
    typescript.said("not handled", reason="Unsent")
    with down.up():
        typescript.said("connected", event_id=event["id"])


def test_code_is_not_sent_again_after_a_lost_response(
    typescript: TypeScript, down: MockQonto
) -> None:
    event = granted(down)
    with socket.create_server(("127.0.0.1", urlsplit(down.url).port or 0)) as server:
        server.settimeout(20)
        typescript.send(event, confirmation_of(event))
        with server.accept()[0] as connection:
            assert connection.recv(1)
    typescript.said("lost", event_id=event["id"])
    with down.up():
        typescript.connect(event, "duplicate")
    assert down.exchanges == (0, 0)


@pytest.mark.parametrize("steps", ["event app no", "event no app", "app no event", "no app event"])
def test_repudiation_wins(typescript: TypeScript, qonto: MockQonto, steps: str) -> None:
    event, next_event = granted(qonto), granted(qonto)
    app = confirmation_of(event)
    messages = {"event": event, "app": app, "no": app | {"repudiated": True}}
    typescript.send(*(messages[step] for step in steps.split()), next_event)
    typescript.said("held", event_id=next_event["id"])

    item = typescript.item(event)
    assert (item["app"], item.keys() & {"held", "tokens"}) == ("repudiated", set())


def test_late_repudiation_deletes_nothing(typescript: TypeScript, qonto: MockQonto) -> None:
    event = granted(qonto) | {"time": rfc3339(time.time() - 3601)}
    typescript.connect(event)
    typescript.send(confirmation_of(event) | {"repudiated": True})
    typescript.said("repudiated too late")

    assert qonto.takes(json.loads(typescript.item(event)["tokens"])["access_token"])


def test_foreign_late_and_excess_grants_are_refused(
    typescript: TypeScript, qonto: MockQonto
) -> None:
    for member, value in FOREIGN.items():
        event = granted(qonto)
        (event if member in event else event["data"])[member] = value
        typescript.send(confirmation_of(event), event)
        typescript.said("not handled", reason="UnknownType" if member == "type" else "ForeignEvent")
        typescript.aws.sqs.purge_queue(**typescript.queue)
    typescript.connect(granted(qonto, granted_scope=f"{SCOPE} more"), "failed")
    typescript.connect(granted(qonto, expires_in=0), "expired")

    assert qonto.exchanges == (0, 0)


@slow
def test_generators_name_the_types(tmp_path: Path) -> None:
    """The first generator's output is the example's: copy it when it changes."""
    json2ts = NODE / ".bin" / "json2ts", "--no-additionalProperties", "-i", f"{FOLDER}/*.json"
    run(*json2ts, "-o", tmp_path)
    code = json.loads(run("node", Path(__file__).with_name("generate.mjs"), FOLDER))
    (tmp_path / "events.ts").write_text(code["typescript"], "utf-8")
    run(NODE / ".bin" / "tsc", "--strict", "--noEmit", "--types", "", *tmp_path.iterdir())
    compile(code["python"], "events.py", "exec")

    types = {path.name: path.read_text("utf-8") for path in tmp_path.glob("*.d.ts")}
    assert types == {path.name: path.read_text("utf-8") for path in EXAMPLE.glob("events/*")}
    for text in ("".join(types.values()), *code.values()):
        assert set(re.findall(r"\b(?:class|enum|interface|type) (\w+)", text)) >= TYPES
