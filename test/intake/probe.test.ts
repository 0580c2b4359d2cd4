import assert from 'node:assert/strict';
import type { Client } from '@temporalio/client';
import pino from 'pino';
import { probe } from '../../intake/probe.ts';
import { CANARY_LOST_SECONDS } from '../../protocol/measure.ts';
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

  const idle: [string, PoolNodeData][] = [
    ['is active', { status: 'active' }],
    ['is draining', { status: 'draining' }],
    ['was removed', { status: 'removed' }],
    ['is not due yet', { probeAfter: new Date(Date.now() + 86_400_000) }],
    ['is silent', { lastSeenAt: new Date(Date.now() - 60_000) }],
    ['counts as offline', { isOnline: false }],
    ['has no backend', { isReady: false }],
  ];
  for (const [what, changed] of idle)
    it(`starts none for a node that ${what}`, async () => {
      await addProbing(changed);
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
});
