import assert from 'node:assert/strict';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { INSTANT_MODEL, instantBackend } from '../../bench/instant-backend.ts';
import type { Backend } from '../../nodes/backends/backend.ts';
import { OUTAGE_SECONDS } from '../../protocol/outage.ts';
import { ONLINE_SECONDS } from '../../protocol/schedule.ts';
import { spawnRole, type Role } from '../../workers/embedded/process.ts';
import { startCoordination, type Coordination } from '../support/coordination.ts';
import { startOpenAiServer, type OpenAiServer } from '../support/openai-server.ts';
import { transitions, windows } from '../support/presence.ts';
import { OPERATOR } from '../support/seeded.ts';
import { freePort, testServers } from '../support/servers.ts';
import { startTestNode, type TestNode } from '../support/test-node.ts';
import { nodeEnvironment } from '../support/network-edge.ts';
import { until } from '../support/until.ts';

/** Each word of what `ask` sends takes a second; what a node is measured by takes no time. */
function slowBackend(): Backend {
  const [fast, slow] = [instantBackend(), instantBackend({ pieceMs: 1_000 })];
  const isAsked = (text = '') => text.startsWith('word');
  return {
    ...fast,
    generate: (request, ...rest) =>
      (isAsked(request.messages.at(-1)?.content) ? slow : fast).generate(request, ...rest),
  };
}

/** How a node process goes, and how the network goes away from under it. */
describe('workers/node: draining, killed, and through an outage', function () {
  this.timeout(180_000);
  let network: Coordination;
  let server: OpenAiServer;
  let other: TestNode;
  let node: Role;
  let nodeId: string;
  let port: number;

  before(async () => {
    network = await startCoordination();
    port = await freePort();
    server = await startOpenAiServer(slowBackend(), port);
    node = await startNode();
    nodeId = String(node.ready['nodeId']);
    other = await startTestNode({
      ...network,
      backend: instantBackend(),
      name: 'other',
      tier: 2,
    });
  });
  after(async () => {
    await node?.stop();
    await other?.stop();
    await server?.stop();
    await network?.stop();
  });

  async function startNode(): Promise<Role> {
    const { directory } = await testServers();
    return spawnRole({
      name: 'node',
      entry: fileURLToPath(new URL('../../workers/node.ts', import.meta.url)),
      logFile: join(directory, `node-loss-${port}.log`),
      stopWithinMs: 45_000,
      env: {
        ...(await nodeEnvironment(
          network.edge,
          OPERATOR,
          join(directory, `keys-node-loss-${port}`),
        )),
        PLX_NODE_NAME: 'goes',
        PLX_NODE_TIER: '1',
        PLX_NODE_SLOTS: '2',
        PLX_BACKEND: 'openai',
        PLX_MODEL_ID: INSTANT_MODEL.id,
        PLX_MODEL_DIGEST: INSTANT_MODEL.digest,
        PLX_OPENAI_URL: `http://127.0.0.1:${port}/v1`,
      },
    });
  }

  const row = () => network.database.node.findUniqueOrThrow({ where: { id: nodeId } });
  const isServing = async () => {
    const { isOnline, isReady, status } = await row();
    const open = (await windows(network.database, nodeId)).some(({ endedAt }) => !endedAt);
    return isOnline && isReady && status === 'active' && open;
  };
  const takenSlots = () => network.database.slot.count({ where: { unitId: { not: null } } });

  /** Sends a request and waits until its node has begun. @returns how to get its end. */
  async function ask(words: number, deadline_seconds = 60) {
    const begun = server.exchanges.length;
    // What it has served slowly doesn't keep it from short deadlines.
    const where = { id: nodeId };
    await network.database.node.update({ where, data: { tokensPerSecond: 1_000 } });
    const response = network.chat({
      model: INSTANT_MODEL.id,
      messages: [{ role: 'user', content: Array.from({ length: words }, () => 'word').join(' ') }],
      max_tokens: 32,
      deadline_seconds,
    });
    await until(() => server.exchanges.length > begun, 'the node has begun');
    const [newest] = await network.database.request.findMany({
      orderBy: { acceptedAt: 'desc' },
      take: 1,
    });
    return { id: newest?.id ?? '', answer: response.catch(() => undefined) };
  }

  const proofOf = async (id: string) => {
    const { status, proof_of_execution: proof } = await network.ended(id);
    assert.equal(status, 'completed');
    return proof;
  };

  it('ends what it has after SIGTERM, takes nothing new, and says goodbye', async () => {
    await until(isServing, 'it serves');
    const { id } = await ask(5);
    const stopping = node.stop();
    await until(async () => (await row()).status === 'draining', 'it drains');
    assert.equal((await row()).isOnline, true);
    // Another node, though the draining one is smaller and has a free slot.
    const response = await network.chat({
      model: INSTANT_MODEL.id,
      messages: [{ role: 'user', content: 'one' }],
      max_tokens: 16,
    });
    assert.equal(response.status, 200, await response.clone().text());
    const elsewhere = await proofOf(response.headers.get('x-request-id') ?? '');
    assert.deepEqual([elsewhere?.node, elsewhere?.dispatch], [other.keys.nodeId, 1]);
    await stopping;
    const proof = await proofOf(id);
    assert.deepEqual([proof?.node, proof?.dispatch], [nodeId, 1]);
    assert.equal(await network.database.failureEvent.count(), 0);
    assert.deepEqual(await transitions(network.database, nodeId), [
      'node.online',
      'node.draining',
      'node.left',
    ]);
    const [window, ...more] = await windows(network.database, nodeId);
    assert.equal(window?.endCode, 'node.left');
    assert.deepEqual(more, []);
    await until(async () => (await takenSlots()) === 0, 'no slot is taken');
  });

  it('is active again once it was started again', async () => {
    node = await startNode();
    await until(isServing, 'it serves');
    const [, window] = await windows(network.database, nodeId);
    assert.equal(window?.endedAt, null);
    assert.equal((await transitions(network.database, nodeId)).at(-1), 'node.online');
  });

  it('is missed after SIGKILL: re-dispatched, offline, its slot free, and no flag', async () => {
    const { id } = await ask(20);
    process.kill(node.pid, 'SIGKILL');
    const { lastSeenAt } = await row();
    await until(async () => !(await row()).isOnline, 'it is offline');
    const [, window] = await windows(network.database, nodeId);
    assert.equal(window?.endCode, 'node.heartbeat_lost');
    assert.ok(window?.endedAt && window.endedAt >= lastSeenAt);
    assert.ok(Date.now() - window.endedAt.getTime() > ONLINE_SECONDS * 1_000);
    const proof = await proofOf(id);
    assert.deepEqual([proof?.node, proof?.dispatch], [other.keys.nodeId, 2]);
    const events = await network.database.failureEvent.findMany({ where: { unitId: id } });
    assert.deepEqual(
      events.map((event) => [event.code, event.dispatch, event.nodeId]),
      [['execute.node_lost', 1, nodeId]],
    );
    assert.equal(await network.database.nodeEvent.count(), 0);
    const codes = await transitions(network.database, nodeId);
    assert.equal(codes.filter((code) => code === 'node.heartbeat_lost').length, 1);
    // A node that comes back says that it doesn't run it: sooner than its lease ends.
    node = await startNode();
    await until(async () => (await takenSlots()) === 0, 'no slot is taken', 10);
  });

  it('has nothing worse in its history after an outage of the coordinator', async () => {
    await until(isServing, 'it serves');
    const ids = [nodeId, other.keys.nodeId];
    const history = () =>
      Promise.all(
        ids.map(async (id) => ({
          transitions: await transitions(network.database, id),
          windows: await windows(network.database, id),
        })),
      );
    const before = await history();
    const outages = await network.database.outage.count();
    const { id } = await ask(30, 4);
    await network.killCoordinator();
    // The node misses the deadline meanwhile, and everybody is silent for long.
    await sleep((ONLINE_SECONDS + OUTAGE_SECONDS) * 1_000);
    await network.startCoordinator();
    // Its own deadline is over, so it depends on who is back first: the other node, or its run.
    const { status, proof_of_execution: proof } = await network.ended(id);
    if (status === 'completed') assert.equal(proof?.node, other.keys.nodeId);
    else assert.equal(status, 'failed');
    const [outage, ...more] = await network.database.outage.findMany({ skip: outages });
    assert.ok(outage && outage.endedAt.getTime() - outage.beganAt.getTime() > 10_000);
    assert.deepEqual(more, []);
    const missed = { unitId: id, nodeId, code: 'node.deadline_exceeded' };
    assert.equal(await network.database.failureEvent.count({ where: missed }), 1);
    assert.equal(await network.database.nodeEvent.count(), 0);
    await sleep((ONLINE_SECONDS + 2) * 1_000);
    assert.deepEqual(await history(), before);
  });
});
