import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { receive } from '../../activities/receive.ts';
import { removeForBadProofs } from '../../activities/removal.ts';
import { reportFailure, type FailedAttempt } from '../../activities/report-failure.ts';
import { schedule } from '../../activities/schedule.ts';
import { inTransaction } from '../../prisma/client.ts';
import { OUTAGE_SECONDS } from '../../protocol/outage.ts';
import { addPoolNode } from '../support/pool.ts';
import { intakeCall, receiveKeys, seedInstant } from '../support/seeded.ts';
import { freshDatabase, type TestDatabase } from '../support/servers.ts';

/** Nothing that touches an outage of the network counts against a node. */
describe('activities/report-failure and outages', () => {
  let db: TestDatabase;
  let input: FailedAttempt;
  beforeEach(async () => {
    db = await freshDatabase();
    await seedInstant(db.database);
    const nodeId = await addPoolNode(db.database);
    const { accepted } = await receive(db.database, receiveKeys, await intakeCall());
    const unitId = accepted.requestId;
    const unit = { unitId, dispatch: 1, usedNodes: [], request: accepted };
    const { kind } = await schedule(db.database, 'http://127.0.0.1:1', unit);
    assert.equal(kind, 'assigned');
    input = { unitId, dispatch: 1, nodeId, code: 'node.deadline_exceeded' };
    await db.database.dispatch.updateMany({ data: { reservedAt: secondsAgo(60) } });
    await setPulse(0);
  });
  afterEach(() => db.close());

  const secondsAgo = (seconds: number) => new Date(Date.now() - seconds * 1_000);
  const setPulse = (seconds: number) => {
    const beatAt = secondsAgo(seconds);
    return db.database.pulse.upsert({ where: { id: 1 }, create: { beatAt }, update: { beatAt } });
  };
  const outage = (from: number, to: number) =>
    db.database.outage.create({ data: { beganAt: secondsAgo(from), endedAt: secondsAgo(to) } });

  async function reported() {
    const { excused } = await reportFailure(db.database, input);
    const events = await db.database.failureEvent.count();
    const flags = await db.database.nodeEvent.count();
    assert.equal((await db.database.dispatch.findFirst())?.outcome, input.code);
    return { excused, events, flags };
  }

  it('flags what no outage touches', async () => {
    await outage(300, 61);
    assert.deepEqual(await reported(), { excused: false, events: 1, flags: 1 });
  });

  it('spares the flag, not the event, when an outage touches the attempt', async () => {
    await outage(300, 59);
    assert.deepEqual(await reported(), { excused: true, events: 1, flags: 0 });
    assert.deepEqual(await reported(), { excused: true, events: 1, flags: 0 });
  });

  it('spares the flag while an outage goes on, and keeps to that when it runs again', async () => {
    await setPulse(OUTAGE_SECONDS + 10);
    assert.deepEqual(await reported(), { excused: true, events: 1, flags: 0 });
    await outage(OUTAGE_SECONDS + 10, 0);
    await setPulse(0);
    assert.deepEqual(await reported(), { excused: true, events: 1, flags: 0 });
  });

  it('takes no flag back for an outage that came after the attempt', async () => {
    assert.deepEqual(await reported(), { excused: false, events: 1, flags: 1 });
    await db.database.dispatch.updateMany({ data: { decidedAt: secondsAgo(30) } });
    await outage(20, 10);
    assert.deepEqual(await reported(), { excused: false, events: 1, flags: 1 });
  });

  it('removes a node at its third bad proof, also if two are reported at once', async () => {
    const { database } = db;
    const nodeEvent = { nodeId: input.nodeId, unitId: 'before', dispatch: 1 };
    await database.nodeEvent.create({ data: { ...nodeEvent, code: 'poe.missing' } });
    const { accepted } = await receive(database, receiveKeys, await intakeCall());
    const second = { ...input, unitId: accepted.requestId, code: 'poe.missing' } as const;
    const { nodeId } = input;
    await database.dispatch.create({
      data: { unitId: second.unitId, dispatch: 1, nodeId, coordinator: 'c' },
    });
    let reporting: Promise<{ removed: boolean }> | undefined;
    await inTransaction(database, async (transaction) => {
      await transaction.$executeRaw`
        INSERT INTO node_event (node_id, unit_id, dispatch, code)
        VALUES (${nodeId}, ${input.unitId}, 1, 'poe.missing')`;
      assert.equal(await removeForBadProofs(transaction, nodeId), false);
      reporting = reportFailure(database, second);
      await sleep(300);
    });
    assert.equal((await reporting)?.removed, true);
  });
});
