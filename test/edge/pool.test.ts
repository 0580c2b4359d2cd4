import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { watchPool, type Pool } from '../../edge/pool.ts';
import { Refusal } from '../../edge/refusals.ts';
import { openDatabase } from '../../prisma/client.ts';
import { formatNodeId, type NodeId } from '../../protocol/ids.ts';
import { addPoolNode } from '../support/pool.ts';
import { seedInstant } from '../support/seeded.ts';
import { freshDatabase, type TestDatabase } from '../support/servers.ts';
import { until } from '../support/until.ts';

describe('edge/pool', () => {
  let db: TestDatabase;
  const pools: Pool[] = [];
  const quiet = { warn: () => {} };

  before(async function () {
    this.timeout(60_000);
    db = await freshDatabase();
    await seedInstant(db.database);
  });
  after(async () => {
    for (const pool of pools) pool.stop();
    await db?.close();
  });

  function watched(database = db.database, others: readonly NodeId[] = []) {
    const removed: NodeId[] = [];
    const pool = watchPool(database, quiet, () => others);
    pools.push(pool);
    pool.onRemoved((nodeId) => removed.push(nodeId));
    return { pool, removed };
  }
  const setStatus = (id: string, status: string) =>
    db.database.node.update({ where: { id }, data: { status } });

  it('knows who is removed, and that strangers are not', async () => {
    const { pool } = watched();
    const [active, removed] = [await addPoolNode(db.database), await addPoolNode(db.database)];
    await setStatus(removed, 'removed');
    const stranger = formatNodeId(randomBytes(32));
    const asked = [active, removed, stranger].map((id) => pool.isRemoved(id));
    assert.deepEqual(await Promise.all(asked), [false, true, false]);
  });

  it('tells of a removal within a few seconds, and of a return', async function () {
    this.timeout(20_000);
    const [connected, other, neither] = await Promise.all(
      [1, 2, 3].map(() => addPoolNode(db.database)),
    );
    assert.ok(connected && other && neither);
    const { pool, removed } = watched(db.database, [other]);
    pool.watch(connected);
    pool.watch(connected);
    pool.unwatch(connected);
    assert.equal(await pool.isRemoved(connected), false);
    for (const id of [connected, other, neither]) await setStatus(id, 'removed');
    await until(() => removed.length > 1, 'it is told', 5);
    assert.deepEqual(removed.toSorted(), [connected, other].toSorted());
    assert.equal(await pool.isRemoved(connected), true);
    await setStatus(connected, 'active');
    await until(async () => !(await pool.isRemoved(connected)), 'it is back', 5);
  });

  it('knows who was heard of', async () => {
    const { pool } = watched();
    const [now, earlier] = [await addPoolNode(db.database), await addPoolNode(db.database)];
    await db.database.node.update({
      where: { id: earlier },
      data: { lastSeenAt: new Date(Date.now() - 30_000) },
    });
    assert.equal(await pool.wasSeen(now, 20_000), true);
    assert.equal(await pool.wasSeen(earlier, 20_000), false);
    assert.equal(await pool.wasSeen(formatNodeId(randomBytes(32)), 20_000), false);
  });

  it('lets nobody in whom it can not look up', async () => {
    const away = openDatabase('postgresql://nobody@127.0.0.1:1/nothing', 1);
    const { pool } = watched(away);
    await assert.rejects(
      pool.isRemoved(formatNodeId(randomBytes(32))),
      (error: unknown) => error instanceof Refusal && error.code === 'edge.unavailable',
    );
    await away.$disconnect();
  });
});
