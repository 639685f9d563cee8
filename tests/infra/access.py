"""Reads access.toml, who may do what, and has both stacks' policies evaluated against it."""

import json
import re
import subprocess
import tomllib
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from demo.template import EXAMPLE, Json, load
from tests.infra.resolution import PSEUDO, Resolution

HERE = Path(__file__).parent
DATA = tomllib.loads((HERE / "access.toml").read_text("utf-8"))
ARNS: dict[str, str] = DATA["arns"]


class Table(NamedTuple):
    """A table of docs/security.md: its rows, and the names of its columns' principals."""

    columns: dict[str, list[str]]
    rows: list[Json]


TABLES = {name: Table(columns, DATA["rows"][name]) for name, columns in DATA["columns"].items()}


class Step(NamedTuple):
    """An AWS action on a resource, with the condition keys of the request."""

    action: str
    resource: str
    keys: dict[str, str]


def _ways(row: Json) -> list[list[Step]]:
    """Return every way to do the action of *row*, as the head of access.toml explains."""
    each = [[step] for text in row.get("each", []) for step in _steps(text)]
    return each + [
        [step for text in way for step in _steps(text)] for way in row.get("together", [])
    ]


def _steps(text: str) -> list[Step]:
    actions, resource, keys = [*(part.strip() for part in text.split("|")), ""][:3]
    service, _, names = DATA["actions"].get(actions, actions).partition(":")
    return [Step(f"{service}:{name}", resource, _keys(keys)) for name in names.split()]


def _keys(text: str) -> dict[str, str]:
    words = (DATA["keys"].get(word, word) for word in text.split())
    return {key: value for key, _, value in (word.partition("=") for word in words)}


_NAMES = {f"{logical_id}.Arn": arn for logical_id, arn in ARNS.items()} | ARNS
_NAME = re.compile(r"^\w+(\.Arn)?")  # a path, a version or a wildcard may follow it
# The evaluator does not know the keys of an encryption context. It gets instead a key that it knows
# and that no policy has.
_KNOWN_KEYS = {"kms:EncryptionContext:aws:dynamodb:tableName": "kms:CallerAccount"}


def statements() -> list[str]:
    """Return every statement of the policies, as its resource's logical id, a dot and its Sid."""
    return [
        f"{logical_id}.{statement['Sid']}"
        for logical_id, resource in _resources("").items()
        for document in _policies(resource)
        for statement in document["Statement"]
    ]


def differences(tables: Iterable[Table], without: str = "") -> list[str]:
    """Evaluate the policies, and return what they decide otherwise than *tables* say.

    The statement *without* is left out of them.
    """
    cases = [
        (row, way, column, principal)
        for table in tables
        for row in table.rows
        for way in _ways(row)
        for column, principals in table.columns.items()
        for principal in principals
    ]
    simulations = [
        _simulation(
            step, row.get("by", principal), _resources(without, **row.get("parameters", {}))
        )
        for row, way, _, principal in cases
        for step in way
    ]
    node = subprocess.run(
        ["node", HERE / "simulate.mjs"],  # noqa: S607 - from the path
        input=json.dumps(simulations),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    allowed = iter(json.loads(node.stdout))
    decided = [all(list(islice(allowed, len(way)))) for _, way, *_ in cases]
    return [
        f"{row['action']} ({', '.join(step.action for step in way)}): {column} {decision}"
        for (row, way, column, _), decision in zip(cases, decided, strict=True)
        if decision != (column in row["may"])
    ]


def _simulation(step: Step, by: str, resources: dict[str, Json]) -> Json:
    principal = DATA["principals"][by]
    arn, policy = step.resource, DATA["policies"].get(step.resource)
    if not arn.startswith("arn:"):
        logical_id = re.split(r"\W", arn)[0]
        arn, policy = _named(arn), _policy_of(resources, logical_id)
        if step.action == "sts:AssumeRole":
            policy = resources[logical_id]["Properties"]["AssumeRolePolicyDocument"]
    own = None
    if "policy" in principal:
        own = resources[principal["policy"]]["Properties"]["PolicyDocument"]
    elif "may" in principal:
        allow: Json = {"Effect": "Allow", "Action": principal["may"].split(), "Resource": "*"}
        own = {"Version": "2012-10-17", "Statement": [allow]}
        if not principal["name"].startswith("arn:"):  # a service has no policy of its own
            allow["Principal"] = {"Service": principal["name"]}
            own, policy = None, policy | {"Statement": [*policy["Statement"], allow]}
    account = arn.split(":")[4] or PSEUDO["AWS::AccountId"]
    return {
        "request": {
            "principal": principal["name"] or {"type": "Anonymous"},
            "action": step.action,
            "resource": {"resource": arn, "accountId": account},
            "contextVariables": _named(_request_keys(principal) | step.keys),
        },
        "identityPolicies": [{"name": "own", "policy": own}] if own else [],
        "resourcePolicy": policy,
        "serviceControlPolicies": [],
        "resourceControlPolicies": [],
    }


def _request_keys(principal: dict[str, str]) -> dict[str, str]:
    """Return the condition keys of *principal*: an anonymous request has none that name it."""
    keys = {"aws:SecureTransport": "true"} | _keys(principal.get("keys", ""))
    if principal["name"].startswith("arn:"):
        keys |= {"aws:PrincipalArn": principal["name"], "aws:PrincipalIsAWSService": "false"}
    elif principal["name"]:
        keys["aws:PrincipalIsAWSService"] = "true"
    return keys


@cache
def _resources(without: str, **parameters: str) -> dict[str, Json]:
    """Return the resources of both stacks, with ARNs for the logical ids in their policies."""
    found: dict[str, Json] = {}
    for template in (load(), load(EXAMPLE)):
        found |= Resolution(template, **DATA["parameters"] | parameters).resources
    logical_id, _, sid = without.partition(".")
    for document in _policies(found.get(logical_id)):
        document["Statement"] = [each for each in document["Statement"] if each["Sid"] != sid]
    return dict(_named(found))


def _named(value: Json) -> Json:
    match value:
        case dict():
            return {_KNOWN_KEYS.get(key, key): _named(member) for key, member in value.items()}
        case list():
            return [_named(member) for member in value]
        case str():
            return _NAME.sub(lambda found: _NAMES.get(found[0], found[0]), value)
    return value


def _policy_of(resources: dict[str, Json], logical_id: str) -> Json:
    """Return the resource policy of the resource *logical_id*, or None."""
    for name, resource in resources.items():
        properties = resource["Properties"]
        owners = [*properties.get("Topics", []), *properties.get("Queues", [])]
        owners += [properties.get("SecretId"), properties.get("ResourceArn")]
        if name == logical_id or ARNS[logical_id] in owners:
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
