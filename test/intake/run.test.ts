import assert from 'node:assert/strict';
import { createSecretKey } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client, Connection, type WorkflowClientInterceptor } from '@temporalio/client';
import type { FastifyInstance } from 'fastify';
import pino from 'pino';
import { CHAIN_ID } from '../../bench/signed-binding.ts';
import { receive } from '../../activities/receive.ts';
import { Commands } from '../../intake/commands.ts';
import { Relay } from '../../intake/relay.ts';
import { createIntakeServer } from '../../intake/server.ts';
import { listenForOutcomes, type OutcomeListener } from '../../prisma/outcomes.ts';
import type { IntakeCall } from '../../protocol/receive.ts';
import { balances, intakeCall, receiveKeys, requester, seedInstant } from '../support/seeded.ts';
import { until } from '../support/until.ts';
import { freshDatabase, testServers, type TestDatabase } from '../support/servers.ts';

const TOKEN = 'test-intake-token-0123456789';
const linesOf = (answer: { readonly body: string } | undefined) =>
  (answer?.body ?? '')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as unknown);

const NOWHERE = `req_${'0'.repeat(64)}`;

/** The coordinator's routes about a run, with Temporal, and with no worker that could help. */
describe('intake/run', () => {
  let db: TestDatabase;
  let connection: Connection;
  let client: Client;
  let outcomes: OutcomeListener;
  let app: FastifyInstance;
  let relay: Relay;
  /** Called once Temporal has said that there is no such run, before the coordinator hears it. */
  let whenNoRun = async (): Promise<void> => {};
  before(async () => {
    connection = await Connection.connect({ address: (await testServers()).temporalAddress });
    const describeRun: WorkflowClientInterceptor['describe'] = async (input, next) => {
      try {
        return await next(input);
      } catch (error) {
        await whenNoRun();
        throw error;
      }
    };
    client = new Client({ connection, interceptors: { workflow: [{ describe: describeRun }] } });
    db = await freshDatabase();
    await seedInstant(db.database);
    outcomes = await listenForOutcomes(db.url, () => {});
    const channelSecret = createSecretKey(Buffer.alloc(32, 1));
    relay = new Relay(channelSecret, [requester]);
    app = createIntakeServer({
      database: db.database,
      keys: receiveKeys,
      client,
      outcomes,
      relay,
      log: pino({ level: 'silent' }),
      intakeToken: TOKEN,
      edgeToken: 'edge-token-of-this-test',
      channelSecret,
      intakeKey: requester.publicJwk,
      returnKey: requester.publicJwk,
      onNodeSeen: () => {},
      onAccepted: () => {},
      commands: new Commands(channelSecret),
      join: 'token',
      chainId: CHAIN_ID,
    });
  });
  after(async () => {
    await app.close();
    await outcomes.close();
    await db.close();
    await connection.close();
  });

  async function received(made?: IntakeCall) {
    const { accepted } = await receive(db.database, receiveKeys, made ?? (await intakeCall()));
    return accepted;
  }

  async function call(method: 'GET' | 'POST', path: string, token = TOKEN) {
    const headers = { authorization: `Bearer ${token}` };
    const response = await app.inject({ method, url: `/v1/intake/requests/${path}`, headers });
    const body = response.body ? response.json<{ error?: { code: string } }>() : {};
    return { status: response.statusCode, body, code: body.error?.code };
  }

  it('answers gateways only, and knows what there is', async () => {
    for (const [method, what] of [
      ['GET', 'steps'],
      ['GET', 'events'],
      ['POST', 'cancel'],
    ] as const) {
      assert.equal((await call(method, `${NOWHERE}/${what}`, 'wrong')).status, 401);
      for (const id of [NOWHERE, 'req_short'])
        assert.equal((await call(method, `${id}/${what}`)).code, 'gateway.request_not_found');
    }
  });

  it('tells the steps of a request that has no run yet', async () => {
    const { requestId } = await received();
    const { status, body } = await call('GET', `${requestId}/steps`);
    assert.equal(status, 200);
    assert.deepEqual(body, {
      steps: [
        { step: 'receive', state: 'done' },
        { step: 'segment', state: 'skipped', note: 'inference' },
        ...['schedule', 'dispatch', 'execute', 'prove', 'validate'].map((step) => ({
          step,
          state: 'pending',
        })),
        { step: 'aggregate', state: 'skipped', note: 'inference' },
        { step: 'settle', state: 'pending' },
      ],
    });
  });

  it('says so when the run does not answer', async () => {
    const { requestId } = await received();
    // Nobody works on this queue.
    await client.workflow.start('inference', { workflowId: requestId, taskQueue: 'idle' });
    const { code } = await call('GET', `${requestId}/steps`);
    assert.equal(code, 'gateway.steps_unavailable');
    await client.workflow.getHandle(requestId).terminate();
  });

  it('follows a request to its outcome, or to its end', async () => {
    const { requestId, acceptedAtMs } = await received();
    const headers = { authorization: `Bearer ${TOKEN}` };
    const url = `/v1/intake/requests/${requestId}/events`;
    const [following, untilEnd] = [url, `${url}?until_end=true`].map((each) =>
      app.inject({ method: 'GET', url: each, headers }),
    );
    await until(() => relay.holders(requestId) === 2, 'both are there');
    assert.equal((await call('POST', `${requestId}/cancel`)).status, 204);
    const accepted = { type: 'accepted', requestId, acceptedAtMs };
    const outcome = { type: 'outcome', state: 'failed', code: 'execute.cancelled' };
    assert.deepEqual(linesOf(await following), [accepted, outcome]);
    assert.deepEqual(linesOf(await untilEnd), [accepted, outcome, { type: 'ended' }]);
    await until(() => relay.holders(requestId) === 0, 'nothing is kept');
    const late = await app.inject({ method: 'GET', url, headers });
    assert.deepEqual(linesOf(late), [accepted, outcome]);
  });

  it('cancels a request whose run never starts: paid back, and not started later', async () => {
    const before = await balances(db.database);
    const made = await intakeCall();
    const { requestId } = await received(made);
    assert.equal((await call('POST', `${requestId}/cancel`)).status, 204);
    const row = await db.database.request.findUniqueOrThrow({ where: { id: requestId } });
    assert.deepEqual([row.status, row.failureCode], ['cancelled', 'execute.cancelled']);
    assert.deepEqual(await balances(db.database), before);
    assert.equal((await call('POST', `${requestId}/cancel`)).status, 204, 'again');
    // The gateway repeats its call when the connection breaks: it must not start the run.
    const headers = { authorization: `Bearer ${TOKEN}` };
    const repeated = await app.inject({
      method: 'POST',
      url: '/v1/intake',
      headers,
      payload: { ...made },
    });
    assert.deepEqual(linesOf(repeated), [
      { type: 'accepted', requestId, acceptedAtMs: row.acceptedAt.getTime(), isJoined: true },
      { type: 'outcome', state: 'failed', code: 'execute.cancelled' },
    ]);
    await assert.rejects(client.workflow.getHandle(requestId).describe(), /not found/);
  });

  it('starts no run for a call that joins with other parameters', async () => {
    const keyed = { intakeKey: `idem_${'a'.repeat(64)}`, bodyDigest: 'd'.repeat(64) };
    const maker = { ...(await intakeCall({ stream: false })), ...keyed };
    const joiner: IntakeCall = {
      ...(await intakeCall({ stream: true })),
      ...keyed,
      delivery: 'early',
    };
    // Its start is slow, or lost.
    const { requestId } = await received(maker);
    const joined = await receive(db.database, receiveKeys, joiner);
    assert.deepEqual([joined.isJoined, joined.mayStart], [true, false]);
    const { accepted } = joined;
    assert.deepEqual(
      [accepted.parameters, accepted.delivery, accepted.requesterKey],
      [maker.parameters, 'validated', maker.requesterKey],
    );
    const headers = { authorization: `Bearer ${TOKEN}` };
    const send = (call: IntakeCall) =>
      app.inject({ method: 'POST', url: '/v1/intake', headers, payload: { ...call } });
    const joining = send(joiner);
    await until(() => relay.holders(requestId) === 1, 'it has joined');
    await sleep(200);
    const run = client.workflow.getHandle(requestId);
    await assert.rejects(run.describe(), /not found/);
    const repeated = await receive(db.database, receiveKeys, maker);
    assert.deepEqual([repeated.isJoined, repeated.mayStart], [true, true]);
    assert.equal((await call('POST', `${requestId}/cancel`)).status, 204);
    const outcome = { type: 'outcome', state: 'failed', code: 'execute.cancelled' };
    assert.deepEqual(linesOf(await joining).at(-1), outcome);
  });

  it('cancels the run that starts while it waits for one', async () => {
    const { requestId } = await received();
    whenNoRun = async () => {
      whenNoRun = async () => {};
      await client.workflow.start('inference', { workflowId: requestId, taskQueue: 'idle' });
    };
    assert.equal((await call('POST', `${requestId}/cancel`)).status, 204);
    const { events } = await client.workflow.getHandle(requestId).fetchHistory();
    assert.ok(events?.some((event) => event.workflowExecutionCancelRequestedEventAttributes));
    await client.workflow.getHandle(requestId).terminate();
  });

  it('ends a request whose run was terminated from outside', async () => {
    const before = await balances(db.database);
    const { requestId } = await received();
    await client.workflow.start('inference', { workflowId: requestId, taskQueue: 'idle' });
    await client.workflow.getHandle(requestId).terminate();
    await db.database.request.update({ where: { id: requestId }, data: { status: 'running' } });
    assert.equal((await call('POST', `${requestId}/cancel`)).status, 204);
    const row = await db.database.request.findUniqueOrThrow({ where: { id: requestId } });
    assert.equal(row.status, 'cancelled');
    assert.deepEqual(await balances(db.database), before);
  });
});
