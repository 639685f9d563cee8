"""docs/operations.md names the parts of the stack, and its sums are right."""

import re

import pytest

from demo.template import ROOT, Template, function
from tests.infra.monitoring import alarm_metrics, dashboard_metrics
from tests.infra.resolution import Resolution

TEXT = (ROOT / "docs" / "operations.md").read_text("utf-8")
# The rows are | item | quantity | price | cost | and | **name** | | | **sum** |.
PRICED = re.compile(r"^\| (.+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$", re.MULTILINE)
TOTAL = re.compile(r"^\| \*\*(.+)\*\* \| \| \| \*\*([\d.]+)\*\* \|$", re.MULTILINE)


def _quantity(text: str) -> float:
    [quantity] = [float(row[1]) for row in PRICED.findall(TEXT) if row[0].startswith(text)]
    return quantity


def test_every_alarm_has_a_row(template: Template) -> None:
    rows = re.findall(r"^\| `(\w+Alarm)` \| .+ \| .+ \|$", TEXT, re.MULTILINE)

    assert rows == list(alarm_metrics(Resolution(template)))


def test_every_name_exists_in_the_template(template: Template) -> None:
    named = set(re.findall(r"`((?:[A-Z][a-z]+){2,})`", TEXT))
    parts = [template[section].keys() for section in ("Parameters", "Resources", "Outputs")]

    assert named - {"CachingDisabled", "AllViewerExceptHostHeader", "AuthorizationError"} <= (
        set().union(*parts)
    )


@pytest.mark.parametrize("row", PRICED.findall(TEXT), ids=lambda row: row[0])
def test_quantity_times_price_is_cost(row: tuple[str, str, str, str]) -> None:
    _, quantity, price, cost = row

    assert f"{float(quantity) * float(price):.2f}" == cost


def test_costs_add_up() -> None:
    for table in re.findall(r"(?:^\|.*\n)+", TEXT, re.MULTILINE):
        for _, total in TOTAL.findall(table):
            assert f"{sum(float(row[3]) for row in PRICED.findall(table)):.2f}" == total
    assert len(TOTAL.findall(TEXT)) == 2


def test_priced_quantities_match_the_template(template: Template) -> None:
    resolution = Resolution(template)
    gigabytes = function(template, "StartFunction")["MemorySize"] / 1024
    ours = {each for each in dashboard_metrics(resolution) if each.namespace == "qonto-connect"}

    assert _quantity("metrics of ours") == len(ours)
    assert _quantity("metrics watched by alarms") == sum(
        len(metrics) for metrics in alarm_metrics(resolution).values()
    )
    assert _quantity("Lambda arm64") == round(2_000_000 * 0.1 * gigabytes)
