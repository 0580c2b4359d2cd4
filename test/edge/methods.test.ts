import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import type { Call, Handler } from '../../edge/grpc-server.ts';
import { edgeMethods } from '../../edge/methods.ts';
import { Refusal } from '../../edge/refusals.ts';
import { formatNodeId } from '../../protocol/ids.ts';

const SERVICE = '/temporal.api.workflowservice.v1.WorkflowService';

describe('edge/methods', () => {
  let isRemoved: boolean;
  const passed: Handler = async () => ({ message: Buffer.from('passed on') });
  const methods = edgeMethods(
    { isRemoved: async () => isRemoved },
    { handler: passed },
    new Map([['RespondActivityTaskCompleted', passed]]),
  );
  const call: Call = {
    peer: { nodeId: formatNodeId(randomBytes(32)), notAfterMs: Infinity },
    address: '192.0.2.1',
    message: Buffer.alloc(0),
    deadlineMs: Infinity,
    signal: new AbortController().signal,
  };
  /** What each method answers: a code, or that it does. */
  async function answers(): Promise<Record<string, string>> {
    const all: Record<string, string> = {};
    for (const [path, handler] of methods)
      all[path.replace(`${SERVICE}/`, '')] = await handler(call).then(
        () => 'answered',
        (error: unknown) => (error instanceof Refusal ? error.code : String(error)),
      );
    return all;
  }
  const each = (answer: string) => ({
    GetSystemInfo: answer,
    DescribeNamespace: answer,
    RecordWorkerHeartbeat: answer,
    PollActivityTaskQueue: answer,
    RespondActivityTaskCompleted: answer,
    '/grpc.health.v1.Health/Check': answer,
    ShutdownWorker: 'answered',
  });

  it('answer nodes, and of removed ones only the goodbye', async () => {
    isRemoved = false;
    assert.deepEqual(await answers(), each('answered'));
    isRemoved = true;
    assert.deepEqual(await answers(), each('edge.node_removed'));
  });
});
