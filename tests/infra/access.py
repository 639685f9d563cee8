"""Reads access.toml, who may do what, and has both stacks' policies evaluated against it.

To write its tables into docs/access.md: `PYTHONPATH=functions .venv/bin/python -m
tests.infra.access`.
"""

import json
import re
import subprocess
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import product
from pathlib import Path

from demo.template import ROOT, Json
from tests.infra.golden import STACKS
from tests.support.resolution import PSEUDO, Resolution

HERE = Path(__file__).parent
PAGE = ROOT / "docs" / "access.md"
DATA = tomllib.loads((HERE / "access.toml").read_text("utf-8"))
ROWS: dict[str, list[Json]] = DATA["rows"]
_NAMES = {f"{name}.Arn": arn for name, arn in DATA["arns"].items()} | DATA["arns"]
_NAME = re.compile(r'"(\w++(?:\.Arn)?+)(?!": )')  # a path, a version or a wildcard may follow it
# The evaluator does not know the keys of an encryption context. It gets instead a key that it knows
# and that no policy has.
_UNKNOWN_KEY = ("kms:EncryptionContext:aws:dynamodb:tableName", "kms:CallerAccount")

type _Step = tuple[str, str, dict[str, str]]  # an AWS action, its resource, and condition keys


def page() -> str:
    """Return docs/access.md with its tables written again from access.toml."""
    text = PAGE.read_text("utf-8")
    for name, columns in DATA["columns"].items():
        lines = [["", *columns], ["---"] * (len(columns) + 1)]
        lines += [
            [row["action"], *("yes" if column in row["may"] else "no" for column in columns)]
            for row in ROWS[name]
        ]
        table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        marked = rf"(<!-- begin access of {name} -->\n\n).*?(\n\n<!-- end access of {name} -->)"
        text, count = re.subn(marked, rf"\1{table}\2", text, flags=re.DOTALL)
        assert count == 1, name
    return text


def statements() -> list[str]:
    """Return every statement of the policies, as its resource's logical id, a dot and its Sid."""
    return [
        f"{logical_id}.{statement['Sid']}"
        for logical_id, resource in _resources("").items()
        for document in _policies(resource)
        for statement in document["Statement"]
    ]


def differences(tables: Mapping[str, list[Json]], without: str = "") -> list[str]:
    """Evaluate the policies, and return what they decide otherwise than the rows of *tables* say.

    The statement *without* is left out of them.
    """
    cases, simulations = [], []
    for name, row in [(name, row) for name, rows in tables.items() for row in rows]:
        ways = [_steps(way) for way in row.get("together", [])]
        ways += [[step] for step in _steps(row.get("each", []))]
        resources = _resources(without, **row.get("parameters", {}))
        for way, (column, principals) in product(ways, DATA["columns"][name].items()):
            for principal in principals:
                cases.append((row, way, column))
                by = row.get("by", principal)
                simulations += [_simulation(step, by, resources) for step in way]
    node = subprocess.run(
        ["node", HERE / "simulate.mjs"],  # noqa: S607 - from the path
        input=json.dumps(simulations),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    allowed = iter(json.loads(node.stdout))
    found = []
    for row, way, column in cases:
        decisions = [next(allowed) for _ in way]
        if all(decisions) != (column in row["may"]):
            actions = ", ".join(action for action, *_ in way)
            found.append(f"{row['action']} ({actions}): {column} {all(decisions)}")
    return found


def _steps(texts: list[str]) -> list[_Step]:
    steps = []
    for text in texts:
        actions, resource, keys = map(str.strip, f"{text}|".split("|")[:3])
        service, _, names = DATA["actions"].get(actions, actions).partition(":")
        steps += [(f"{service}:{name}", resource, _keys(keys)) for name in names.split()]
    return steps


def _keys(text: str) -> dict[str, str]:
    words = (DATA["keys"].get(word, word) for word in text.split())
    return {key: value for key, _, value in (word.partition("=") for word in words)}


def _simulation(step: _Step, by: str, resources: dict[str, Json]) -> Json:
    principal = DATA["principals"][by]
    action, arn, keys = step
    name, policy = principal["name"], DATA["policies"].get(arn)
    if not arn.startswith("arn:"):
        logical_id = re.split(r"\W", arn)[0]
        arn, policy = _named(arn), _policy_of(resources, logical_id)
        if action == "sts:AssumeRole":
            policy = resources[logical_id]["Properties"]["AssumeRolePolicyDocument"]
    own = None
    if "policy" in principal:
        own = resources[principal["policy"]]["Properties"]["PolicyDocument"]
    elif "may" in principal:
        allow: Json = {"Effect": "Allow", "Action": principal["may"].split(), "Resource": "*"}
        own = {"Version": "2012-10-17", "Statement": [allow]}
        if not name.startswith("arn:"):  # a service has no policy of its own
            allow["Principal"] = {"Service": name}
            own, policy = None, policy | {"Statement": [*policy["Statement"], allow]}
    keys = {"aws:SecureTransport": "true"} | _keys(principal.get("keys", "")) | keys
    if name.startswith("arn:"):  # an anonymous request has no keys that name its principal
        keys |= {"aws:PrincipalIsAWSService": "false", "aws:PrincipalArn": name}
    elif name:
        keys["aws:PrincipalIsAWSService"] = "true"
    account = arn.split(":")[4] or PSEUDO["AWS::AccountId"]
    return {
        "request": {
            "principal": name or {"type": "Anonymous"},
            "action": action,
            "resource": {"resource": arn, "accountId": account},
            "contextVariables": _named(keys),
        },
        "identityPolicies": [{"name": "own", "policy": own}] if own else [],
        "resourcePolicy": policy,
        "serviceControlPolicies": [],
        "resourceControlPolicies": [],
    }


@cache
def _resources(without: str, **parameters: str) -> dict[str, Json]:
    """Return the resources of both stacks, with ARNs for the logical ids in their policies."""
    found: dict[str, Json] = {}
    for template in STACKS.values():
        found |= Resolution(template, **DATA["parameters"] | parameters).resources
    logical_id, _, sid = without.partition(".")
    for document in _policies(found.get(logical_id)):
        document["Statement"] = [each for each in document["Statement"] if each["Sid"] != sid]
    return dict(_named(found))


def _named(value: Json) -> Json:
    """Return *value* with an ARN for each logical id that begins a string, but is no name."""
    text = _NAME.sub(lambda found: f'"{_NAMES.get(found[1], found[1])}', json.dumps(value))
    return json.loads(text.replace(*_UNKNOWN_KEY))


def _policy_of(resources: dict[str, Json], logical_id: str) -> Json:
    """Return the resource policy of the resource *logical_id*, or None."""
    for name, resource in resources.items():
        properties = resource["Properties"]
        owners = [*properties.get("Topics", []), *properties.get("Queues", [])]
        owners += [properties.get("SecretId"), properties.get("ResourceArn")]
        if name == logical_id or _NAMES[logical_id] in owners:
            for document in _policies(resource):
                return document
    return None


def _policies(value: Json) -> Iterator[Json]:
    """Yield the policy documents in *value*, but not those that say who may assume a role."""
    match value:
        case {"Statement": _}:
            yield value
        case dict():
            for key, member in value.items():
                if key != "AssumeRolePolicyDocument":
                    yield from _policies(member)


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
