"""The pages name parts that exist, their sums are right, and their commands can run."""

import ast
import re
import shlex
import subprocess

import botocore.session
import pytest
from botocore import xform_name

from demo.template import EXAMPLE, ROOT, load
from tests.e2e import report
from tests.infra.golden import STACKS
from tests.infra.monitoring import alarm_metrics, alarms, dashboard_metrics
from tests.infra.resolution import Resolution

PAGES = {
    str(page.relative_to(ROOT)): page.read_text("utf-8")
    for each in ("*.md", "docs/*.md", "examples/*/*.md")
    for page in ROOT.glob(each)
}
OPERATIONS, COSTS = PAGES["docs/operations.md"], PAGES["docs/quotas-and-costs.md"]
FIRST_DEPLOY = PAGES["docs/first-deploy.md"]
BLOCKS = {name: re.findall(r"(?ms)^```sh\n(.*?)^```", text) for name, text in PAGES.items()}
COMMANDS = "".join(BLOCKS["docs/first-deploy.md"])
TEMPLATES = {"README.md": load(), "examples/subscriber/README.md": load(EXAMPLE)}
CONNECTOR, SUBSCRIBER = TEMPLATES.values()
STACK = Resolution(STACKS["connector"])
# | item | quantity | price | cost |; the sum of a table has a name in bold and no other numbers.
PRICED = re.compile(r"^\| (.+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$", re.MULTILINE)
TOTAL = re.compile(r"^\| \*\*.+\*\* \| \| \| \*\*([\d.]+)\*\* \|$", re.MULTILINE)
# Names in the form of the template's that belong to AWS.
OF_AWS = {
    *("CachingDisabled", "AllViewerExceptHostHeader", "RedriveAllowPolicy"),
    *("AccessDeniedException", "AuthorizationError", "ReadTimeoutError", "ThrottlingException"),
}


def _bash(*arguments: str, text: str = "") -> str:
    command = ["bash", *arguments]
    return subprocess.run(command, input=text, stdout=-1, text=True, check=True).stdout.strip()


def _rows(title: str) -> list[str]:
    """Return the code in the first cell of each row of the table in the section *title*."""
    [section] = re.findall(rf"(?ms)^## {title}$(.*?)^## ", OPERATIONS)
    return sorted(re.findall(r"(?m)^\| `(.+?)` \|", section))


def _strings(*calls: str) -> set[str]:
    """Return the strings in the first argument of each call of *calls* in functions/."""
    code = [path.read_text("utf-8") for path in (ROOT / "functions").rglob("*.py")]
    nodes = [node for text in code for node in ast.walk(ast.parse(text))]
    called = [each for each in nodes if isinstance(each, ast.Call) and each.args]
    found = [each.args[0] for each in called if ast.unparse(each.func) in calls]
    parts = [part for each in found for part in ast.walk(each) if isinstance(part, ast.Constant)]
    return {part.value for part in parts if isinstance(part.value, str)}


@pytest.mark.parametrize("page", PAGES)
def test_shell_blocks_are_valid_bash(page: str) -> None:
    for block in BLOCKS[page]:
        _bash("-n", text=block)


@pytest.mark.parametrize("page", TEMPLATES)
def test_readme_lists_parameters_and_outputs(page: str) -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", PAGES[page], re.MULTILINE))

    for name, parameter in TEMPLATES[page]["Parameters"].items():
        assert rows[name].strip("`") == str(parameter.get("Default") or "none")
    assert [name for name in TEMPLATES[page]["Outputs"] if f"`{name}`" not in PAGES[page]] == []


def test_operations_name_every_alarm_metric_and_log_line() -> None:
    rows = dict(re.findall(r"^\| `(\w+Alarm)` \|.* \| (.+) \|$", OPERATIONS, re.MULTILINE))
    levels = [f"self._logger.{level}" for level in ("info", "warning", "error", "exception")]
    metrics = _strings("count")
    named = set(re.findall(r"`((?:[A-Z][a-z]+){2,})`", OPERATIONS + COSTS))
    parts = [CONNECTOR[section].keys() for section in ("Parameters", "Resources", "Outputs")]
    [sid] = re.findall(r"statement \*(\w+)\*", OPERATIONS)

    assert list(rows) == list(alarms(STACK))
    for name, alarm in alarms(STACK).items():
        assert ("set this alarm off" in alarm["AlarmDescription"]) == (rows[name] != "nobody")
    assert _rows("Metrics") == sorted(metrics)
    assert metrics <= {metric.name for metric in dashboard_metrics(STACK)}
    assert _rows("Log lines") == sorted(text.replace("%s", "…") for text in _strings(*levels))
    assert named - OF_AWS <= metrics.union(*parts)
    assert f"'Sid': '{sid}'" in repr(CONNECTOR["Resources"]["StateTable"])


def test_documented_values_reach_sam_whole() -> None:
    """SAM cuts a value without quotes at its first space (``CfnParameterOverridesType``)."""
    commands = re.findall(r"--parameter-overrides (.+)$", OPERATIONS, re.MULTILINE)
    for value in shlex.split(" ".join(commands)):
        assert re.fullmatch(r'\w+=("[^"]*"|[^ "]+)', value)


def test_costs_are_products_and_add_up() -> None:
    assert len(TOTAL.findall(COSTS)) == 2
    for table in re.findall(r"(?:^\|.*\n)+", COSTS, re.MULTILINE):
        for _, quantity, price, cost in PRICED.findall(table):
            assert f"{float(quantity) * float(price):.2f}" == cost
        for total in TOTAL.findall(table):
            assert f"{sum(float(row[3]) for row in PRICED.findall(table)):.2f}" == total


def test_quantities_and_limits_match_the_template() -> None:
    gigabytes = STACK.resources["StartFunction"]["Properties"]["MemorySize"] / 1024
    ours = [each for each in dashboard_metrics(STACK) if each.namespace == "qonto-connect"]
    stage = STACK.resources["HttpApiStage"]["Properties"]
    limits = {"GET /start": stage["DefaultRouteSettings"]} | stage["RouteSettings"]
    quantities = {
        "metrics of ours": len(ours),
        "metrics watched by alarms": sum(map(len, alarm_metrics(STACK).values())),
        "Lambda arm64, GB-seconds:": round(2_000_000 * 0.1 * gigabytes),
        "Lambda arm64, GB-seconds of INIT": round(200_000 * 0.4 * gigabytes),
    }

    for item, quantity in quantities.items():
        [found] = [row[1] for row in PRICED.findall(COSTS) if row[0].startswith(item)]
        assert float(found) == quantity
    assert re.findall(r"(?m)^\| `(GET .+?)` \| (\d+) \| (\d+) \|", COSTS) == [
        (route, str(limit["ThrottlingRateLimit"]), str(limit["ThrottlingBurstLimit"]))
        for route, limit in limits.items()
    ]


def test_aws_commands_and_names_of_first_deploy_exist() -> None:
    session = botocore.session.get_session()
    of_the_cli = {"cli_binary_format", "max_items", "output", "query"}
    of_the_cli |= {"notification_endpoint", "parameter_overrides", "template_file"}
    for command in COMMANDS.replace("\\\n", " ").split("aws ")[1:]:
        line, _, _ = command.partition("\n")
        service, operation, *_ = line.split()
        model = session.get_service_model(service)
        names = {xform_name(name, "-"): name for name in model.operation_names}
        shape = model.operation_model(names[operation.replace("deploy", "create-stack")])
        members = set(map(xform_name, shape.input_shape.members)) if shape.input_shape else set()
        options = {each.replace("-", "_") for each in re.findall(r"--([a-z-]+)", line)}
        assert options <= members | of_the_cli, line
    for section, function in (("Outputs", "output"), ("Resources", "resource")):
        for name, subscriber in re.findall(rf'\({function} (\w+)( "\$STACK-sub")?', COMMANDS):
            if name != "Host":  # an output of the CDN's stack
                assert name in (SUBSCRIBER if subscriber else CONNECTOR)[section]


def test_printed_failure_hides_the_account_id() -> None:
    """Its reason goes into an issue."""
    reason = "User: arn:aws:sts::123456789012:assumed-role/admin is not authorized"
    [function] = re.findall(r"^failures\(\).*$", COMMANDS, re.MULTILINE)

    printed = _bash("-c", f"aws() {{ echo '{reason}'; }}; {function}\nfailures stack")
    assert printed == reason.replace("123456789012", "…")


def test_points_are_those_of_tests_or_have_a_report() -> None:
    tests = "".join(path.read_text("utf-8") for path in (ROOT / "tests" / "e2e").glob("test_*.py"))
    titles = re.findall(r'^@pytest\.mark\.point\("(.+)"\)$', tests, re.MULTILINE)

    assert sorted(report.checked_points()) == sorted(titles)
    for title in report.points_by_hand():
        section = FIRST_DEPLOY.split(f"\n### {title}\n")[1].partition("\n##")[0]
        assert section.count("Report: ") == 1
