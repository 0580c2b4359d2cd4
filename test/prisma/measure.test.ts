import assert from 'node:assert/strict';
import * as fc from 'fast-check';
import {
  attestedTier,
  blend,
  throughput,
  TIER_FLOORS_DEFAULT,
  type Measured,
} from '../../protocol/measure.ts';
import { addPoolNode } from '../support/pool.ts';
import { seedInstant } from '../support/seeded.ts';
import { freshDatabase, type TestDatabase } from '../support/servers.ts';

/** The arithmetic of protocol/measure.ts where it runs: in the statement of Validate. */
describe('prisma: measure_node', () => {
  let db: TestDatabase;
  beforeEach(async () => {
    db = await freshDatabase();
    await seedInstant(db.database);
  });
  afterEach(() => db.close());

  async function measure(id: string, tokens: number, seconds: number, byCanary = false) {
    const [row] = await db.database.$queryRaw<{ done: boolean }[]>`
      SELECT measure_node(${id}, ${tokens}::float8, ${seconds}::float8, ${byCanary}) AS done`;
    return row?.done;
  }

  const read = (id: string) => db.database.node.findUniqueOrThrow({ where: { id } });

  it('is what the pure functions say, bit by bit', async () => {
    const id = await addPoolNode(db.database);
    const number = fc.oneof(
      fc.double({ min: -10, max: 1e4, noNaN: true }),
      fc.double(),
      fc.constantFrom(NaN, Infinity, -Infinity, 0),
    );
    const samples = fc.array(fc.tuple(number, number), { minLength: 1, maxLength: 6 });
    const claims = fc.integer({ min: 1, max: 5 });
    await fc.assert(
      fc.asyncProperty(samples, claims, async (sequence, claimedTier) => {
        const start = { measuredTokens: 0, measuredSeconds: 0, tokensPerSecond: 0, tier: 1 };
        await db.database.node.update({ where: { id }, data: { ...start, claimedTier } });
        let known: Measured = { tokens: 0, seconds: 0 };
        for (const [tokens, seconds] of sequence) {
          await measure(id, tokens, seconds, true);
          known = blend(known, tokens, seconds);
        }
        const node = await read(id);
        const rate = throughput(known);
        const tier = known.seconds > 0 ? attestedTier(claimedTier, rate, TIER_FLOORS_DEFAULT) : 1;
        assert.deepEqual(
          [node.measuredTokens, node.measuredSeconds, node.tokensPerSecond, node.tier],
          [known.tokens, known.seconds, rate, tier],
        );
      }),
      { numRuns: 60 },
    );
  });

  it('has the default floors of the pure functions, also for an unknown model', async () => {
    const model = await db.database.model.findFirstOrThrow();
    assert.deepEqual(model.tierFloors, [...TIER_FLOORS_DEFAULT]);
    const modelDigest = `sha256:${'7'.repeat(64)}`;
    const id = await addPoolNode(db.database, { modelDigest, claimedTier: 5 });
    await measure(id, 30, 10, true);
    assert.equal((await read(id)).tier, attestedTier(5, 3, TIER_FLOORS_DEFAULT));
  });

  it('attests by the floors of the model, down and up again, never above the claim', async () => {
    await db.database.model.updateMany({ data: { tierFloors: [0, 10, 20, 40, 80] } });
    const id = await addPoolNode(db.database, { claimedTier: 4 });
    const after = async (tokens: number, seconds: number) => {
      await db.database.node.update({ where: { id }, data: { measuredAt: new Date(0) } });
      await measure(id, tokens, seconds);
      return (await read(id)).tier;
    };
    await measure(id, 100, 1, true);
    assert.equal((await read(id)).tier, 4);
    assert.equal(await after(100, 9), 2);
    assert.equal(await after(10_000, 100), 4);
  });

  it('takes one sample of work a second, and none for a node that had no canary', async () => {
    const id = await addPoolNode(db.database);
    assert.equal(await measure(id, 100, 1), false);
    await measure(id, 100, 1, true);
    const many = await Promise.all(Array.from({ length: 5 }, () => measure(id, 1, 1_000)));
    assert.deepEqual(new Set(many), new Set([false]));
    await db.database.node.update({ where: { id }, data: { measuredAt: new Date(0) } });
    const again = await Promise.all(Array.from({ length: 5 }, () => measure(id, 1, 1_000)));
    assert.equal(again.filter(Boolean).length, 1);
    assert.ok((await read(id)).tokensPerSecond < 1);
  });

  it('takes no sample that an outage fell into', async () => {
    const id = await addPoolNode(db.database);
    await measure(id, 100, 1, true);
    await db.database.node.update({ where: { id }, data: { measuredAt: new Date(0) } });
    await db.database.outage.create({
      data: { beganAt: new Date(Date.now() - 30_000), endedAt: new Date(Date.now() - 20_000) },
    });
    assert.equal(await measure(id, 100, 60), false);
    assert.equal((await read(id)).tokensPerSecond, 100);
    assert.equal(await measure(id, 100, 1), true);
  });

  const floors: [string, string][] = [
    ['that are too few', '{0,1,2,4}'],
    ['that shut every node out', '{1,2,3,4,5}'],
    ['that go down', '{0,4,2,8,16}'],
    ['with a hole', '{0,1,NULL,4,8}'],
    ['that nothing clears', '{0,1,2,4,Infinity}'],
    ['that are no number', '{0,1,2,4,NaN}'],
  ];
  for (const [which, text] of floors)
    it(`refuses floors ${which}`, async () => {
      await assert.rejects(
        db.database.$executeRaw`UPDATE model SET tier_floors = ${text}::float8[]`,
        /model_tier_floors_check/,
      );
    });
});
