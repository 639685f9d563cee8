"""The pages name parts that exist, their sums are right, and their commands can run."""

import ast
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import botocore.session
import pytest
from botocore import xform_name

from demo.template import EXAMPLE, ROOT, Template, load
from tests.e2e import report
from tests.infra.golden import golden
from tests.infra.monitoring import alarm_metrics, alarms, dashboard_metrics
from tests.infra.resolution import Resolution

PAGES = [page for each in ("*.md", "docs/*.md", "examples/*/*.md") for page in ROOT.glob(each)]
CONNECTOR, SUBSCRIBER = load(), load(EXAMPLE)
STACK = Resolution(golden("connector"))
OPERATIONS, COSTS, FIRST_DEPLOY = (
    (ROOT / "docs" / f"{name}.md").read_text("utf-8")
    for name in ("operations", "quotas-and-costs", "first-deploy")
)
# The rows are | item | quantity | price | cost | and | **name** | | | **sum** |.
PRICED = re.compile(r"^\| (.+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$", re.MULTILINE)
TOTAL = re.compile(r"^\| \*\*.+\*\* \| \| \| \*\*([\d.]+)\*\* \|$", re.MULTILINE)
# Names in the form of the template's that belong to AWS.
OF_AWS = {
    *("CachingDisabled", "AllViewerExceptHostHeader"),  # policies of CloudFront
    *("AccessDeniedException", "AuthorizationError", "ReadTimeoutError", "ThrottlingException"),
    "RedriveAllowPolicy",
}


def _shell(text: str) -> list[str]:
    return re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


COMMANDS = "".join(_shell(FIRST_DEPLOY))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_shell_blocks_are_valid_bash(page: Path) -> None:
    for block in _shell(page.read_text("utf-8")):
        subprocess.run(["bash", "-n"], input=block, text=True, check=True)  # noqa: S607 - any bash


@pytest.mark.parametrize(
    ("folder", "template"),
    [(ROOT, CONNECTOR), (EXAMPLE.parent, SUBSCRIBER)],
    ids=["", "subscriber"],
)
def test_readme_lists_parameters_and_outputs(folder: Path, template: Template) -> None:
    readme = (folder / "README.md").read_text("utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", readme, re.MULTILINE))

    for name, parameter in template["Parameters"].items():
        assert rows[name].strip("`") == str(parameter.get("Default") or "none")
    assert [name for name in template["Outputs"] if f"`{name}`" not in readme] == []


# ---------------------------------------------------------------- docs/operations.md


def test_every_alarm_has_a_row_that_says_who_sets_it_off() -> None:
    rows = dict(re.findall(r"^\| `(\w+Alarm)` \|.* \| (.+) \|$", OPERATIONS, re.MULTILINE))

    assert list(rows) == list(alarms(STACK))
    for name, alarm in alarms(STACK).items():
        assert ("set this alarm off" in alarm["AlarmDescription"]) == (rows[name] != "nobody")


def test_every_name_exists_in_template_or_metrics() -> None:
    named = set(re.findall(r"`((?:[A-Z][a-z]+){2,})`", OPERATIONS + COSTS))
    parts = [CONNECTOR[section].keys() for section in ("Parameters", "Resources", "Outputs")]
    [sid] = re.findall(r"statement \*(\w+)\*", OPERATIONS)

    assert named - OF_AWS <= set(_strings("count")).union(*parts)
    assert f'"Sid": "{sid}"' in repr(CONNECTOR["Resources"]["StateTable"]).replace("'", '"')


def test_every_metric_and_log_message_has_a_row() -> None:
    levels = [f"self._logger.{level}" for level in ("info", "warning", "error", "exception")]
    messages = {message.replace("%s", "…") for message in _strings(*levels)}

    assert sorted(_rows("Metrics")) == sorted(set(_strings("count")))
    assert set(_rows("Metrics")) <= {metric.name for metric in dashboard_metrics(STACK)}
    assert sorted(_rows("Log lines")) == sorted(messages)


def _rows(title: str) -> list[str]:
    """Return the code in the first cell of each row of the table in the section *title*."""
    [section] = re.findall(rf"^## {title}$(.*?)^## ", OPERATIONS, re.MULTILINE | re.DOTALL)
    return re.findall(r"^\| `(.+?)` \|", section, re.MULTILINE)


def _strings(*calls: str) -> Iterator[str]:
    """Yield the strings in the first argument of each call of *calls* in functions/."""
    for path in (ROOT / "functions").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and node.args and ast.unparse(node.func) in calls:
                for each in ast.walk(node.args[0]):
                    if isinstance(each, ast.Constant) and isinstance(each.value, str):
                        yield each.value


def test_documented_values_reach_sam_whole() -> None:
    """SAM cuts a value at its first space, without an error, unless the value has quotes.

    The pattern is that of the SAM CLI 1.170 (``samcli.cli.types.CfnParameterOverridesType``).
    """
    commands = re.findall(r"--parameter-overrides (.+)$", OPERATIONS, re.MULTILINE)
    values = [value for command in commands for value in shlex.split(command)]

    assert any(" " in value for value in values)
    assert [value for value in values if not re.fullmatch(r'\w+=("[^"]*"|[^ "]+)', value)] == []


# --------------------------------------------------------- docs/quotas-and-costs.md


def test_costs_are_products_and_add_up() -> None:
    for _, quantity, price, cost in PRICED.findall(COSTS):
        assert f"{float(quantity) * float(price):.2f}" == cost
    for table in re.findall(r"(?:^\|.*\n)+", COSTS, re.MULTILINE):
        for total in TOTAL.findall(table):
            assert f"{sum(float(row[3]) for row in PRICED.findall(table)):.2f}" == total
    assert len(TOTAL.findall(COSTS)) == 2


def test_quantities_and_limits_match_the_template() -> None:
    gigabytes = STACK.resources["StartFunction"]["Properties"]["MemorySize"] / 1024
    ours = [each for each in dashboard_metrics(STACK) if each.namespace == "qonto-connect"]
    stage = STACK.resources["HttpApiStage"]["Properties"]
    limits = {"GET /start": stage["DefaultRouteSettings"]} | stage["RouteSettings"]

    for item, expected in (
        ("metrics of ours", len(ours)),
        ("metrics watched by alarms", sum(map(len, alarm_metrics(STACK).values()))),
        ("Lambda arm64, GB-seconds:", round(2_000_000 * 0.1 * gigabytes)),
        ("Lambda arm64, GB-seconds of INIT", round(200_000 * 0.4 * gigabytes)),
    ):
        assert [float(row[1]) for row in PRICED.findall(COSTS) if row[0].startswith(item)] == [
            expected
        ]
    assert re.findall(r"^\| `(GET .+?)` \| (\d+) \| (\d+) \|", COSTS, re.MULTILINE) == [
        (route, str(limit["ThrottlingRateLimit"]), str(limit["ThrottlingBurstLimit"]))
        for route, limit in limits.items()
    ]


# -------------------------------------------------------------- docs/first-deploy.md


def test_aws_commands_and_their_options_exist() -> None:
    session = botocore.session.get_session()
    of_the_cli = {"cli_binary_format", "max_items", "output", "query"}
    of_the_cli |= {"notification_endpoint", "parameter_overrides", "template_file"}
    for command in COMMANDS.replace("\\\n", " ").split("aws ")[1:]:
        line, _, _ = command.partition("\n")
        service, operation, *_ = line.split()
        model = session.get_service_model(service)
        operations = {xform_name(name, "-"): name for name in model.operation_names}
        name = operations[operation.replace("deploy", "create-stack")]
        shape = model.operation_model(name).input_shape
        members = {xform_name(member) for member in shape.members} if shape else set()
        options = {option.replace("-", "_") for option in re.findall(r"--([a-z-]+)", line)}
        assert options <= members | of_the_cli, line


def test_printed_failure_hides_the_account_id() -> None:
    """Its reason goes into an issue."""
    reason = "User: arn:aws:sts::123456789012:assumed-role/admin is not authorized"
    [function] = re.findall(r"^failures\(\).*$", COMMANDS, re.MULTILINE)
    script = f"aws() {{ echo '{reason}'; }}; {function}\nfailures stack"

    printed = subprocess.run(["bash", "-c", script], stdout=subprocess.PIPE, check=True)  # noqa: S607

    assert printed.stdout.decode().strip() == reason.replace("123456789012", "…")


def test_every_name_exists_in_its_template() -> None:
    for section, function in (("Outputs", "output"), ("Resources", "resource")):
        for name, of_subscriber in re.findall(rf'\({function} (\w+)( "\$STACK-sub")?', COMMANDS):
            if name != "Host":  # an output of the CDN's stack
                assert name in (SUBSCRIBER if of_subscriber else CONNECTOR)[section]


def test_points_are_those_of_tests_or_have_a_report() -> None:
    tests = "".join(path.read_text("utf-8") for path in (ROOT / "tests" / "e2e").glob("test_*.py"))
    titles = re.findall(r'^@pytest\.mark\.point\("(.+)"\)$', tests, re.MULTILINE)

    assert sorted(report.CHECKED_POINTS) == sorted(titles)
    for title in report.POINTS_BY_HAND:
        section = FIRST_DEPLOY.split(f"\n### {title}\n")[1].partition("\n##")[0]
        assert section.count("Report: ") == 1
