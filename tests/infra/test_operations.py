"""docs/operations.md names the parts of the stack and of its logs.

The sums and limits of docs/quotas-and-costs.md are right.
"""

import ast
import re
import shlex
from collections.abc import Iterator

import pytest

from demo.template import ROOT, Template, function
from tests.infra.monitoring import alarm_metrics, dashboard_metrics
from tests.infra.resolution import Resolution

FUNCTIONS = ROOT / "functions"
TEXT = (ROOT / "docs" / "operations.md").read_text("utf-8")
COSTS = (ROOT / "docs" / "quotas-and-costs.md").read_text("utf-8")
# The rows are | item | quantity | price | cost | and | **name** | | | **sum** |.
PRICED = re.compile(r"^\| (.+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$", re.MULTILINE)
TOTAL = re.compile(r"^\| \*\*(.+)\*\* \| \| \| \*\*([\d.]+)\*\* \|$", re.MULTILINE)
# Names in the form of the template's that belong to AWS.
OF_AWS = {
    *("CachingDisabled", "AllViewerExceptHostHeader"),  # policies of CloudFront
    *("AccessDeniedException", "AuthorizationError", "ReadTimeoutError", "ThrottlingException"),
    "RedriveAllowPolicy",
}


def _quantity(text: str) -> float:
    [quantity] = [float(row[1]) for row in PRICED.findall(COSTS) if row[0].startswith(text)]
    return quantity


def test_every_alarm_has_a_row(template: Template) -> None:
    rows = re.findall(r"^\| `(\w+Alarm)` \| .+ \| .+ \|$", TEXT, re.MULTILINE)

    assert rows == list(alarm_metrics(Resolution(template)))


def test_alarm_says_who_can_set_it_off(template: Template) -> None:
    at_will = {
        name
        for name, who in re.findall(r"^\| `(\w+Alarm)` \|.* \| (.+) \|$", TEXT, re.MULTILINE)
        if who != "nobody"
    }
    resources = template["Resources"]

    assert at_will == {
        name
        for name in alarm_metrics(Resolution(template))
        if "set this alarm off" in resources[name]["Properties"]["AlarmDescription"]
    }


def test_every_name_exists_in_template_or_metrics(template: Template) -> None:
    named = set(re.findall(r"`((?:[A-Z][a-z]+){2,})`", TEXT + COSTS))
    parts = [template[section].keys() for section in ("Parameters", "Resources", "Outputs")]

    assert named - OF_AWS <= set(_metrics()).union(*parts)


def test_lifted_statement_exists(template: Template) -> None:
    [sid] = re.findall(r"statement \*(\w+)\*", TEXT)

    policy = template["Resources"]["StateTable"]["Properties"]["ResourcePolicy"]["PolicyDocument"]
    assert sid in {statement["Sid"] for statement in policy["Statement"]}


def test_documented_values_reach_sam_whole() -> None:
    """SAM cuts a value at its first space, without an error, unless the value has quotes.

    The pattern is that of the SAM CLI 1.170 (``samcli.cli.types.CfnParameterOverridesType``).
    """
    commands = re.findall(r"--parameter-overrides (.+)$", TEXT, re.MULTILINE)
    values = [value for command in commands for value in shlex.split(command)]

    assert any(" " in value for value in values)
    assert [value for value in values if not re.fullmatch(r'\w+=("[^"]*"|[^ "]+)', value)] == []


def test_every_metric_has_a_row(template: Template) -> None:
    rows = _first_cells("Metrics")
    shown = {each.name for each in dashboard_metrics(Resolution(template))}

    assert sorted(rows) == sorted(set(_metrics()))
    assert set(rows) <= shown


def test_every_log_message_has_a_row() -> None:
    assert sorted(_first_cells("Log lines")) == sorted(set(_log_messages()))


def _first_cells(title: str) -> list[str]:
    """Return the code in the first cell of each row of the table in the section *title*."""
    [section] = re.findall(rf"^## {title}$(.*?)^## ", TEXT, re.MULTILINE | re.DOTALL)
    return re.findall(r"^\| `(.+?)` \|", section, re.MULTILINE)


def _calls() -> Iterator[tuple[str, list[str]]]:
    """Yield the name of each call in functions/ and the strings in its first argument."""
    for path in FUNCTIONS.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and node.args:
                strings = [
                    each.value
                    for each in ast.walk(node.args[0])
                    if isinstance(each, ast.Constant) and isinstance(each.value, str)
                ]
                yield ast.unparse(node.func), strings


def _metrics() -> list[str]:
    return [name for call, strings in _calls() if call == "count" for name in strings]


def _log_messages() -> list[str]:
    levels = {f"self._logger.{level}" for level in ("info", "warning", "error", "exception")}
    return [
        message.replace("%s", "…")
        for call, strings in _calls()
        if call in levels
        for message in strings
    ]


@pytest.mark.parametrize("row", PRICED.findall(COSTS), ids=lambda row: row[0])
def test_quantity_times_price_is_cost(row: tuple[str, str, str, str]) -> None:
    _, quantity, price, cost = row

    assert f"{float(quantity) * float(price):.2f}" == cost


def test_costs_add_up() -> None:
    for table in re.findall(r"(?:^\|.*\n)+", COSTS, re.MULTILINE):
        for _, total in TOTAL.findall(table):
            assert f"{sum(float(row[3]) for row in PRICED.findall(table)):.2f}" == total
    assert len(TOTAL.findall(COSTS)) == 2


def test_priced_quantities_match_the_template(template: Template) -> None:
    resolution = Resolution(template)
    gigabytes = function(template, "StartFunction")["MemorySize"] / 1024
    ours = {each for each in dashboard_metrics(resolution) if each.namespace == "qonto-connect"}

    assert _quantity("metrics of ours") == len(ours)
    assert _quantity("metrics watched by alarms") == sum(
        len(metrics) for metrics in alarm_metrics(resolution).values()
    )
    assert _quantity("Lambda arm64, GB-seconds:") == round(2_000_000 * 0.1 * gigabytes)
    assert _quantity("Lambda arm64, GB-seconds of INIT") == round(200_000 * 0.4 * gigabytes)


def test_limits_of_routes_equal_the_template(template: Template) -> None:
    stage = template["Resources"]["HttpApiStage"]["Properties"]
    throttle = template["Parameters"]["StartThrottle"]

    rows = re.findall(r"^\| `(GET .+?)` \| (\d+) \| (\d+) \|", COSTS, re.MULTILINE)

    assert rows == [
        ("GET /start", throttle["Default"], throttle["Default"]),
        *(
            (route, str(limit["ThrottlingRateLimit"]), str(limit["ThrottlingBurstLimit"]))
            for route, limit in stage["RouteSettings"].items()
        ),
    ]
