import assert from 'node:assert/strict';
import pino from 'pino';
import { markOffline } from '../../intake/online.ts';
import { OUTAGE_SECONDS } from '../../protocol/outage.ts';
import { ONLINE_SECONDS } from '../../protocol/schedule.ts';
import { addPoolNode } from '../support/pool.ts';
import { age, transitions, windows } from '../support/presence.ts';
import { seedInstant } from '../support/seeded.ts';
import { freshDatabase, type TestDatabase } from '../support/servers.ts';

const log = pino({ level: 'silent' });

describe('intake/online', () => {
  let db: TestDatabase;
  let nodeId: string;
  beforeEach(async () => {
    db = await freshDatabase();
    await seedInstant(db.database);
    nodeId = await addPoolNode(db.database);
    await db.database.nodeUptime.create({ data: { nodeId } });
  });
  afterEach(() => db.close());

  const mark = () => markOffline({ database: db.database, log });
  const secondsAgo = (seconds: number) => new Date(Date.now() - seconds * 1_000);
  const setPulse = (beatAt: Date) =>
    db.database.pulse.upsert({ where: { id: 1 }, create: { beatAt }, update: { beatAt } });

  it('leaves a node alone that was heard of in time', async () => {
    await age(db.database, nodeId, ONLINE_SECONDS - 3);
    assert.deepEqual(await mark(), []);
    assert.equal((await windows(db.database, nodeId))[0]?.endedAt, null);
  });

  it('takes a silent node offline once, as of its last heartbeat', async () => {
    await age(db.database, nodeId, 60);
    const rounds = await Promise.all([mark(), mark(), mark()]);
    assert.deepEqual(rounds.flat(), [nodeId]);
    assert.deepEqual(await mark(), []);
    const node = await db.database.node.findUniqueOrThrow({ where: { id: nodeId } });
    assert.equal(node.isOnline, false);
    const [window] = await windows(db.database, nodeId);
    const { lastSeenAt } = node;
    assert.equal(window?.endCode, 'node.heartbeat_lost');
    assert.deepEqual(window?.endedAt, new Date(Math.max(+lastSeenAt, +(window?.beganAt ?? 0))));
    assert.ok(window?.endedAt && window.endedAt < secondsAgo(50));
    assert.deepEqual(await transitions(db.database, nodeId), ['node.heartbeat_lost']);
  });

  it('takes a silent node offline that has no window', async () => {
    await db.database.nodeUptime.deleteMany();
    await age(db.database, nodeId, 60);
    assert.deepEqual(await mark(), [nodeId]);
    assert.deepEqual(await windows(db.database, nodeId), []);
    assert.deepEqual(await transitions(db.database, nodeId), ['node.heartbeat_lost']);
  });

  it('ends no window before it began', async () => {
    await db.database.node.update({
      where: { id: nodeId },
      data: { lastSeenAt: secondsAgo(3_600) },
    });
    assert.deepEqual(await mark(), [nodeId]);
    const [window] = await windows(db.database, nodeId);
    assert.deepEqual(window?.endedAt, window?.beganAt);
  });

  it('counts silence from the end of an outage', async () => {
    await age(db.database, nodeId, 3_600);
    const endedAt = secondsAgo(ONLINE_SECONDS - 3);
    await db.database.outage.create({ data: { beganAt: secondsAgo(3_000), endedAt } });
    assert.deepEqual(await mark(), []);
    await db.database.outage.updateMany({ data: { endedAt: secondsAgo(ONLINE_SECONDS + 1) } });
    assert.deepEqual(await mark(), [nodeId]);
    // What it is credited with ends with its last heartbeat all the same.
    const [window] = await windows(db.database, nodeId);
    assert.ok(window?.endedAt && window.endedAt < secondsAgo(3_500));
  });

  it('takes nobody offline while an outage goes on', async () => {
    await age(db.database, nodeId, 60);
    await setPulse(secondsAgo(OUTAGE_SECONDS + 1));
    assert.deepEqual(await mark(), []);
    await setPulse(new Date());
    assert.deepEqual(await mark(), [nodeId]);
  });
});
