"""CloudWatch's evaluation of alarms, minute by minute, as its user guide describes it.

The quotations are from the user guide: "Alarm evaluation", "Configuring how CloudWatch alarms treat
missing data" and "Using math expressions with CloudWatch metrics".
"""

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any, NamedTuple

# By the metric's name, and its reason, Refused[reason]: each value's minute, the value, and the
# minute from which on evaluations find it.
History = Mapping[str, Sequence[tuple[int, float, int]]]


class Reading(NamedTuple):
    """A reading of the user guide where it is not exact: an alarm must be right under each."""

    # "CloudWatch attempts to retrieve a higher number of data points than the number specified as
    # Evaluation Periods. The exact number [...] depends on the length of the alarm period and
    # whether it is based on a metric with standard resolution or high resolution."
    extra: int
    # "FILL: Fills the missing values of a time series." Not said: if it has no value at all.
    fills_empty_series: bool


READINGS = [Reading(*each) for each in product((1, 2, 5, 20), (True, False))]
STATISTICS: dict[str, Callable[[list[float]], float]] = {
    "Sum": sum,
    "Maximum": max,
    "p99": lambda values: sorted(values)[math.ceil(0.99 * len(values)) - 1],
}


def rings(
    alarm: Mapping[str, Any], history: History, reading: Reading, now: int, *, rang: bool
) -> bool:
    """Tell whether *alarm* is in ALARM at the end of minute *now* - 1; *rang*: a minute before.

    "For any period of one minute or longer, an alarm is evaluated every minute": over periods that
    end at that minute, so that windows slide.
    """
    needed = alarm["EvaluationPeriods"]
    # "If some data points [...] are missing, but the total number of existing data points [...] is
    # equal to or more than the alarm's Evaluation Periods, CloudWatch evaluates the alarm state
    # based on the most recent real data points". If it is lower, it "fills in the missing data
    # points with the result you specified".
    points = _data_points(alarm, history, now, reading)
    real = [point for point in points if point is not None][-needed:]
    breaching = sum(point > alarm["Threshold"] for point in real)
    if alarm["TreatMissingData"] == "ignore" and breaching == len(real) < needed:
        return rang  # "Retain current state"
    return bool(breaching >= alarm.get("DatapointsToAlarm", needed))


def _pointwise(operation: Callable[[float, float], float]) -> Any:  # noqa: ANN401 - a method
    """Return a method that applies *operation* to each pair of points of which one exists.

    "Missing values in a time series are treated as 0." "each data point is either 0 (false) or 1
    (true)". A number exists only where the series does.
    """

    def applied(series: "_Series", other: "_Series | int") -> "_Series":
        if not isinstance(other, _Series):
            other = _Series([None if point is None else other for point in series.points])
        pairs = zip(series.points, other.points, strict=True)
        return _Series(
            [
                None if one is None and two is None else float(operation(one or 0, two or 0))
                for one, two in pairs
            ]
        )

    return applied


@dataclass(eq=False)
class _Series:
    """A time series in a metric expression: data points, the oldest first; None is missing."""

    points: list[float | None]
    __add__ = _pointwise(operator.add)
    __eq__ = _pointwise(operator.eq)
    __gt__ = _pointwise(operator.gt)
    __hash__ = object.__hash__


def _data_points(
    alarm: Mapping[str, Any], history: History, now: int, reading: Reading
) -> list[float | None]:
    """Return the data points of *alarm* in its evaluation range: the last ends with *now* - 1."""
    length = alarm["EvaluationPeriods"] + reading.extra

    def metric(metric: Mapping[str, Any], statistic: str, period: int) -> _Series:
        values: list[list[float]] = [[] for _ in range(length)]
        reason = "".join(f"[{d['Value']}]" for d in metric["Dimensions"] if d["Name"] == "reason")
        for minute, value, seen in history.get(metric["MetricName"] + reason, ()):
            age = (now - 1 - minute) // (period // 60)
            if seen <= now and age < length:
                values[-1 - age].append(value)
        return _Series([STATISTICS[statistic](each) if each else None for each in values])

    if "Metrics" not in alarm:
        statistic = alarm.get("Statistic") or alarm["ExtendedStatistic"]
        return metric(alarm, statistic, alarm["Period"]).points
    # "Returns a non-sparse time series where every value is set to a scalar argument."
    names: dict[str, Any] = {"TIME_SERIES": lambda value: _Series([value] * length)}
    names |= {"FILL": partial(_fill, reading), "IF": _choose, "REPEAT": None}
    for query in reversed(alarm["Metrics"]):  # an expression stands before what it uses
        if stat := query.get("MetricStat"):
            names[query["Id"]] = metric(stat["Metric"], stat["Stat"], stat["Period"])
        else:  # metric math reads as Python
            names[query["Id"]] = eval(query["Expression"], names)  # noqa: S307 - our template's
    [result] = [query["Id"] for query in alarm["Metrics"] if query.get("ReturnData", True)]
    points: list[float | None] = names[result].points
    return points


def _fill(reading: Reading, series: _Series, filler: int | None) -> _Series:
    if filler is None:  # REPEAT: a point before the first value stays missing
        points = series.points.copy()
        for index in range(1, len(points)):
            points[index] = points[index - 1] if points[index] is None else points[index]
        return _Series(points)
    if set(series.points) == {None} and not reading.fills_empty_series:
        return series
    return _Series([filler if point is None else point for point in series.points])


def _choose(condition: _Series, then: _Series, otherwise: int | None = None) -> _Series:
    """Return *then* where *condition* holds, which "has the value of 0" where it does not exist.

    A point "is dropped" if the condition, or the other branch, does not exist.
    """
    pairs = zip(condition.points, then.points, strict=True)
    return _Series([None if c is None else (p or 0) if c else otherwise for c, p in pairs])
