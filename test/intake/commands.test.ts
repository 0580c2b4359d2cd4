import assert from 'node:assert/strict';
import { createSecretKey, randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import { Client, Connection } from '@temporalio/client';
import type { FastifyInstance } from 'fastify';
import pino from 'pino';
import { abandon, receive } from '../../activities/receive.ts';
import { reportFailure } from '../../activities/report-failure.ts';
import { schedule } from '../../activities/schedule.ts';
import { attemptNumber } from '../../crypto/channel.ts';
import { generateNodeKeys, type NodeKeys } from '../../crypto/keys.ts';
import { Commands } from '../../intake/commands.ts';
import { Relay } from '../../intake/relay.ts';
import { createIntakeServer } from '../../intake/server.ts';
import { Channel } from '../../nodes/channel.ts';
import { cancellationHandler, type Cancellation } from '../../prisma/cancellations.ts';
import { listenForOutcomes, type OutcomeListener } from '../../prisma/outcomes.ts';
import type { NodeCommand } from '../../protocol/commands.ts';
import { formatRequestId } from '../../protocol/ids.ts';
import { INSTANT_MODEL } from '../../bench/instant-backend.ts';
import { CHAIN_ID, signedBinding } from '../../bench/signed-binding.ts';
import { addPoolNode } from '../support/pool.ts';
import { intakeCall, OPERATOR, receiveKeys, requester, seedInstant } from '../support/seeded.ts';
import { freePort, freshDatabase, testServers, type TestDatabase } from '../support/servers.ts';
import { until } from '../support/until.ts';

const COORDINATOR = 'http://127.0.0.1:1';

/** The way from what a coordinator gives up to the node that works on it. */
describe('intake/commands', () => {
  let db: TestDatabase;
  let connection: Connection;
  let outcomes: OutcomeListener;
  let app: FastifyInstance;
  let url: string;
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
      channelSecret,
      intakeKey: requester.publicJwk,
      returnKey: requester.publicJwk,
      onNodeSeen: () => {},
      commands,
      join: 'token',
      chainId: CHAIN_ID,
    });
    const port = await freePort();
    await app.listen({ host: '127.0.0.1', port });
    url = `http://127.0.0.1:${port}`;
  });
  afterEach(() => void (announced.length = 0));
  after(async () => {
    await app.close();
    await outcomes.close();
    await db.close();
    await connection.close();
  });

  async function register(keys: NodeKeys): Promise<string> {
    const { heartbeatToken } = await new Channel(url, keys).register({
      name: 'node',
      binding: await signedBinding(keys.nodeId, OPERATOR),
      tier: 1,
      workloadClasses: ['ai.inference'],
      modelId: INSTANT_MODEL.id,
      modelDigest: INSTANT_MODEL.digest,
      engine: 'instant/1',
      tokensPerSecond: 1_000,
      slots: 1,
    });
    return heartbeatToken;
  }

  it('is open to the node whose token it is, and to nobody else', async () => {
    const [keys, others] = [await generateNodeKeys(), await generateNodeKeys()];
    const token = await register(others);
    const ask = (authorization: string) =>
      fetch(`${url}/v1/nodes/${keys.nodeId}/commands`, { headers: { authorization } });
    for (const wrong of [`Bearer ${token}`, 'Bearer ', 'nonsense']) {
      const response = await ask(wrong);
      assert.equal(response.status, 403);
      assert.match(await response.text(), /node\.registration_refused/);
    }
    const unknown = await fetch(`${url}/v1/nodes/nd_short/commands`);
    assert.equal(unknown.status, 404);
  });

  it('tells the node about its own attempts, on its latest connection only', async () => {
    const keys = await generateNodeKeys();
    const token = await register(keys);
    const stop = new AbortController();
    const heard: NodeCommand[][] = [[], []];
    const ended: unknown[] = [];
    const listen = (index: number) =>
      new Channel(url, keys)
        .commands(token, (command) => heard[index]?.push(command), stop.signal)
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

  it('gives a coordinator up that has been silent for too long', async () => {
    const silent = createServer((_request, response) => response.writeHead(200).flushHeaders());
    const port = await freePort();
    await new Promise<void>((resolve) => void silent.listen(port, '127.0.0.1', resolve));
    const channel = new Channel(`http://127.0.0.1:${port}`, await generateNodeKeys());
    const { signal } = new AbortController();
    await assert.rejects(
      channel.commands('token', () => {}, signal, 100),
      /silent/,
    );
    silent.closeAllConnections();
    await new Promise((resolve) => silent.close(resolve));
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
