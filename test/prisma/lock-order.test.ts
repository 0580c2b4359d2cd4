import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import pino from 'pino';
import { receive } from '../../activities/receive.ts';
import { schedule, type ScheduleInput } from '../../activities/schedule.ts';
import { markOffline } from '../../intake/online.ts';
import { repairHints } from '../../intake/sweeper.ts';
import type { NodeId, UnitId } from '../../protocol/ids.ts';
import type { AcceptedInference } from '../../protocol/receive.ts';
import { addPoolNode } from '../support/pool.ts';
import { intakeCall, receiveKeys, seedInstant } from '../support/seeded.ts';
import { freshDatabase, type TestDatabase } from '../support/servers.ts';

const LANES = 4;
const SECONDS = 6;
const log = pino({ level: 'silent' });

describe('prisma: the order of locks', function () {
  this.timeout(60_000);
  let db: TestDatabase;
  let accepted: AcceptedInference;
  before(async () => {
    db = await freshDatabase();
    await seedInstant(db.database);
    ({ accepted } = await receive(db.database, receiveKeys, await intakeCall()));
  });
  after(() => db.close());

  /** As Schedule, and then as Validate. */
  async function serve(): Promise<boolean> {
    const unitId = `req_${randomBytes(32).toString('hex')}` as UnitId;
    const input: ScheduleInput = { unitId, dispatch: 1, usedNodes: [], request: accepted };
    const answer = await schedule(db.database, 'http://127.0.0.1:1', input);
    if (answer.kind === 'assigned')
      await db.database.$queryRaw`
        WITH decided AS (
          UPDATE dispatch SET outcome = 'accepted', decided_at = now()
          WHERE unit_id = ${unitId} RETURNING 1::float8 AS seconds)
        SELECT release_slot(${unitId}, 1),
          measure_node(${answer.node.nodeId}, 100, (SELECT seconds FROM decided))`;
    else await db.database.waiting.deleteMany({ where: { unitId } });
    return answer.kind === 'assigned';
  }

  const hear = (nodeId: NodeId) => db.database.$executeRaw`
    UPDATE node SET last_seen_at = now(), measured_at = now() - interval '2 seconds'
    WHERE id = ${nodeId}`;

  it('lets no two wait for each other, with several nodes on a machine', async () => {
    const { database } = db;
    const nodes: NodeId[] = [];
    for (const machineId of ['one', 'two'])
      for (let i = 0; i < 4; i++)
        nodes.push(
          await addPoolNode(database, {
            machineId,
            slots: 2,
            measuredSeconds: 1,
            measuredTokens: 100,
          }),
        );
    const endMs = Date.now() + SECONDS * 1_000;
    const repeat = async (work: () => Promise<unknown>) => {
      while (Date.now() < endMs) await work();
    };
    let served = 0;
    await Promise.all([
      ...Array.from({ length: LANES }, () =>
        repeat(async () => void (served += (await serve()) ? 1 : 0)),
      ),
      repeat(() => repairHints({ database })),
      repeat(() => markOffline({ database, log })),
      repeat(async () => {
        for (const node of nodes) await hear(node);
      }),
    ]);
    assert.ok(served > 100, `only ${served}`);
    const [row] = await database.$queryRaw<{ deadlocks: number }[]>`
      SELECT deadlocks::int FROM pg_stat_database WHERE datname = current_database()`;
    assert.equal(row?.deadlocks, 0);
    assert.equal(await database.slot.count({ where: { unitId: { not: null } } }), 0);
  });
});
