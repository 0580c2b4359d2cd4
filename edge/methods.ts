import { EMPTY, HEALTHY, NAMESPACE_INFO, SYSTEM_INFO } from './info.ts';
import type { Handler } from './grpc-server.ts';
import type { Polls } from './poll.ts';

const WORKFLOW_SERVICE = '/temporal.api.workflowservice.v1.WorkflowService';

/** All that nodes may call, by path. What isn't here is `edge.forbidden`. */
export function edgeMethods(
  polls: Polls,
  responds: ReadonlyMap<string, Handler>,
): ReadonlyMap<string, Handler> {
  const own: [string, Handler][] = [
    ['GetSystemInfo', always(SYSTEM_INFO)],
    ['DescribeNamespace', always(NAMESPACE_INFO)],
    ['ShutdownWorker', always(EMPTY)],
    ['RecordWorkerHeartbeat', always(EMPTY)],
    ['PollActivityTaskQueue', polls.handler],
    ...responds,
  ];
  return new Map([
    ...own.map(([name, handler]): [string, Handler] => [`${WORKFLOW_SERVICE}/${name}`, handler]),
    ['/grpc.health.v1.Health/Check', always(HEALTHY)],
  ]);
}

function always(message: Uint8Array): Handler {
  return async () => ({ message });
}
