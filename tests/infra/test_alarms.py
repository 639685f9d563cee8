"""The alarms that notify an operator, by CloudWatch's rules, and the dashboard."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from aws import CALL_CONFIG
from demo.template import EXAMPLE
from tests.infra.alarms import READINGS, Reading, rings
from tests.infra.golden import STACKS
from tests.support.monitoring import alarm_metrics, alarms, widgets
from tests.support.resolution import Resolution

DATA = tomllib.loads(Path(__file__).with_name("alarms.toml").read_text("utf-8"))
CONNECTOR, SUBSCRIBER = map(Resolution, STACKS.values())
ALARMS = alarms(CONNECTOR) | alarms(SUBSCRIBER)
RETRIEVES_TWO_MORE = Reading(2, fills_empty_series=True)  # as the user guide's tables


@pytest.mark.parametrize("row", DATA["missing"])
def test_missing_points_follow_the_guides_tables(row: tuple[str, int, str, str]) -> None:
    """Two columns of both tables; "5 is the evaluation range for the alarm"."""
    text, datapoints_to_alarm, *statuses = row
    values = enumerate(text.replace("X", "1").split())
    points = [(minute, float(each), minute + 1) for minute, each in values if each != "-"]
    alarm = {"MetricName": "m", "Dimensions": [], "Statistic": "Maximum", "Period": 60}
    alarm |= {"EvaluationPeriods": 3, "DatapointsToAlarm": datapoints_to_alarm, "Threshold": 0}

    for alarm["TreatMissingData"], status in zip(("notBreaching", "ignore"), statuses, strict=True):
        for rang in (False, True):
            expected = rang if status == "retain" else status == "ALARM"
            assert rings(alarm, {"m": points}, RETRIEVES_TWO_MORE, 5, rang=rang) == expected


def test_every_alarm_has_a_scenario() -> None:
    assert {name for scenario in DATA["scenario"] for name in scenario["alarms"]} == ALARMS.keys()


@pytest.mark.parametrize("scenario", DATA["scenario"], ids=lambda scenario: scenario["of"])
def test_alarm_rings_only_in_the_listed_minutes(scenario: dict[str, Any]) -> None:
    for name in scenario["alarms"]:
        history = {
            ALARMS[name].get("MetricName", "") if metric == "its-own" else metric: [
                (minute, value, minute + 1 + sum(delay)) for minute, value, *delay in counted
            ]
            for metric, counted in scenario["counted"].items()
        }
        for reading in READINGS:
            at, rang = [], False
            for now in range(scenario.get("minutes", 100)):
                rang = rings(ALARMS[name], history, reading, now, rang=rang)
                at += [now] * rang
            assert at == list(range(*scenario["rings"] or (0, 0))), (name, reading)


@pytest.mark.parametrize("stack", STACKS)
def test_alarms_of_a_stack_watch_its_own_metrics(stack: str) -> None:
    """Two stacks in one account have separate counts and alarms; one may notify a topic."""
    resolution = Resolution(STACKS[stack], AlarmTopicArn="on-call")

    for logical_id, alarm in alarms(resolution).items():
        assert alarm["AlarmActions"] == alarm["OKActions"] == ["on-call"]
        assert ALARMS[logical_id]["AlarmActions"] == ALARMS[logical_id]["OKActions"] == []
        assert alarm["ComparisonOperator"] == "GreaterThanThreshold"
        for metric in alarm_metrics(resolution)[logical_id]:
            [(dimension, value)] = {each for each in metric.dimensions if each[0] != "reason"}
            if metric.namespace == "qonto-connect":
                assert (dimension, value) == ("service", "connect")
            else:
                assert value.partition(".")[0] in resolution.resources
            if dimension == "FunctionName":
                assert logical_id.startswith(value.removesuffix("Function"))


def test_example_subscriber_counts_what_alarms_watch() -> None:
    code = "".join(path.read_text("utf-8") for path in EXAMPLE.parent.glob("subscriber/*.py"))
    metrics = set().union(*alarm_metrics(SUBSCRIBER).values())

    ours = {metric.name for metric in metrics if metric.namespace == "qonto-connect"}
    assert set(re.findall(r'count\("(\w+)"\)', code)) == ours


def test_duration_threshold_is_one_timed_out_attempt() -> None:
    attempt = vars(CALL_CONFIG)["connect_timeout"] + vars(CALL_CONFIG)["read_timeout"]

    for logical_id in ("StartDurationAlarm", "CallbackDurationAlarm"):
        assert ALARMS[logical_id]["Threshold"] == attempt * 1000


def test_dashboard_shows_every_alarm() -> None:
    [shown] = [each["alarms"] for each in widgets(CONNECTOR) if "alarms" in each]

    assert shown == [f"{logical_id}.Arn" for logical_id in alarms(CONNECTOR)]
