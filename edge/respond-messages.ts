import proto from '@temporalio/proto';
import { nodeReportedCode, type EDGE_REPORTED_CODES } from '../protocol/execute.ts';
import type { NodeId } from '../protocol/ids.ts';
import { readPayload } from './payloads.ts';
import { Refusal } from './refusals.ts';
import { readFields, single, text } from './wire.ts';

const { v1: service } = proto.temporal.api.workflowservice;

/** Field numbers of the Respond… and Record… requests, and of what they contain. */
const TASK_TOKEN = 1;
const RESULT = 2;
const FAILURE = 2;
const APPLICATION_FAILURE_INFO = 5;
const FAILURE_TYPE = 1;
const PAYLOADS = 1;

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
const NOTHING = { metadata: { encoding: Buffer.from('binary/null') } };

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
