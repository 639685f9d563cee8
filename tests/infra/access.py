"""Who may do what with both stacks, and the evaluation of their policies that shows it.

An action of a table is one or more *ways* to do it, each of one or more *steps*. A step is an AWS
action on a resource. A principal may do the action a given way if every step is allowed by its
identity policy together with the resource's own policy.
"""

import json
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import chain, islice
from pathlib import Path

from demo.live import EXAMPLE
from demo.template import ROOT, Json, load
from tests.infra.resolution import PSEUDO, Resolution

ACCOUNT = PSEUDO["AWS::AccountId"]
OTHER = "999999999999"
REGION = PSEUDO["AWS::Region"]
ENDPOINTS = (
    f"https://events.example.com/* arn:aws:sqs:*:{OTHER}:events arn:aws:lambda:*:{OTHER}:function:*"
)


def _arn(service: str, resource: str, account: str = ACCOUNT) -> str:
    return f"arn:aws:{service}:{'' if service == 'iam' else REGION}:{account}:{resource}"


# The ARNs of the resources, by logical id.
ARNS = {
    "StartRole": _arn("iam", "role/start"),
    "CallbackRole": _arn("iam", "role/callback"),
    "StartFunction": _arn("lambda", "function:start"),
    "CallbackFunction": _arn("lambda", "function:callback"),
    "StartLogGroup": _arn("logs", "log-group:start"),
    "CallbackLogGroup": _arn("logs", "log-group:callback"),
    "StateTable": _arn("dynamodb", "table/connect-states"),
    "AuthorizationTopic": _arn("sns", "authorizations"),
    "AuthorizationTopicKey": _arn("kms", "key/topic"),
    "SubscriberRole": _arn("iam", "role/subscriber"),
    "SubscriberFunction": _arn("lambda", "function:subscriber"),
    "SubscriberLogGroup": _arn("logs", "log-group:subscriber"),
    "TokensRole": _arn("iam", "role/tokens"),
    "TokensFunction": _arn("lambda", "function:tokens"),
    "TokensLogGroup": _arn("logs", "log-group:tokens"),
    "ClientSecret": _arn("secretsmanager", "secret:client-AbCdEf"),
    "Queue": _arn("sqs", "queue"),
    "DeadLetterQueue": _arn("sqs", "dead-letters"),
    "QueueKey": _arn("kms", "key/queue"),
    "GrantTable": _arn("dynamodb", "table/connect-grants"),
    "ConnectionTable": _arn("dynamodb", "table/connect-connections"),
    "TableKey": _arn("kms", "key/table"),
}
TOPIC = ARNS["AuthorizationTopic"]
ROLES = ("StartRole", "CallbackRole", "SubscriberRole", "TokensRole")  # of the functions
DATA_TABLES = ("StateTable", "GrantTable", "ConnectionTable")

# -------------------------------------------------------------------- principals


@dataclass(frozen=True)
class Principal:
    """A principal, with what it may do by its own policy and what AWS says of its requests."""

    name: str  # an ARN, the name of a service, or "" for an anonymous request
    policy: str = ""  # its policy's logical id, or the actions that it may do
    context: Mapping[str, str] = field(default_factory=dict)

    @property
    def keys(self) -> dict[str, str]:
        """The condition keys of its requests. Anonymous requests have none of the principal's."""
        keys = {"aws:SecureTransport": "true", **self.context}
        if self.name.startswith("arn:"):
            keys |= {"aws:PrincipalArn": self.name, "aws:PrincipalIsAWSService": "false"}
        elif self.name:
            keys |= {"aws:PrincipalIsAWSService": "true"}
        return keys


START = Principal(ARNS["StartRole"], "StartPolicy")
CALLBACK = Principal(ARNS["CallbackRole"], "CallbackPolicy")
SUBSCRIBER_FUNCTION = Principal(ARNS["SubscriberRole"], "SubscriberPolicy")
TOKENS_FUNCTION = Principal(ARNS["TokensRole"], "TokensPolicy")
APP = Principal(_arn("iam", "role/app"))
READER = Principal(_arn("iam", "role/reader"))
OPERATOR = Principal(_arn("iam", "role/operator"))
DEVELOPER = Principal(
    _arn("iam", "role/developer"), "dynamodb:* kms:* secretsmanager:* sns:* sqs:*"
)
ADMINISTRATOR = Principal(_arn("iam", "role/administrator"), "*")
OUTSIDERS = (Principal(_arn("iam", "role/administrator", OTHER), "*"), Principal(""))
DEPLOYER = Principal(
    ADMINISTRATOR.name, "*", {"aws:CalledViaFirst": "cloudformation.amazonaws.com"}
)
SERVICE_ROLE = Principal(_arn("iam", "role/deploys"), "*")
SNS = Principal("sns.amazonaws.com", context={"aws:SourceArn": TOPIC})
SNS_OF_OTHER_TOPIC = Principal(SNS.name, context={"aws:SourceArn": _arn("sns", "other")})
LAMBDA = Principal("lambda.amazonaws.com")
DYNAMODB = Principal("dynamodb.amazonaws.com", "dynamodb:DeleteItem")
REPLICATION = Principal(
    _arn("iam", "role/aws-service-role/replication.dynamodb.amazonaws.com/replication"),
    "dynamodb:*",
)

# ------------------------------------------------------------------------ actions


@dataclass(frozen=True)
class Step:
    """An AWS action on a resource: a logical id with an optional path or version, or an ARN."""

    action: str
    resource: str
    context: Mapping[str, str] = field(default_factory=dict)
    by: Principal | None = None  # who does it, if not the principal of the column
    policy: Json = None  # the resource's policy, if it is in no template


type Way = tuple[Step, ...]


@dataclass(frozen=True)
class Row:
    """An action, the columns of those who may do it, and every way to do it."""

    action: str
    may: frozenset[str]
    ways: tuple[Way, ...]
    parameters: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    """A table of docs/security.md: its actions, and the principals of its columns."""

    columns: Mapping[str, tuple[Principal, ...]]
    rows: tuple[Row, ...]


def _row(action: str, may: str, *ways: Way, **parameters: str) -> Row:
    return Row(action, frozenset(filter(None, may.split(", "))), ways, parameters)


def _each(resource: str, actions: str, context: Mapping[str, str] | None = None) -> tuple[Way, ...]:
    """Return a way for each of *actions*, of the form ``service:One Two``."""
    service, _, names = actions.partition(":")
    return tuple((Step(f"{service}:{name}", resource, context or {}),) for name in names.split())


def _subscribe(protocol: str, *endpoints: str) -> tuple[Way, ...]:
    return tuple(
        (
            Step(
                "sns:Subscribe",
                "AuthorizationTopic",
                {"sns:Protocol": protocol, "sns:Endpoint": endpoint},
            ),
        )
        for endpoint in endpoints
    )


def _key(key: str, actions: str, via: str, table: str = "") -> Way:
    context = {"kms:ViaService": f"{via}.{REGION}.amazonaws.com"}
    if table:
        context[TABLE_NAME] = table
    return tuple(Step(f"kms:{action}", key, context) for action in actions.split())


def _stream(table: str) -> Way:
    return (
        Step("dynamodb:UpdateTable", table),
        Step("dynamodb:GetShardIterator", f"{table}/stream/new"),
        Step("dynamodb:GetRecords", f"{table}/stream/new"),
    )


def _deleted(table: str) -> Way:
    """Return the steps to restore a deleted table. No policy of the table is left."""
    new = _arn("dynamodb", "table/new")
    return (
        Step("dynamodb:RestoreTableFromBackup", f"{ARNS[table]}/backup/deleted"),
        *chain(*_each(new, "dynamodb:RestoreTableFromBackup Scan")),
    )


TABLE_NAME = "kms:EncryptionContext:aws:dynamodb:tableName"
HTTP = {"aws:SecureTransport": "false"}
BULK_READS = "dynamodb:BatchGetItem ConditionCheckItem PartiQLSelect Scan"
BULK_WRITES = "dynamodb:BatchWriteItem PartiQLDelete PartiQLInsert PartiQLUpdate"
COPIES = (
    "dynamodb:CreateBackup EnableKinesisStreamingDestination ExportTableToPointInTime"
    " RestoreTableToPointInTime UpdateContributorInsights"
)
MANAGE_TABLE = (
    "dynamodb:DeleteResourcePolicy DeleteTable DescribeTable GetResourcePolicy PutResourcePolicy"
    " TagResource UpdateContinuousBackups UpdateTable UpdateTimeToLive"
)
MANAGE_KEY = (
    "kms:DescribeKey EnableKeyRotation GetKeyPolicy PutKeyPolicy ScheduleKeyDeletion TagResource"
    " UpdateKeyDescription"
)
MANAGE_QUEUE = "sqs:DeleteQueue SetQueueAttributes TagQueue"
CHANGE_ROLE = "iam:PassRole PutRolePolicy UpdateAssumeRolePolicy"
CHANGE_FUNCTION = (
    "lambda:DeleteResourcePolicy PutResourcePolicy RemovePermission UpdateFunctionCode"
    " UpdateFunctionConfiguration"
)
ADD_DESTINATION = "lambda:PutFunctionEventInvokeConfig UpdateFunctionEventInvokeConfig"
USE_KEY = "kms:CreateGrant Decrypt Encrypt GenerateDataKey ReEncryptFrom ReEncryptTo"
MANAGERS = "developer, administrator, CloudFormation"
OWNERS = "administrator, CloudFormation"

PUBLISH = (
    Step("sns:Publish", "AuthorizationTopic"),
    *_key("AuthorizationTopicKey", "Decrypt GenerateDataKey", "sns"),
)
OWN_KEY = _arn("kms", "key/own")
DEFAULT = {
    "Version": "2012-10-17",
    "Statement": {
        "Effect": "Allow",
        "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"},
        "Action": "kms:*",
        "Resource": "*",
    },
}
ALLOWS_SNS_TO_SEND = {
    "Version": "2012-10-17",
    "Statement": {
        "Effect": "Allow",
        "Principal": {"Service": SNS.name},
        "Action": "sqs:SendMessage",
        "Resource": "*",
    },
}

CONNECTOR = Table(
    {
        "start": (START,),
        "callback": (CALLBACK,),
        "developer": (DEVELOPER,),
        "administrator": (ADMINISTRATOR,),
        "outsider": OUTSIDERS,
        "CloudFormation": (DEPLOYER, SERVICE_ROLE),
    },
    (
        _row("Publish an event", "callback", PUBLISH),
        _row(
            "Publish an event, with `TopicKeyArn`",
            "callback",
            (
                PUBLISH[0],
                *(replace(step, resource=OWN_KEY, policy=DEFAULT) for step in PUBLISH[1:]),
            ),
            TopicKeyArn=OWN_KEY,
        ),
        _row(
            "Publish, or read or write the table, over plain HTTP",
            "",
            *_each("AuthorizationTopic", "sns:Publish", HTTP),
            *_each("StateTable", "dynamodb:DeleteItem GetItem PutItem UpdateItem", HTTP),
        ),
        _row(
            "Use the topic's key, other than by SNS",
            "",
            *_each("AuthorizationTopicKey", USE_KEY),
            *((step,) for step in _key("AuthorizationTopicKey", "Decrypt", "dynamodb")),
        ),
        _row(
            "Subscribe a queue, function or delivery stream of the account, in any region",
            MANAGERS,
            *_subscribe("sqs", _arn("sqs", "any"), f"arn:aws:sqs:us-east-1:{ACCOUNT}:any"),
            *_subscribe("lambda", _arn("lambda", "function:any")),
            *_subscribe("firehose", _arn("firehose", "deliverystream/any")),
        ),
        _row(
            "Subscribe one of another account, or an `https` address",
            "",
            *_subscribe("sqs", _arn("sqs", "events", OTHER)),
            *_subscribe("lambda", _arn("lambda", "function:any", OTHER)),
            *_subscribe("firehose", _arn("firehose", "deliverystream/any", OTHER)),
            *_subscribe("https", "https://events.example.com/qonto"),
        ),
        _row(
            "Subscribe an endpoint that `SubscriberEndpoints` names",
            MANAGERS,
            *_subscribe("sqs", _arn("sqs", "events", OTHER)),
            *_subscribe("https", "https://events.example.com/qonto"),
            SubscriberEndpoints=ENDPOINTS,
        ),
        _row(
            "Subscribe an endpoint that `SubscriberEndpoints` does not name",
            "",
            *_subscribe("sqs", _arn("sqs", "others", OTHER)),
            # The name and the alias of a function of a third account.
            *_subscribe("lambda", _arn("lambda", f"function:{OTHER}:function", "888888888888")),
            *_subscribe(
                "https", "https://other.example.com/qonto", "https://events.example.com.other.com/"
            ),
            SubscriberEndpoints=ENDPOINTS,
        ),
        _row(
            "Subscribe by e-mail, SMS, push notification or plain HTTP",
            "",
            *_subscribe("email", "mallory@example.com", "https://events.example.com/@mallory.com"),
            *_subscribe("email-json", "mallory@example.com"),
            *_subscribe("sms", "+33123456789"),
            *_subscribe("application", _arn("sns", "endpoint/GCM/app/device")),
            *_subscribe("http", "http://events.example.com/qonto"),
            SubscriberEndpoints=ENDPOINTS,
        ),
        _row("Read an item of the table", "callback", *_each("StateTable", "dynamodb:GetItem")),
        _row("Query, scan or read in bulk", "", *_each("StateTable", f"{BULK_READS} Query")),
        _row("Put an item", "start, callback", *_each("StateTable", "dynamodb:PutItem")),
        _row(
            "Update or delete an item",
            "callback",
            *_each("StateTable", "dynamodb:DeleteItem UpdateItem"),
        ),
        _row("Write in bulk", "", *_each("StateTable", BULK_WRITES)),
        _row(
            "Back up, export or restore the table, stream it to Kinesis, or list its busiest keys",
            "",
            *_each("StateTable", COPIES),
        ),
        _row(
            "Add an index and query it",
            "",
            (
                Step("dynamodb:UpdateTable", "StateTable"),
                Step("dynamodb:Query", "StateTable/index/new"),
            ),
        ),
        _row(
            "Assume the functions' roles",
            "",
            *((Step("sts:AssumeRole", role),) for role in ROLES),
        ),
        _row(
            "**Not stopped:** update or delete table, topic and key, or change their policies",
            MANAGERS,
            *_each("StateTable", MANAGE_TABLE),
            *_each(
                "AuthorizationTopic",
                "sns:AddPermission DeleteTopic GetTopicAttributes RemovePermission"
                " SetTopicAttributes TagResource",
            ),
            *_each("AuthorizationTopicKey", MANAGE_KEY),
        ),
        _row(
            "**Not stopped:** change the functions' roles, code, environment or policies, the"
            " example subscriber's too, or give such a role to a function of one's own",
            OWNERS,
            *_each("CallbackRole", CHANGE_ROLE),
            *_each("CallbackFunction", CHANGE_FUNCTION),
            *_each("TokensRole", CHANGE_ROLE),
            *_each("TokensFunction", CHANGE_FUNCTION),
        ),
        _row(
            "**Not stopped:** invoke a function with a made-up request; the example's"
            " `SubscriberFunction` with a made-up event or confirmation; its `TokensFunction`"
            " by the deprecated `InvokeAsync`, which returns no response",
            OWNERS,
            *_each("CallbackFunction", "lambda:InvokeFunction"),
            *_each("SubscriberFunction", "lambda:InvokeFunction"),
            *_each("TokensFunction", "lambda:InvokeAsync"),  # no function's policy can deny it
        ),
        _row(
            "**Not stopped:** turn on the table's stream and read it",
            MANAGERS,
            _stream("StateTable"),
        ),
        _row(
            "**Not stopped:** copy the table with AWS Backup's advanced features, or restore what"
            " point-in-time recovery keeps of a deleted table",
            MANAGERS,
            *_each("StateTable", "dynamodb:StartAwsBackupJob"),
            (
                *chain(*_each("StateTable", "dynamodb:UpdateContinuousBackups DeleteTable")),
                *_deleted("StateTable"),
            ),
        ),
        _row(
            "**Not stopped:** end a subscription, or give it another filter or dead-letter queue",
            MANAGERS,
            *_each("AuthorizationTopic", "sns:SetSubscriptionAttributes Unsubscribe"),
        ),
        _row(
            "**Not stopped:** read or send on what a subscriber of the account received",
            MANAGERS,
            *_each(_arn("sqs", "any"), "sqs:ReceiveMessage"),
        ),
    ),
)

TOKENS = "connect-grants"
STATUSES = "connect-connections"
SEND = (Step("sqs:SendMessage", "Queue"), *_key("QueueKey", "Decrypt GenerateDataKey", "sqs"))
FUNCTIONS = "SubscriberFunction, TokensFunction"
STACK_MANAGERS = "anybody else of the account, CloudFormation, CloudFormation's service role"


def _write(action: str) -> Way:
    use_key = _key("TableKey", "Decrypt Encrypt GenerateDataKey", "dynamodb", TOKENS)
    return (Step(action, "GrantTable"), *use_key)


SUBSCRIBER = Table(
    {
        "SubscriberFunction": (SUBSCRIBER_FUNCTION,),
        "TokensFunction": (TOKENS_FUNCTION,),
        "app": (APP,),
        "token reader": (READER,),
        "operator": (OPERATOR,),
        "anybody else of the account": (DEVELOPER, ADMINISTRATOR),
        "outsider": OUTSIDERS,
        "CloudFormation": (DEPLOYER,),
        "CloudFormation's service role": (SERVICE_ROLE,),
    },
    (
        _row(
            "Get an access token from `TokensFunction`, or have it end a connection",
            "token reader",
            *_each("TokensFunction", "lambda:InvokeFunction"),
        ),
        _row(
            "Invoke a version, an alias or a URL of `TokensFunction`",
            "",
            *_each("TokensFunction:1", "lambda:InvokeFunction"),
            *_each("TokensFunction", "lambda:InvokeFunctionUrl"),
            *_each("TokensFunction:alias", "lambda:InvokeFunctionUrl"),
        ),
        _row(
            "Add a destination, which would receive access tokens, to `TokensFunction`",
            "",
            *_each("TokensFunction", ADD_DESTINATION),
            *_each("TokensFunction:1", ADD_DESTINATION),
        ),
        _row(
            "Read or query tokens in the table, refresh tokens among them",
            FUNCTIONS,
            *(
                (*way, *_key("TableKey", "Decrypt", "dynamodb", TOKENS))
                for way in _each("GrantTable", "dynamodb:GetItem Query")
            ),
        ),
        _row("Read tokens in bulk", "", *_each("GrantTable", BULK_READS)),
        _row("Update tokens", FUNCTIONS, _write("dynamodb:UpdateItem")),
        _row("Put tokens", "SubscriberFunction", _write("dynamodb:PutItem")),
        _row(
            "Read the status of an authorization",
            "SubscriberFunction, app",
            (
                Step("dynamodb:GetItem", "ConnectionTable"),
                *_key("TableKey", "Decrypt", "dynamodb", STATUSES),
            ),
        ),
        _row(
            "Update a status, or forge a confirmation in the table",
            FUNCTIONS,
            *_each("ConnectionTable", "dynamodb:UpdateItem"),
        ),
        _row(
            "Put a status",
            "SubscriberFunction",
            *_each("ConnectionTable", "dynamodb:PutItem"),
        ),
        _row(
            "Read statuses in bulk, delete items, or write in bulk",
            "",
            *_each("ConnectionTable", f"{BULK_READS} Query DeleteItem"),
            *_each("GrantTable", "dynamodb:DeleteItem"),
            *_each("ConnectionTable", BULK_WRITES),
            *_each("GrantTable", BULK_WRITES),
        ),
        _row(
            "Back up, export or restore a table, stream it to Kinesis, or list its busiest keys",
            "",
            *_each("GrantTable", COPIES),
            *_each("ConnectionTable", COPIES),
        ),
        _row(
            "Send to the queue: a confirmation, or what `TokensFunction` did not finish",
            "TokensFunction, app, operator",
            SEND,
            SEND[:1],
        ),
        _row(
            "Send to a queue or receive from it over plain HTTP",
            "",
            *_each("Queue", "sqs:SendMessage ReceiveMessage", HTTP),
            *_each("DeadLetterQueue", "sqs:ReceiveMessage", HTTP),
        ),
        _row(
            "Receive from the queue, and delete",
            "SubscriberFunction",
            (Step("sqs:ReceiveMessage", "Queue"), *_key("QueueKey", "Decrypt", "sqs")),
            *_each("Queue", "sqs:DeleteMessage"),
        ),
        _row(
            "Put a message into the dead-letter queue",
            "",
            (
                Step("sqs:SendMessage", "DeadLetterQueue"),
                *_key("QueueKey", "Decrypt GenerateDataKey", "sqs"),
            ),
        ),
        _row(
            "Read dead letters, and move them back",
            "operator",
            *_each("DeadLetterQueue", "sqs:ReceiveMessage"),
            (Step("sqs:ReceiveMessage", "DeadLetterQueue"), *_key("QueueKey", "Decrypt", "sqs")),
            (*chain(*_each("DeadLetterQueue", "sqs:StartMessageMoveTask DeleteMessage")), *SEND),
        ),
        _row(
            "Read the client secret",
            FUNCTIONS,
            *_each("ClientSecret", "secretsmanager:GetSecretValue"),
        ),
        _row(
            "Use the keys, other than by SQS and DynamoDB",
            "",
            *_each("QueueKey", USE_KEY),
            *_each("TableKey", USE_KEY),
        ),
        _row(
            "Create the tables with their key",
            "CloudFormation",
            _key("TableKey", "CreateGrant Decrypt Encrypt GenerateDataKey", "dynamodb", TOKENS),
        ),
        _row(
            "**Not stopped:** update or delete tables, queues, secret and keys, or change their"
            " policies",
            STACK_MANAGERS,
            *_each("GrantTable", MANAGE_TABLE),
            *_each("ConnectionTable", MANAGE_TABLE),
            *_each("Queue", MANAGE_QUEUE),
            *_each("DeadLetterQueue", MANAGE_QUEUE),
            *_each("QueueKey", MANAGE_KEY),
            *_each("TableKey", MANAGE_KEY),
            *_each("ClientSecret", "secretsmanager:DeleteSecret PutResourcePolicy PutSecretValue"),
        ),
        _row(
            "**Not stopped:** turn on a table's stream and read it",
            STACK_MANAGERS,
            *map(_stream, ("GrantTable", "ConnectionTable")),
        ),
        _row(
            "**Not stopped:** copy a table with AWS Backup's advanced features, or restore what"
            " point-in-time recovery keeps of a deleted table",
            STACK_MANAGERS,
            *_each("GrantTable", "dynamodb:StartAwsBackupJob"),
            *_each("ConnectionTable", "dynamodb:StartAwsBackupJob"),
            (Step("dynamodb:DeleteTable", "GrantTable"), *_deleted("GrantTable")),
        ),
    ),
)

# The steps have principals of their own.
SERVICES = Table(
    {"may": (Principal(""),)},
    (
        _row(
            "Lambda runs the functions with their roles",
            "may",
            tuple(Step("sts:AssumeRole", role, by=LAMBDA) for role in ROLES),
        ),
        _row(
            "SNS sends the topic's events to the subscriber's queue",
            "may",
            tuple(replace(step, by=SNS, context={}) for step in SEND),
        ),
        _row(
            "SNS sends messages of another topic to that queue",
            "",
            (replace(SEND[0], by=SNS_OF_OTHER_TOPIC),),
        ),
        _row(
            "DynamoDB deletes expired items, of every table",
            "may",
            tuple(Step("dynamodb:DeleteItem", table, by=DYNAMODB) for table in DATA_TABLES),
        ),
        _row(
            "DynamoDB's replication role copies a table to another region",
            "",
            *(
                (Step(action, table, by=REPLICATION),)
                for table in DATA_TABLES
                for action in ("dynamodb:Scan", "dynamodb:PutItem")
            ),
        ),
        _row(
            "**Not stopped:** SNS sends events to an endpoint of another account that is subscribed"
            " already",
            "may",
            (
                Step(
                    "sqs:SendMessage", _arn("sqs", "old", OTHER), by=SNS, policy=ALLOWS_SNS_TO_SEND
                ),
            ),
        ),
    ),
)

TABLES = {"connector": CONNECTOR, "subscriber": SUBSCRIBER, "services": SERVICES}

# A stack without the parameters that name roles: nobody has the place of these roles.
NO_ROLES = {"AppRoleArn": "", "TokenReaderRoleArn": "", "OperatorRoleArn": ""}
WITHOUT_ROLES = replace(
    SUBSCRIBER,
    rows=tuple(
        replace(row, may=row.may - {"app", "token reader", "operator"}, parameters=NO_ROLES)
        for row in SUBSCRIBER.rows
    ),
)

# --------------------------------------------------------------------- evaluation

PARAMETERS = {
    "TopicArn": TOPIC,
    "AppRoleArn": APP.name,
    "TokenReaderRoleArn": READER.name,
    "OperatorRoleArn": OPERATOR.name,
}

_SIMULATE = Path(__file__).with_name("simulate.mjs")
_NAMES = {f"{logical_id}.Arn": arn for logical_id, arn in ARNS.items()} | ARNS
_NAME = re.compile(r"^\w+(\.Arn)?")  # a path, a version or a wildcard may follow it

# The evaluator does not know the keys of an encryption context. It gets instead a key that it knows
# and that no policy has.
_KEYS = {TABLE_NAME: "kms:CallerAccount"}


def missing() -> str:
    """Return what the evaluation lacks on this machine, or nothing."""
    if shutil.which("node") and (ROOT / ".node" / ".ready").exists():
        return ""
    return "needs Node.js and the policy evaluator: run `make .node/.ready` once"


def statements() -> list[str]:
    """Return every statement of the policies, as its resource's logical id, a dot and its Sid."""
    return [
        f"{logical_id}.{statement['Sid']}"
        for logical_id, resource in _resources("").items()
        for document in policies(resource)
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
        for way in row.ways
        for column, principals in table.columns.items()
        for principal in principals
    ]
    simulations = [
        _simulation(step, step.by or principal, _resources(without, **row.parameters))
        for row, way, _, principal in cases
        for step in way
    ]
    node = subprocess.run(
        ["node", _SIMULATE],  # noqa: S607 - from the path
        input=json.dumps(simulations),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    allowed = iter(json.loads(node.stdout))
    decided = [all(list(islice(allowed, len(way)))) for _, way, *_ in cases]
    return [
        f"{row.action} ({', '.join(step.action for step in way)}): {column} {decision}"
        for (row, way, column, _), decision in zip(cases, decided, strict=True)
        if decision != (column in row.may)
    ]


def _simulation(step: Step, principal: Principal, resources: dict[str, Json]) -> Json:
    arn, policy = step.resource, step.policy
    if not arn.startswith("arn:"):
        logical_id = re.split(r"\W", arn)[0]
        arn, policy = _named(arn), _policy_of(resources, logical_id)
        if step.action == "sts:AssumeRole":
            policy = resources[logical_id]["Properties"]["AssumeRolePolicyDocument"]
    own = None
    if principal.policy in resources:
        own = resources[principal.policy]["Properties"]["PolicyDocument"]
    elif principal.policy:
        allow: Json = {"Effect": "Allow", "Action": principal.policy.split(), "Resource": "*"}
        own = {"Version": "2012-10-17", "Statement": [allow]}
        if not principal.name.startswith("arn:"):  # a service has no policy of its own
            allow["Principal"] = {"Service": principal.name}
            own, policy = None, policy | {"Statement": [*policy["Statement"], allow]}
    return {
        "request": {
            "principal": principal.name or {"type": "Anonymous"},
            "action": step.action,
            "resource": {"resource": arn, "accountId": arn.split(":")[4] or ACCOUNT},
            "contextVariables": _named(principal.keys | dict(step.context)),
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
    for template in (load(), load(EXAMPLE)):
        found |= Resolution(template, **(PARAMETERS | parameters)).resources
    logical_id, _, sid = without.partition(".")
    for document in policies(found.get(logical_id)):
        document["Statement"] = [each for each in document["Statement"] if each["Sid"] != sid]
    return dict(_named(found))


def _named(value: Json) -> Json:
    match value:
        case dict():
            return {_KEYS.get(key, key): _named(member) for key, member in value.items()}
        case list():
            return [_named(member) for member in value]
    if isinstance(value, str):
        return _NAME.sub(lambda found: _NAMES.get(found[0], found[0]), value)
    return value


def _policy_of(resources: dict[str, Json], logical_id: str) -> Json:
    """Return the resource policy of the resource *logical_id*, or None."""
    for name, resource in resources.items():
        properties = resource["Properties"]
        owners = [*properties.get("Topics", []), *properties.get("Queues", [])]
        owners += [properties.get("SecretId"), properties.get("ResourceArn")]
        if name == logical_id or ARNS[logical_id] in owners:
            for document in policies(resource):
                return document
    return None


def policies(value: Json) -> Iterator[Json]:
    """Yield the policy documents in *value*, but not those that say who may assume a role."""
    match value:
        case {"Statement": _}:
            yield value
        case dict():
            for key, member in value.items():
                if key != "AssumeRolePolicyDocument":
                    yield from policies(member)
