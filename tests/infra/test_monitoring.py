"""The alarms that notify an operator, and the dashboard."""

import re
from typing import Any

import pytest

from aws import CALL_CONFIG
from demo.template import Template
from tests.infra.monitoring import Metric, alarm_metrics, dashboard_metrics, widgets
from tests.infra.resolution import Resolution

ALARM_TOPIC = "arn:aws:sns:eu-west-3:123456789012:on-call"
# In AWS's own metrics, this dimension identifies the API, function or topic of this stack.
DIMENSIONS = {
    "AWS/ApiGateway": {("ApiId", "HttpApi")},
    "AWS/Lambda": {("FunctionName", "StartFunction"), ("FunctionName", "CallbackFunction")},
    "AWS/SNS": {("TopicName", "AuthorizationTopic.TopicName")},
}


@pytest.fixture(scope="module")
def resolution(template: Template) -> Resolution:
    return Resolution(template)


def _alarms(resolution: Resolution) -> dict[str, dict[str, Any]]:
    return {
        logical_id: resource["Properties"]
        for logical_id, resource in resolution.resources.items()
        if resource["Type"] == "AWS::CloudWatch::Alarm"
    }


def _watched(logical_id: str, resolution: Resolution) -> set[str]:
    return {
        f"{metric.name}[{dict(metric.dimensions)['reason']}]"
        if "reason" in dict(metric.dimensions)
        else metric.name
        for metric in alarm_metrics(resolution)[logical_id]
    }


def test_each_alarm_watches_its_metrics(resolution: Resolution) -> None:
    assert {alarm: _watched(alarm, resolution) for alarm in alarm_metrics(resolution)} == {
        "PublishFailedAlarm": {"PublishFailed"},
        "DeliveryFailedAlarm": {"NumberOfNotificationsFailed"},
        "NobodySubscribedAlarm": {
            "NumberOfMessagesPublished",
            "NumberOfNotificationsDelivered",
            "NumberOfNotificationsFailed",
            "NumberOfNotificationsFilteredOut",
        },
        "RefusalsAlarm": {
            "CallbackRefused[invalid_request]",
            "CallbackRefused[no_cookie]",
            "CallbackRefused[other_browser]",
            "CallbackRefused[unknown]",
            "CallbackRefused[expired]",
            "AuthorizationGranted",
            "AuthorizationFailed",
        },
        "UnavailableAlarm": {"5xx"},
        "StartErrorsAlarm": {"Errors"},
        "CallbackErrorsAlarm": {"Errors"},
        "StartThrottlesAlarm": {"Throttles"},
        "CallbackThrottlesAlarm": {"Throttles"},
        "StartDurationAlarm": {"Duration"},
        "CallbackDurationAlarm": {"Duration"},
    }


def test_function_alarm_watches_its_own_function(resolution: Resolution) -> None:
    for logical_id, metrics in alarm_metrics(resolution).items():
        for metric in metrics:
            if metric.namespace == "AWS/Lambda":
                [(_, function)] = metric.dimensions
                assert logical_id.startswith(function.removesuffix("Function"))


def test_every_metric_belongs_to_this_stack(resolution: Resolution) -> None:
    """Two stacks in one account have separate counts, alarms and dashboards."""
    metrics: set[Metric] = set().union(*alarm_metrics(resolution).values())

    for metric in metrics | dashboard_metrics(resolution):
        if metric.namespace == "qonto-connect":
            assert ("service", "connect") in metric.dimensions
        else:
            assert len(metric.dimensions) == 1
            assert metric.dimensions <= DIMENSIONS[metric.namespace]


def test_missing_data_raises_no_alarm(resolution: Resolution) -> None:
    for alarm in _alarms(resolution).values():
        assert alarm["TreatMissingData"] == "notBreaching"
        assert alarm["ComparisonOperator"] == "GreaterThanThreshold"


@pytest.mark.parametrize(
    "logical_id",
    [
        "PublishFailedAlarm",
        "DeliveryFailedAlarm",
        "NobodySubscribedAlarm",
        "StartErrorsAlarm",
        "CallbackErrorsAlarm",
        "StartThrottlesAlarm",
        "CallbackThrottlesAlarm",
    ],
)
def test_first_occurrence_raises_the_alarm(resolution: Resolution, logical_id: str) -> None:
    alarm = _alarms(resolution)[logical_id]

    assert (alarm["Threshold"], alarm["EvaluationPeriods"]) == (0, 1)
    assert alarm.get("Statistic", "Sum") == "Sum"


@pytest.mark.parametrize(
    ("counts", "status"),
    [
        ({"published": 1}, "ALARM"),
        ({"published": 1, "delivered": 1}, "OK"),
        ({"published": 1, "failed": 1}, "OK"),
        ({"published": 1, "filtered": 1}, "OK"),
        ({}, "OK"),
    ],
)
def test_message_without_subscriber_raises_the_alarm(
    resolution: Resolution, counts: dict[str, int], status: str
) -> None:
    """A filtered message has a subscriber, and a failed delivery has its own alarm."""
    assert _status(_alarms(resolution)["NobodySubscribedAlarm"], counts) == status


@pytest.mark.parametrize(
    ("counts", "status"),
    [
        ({"no_cookie": 21}, "ALARM"),
        ({"no_cookie": 20}, "OK"),
        ({"unknown": 11, "expired": 11, "granted": 21}, "ALARM"),
        ({"invalid_request": 50, "granted": 40, "failed": 10}, "OK"),
        ({"granted": 1000}, "OK"),
        ({}, "OK"),
    ],
)
def test_refusals_raise_alarm_by_number_and_share(
    resolution: Resolution, counts: dict[str, int], status: str
) -> None:
    assert _status(_alarms(resolution)["RefusalsAlarm"], counts) == status


def _status(alarm: dict[str, Any], counts: dict[str, int]) -> str:
    """Return the status of *alarm* at *counts*, with its expressions evaluated as Python."""
    queries = {query["Id"]: query for query in alarm["Metrics"]}
    expressions = {
        name: query["Expression"] for name, query in queries.items() if "Expression" in query
    }
    counted = queries.keys() - expressions.keys()
    # Without FILL, one missing count makes the whole expression missing.
    assert set(re.findall(r"FILL\((\w+), 0\)", " ".join(expressions.values()))) == counted
    assert [name for name, query in queries.items() if query.get("ReturnData", True)] == ["result"]
    values: dict[str, Any] = dict.fromkeys(counted, 0) | counts
    for name in reversed(expressions):  # the result is the first query
        expression = expressions[name].replace("IF(", "choose(").replace(" AND ", " and ")
        functions = {
            "FILL": lambda count, _: count,
            "choose": lambda condition, then, otherwise: then if condition else otherwise,
        }
        values[name] = eval(expression, functions, values)  # noqa: S307 - the template's own text
    return "ALARM" if values["result"] > alarm["Threshold"] else "OK"


def test_duration_threshold_is_one_timed_out_attempt(resolution: Resolution) -> None:
    config = vars(CALL_CONFIG)
    one_attempt = config["connect_timeout"] + config["read_timeout"]

    for logical_id in ("StartDurationAlarm", "CallbackDurationAlarm"):
        alarm = _alarms(resolution)[logical_id]
        assert alarm["Threshold"] == one_attempt * 1000
        assert alarm["ExtendedStatistic"] == "p99"


@pytest.mark.parametrize(("topic", "actions"), [("", []), (ALARM_TOPIC, [ALARM_TOPIC])])
def test_alarms_notify_the_operators_topic_if_given(
    template: Template, topic: str, actions: list[str]
) -> None:
    for alarm in _alarms(Resolution(template, AlarmTopicArn=topic)).values():
        assert alarm["AlarmActions"] == alarm["OKActions"] == actions


def test_dashboard_shows_every_metric_of_an_alarm(resolution: Resolution) -> None:
    assert set().union(*alarm_metrics(resolution).values()) <= dashboard_metrics(resolution)


def test_dashboard_shows_every_alarm(resolution: Resolution) -> None:
    [shown] = [
        each["properties"]["alarms"] for each in widgets(resolution) if each["type"] == "alarm"
    ]

    assert shown == [f"{logical_id}.Arn" for logical_id in alarm_metrics(resolution)]


def test_widgets_fill_the_grid_and_do_not_overlap(resolution: Resolution) -> None:
    cells = [
        (column, row)
        for widget in widgets(resolution)
        for column in range(widget["x"], widget["x"] + widget["width"])
        for row in range(widget["y"], widget["y"] + widget["height"])
    ]

    assert len(set(cells)) == len(cells) == 24 * (1 + max(row for _, row in cells))


def test_output_links_to_the_dashboard(resolution: Resolution) -> None:
    assert resolution.outputs["DashboardUrl"] == (
        "https://eu-west-3.console.aws.amazon.com/cloudwatch/home"
        "?region=eu-west-3#dashboards/dashboard/Dashboard"
    )
