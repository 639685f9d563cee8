"""The metrics that the alarms and the dashboard use."""

import json
from typing import Any, NamedTuple

from tests.support.resolution import Resolution


class Metric(NamedTuple):
    """A CloudWatch metric, which its namespace, name and dimensions identify."""

    namespace: str
    name: str
    dimensions: frozenset[tuple[str, str]]

    @property
    def reason(self) -> str | None:
        return dict(self.dimensions).get("reason")


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


def read(printed: str) -> tuple[list[dict[str, Any]], list[Metric]]:
    """Return the lines of the log that functions *printed*, and each metric that they counted."""
    lines, metrics = [], []
    for line in map(json.loads, printed.splitlines()):
        if "_aws" not in line:
            lines.append(line)
            continue
        [emf] = line["_aws"]["CloudWatchMetrics"]
        [[metric], [dimensions]] = emf["Metrics"], emf["Dimensions"]
        assert (line[metric["Name"]], metric["Unit"]) == ([1.0], "Count")
        pairs = frozenset((name, line[name]) for name in dimensions)
        metrics.append(Metric(emf["Namespace"], metric["Name"], pairs))
    return lines, metrics
