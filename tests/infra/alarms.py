"""CloudWatch's evaluation of alarms, minute by minute, as its user guide describes it.

The quotations are from the user guide: "Alarm evaluation", "Configuring how CloudWatch alarms treat
missing data" and "Using math expressions with CloudWatch metrics".
"""

import math
import operator
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial, partialmethod
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
    real = _data_points(alarm, history, now, reading)[-needed:]
    breaching = sum(point > alarm["Threshold"] for point in real)
    if alarm["TreatMissingData"] == "ignore" and breaching == len(real) < needed:
        return rang  # "Retain current state"
    return bool(breaching >= alarm.get("DatapointsToAlarm", needed))


class _Series(dict[int, float]):
    """A time series in a metric expression: the data point of each period that has one.

    "Missing values in a time series are treated as 0." "each data point is either 0 (false) or 1
    (true)". A number exists only where the series does.
    """

    def _with(self, operation: Callable[[float, float], float], other: Any) -> "_Series":  # noqa: ANN401
        others = other if isinstance(other, _Series) else dict.fromkeys(self, other)
        return _Series({at: operation(self.get(at, 0), others.get(at, 0)) for at in self | others})

    __add__ = partialmethod(_with, operator.add)
    __eq__ = partialmethod(_with, operator.eq)
    __gt__ = partialmethod(_with, operator.gt)
    __hash__ = None


def _data_points(
    alarm: Mapping[str, Any], history: History, now: int, reading: Reading
) -> list[float]:
    """Return the existing data points in the evaluation range, which ends with minute *now* - 1."""
    length = alarm["EvaluationPeriods"] + reading.extra

    def metric(metric: Mapping[str, Any], statistic: str, period: int) -> _Series:
        values = defaultdict[int, list[float]](list)
        reason = "".join(f"[{d['Value']}]" for d in metric["Dimensions"] if d["Name"] == "reason")
        for minute, value, seen in history.get(metric["MetricName"] + reason, ()):
            age = (now - 1 - minute) // (period // 60)
            if seen <= now and age < length:
                values[length - 1 - age].append(value)
        return _Series({at: STATISTICS[statistic](each) for at, each in values.items()})

    if "Metrics" in alarm:
        # "Returns a non-sparse time series where every value is set to a scalar argument."
        names: dict[str, Any] = {
            "TIME_SERIES": lambda value: _Series(dict.fromkeys(range(length), float(value)))
        }
        names |= {"FILL": partial(_fill, reading, length), "IF": _choose, "REPEAT": None}
        for query in reversed(alarm["Metrics"]):  # an expression stands before what it uses
            if stat := query.get("MetricStat"):
                names[query["Id"]] = metric(stat["Metric"], stat["Stat"], stat["Period"])
            else:  # metric math reads as Python
                names[query["Id"]] = eval(query["Expression"], names)  # noqa: S307 - our template's
        [result] = [query["Id"] for query in alarm["Metrics"] if query.get("ReturnData", True)]
        series = names[result]
    else:
        statistic = alarm.get("Statistic") or alarm["ExtendedStatistic"]
        series = metric(alarm, statistic, alarm["Period"])
    return [series[at] for at in sorted(series)]


def _fill(reading: Reading, length: int, series: _Series, filler: float | None) -> _Series:
    if filler is None:  # REPEAT: a point before the first value stays missing
        for at in range(length):
            if at not in series and at - 1 in series:
                series[at] = series[at - 1]
    elif series or reading.fills_empty_series:
        return _Series(dict.fromkeys(range(length), filler) | series)
    return series


def _choose(condition: _Series, then: _Series, otherwise: float | None = None) -> _Series:
    """Return *then* where *condition* holds, which "has the value of 0" where it does not exist.

    A point "is dropped" if the condition, or the other branch, does not exist.
    """
    kept = {at: holds for at, holds in condition.items() if holds or otherwise is not None}
    return _Series({at: then.get(at, 0) if holds else otherwise or 0 for at, holds in kept.items()})
