import assert from 'node:assert/strict';
import { formatRequestId } from '../../protocol/ids.ts';
import { storeRequest, storeVerification } from '../support/drawn.ts';
import { ADMIN_KEY, startLoneGateway, type LoneGateway } from '../support/lone-gateway.ts';
import { addPoolNode } from '../support/pool.ts';
import { ACCOUNT, balances } from '../support/seeded.ts';

const UNIT = formatRequestId(new Uint8Array(32).fill(7));
const admin = { key: ADMIN_KEY };

describe('gateway/review', () => {
  let gateway: LoneGateway;
  let removed: string;
  let flagged: string;
  before(async () => {
    gateway = await startLoneGateway();
    const { database } = gateway;
    await addPoolNode(database, { name: 'honest' });
    removed = await addPoolNode(database, {
      name: 'liar',
      status: 'removed',
      refundSince: new Date(),
      probeAfter: new Date(Date.now() + 3_600_000),
    });
    flagged = await addPoolNode(database, { name: 'unclear' });
    await database.nodeReview.create({
      data: { nodeId: removed, decision: 'removed', code: 'node.removed_wrong_results' },
    });
    await database.nodeTrust.create({
      data: { nodeId: removed, workloadClass: 'ai.inference', checked: 12, logRatio: 13.5 },
    });
    await flag(removed, 'validate.minority', 1);
    await flag(removed, 'validate.minority', 2);
    await flag(removed, 'poe.malformed', 3);
    await flag(flagged, 'validate.no_majority', 1);
  });
  after(() => gateway.stop());

  const flag = (nodeId: string, code: string, dispatch: number) =>
    gateway.database.nodeEvent.create({ data: { nodeId, unitId: UNIT, dispatch, code } });
  const reinstated = (id: string, body: object = { reason: 'Its memory was replaced.' }) =>
    gateway.call('POST', `/v1/nodes/${id}/reinstate`, { ...admin, body });

  it('is for admin keys alone', async () => {
    for (const [method, path] of [
      ['GET', '/v1/nodes/review'],
      ['GET', `/v1/nodes/${removed}/review`],
      ['POST', `/v1/nodes/${removed}/reinstate`],
    ] as const) {
      const { status, code, body } = await gateway.call(
        method,
        path,
        method === 'POST' ? { body: { reason: 'because' } } : {},
      );
      assert.deepEqual([status, code], [403, 'gateway.admin_required'], path);
      assert.equal(body.error?.type, 'permission_error');
      assert.equal((await gateway.call(method, path, { key: 'wrong' })).status, 401);
    }
    const node = await gateway.database.node.findUniqueOrThrow({ where: { id: removed } });
    assert.equal(node.status, 'removed');
  });

  it('lists who was removed, then who is flagged, with reasons, flags and trust', async () => {
    const { body } = await gateway.call('GET', '/v1/nodes/review', admin);
    const names = body.data.map(({ name }) => name);
    assert.deepEqual(names, ['liar', 'unclear']);
    const [liar, unclear] = body.data;
    assert.deepEqual([liar?.status, liar?.why?.code], ['removed', 'node.removed_wrong_results']);
    assert.deepEqual(liar?.flags, { 'validate.minority': 2, 'poe.malformed': 1 });
    assert.deepEqual(liar?.trust, [
      { workload_class: 'ai.inference', checked: 12, log_ratio: 13.5, cleared_at: null },
    ]);
    const [latest] = liar?.events ?? [];
    assert.deepEqual([latest?.code, latest?.unit, latest?.dispatch], ['poe.malformed', UNIT, 3]);
    assert.match(latest?.created_at ?? '', /^20\d\d-.*Z$/);
    assert.deepEqual([unclear?.status, unclear?.why?.code], ['active', 'validate.no_majority']);
    const first = await gateway.call('GET', '/v1/nodes/review?limit=1', admin);
    assert.deepEqual([first.body.last_id, first.body.has_more], [removed, true]);
    const next = await gateway.call('GET', `/v1/nodes/review?limit=1&after=${removed}`, admin);
    assert.deepEqual([next.body.last_id, next.body.has_more], [flagged, false]);
  });

  it('shows all that was written down of one', async () => {
    const { database } = gateway;
    const unitId = await storeRequest(database);
    await storeVerification(database, unitId, 'overruled');
    await database.vote.create({
      data: { unitId, dispatch: 1, nodeId: removed, side: 'minority' },
    });
    const { body } = await gateway.call('GET', `/v1/nodes/${removed}/review`, admin);
    assert.equal(body.reviews[0]?.why?.code, 'node.removed_wrong_results');
    assert.equal(body.events.length, 3);
    assert.deepEqual(
      [body.votes[0]?.unit, body.votes[0]?.side, body.votes[0]?.outcome, body.has_more],
      [unitId, 'minority', 'overruled', false],
    );
    for (const id of [`nd_${'0'.repeat(64)}`, 'liar', '%00'])
      for (const page of ['', '/explain', '/review']) {
        const none = await gateway.call('GET', `/v1/nodes/${id}${page}`, admin);
        assert.deepEqual([none.status, none.code], [404, 'gateway.node_not_found'], id + page);
      }
    const undecodable = await gateway.call('GET', '/v1/nodes/%ff/review', admin);
    assert.deepEqual([undecodable.status, undecodable.code], [400, 'receive.malformed_request']);
  });

  it('wants a reason', async () => {
    for (const body of [{}, { reason: ' ' }, { reason: 7 }]) {
      const { status, body: answer } = await reinstated(removed, body);
      assert.deepEqual([status, answer.error?.param], [400, 'reason']);
    }
    // No body may have it anywhere.
    assert.equal((await reinstated(removed, { reason: 'a\0b' })).status, 400);
    const { body } = await reinstated(removed, { reason: 'x', stake: 1 });
    assert.equal(body.error?.param, 'stake');
  });

  it('reinstates: a canary first, probation anew, on the record, and no money moves', async () => {
    const { database } = gateway;
    const before = await balances(database);
    const owed = await database.node.findUniqueOrThrow({ where: { id: removed } });
    const { status, body } = await reinstated(removed);
    assert.equal(status, 200);
    assert.deepEqual([body.status, body.why, body.flags], ['probing', null, {}]);
    assert.deepEqual(
      [body.reviews[0]?.decision, body.reviews[0]?.reviewer, body.reviews[0]?.reason],
      ['reinstated', ACCOUNT, 'Its memory was replaced.'],
    );
    assert.equal(body.events.length, 3, 'flags stay in the history');
    const node = await database.node.findUniqueOrThrow({ where: { id: removed } });
    assert.ok(node.probeAfter.getTime() <= Date.now());
    assert.deepEqual(node.refundSince, owed.refundSince);
    const [trust] = await database.nodeTrust.findMany({ where: { nodeId: removed } });
    assert.deepEqual([trust?.checked, trust?.logRatio], [0, 0]);
    const transitions = await database.nodeTransition.findMany({ where: { nodeId: removed } });
    assert.deepEqual(
      transitions.map(({ code }) => code),
      ['node.reinstated'],
    );
    assert.deepEqual(await balances(database), before);
    const line = gateway.logged.find(({ msg }) => msg === 'gateway // node reinstated');
    assert.deepEqual(
      [line?.['node'], line?.['reviewer'], line?.['reason']],
      [removed.slice(0, 11), ACCOUNT, 'Its memory was replaced.'],
    );
    const list = await gateway.call('GET', '/v1/nodes/review', admin);
    assert.deepEqual(
      list.body.data.map(({ id }) => id),
      [flagged],
    );
  });

  it('reinstates only who is removed, and changes nothing otherwise', async () => {
    const { database } = gateway;
    await database.nodeTrust.create({
      data: { nodeId: flagged, workloadClass: 'ai.inference', checked: 5, logRatio: 4 },
    });
    for (const id of [removed, flagged]) {
      const { status, code } = await reinstated(id);
      assert.deepEqual([status, code], [409, 'gateway.node_not_removed']);
    }
    const trust = await database.nodeTrust.findFirst({ where: { nodeId: flagged } });
    assert.equal(trust?.checked, 5);
    assert.equal(await database.nodeReview.count(), 2);
    const none = await reinstated(`nd_${'0'.repeat(64)}`);
    assert.deepEqual([none.status, none.code], [404, 'gateway.node_not_found']);
  });
});
