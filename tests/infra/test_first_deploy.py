"""docs/first-deploy.md: its commands exist, its names are the templates', its points the tests'."""

import re
import subprocess
from collections.abc import Iterator
from functools import cache

import botocore.session
import pytest
from botocore import xform_name

from demo.live import EXAMPLE
from demo.template import ROOT, Template, load
from tests.e2e import report

TEXT = report.CHECKLIST.read_text("utf-8")
CODE = "".join(re.findall(r"^```sh\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL))
# The last is the CLI's name of SNS's Endpoint.
OF_THE_CLI = {
    *("--cli-binary-format", "--max-items", "--output", "--query"),
    "--notification-endpoint",
}
# A command of the AWS CLI that is no operation of AWS.
DEPLOY = ("cloudformation", "deploy", {"--parameter-overrides", "--stack-name", "--template-file"})


def _commands() -> Iterator[tuple[str, str, set[str]]]:
    """Yield the service, the operation and the options of each command of the AWS CLI."""
    for line in CODE.replace("\\\n", " ").splitlines():
        for command in line.split("aws ")[1:]:
            service, operation, *_ = command.split()
            yield service, operation, set(re.findall(r"--[a-z-]+", command)) - OF_THE_CLI


@cache
def _operations(service: str) -> dict[str, set[str]]:
    """Return the options of each operation of *service*."""
    model = botocore.session.get_session().get_service_model(service)
    shapes = {name: model.operation_model(name).input_shape for name in model.operation_names}
    return {
        xform_name(name, "-"): {f"--{xform_name(member, '-')}" for member in shape.members}
        for name, shape in shapes.items()
        if shape
    }


@pytest.mark.parametrize(("service", "operation", "options"), list(_commands()))
def test_aws_command_exists(service: str, operation: str, options: set[str]) -> None:
    if (service, operation) == DEPLOY[:2]:
        assert options <= DEPLOY[2]
        return

    assert options <= _operations(service)[operation]


def test_printed_failure_hides_the_account_id() -> None:
    """Its reason goes into an issue."""
    reason = "User: arn:aws:sts::123456789012:assumed-role/admin is not authorized"
    [function] = re.findall(r"^failures\(\).*$", CODE, re.MULTILINE)
    script = f"aws() {{ echo '{reason}'; }}; {function}\nfailures stack"

    printed = subprocess.run(["bash", "-c", script], stdout=subprocess.PIPE, check=True)  # noqa: S607

    assert printed.stdout.decode().strip() == reason.replace("123456789012", "…")


def test_every_name_exists_in_its_template(template: Template) -> None:
    example = load(EXAMPLE)
    for section, function in (("Outputs", "output"), ("Resources", "resource")):
        names = re.findall(rf'\({function} (\w+)( "\$STACK-sub")?', CODE)
        connectors = {name for name, of_subscriber in names if not of_subscriber}
        assert connectors - {"Host"} <= template[section].keys()  # the output of the CDN's stack
        assert {name for name, of_subscriber in names if of_subscriber} <= example[section].keys()


def test_checked_points_are_those_of_tests() -> None:
    tests = "".join(path.read_text("utf-8") for path in (ROOT / "tests" / "e2e").glob("test_*.py"))
    titles = re.findall(r'^@pytest\.mark\.point\("(.+)"\)$', tests, re.MULTILINE)

    assert sorted(report.checked_points()) == sorted(titles)


@pytest.mark.parametrize("title", report.points_by_hand())
def test_point_by_hand_has_one_line_to_report(title: str) -> None:
    _, rest = TEXT.split(f"\n### {title}\n")

    assert rest.partition("\n##")[0].count("Report: ") == 1


def test_report_shows_the_worst_result_of_a_point() -> None:
    a_report = report.Report("connect", "eu-west-3")
    bad, unseen, *_ = report.checked_points()

    for outcome, seen in (("passed", "302"), ("failed", "500"), ("skipped", "302")):
        a_report.record(bad, outcome, seen)

    rows = a_report.markdown().splitlines()
    assert f"| {bad} | **not ok** | 302, 500 |" in rows
    assert f"| {unseen} | unproven | nothing |" in rows
