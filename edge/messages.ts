import { createHash } from 'node:crypto';
import proto, { type temporal } from '@temporalio/proto';
import { nodeReportedCode, type EDGE_REPORTED_CODES } from '../protocol/execute.ts';
import type { NodeId } from '../protocol/ids.ts';
import { nodeQueue } from '../protocol/queues.ts';
import { Refusal } from './refusals.ts';
import { readFields, single, text } from './wire.ts';

const { v1: service } = proto.temporal.api.workflowservice;
const { v1: enums } = proto.temporal.api.enums;

type Payload = temporal.api.common.v1.IPayload;
type PollAnswer = temporal.api.workflowservice.v1.IPollActivityTaskQueueResponse;

/** What every node takes its namespace for, whatever it is called. */
export const NODE_NAMESPACE = 'default';
const ACTIVITY = 'execute';
/** The longest name of an encoding that is passed on. */
const ENCODING_BYTES_MAX = 64;

const { TASK_QUEUE_KIND_NORMAL, TASK_QUEUE_KIND_UNSPECIFIED } = enums.TaskQueueKind;
const PLAIN_KINDS: readonly number[] = [TASK_QUEUE_KIND_UNSPECIFIED, TASK_QUEUE_KIND_NORMAL];

/** Field numbers of temporal.api.workflowservice.v1 and what it contains. */
const TASK_TOKEN = 1;
const POLL_TASK_QUEUE = 2;
const QUEUE_NAME = 1;
const QUEUE_KIND = 2;
const QUEUE_NORMAL_NAME = 3;
const RESULT = 2;
const FAILURE = 2;
const APPLICATION_FAILURE_INFO = 5;
const FAILURE_TYPE = 1;
const PAYLOADS = 1;
const PAYLOAD_METADATA = 1;
const PAYLOAD_DATA = 2;
const MAP_KEY = 1;
const MAP_VALUE = 2;

/**
 * The poll to send to Temporal instead of a node's: all of it but the queue is the edge's.
 *
 * @throws Refusal `edge.queue_forbidden` unless the node asks for its own queue, by its plain name.
 */
export function pollRequest(message: Uint8Array, nodeId: NodeId, namespace: string): Uint8Array {
  const queueBytes = single(readFields(message, [POLL_TASK_QUEUE]), POLL_TASK_QUEUE);
  const queue = readFields(queueBytes ?? new Uint8Array(), [
    QUEUE_NAME,
    QUEUE_KIND,
    QUEUE_NORMAL_NAME,
  ]);
  const [name, kind] = [text(queue, QUEUE_NAME), queue.numbers.get(QUEUE_KIND) ?? 0];
  const isPlain = PLAIN_KINDS.includes(kind);
  const normalName = text(queue, QUEUE_NORMAL_NAME);
  if (name !== nodeQueue(nodeId) || !isPlain || normalName !== '')
    throw new Refusal('edge.queue_forbidden', `${name} kind ${kind} ${normalName}`);
  return service.PollActivityTaskQueueRequest.encode({
    namespace,
    taskQueue: { name, kind: TASK_QUEUE_KIND_NORMAL },
    identity: nodeId,
  }).finish();
}

/** A task as it came from Temporal. */
export interface UpstreamTask {
  readonly taskToken: Uint8Array;
  readonly answer: PollAnswer;
  /** From pickup to return, in milliseconds. */
  readonly startToCloseMs: number;
}

/** Reads Temporal's answer to a poll; null if there was no task. */
export function readPollAnswer(bytes: Uint8Array): UpstreamTask | null {
  const answer = service.PollActivityTaskQueueResponse.decode(bytes);
  if (answer.taskToken.length === 0) return null;
  const { seconds, nanos } = answer.startToCloseTimeout ?? {};
  const startToCloseMs = Number(seconds ?? 0) * 1_000 + (nanos ?? 0) / 1_000_000;
  return { taskToken: answer.taskToken, answer, startToCloseMs };
}

/** The answer to a poll for which there was no task. */
export const NO_TASK = new Uint8Array();

/**
 * The answer that a node gets: what it needs to work, and nothing that differs between a request,
 * an attempt after another, a check and a canary. So ids are drawn from the sealed token, which is
 * random, and when the task was scheduled isn't told: how long it may wait differs.
 */
export function pollResponse({ answer }: UpstreamTask, sealedToken: Uint8Array): Uint8Array {
  const id = createHash('sha256').update(sealedToken).digest('hex');
  const startedAt = answer.startedTime ?? null;
  const startToClose = answer.startToCloseTimeout ?? null;
  return service.PollActivityTaskQueueResponse.encode({
    taskToken: sealedToken,
    workflowNamespace: NODE_NAMESPACE,
    workflowType: { name: 'unit' },
    workflowExecution: { workflowId: `unit-${id.slice(0, 32)}`, runId: uuid(id.slice(32)) },
    activityType: { name: ACTIVITY },
    activityId: ACTIVITY,
    input: { payloads: (answer.input?.payloads ?? []).map(plainPayload) },
    scheduledTime: startedAt,
    currentAttemptScheduledTime: startedAt,
    startedTime: startedAt,
    attempt: 1,
    scheduleToCloseTimeout: startToClose,
    startToCloseTimeout: startToClose,
    heartbeatTimeout: answer.heartbeatTimeout ?? null,
  }).finish();
}

/** A sealed token, in whichever message about a task. */
export function sealedTokenOf(message: Uint8Array): Uint8Array {
  const token = single(readFields(message, [TASK_TOKEN]), TASK_TOKEN);
  if (!token) throw new Refusal('edge.token_invalid', 'no token');
  return token;
}

/** Whose task a message is about, as Temporal knows both. */
export interface TaskOf {
  readonly taskToken: Uint8Array;
  readonly nodeId: NodeId;
  readonly namespace: string;
}

/** What an activity that returns nothing returns. */
const NOTHING: Payload = {
  metadata: { encoding: Buffer.from('binary/null') },
};

/**
 * RespondActivityTaskCompleted: of a result, its encoding and its bytes. It is always one payload:
 * the SDK holds a workflow for ever that would take up an activity's result without any.
 */
export function completedRequest(message: Uint8Array, task: TaskOf): Uint8Array {
  const result = single(readFields(message, [RESULT]), RESULT);
  const payloads = result ? (readFields(result, [PAYLOADS]).bytes.get(PAYLOADS) ?? []) : [];
  const [payload] = payloads;
  if (payloads.length > 1) throw new Refusal('edge.malformed', 'more than one result');
  return service.RespondActivityTaskCompletedRequest.encode({
    ...about(task),
    result: { payloads: [payload ? readPayload(payload) : NOTHING] },
  }).finish();
}

/** RespondActivityTaskFailed: of a failure, its code, if it is one that a node may say. */
export function failedRequest(message: Uint8Array, task: TaskOf): Uint8Array {
  const failure = single(readFields(message, [FAILURE]), FAILURE);
  const info = failure
    ? single(readFields(failure, [APPLICATION_FAILURE_INFO]), APPLICATION_FAILURE_INFO)
    : undefined;
  const type = info ? text(readFields(info, [FAILURE_TYPE]), FAILURE_TYPE) : '';
  return failureRequest(nodeReportedCode(type), task);
}

/** RespondActivityTaskFailed by the edge itself. */
export function edgeFailureRequest(
  code: (typeof EDGE_REPORTED_CODES)[number],
  task: TaskOf,
): Uint8Array {
  return failureRequest(code, task);
}

/** RespondActivityTaskCanceled, without details. */
export function canceledRequest(_message: Uint8Array, task: TaskOf): Uint8Array {
  return service.RespondActivityTaskCanceledRequest.encode(about(task)).finish();
}

/** RecordActivityTaskHeartbeat, without details. */
export function heartbeatRequest(_message: Uint8Array, task: TaskOf): Uint8Array {
  return service.RecordActivityTaskHeartbeatRequest.encode(about(task)).finish();
}

/** The answer to a heartbeat: whether the task is to be cancelled. */
export function heartbeatResponse(bytes: Uint8Array): Uint8Array {
  const { cancelRequested } = service.RecordActivityTaskHeartbeatResponse.decode(bytes);
  return service.RecordActivityTaskHeartbeatResponse.encode({ cancelRequested }).finish();
}

function failureRequest(code: string, task: TaskOf): Uint8Array {
  return service.RespondActivityTaskFailedRequest.encode({
    ...about(task),
    failure: {
      message: code,
      source: 'edge',
      applicationFailureInfo: { type: code, nonRetryable: false },
    },
  }).finish();
}

function about({ taskToken, nodeId, namespace }: TaskOf) {
  return { taskToken, namespace, identity: nodeId };
}

function plainPayload({ metadata, data }: Payload): Payload {
  const encoding = metadata?.['encoding'];
  return { ...(encoding ? { metadata: { encoding } } : {}), data: data ?? null };
}

function readPayload(bytes: Uint8Array): Payload {
  const payload = readFields(bytes, [PAYLOAD_METADATA, PAYLOAD_DATA]);
  const entries = (payload.bytes.get(PAYLOAD_METADATA) ?? []).map((entry) =>
    readFields(entry, [MAP_KEY, MAP_VALUE]),
  );
  const encoding = entries.findLast((entry) => text(entry, MAP_KEY) === 'encoding');
  const value = encoding ? single(encoding, MAP_VALUE) : undefined;
  if (value && value.length > ENCODING_BYTES_MAX)
    throw new Refusal('edge.malformed', 'a long name of an encoding');
  const metadata = value ? { encoding: value } : {};
  return plainPayload({ metadata, data: single(payload, PAYLOAD_DATA) ?? new Uint8Array() });
}

/** In the form that ids of runs have; it is random, not of a version. */
function uuid(hex: string): string {
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12}).*$/, '$1-$2-$3-$4-$5');
}
