import { createHash } from 'node:crypto';
import proto, { type temporal } from '@temporalio/proto';
import type { NodeId } from '../protocol/ids.ts';
import { nodeQueue } from '../protocol/queues.ts';
import { plainPayload } from './payloads.ts';
import { Refusal } from './refusals.ts';
import { readFields, single, text } from './wire.ts';

const { v1: service } = proto.temporal.api.workflowservice;
const { v1: enums } = proto.temporal.api.enums;

type PollAnswer = temporal.api.workflowservice.v1.IPollActivityTaskQueueResponse;

/** What every node takes its namespace for, whatever it is called. */
export const NODE_NAMESPACE = 'default';
const ACTIVITY = 'execute';

const { TASK_QUEUE_KIND_NORMAL, TASK_QUEUE_KIND_UNSPECIFIED } = enums.TaskQueueKind;
const PLAIN_KINDS: readonly number[] = [TASK_QUEUE_KIND_UNSPECIFIED, TASK_QUEUE_KIND_NORMAL];

/** Field numbers of PollActivityTaskQueueRequest and of TaskQueue. */
const POLL_TASK_QUEUE = 2;
const QUEUE_NAME = 1;
const QUEUE_KIND = 2;
const QUEUE_NORMAL_NAME = 3;

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

/** In the form that ids of runs have; it is random, not of a version. */
function uuid(hex: string): string {
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12}).*$/, '$1-$2-$3-$4-$5');
}
