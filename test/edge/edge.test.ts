import assert from 'node:assert/strict';
import { status } from '@grpc/grpc-js';
import proto from '@temporalio/proto';
import { once } from 'node:events';
import { connect as connectHttp2, constants } from 'node:http2';
import { setTimeout as sleep } from 'node:timers/promises';
import { startEdgeScene, type EdgeScene } from '../support/edge.ts';
import { startTaskSource, type TaskSource } from '../support/one-task.ts';
import { rawNode, type RawAnswer, type RawNode } from '../support/raw-node.ts';
import { frame } from '../../edge/grpc-message.ts';
import { nodeQueue } from '../../protocol/queues.ts';
import { addPoolNode } from '../support/pool.ts';
import { seedInstant } from '../support/seeded.ts';
import { until } from '../support/until.ts';

const { v1: service } = proto.temporal.api.workflowservice;

const refusedWith = (answer: RawAnswer, code: status, details: string) =>
  assert.deepEqual(answer, { status: code, details });

describe('edge', () => {
  let scene: EdgeScene;
  let source: TaskSource;
  const nodes: RawNode[] = [];

  before(async function () {
    this.timeout(120_000);
    scene = await startEdgeScene();
    await seedInstant(scene.db.database);
    source = await startTaskSource(scene.client, scene.temporalAddress);
  });
  after(async function () {
    this.timeout(60_000);
    for (const node of nodes) node.close();
    await source?.stop();
    await scene?.stop();
  });

  async function newNode(address = scene.edge.address): Promise<RawNode> {
    const node = rawNode(address, scene.ca.ca, await scene.ca.node());
    nodes.push(node);
    return node;
  }
  const completed = (handle: Awaited<ReturnType<TaskSource['start']>>) => handle.result();
  const openPolls = async () => {
    const { values = [] } =
      (await scene.edge.metrics.getSingleMetric('plx_edge_open_polls')?.get()) ?? {};
    return values[0]?.value ?? 0;
  };

  it('gives a node its task, takes the result once, and says what is over', async () => {
    const node = await newNode();
    const handle = await source.start(node.nodeId);
    const { taskToken } = await node.task();
    assert.ok('bytes' in (await node.heartbeat(taskToken)));
    assert.deepEqual(await node.complete(taskToken, 'done'), { bytes: Buffer.alloc(0) });
    assert.deepEqual(await completed(handle), { returned: 'done' });
    refusedWith(await node.complete(taskToken, 'again'), status.NOT_FOUND, 'NOT_FOUND');
    refusedWith(await node.heartbeat(taskToken), status.NOT_FOUND, 'NOT_FOUND');
  });

  it('lets no node answer for another one', async () => {
    const [node, other] = [await newNode(), await newNode()];
    const handle = await source.start(node.nodeId);
    const { taskToken } = await node.task();
    refusedWith(
      await other.complete(taskToken, 'mine'),
      status.PERMISSION_DENIED,
      'edge.token_invalid',
    );
    refusedWith(await other.heartbeat(taskToken), status.PERMISSION_DENIED, 'edge.token_invalid');
    await node.complete(taskToken, 'done');
    assert.deepEqual(await completed(handle), { returned: 'done' });
  });

  it('refuses other queues and other methods, counted and logged', async () => {
    const [node, other] = [await newNode(), await newNode()];
    const { answer } = node.poll(`node.${other.nodeId}`);
    refusedWith(await answer, status.PERMISSION_DENIED, 'edge.queue_forbidden');
    const before = await scene.refused('edge.forbidden');
    const methods = ['StartWorkflowExecution', 'RespondActivityTaskCompletedById', 'Poll'];
    for (const method of [...methods, '/a/b', '/grpc.health.v1.Health/Watch'])
      refusedWith(
        await node.call(method, new Uint8Array()),
        status.PERMISSION_DENIED,
        'edge.forbidden',
      );
    assert.equal((await scene.refused('edge.forbidden')) - before, 5);
    assert.ok(
      scene.logged.some(
        (line) => line['code'] === 'edge.forbidden' && line['nodeId'] === node.nodeId,
      ),
    );
  });

  it('answers what a worker asks at its start', async () => {
    const node = await newNode();
    const info = await node.call('GetSystemInfo', new Uint8Array());
    assert.ok('bytes' in info);
    assert.equal(service.GetSystemInfoResponse.decode(info.bytes).serverVersion, '1.0.0');
    const health = await node.call('/grpc.health.v1.Health/Check', new Uint8Array());
    assert.deepEqual(health, { bytes: Buffer.from([8, 1]) });
    for (const method of ['ShutdownWorker', 'RecordWorkerHeartbeat'])
      assert.deepEqual(await node.call(method, Buffer.from('0a00', 'hex')), {
        bytes: Buffer.alloc(0),
      });
  });

  it('takes no message that is too large, or none', async () => {
    const node = await newNode();
    const large = await node.call('RespondActivityTaskCompleted', Buffer.alloc(4 * 2 ** 20 + 1));
    refusedWith(large, status.RESOURCE_EXHAUSTED, 'edge.too_large');
    const poll = await node.call('PollActivityTaskQueue', Buffer.alloc(64 * 1_024 + 1));
    refusedWith(poll, status.RESOURCE_EXHAUSTED, 'edge.too_large');
    const odd = await node.call('RespondActivityTaskCompleted', Buffer.from('0b', 'hex'));
    refusedWith(odd, status.INVALID_ARGUMENT, 'edge.malformed');
  });

  it('has 16 polls open for a node, and no more', async () => {
    const node = await newNode();
    const polls = Array.from({ length: 16 }, () => node.poll());
    await until(async () => (await openPolls()) >= 16, 'they are open');
    refusedWith(await node.poll().answer, status.RESOURCE_EXHAUSTED, 'edge.too_many');
    for (const poll of polls) poll.cancel();
    await until(async () => (await openPolls()) === 0, 'they are closed');
  });

  it('takes a poll back when its node does: the next task is not lost', async () => {
    const node = await newNode();
    const poll = node.poll();
    await until(async () => (await openPolls()) === 1, 'it is open');
    poll.cancel();
    await until(async () => (await openPolls()) === 0, 'it is closed');
    await sleep(200);
    const handle = await source.start(node.nodeId, { heartbeatMs: 30_000 });
    const { taskToken } = await node.task();
    await node.complete(taskToken, 'not lost');
    assert.deepEqual(await completed(handle), { returned: 'not lost' });
  });

  it('blames a node that reads its task before it takes the poll back', async () => {
    const client = await scene.ca.node();
    const session = connectHttp2(`https://localhost:${scene.edge.port}`, {
      ...client,
      ca: scene.ca.ca,
      settings: { initialWindowSize: 1_100 },
    });
    const poll = session.request({
      ':method': 'POST',
      ':path': '/temporal.api.workflowservice.v1.WorkflowService/PollActivityTaskQueue',
      'content-type': 'application/grpc',
    });
    const taskQueue = { name: nodeQueue(client.nodeId) };
    poll.end(frame(service.PollActivityTaskQueueRequest.encode({ taskQueue }).finish()));
    const handle = await source.start(client.nodeId);
    // The sealed token is there, and what comes behind it isn't taken.
    await once(poll, 'data');
    poll.on('error', () => {});
    poll.close(constants.NGHTTP2_CANCEL);
    const { failure } = (await completed(handle)) as { failure?: string };
    assert.equal(failure, 'execute.node_lost');
    session.destroy();
  });

  it('ends a poll at the deadline of its node, without a task', async () => {
    const node = await newNode();
    const startedAtMs = Date.now();
    const answer = await node.poll(undefined, 3_000).answer;
    assert.ok(Date.now() - startedAtMs < 6_000);
    assert.ok('bytes' in answer ? answer.bytes.length === 0 : /deadline/i.test(answer.details));
  });

  it('ends the polls of a removed node, and fails its tasks', async function () {
    this.timeout(20_000);
    const node = await newNode();
    await addPoolNode(scene.db.database, { id: node.nodeId });
    const handle = await source.start(node.nodeId, { heartbeatMs: 30_000 });
    const { taskToken } = await node.task();
    const poll = node.poll();
    await until(async () => (await openPolls()) === 1, 'it is open');
    await scene.db.database.node.update({
      where: { id: node.nodeId },
      data: { status: 'removed' },
    });
    const removedAtMs = Date.now();
    refusedWith(await poll.answer, status.PERMISSION_DENIED, 'edge.node_removed');
    assert.ok(Date.now() - removedAtMs < 5_000, `after ${Date.now() - removedAtMs} ms`);
    const end = { failure: 'execute.node_lost', isRetryable: true, message: 'execute.node_lost' };
    assert.deepEqual(await completed(handle), end);
    refusedWith(await node.poll().answer, status.PERMISSION_DENIED, 'edge.node_removed');
    refusedWith(await node.complete(taskToken, 1), status.PERMISSION_DENIED, 'edge.node_removed');
    const info = await node.call('GetSystemInfo', new Uint8Array());
    refusedWith(info, status.PERMISSION_DENIED, 'edge.node_removed');
  });

  it('fails the tasks of a node that is gone, before Temporal would', async function () {
    this.timeout(30_000);
    const node = await newNode();
    const handle = await source.start(node.nodeId, { heartbeatMs: 30_000 });
    await node.task();
    const goneAtMs = Date.now();
    node.close();
    const end = { failure: 'execute.node_lost', isRetryable: true, message: 'execute.node_lost' };
    assert.deepEqual(await completed(handle), end);
    const elapsedMs = Date.now() - goneAtMs;
    assert.ok(elapsedMs > 3_500 && elapsedMs < 9_000, `after ${elapsedMs} ms`);
  });

  it('leaves the tasks of a node alone that comes back, here or elsewhere', async function () {
    this.timeout(30_000);
    const certificate = await scene.ca.node();
    const connect = (address: string) => {
      const node = rawNode(address, scene.ca.ca, certificate);
      nodes.push(node);
      return node;
    };
    const { address } = await scene.another();
    const node = connect(address);
    await addPoolNode(scene.db.database, { id: node.nodeId });
    const handle = await source.start(node.nodeId, { heartbeatMs: 30_000 });
    const { taskToken } = await node.task();
    node.close();
    // It is heard of, and at the other edge.
    await sleep(2_000);
    await scene.db.database.node.update({
      where: { id: node.nodeId },
      data: { lastSeenAt: new Date() },
    });
    await sleep(3_500);
    await connect(scene.edge.address).complete(taskToken, 'elsewhere');
    assert.deepEqual(await completed(handle), { returned: 'elsewhere' });
  });

  it('drains: polls end, answers are still taken', async function () {
    this.timeout(30_000);
    const other = await scene.another();
    const node = await newNode(other.address);
    const handle = await source.start(node.nodeId, { heartbeatMs: 30_000 });
    const { taskToken } = await node.task();
    const poll = node.poll();
    await sleep(300);
    const stopping = other.stop();
    assert.deepEqual(await poll.answer, { bytes: Buffer.alloc(0) });
    refusedWith(await node.poll().answer, status.UNAVAILABLE, 'edge.unavailable');
    await sleep(500);
    assert.deepEqual(await node.complete(taskToken, 'done'), { bytes: Buffer.alloc(0) });
    await stopping;
    assert.deepEqual(await completed(handle), { returned: 'done' });
  });
});
