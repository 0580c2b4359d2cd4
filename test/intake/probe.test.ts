import assert from 'node:assert/strict';
import type { Client } from '@temporalio/client';
import pino from 'pino';
import { measureAgain, probe } from '../../intake/probe.ts';
import {
  CANARY_LOST_SECONDS,
  PROBE_PAUSE_SECONDS,
  REMEASURE_SECONDS,
} from '../../protocol/measure.ts';
import { addPoolNode, type PoolNodeData } from '../support/pool.ts';
import { seedInstant } from '../support/seeded.ts';
import { freshDatabase, type TestDatabase } from '../support/servers.ts';

const log = pino({ level: 'silent' });

describe('intake/probe', () => {
  let db: TestDatabase;
  let started: string[];
  let refuses = false;
  beforeEach(async () => {
    db = await freshDatabase();
    await seedInstant(db.database);
    started = [];
    refuses = false;
  });
  afterEach(() => db.close());

  const client = {
    withDeadline: (_deadline: number, work: () => Promise<unknown>) => work(),
    workflow: {
      async start(_type: string, { workflowId }: { workflowId: string }) {
        if (refuses) throw new Error('unavailable');
        started.push(workflowId);
      },
    },
  } as unknown as Client;
  const round = () => probe({ database: db.database, client, log });
  const addProbing = (changed: PoolNodeData = {}) =>
    addPoolNode(db.database, { status: 'probing', ...changed });
  const read = (id: string) => db.database.node.findUniqueOrThrow({ where: { id } });

  it('starts one canary for a node, however many ask at once', async () => {
    const id = await addProbing();
    const rounds = await Promise.all(Array.from({ length: 5 }, round));
    assert.deepEqual(rounds.flat(), [id]);
    assert.deepEqual(await round(), []);
    assert.deepEqual(started, [`canary_${id}_1`]);
    const leftMs = Number((await read(id)).probeUntil) - Date.now();
    assert.ok(leftMs > (CANARY_LOST_SECONDS - 20) * 1_000 && leftMs <= CANARY_LOST_SECONDS * 1_000);
  });

  it('starts the next one once that is lost, by another number', async () => {
    const id = await addProbing({ probe: 4, probeUntil: new Date(Date.now() - 1) });
    await round();
    assert.deepEqual(started, [`canary_${id}_5`]);
  });

  const idle: [string, () => PoolNodeData][] = [
    ['is active', () => ({ status: 'active' })],
    ['is draining', () => ({ status: 'draining' })],
    ['was removed', () => ({ status: 'removed' })],
    ['is not due yet', () => ({ probeAfter: new Date(Date.now() + 86_400_000) })],
    ['is silent', () => ({ lastSeenAt: new Date(Date.now() - 60_000) })],
    ['counts as offline', () => ({ isOnline: false })],
    ['has no backend', () => ({ isReady: false })],
  ];
  for (const [what, changed] of idle)
    it(`starts none for a node that ${what}`, async () => {
      await addProbing(changed());
      assert.deepEqual(await round(), []);
      assert.deepEqual(started, []);
    });

  it('tries again at once what Temporal has not taken', async () => {
    const id = await addProbing();
    refuses = true;
    await round();
    assert.equal((await read(id)).probeUntil, null);
    refuses = false;
    await round();
    assert.deepEqual(started, [`canary_${id}_2`]);
  });

  it('lets some time pass before the next one is due, whatever comes of this one', async () => {
    const id = await addProbing();
    await round();
    const inMs = Number((await read(id)).probeAfter) - Date.now();
    assert.ok(inMs > (PROBE_PAUSE_SECONDS - 3) * 1_000 && inMs <= PROBE_PAUSE_SECONDS * 1_000);
    await db.database.node.update({ where: { id }, data: { probeUntil: null } });
    assert.deepEqual(await round(), []);
  });

  describe('of active nodes', () => {
    const again = () => measureAgain({ database: db.database, client, log });
    const secondsAgo = (seconds: number) => new Date(Date.now() - seconds * 1_000);
    const stale = (more = 60) => secondsAgo(REMEASURE_SECONDS + more);
    const add = (changed: PoolNodeData = {}) =>
      addPoolNode(db.database, { measuredAt: stale(), ...changed });

    it('starts one canary at a time, for whoever was measured longest ago', async () => {
      const [later, earlier] = [await add(), await add({ measuredAt: stale(90) })];
      assert.deepEqual(await again(), [earlier]);
      const rounds = await Promise.all([again(), again()]);
      assert.deepEqual(rounds.flat(), [later]);
      assert.deepEqual(await again(), []);
      assert.deepEqual(started, [`canary_${earlier}_1`, `canary_${later}_1`]);
      const { status, probe: number, probeUntil } = await read(earlier);
      assert.deepEqual([status, number], ['active', 1]);
      assert.ok(probeUntil && probeUntil > new Date());
    });

    const left: [string, () => PoolNodeData][] = [
      ['was measured lately', () => ({ measuredAt: secondsAgo(REMEASURE_SECONDS - 60) })],
      ['is probing', () => ({ status: 'probing' })],
      ['drains', () => ({ status: 'draining' })],
      ['was removed', () => ({ status: 'removed' })],
      ['is silent', () => ({ lastSeenAt: secondsAgo(60) })],
      ['counts as offline', () => ({ isOnline: false })],
      ['has no backend', () => ({ isReady: false })],
      ['has had one just now', () => ({ probeAfter: secondsAgo(-4) })],
    ];
    for (const [what, changed] of left)
      it(`starts none for a node that ${what}`, async () => {
        await add(changed());
        assert.deepEqual(await again(), []);
      });

    it('starts none for a node while a slot of its machine is taken', async () => {
      const id = await add({ slots: 2 });
      const where = { machineId_index: { machineId: id, index: 1 } };
      const taken = { unitId: 'req_1', dispatch: 1, leaseUntil: secondsAgo(-60) };
      await db.database.slot.update({ where, data: taken });
      assert.deepEqual(await again(), []);
      await db.database.slot.update({
        where,
        data: { unitId: null, dispatch: null, leaseUntil: null },
      });
      assert.deepEqual(await again(), [id]);
    });

    it('finds it by an index, among however many', async () => {
      const plan = await db.database.$transaction(async (transaction) => {
        // What few rows a test has are read whole otherwise.
        await transaction.$executeRaw`SET LOCAL enable_seqscan = off`;
        return transaction.$queryRaw<Record<string, string>[]>`
          EXPLAIN SELECT id FROM node
          WHERE status = 'active' AND is_ready AND is_online AND measured_at < now()
          ORDER BY measured_at LIMIT 1`;
      });
      assert.match(JSON.stringify(plan), /Index Scan using node_measured_at_idx/);
      assert.doesNotMatch(JSON.stringify(plan), /Sort/);
    });
  });
});
