import { randomUUID } from 'node:crypto';
import type { Client, WorkflowHandle } from '@temporalio/client';
import { NativeConnection, Worker } from '@temporalio/worker';
import { moduleFile } from '../../workers/module-file.ts';
import { nodeQueue } from '../../protocol/queues.ts';
import type { NodeId } from '../../protocol/ids.ts';
import type { oneTask, OneTask } from '../edge/fixtures/workflows.ts';
import './quiet-temporal.ts';

/** Gives tasks to nodes, as the coordinator would. */
export interface TaskSource {
  start(nodeId: NodeId, task?: Partial<OneTask>): Promise<WorkflowHandle<typeof oneTask>>;
  stop(): Promise<void>;
}

export async function startTaskSource(client: Client, address: string): Promise<TaskSource> {
  const queue = `edge-test-${randomUUID()}`;
  const connection = await NativeConnection.connect({ address });
  const worker = await Worker.create({
    connection,
    taskQueue: queue,
    workflowsPath: moduleFile('../edge/fixtures/workflows', import.meta.url),
  });
  const running = worker.run();
  return {
    start: (nodeId, task = {}) =>
      client.workflow.start<typeof oneTask>('oneTask', {
        workflowId: `edge-${randomUUID()}`,
        taskQueue: queue,
        args: [{ taskQueue: nodeQueue(nodeId), input: 'nothing', ...task }],
      }),
    async stop() {
      worker.shutdown();
      await running;
      await connection.close();
    },
  };
}
