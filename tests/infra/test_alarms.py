"""Each alarm of both templates rings when it should and at no other time, by CloudWatch's rules."""

import copy
import random
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest

from demo.live import EXAMPLE
from demo.template import function, load
from tests.infra.alarms import READINGS, Reading, Sample, data_points, ringing, rings
from tests.infra.monitoring import alarms
from tests.infra.resolution import Resolution
from tests.slow import SEED, SLOW

TOPIC = "arn:aws:sns:eu-west-3:123456789012:topic"
HISTORIES = 10_000 if SLOW else 60
# Minutes at most until a sample is visible. AWS names no limit; SNS pushes its metrics "at 1-minute
# intervals" (Monitoring Amazon SNS topics using CloudWatch).
DELAY = 8
PUBLISHED = "NumberOfMessagesPublished"
HEARD = [
    "NumberOfNotificationsDelivered",
    "NumberOfNotificationsFailed",
    "NumberOfNotificationsFilteredOut",
]
ALARMS = alarms(Resolution(load())) | alarms(Resolution(load(EXAMPLE), TopicArn=TOPIC))
# The alarms that ring at the first occurrence of what they count.
FIRST = [
    logical_id
    for logical_id, alarm in ALARMS.items()
    if (alarm["Threshold"], alarm.get("Statistic")) == (0, "Sum")
]

RETRIEVES_TWO_MORE = Reading(2, fills_empty_series=True)  # as the user guide's tables
each_reading = pytest.mark.parametrize("reading", READINGS, ids=str)


@pytest.fixture
def chance() -> random.Random:
    return random.Random(SEED)  # noqa: S311 - repeatable, and no secret


def seen(chance: random.Random, minute: int, value: float = 1) -> Sample:
    """Return a sample of *minute* that becomes visible within `DELAY` after that minute."""
    return Sample(minute, minute + 1 + chance.randint(0, DELAY), value)


def at_once(*values: tuple[int, float]) -> list[Sample]:
    """Return a sample for each minute and value, visible at the end of its minute."""
    return [Sample(minute, minute + 1, value) for minute, value in sorted(values)]


# ------------------------------------------------------- the evaluator against the user guide


def points(text: str) -> list[Sample]:
    """Return the samples of *text*, as in the user guide: ``-`` is missing, ``X`` is breaching."""
    values = {"X": 1.0, "0": 0.0} | {str(number): float(number) for number in range(1, 99)}
    return at_once(
        *((minute, values[each]) for minute, each in enumerate(text.split()) if each != "-")
    )


@pytest.mark.parametrize(
    ("text", "datapoints_to_alarm", "not_breaching", "ignore"),
    [
        ("0 - X - X", 3, "OK", "OK"),
        ("0 - - - -", 3, "OK", "OK"),
        ("- - - - -", 3, "OK", "retain"),
        ("0 X X - X", 3, "ALARM", "ALARM"),
        ("- - X - -", 3, "OK", "retain"),
        ("0 - X - X", 2, "ALARM", "ALARM"),
        ("0 0 X 0 X", 2, "ALARM", "ALARM"),
        ("0 - X - -", 2, "OK", "OK"),
        ("- - - - 0", 2, "OK", "OK"),
        ("- - - X -", 2, "OK", "retain"),
    ],
)
def test_missing_points_follow_the_guides_tables(
    text: str, datapoints_to_alarm: int, not_breaching: str, ignore: str
) -> None:
    """Two columns of both tables; "5 is the evaluation range for the alarm"."""
    metric = {"MetricName": "m", "Dimensions": [], "Statistic": "Maximum", "Period": 60}
    rule = {"EvaluationPeriods": 3, "DatapointsToAlarm": datapoints_to_alarm, "Threshold": 0}

    for treatment, status in (("notBreaching", not_breaching), ("ignore", ignore)):
        alarm = metric | rule | {"TreatMissingData": treatment}
        for rang in (False, True):
            expected = rang if status == "retain" else status == "ALARM"
            history = {"m": points(text)}
            assert rings(alarm, history, 5, RETRIEVES_TWO_MORE, rang=rang) == expected


@pytest.mark.parametrize(
    ("expression", "metrics", "result"),
    [
        ("IF(a, b, c)", ["1 1 0 0 -", "30 - 0 0 30", "0 0 20 - 20"], [30, 0, 20, None, None]),
        ("IF(a, 5, c)", ["1 1 0 0 -", "-", "0 0 20 - 20"], [5, 5, 20, None, None]),
        ("IF(a, b, 5)", ["1 1 0 0 -", "30 - 0 0 30", "-"], [30, 0, 5, 5, None]),
        ("a > 15 AND b > 15", ["30 20 0 0", "20 - 20 -", "-"], [1, 0, 0, 0, None]),
        ("FILL(a, REPEAT)", ["- 1 - 0 -", "-", "-"], [None, 1, 1, 0, 0]),
        ("FILL(a, 7)", ["- 1 - 0 -", "-", "-"], [7, 1, 7, 0, 7]),
        ("a + FILL(b, 7)", ["- 1 - 0 -", "-", "-"], [None, 1, None, 0, None]),
    ],
)
def test_functions_follow_the_guides_examples(
    expression: str, metrics: list[str], result: list[float | None]
) -> None:
    history = dict(zip("abc", map(points, metrics), strict=True))
    queries = [
        {
            "Id": name,
            "ReturnData": False,
            "MetricStat": {
                "Metric": {"MetricName": name, "Dimensions": []},
                "Stat": "Sum",
                "Period": 60,
            },
        }
        for name in history
    ]
    alarm = {
        "Metrics": [{"Id": "result", "Expression": expression}, *queries],
        "EvaluationPeriods": 4,
    }

    assert data_points(alarm, history, 5, Reading(1, fills_empty_series=False)) == result


# --------------------------------------------------------------- NobodySubscribedAlarm


def messages(chance: random.Random, start: int, end: int) -> list[float]:
    """Return the times of messages between the minutes *start* and *end*: a few, or many."""
    mean = chance.choice([0.2, 1, 5, 20])  # minutes from one to the next
    times, now = [], start + chance.random()
    while now < end:
        times.append(now)
        now += chance.expovariate(1 / mean)
    return times


def topic_history(
    chance: random.Random, delivered: list[float], lost: list[float]
) -> dict[str, list[Sample]]:
    """Return the metrics of a topic, each of *delivered* counted within a minute."""
    history = defaultdict(list)
    kinds = chance.choice([[kind] for kind in HEARD] + [HEARD])
    for time in delivered:
        history[chance.choice(kinds)].append(seen(chance, int(time + chance.random())))
    for time in delivered + lost:
        history[PUBLISHED].append(seen(chance, int(time)))
    # "These metrics are gathered on all topics that meet the CloudWatch guidelines for being
    # active" (the same page): perhaps as zeros too.
    if chance.random() < 0.5:
        for name in (PUBLISHED, *kinds):
            history[name] += [seen(chance, minute, 0) for minute in range(75)]
    return {name: sorted(samples) for name, samples in history.items()}


def version_1() -> dict[str, Any]:
    """Return version 1's NobodySubscribedAlarm."""
    alarm = copy.deepcopy(ALARMS["NobodySubscribedAlarm"])
    alarm |= {"EvaluationPeriods": 1, "TreatMissingData": "notBreaching"}
    metrics = [query for query in alarm["Metrics"] if "MetricStat" in query]
    for query in metrics:
        query["MetricStat"]["Period"] = 900
    alarm["Metrics"] = [
        {
            "Id": "result",
            "Expression": "IF((FILL(published, 0) > 0) "
            "AND (FILL(delivered, 0) + FILL(failed, 0) + FILL(filtered, 0) == 0), 1, 0)",
        },
        *metrics,
    ]
    return alarm


def test_version_1_rings_for_single_delivered_messages(chance: random.Random) -> None:
    """It rang in the minutes in which the publish was visible and the delivery was not."""
    histories = [topic_history(chance, [10.9], []) for _ in range(20)]

    false = [
        ringing(version_1(), history, range(10, 30), RETRIEVES_TWO_MORE) for history in histories
    ]

    assert sum(map(bool, false)) > 5


def test_delivered_messages_raise_no_alarm(chance: random.Random) -> None:
    for _ in range(HISTORIES):
        history = topic_history(chance, messages(chance, 0, 45), [])
        reading = chance.choice(READINGS)
        assert ringing(ALARMS["NobodySubscribedAlarm"], history, range(70), reading) == []


def test_message_without_subscriber_raises_alarm(chance: random.Random) -> None:
    """After ten minutes, also if a subscription was just removed, until a delivery is seen."""
    alarm = ALARMS["NobodySubscribedAlarm"]
    for _ in range(HISTORIES):
        removed = chance.choice([0, 5, 20])
        delivered = messages(chance, 0, removed)
        lost = messages(chance, removed + 2, 35)
        again = lost[-1] + 15
        history = topic_history(chance, [*delivered, again], lost)

        at = ringing(alarm, history, range(75), chance.choice(READINGS))

        assert at[0] == int(lost[0]) + 10
        assert int(again) <= at[-1] <= again + 2 + DELAY
        assert at == list(range(at[0], at[-1] + 1))


# ------------------------------------------------------------------- the other alarms


def test_every_alarm_of_both_templates_is_evaluated() -> None:
    others = {
        *("NobodySubscribedAlarm", "RefusalsAlarm", "StateStoreFailedAlarm"),
        *("StartDurationAlarm", "CallbackDurationAlarm"),
        *("DeadLettersAlarm", "OldestMessageAlarm", "RefreshFailedAlarm"),
    }

    assert {*FIRST, *others} == ALARMS.keys()


@pytest.mark.parametrize("logical_id", FIRST)
def test_first_occurrence_raises_alarm(logical_id: str, chance: random.Random) -> None:
    alarm = ALARMS[logical_id]
    for reading in READINGS:
        faults = [seen(chance, int(time)) for time in messages(chance, 5, 60)]

        at = ringing(alarm, {alarm["MetricName"]: faults}, range(90), reading)

        assert {fault.seen for fault in faults} <= set(at)
        assert at[0] == min(fault.seen for fault in faults)
        assert at[-1] <= max(fault.minute for fault in faults) + 15 * (1 + reading.extra)


@each_reading
@pytest.mark.parametrize("logical_id", FIRST)
def test_faults_near_each_other_raise_one_alarm(logical_id: str, reading: Reading) -> None:
    alarm = ALARMS[logical_id]

    at = ringing(alarm, {alarm["MetricName"]: at_once((5, 1), (19, 1))}, range(25), reading)

    assert at == list(range(6, 25))


@each_reading
def test_single_mended_fault_raises_no_alarm(reading: Reading) -> None:
    for name in ("StateStoreFailed", "StateNotDeleted"):
        history = {name: at_once((10, 1))}
        assert ringing(ALARMS["StateStoreFailedAlarm"], history, range(400), reading) == []


@each_reading
def test_failing_store_raises_alarm_in_quiet_stack(reading: Reading) -> None:
    """One flow an hour: each fails once, at any call, and its user does not try again."""
    history = {"StateStoreFailed": at_once((10, 1), (130, 1)), "StateNotDeleted": at_once((70, 1))}

    at = ringing(ALARMS["StateStoreFailedAlarm"], history, range(500), reading)

    assert at == list(range(71, 70 + 180 + 1))


@each_reading
def test_second_failed_refresh_raises_alarm(reading: Reading) -> None:
    """A single one counts thrice, by its two messages; it raises none, nor one hours later."""

    def at(*minutes: int) -> list[int]:
        failed = {"RefreshFailed": at_once(*((minute, 1) for minute in minutes))}
        return ringing(ALARMS["RefreshFailedAlarm"], failed, range(400), reading)

    single = (10, 10, 11)
    assert at(*single) == at(*single, 11 + 180) == []
    assert at(*single, 130) == list(range(131, 10 + 180 + 1))


@each_reading
@pytest.mark.parametrize(
    ("counts", "minutes"),
    [
        ({"no_cookie": 21}, 15),
        ({"no_cookie": 20}, 0),
        ({"unknown": 11, "expired": 11, "granted": 21}, 15),
        ({"other_browser": 21, "failed": 20}, 15),
        ({"invalid_request": 50, "granted": 40, "failed": 10}, 0),
        ({"granted": 1000}, 0),
        ({}, 0),
    ],
)
def test_refusals_raise_alarm_by_number_and_share(
    counts: dict[str, int], minutes: int, reading: Reading
) -> None:
    """Metrics that were never counted are missing."""
    names = {"granted": "AuthorizationGranted", "failed": "AuthorizationFailed"}
    history = {
        names.get(name, f"CallbackRefused[{name}]"): at_once((10, number))
        for name, number in counts.items()
    }

    at = ringing(ALARMS["RefusalsAlarm"], history, range(60), reading)

    assert at == list(range(11, 11 + minutes))


def test_usual_share_of_refusals_raises_no_alarm(chance: random.Random) -> None:
    """One callback in ten is refused, in a busy stack or a quiet one."""
    for _ in range(HISTORIES // 4):
        history = defaultdict(list)
        for time in messages(chance, 0, 45):
            refused = chance.random() < 0.1
            name = "CallbackRefused[no_cookie]" if refused else "AuthorizationGranted"
            history[name].append(seen(chance, int(time)))
        at = ringing(ALARMS["RefusalsAlarm"], history, range(70), chance.choice(READINGS))
        assert at == []


@each_reading
@pytest.mark.parametrize("logical_id", ["StartDurationAlarm", "CallbackDurationAlarm"])
def test_only_lasting_slowness_raises_alarm(logical_id: str, reading: Reading) -> None:
    alarm = ALARMS[logical_id]
    slow, fast = 2600.0, 40.0

    def at(*runs: tuple[int, float]) -> list[int]:
        return ringing(alarm, {"Duration": at_once(*runs)}, range(60), reading)

    always = [(minute, slow if minute % 2 else fast) for minute in range(5, 30)]
    busy = [(minute, fast) for minute in range(5, 30) for _ in range(30)]

    assert at(*always)[0] == 1 + 15
    assert at(*busy, *busy, (10, slow)) == at(*busy) == at((10, slow)) == at() == []


@each_reading
def test_dead_letter_raises_alarm_while_it_waits(reading: Reading) -> None:
    """SQS reports the gauge each minute, as zero once the queue is empty."""
    visible = at_once(*((minute, float(10 <= minute < 40)) for minute in range(60)))

    at = ringing(
        ALARMS["DeadLettersAlarm"],
        {"ApproximateNumberOfMessagesVisible": visible},
        range(60),
        reading,
    )

    assert at == list(range(11, 40 + 5))


def ages(received: list[float], deleted: float, phase: float) -> Iterator[tuple[int, float]]:
    """Yield the age that SQS reports each minute, *phase* seconds into it, for one message.

    "After a message is received three times (or more) and not processed, the message is moved to
    the back of the queue and the ApproximateAgeOfOldestMessage metric points at the second-oldest
    message" (Available CloudWatch metrics for Amazon SQS).
    """
    left_out = received[2] if len(received) > 2 else deleted
    for minute in range(20):
        age = minute * 60 + phase
        if age < min(deleted, left_out):
            yield minute, age


def test_message_that_fails_twice_raises_alarm() -> None:
    """Whenever SQS takes its sample; a message whose first retry succeeds raises none.

    Nor does a message of TokensFunction, which comes when that function must have ended, if its age
    includes the delay: AWS does not say.
    """
    alarm = ALARMS["OldestMessageAlarm"]
    delay = function(load(EXAMPLE), "TokensFunction")["Timeout"] + 2
    after = load(EXAMPLE)["Resources"]["Queue"]["Properties"]["VisibilityTimeout"]
    receives = [0.1 + after * attempt for attempt in range(8)]

    def at(received: list[float], deleted: float, phase: float) -> list[int]:
        reported = at_once(*ages(received, deleted, phase))
        return ringing(
            alarm, {"ApproximateAgeOfOldestMessage": reported}, range(20), RETRIEVES_TWO_MORE
        )

    for phase in range(60):
        assert at(receives, 8 * after, phase + 0.5)
        assert at(receives[:2], receives[1] + 0.3, phase + 0.5) == []
        assert at([500], 510, phase + 0.5)  # nothing receives
        assert at([delay], delay + 20, phase + 0.5) == []
