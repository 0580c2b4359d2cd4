import assert from 'node:assert/strict';
import { createSecretKey, randomBytes } from 'node:crypto';
import pino from 'pino';
import { abandon, receive } from '../../activities/receive.ts';
import { reportFailure } from '../../activities/report-failure.ts';
import { schedule } from '../../activities/schedule.ts';
import { attemptNumber } from '../../crypto/channel.ts';
import { removeNode } from '../../activities/removal.ts';
import { drain, heartbeat, leave, nextChallenge } from '../../intake/heartbeat.ts';
import { inTransaction } from '../../prisma/client.ts';
import { markOffline } from '../../intake/online.ts';
import { CodedError } from '../../protocol/errors.ts';
import type { NodeId } from '../../protocol/ids.ts';
import type { RunningAttempt, TransitionCode } from '../../protocol/presence.ts';
import { addPoolNode, type PoolNodeData } from '../support/pool.ts';
import { age, transitions, windows } from '../support/presence.ts';
import { intakeCall, receiveKeys, seedInstant } from '../support/seeded.ts';
import { freshDatabase, type TestDatabase } from '../support/servers.ts';

const secret = createSecretKey(randomBytes(32));
const log = pino({ level: 'silent' });

describe('intake/heartbeat', () => {
  let db: TestDatabase;
  let nodeId: NodeId;
  beforeEach(async () => {
    db = await freshDatabase();
    await seedInstant(db.database);
    nodeId = await addPoolNode(db.database, { slots: 2, isOnline: false });
  });
  afterEach(() => db.close());

  const dependencies = () => ({ database: db.database, channelSecret: secret, log });
  /** Says it as a node does: to a challenge that another one has answered it takes the next. */
  async function said(ready: boolean, running: readonly RunningAttempt[] = [], by = nodeId) {
    for (;;) {
      const challenge = await nextChallenge(dependencies(), by);
      try {
        return await heartbeat(dependencies(), by, { ready, running, ...challenge });
      } catch (error) {
        if (!(error instanceof CodedError) || error.code !== 'node.heartbeat_replayed') throw error;
      }
    }
  }
  const beat = async (ready = true, running: readonly RunningAttempt[] = []) =>
    (await said(ready, running)).bringsCapacity;
  const row = () => db.database.node.findUniqueOrThrow({ where: { id: nodeId } });
  const freeSlots = () => db.database.slot.count({ where: { unitId: null } });

  /** Puts a unit on the node. */
  async function assigned() {
    const { accepted } = await receive(db.database, receiveKeys, await intakeCall());
    const unitId = accepted.requestId;
    const input = { unitId, dispatch: 1, usedNodes: [], request: accepted };
    const { kind } = await schedule(db.database, 'http://127.0.0.1:1', input);
    assert.equal(kind, 'assigned');
    return { unitId, dispatch: 1 };
  }

  /** An attempt as its node knows it. */
  const told = ({ unitId, dispatch }: RunningAttempt) => ({
    unitId,
    dispatch: attemptNumber(secret, unitId, dispatch),
  });

  /** So that it was decided long enough ago for the node to know. */
  async function decideEarlier() {
    await db.database.$executeRaw`
      UPDATE dispatch SET decided_at = decided_at - interval '2 seconds'`;
    await db.database.$executeRaw`
      UPDATE request SET finished_at = finished_at - interval '2 seconds'`;
  }

  it('opens one window with the first, and afterwards only notes the time', async () => {
    await db.database.node.update({ where: { id: nodeId }, data: { lastSeenAt: new Date(0) } });
    await Promise.all([beat(), beat(), beat()]);
    const first = await row();
    assert.ok(first.lastSeenAt > new Date(Date.now() - 60_000));
    const placeOf = async () => {
      const [at] = await db.database.$queryRaw<{ version: string }[]>`
        SELECT xmin::text AS version FROM node_uptime WHERE node_id = ${nodeId}`;
      return at?.version;
    };
    const place = await placeOf();
    assert.equal(await beat(), false);
    const noted = { lastSeenAt: 0, heartbeatSequence: 0 };
    assert.deepEqual({ ...(await row()), ...noted }, { ...first, ...noted });
    assert.equal(await placeOf(), place);
    assert.deepEqual(await transitions(db.database, nodeId), ['node.online']);
    const [window, ...more] = await windows(db.database, nodeId);
    assert.equal(window?.endedAt, null);
    assert.deepEqual(more, []);
  });

  it('says once that the backend is gone, and once that it is back', async () => {
    await beat();
    for (const _ of [1, 2]) assert.equal(await beat(false), false);
    assert.equal((await row()).isReady, false);
    const { accepted } = await receive(db.database, receiveKeys, await intakeCall());
    const input = { unitId: accepted.requestId, dispatch: 1, usedNodes: [], request: accepted };
    const waits = await schedule(db.database, 'http://127.0.0.1:1', input);
    assert.equal(waits.kind, 'waiting');
    assert.equal(await beat(), true);
    assert.equal(await beat(), false);
    const codes = ['node.online', 'node.backend_gone', 'node.ready'];
    assert.deepEqual(await transitions(db.database, nodeId), codes);
    const [before, now, ...more] = await windows(db.database, nodeId);
    assert.equal(before?.endCode, 'node.backend_gone');
    assert.ok(before?.endedAt && now && now.beganAt >= before.endedAt);
    assert.deepEqual([now.endedAt, more], [null, []]);
    assert.equal((await schedule(db.database, 'http://127.0.0.1:1', input)).kind, 'assigned');
  });

  /** What keeps it from serving, and the code of why its window ends. */
  const unable: [string, PoolNodeData, TransitionCode][] = [
    ['is probing', { status: 'probing' }, 'node.probing'],
    ['drains and owes a canary', { status: 'draining', probeUntil: new Date() }, 'node.probing'],
    ['was removed', { status: 'removed' }, 'node.removed'],
  ];
  for (const [what, data, code] of unable) {
    it(`opens no window for a node that ${what}, until it is active`, async () => {
      await db.database.node.update({ where: { id: nodeId }, data });
      for (const ready of [true, true, false, false, true, true]) await beat(ready);
      assert.deepEqual(await windows(db.database, nodeId), []);
      const codes = ['node.online', 'node.backend_gone', 'node.ready'];
      assert.deepEqual(await transitions(db.database, nodeId), codes);
      const shown = { status: 'active', probeUntil: null };
      await db.database.node.update({ where: { id: nodeId }, data: shown });
      await Promise.all([beat(), beat()]);
      const [window, ...more] = await windows(db.database, nodeId);
      assert.deepEqual([window?.endedAt, more], [null, []]);
      assert.deepEqual(await transitions(db.database, nodeId), codes);
    });

    it(`closes the window of a node that ${what}, once`, async () => {
      await beat();
      await age(db.database, nodeId, 60);
      await db.database.node.update({ where: { id: nodeId }, data });
      await Promise.all([beat(), beat(), beat()]);
      const [window, ...more] = await windows(db.database, nodeId);
      assert.deepEqual([window?.endCode, more], [code, []]);
      assert.ok(window?.endedAt && +window.endedAt - +window.beganAt > 50_000);
      assert.deepEqual(await transitions(db.database, nodeId), ['node.online', code]);
    });
  }

  it('lets no flip of a probing node bring its next canary near', async () => {
    const probeAfter = new Date(Date.now() + 60_000);
    const data = { status: 'probing', probeFailures: 5, probeAfter };
    await db.database.node.update({ where: { id: nodeId }, data });
    await beat();
    const first = (await row()).probeAfter;
    const inMs = +first - Date.now();
    assert.ok(inMs > 3_000 && inMs <= 5_500, String(inMs));
    for (const ready of [false, true, false, true]) await beat(ready);
    await leave(dependencies(), nodeId);
    await beat();
    assert.deepEqual((await row()).probeAfter, first, 'nor put it off');
  });

  it('owes the canary that was under way when it began to drain', async () => {
    const probeUntil = new Date(Date.now() + 60_000);
    await db.database.node.update({ where: { id: nodeId }, data: { probeUntil } });
    await beat();
    await drain(dependencies(), nodeId);
    await beat();
    assert.equal((await windows(db.database, nodeId))[0]?.endCode, 'node.probing');
  });

  it('opens a new window when a node comes back and can serve', async () => {
    await beat();
    await age(db.database, nodeId, 60);
    assert.deepEqual(await markOffline({ database: db.database, log }), [nodeId]);
    assert.equal(await beat(false), false);
    assert.equal((await row()).isOnline, true);
    assert.equal((await windows(db.database, nodeId)).length, 1);
    assert.equal(await beat(), true);
    const [before, now, ...more] = await windows(db.database, nodeId);
    assert.equal(before?.endCode, 'node.heartbeat_lost');
    assert.ok(before?.endedAt && now && now.beganAt > before.endedAt);
    assert.equal(now?.endedAt, null);
    assert.deepEqual(more, []);
    assert.deepEqual(await transitions(db.database, nodeId), [
      'node.online',
      'node.heartbeat_lost',
      'node.online',
      'node.backend_gone',
      'node.ready',
    ]);
  });

  it('frees the slot of a decided attempt as soon as the node no longer names it', async () => {
    await beat();
    const attempt = await assigned();
    const report = { ...attempt, nodeId, code: 'node.deadline_exceeded' } as const;
    // Undecided, or decided just now: the node may not know of it yet.
    await beat(true, []);
    assert.equal(await freeSlots(), 1);
    await reportFailure(db.database, report);
    await beat(true, []);
    assert.equal(await freeSlots(), 1);
    await decideEarlier();
    // Also by the number that an earlier version has told.
    for (const named of [told(attempt), attempt]) {
      assert.equal(await beat(true, [named]), false);
      assert.equal(await freeSlots(), 1);
    }
    const another = told({ ...attempt, dispatch: 2 });
    assert.notEqual(another.dispatch, told(attempt).dispatch);
    const answers = await Promise.all([1, 2, 3].map(() => beat(true, [another])));
    assert.deepEqual(answers.filter(Boolean), [true], 'freed once');
    assert.equal(await freeSlots(), 2);
    assert.equal(await beat(), false);
  });

  it('frees the slot of a request that ended, and no slot of another node', async () => {
    await beat();
    const attempt = await assigned();
    const other = await addPoolNode(db.database, { tier: 1 });
    const status = { status: 'failed', code: 'coordinator.run_lost', from: ['running'] } as const;
    assert.ok(await abandon(db.database, attempt.unitId, status));
    await decideEarlier();
    assert.equal(await freeSlots(), 2);
    await said(true, [], other);
    assert.equal(await freeSlots(), 2);
    assert.equal(await beat(), true);
    assert.equal(await freeSlots(), 3);
  });

  it('drains once, tells what is undecided, and registering again would end it', async () => {
    await beat();
    const attempt = await assigned();
    for (const _ of [1, 2]) assert.deepEqual(await drain(dependencies(), nodeId), [told(attempt)]);
    assert.equal((await row()).status, 'draining');
    // It goes on telling that it is there, and stays in its window.
    assert.equal(await beat(), false);
    assert.equal((await windows(db.database, nodeId))[0]?.endedAt, null);
    await reportFailure(db.database, { ...attempt, nodeId, code: 'execute.node_lost' });
    assert.deepEqual(await drain(dependencies(), nodeId), []);
    // Now it owes a canary.
    assert.equal(await beat(), false);
    assert.equal((await row()).status, 'draining');
    const codes = ['node.online', 'node.draining', 'node.probing'];
    assert.deepEqual(await transitions(db.database, nodeId), codes);
    const [window, ...more] = await windows(db.database, nodeId);
    assert.deepEqual([window?.endCode, more], ['node.probing', []]);
  });

  it('leaves a removed node removed when it drains', async () => {
    await db.database.node.update({ where: { id: nodeId }, data: { status: 'removed' } });
    assert.deepEqual(await drain(dependencies(), nodeId), []);
    assert.equal((await row()).status, 'removed');
    assert.deepEqual(await transitions(db.database, nodeId), []);
  });

  it('closes the window of a node that leaves, once, and not before it began', async () => {
    await beat();
    await Promise.all([1, 2, 3].map(() => leave(dependencies(), nodeId)));
    const [window, ...more] = await windows(db.database, nodeId);
    assert.equal(window?.endCode, 'node.left');
    assert.ok(window?.endedAt && window.endedAt >= window.beganAt);
    assert.deepEqual(more, []);
    assert.equal((await row()).isOnline, false);
    await age(db.database, nodeId, 60);
    assert.deepEqual(await markOffline({ database: db.database, log }), []);
    assert.deepEqual(await transitions(db.database, nodeId), ['node.online', 'node.left']);
  });

  it('tells a node that was removed why, for as long as it is', async () => {
    const noted = async () => (await said(true)).removedFor;
    assert.equal(await noted(), null);
    await inTransaction(db.database, (it) => removeNode(it, nodeId, 'node.removed_bad_proofs'));
    assert.equal(await noted(), 'node.removed_bad_proofs');
    await db.database.node.update({ where: { id: nodeId }, data: { status: 'probing' } });
    assert.equal(await noted(), null);
  });
});
