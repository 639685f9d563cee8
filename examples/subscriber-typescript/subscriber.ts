/**
 * A subscriber of qonto-connect in one file: by docs/events.md, it exchanges the code of each
 * confirmed authorization once.
 *
 * The table has a string key, `pk`, the TTL attribute `expires_at`, and items of three kinds:
 *
 * - `flow/<authorization_id>/<context>`: what the app said, the events that are held, the tokens;
 * - `event/<id>` and `code/<SHA-256>`: locks. Once a request may have left, they stay for good.
 *
 * A message that fails stays in the queue: SQS delivers it again, and at last to the dead letters.
 */
import { createHash, randomUUID } from "node:crypto";

import * as db from "@aws-sdk/client-dynamodb";
import { DeleteMessageCommand, ReceiveMessageCommand, SQSClient } from "@aws-sdk/client-sqs";

import type { AuthorizationFailed } from "./events/authorization-failed.v1.js";
import type { AuthorizationGranted } from "./events/authorization-granted.v1.js";

type AppMessage = { authorization_id: string; context: string; repudiated?: true };
type Message = AuthorizationGranted | AuthorizationFailed | AppMessage;
type Result = { status: string; reason?: string; tokens?: string };
type About = { id?: string; subject?: string; authorization_id?: string };
type Item = Record<string, db.AttributeValue>;

const QueueUrl = variable("QUEUE_URL");
const TableName = variable("TABLE_NAME");
const CLIENT_ID = variable("CLIENT_ID");
const CLIENT_SECRET = variable("CLIENT_SECRET");
const TOKEN_ENDPOINT = variable("TOKEN_ENDPOINT");
const STAGING_TOKEN = process.env.STAGING_TOKEN; // in the sandbox
const ENVIRONMENT = process.env.QONTO_ENVIRONMENT || "sandbox";
const OWN = [`/qonto-connect/${ENVIRONMENT}/${CLIENT_ID}`, ENVIRONMENT, CLIENT_ID, TOKEN_ENDPOINT];
const NEVER_LEFT = ["ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN"]; // the last two: the name's address
const HOUR = 3600; // seconds
const NEVER = { N: "253402300799" }; // the year 9999: TTL keeps the tokens
const CONFIRMED = { ":confirmed": { S: "confirmed" } };
const IS_CONFIRMED = "app = :confirmed";
const IS_OPEN = "attribute_not_exists(app) OR app = :confirmed"; // not repudiated

const requestHandler = { connectionTimeout: 1_000, socketTimeout: 30_000 };
const dynamodb = new db.DynamoDBClient({ requestHandler });
const sqs = new SQSClient({ requestHandler });

for (;;) {
  const poll = new ReceiveMessageCommand({ QueueUrl, WaitTimeSeconds: 20 });
  for (const { Body = "", ReceiptHandle } of (await sqs.send(poll)).Messages ?? []) {
    try {
      await receive(JSON.parse(Body));
      await sqs.send(new DeleteMessageCommand({ QueueUrl, ReceiptHandle }));
    } catch (error) {
      log("not handled", {}, (error as Error).name); // its text may quote a code
    }
  }
}

async function receive(message: Message): Promise<void> {
  if ("authorization_id" in message) {
    return "repudiated" in message ? repudiate(message) : confirm(message);
  }
  const isGranted = message.type === "qonto-connect.authorization.granted.v1";
  const isKnown = isGranted || message.type === "qonto-connect.authorization.failed.v1";
  if (!isKnown) throw failure("UnknownType");
  const { environment, client_id, token_endpoint } = message.data;
  const theirs = [message.source, environment, client_id, token_endpoint];
  if (theirs.some((each, index) => each !== OWN[index])) throw failure("ForeignEvent");
  return isGranted ? hold(message) : log("no code", message);
}

// Event and confirmation come in any order. Each is written and the whole item read in one call, so
// the second one to come finds both.

async function hold(event: AuthorizationGranted): Promise<void> {
  const set = "SET expires_at = if_not_exists(expires_at, :day) ADD held :event";
  const values = { ...CONFIRMED, ...inADay(), ...held(event) };
  const item = await update(flow(event), set, IS_OPEN, values);
  log(item ? "held" : "repudiated", event);
  await settle(item);
}

async function confirm(message: AppMessage): Promise<void> {
  const set = "SET app = :confirmed, expires_at = if_not_exists(expires_at, :day)";
  await settle(await update(flow(message), set, IS_OPEN, { ...CONFIRMED, ...inADay() }));
}

/** Drop codes and tokens, unless it is over an hour after the event. */
async function repudiate(message: AppMessage): Promise<void> {
  const set = "SET app = :app, connection_status = :app, expires_at = :day REMOVE held, tokens";
  const isInTime = "attribute_not_exists(event_time) OR event_time >= :earliest";
  const values = { ":app": { S: "repudiated" }, ":earliest": { N: String(now() - HOUR) } };
  const item = await update(flow(message), set, isInTime, { ...values, ...inADay() });
  log(item ? "repudiated" : "repudiated too late", message);
}

/** Exchange the codes of a confirmed flow, the latest first: its tokens replace the others. */
async function settle(item?: Item): Promise<void> {
  if (item?.app?.S !== "confirmed") return;
  const events = (item.held?.SS ?? []).map((text) => JSON.parse(text) as AuthorizationGranted);
  let latest = Number(item.event_time?.N ?? 0);
  for (const event of events.sort((one, other) => seconds(other.time) - seconds(one.time))) {
    const attempt = randomUUID();
    const refused = refusal(event, latest) ?? (await lock(event, attempt));
    const result = refused ?? (await exchange(event.data));
    if (result.status === "unsent") {
      await release(event, attempt);
      throw failure("Unsent"); // the message comes again
    }
    await record(event, result);
    if (result.tokens) latest = seconds(event.time);
    log(result.status, event, result.reason);
  }
}

function refusal({ time, data }: AuthorizationGranted, latest: number): Result | undefined {
  if (seconds(time) <= latest) return { status: "superseded" };
  if (seconds(data.code_expires_at) <= now()) return { status: "expired" };
  return exceeds(data.granted_scope, data) ? { status: "failed", reason: "scope" } : undefined;
}

/** Lock the event and its code in one write; return a result if there is nothing to exchange. */
async function lock(event: AuthorizationGranted, attempt: string): Promise<Result | undefined> {
  const isFree = { ConditionExpression: "attribute_not_exists(pk)" };
  const TransactItems: db.TransactWriteItem[] = locksOf(event).map((pk) => ({
    Put: { TableName, Item: { ...pk, attempt: { S: attempt } }, ...isFree },
  }));
  const isConfirmed = { ConditionExpression: IS_CONFIRMED, ExpressionAttributeValues: CONFIRMED };
  TransactItems.push({ ConditionCheck: { TableName, Key: flow(event), ...isConfirmed } });
  try {
    // The SDK adds a token, so that its own repeat of a write finds no lock of another.
    await dynamodb.send(new db.TransactWriteItemsCommand({ TransactItems }));
    return undefined;
  } catch (error) {
    if (!(error instanceof db.TransactionCanceledException)) throw error;
    const codes = error.CancellationReasons?.map(({ Code }) => Code) ?? [];
    const codeUsed = { status: "failed", reason: "code used" };
    const results = [{ status: "duplicate" }, codeUsed, { status: "repudiated" }];
    const result = results[codes.indexOf("ConditionalCheckFailed")];
    if (!result) throw error; // another write was under way
    return result;
  }
}

/** Undo what this attempt has locked, because its request never left. */
async function release(event: AuthorizationGranted, attempt: string): Promise<void> {
  const ExpressionAttributeValues = { ":attempt": { S: attempt } };
  const isOwn = { ConditionExpression: "attempt = :attempt", ExpressionAttributeValues };
  const TransactItems = locksOf(event).map((Key) => ({ Delete: { TableName, Key, ...isOwn } }));
  await dynamodb.send(new db.TransactWriteItemsCommand({ TransactItems }));
}

async function exchange(data: AuthorizationGranted["data"]): Promise<Result> {
  const { code, redirect_uri, code_verifier } = data;
  const form = { grant_type: "authorization_code", code, redirect_uri, client_id: CLIENT_ID };
  const body = new URLSearchParams({ ...form, client_secret: CLIENT_SECRET });
  if (code_verifier) body.set("code_verifier", code_verifier);
  const headers = new Headers({ Connection: "close" }); // a kept one may break as it is used again
  if (STAGING_TOKEN) headers.set("X-Qonto-Staging-Token", STAGING_TOKEN);
  const redirect = "manual"; // the secret goes to no other address
  const signal = AbortSignal.timeout(10_000);
  let response, found;
  try {
    response = await fetch(TOKEN_ENDPOINT, { method: "POST", headers, body, redirect, signal });
    found = await response.json().catch(() => null); // no JSON, or cut off
  } catch (error) {
    const { cause } = error as { cause?: { code: string; errors?: { code: string }[] } };
    const causes = cause?.errors ?? [cause]; // one for each address of the name
    const hasLeft = !causes.every((each) => each && NEVER_LEFT.includes(each.code));
    return hasLeft ? { status: "lost", reason: "no response" } : { status: "unsent" };
  }
  if (response.status >= 400 && response.status < 500) {
    return { status: "failed", reason: String(found?.error ?? response.status).slice(0, 128) };
  }
  if (!response.ok || typeof found?.access_token !== "string") {
    return { status: "lost", reason: String(response.status) };
  }
  if (exceeds(found.scope, data)) return { status: "failed", reason: "scope" };
  return { status: "connected", tokens: JSON.stringify(found) };
}

/** Whether *scope* is more than was requested; an absent one is the same. */
function exceeds(scope: unknown, { requested_scope }: AuthorizationGranted["data"]): boolean {
  const requested = requested_scope.split(" ");
  return String(scope ?? "").split(/[\s,]+/).some((name) => name && !requested.includes(name));
}

/** Replace the event by its tokens, or by why there are none, unless the flow has later tokens. */
async function record(event: AuthorizationGranted, { status, tokens }: Result): Promise<void> {
  const set = "SET connection_status = :status";
  const values = { ...CONFIRMED, ":status": { S: status } };
  if (tokens) {
    const more = ", tokens = :tokens, event_time = :time, expires_at = :never";
    const isLatest = "(attribute_not_exists(event_time) OR event_time < :time)";
    const time = { ":time": { N: String(seconds(event.time)) }, ":never": NEVER };
    const all = { ...values, ...time, ":tokens": { S: tokens } };
    await update(flow(event), set + more, `${IS_CONFIRMED} AND ${isLatest}`, all);
  } else if (!["duplicate", "superseded"].includes(status)) {
    const hasNone = `${IS_CONFIRMED} AND attribute_not_exists(tokens)`;
    await update(flow(event), set, hasNone, values);
  }
  // A duplicate may find its first delivery unfinished, and then leaves it the event.
  const hasEnded = "attribute_exists(connection_status)";
  await update(flow(event), "DELETE held :event", hasEnded, held(event));
}

/** Change an item, and return it; undefined if the condition is not met. */
async function update(key: Item, change: string, condition: string, values: Item) {
  const command = new db.UpdateItemCommand({
    TableName,
    Key: key,
    UpdateExpression: change,
    ConditionExpression: condition,
    ExpressionAttributeValues: values,
    ReturnValues: "ALL_NEW",
  });
  try {
    return (await dynamodb.send(command)).Attributes;
  } catch (error) {
    if (error instanceof db.ConditionalCheckFailedException) return undefined;
    throw error;
  }
}

function locksOf({ id, data }: AuthorizationGranted): Item[] {
  const signature = data.code.split(".").pop() ?? ""; // all that Qonto identifies a code by
  const digest = createHash("sha256").update(signature).digest("hex");
  return [{ pk: { S: `event/${id}` } }, { pk: { S: `code/${digest}` } }];
}

/** The key of the flow that a message is about. */
function flow(message: AuthorizationGranted | AppMessage): Item {
  const { authorization_id, context } =
    "data" in message ? { authorization_id: message.subject, ...message.data } : message;
  if (!authorization_id || !context) throw failure("NoContext"); // so no app can confirm it
  return { pk: { S: `flow/${authorization_id}/${context}` } };
}

function held(event: AuthorizationGranted): Item {
  return { ":event": { SS: [JSON.stringify(event)] } };
}

function inADay(): Item {
  return { ":day": { N: String(now() + 24 * HOUR) } };
}

function now(): number {
  return Math.floor(Date.now() / 1000);
}

function seconds(time: string): number {
  return Date.parse(time) / 1000;
}

function failure(name: string): Error {
  return Object.assign(new Error(), { name });
}

/** Log a line with no secret and no whole `authorization_id`. */
function log(status: string, about: About, reason?: string) {
  const reference = (about.subject ?? about.authorization_id)?.slice(0, 8);
  console.log(JSON.stringify({ status, reason, reference, event_id: about.id }));
}

function variable(name: string): string {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set`);
  return value;
}
