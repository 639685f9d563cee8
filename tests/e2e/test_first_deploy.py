"""What docs/first-deploy.md asks of a stack, and its report.

The tests of *test_connect.py* check the points about whole flows.
"""

import json
import re
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from secrets import token_hex
from urllib.parse import urlsplit

import httpx2
import pytest
from botocore.exceptions import ClientError

from demo import template as infra
from demo.template import Json
from tests.e2e.deployed_stack import Deployed

type Seen = Callable[[str], None]

SECURITY_HEADERS = {
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "strict-transport-security": "max-age=63072000",
    "x-content-type-options": "nosniff",
}
COOKIE = "__Host-qonto-connect"


@pytest.mark.point("Headers of each response")
@pytest.mark.parametrize(
    ("url", "headers", "status"),
    [
        *(("/start", {}, 302), ("/start?context=two+words", {}, 400)),
        *(("/start", {"Sec-Purpose": "prefetch"}, 425), ("/callback?code=a&state=b", {}, 303)),
        *(("/callback/granted", {}, 200), ("/callback/unheard-of", {}, 404)),
    ],
)
def test_every_response_has_the_security_headers(
    browser: httpx2.Client, seen: Seen, url: str, headers: dict[str, str], status: int
) -> None:
    response = browser.get(url, headers=headers)

    missing = sorted(name for name, _ in SECURITY_HEADERS.items() - response.headers.items())
    seen(f"{response.status_code}" + "".join(f" without {name}" for name in missing))
    assert (response.status_code, missing) == (status, [])


@pytest.mark.point("Two cookie headers over HTTP/2")
@pytest.mark.parametrize("ours_first", [True, False])
def test_cookie_in_a_header_of_its_own_is_found(
    deployed: Deployed, browser: httpx2.Client, seen: Seen, *, ours_first: bool
) -> None:
    returned, value = _denied(deployed, browser)
    fields = [("Cookie", f"{COOKIE}={value}"), ("Cookie", "theme=dark")]

    response = _send(deployed, returned, fields if ours_first else fields[::-1])

    seen(response.http_version)
    assert "denied" in response.headers["location"]
    if deployed.is_local:
        pytest.skip("the local gateway has no HTTP/2")
    assert response.http_version == "HTTP/2"


@pytest.mark.point("A Unicode space before the cookie's name")
@pytest.mark.parametrize("space", ["\u00a0", "\u2003"], ids=ascii)
def test_cookie_with_unicode_space_is_not_ours(
    deployed: Deployed, browser: httpx2.Client, seen: Seen, space: str
) -> None:
    """A browser checks the prefix ``__Host-`` alone, so any host of the domain can set this one."""
    returned, value = _denied(deployed, browser)

    response = _send(deployed, returned, [("Cookie", f"{space}{COOKIE}={value}")])

    seen(f"U+{ord(space):04X}: {urlsplit(response.headers['location']).path}")
    assert urlsplit(response.headers["location"]).path == "/callback/other-browser"


@pytest.mark.point("U+FFFE on its way to SQS")
def test_noncharacter_reaches_the_queue_replaced(
    deployed: Deployed, browser: httpx2.Client, seen: Seen
) -> None:
    error = f"first-deploy-{token_hex(8)}"
    state = httpx2.URL(browser.get("/start").headers["location"]).params["state"]

    browser.get(f"/callback?error={error}&error_description=a%EF%BF%BEb&state={state}")

    description = deployed.event(error=error)["data"]["error_description"]
    seen(ascii(description))
    assert description == "a\ufffdb"


@pytest.mark.point("10 kB of query")
def test_query_of_10_kilobytes_gets_the_gateways_431(browser: httpx2.Client, seen: Seen) -> None:
    response = browser.get(f"/start?unknown={'a' * 10_240}")

    seen(f"{response.status_code} {response.text}")
    assert response.status_code == 431


@pytest.mark.point("Throttle of each route")
def test_every_route_has_its_throttle(deployed: Deployed, seen: Seen) -> None:
    stage = deployed.client("apigatewayv2").get_stage(
        ApiId=deployed.stack.resources["HttpApi"], StageName="$default"
    )

    limits = deployed.stack.properties("HttpApiStage")["RouteSettings"]
    throttles = {}
    for resource in infra.resources(infra.load(), "AWS::ApiGatewayV2::Route").values():
        route = resource["Properties"]["RouteKey"]
        settings = stage["DefaultRouteSettings"] | stage.get("RouteSettings", {}).get(route, {})
        throttles[route] = [settings.get(f"Throttling{limit}Limit") for limit in ("Rate", "Burst")]
        seen(f"{route}: {throttles[route]}")
    start = int(deployed.stack.parameters["StartThrottle"])
    assert throttles.pop("GET /start") == [start, start]
    assert throttles == {
        route: [limit["ThrottlingRateLimit"], limit["ThrottlingBurstLimit"]]
        for route, limit in limits.items()
    }


@pytest.mark.point("Log groups")
def test_log_groups_exist_and_expire(deployed: Deployed, seen: Seen) -> None:
    for logical_id in infra.resources(infra.load(), "AWS::Logs::LogGroup"):
        name = deployed.stack.resources[logical_id]
        found = deployed.client("logs").describe_log_groups(logGroupNamePrefix=name)
        [days] = [each.get("retentionInDays") for each in found["logGroups"]]
        seen(f"{logical_id}: {name[: name.rfind('/') + 1]}…, {days} days")
        assert str(days) == deployed.stack.parameters["LogRetentionDays"]
    assert deployed.stack.resources["AccessLogGroup"].startswith("/aws/vendedlogs/")


@pytest.mark.point("Time to live of the table")
def test_time_to_live_is_enabled(deployed: Deployed, seen: Seen) -> None:
    found = deployed.client("dynamodb").describe_time_to_live(
        TableName=deployed.stack.outputs["TableName"]
    )["TimeToLiveDescription"]

    seen(f"{found.get('AttributeName')}: {found['TimeToLiveStatus']}")
    assert found == {"AttributeName": "expires_at", "TimeToLiveStatus": "ENABLED"}


@pytest.mark.point("Policy of the table")
def test_policy_of_the_table_is_the_templates(deployed: Deployed, seen: Seen) -> None:
    found = deployed.client("dynamodb").get_resource_policy(ResourceArn=deployed.stack.table_arn)

    wanted = deployed.stack.properties("StateTable")["ResourcePolicy"]["PolicyDocument"]
    _compare(wanted, found["Policy"], seen)


@pytest.mark.point("Policy of the topic")
def test_policy_of_the_topic_is_the_templates(deployed: Deployed, seen: Seen) -> None:
    topic = deployed.client("sns").get_topic_attributes(TopicArn=deployed.stack.outputs["TopicArn"])

    wanted = deployed.stack.properties("AuthorizationTopicPolicy")["PolicyDocument"]
    _compare(wanted, topic["Attributes"]["Policy"], seen)


@pytest.mark.point("Reading the table")
def test_table_denies_reading_to_the_operator(deployed: Deployed, seen: Seen) -> None:
    code, message = "allowed", ""
    try:
        deployed.client("dynamodb").get_item(
            TableName=deployed.stack.outputs["TableName"], Key={"state": {"S": "no state"}}
        )
    except ClientError as error:
        code, message = error.response["Error"]["Code"], error.response["Error"]["Message"]

    if deployed.is_local:
        pytest.skip("the local AWS enforces no policy")
    seen(code)
    assert code == "AccessDeniedException"
    if "explicit deny in a resource-based policy" not in message:
        pytest.skip("AWS does not say that it is by the table's policy")


@pytest.mark.point("Alarms")
def test_every_alarm_exists(deployed: Deployed, seen: Seen) -> None:
    alarms = infra.resources(infra.load(), "AWS::CloudWatch::Alarm")
    names = {deployed.stack.resources[logical_id]: logical_id for logical_id in alarms}

    found = deployed.client("cloudwatch").describe_alarms(AlarmNames=list(names))["MetricAlarms"]

    states = {names[each["AlarmName"]]: each["StateValue"] for each in found}
    for state, count in Counter(states.values()).items():
        seen(f"{count} {state}")
    for logical_id, state in states.items():
        if state == "ALARM":
            seen(logical_id)
    assert states.keys() == alarms.keys()


def test_report_holds_no_secret(deployed: Deployed) -> None:
    """It reads the report as it is after the tests above."""
    text = deployed.report.markdown()

    assert not re.search(r"[\w-]{43}", text), "a state or a cookie"
    assert not re.search(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-", text), "an authorization_id"
    assert deployed.stack.account["AccountId"] not in text
    assert deployed.stack.parameters["ClientId"] not in text


def _denied(deployed: Deployed, browser: httpx2.Client) -> tuple[str, str]:
    """Return the callback URL of a flow that the user denies, and the value of its cookie."""
    location = browser.get("/start").headers["location"]
    return deployed.decide(location, "deny"), browser.cookies[COOKIE]


def _send(deployed: Deployed, url: str, fields: list[tuple[str, str]]) -> httpx2.Response:
    """Send a request with header *fields* in UTF-8, as browsers send them."""
    with closing(deployed.browser()) as sender:
        return sender.get(url, headers=[(name.encode(), text.encode()) for name, text in fields])


def _compare(wanted: Json, held: str, seen: Seen) -> None:
    """Assert that two policies say the same, and record the statements that do not."""
    first, second = (
        {each["Sid"]: _canonical(each) for each in policy["Statement"]}
        for policy in (wanted, json.loads(held))
    )
    sids = first.keys() | second.keys()
    different = sorted(sid for sid in sids if first.get(sid) != second.get(sid))
    seen(f"{len(sids)} statements, different: {', '.join(different) or 'none'}")
    assert first == second


def _canonical(value: Json) -> Json:
    """Return a part of a policy in one form: AWS may write one value as a list, in any order."""
    if isinstance(value, dict):
        if value == {"AWS": "*"}:
            return ["*"]
        return {name: _canonical(each) for name, each in value.items()}
    return sorted(map(str, value)) if isinstance(value, list) else [str(value)]
