import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import type { CheckRequirements } from '../../activities/checkers.ts';
import { receive } from '../../activities/receive.ts';
import { schedule, type ScheduleInput } from '../../activities/schedule.ts';
import { match } from '../../intake/match.ts';
import { testOperator } from '../../bench/signed-binding.ts';
import type { NodeId } from '../../protocol/ids.ts';
import { backgroundScene, type BackgroundScene } from '../support/background-scene.ts';
import { addPoolNode, type PoolNodeData } from '../support/pool.ts';
import { intakeCall, receiveKeys } from '../support/seeded.ts';
import { seedOperators } from '../../workers/embedded/seed.ts';

const COORDINATOR = 'http://127.0.0.1:1';
const ORDER = createHash('sha256').update('an order').digest('hex');

describe('activities/checkers', () => {
  let scene: BackgroundScene;
  beforeEach(async () => {
    scene = await backgroundScene();
  });
  afterEach(() => scene.close());

  async function add(operatorId: string, changed: PoolNodeData = {}): Promise<NodeId> {
    await seedOperators(scene.database, [testOperator(operatorId)]);
    return addPoolNode(scene.database, { operatorId, slots: 100, ...changed });
  }

  const check = (changed: Partial<CheckRequirements> = {}): CheckRequirements => ({
    usedOperators: ['op-first'],
    engine: 'instant/1',
    order: ORDER,
    ...changed,
  });

  async function ask(changed: Partial<ScheduleInput> = {}) {
    const { accepted } = await receive(scene.database, receiveKeys, await intakeCall());
    const unit = { unitId: accepted.requestId, dispatch: 2, usedNodes: [], request: accepted };
    return schedule(scene.database, COORDINATOR, { ...unit, check: check(), ...changed });
  }

  async function chosen(changed: Partial<ScheduleInput> = {}): Promise<string> {
    const result = await ask(changed);
    return result.kind === 'assigned' ? result.node.nodeId : result.kind;
  }

  it('asks nobody of an operator that has a vote, no used node, no other class', async () => {
    const used = await add('op-used');
    await add('op-first');
    await add('op-else', { engine: 'instant/2' });
    assert.equal(await chosen({ usedNodes: [used] }), 'nobody');
    const right = await add('op-right');
    assert.equal(await chosen({ usedNodes: [used] }), right);
  });

  it('asks any class where that is allowed', async () => {
    const other = await add('op-else', { engine: 'instant/2' });
    assert.equal(await chosen(), 'nobody');
    assert.equal(await chosen({ check: check({ engine: null }) }), other);
  });

  it('asks nobody who is away, removed, or too small', async () => {
    await add('op-a', { isOnline: false });
    await add('op-b', { status: 'removed' });
    await add('op-c', { isReady: false });
    await add('op-d', { tokensPerSecond: 0.001 });
    assert.equal(await chosen(), 'nobody');
  });

  it('draws whom it asks: any node as likely, whatever its size', async () => {
    const nodes: NodeId[] = [];
    for (const index of [1, 2, 3, 4, 5])
      nodes.push(
        await add(`op-${index}`, { tier: index, tokensPerSecond: 100 * index, slots: 500 }),
      );
    const asked = new Map<string, number>();
    const n = 300;
    for (let round = 0; round < n; round++) {
      const order = createHash('sha256').update(String(round)).digest('hex');
      const node = await chosen({ check: check({ order }) });
      asked.set(node, (asked.get(node) ?? 0) + 1);
    }
    const expected = n / nodes.length;
    const standardError = Math.sqrt(expected * (1 - 1 / nodes.length));
    for (const node of nodes)
      assert.ok(Math.abs((asked.get(node) ?? 0) - expected) < 5 * standardError);
  });

  it('asks the same node for the same draw, and others for the next vote', async () => {
    for (const index of [1, 2, 3, 4, 5, 6, 7, 8]) await add(`op-${index}`);
    const seconds = new Set<string>();
    for (const dispatch of [2, 2, 2]) seconds.add(await chosen({ dispatch }));
    assert.equal(seconds.size, 1);
    const thirds = new Set<string>();
    for (const dispatch of [2, 3, 4, 5, 6, 7]) thirds.add(await chosen({ dispatch }));
    assert.ok(thirds.size > 1);
  });

  it('waits for a busy one, and gets it when it is free: not one of another operator', async () => {
    await add('op-busy', { slots: 1 });
    const [first, waiting] = [await ask(), await ask()];
    assert.ok(first.kind === 'assigned');
    assert.equal(waiting.kind, 'waiting');
    const [row] = await scene.database.waiting.findMany();
    assert.deepEqual([row?.usedOperators, row?.engine], [['op-first'], 'instant/1']);
    // A free node that must not check it, and is looked at in vain.
    await add('op-first', { slots: 1 });
    assert.deepEqual((await match(scene.dependencies)).assigned, []);
    await scene.database.slot.updateMany({
      where: { machineId: first.node.nodeId },
      data: { unitId: null, dispatch: null, leaseUntil: null },
    });
    await scene.database.node.updateMany({ data: { isFull: false } });
    const { assigned } = await match(scene.dependencies);
    assert.deepEqual(assigned, [row?.unitId]);
    const attempt = await scene.database.dispatch.findFirstOrThrow({
      where: { unitId: row?.unitId ?? '' },
    });
    assert.deepEqual([attempt.nodeId, attempt.isCheck], [first.node.nodeId, true]);
  });

  it('that waits keeps no unit from a node which must not check it', async () => {
    await add('op-busy', { slots: 1 });
    await ask();
    assert.equal((await ask()).kind, 'waiting');
    const free = await add('op-first', { slots: 1 });
    const { accepted } = await receive(scene.database, receiveKeys, await intakeCall());
    const later = { unitId: accepted.requestId, dispatch: 1, usedNodes: [], request: accepted };
    const result = await schedule(scene.database, COORDINATOR, later);
    assert.equal(result.kind === 'assigned' && result.node.nodeId, free);
  });

  it('keeps nobody from a node that no check may have, however many checks wait', async () => {
    const busy = await add('op-busy', { slots: 1 });
    await ask();
    for (let i = 0; i < 70; i++) assert.equal((await ask()).kind, 'waiting');
    const { accepted } = await receive(scene.database, receiveKeys, await intakeCall());
    const later = { unitId: accepted.requestId, dispatch: 1, usedNodes: [busy], request: accepted };
    assert.equal((await schedule(scene.database, COORDINATOR, later)).kind, 'waiting');
    await add('op-first', { slots: 1 });
    assert.deepEqual((await match(scene.dependencies)).assigned, [accepted.requestId]);
  });
});
