import assert from 'node:assert/strict';
import { receive } from '../../activities/receive.ts';
import { schedule, type ScheduleInput } from '../../activities/schedule.ts';
import { settle } from '../../activities/settle.ts';
import { readRequest } from '../../prisma/requests.ts';
import type { CapacityDetail } from '../../protocol/capacity.ts';
import type { AcceptedInference, RequestParameters } from '../../protocol/receive.ts';
import { addPoolNode, type PoolNodeData } from '../support/pool.ts';
import { intakeCall, receiveKeys, seedInstant } from '../support/seeded.ts';
import { freshDatabase, type TestDatabase } from '../support/servers.ts';

const COORDINATOR = 'http://127.0.0.1:1';
const OTHER_MODEL = `sha256:${'2'.repeat(64)}`;

describe('activities: why a request found no node', () => {
  let db: TestDatabase;
  beforeEach(async () => {
    db = await freshDatabase();
    await seedInstant(db.database);
  });
  afterEach(() => db.close());

  const accept = async (changed: Partial<RequestParameters> = {}) =>
    (await receive(db.database, receiveKeys, await intakeCall(changed))).accepted;
  const ask = (request: AcceptedInference, changed: Partial<ScheduleInput> = {}) =>
    schedule(db.database, COORDINATOR, {
      unitId: request.requestId,
      dispatch: 1,
      usedNodes: [],
      request,
      ...changed,
    });
  const late = async (request: AcceptedInference, changed: Partial<ScheduleInput> = {}) => {
    const over = { ...request, deadlineAtMs: Date.now() - 1 };
    assert.equal((await ask(over, changed)).kind, 'elapsed');
    return (await readRequest(db.database, request.requestId))?.failureDetail;
  };

  const first = { queue_position: 1, queue_length: 1 };
  const busy: PoolNodeData = { slots: 0 };
  const cases: [predicate: CapacityDetail['predicate'], ...nodes: PoolNodeData[]][] = [
    ['no_nodes'],
    ['no_nodes', { status: 'removed' }],
    ['workload_class', { workloadClasses: ['other'] }],
    ['model', { modelDigest: OTHER_MODEL }],
    ['probing', { status: 'probing', tokensPerSecond: 0 }],
    ['tier', { tier: 1 }, { status: 'probing', tokensPerSecond: 0 }],
    ['too_slow_for_deadline', { tier: 2, tokensPerSecond: 0.001 }, { tier: 1 }],
    ['draining', { tier: 2, status: 'draining' }],
    ['offline', { tier: 2, isOnline: false }],
    ['offline', { tier: 2, lastSeenAt: new Date(0) }],
    ['backend_gone', { tier: 2, isReady: false }],
    ['no_free_slot', { tier: 2, ...busy }, { tier: 2, isReady: false }, { tier: 1 }],
  ];
  for (const [predicate, ...nodes] of cases) {
    const said = nodes.map((node) => JSON.stringify(node)).join() || 'none';
    it(`says ${predicate} of ${said}`, async () => {
      for (const node of nodes) await addPoolNode(db.database, node);
      const request = await accept({ hardwareTier: 2 });
      assert.equal((await ask(request)).kind, 'waiting');
      assert.deepEqual(await late(request), { predicate, ...first });
    });
  }

  it('says that all nodes that fit have had it', async () => {
    const node = await addPoolNode(db.database);
    const request = await accept();
    const again = { dispatch: 2, usedNodes: [node] };
    assert.equal((await ask(request, again)).kind, 'waiting');
    assert.deepEqual(await late(request, again), { predicate: 'already_used', ...first });
  });

  it('says how many others waited before it, and behind it', async () => {
    await addPoolNode(db.database, busy);
    const requests: AcceptedInference[] = [];
    for (const priority of ['urgent', 'expedited', 'standard'] as const) {
      requests.push(await accept({ priority }));
      assert.equal((await ask(requests.at(-1) as AcceptedInference)).kind, 'waiting');
    }
    const places = [];
    for (const request of requests.toReversed()) places.push(await late(request));
    assert.deepEqual(places, [
      { predicate: 'no_free_slot', queue_position: 3, queue_length: 3 },
      { predicate: 'no_free_slot', queue_position: 2, queue_length: 2 },
      { predicate: 'no_free_slot', queue_position: 1, queue_length: 1 },
    ]);
  });

  it('says that others come first where a node is free for them', async () => {
    const held = await accept({ priority: 'urgent' });
    const behind = await accept();
    for (const request of [held, behind]) assert.equal((await ask(request)).kind, 'waiting');
    await addPoolNode(db.database);
    assert.equal((await ask(behind)).kind, 'waiting');
    const detail = { predicate: 'others_first', queue_position: 2, queue_length: 2 };
    assert.deepEqual(await late(behind), detail);
  });

  it('keeps what was said first, when it runs again', async () => {
    const request = await accept();
    await ask(request);
    const detail = await late(request);
    await addPoolNode(db.database, { modelDigest: OTHER_MODEL });
    assert.deepEqual(await late(request), detail);
  });

  it('has no place of one that never began to wait', async () => {
    const request = await accept();
    const detail = { predicate: 'no_nodes', queue_position: null, queue_length: 0 };
    assert.deepEqual(await late(request), detail);
  });

  it('is said by Settle if the deadline came as the request began to wait', async () => {
    await addPoolNode(db.database);
    const request = await accept({ hardwareTier: 5 });
    assert.equal((await ask(request)).kind, 'waiting');
    await settle(db.database, {
      requestId: request.requestId,
      accountId: request.accountId,
      state: 'failed',
      code: 'schedule.deadline_elapsed',
      usage: null,
      price: request.price,
      reservedWei: request.reservedWei,
      timeline: [],
    });
    const record = await readRequest(db.database, request.requestId);
    assert.deepEqual(record?.failureDetail, { predicate: 'tier', ...first });
  });

  it('is nothing that a check has to say', async () => {
    const request = await accept();
    const check = { usedOperators: [], engine: 'instant/1', order: '00'.repeat(32) };
    assert.equal(await late(request, { check }), null);
  });
});
