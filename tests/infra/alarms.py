"""CloudWatch's evaluation of alarms, minute by minute, as its user guide describes it.

The quotations are from the user guide: "Alarm evaluation", "Configuring how CloudWatch alarms treat
missing data" and "Using math expressions with CloudWatch metrics".
"""

import ast
import math
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import accumulate, product
from typing import Any, NamedTuple

from tests.infra.monitoring import named

Point = float | None  # None: "Missing"
Series = list[Point]  # the oldest first


class Sample(NamedTuple):
    """A value of a metric, of one minute, which an evaluation at *seen* or later finds."""

    minute: int
    seen: int
    value: float = 1


History = Mapping[str, Sequence[Sample]]  # by the name of the metric, in the order of minutes


class Reading(NamedTuple):
    """A reading of the user guide where it is not exact: an alarm must be right under each."""

    # "CloudWatch attempts to retrieve a higher number of data points than the number specified as
    # Evaluation Periods. The exact number [...] depends on the length of the alarm period and
    # whether it is based on a metric with standard resolution or high resolution."
    extra: int
    # "FILL: Fills the missing values of a time series." Not said: if it has no value at all.
    fills_empty_series: bool


READINGS = [Reading(*each) for each in product((1, 2, 5, 20), (True, False))]


def watched(query: Mapping[str, Any]) -> str:
    """Return the name of the metric in *query*, with the reason if it has one."""
    dimensions = {each["Name"]: each["Value"] for each in query["Dimensions"]}
    return named(query["MetricName"], dimensions)


def rings(
    alarm: Mapping[str, Any], history: History, now: int, reading: Reading, *, rang: bool = False
) -> bool:
    """Tell whether *alarm*, the properties of one, is in ALARM at the end of the minute *now* - 1.

    *rang*: whether it was a minute before.

    "For any period of one minute or longer, an alarm is evaluated every minute [...]. For example,
    if the Period is 5 minutes and Evaluation Periods is 1, then at the end of minute 5 the alarm
    evaluates based on data from minutes 1 to 5. Then at the end of minute 6, the alarm is evaluated
    based on the data from minutes 2 to 6."
    """
    needed = alarm["EvaluationPeriods"]
    points = data_points(alarm, history, now, reading)
    # "If some data points [...] are missing, but the total number of existing data points [...] is
    # equal to or more than the alarm's Evaluation Periods, CloudWatch evaluates the alarm state
    # based on the most recent real data points". If it is lower, it "fills in the missing data
    # points with the result you specified". "All real data points in the evaluation range are
    # included in the evaluation."
    real = [point for point in points if point is not None][-needed:]
    breaching = sum(point > alarm["Threshold"] for point in real)
    if alarm["TreatMissingData"] == "ignore" and breaching == len(real) < needed:
        return rang  # "Retain current state"
    return bool(breaching >= alarm.get("DatapointsToAlarm", needed))


def ringing(
    alarm: Mapping[str, Any], history: History, minutes: range, reading: Reading
) -> list[int]:
    """Return those of *minutes* at which *alarm* is in ALARM."""
    found, rang = [], False
    for now in minutes:
        rang = rings(alarm, history, now, reading, rang=rang)
        found += [now] * rang
    return found


def data_points(alarm: Mapping[str, Any], history: History, now: int, reading: Reading) -> Series:
    """Return the data points of *alarm* in its evaluation range, the oldest first."""
    evaluation = _Evaluation(alarm, history, now, reading)
    if "Metrics" not in alarm:
        return evaluation.metric(alarm, alarm.get("Statistic") or alarm["ExtendedStatistic"])
    [result] = [query["Id"] for query in alarm["Metrics"] if query.get("ReturnData", True)]
    points: Series = evaluation.named(result)
    return points


class _Evaluation:
    """One evaluation of an alarm."""

    def __init__(
        self, alarm: Mapping[str, Any], history: History, now: int, reading: Reading
    ) -> None:
        self._length = alarm["EvaluationPeriods"] + reading.extra
        self._history = history
        self._now = now
        self._reading = reading
        self._results: dict[str, Any] = {}
        self._queries = {query["Id"]: query for query in alarm.get("Metrics", [])}

    def metric(self, metric: Mapping[str, Any], statistic: str, period: int = 0) -> Series:
        """Return the data points of *metric*: the last ends with the minute before now."""
        period = (period or metric["Period"]) // 60
        values: list[list[float]] = [[] for _ in range(self._length)]
        samples = self._history.get(watched(metric), ())
        start = bisect_left(samples, (self._now - self._length * period,))
        for sample in samples[start : bisect_left(samples, (self._now,))]:
            if sample.seen <= self._now:
                values[-1 - (self._now - 1 - sample.minute) // period].append(sample.value)
        return [STATISTICS[statistic](each) if each else None for each in values]

    def named(self, name: str) -> Any:  # noqa: ANN401 - as `_value`
        """Return what the query with the id *name* gives."""
        if name not in self._results:
            query = self._queries[name]
            if "MetricStat" in query:
                stat = query["MetricStat"]
                result = self.metric(stat["Metric"], stat["Stat"], stat["Period"])
            else:
                result = self._value(_parsed(query["Expression"]))
            self._results[name] = result
        return self._results[name]

    def _value(self, node: ast.expr) -> Any:  # noqa: ANN401 - a series or a number
        match node:
            case ast.Constant(value=int() as number):
                return number
            case ast.Name(id=name):
                return self.named(name)
            case ast.BinOp(left, ast.Add(), right):
                # "Missing values in a time series are treated as 0."
                return self._each(lambda one, other: one + other, left, right)
            case ast.Compare(left, [operator], [right]):
                # "each data point is either 0 (false) or 1 (true)"; "when [...] only one of the
                # time series has a value [...], the function treats the missing value in the other
                # time series as 0."
                return self._each(COMPARISONS[type(operator)], left, right)
            case ast.BoolOp(ast.And(), [left, right]):
                return self._each(lambda one, other: bool(one and other), left, right)
            case ast.Call(ast.Name(id="TIME_SERIES"), [value]):
                # "Returns a non-sparse time series where every value is set to a scalar argument."
                return [self._value(value)] * self._length
            case ast.Call(ast.Name(id="FILL"), [series, filler]):
                return self._filled(self._value(series), filler)
            case ast.Call(ast.Name(id="IF"), [condition, then, *otherwise]):
                return self._chosen(condition, then, *otherwise)
        raise NotImplementedError(ast.dump(node))

    def _each(
        self, operation: Callable[[float, float], float], left: ast.expr, right: ast.expr
    ) -> Series:
        """Apply *operation* to each pair of points of which one exists."""
        one, other = self._value(left), self._value(right)
        if not isinstance(other, list):  # a number exists only where the series does
            other = [None if point is None else other for point in one]
        return [
            None if a is None and b is None else float(operation(a or 0, b or 0))
            for a, b in zip(one, other, strict=True)
        ]

    def _filled(self, series: Series, filler: ast.expr) -> Series:
        """Return *series* with its missing points filled.

        "When you use this function in an alarm, you can encounter an issue if your metrics are
        being published with a slight delay, and the most recent minute never has data. In this
        case, FILL replaces that missing data point with the requested value. [...] You can work
        around this by using a M out of N alarm."
        """
        if isinstance(filler, ast.Name) and filler.id == "REPEAT":
            # A missing value becomes the last one before it. Where there is none, it stays missing.
            return list(accumulate(series, _or_last))
        if not self._reading.fills_empty_series and set(series) == {None}:
            return series
        return [self._value(filler) if point is None else point for point in series]

    def _chosen(self, condition: ast.expr, *branches: ast.expr) -> Series:
        """Return the value of the branch that *condition* chooses, for each point.

        "has the value of 0, if the corresponding data point of metric1 is TRUE and the
        corresponding data point does not exist in metric2"; "is dropped if the corresponding data
        point in metric1 does not exist", or if it is FALSE and the other value does not exist "or
        if metric3 is omitted from the expression".
        """
        conditions = self._value(condition)
        then, otherwise = [
            value if isinstance(value, list) else [value] * self._length
            for value in [*map(self._value, branches), None][:2]
        ]
        return [
            None if chosen is None else (one or 0) if chosen else other
            for chosen, one, other in zip(conditions, then, otherwise, strict=True)
        ]


def _or_last(last: Point, point: Point) -> Point:
    return last if point is None else point


STATISTICS: dict[str, Callable[[list[float]], float]] = {
    "Sum": sum,
    "Maximum": max,
    "p99": lambda values: sorted(values)[math.ceil(0.99 * len(values)) - 1],
}
COMPARISONS: dict[type[ast.cmpop], Callable[[float, float], bool]] = {
    ast.Gt: lambda one, other: one > other,
    ast.Eq: lambda one, other: one == other,
}


@cache
def _parsed(expression: str) -> ast.expr:
    """Parse *expression*: metric math reads as Python, but for its AND."""
    return ast.parse(expression.replace(" AND ", " and "), mode="eval").body
