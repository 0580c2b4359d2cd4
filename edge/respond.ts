import { status } from '@grpc/grpc-js';
import { NotFound, type Handler } from './grpc-server.ts';
import {
  canceledRequest,
  completedRequest,
  failedRequest,
  heartbeatRequest,
  heartbeatResponse,
  sealedTokenOf,
  type TaskOf,
} from './respond-messages.ts';
import { ANSWER_MS_MAX, type Tasks } from './tasks.ts';
import { refusalOf, UpstreamError, type Upstream } from './upstream.ts';

export interface RespondOptions {
  readonly upstream: Upstream;
  readonly namespace: string;
  readonly tasks: Tasks;
}

interface Method {
  readonly name: string;
  readonly request: (message: Uint8Array, task: TaskOf) => Uint8Array;
  /** Of Temporal's answer; by default nothing of it. */
  readonly response?: (answer: Uint8Array) => Uint8Array;
  /** Whether the task is over with it. */
  readonly isFinal: boolean;
}

const METHODS: readonly Method[] = [
  { name: 'RespondActivityTaskCompleted', request: completedRequest, isFinal: true },
  { name: 'RespondActivityTaskFailed', request: failedRequest, isFinal: true },
  { name: 'RespondActivityTaskCanceled', request: canceledRequest, isFinal: true },
  {
    name: 'RecordActivityTaskHeartbeat',
    request: heartbeatRequest,
    response: heartbeatResponse,
    isFinal: false,
  },
];

/** What nodes say about their tasks, by method name. */
export function respondHandlers(options: RespondOptions): ReadonlyMap<string, Handler> {
  return new Map(METHODS.map((method) => [method.name, respond(method, options)]));
}

function respond(
  { name, request, response, isFinal }: Method,
  { upstream, namespace, tasks }: RespondOptions,
): Handler {
  return async ({ peer: { nodeId }, message, deadlineMs }) => {
    const taskToken = tasks.open(nodeId, sealedTokenOf(message));
    const rebuilt = request(message, { taskToken, nodeId, namespace });
    try {
      // Without the node's signal: what it has said counts, whatever becomes of its connection.
      const answer = await upstream.call(name, rebuilt, {
        deadlineMs: Math.min(deadlineMs, Date.now() + ANSWER_MS_MAX),
      });
      if (isFinal) tasks.inFlight.remove(nodeId, taskToken);
      return { message: response?.(answer) ?? new Uint8Array() };
    } catch (error) {
      if (!(error instanceof UpstreamError)) throw error;
      if (error.status !== status.NOT_FOUND) throw refusalOf(error);
      tasks.inFlight.remove(nodeId, taskToken);
      throw new NotFound();
    }
  };
}
