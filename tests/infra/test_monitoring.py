"""The alarms that notify an operator, and the dashboard."""

import pytest

from aws import CALL_CONFIG
from demo.template import Template
from tests.infra.monitoring import (
    Metric,
    alarm_metrics,
    alarms,
    dashboard_metrics,
    named,
    widgets,
)
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


def test_each_alarm_watches_its_metrics(resolution: Resolution) -> None:
    assert {
        alarm: {named(metric.name, dict(metric.dimensions)) for metric in metrics}
        for alarm, metrics in alarm_metrics(resolution).items()
    } == {
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
        "StateStoreFailedAlarm": {"StateStoreFailed", "StateNotDeleted"},
        "InternalErrorAlarm": {"InternalError"},
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
    for logical_id, alarm in alarms(resolution).items():
        lasts = logical_id == "NobodySubscribedAlarm"
        assert alarm["TreatMissingData"] == ("ignore" if lasts else "notBreaching")
        assert alarm["ComparisonOperator"] == "GreaterThanThreshold"


def test_duration_threshold_is_one_timed_out_attempt(resolution: Resolution) -> None:
    config = vars(CALL_CONFIG)
    one_attempt = config["connect_timeout"] + config["read_timeout"]

    for logical_id in ("StartDurationAlarm", "CallbackDurationAlarm"):
        alarm = alarms(resolution)[logical_id]
        assert alarm["Threshold"] == one_attempt * 1000
        assert alarm["ExtendedStatistic"] == "p99"


@pytest.mark.parametrize(("topic", "actions"), [("", []), (ALARM_TOPIC, [ALARM_TOPIC])])
def test_alarms_notify_the_operators_topic_if_given(
    template: Template, topic: str, actions: list[str]
) -> None:
    for alarm in alarms(Resolution(template, AlarmTopicArn=topic)).values():
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
