"""Each alarm of both templates rings when it should and at no other time, by CloudWatch's rules."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.infra.alarms import READINGS, Reading, Sample, ringing, rings
from tests.infra.golden import golden
from tests.infra.monitoring import alarms
from tests.infra.resolution import Resolution

DATA = tomllib.loads(Path(__file__).with_name("alarms.toml").read_text("utf-8"))
SCENARIOS = DATA["scenario"]
ALARMS = alarms(Resolution(golden("connector"))) | alarms(Resolution(golden("subscriber")))
RETRIEVES_TWO_MORE = Reading(2, fills_empty_series=True)  # as the user guide's tables


# ------------------------------------------------------- the evaluator against the user guide


@pytest.mark.parametrize("row", DATA["missing"])
def test_missing_points_follow_the_guides_tables(row: tuple[str, int, str, str]) -> None:
    """Two columns of both tables; "5 is the evaluation range for the alarm"."""
    text, datapoints_to_alarm, *statuses = row
    values = enumerate(text.replace("X", "1").split())
    points = [Sample(minute, float(each), minute + 1) for minute, each in values if each != "-"]
    metric = {"MetricName": "m", "Dimensions": [], "Statistic": "Maximum", "Period": 60}
    rule = {"EvaluationPeriods": 3, "DatapointsToAlarm": datapoints_to_alarm, "Threshold": 0}

    for treatment, status in zip(("notBreaching", "ignore"), statuses, strict=True):
        alarm = metric | rule | {"TreatMissingData": treatment}
        for rang in (False, True):
            expected = rang if status == "retain" else status == "ALARM"
            assert rings(alarm, {"m": points}, 5, RETRIEVES_TWO_MORE, rang=rang) == expected


# ------------------------------------------------------------------------- the alarms


def test_every_alarm_has_a_scenario() -> None:
    listed = {name for scenario in SCENARIOS for name in scenario["alarms"]}

    assert listed == ALARMS.keys()


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario["of"])
def test_alarm_rings_only_in_the_listed_minutes(scenario: dict[str, Any]) -> None:
    for name in scenario["alarms"]:
        history = {
            ALARMS[name].get("MetricName", "") if metric == "its-own" else metric: [
                Sample(minute, value, minute + 1 + sum(delay)) for minute, value, *delay in counted
            ]
            for metric, counted in scenario["counted"].items()
        }
        for reading in READINGS:
            at = ringing(ALARMS[name], history, scenario.get("minutes", 100), reading)
            assert at == list(range(*scenario["rings"] or (0, 0))), (name, reading)
