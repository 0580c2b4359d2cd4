import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { removeNode } from '../../activities/removal.ts';
import { schedule } from '../../activities/schedule.ts';
import { settle } from '../../activities/settle.ts';
import { finish, refund } from '../../intake/refunds.ts';
import { inTransaction, type Transaction } from '../../prisma/client.ts';
import { reinstate } from '../../prisma/reviews.ts';
import type { NodeId } from '../../protocol/ids.ts';
import { backgroundScene, type BackgroundScene } from '../support/background-scene.ts';
import { storeRequest } from '../support/drawn.ts';
import { addPoolNode } from '../support/pool.ts';
import { balances } from '../support/seeded.ts';

describe('intake/refunds', () => {
  let scene: BackgroundScene;
  let nodeId: NodeId;
  beforeEach(async () => {
    scene = await backgroundScene();
    nodeId = await addPoolNode(scene.database);
  });
  afterEach(() => scene.close());

  const request = () =>
    scene.database.request.findUniqueOrThrow({ where: { id: scene.accepted.requestId } });

  /** The node serves the request, and it is paid for. */
  async function served(isSampled = false): Promise<void> {
    const { database, accepted } = scene;
    const { requestId: unitId } = accepted;
    await schedule(database, 'http://127.0.0.1:1', {
      unitId,
      dispatch: 1,
      usedNodes: [],
      request: accepted,
    });
    const where = { unitId_dispatch: { unitId, dispatch: 1 } };
    await database.dispatch.update({ where, data: { outcome: 'accepted', decidedAt: new Date() } });
    await database.samplingEpoch.create({
      data: { epoch: 1, beginsAt: new Date(), secretHash: 's', policy: '{}', policyHash: 'p' },
    });
    await database.proof.create({
      data: { unitId, dispatch: 1, nodeId, poe: 'poe', epoch: 1, ratePpm: 5, draw: 'd', isSampled },
    });
  }

  const paid = (state: 'completed' | 'cancelled' = 'completed') => {
    const { requestId, accountId, price, reservedWei } = scene.accepted;
    const usage = { promptTokens: 10, completionTokens: 4 };
    return settle(scene.database, {
      requestId,
      accountId,
      state,
      code: state === 'completed' ? null : 'execute.cancelled',
      usage,
      price,
      reservedWei,
      timeline: [],
    });
  };

  const remove = (code: Parameters<typeof removeNode>[2] = 'node.removed_wrong_results') =>
    inTransaction(scene.database, (transaction) => removeNode(transaction, nodeId, code));
  const node = () => scene.database.node.findUniqueOrThrow({ where: { id: nodeId } });

  it('gives back what a removed node served unchecked, once, and is done', async () => {
    await served();
    const { chargedWei } = await paid();
    assert.notEqual(chargedWei, '0');
    await remove();
    assert.deepEqual(await refund(scene.dependencies), [scene.accepted.requestId]);
    const { status, refundedWei, refundCode } = await request();
    assert.deepEqual(
      [status, refundedWei.toFixed(), refundCode],
      ['completed', chargedWei, 'node.removed_wrong_results'],
    );
    assert.deepEqual(await balances(scene.database), scene.initial);
    assert.notEqual((await node()).refundSince, null);
    assert.deepEqual(await refund(scene.dependencies), []);
    assert.equal((await node()).refundSince, null);
    assert.deepEqual(await balances(scene.database), scene.initial);
  });

  it('waits for what the node served and that has not ended yet', async () => {
    await served();
    await remove();
    assert.deepEqual(await refund(scene.dependencies), []);
    assert.notEqual((await node()).refundSince, null);
    await paid();
    assert.deepEqual(await refund(scene.dependencies), [scene.accepted.requestId]);
  });

  it('leaves alone what was checked by others', async () => {
    await served(true);
    await paid();
    await scene.database.verification.create({
      data: { unitId: scene.accepted.requestId, outcome: 'agreed', winner: 1, comparator: 'llm/1' },
    });
    await remove();
    assert.deepEqual(await refund(scene.dependencies), []);
    assert.equal((await request()).refundCode, null);
  });

  it('counts hash_only as unchecked', async () => {
    await served(true);
    await paid();
    const unitId = scene.accepted.requestId;
    await scene.database.verification.create({
      data: { unitId, outcome: 'hash_only', winner: 1, comparator: 'llm/1' },
    });
    await remove();
    assert.deepEqual(await refund(scene.dependencies), [unitId]);
  });

  it('leaves alone what came before the node was last let in', async () => {
    await served();
    await paid();
    await scene.database.nodeReview.create({
      data: { nodeId, decision: 'reinstated', reviewer: 'acct_demo', reason: 'a new board' },
    });
    await remove();
    assert.deepEqual(await refund(scene.dependencies), []);
    assert.equal((await request()).refundCode, null);
  });

  it('gives back what was charged for a cancelled one', async () => {
    await served();
    const where = { unitId: scene.accepted.requestId };
    await scene.database.dispatch.updateMany({ where, data: { outcome: 'execute.cancelled' } });
    assert.notEqual((await paid('cancelled')).chargedWei, '0');
    await remove();
    assert.deepEqual(await refund(scene.dependencies), [scene.accepted.requestId]);
    assert.equal((await request()).status, 'cancelled');
    assert.deepEqual(await balances(scene.database), scene.initial);
  });

  it('refunds nothing for a node that was removed for bad proofs', async () => {
    await served();
    await paid();
    await remove('node.removed_bad_proofs');
    assert.equal((await node()).refundSince, null);
    assert.deepEqual(await refund(scene.dependencies), []);
  });

  it('is not done with a node whose request ended while it looked', async () => {
    await served();
    await remove();
    assert.deepEqual(await refund(scene.dependencies), []);
    // As when it ends between the look and what follows from it.
    await paid();
    await finish(scene.database);
    assert.notEqual((await node()).refundSince, null);
    assert.deepEqual(await refund(scene.dependencies), [scene.accepted.requestId]);
  });

  it('still owes what it owed when the node was let in and removed again', async () => {
    await served();
    await remove();
    const since = (await node()).refundSince;
    assert.ok(await reinstate(scene.database, nodeId, 'acct_demo', 'a new board'));
    await remove('node.removed_bad_proofs');
    assert.deepEqual((await node()).refundSince, since);
    assert.ok(await reinstate(scene.database, nodeId, 'acct_demo', 'another board'));
    await remove();
    assert.deepEqual((await node()).refundSince, since);
    await paid();
    assert.deepEqual(await refund(scene.dependencies), [scene.accepted.requestId]);
    assert.deepEqual(await balances(scene.database), scene.initial);
  });

  it('waits for no account while it holds one that everybody needs', async () => {
    await served();
    await paid();
    // Another account, whose id comes later, has paid the same node.
    const { database, accepted } = scene;
    const other = 'acct_other';
    await database.account.create({ data: { id: other, name: other } });
    await database.ledgerAccount.createMany({
      data: [{ id: `${other}:available` }, { id: `${other}:reserved` }],
    });
    await database.$executeRaw`
      INSERT INTO ledger_transfer (key, purpose, debit_id, credit_id, amount_wei)
      VALUES ('other', 'fund', 'funding', ${`${other}:available`}, 5),
             ('spent', 'capture', ${`${other}:available`}, 'usage', 5)`;
    const unitId = await storeRequest(database, { accountId: other, chargedWei: 5 });
    await database.dispatch.create({
      data: { unitId, dispatch: 1, nodeId, coordinator: 'c', outcome: 'accepted' },
    });
    await database.proof.create({
      data: { unitId, dispatch: 1, nodeId, poe: 'p', epoch: 1, ratePpm: 5, draw: 'e' },
    });
    await remove();
    // What settling a request of the account does that is paid back last.
    const last = unitId > accepted.requestId ? other : accepted.accountId;
    let refunding: Promise<readonly string[]> | undefined;
    await inTransaction(database, async (transaction) => {
      await lock(transaction, `${last}:available`);
      refunding = refund(scene.dependencies);
      await sleep(200);
      await lock(transaction, 'usage');
    });
    await refunding;
    const refunded = await database.request.count({ where: { refundedWei: { gt: 0 } } });
    assert.equal(refunded, 2);
  });

  it('waits for no key while it holds one that comes later', async () => {
    const { database, accepted } = scene;
    const { accountId } = accepted;
    await served();
    await database.$executeRaw`
      INSERT INTO ledger_transfer (key, purpose, debit_id, credit_id, amount_wei)
      VALUES ('spent', 'capture', 'funding', 'usage', 15)`;
    const requests: string[] = [];
    for (let each = 0; each < 3; each++)
      requests.push(await storeRequest(database, { accountId, chargedWei: 5 }));
    // The first key between the others: whether the last request comes first or the first one.
    for (const [at, unitId] of requests.toSorted().entries()) {
      const id = ['key_b', 'key_a', 'key_c'][at] ?? '';
      const spent = { spentWei: 5, budgetPeriod: 'total', periodBeganAt: new Date(0) };
      await database.apiKey.create({ data: { id, keyHash: id, accountId, ...spent } });
      await database.request.update({ where: { id: unitId }, data: { keyId: id } });
      await database.dispatch.create({
        data: { unitId, dispatch: 1, nodeId, coordinator: 'c', outcome: 'accepted' },
      });
      await database.proof.create({
        data: { unitId, dispatch: 1, nodeId, poe: 'p', epoch: 1, ratePpm: 5, draw: `e${at}` },
      });
    }
    await remove();
    let refunding: Promise<readonly string[]> | undefined;
    await inTransaction(database, async (transaction) => {
      const lockKey = (id: string) =>
        transaction.$queryRaw`SELECT id FROM api_key WHERE id = ${id} FOR UPDATE NOWAIT`;
      await lockKey('key_a');
      refunding = refund(scene.dependencies);
      await sleep(300);
      for (const id of ['key_b', 'key_c']) await lockKey(id);
    });
    assert.equal((await refunding)?.length, 3);
    const keys = await database.apiKey.findMany({ where: { id: { in: ['key_a', 'key_b'] } } });
    assert.deepEqual(
      keys.map(({ spentWei }) => spentWei.toNumber()),
      [0, 0],
    );
  });

  const lock = (transaction: Transaction, id: string) =>
    transaction.$queryRaw`SELECT id FROM ledger_account WHERE id = ${id} FOR UPDATE`;
});
