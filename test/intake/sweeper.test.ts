import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { Client, Connection } from '@temporalio/client';
import pino from 'pino';
import { receive } from '../../activities/receive.ts';
import { sweep } from '../../intake/sweeper.ts';
import { formatNodeId } from '../../protocol/ids.ts';
import { INSTANT_MODEL } from '../../bench/instant-backend.ts';
import { balances, intakeCall, OPERATOR, receiveKeys, seedInstant } from '../support/seeded.ts';
import { freshDatabase, testServers, type TestDatabase } from '../support/servers.ts';

const log = pino({ level: 'silent' });

describe('intake/sweeper', () => {
  let db: TestDatabase;
  let connection: Connection;
  let client: Client;
  before(async () => {
    const { temporalAddress } = await testServers();
    connection = await Connection.connect({ address: temporalAddress });
    client = new Client({ connection });
  });
  after(() => connection.close());
  beforeEach(async () => {
    db = await freshDatabase();
    await seedInstant(db.database);
  });
  afterEach(() => db.close());

  async function addNode(tier: number, slots: number) {
    const key = Buffer.from('key');
    await db.database.node.create({
      data: {
        id: formatNodeId(randomBytes(32)),
        name: 'n',
        operatorId: OPERATOR,
        tier,
        workloadClasses: ['ai.inference'],
        modelId: INSTANT_MODEL.id,
        modelDigest: INSTANT_MODEL.digest,
        engine: 'e',
        tokensPerSecond: 1,
        signingKey: key,
        encryptionKey: key,
        slots: { create: Array.from({ length: slots }, (_, index) => ({ index })) },
      },
    });
  }

  /** A workflow that only takes the signal: nobody works on its queue. */
  async function waiting(name: string, priority: number, complexity: number, tier = 1) {
    const workflowId = `${name}-${randomBytes(8).toString('hex')}`;
    await client.workflow.start('inference', { workflowId, taskQueue: `idle-${workflowId}` });
    await db.database.waiting.create({
      data: {
        unitId: workflowId,
        priority,
        complexity,
        modelDigest: INSTANT_MODEL.digest,
        tier,
        deadlineAt: new Date(Date.now() + 60_000),
      },
    });
    return workflowId;
  }

  it('wakes as many as there are free slots: most pressing first, then the largest', async () => {
    const small = await waiting('small', 5, 10);
    const large = await waiting('large', 5, 900);
    const urgent = await waiting('urgent', 1, 1);
    const tooDemanding = await waiting('demanding', 1, 1, 5);
    assert.deepEqual((await sweep(db.database, client, log)).woken, []);
    await addNode(2, 2);
    const { woken } = await sweep(db.database, client, log);
    assert.deepEqual(woken.toSorted(), [large, urgent].toSorted());
    // Those that were woken get time to use it; then the next one may try.
    assert.deepEqual((await sweep(db.database, client, log)).woken, [small]);
    assert.deepEqual((await sweep(db.database, client, log)).woken, []);
    const handle = client.workflow.getHandle(tooDemanding);
    const { events } = await handle.fetchHistory();
    assert.ok(!events?.some((event) => event.workflowExecutionSignaledEventAttributes));
    await Promise.all(
      [small, large, urgent, tooDemanding].map((id) => client.workflow.getHandle(id).terminate()),
    );
  });

  it('forgets a waiting unit whose workflow is gone', async () => {
    const gone = await waiting('gone', 1, 1);
    await client.workflow.getHandle(gone).terminate();
    await addNode(1, 1);
    await sweep(db.database, client, log);
    assert.equal(await db.database.waiting.count(), 0);
  });

  it('ends, and pays back, a request that was accepted but never started', async () => {
    const before = await balances(db.database);
    const {
      accepted: { requestId },
    } = await receive(db.database, receiveKeys, await intakeCall());
    assert.deepEqual((await sweep(db.database, client, log)).abandoned, []);
    const longAgo = new Date(Date.now() - 3_600_000);
    await db.database.request.updateMany({ data: { acceptedAt: longAgo } });
    assert.deepEqual((await sweep(db.database, client, log)).abandoned, [requestId]);
    assert.deepEqual(await balances(db.database), before);
  });

  it('leaves alone a request whose workflow runs, however old', async () => {
    const {
      accepted: { requestId },
    } = await receive(db.database, receiveKeys, await intakeCall());
    await client.workflow.start('inference', { workflowId: requestId, taskQueue: 'idle' });
    await db.database.request.updateMany({ data: { acceptedAt: new Date(0) } });
    assert.deepEqual((await sweep(db.database, client, log)).abandoned, []);
    await client.workflow.getHandle(requestId).terminate();
  });
});
