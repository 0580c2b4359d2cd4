import assert from 'node:assert/strict';
import { removeNode } from '../../activities/removal.ts';
import { schedule } from '../../activities/schedule.ts';
import { settle } from '../../activities/settle.ts';
import { refund } from '../../intake/refunds.ts';
import { inTransaction } from '../../prisma/client.ts';
import type { NodeId } from '../../protocol/ids.ts';
import { backgroundScene, type BackgroundScene } from '../support/background-scene.ts';
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

  const paid = () => {
    const { requestId, accountId, price, reservedWei } = scene.accepted;
    const usage = { promptTokens: 10, completionTokens: 4 };
    return settle(scene.database, {
      requestId,
      accountId,
      state: 'completed',
      code: null,
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

  it('refunds nothing for a node that was removed for bad proofs', async () => {
    await served();
    await paid();
    await remove('node.removed_bad_proofs');
    assert.equal((await node()).refundSince, null);
    assert.deepEqual(await refund(scene.dependencies), []);
  });
});
