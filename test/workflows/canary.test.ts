import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { startCoordination, type Coordination } from '../support/coordination.ts';
import { INSTANT_MODEL, instantBackend } from '../../bench/instant-backend.ts';
import { CANARY_LOST_SECONDS } from '../../protocol/measure.ts';
import { eventTypes, historyOf } from '../support/history.ts';
import { windows } from '../support/presence.ts';
import { balances, count } from '../support/seeded.ts';
import {
  isActive,
  startTestNode,
  type TestNode,
  type TestNodeOptions,
} from '../support/test-node.ts';
import { until } from '../support/until.ts';

/** Nodes are measured before they get work, and again after they lost some. */
describe('workflows: canary', function () {
  this.timeout(120_000);
  let network: Coordination;
  const nodes: TestNode[] = [];
  before(async () => {
    network = await startCoordination();
  });
  afterEach(async () => {
    await Promise.all(nodes.splice(0).map((node) => node.stop()));
    await network.database.node.updateMany({ data: { status: 'removed' } });
  });
  after(() => network.stop());

  async function start(name: string, options: Partial<TestNodeOptions> = {}): Promise<TestNode> {
    const base = { ...network, name, tier: 1, backend: instantBackend() };
    const node = await startTestNode({ ...base, ...options });
    nodes.push(node);
    return node;
  }

  const read = (node: TestNode) =>
    network.database.node.findUniqueOrThrow({ where: { id: node.keys.nodeId } });

  const ask = (more: object = {}) =>
    network.chat({
      model: INSTANT_MODEL.id,
      messages: [{ role: 'user', content: 'one two three' }],
      max_tokens: 16,
      ...more,
    });

  it('gives a node no work before it has passed, and charges nobody', async () => {
    const before = await balances(network.database);
    const requests = await count(network.database, 'request');
    let pass: () => void = () => undefined;
    const mayPass = new Promise<void>((resolve) => (pass = resolve));
    const node = await start('new', {
      isTrueToItself: true,
      behaviour: async (honest) => {
        await mayPass;
        return honest();
      },
    });
    await until(() => node.probed() === 1, 'it has its canary');
    assert.equal((await read(node)).status, 'probing');
    const answer = ask();
    await until(async () => (await network.database.waiting.count()) === 1, 'the request waits');
    assert.equal(node.executed(), 0);
    assert.deepEqual(
      Object.values(await balances(network.database)).reduce((sum, wei) => sum + wei, 0n),
      0n,
    );
    pass();
    const response = await answer;
    assert.equal(response.status, 200, await response.clone().text());
    assert.deepEqual([node.probed(), node.executed()], [1, 1]);
    const view = await network.ended(response.headers.get('x-request-id') ?? '');
    const after = await balances(network.database);
    assert.equal(
      (before['acct_demo:available'] ?? 0n) - (after['acct_demo:available'] ?? 0n),
      BigInt(view.charged_wei),
    );
    assert.equal(await count(network.database, 'request'), requests + 1);
    assert.equal(await network.database.dispatch.count(), 1);
    const { nodeId } = node.keys;
    const history = await historyOf(network.client, `canary_${nodeId}_1`);
    assert.equal(eventTypes(history).at(-1), 'WORKFLOW_EXECUTION_COMPLETED');
    assert.ok(!JSON.stringify(history).includes('messages'), 'no plaintext in its history');
  });

  it('never lets a liar in, says why, and waits longer each time', async () => {
    const liar = await start('liar', {
      isTrueToItself: true,
      behaviour: async (honest) => ({ ...(await honest()), poe: '0'.repeat(64) }),
    });
    const failures = async () => (await read(liar)).probeFailures;
    await until(async () => (await failures()) === 1, 'its canary failed');
    const node = await read(liar);
    assert.deepEqual([node.status, node.probeCode], ['probing', 'poe.hash_mismatch']);
    assert.equal(node.measuredSeconds, 0);
    const firstWaitMs = node.probeAfter.getTime() - Date.now();
    assert.ok(firstWaitMs > 2_000 && firstWaitMs <= 5_000, String(firstWaitMs));
    await until(async () => (await failures()) === 2, 'its second canary failed');
    const secondWaitMs = (await read(liar)).probeAfter.getTime() - Date.now();
    assert.ok(secondWaitMs > 7_000 && secondWaitMs <= 10_000, String(secondWaitMs));
    assert.equal(liar.probed(), 2);
    const codes = await network.database.nodeTransition.findMany({
      where: { nodeId: liar.keys.nodeId, code: 'node.canary_failed' },
    });
    assert.equal(codes.length, 1, 'what goes on as it was is said once');
    assert.equal((await read(liar)).status, 'probing');
    assert.deepEqual(await windows(network.database, liar.keys.nodeId), [], 'no uptime counts');
  });

  it('does not take an answer without a token for one', async () => {
    const mute = await start('mute', {
      isTrueToItself: true,
      backend: instantBackend({ answer: () => [] }),
    });
    await until(async () => (await read(mute)).probeFailures === 1, 'its canary failed');
    assert.equal((await read(mute)).probeCode, 'poe.result_invalid');
  });

  it('attests by what it measured, whatever a node claims', async () => {
    await network.database.model.updateMany({ data: { tierFloors: [0, 5, 200, 400, 800] } });
    const slow = await start('boaster', {
      isTrueToItself: true,
      tier: 5,
      claimedTokensPerSecond: 1e6,
      backend: instantBackend({ pieceMs: 600, answer: () => ['one ', 'two ', 'three ', 'four'] }),
    });
    await until(() => isActive(network.database, slow.keys.nodeId), 'it is active');
    const node = await read(slow);
    assert.deepEqual([node.claimedTier, node.tier], [5, 2]);
    assert.ok(node.tokensPerSecond > 2 && node.tokensPerSecond < 30, String(node.tokensPerSecond));
    // Its claim would clear this deadline; nobody relies on it.
    const honest = await start('honest', { tier: 5 });
    await network.database.node.update({
      where: { id: honest.keys.nodeId },
      data: { tier: 5, tokensPerSecond: 1_000 },
    });
    const response = await ask({ max_tokens: 200, deadline_seconds: 5 });
    assert.equal(response.status, 200, await response.clone().text());
    assert.deepEqual([slow.executed(), honest.executed()], [0, 1]);
    await network.database.model.updateMany({ data: { tierFloors: [0, 1, 2, 4, 8] } });
  });

  it('does not take the wait for a node that begins to poll for slowness', async () => {
    const late = await start('late');
    const { tokensPerSecond: before } = await read(late);
    await late.stopPolling();
    const data = { status: 'probing', probeAfter: new Date() };
    await network.database.node.update({ where: { id: late.keys.nodeId }, data });
    await until(async () => (await read(late)).probeUntil !== null, 'a canary is under way');
    await sleep(4_000);
    await late.startPolling();
    await until(() => isActive(network.database, late.keys.nodeId), 'it has passed');
    assert.equal(late.probed(), 3, 'one at its start, one that waited, and one that measured');
    const { measuredSeconds, tokensPerSecond } = await read(late);
    assert.ok(measuredSeconds < 3, `${measuredSeconds} s`);
    assert.ok(tokensPerSecond > before / 20, `${tokensPerSecond} after ${before}`);
  });

  it('goes on measuring by validated work', async () => {
    const node = await start('worker', { backend: instantBackend({ pieceMs: 300 }) });
    const { tokensPerSecond: fresh } = await read(node);
    // One sample a second, and the canary was one.
    await sleep(1_000);
    const response = await ask();
    assert.equal(response.status, 200, await response.clone().text());
    const { tokensPerSecond, measuredSeconds } = await read(node);
    assert.ok(tokensPerSecond < fresh, `${tokensPerSecond} after ${fresh}`);
    assert.ok(measuredSeconds > 0.9, String(measuredSeconds));
  });

  it('shuts a node out that lost work, until it can serve again', async () => {
    const deaf = await start('deaf');
    await deaf.stopPolling();
    const other = await start('other', { tier: 2 });
    const response = await ask();
    assert.equal(response.status, 200, await response.clone().text());
    const lost = await network.database.failureEvent.findMany({
      where: { nodeId: deaf.keys.nodeId },
    });
    assert.deepEqual(
      lost.map(({ code }) => code),
      ['dispatch.node_unreachable'],
    );
    assert.equal((await read(deaf)).status, 'probing');
    // It sends heartbeats all the time, and costs no other request anything.
    for (let asked = 0; asked < 3; asked++) assert.equal((await ask()).status, 200);
    assert.equal(other.executed(), 4);
    assert.equal(await network.database.failureEvent.count(), 1);
    await deaf.startPolling();
    await until(() => isActive(network.database, deaf.keys.nodeId), 'it is back');
    assert.equal((await ask()).status, 200);
    assert.equal(deaf.executed(), 1);
  });

  it('starts another one for a canary whose run was terminated', async () => {
    const node = await start('unlucky');
    const { nodeId } = node.keys;
    await node.stopPolling();
    const data = { status: 'probing', probeAfter: new Date() };
    await network.database.node.update({ where: { id: nodeId }, data });
    await until(async () => (await read(node)).probeUntil !== null, 'a canary is under way');
    const { probe, probeUntil } = await read(node);
    const leftMs = Number(probeUntil) - Date.now();
    assert.ok(leftMs <= CANARY_LOST_SECONDS * 1_000);
    await network.client.workflow.getHandle(`canary_${nodeId}_${probe}`).terminate('by a test');
    await node.startPolling();
    await sleep(1_500);
    assert.equal((await read(node)).probe, probe, 'nobody knows yet that it is lost');
    // As if that long had passed.
    await network.database.node.update({ where: { id: nodeId }, data: { probeUntil: new Date() } });
    await until(() => isActive(network.database, nodeId), 'the next one has passed');
    assert.equal((await read(node)).probe, probe + 1);
  });
});
