"""The pages name parts that exist, their sums are right, and their commands can run."""

import re
import subprocess
import tomllib
from pathlib import Path

import botocore.session
import pytest
from botocore import xform_name

from demo.template import EXAMPLE, ROOT, load
from tests.infra.golden import STACKS
from tests.support.monitoring import alarm_metrics, alarms, dashboard_metrics
from tests.support.resolution import Resolution

PAGES = {
    str(page.relative_to(ROOT)): page.read_text("utf-8")
    for each in ("*.md", "docs/*.md", "docs/adr/*.md", "examples/*/*.md")
    for page in ROOT.glob(each)
}
OPERATIONS = PAGES["docs/operations.md"]
TROUBLESHOOTING = PAGES["docs/troubleshooting.md"]
BLOCKS = {name: re.findall(r"(?ms)^```sh\n(.*?)^```", text) for name, text in PAGES.items()}
COMMANDS = "".join(BLOCKS["docs/first-deploy.md"])
TEMPLATES = {"docs/deploy.md": load(), "examples/subscriber/README.md": load(EXAMPLE)}
CONNECTOR, SUBSCRIBER = TEMPLATES.values()
STACK = Resolution(STACKS["connector"])
OURS = "qonto-connect"  # the namespace of our metrics
# | item | quantity | price | cost |; the sum of a table has a name in bold and no other numbers.
PRICED = re.compile(r"^\| (.+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$", re.MULTILINE)
TOTAL = re.compile(r"^\| \*\*.+\*\* \| \| \| \*\*([\d.]+)\*\* \|$", re.MULTILINE)
# Names in the form of the template's that belong to AWS.
OF_AWS = {
    *("CachingDisabled", "AllViewerExceptHostHeader", "RedriveAllowPolicy"),
    *("AccessDeniedException", "AuthorizationError", "ReadTimeoutError", "ThrottlingException"),
    "NoRegionError",
}


@pytest.mark.parametrize("page", PAGES)
def test_shell_blocks_are_valid_bash(page: str) -> None:
    for block in BLOCKS[page]:
        subprocess.run(["bash", "-n"], input=block, text=True, check=True)  # noqa: S607


def _headings(path: Path) -> set[str]:
    """Return the anchors of a page, as GitHub makes them."""
    titles = re.findall(r"(?m)^#+ (.+)$", path.read_text("utf-8"))
    return {re.sub(r"[^\w\- ]", "", title).strip().lower().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files_and_headings(page: str) -> None:
    text = re.sub(r"(?s)```.*?```", "", PAGES[page])
    for link in re.findall(r"\]\((?!https?:)(\S+?)\)|^\[\w+\]: (\S+)", text, re.MULTILINE):
        name, _, heading = "".join(link).partition("#")
        path = (ROOT / page).parent / name if name else ROOT / page
        assert path.exists(), link
        assert not heading or heading in _headings(path), link


@pytest.mark.parametrize("page", TEMPLATES)
def test_page_lists_parameters_and_outputs(page: str) -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", PAGES[page], re.MULTILINE))

    for name, parameter in TEMPLATES[page]["Parameters"].items():
        assert rows[name].strip("`") == str(parameter.get("Default") or "none")
    assert [name for name in TEMPLATES[page]["Outputs"] if f"`{name}`" not in PAGES[page]] == []


def test_troubleshooting_names_every_alarm_and_metric() -> None:
    metrics = {each.name for each in dashboard_metrics(STACK) if each.namespace == OURS}
    rows = set(re.findall(r"(?m)^\| `(\w+)` \|", TROUBLESHOOTING))
    named = set(re.findall(r"`((?:[A-Z][a-z]+){2,})`", OPERATIONS + TROUBLESHOOTING))
    sections = ("Parameters", "Resources", "Outputs")
    parts = [part[section].keys() for part in (CONNECTOR, SUBSCRIBER) for section in sections]

    assert {*alarms(STACK), *metrics} <= rows
    assert named - OF_AWS <= metrics.union(*parts)
    [sid] = re.findall(r"statement \*(\w+)\*", OPERATIONS)
    assert f"'Sid': '{sid}'" in repr(CONNECTOR["Resources"]["StateTable"])


def test_troubleshooting_names_every_page_with_its_status() -> None:
    rows = re.findall(r"(?m)^\| \*(.+?)\* \| `.+?`, (\d+) \|", TROUBLESHOOTING)
    catalogue = tomllib.loads((ROOT / "functions" / "pages" / "catalogue.toml").read_text("utf-8"))
    pages = [page for name, page in catalogue.items() if name != "words"]

    assert sorted(rows) == sorted((page["en"]["title"], str(page["status"])) for page in pages)


def test_costs_are_products_and_add_up() -> None:
    assert len(TOTAL.findall(OPERATIONS)) == 2
    for table in re.findall(r"(?:^\|.*\n)+", OPERATIONS, re.MULTILINE):
        for _, quantity, price, cost in PRICED.findall(table):
            assert f"{float(quantity) * float(price):.2f}" == cost
        for total in TOTAL.findall(table):
            assert f"{sum(float(row[3]) for row in PRICED.findall(table)):.2f}" == total


def test_quantities_and_limits_match_the_template() -> None:
    gigabytes = STACK.resources["StartFunction"]["Properties"]["MemorySize"] / 1024
    ours = [each for each in dashboard_metrics(STACK) if each.namespace == OURS]
    stage = STACK.resources["HttpApiStage"]["Properties"]
    limits = {"GET /start": stage["DefaultRouteSettings"]} | stage["RouteSettings"]
    quantities = {
        "metrics of ours": len(ours),
        "metrics watched by alarms": sum(map(len, alarm_metrics(STACK).values())),
        "Lambda arm64, GB-seconds:": round(2_000_000 * 0.1 * gigabytes),
        "Lambda arm64, GB-seconds of INIT": round(200_000 * 0.4 * gigabytes),
    }

    for item, quantity in quantities.items():
        [found] = [row[1] for row in PRICED.findall(OPERATIONS) if row[0].startswith(item)]
        assert float(found) == quantity
    assert re.findall(r"(?m)^\| `(GET .+?)` \| (\d+) \| (\d+) \|", OPERATIONS) == [
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


def test_first_deploy_has_a_row_for_each_test_of_a_stack() -> None:
    source = (ROOT / "tests" / "e2e" / "test_first_deploy.py").read_text("utf-8")
    rows = re.findall(r"(?m)^\| `(test_\w+)` \|", PAGES["docs/first-deploy.md"])

    assert rows == re.findall(r"(?m)^def (test_\w+)", source)
