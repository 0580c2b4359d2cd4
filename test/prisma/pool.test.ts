import assert from 'node:assert/strict';
import { readNode, readNodesBefore, readPool } from '../../prisma/pool.ts';
import { addPoolNode, type PoolNodeData } from '../support/pool.ts';
import { freshDatabase, type TestDatabase } from '../support/servers.ts';

const DIGEST = `sha256:${'1'.repeat(64)}`;
const ONLINE_SECONDS = 60;

describe('prisma/pool', () => {
  let db: TestDatabase;
  before(async () => {
    db = await freshDatabase();
    await db.database.operator.create({ data: { id: 'op', name: 'op' } });
    await addNode('own', { tier: 3, tokensPerSecond: 10 });
    await addNode('slower', { tier: 3, tokensPerSecond: 9 });
    await addNode('smaller', { tier: 1, tokensPerSecond: 99 });
    await addNode('equal', { tier: 3, tokensPerSecond: 10 });
    await addNode('larger', { tier: 4, tokensPerSecond: 1 });
    await addNode('removed', { status: 'removed' });
    await addNode('draining', { status: 'draining' });
    await addNode('silent', { lastSeenAt: new Date(Date.now() - 3_600_000) });
    await addNode('other', { modelDigest: `sha256:${'2'.repeat(64)}` });
    await addNode('busy', {});
    await db.database.slot.updateMany({
      where: { machineId: idOf('busy') },
      data: { unitId: 'u', dispatch: 1, leaseUntil: new Date(Date.now() + 3_600_000) },
    });
  });
  after(() => db.close());

  const idOf = (name: string) => `nd_${Buffer.from(name).toString('hex').padEnd(64, '0')}`;

  /** Online for the length of any test. */
  async function addNode(name: string, changed: PoolNodeData): Promise<void> {
    await addPoolNode(db.database, {
      id: idOf(name),
      name,
      operatorId: 'op',
      tier: 2,
      modelDigest: DIGEST,
      tokensPerSecond: 5,
      lastSeenAt: new Date(Date.now() + 3_600_000),
      ...changed,
    });
  }

  it('lists the nodes of the pool, and none that was removed', async () => {
    const names = (await readPool(db.database)).map(({ name }) => name);
    assert.deepEqual(names.toSorted(), [
      'busy',
      'draining',
      'equal',
      'larger',
      'other',
      'own',
      'silent',
      'slower',
      'smaller',
    ]);
    assert.deepEqual([names[0], names.at(-1)], ['smaller', 'larger']);
  });

  it('reads one node alone, also a removed one', async () => {
    const removed = await readNode(db.database, idOf('removed'));
    assert.deepEqual([removed?.name, removed?.status], ['removed', 'removed']);
    const busy = await readNode(db.database, idOf('busy'));
    assert.deepEqual([busy?.slotsTotal, busy?.slotsFree, busy?.flags], [1, 0, 0]);
    assert.equal(await readNode(db.database, idOf('none')), undefined);
  });

  it('finds the free nodes that come before another one, as many as are asked for', async () => {
    const own = await readNode(db.database, idOf('own'));
    assert.ok(own);
    const before = async (limit: number) =>
      (await readNodesBefore(db.database, own, ONLINE_SECONDS, limit)).map(({ name }) => name);
    assert.deepEqual(await before(10), ['smaller', 'slower']);
    assert.deepEqual(await before(1), ['smaller']);
  });
});
