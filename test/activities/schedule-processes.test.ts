import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { receive } from '../../activities/receive.ts';
import { addPoolNode } from '../support/pool.ts';
import { intakeCall, receiveKeys, seedInstant } from '../support/seeded.ts';
import type { SchedulingTask } from '../support/scheduling-process.ts';
import { freshDatabase, testServers, type TestDatabase } from '../support/servers.ts';

const UNITS = 500;
const SLOTS = [1, 2, 3, 4];

describe('activities/schedule in two processes', function () {
  this.timeout(180_000);
  let db: TestDatabase;
  before(async () => {
    db = await freshDatabase();
    await seedInstant(db.database);
  });
  after(() => db.close());

  it(`gives no slot twice: 2 × ${UNITS} units, 10 slots, 6 registrations`, async () => {
    const { database } = db;
    const longSeen = { lastSeenAt: new Date(Date.now() + 3_600_000) };
    for (const slots of SLOTS) await addPoolNode(database, { slots, ...longSeen });
    // Two more registrations on the machine of the last one, for fewer of its slots.
    const { machineId } = await database.node.findFirstOrThrow({ where: { slots: 4 } });
    for (const slots of [2, 3]) await addPoolNode(database, { machineId, slots, ...longSeen });
    await database.$executeRaw`
      CREATE TABLE holding (
        machine_id TEXT, index INT, unit_id TEXT, PRIMARY KEY (machine_id, index))`;
    const { accepted } = await receive(database, receiveKeys, await intakeCall());
    const { temporalAddress } = await testServers();
    const task: SchedulingTask = {
      databaseUrl: db.url,
      temporalAddress,
      units: UNITS,
      inFlight: 8,
      request: { ...accepted, deadlineAtMs: Date.now() + 3_600_000 },
    };
    const waited = await Promise.all([run(task), run(task)]);
    // Otherwise nothing was contended, and this would show nothing.
    for (const count of waited) assert.ok(count > 0, `${count} units waited`);

    assert.equal(await database.dispatch.count(), 2 * UNITS);
    assert.equal(await database.slot.count(), 10);
    assert.equal(await database.slot.count({ where: { unitId: { not: null } } }), 0);
    assert.equal(await database.waiting.count(), 0);
    const served = await database.dispatch.groupBy({ by: ['nodeId'], _count: true });
    assert.ok(served.length >= SLOTS.length, 'all machines took part');
  });
});

async function run(task: SchedulingTask): Promise<number> {
  const script = join(import.meta.dirname, '../support/scheduling-process.ts');
  const { stdout } = await promisify(execFile)(process.execPath, [
    '--import',
    'tsx',
    script,
    JSON.stringify(task),
  ]);
  return (JSON.parse(stdout) as { waited: number }).waited;
}
