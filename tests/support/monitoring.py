"""The metrics that the alarms and the dashboard use."""

import json
import re
from typing import Any, NamedTuple

from tests.support.resolution import Resolution


class Metric(NamedTuple):
    """A CloudWatch metric, which its namespace, name and dimensions identify."""

    namespace: str
    name: str
    dimensions: frozenset[tuple[str, str]]


def alarms(resolution: Resolution) -> dict[str, dict[str, Any]]:
    """Return the properties of each alarm, by logical id."""
    return resolution.properties("AWS::CloudWatch::Alarm")


def alarm_metrics(resolution: Resolution) -> dict[str, set[Metric]]:
    """Return the metrics that each alarm watches, by the alarm's logical id."""
    found = {}
    for logical_id, alarm in alarms(resolution).items():
        queries = [each for each in alarm.get("Metrics", []) if "MetricStat" in each]
        found[logical_id] = {
            Metric(
                each["Namespace"],
                each["MetricName"],
                frozenset((pair["Name"], pair["Value"]) for pair in each["Dimensions"]),
            )
            for each in [query["MetricStat"]["Metric"] for query in queries] or [alarm]
        }
    return found


def widgets(resolution: Resolution) -> list[dict[str, Any]]:
    """Return the properties of the dashboard's widgets."""
    body = json.loads(resolution.resources["Dashboard"]["Properties"]["DashboardBody"])
    return [widget["properties"] for widget in body["widgets"]]


def dashboard_metrics(resolution: Resolution) -> set[Metric]:
    """Return the metrics that the dashboard shows."""
    return {
        Metric(namespace, name, frozenset(zip(dimensions[::2], dimensions[1::2], strict=True)))
        for widget in widgets(resolution)
        for namespace, name, *dimensions, _ in widget.get("metrics", [])
    }


def counted(printed: str) -> set[Metric]:
    """Return the metrics in *printed*, the log of functions, in the embedded metric format."""
    return {
        Metric(each["Namespace"], name["Name"], frozenset((key, blob[key]) for key in dimensions))
        for blob in map(json.loads, re.findall(r'^\{"_aws".*$', printed, re.MULTILINE))
        for each in blob["_aws"]["CloudWatchMetrics"]
        for dimensions in each["Dimensions"]
        for name in each["Metrics"]
    }
