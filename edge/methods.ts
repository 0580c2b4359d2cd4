import { EMPTY, HEALTHY, NAMESPACE_INFO, SYSTEM_INFO } from './info.ts';
import type { Handler } from './grpc-server.ts';
import type { Polls } from './poll.ts';
import type { Pool } from './pool.ts';
import { Refusal } from './refusals.ts';

const WORKFLOW_SERVICE = '/temporal.api.workflowservice.v1.WorkflowService';

/**
 * All that nodes may call, by path. What isn't here is `edge.forbidden`. A removed node gets
 * `edge.node_removed` for all of it, but for the goodbye of its worker.
 */
export function edgeMethods(
  pool: Pick<Pool, 'isRemoved'>,
  polls: Pick<Polls, 'handler'>,
  responds: ReadonlyMap<string, Handler>,
): ReadonlyMap<string, Handler> {
  const own: [string, Handler][] = [
    ['GetSystemInfo', always(SYSTEM_INFO)],
    ['DescribeNamespace', always(NAMESPACE_INFO)],
    ['RecordWorkerHeartbeat', always(EMPTY)],
    ['PollActivityTaskQueue', polls.handler],
    ...responds,
  ];
  const paths: [string, Handler][] = [
    ...own.map(([name, handler]): [string, Handler] => [`${WORKFLOW_SERVICE}/${name}`, handler]),
    ['/grpc.health.v1.Health/Check', always(HEALTHY)],
  ];
  return new Map([
    ...paths.map(([path, handler]): [string, Handler] => [path, unlessRemoved(pool, handler)]),
    [`${WORKFLOW_SERVICE}/ShutdownWorker`, always(EMPTY)],
  ]);
}

function unlessRemoved(pool: Pick<Pool, 'isRemoved'>, handler: Handler): Handler {
  return async (call) => {
    if (await pool.isRemoved(call.peer.nodeId)) throw new Refusal('edge.node_removed');
    return handler(call);
  };
}

function always(message: Uint8Array): Handler {
  return async () => ({ message });
}
