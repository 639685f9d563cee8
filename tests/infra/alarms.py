"""CloudWatch's evaluation of alarms, minute by minute, as its user guide describes it.

The quotations are from the user guide: "Alarm evaluation", "Configuring how CloudWatch alarms treat
missing data" and "Using math expressions with CloudWatch metrics".
"""

import ast
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import accumulate, product
from typing import Any, NamedTuple

Series = list[float | None]  # of data points, the oldest first; None: "Missing"


class Sample(NamedTuple):
    """A value of a metric, of one minute, which an evaluation at *seen* or later finds."""

    minute: int
    value: float
    seen: int


History = Mapping[
    str, Sequence[Sample]
]  # by the name of the metric, and its reason: Refused[reason]


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
OPERATIONS: dict[type[ast.AST], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.And: lambda one, other: bool(one and other),
    ast.Eq: operator.eq,
    ast.Gt: operator.gt,
}


def rings(
    alarm: Mapping[str, Any], history: History, now: int, reading: Reading, *, rang: bool = False
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
    points = data_points(alarm, history, now, reading)
    real = [point for point in points if point is not None][-needed:]
    breaching = sum(point > alarm["Threshold"] for point in real)
    if alarm["TreatMissingData"] == "ignore" and breaching == len(real) < needed:
        return rang  # "Retain current state"
    return bool(breaching >= alarm.get("DatapointsToAlarm", needed))


def ringing(
    alarm: Mapping[str, Any], history: History, minutes: int, reading: Reading
) -> list[int]:
    """Return those of the first *minutes* at which *alarm* is in ALARM."""
    found, rang = [], False
    for now in range(minutes):
        rang = rings(alarm, history, now, reading, rang=rang)
        found += [now] * rang
    return found


def data_points(alarm: Mapping[str, Any], history: History, now: int, reading: Reading) -> Series:
    """Return the data points of *alarm* in its evaluation range."""
    evaluation = _Evaluation(alarm, history, now, reading)
    if "Metrics" not in alarm:
        statistic = alarm.get("Statistic") or alarm["ExtendedStatistic"]
        return evaluation.metric(alarm, statistic, alarm["Period"])
    [result] = [query["Id"] for query in alarm["Metrics"] if query.get("ReturnData", True)]
    points: Series = evaluation.value(ast.Name(result))
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
        self._queries = {query["Id"]: query for query in alarm.get("Metrics", [])}

    def metric(self, metric: Mapping[str, Any], statistic: str, period: int) -> Series:
        """Return the data points of *metric*: the last ends with the minute before now."""
        values: list[list[float]] = [[] for _ in range(self._length)]
        reasons = [
            f"[{each['Value']}]" for each in metric["Dimensions"] if each["Name"] == "reason"
        ]
        for sample in self._history.get("".join([metric["MetricName"], *reasons]), ()):
            age = (self._now - 1 - sample.minute) // (period // 60)
            if sample.seen <= self._now and age < self._length:
                values[-1 - age].append(sample.value)
        return [STATISTICS[statistic](each) if each else None for each in values]

    def value(self, node: ast.expr) -> Any:  # noqa: ANN401 - a series or a number
        """Return the value of *node*, a part of a metric expression."""
        match node:
            case ast.Constant(value=int() as number):
                return number
            case ast.Name(id=name) if stat := self._queries[name].get("MetricStat"):
                return self.metric(stat["Metric"], stat["Stat"], stat["Period"])
            case ast.Name(id=name):
                return self.value(_parsed(self._queries[name]["Expression"]))
            # "Missing values in a time series are treated as 0." "each data point is either 0
            # (false) or 1 (true)"; "when [...] only one of the time series has a value [...], the
            # function treats the missing value in the other time series as 0."
            case (
                ast.BinOp(left, operation, right)
                | ast.Compare(left, [operation], [right])
                | ast.BoolOp(operation, [left, right])
            ):
                return self._each(OPERATIONS[type(operation)], left, right)
            case ast.Call(ast.Name(id="TIME_SERIES"), [value]):
                # "Returns a non-sparse time series where every value is set to a scalar argument."
                return [self.value(value)] * self._length
            case ast.Call(ast.Name(id="FILL"), [series, filler]):
                return self._filled(self.value(series), filler)
            case ast.Call(ast.Name(id="IF"), [condition, *branches]):
                return self._chosen(condition, *branches)
        raise NotImplementedError(ast.dump(node))

    def _each(
        self, operation: Callable[[float, float], float], left: ast.expr, right: ast.expr
    ) -> Series:
        """Apply *operation* to each pair of points of which one exists."""
        one, other = self.value(left), self.value(right)
        if not isinstance(other, list):  # a number exists only where the series does
            other = [None if point is None else other for point in one]
        return [
            None if a is None and b is None else float(operation(a or 0, b or 0))
            for a, b in zip(one, other, strict=True)
        ]

    def _filled(self, series: Series, filler: ast.expr) -> Series:
        """Return *series* with its missing points filled, the most recent one included."""
        if isinstance(filler, ast.Name) and filler.id == "REPEAT":
            # A missing value becomes the last one before it. Where there is none, it stays missing.
            return list(accumulate(series, _or_last))
        if not self._reading.fills_empty_series and set(series) == {None}:
            return series
        return [self.value(filler) if point is None else point for point in series]

    def _chosen(self, condition: ast.expr, *branches: ast.expr) -> Series:
        """Return the value of the branch that *condition* chooses, for each point.

        "has the value of 0" if it chooses the first, which does not exist; "is dropped" if the
        condition, or the other branch, does not exist or "is omitted from the expression".
        """
        then, otherwise = [
            value if isinstance(value, list) else [value] * self._length
            for value in [*map(self.value, branches), None][:2]
        ]
        return [
            None if chosen is None else (one or 0) if chosen else other
            for chosen, one, other in zip(self.value(condition), then, otherwise, strict=True)
        ]


def _or_last(last: float | None, point: float | None) -> float | None:
    return last if point is None else point


@cache
def _parsed(expression: str) -> ast.expr:
    """Parse *expression*: metric math reads as Python, but for its AND."""
    return ast.parse(expression.replace(" AND ", " and "), mode="eval").body
