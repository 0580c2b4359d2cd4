import assert from 'node:assert/strict';
import pino from 'pino';
import { receive } from '../../activities/receive.ts';
import { reportFailure } from '../../activities/report-failure.ts';
import { schedule, type ScheduleInput } from '../../activities/schedule.ts';
import { freeLapsed } from '../../intake/leases.ts';
import { addPoolNode } from '../support/pool.ts';
import { intakeCall, receiveKeys, seedInstant } from '../support/seeded.ts';
import { freshDatabase, type TestDatabase } from '../support/servers.ts';

const log = pino({ level: 'silent' });
const COORDINATOR = 'http://127.0.0.1:1';

describe('intake/leases', () => {
  let db: TestDatabase;
  let input: ScheduleInput;
  beforeEach(async () => {
    db = await freshDatabase();
    await seedInstant(db.database);
    await addPoolNode(db.database);
    const { accepted } = await receive(db.database, receiveKeys, await intakeCall());
    input = { unitId: accepted.requestId, dispatch: 1, usedNodes: [], request: accepted };
    assert.equal((await schedule(db.database, COORDINATOR, input)).kind, 'assigned');
  });
  afterEach(() => db.close());

  const free = () => freeLapsed({ database: db.database, log });
  const lapse = () =>
    db.database.$executeRaw`UPDATE slot SET lease_until = now() - interval '1 second'`;
  const slot = () => db.database.slot.findFirstOrThrow();

  it('frees the slot of an attempt that was decided, after its lease, once', async () => {
    const [{ nodeId } = { nodeId: '' }] = await db.database.dispatch.findMany();
    const { unitId } = input;
    const code = 'node.deadline_exceeded';
    await reportFailure(db.database, { unitId, dispatch: 1, nodeId: nodeId as never, code });
    await db.database.node.updateMany({ data: { isFull: true } });
    assert.equal(await free(), 0);
    assert.equal((await slot()).unitId, unitId);
    await lapse();
    const counts = await Promise.all([free(), free(), free()]);
    assert.equal(
      counts.reduce((sum, count) => sum + count),
      1,
    );
    assert.equal((await slot()).unitId, null);
    assert.equal((await db.database.node.findFirst())?.isFull, false);
    assert.equal(await free(), 0);
  });

  it('frees the slot of a request that ended', async () => {
    await lapse();
    await db.database.request.updateMany({ data: { finishedAt: new Date(), status: 'failed' } });
    assert.equal(await free(), 1);
    assert.equal((await slot()).unitId, null);
  });

  it('leaves a reservation to a run that goes on, which renews it', async () => {
    await lapse();
    assert.equal(await free(), 0);
    assert.equal((await schedule(db.database, COORDINATOR, input)).kind, 'assigned');
    const { unitId, leaseUntil } = await slot();
    assert.equal(unitId, input.unitId);
    assert.ok(leaseUntil && leaseUntil > new Date());
  });
});
