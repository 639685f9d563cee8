"""The metrics that the alarms and the dashboard use."""

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from tests.infra.resolution import Resolution


class Metric(NamedTuple):
    """A CloudWatch metric, which its namespace, name and dimensions identify."""

    namespace: str
    name: str
    dimensions: frozenset[tuple[str, str]]


def named(metric: str, dimensions: Mapping[str, str]) -> str:
    """Return the name of a metric, with its reason in brackets if it has one."""
    return f"{metric}[{dimensions['reason']}]" if "reason" in dimensions else metric


def alarms(resolution: Resolution) -> dict[str, dict[str, Any]]:
    """Return the properties of each alarm, by logical id."""
    return {
        logical_id: resource["Properties"]
        for logical_id, resource in resolution.resources.items()
        if resource["Type"] == "AWS::CloudWatch::Alarm"
    }


def alarm_metrics(resolution: Resolution) -> dict[str, set[Metric]]:
    """Return the metrics that each alarm watches, by the alarm's logical id."""
    return {
        logical_id: {
            Metric(
                metric["Namespace"],
                metric["MetricName"],
                frozenset((each["Name"], each["Value"]) for each in metric["Dimensions"]),
            )
            for metric in [
                *([alarm] if "MetricName" in alarm else []),
                *(
                    query["MetricStat"]["Metric"]
                    for query in alarm.get("Metrics", [])
                    if "MetricStat" in query
                ),
            ]
        }
        for logical_id, alarm in alarms(resolution).items()
    }


def widgets(resolution: Resolution) -> list[dict[str, Any]]:
    """Return the widgets of the dashboard."""
    body = json.loads(resolution.resources["Dashboard"]["Properties"]["DashboardBody"])
    return list(body["widgets"])


def dashboard_metrics(resolution: Resolution) -> set[Metric]:
    """Return the metrics that the dashboard shows."""
    return {
        Metric(namespace, name, frozenset(zip(dimensions[::2], dimensions[1::2], strict=True)))
        for widget in widgets(resolution)
        for row in widget["properties"].get("metrics", [])
        for namespace, name, *dimensions in [[cell for cell in row if isinstance(cell, str)]]
    }


def counted(printed: str) -> set[Metric]:
    """Return the metrics in *printed*, the log of functions, in the embedded metric format."""
    return {
        Metric(
            directive["Namespace"],
            metric["Name"],
            frozenset((name, blob[name]) for name in dimensions),
        )
        for blob in map(json.loads, re.findall(r'^\{"_aws".*$', printed, re.MULTILINE))
        for directive in blob["_aws"]["CloudWatchMetrics"]
        for dimensions in directive["Dimensions"]
        for metric in directive["Metrics"]
    }
