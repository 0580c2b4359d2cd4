import assert from 'node:assert/strict';
import { Context } from '@temporalio/activity';
import {
  startEdgeScene,
  startEdgeWorker,
  type EdgeScene,
  type EdgeWorker,
} from '../support/edge.ts';
import { startTaskSource, type TaskSource } from '../support/one-task.ts';
import type { TestNodeCertificate } from '../support/test-ca.ts';
import { until } from '../support/until.ts';

/** A stock worker by way of the edge, and what its activity does next. */
describe('edge // a stock worker', () => {
  let scene: EdgeScene;
  let source: TaskSource;
  let node: TestNodeCertificate;
  let worker: EdgeWorker;
  let execute: (input: unknown) => Promise<unknown>;

  before(async function () {
    this.timeout(120_000);
    scene = await startEdgeScene();
    source = await startTaskSource(scene.client, scene.temporalAddress);
    node = await scene.ca.node();
    worker = await startEdgeWorker(scene.edge, scene.ca.ca, node, (input) => execute(input));
  });
  after(async function () {
    this.timeout(60_000);
    await worker?.stop();
    await source?.stop();
    await scene?.stop();
  });

  it('gets a task, and returns what came of it', async () => {
    execute = async (input) => ({ echo: input });
    const handle = await source.start(node.nodeId, { input: { a: [1, 2] } });
    assert.deepEqual(await handle.result(), { returned: { echo: { a: [1, 2] } } });
  });

  it('heartbeats, and is told of a cancellation by them', async () => {
    let isRunning = false;
    execute = async () => {
      isRunning = true;
      const context = Context.current();
      const alive = setInterval(() => context.heartbeat({ secret: 1 }), 100);
      try {
        await context.cancelled.catch(() => {});
        return 'so far';
      } finally {
        clearInterval(alive);
      }
    };
    const handle = await source.start(node.nodeId, { heartbeatMs: 2_000 });
    await until(() => isRunning, 'it runs');
    await handle.cancel();
    assert.deepEqual(await handle.result(), { returned: 'so far' });
  });
});
