import assert from 'node:assert/strict';
import { Client, Connection } from '@temporalio/client';
import pino from 'pino';
import type { BackgroundDependencies } from '../../intake/background.ts';
import { beat, startPulse } from '../../intake/pulse.ts';
import { OUTAGE_SECONDS } from '../../protocol/outage.ts';
import { freePort, freshDatabase, testServers, type TestDatabase } from '../support/servers.ts';
import { until } from '../support/until.ts';

describe('intake/pulse', () => {
  let db: TestDatabase;
  let connection: Connection;
  let nowhere: Connection;
  let alive: BackgroundDependencies;
  let withoutTemporal: BackgroundDependencies;
  before(async () => {
    const { temporalAddress } = await testServers();
    connection = await Connection.connect({ address: temporalAddress });
    nowhere = Connection.lazy({ address: `127.0.0.1:${await freePort()}` });
  });
  after(async () => {
    await connection.close();
    await nowhere.close();
  });
  beforeEach(async () => {
    db = await freshDatabase();
    const log = pino({ level: 'silent' });
    alive = { database: db.database, client: new Client({ connection }), log };
    withoutTemporal = { ...alive, client: new Client({ connection: nowhere }) };
  });
  afterEach(() => db.close());

  const beatAt = async () => (await db.database.pulse.findFirst())?.beatAt;
  const outages = () => db.database.outage.findMany();
  const setBack = (seconds: number) => {
    const at = new Date(Date.now() - seconds * 1_000);
    return db.database.pulse.update({ where: { id: 1 }, data: { beatAt: at } }).then(() => at);
  };

  it('takes a first start for no outage, however many start at once', async () => {
    const ended = await Promise.all([beat(alive), beat(alive), beat(alive)]);
    assert.deepEqual(ended, [false, false, false]);
    assert.ok(await beatAt());
    assert.deepEqual(await outages(), []);
  });

  it('writes an outage down once, from the last beat to now, however many come back', async () => {
    await beat(alive);
    const from = await setBack(OUTAGE_SECONDS + 60);
    const ended = await Promise.all([beat(alive), beat(alive), beat(alive)]);
    assert.deepEqual(ended.filter(Boolean), [true]);
    assert.equal(await beat(alive), false);
    const [outage, ...more] = await outages();
    assert.deepEqual(outage?.beganAt, from);
    assert.ok(outage && Math.abs(Date.now() - outage.endedAt.getTime()) < 30_000);
    assert.deepEqual(more, []);
  });

  it('takes a gap of a few seconds for none', async () => {
    await beat(alive);
    await setBack(OUTAGE_SECONDS - 3);
    assert.equal(await beat(alive), false);
    assert.deepEqual(await outages(), []);
  });

  it('does not beat without Temporal, nor go back in time', async () => {
    await beat(alive);
    const before = await beatAt();
    await assert.rejects(beat(withoutTemporal));
    assert.deepEqual(await beatAt(), before);
    await setBack(-3_600);
    const ahead = await beatAt();
    await beat(alive);
    assert.deepEqual(await beatAt(), ahead);
  });

  it('has beaten before it resolves, or fails, and beats until it is stopped', async () => {
    await assert.rejects(startPulse(withoutTemporal));
    assert.equal(await beatAt(), undefined);
    const pulse = await startPulse(alive);
    const first = await beatAt();
    assert.ok(first);
    await until(async () => ((await beatAt()) ?? 0) > first, 'a second beat');
    await pulse.stop();
    const last = await beatAt();
    await new Promise((resolve) => setTimeout(resolve, 1_300));
    assert.deepEqual(await beatAt(), last);
  });
});
