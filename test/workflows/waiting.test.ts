import assert from 'node:assert/strict';
import { reserve, type ScheduleInput } from '../../activities/schedule.ts';
import type { Priority } from '../../protocol/receive.ts';
import { startCoordination, type Coordination } from '../support/coordination.ts';
import { INSTANT_MODEL, instantBackend } from '../../bench/instant-backend.ts';
import { balances } from '../support/seeded.ts';
import { startTestNode, type TestNode, type TestNodeOptions } from '../support/test-node.ts';
import { until } from '../support/until.ts';

/** Schedule's row of the specification's failure table: held until a candidate or the deadline. */
describe('workflows: a unit that waits', function () {
  this.timeout(120_000);
  let network: Coordination;
  let initial: Record<string, bigint>;
  const nodes: TestNode[] = [];
  before(async () => {
    network = await startCoordination();
  });
  beforeEach(async () => {
    initial = await balances(network.database);
  });
  afterEach(async () => {
    await Promise.all(nodes.splice(0).map((node) => node.stop()));
    await network.database.node.updateMany({ data: { status: 'removed' } });
    assert.equal(await network.database.waiting.count(), 0);
    assert.equal((await balances(network.database))['acct_demo:reserved'], 0n);
  });
  after(() => network.stop());

  async function addNode(options: Partial<TestNodeOptions> = {}): Promise<TestNode> {
    const { database, edge } = network;
    const base = { database, edge, backend: instantBackend() };
    const node = await startTestNode({ ...base, name: `n-${nodes.length}`, tier: 1, ...options });
    nodes.push(node);
    return node;
  }

  const ask = (text: string, priority: Priority = 'standard', hardware_tier = 1) =>
    network.chat({
      model: INSTANT_MODEL.id,
      messages: [{ role: 'user', content: text }],
      max_tokens: 16,
      priority,
      hardware_tier,
    });

  /** Asks when nobody can answer. @returns the request's id, and its answer once it has one. */
  async function waiting(text: string, priority?: Priority, tier?: number) {
    const before = new Set((await network.database.waiting.findMany()).map(({ unitId }) => unitId));
    const answer = ask(text, priority, tier);
    let id = '';
    await until(async () => {
      const rows = await network.database.waiting.findMany();
      id = rows.find(({ unitId }) => !before.has(unitId))?.unitId ?? '';
      return id !== '';
    }, `${text} does not wait`);
    return { id, answer };
  }

  async function assertServed(answer: Promise<Response>, text: string): Promise<void> {
    const response = await answer;
    const body = (await response.json()) as {
      id: string;
      choices?: { message: { content: string } }[];
    };
    assert.equal(body.choices?.[0]?.message.content, text, JSON.stringify(body));
    assert.equal((await network.ended(body.id)).status, 'completed');
  }

  it('is served in its turn: most pressing first', async () => {
    const standard = await waiting('standard');
    const expedited = await waiting('expedited', 'expedited');
    const urgent = await waiting('urgent', 'urgent');
    const served: string[] = [];
    const backend = instantBackend({
      slots: 1,
      answer: ({ messages }) => {
        const text = messages.at(-1)?.content ?? '';
        served.push(text);
        return [text];
      },
    });
    await addNode({ backend });
    await assertServed(standard.answer, 'standard');
    await assertServed(expedited.answer, 'expedited');
    await assertServed(urgent.answer, 'urgent');
    const units = served.filter((text) => ['standard', 'expedited', 'urgent'].includes(text));
    assert.deepEqual(units, ['urgent', 'expedited', 'standard']);
  });

  it('is not moved by signals: it is served once, when there is a node', async () => {
    const { id, answer } = await waiting('patient');
    const run = network.client.workflow.getHandle(id);
    for (const _ of [1, 2, 3]) await run.signal('wake');
    const node = await addNode();
    await run.signal('wake');
    await assertServed(answer, 'patient');
    assert.equal(node.executed(), 1);
    assert.equal(await network.database.dispatch.count({ where: { unitId: id } }), 1);
  });

  it('is served when its coordinator crashed between assignment and signal', async () => {
    const node = await addNode({ tier: 1 });
    const { id, answer } = await waiting('crash', 'standard', 3);
    await network.killCoordinator();
    // What a coordinator had done just before it crashed.
    const { database, coordinatorUrl } = network;
    const suits = { tier: 3, claimedTier: 3, lastSeenAt: new Date() };
    await database.node.update({ where: { id: node.keys.nodeId }, data: suits });
    const { input } = await database.waiting.findUniqueOrThrow({ where: { unitId: id } });
    const asked = input as unknown as ScheduleInput;
    assert.ok(await reserve(database, coordinatorUrl, asked, true));
    await network.startCoordinator();
    await assertServed(answer, 'crash');
    assert.equal(node.executed(), 1);
  });

  it('comes back with its credit when it is terminated in Temporal UI', async () => {
    const { id, answer } = await waiting('terminated');
    await network.client.workflow.getHandle(id).terminate();
    const response = await answer;
    assert.equal(response.status, 503);
    const { error } = (await response.json()) as { error: { code: string } };
    assert.equal(error.code, 'coordinator.run_lost');
    assert.equal((await network.ended(id)).status, 'failed');
    assert.deepEqual(await balances(network.database), initial);
  });

  it('comes back with credit and slot when it is terminated while a node has it', async () => {
    let begun = false;
    const node = await addNode({
      behaviour: async (honest) => {
        begun = true;
        return honest();
      },
      backend: instantBackend({ pieceMs: 3_000, slots: 1 }),
    });
    const answer = ask('one two three');
    await until(() => begun, 'no node has it');
    const [running] = await network.database.request.findMany({ where: { finishedAt: null } });
    assert.ok(running);
    await network.client.workflow.getHandle(running.id).terminate();
    assert.equal((await answer).status, 503);
    const view = await network.ended(running.id);
    assert.deepEqual([view.status, view.error?.code], ['failed', 'coordinator.run_lost']);
    assert.deepEqual(await balances(network.database), initial);
    await until(async () => {
      const [slot] = await network.database.slot.findMany({ where: { unitId: running.id } });
      return !slot?.leaseUntil || slot.leaseUntil.getTime() < Date.now() + 16_000;
    }, 'its slot does not come back');
    assert.equal(node.executed(), 1);
  });
});
