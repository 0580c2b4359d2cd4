import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { receive } from '../../activities/receive.ts';
import { Sampling } from '../../activities/sampling.ts';
import { schedule } from '../../activities/schedule.ts';
import { storeCheck, storeReturn } from '../../activities/store-return.ts';
import type { CheckedReturn, ValidateInput } from '../../activities/validate.ts';
import { generateWrapKey } from '../../crypto/keys.ts';
import { checkerOrder, drawOf, epochSecret } from '../../crypto/sampling.ts';
import type { ReturnEnvelope } from '../../protocol/envelope.ts';
import type { NodeId } from '../../protocol/ids.ts';
import type { Delivery } from '../../protocol/receive.ts';
import { drawPpm, PPM, ratePpm, type SamplingPolicy } from '../../protocol/sampling.ts';
import { addPoolNode } from '../support/pool.ts';
import { intakeCall, receiveKeys, seedInstant } from '../support/seeded.ts';
import { freshDatabase, type TestDatabase } from '../support/servers.ts';

const HALF: SamplingPolicy = {
  v: 1,
  ratesPpm: { 'ai.inference': PPM / 2 },
  floorPpm: 0,
  probationUnits: 20,
};

describe('activities/store-return', () => {
  let db: TestDatabase;
  let nodeId: NodeId;
  const key = generateWrapKey();
  const sampling = (policy = HALF, epochSeconds = 600) =>
    new Sampling({
      database: db.database,
      ring: [key],
      policy,
      epochSeconds,
      onSecretLost: (epoch) => assert.fail(`secret ${epoch}`),
    });
  beforeEach(async () => {
    db = await freshDatabase();
    await seedInstant(db.database);
    nodeId = await addPoolNode(db.database, { slots: 200 });
  });
  afterEach(() => db.close());

  const trusted = (checked: number) =>
    db.database.nodeTrust.create({ data: { nodeId, workloadClass: 'ai.inference', checked } });

  /** A return of a new request, as check 1 leaves it. */
  async function aReturn(delivery?: Delivery, poe = randomBytes(32).toString('hex')) {
    const { accepted } = await receive(db.database, receiveKeys, await intakeCall());
    const { requestId: unitId } = accepted;
    const asked = { unitId, dispatch: 1, usedNodes: [], request: accepted };
    const scheduled = await schedule(db.database, 'http://127.0.0.1:1', asked);
    assert.ok(scheduled.kind === 'assigned');
    const request = { ...accepted, ...(delivery ? { delivery } : {}) };
    const input: ValidateInput = {
      unitId,
      dispatch: 1,
      attemptNumber: 7,
      node: scheduled.node,
      request,
      returned: null,
    };
    const checked = {
      result: { usage: { promptTokens: 3, completionTokens: 3 }, choices: [{ text: '' }] },
      returned: { poe, scheme: 'poe.v1', signature: 's', decryptedAtMs: 1, finishedAtMs: 2 },
      relayed: null,
    } as unknown as CheckedReturn;
    return { input, checked, poe, unitId };
  }

  const sealed = { sealed: true } as unknown as ReturnEnvelope;
  const statusOf = async (id: string) =>
    (await db.database.request.findUniqueOrThrow({ where: { id } })).status;
  const proofOf = (unitId: string) =>
    db.database.proof.findUniqueOrThrow({ where: { unitId_dispatch: { unitId, dispatch: 1 } } });
  const dependencies = async (policy = HALF) => {
    const committed = sampling(policy);
    await committed.refresh();
    return { database: db.database, sampling: committed };
  };

  it('draws as the pure functions say, and tells the order of checkers', async () => {
    await trusted(20);
    const network = await dependencies();
    const secret = epochSecret(key, 1);
    let drawn = 0;
    for (let n = 0; n < 60; n++) {
      const { input, checked, poe, unitId } = await aReturn();
      const stored = await storeReturn(network, input, checked, sealed);
      const draw = drawOf(secret, unitId, poe);
      const isSampled = drawPpm(draw) < ratePpm(HALF, 'ai.inference', 20);
      const order = isSampled ? { checkerOrder: checkerOrder(secret, unitId, poe) } : {};
      assert.deepEqual(stored, order);
      const row = await proofOf(unitId);
      assert.deepEqual(
        [row.poe, row.epoch, row.ratePpm, row.draw, row.isSampled],
        [poe, 1, PPM / 2, draw, isSampled],
      );
      drawn += isSampled ? 1 : 0;
    }
    assert.ok(drawn > 5 && drawn < 55, `${drawn} of 60`);
  });

  it('checks all of a node in probation, and not one unit more', async () => {
    await trusted(19);
    const network = await dependencies({ ...HALF, ratesPpm: {} });
    const one = await aReturn();
    await storeReturn(network, one.input, one.checked, sealed);
    assert.equal((await proofOf(one.unitId)).ratePpm, PPM);
    await db.database.nodeTrust.updateMany({ data: { checked: 20 } });
    const other = await aReturn();
    await storeReturn(network, other.input, other.checked, sealed);
    const { ratePpm: rate, isSampled } = await proofOf(other.unitId);
    assert.deepEqual([rate, isSampled], [0, false]);
  });

  it('draws once: run again, after anything has changed, it finds what it has drawn', async () => {
    const network = await dependencies();
    const { input, checked, unitId } = await aReturn();
    const first = await storeReturn(network, input, checked, sealed);
    const before = await proofOf(unitId);
    await trusted(1_000);
    const again = await storeReturn(await dependencies(), input, checked, sealed);
    assert.deepEqual(again, first);
    assert.deepEqual(await proofOf(unitId), before);
  });

  it('two runs at once draw once', async () => {
    const network = await dependencies();
    const { input, checked, unitId } = await aReturn();
    const runs = [1, 2, 3].map(() => storeReturn(network, input, checked, sealed));
    const [first, ...others] = await Promise.all(runs);
    for (const other of others) assert.deepEqual(other, first);
    assert.equal(await db.database.proof.count({ where: { unitId } }), 1);
  });

  it('takes note of an epoch that another coordinator has published', async () => {
    const network = await dependencies();
    await db.database.$executeRaw`ALTER TABLE sampling_epoch DISABLE TRIGGER USER`;
    await db.database.$executeRaw`
      UPDATE sampling_epoch SET begins_at = begins_at - interval '2 hours'`;
    await db.database.$executeRaw`ALTER TABLE sampling_epoch ENABLE TRIGGER USER`;
    await sampling(HALF, 0).refresh();
    const { input, checked, unitId } = await aReturn();
    await new Promise((resolve) => setTimeout(resolve, 20));
    await storeReturn(network, input, checked, sealed);
    assert.equal((await proofOf(unitId)).epoch, 3);
  });

  it('strict: holds back what is to be checked, and delivers what is not', async () => {
    const network = await dependencies();
    const held = await aReturn('strict');
    await storeReturn(network, held.input, held.checked, sealed);
    assert.equal(await statusOf(held.unitId), 'running');
    const shown = await aReturn('validated');
    await storeReturn(network, shown.input, shown.checked, sealed);
    assert.equal(await statusOf(shown.unitId), 'validated');
    await trusted(20);
    const unchecked = await dependencies({ ...HALF, ratesPpm: {} });
    const free = await aReturn('strict');
    const stored = await storeReturn(unchecked, free.input, free.checked, sealed);
    const { isSampled } = await proofOf(free.unitId);
    assert.equal(stored?.checkerOrder !== undefined, isSampled);
    assert.equal(await statusOf(free.unitId), isSampled ? 'running' : 'validated');
  });

  it('takes nothing of a node that was removed meanwhile, as a vote neither', async () => {
    const network = await dependencies();
    const { input, checked, unitId } = await aReturn();
    await db.database.node.update({ where: { id: nodeId }, data: { status: 'removed' } });
    assert.equal(await storeReturn(network, input, checked, sealed), null);
    assert.equal(await storeCheck(db.database, input, checked), false);
    assert.equal(await statusOf(unitId), 'running');
    assert.equal(await db.database.proof.count(), 0);
    // Its slot is freed by what is reported then.
    assert.equal(await db.database.slot.count({ where: { unitId } }), 1);
  });

  it('does not draw for a check, and frees its slot', async () => {
    const { input, checked, unitId } = await aReturn();
    assert.equal(await storeCheck(db.database, input, checked), true);
    const { draw, epoch, isSampled } = await proofOf(unitId);
    assert.deepEqual([draw, epoch, isSampled], [null, null, false]);
    assert.equal(await db.database.slot.count({ where: { unitId } }), 0);
    assert.equal(await statusOf(unitId), 'running');
  });
});
