import assert from 'node:assert/strict';
import { createSecretKey, randomBytes } from 'node:crypto';
import { Client, Connection } from '@temporalio/client';
import type { FastifyInstance } from 'fastify';
import pino from 'pino';
import { abandon, receive } from '../../activities/receive.ts';
import { reportFailure } from '../../activities/report-failure.ts';
import { schedule } from '../../activities/schedule.ts';
import { attemptNumber } from '../../crypto/channel.ts';
import { generateNodeKeys } from '../../crypto/keys.ts';
import { Commands } from '../../intake/commands.ts';
import { Relay } from '../../intake/relay.ts';
import { createIntakeServer } from '../../intake/server.ts';
import { cancellationHandler, type Cancellation } from '../../prisma/cancellations.ts';
import { listenForOutcomes, type OutcomeListener } from '../../prisma/outcomes.ts';
import type { NodeCommand } from '../../protocol/commands.ts';
import { formatRequestId } from '../../protocol/ids.ts';
import { CHAIN_ID } from '../../bench/signed-binding.ts';
import { addPoolNode } from '../support/pool.ts';
import { intakeCall, receiveKeys, requester, seedInstant } from '../support/seeded.ts';
import { startSideChannel, type SideChannel } from '../support/side-channel.ts';
import { freePort, freshDatabase, testServers, type TestDatabase } from '../support/servers.ts';
import { until } from '../support/until.ts';

const COORDINATOR = 'http://127.0.0.1:1';
const EDGE_TOKEN = 'edge-token-of-this-test';

/** The way from what a coordinator gives up to the node that works on it. */
describe('intake/commands', () => {
  let db: TestDatabase;
  let connection: Connection;
  let outcomes: OutcomeListener;
  let app: FastifyInstance;
  let url: string;
  let edge: SideChannel;
  const channelSecret = createSecretKey(randomBytes(32));
  const commands = new Commands(channelSecret);
  const announced: Cancellation[] = [];

  before(async () => {
    connection = await Connection.connect({ address: (await testServers()).temporalAddress });
    db = await freshDatabase();
    await seedInstant(db.database);
    const handler = cancellationHandler((cancellation) => {
      announced.push(cancellation);
      commands.cancel(cancellation);
    });
    outcomes = await listenForOutcomes(db.url, () => {}, [handler]);
    app = createIntakeServer({
      database: db.database,
      keys: receiveKeys,
      client: new Client({ connection }),
      outcomes,
      relay: new Relay(channelSecret, [requester]),
      log: pino({ level: 'silent' }),
      intakeToken: 'test-intake-token-0123456789',
      edgeToken: EDGE_TOKEN,
      channelSecret,
      intakeKey: requester.publicJwk,
      returnKey: requester.publicJwk,
      onNodeSeen: () => {},
      onAccepted: () => {},
      commands,
      join: 'token',
      chainId: CHAIN_ID,
    });
    const port = await freePort();
    await app.listen({ host: '127.0.0.1', port });
    url = `http://127.0.0.1:${port}`;
    const { database } = db;
    edge = await startSideChannel({ coordinatorUrl: url, edgeToken: EDGE_TOKEN, database });
  });
  afterEach(() => void (announced.length = 0));
  after(async () => {
    await edge.close();
    await app.close();
    await outcomes.close();
    await db.close();
    await connection.close();
  });

  it('is open to edges, and to nobody else', async () => {
    const { nodeId } = await generateNodeKeys();
    const ask = (id: string, authorization: string) =>
      fetch(`${url}/v1/nodes/${id}/commands`, { headers: { authorization } });
    for (const wrong of [`Bearer ${EDGE_TOKEN}x`, 'Bearer ', EDGE_TOKEN]) {
      const response = await ask(nodeId, wrong);
      assert.equal(response.status, 401);
      assert.match(await response.text(), /edge\.unauthenticated/);
    }
    assert.equal((await ask('nd_short', `Bearer ${EDGE_TOKEN}`)).status, 404);
  });

  it('tells the node about its own attempts, on its latest connection only', async () => {
    const keys = await generateNodeKeys();
    const stop = new AbortController();
    const heard: NodeCommand[][] = [[], []];
    const ended: unknown[] = [];
    const listen = async (index: number) =>
      (await edge.channel(keys))
        .commands((command) => heard[index]?.push(command), stop.signal)
        .catch((error: unknown) => ended.push(error));
    void listen(0);
    await until(() => heard[0]?.length === 1, 'the first connection');
    const second = listen(1);
    await until(() => heard[1]?.length === 1 && ended.length === 1, 'the second replaces it');
    const unitId = formatRequestId(randomBytes(32));
    const stranger = (await generateNodeKeys()).nodeId;
    assert.equal(commands.cancel({ nodeId: stranger, unitId, dispatch: 1 }), false);
    assert.equal(commands.cancel({ nodeId: keys.nodeId, unitId, dispatch: 2 }), true);
    await until(() => heard[1]?.length === 2, 'the command');
    const number = attemptNumber(channelSecret, unitId, 2);
    assert.deepEqual(heard[1]?.[1], { type: 'cancel', unitId, dispatch: number });
    assert.deepEqual(heard[0], [{ type: 'ping' }]);
    stop.abort();
    await second;
    await until(
      () => !commands.cancel({ nodeId: keys.nodeId, unitId, dispatch: 2 }),
      'the coordinator notices that the node has gone',
    );
  });

  it('gives a node up that reads nothing', async () => {
    const { nodeId } = await generateNodeKeys();
    const unitId = formatRequestId(randomBytes(32));
    const lines = commands.connect(nodeId);
    let taken = 0;
    while (commands.cancel({ nodeId, unitId, dispatch: 1 })) taken += 1;
    assert.ok(taken > 10 && taken < 2_000, `${taken} commands`);
    assert.equal(lines.destroyed, true);
  });

  async function dispatched() {
    const { accepted } = await receive(db.database, receiveKeys, await intakeCall());
    const nodeId = await addPoolNode(db.database, { tier: 1, slots: 1 });
    const input = { unitId: accepted.requestId, dispatch: 1, usedNodes: [], request: accepted };
    const result = await schedule(db.database, COORDINATOR, input);
    assert.equal(result.kind, 'assigned');
    const node = result.kind === 'assigned' ? result.node.nodeId : nodeId;
    return { unitId: accepted.requestId, nodeId: node };
  }

  for (const code of ['node.deadline_exceeded', 'execute.node_lost'] as const)
    it(`is told of an attempt that was given up: ${code}`, async () => {
      const { unitId, nodeId } = await dispatched();
      await reportFailure(db.database, { unitId, dispatch: 1, nodeId, code });
      await until(() => announced.length > 0, 'the notification');
      assert.deepEqual(announced, [{ nodeId, unitId, dispatch: 1 }]);
    });

  it('is told of a request that ends without its run, once; not of what was over', async () => {
    const finished = await dispatched();
    const failure = { ...finished, dispatch: 1, code: 'execute.backend_failed' } as const;
    await reportFailure(db.database, failure);
    const running = await dispatched();
    const end = { status: 'cancelled', code: 'execute.cancelled', from: ['running'] } as const;
    assert.equal(await abandon(db.database, finished.unitId, end), true);
    assert.equal(await abandon(db.database, running.unitId, end), true);
    assert.equal(await abandon(db.database, running.unitId, end), false);
    await until(() => announced.length > 0, 'the notification');
    assert.deepEqual(announced, [{ ...running, dispatch: 1 }]);
  });
});
