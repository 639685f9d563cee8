"""The alarms that notify an operator, and the dashboard."""

import re

import pytest

from aws import CALL_CONFIG
from demo.template import EXAMPLE
from tests.infra.golden import TEMPLATES, golden
from tests.infra.monitoring import alarm_metrics, alarms, dashboard_metrics, widgets
from tests.infra.resolution import Resolution

CONNECTOR = Resolution(golden("connector"))


@pytest.mark.parametrize("stack", TEMPLATES)
def test_alarms_of_a_stack_watch_its_own_metrics(stack: str) -> None:
    """Two stacks in one account have separate counts and alarms; one may notify a topic."""
    resolution = Resolution(golden(stack), AlarmTopicArn="on-call")

    for logical_id, alarm in alarms(resolution).items():
        assert alarm["AlarmActions"] == alarm["OKActions"] == ["on-call"]
        assert alarm["ComparisonOperator"] == "GreaterThanThreshold"
        for metric in alarm_metrics(resolution)[logical_id]:
            [(dimension, value)] = {each for each in metric.dimensions if each[0] != "reason"}
            if metric.namespace == "qonto-connect":
                assert (dimension, value) == ("service", "connect")
            else:
                assert value.partition(".")[0] in resolution.resources
            if dimension == "FunctionName":
                assert logical_id.startswith(value.removesuffix("Function"))
    for alarm in alarms(Resolution(golden(stack))).values():
        assert alarm["AlarmActions"] == alarm["OKActions"] == []


def test_example_subscriber_counts_what_alarms_watch() -> None:
    code = "".join(path.read_text("utf-8") for path in EXAMPLE.parent.glob("subscriber/*.py"))
    metrics = set().union(*alarm_metrics(Resolution(golden("subscriber"))).values())

    assert set(re.findall(r'count\("(\w+)"\)', code)) == {
        metric.name for metric in metrics if metric.namespace == "qonto-connect"
    }


def test_duration_threshold_is_one_timed_out_attempt() -> None:
    config = vars(CALL_CONFIG)

    for logical_id in ("StartDurationAlarm", "CallbackDurationAlarm"):
        threshold = alarms(CONNECTOR)[logical_id]["Threshold"]
        assert threshold == (config["connect_timeout"] + config["read_timeout"]) * 1000


def test_dashboard_shows_every_alarm_and_its_metrics() -> None:
    [shown] = [each["alarms"] for each in widgets(CONNECTOR) if "alarms" in each]

    assert shown == [f"{logical_id}.Arn" for logical_id in alarms(CONNECTOR)]
    assert set().union(*alarm_metrics(CONNECTOR).values()) <= dashboard_metrics(CONNECTOR)
