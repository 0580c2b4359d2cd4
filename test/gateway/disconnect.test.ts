import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import fastify from 'fastify';
import pino from 'pino';
import { eventsForCaller, Readers } from '../../gateway/disconnect.ts';
import { GatewayMetrics } from '../../gateway/metrics.ts';
import type { OnDisconnect } from '../../gateway/own-fields.ts';
import type { Database } from '../../prisma/client.ts';
import { intakeCall } from '../support/seeded.ts';
import { freePort } from '../support/servers.ts';
import { until } from '../support/until.ts';

const ID = `req_${'a'.repeat(64)}`;
const OPTIONS = { intakeToken: 'unused-intake-token' };
/** Nothing is stored yet of any request. */
const database = { $queryRaw: async () => [] } as unknown as Database;
/** What a coordinator is given to be slow by; nothing happens in it that should not. */
const QUIET_MS = 100;

/** A coordinator that only answers what gateways ask about hanging up. */
async function startCoordinator(port = 0) {
  const app = fastify({ forceCloseConnections: true });
  const seen = { calls: 0, cancelled: [] as string[], hungUp: 0 };
  /** How many cancellations fail before one is heard. */
  let deaf = 0;
  let accept: (isJoined?: boolean) => void = () => {};
  let answer = () => {};
  let breakOff = () => {};
  app.post('/v1/intake', (_request, reply) => {
    seen.calls += 1;
    reply.hijack();
    reply.raw.writeHead(200);
    reply.raw.flushHeaders();
    breakOff = () => reply.raw.destroy();
    reply.raw.on('close', () => (seen.hungUp += 1));
    const say = (event: object) => void reply.raw.write(`${JSON.stringify(event)}\n`);
    accept = (isJoined = false) =>
      say({ type: 'accepted', requestId: ID, acceptedAtMs: 0, ...(isJoined ? { isJoined } : {}) });
    breakOff = () => void reply.raw.destroy();
    answer = () => say({ type: 'outcome', state: 'failed', code: 'execute.cancelled' });
  });
  app.post<{ Params: { id: string } }>('/v1/intake/requests/:id/cancel', (request, reply) => {
    if (deaf-- > 0) return reply.code(503).send({});
    seen.cancelled.push(request.params.id);
    return reply.code(204).send();
  });
  const coordinatorUrl = await app.listen({ host: '127.0.0.1', port });
  return {
    seen,
    coordinatorUrl,
    deafFor: (times: number) => void (deaf = times),
    accept: (isJoined?: boolean) => accept(isJoined),
    answer: () => answer(),
    breakOff: () => breakOff(),
    stop: () => app.close(),
  };
}

describe('gateway/disconnect', () => {
  let coordinator: Awaited<ReturnType<typeof startCoordinator>>;
  let readers: Readers;
  let metrics: GatewayMetrics;
  beforeEach(async () => {
    coordinator = await startCoordinator();
    const { coordinatorUrl } = coordinator;
    metrics = new GatewayMetrics();
    const source = { coordinatorUrl, ...OPTIONS, database };
    readers = new Readers(source, pino({ level: 'silent' }), metrics);
  });
  afterEach(async () => {
    await readers.close();
    await coordinator.stop();
  });

  const isCancelled = () => coordinator.seen.cancelled.length > 0;
  async function staysUncancelled() {
    await sleep(QUIET_MS);
    assert.deepEqual(coordinator.seen.cancelled, []);
  }

  /** A caller that reads until it hangs up or is answered. */
  async function call(onDisconnect: OnDisconnect, bodyDigest?: string) {
    const gone = new AbortController();
    const { coordinatorUrl } = coordinator;
    const made = { ...(await intakeCall()), ...(bodyDigest ? { bodyDigest } : {}) };
    const calls = coordinator.seen.calls;
    const dependencies = { coordinatorUrl, ...OPTIONS, readers, database };
    const events: string[] = [];
    const over = (async () => {
      for await (const { type } of eventsForCaller(dependencies, made, onDisconnect, gone.signal))
        events.push(type);
    })().catch((error: unknown) => void events.push(String(error)));
    await until(() => coordinator.seen.calls > calls, 'the call is there');
    return { hangUp: () => gone.abort(), events, over };
  }
  async function accepted(onDisconnect: OnDisconnect, bodyDigest?: string, isJoined?: boolean) {
    const caller = await call(onDisconnect, bodyDigest);
    coordinator.accept(isJoined);
    await until(() => caller.events.includes('accepted'), 'it is accepted');
    return caller;
  }

  it('cancels what its caller hung up on, and ends the intake call', async () => {
    const caller = await accepted('cancel');
    caller.hangUp();
    await until(isCancelled, 'it is cancelled');
    await caller.over;
    await until(() => coordinator.seen.hungUp === 1, 'the call is over');
    assert.deepEqual(coordinator.seen.cancelled, [ID]);
    const counted = /^plx_gateway_hangups_cancelled_total 1$/m;
    await until(async () => counted.test(await metrics.registry.metrics()), 'it is counted');
  });

  it('waits for the acceptance of what its caller hung up on, and cancels then', async () => {
    const caller = await call('cancel');
    caller.hangUp();
    await staysUncancelled();
    assert.equal(coordinator.seen.hungUp, 0);
    coordinator.accept();
    await until(isCancelled, 'it is cancelled');
    await caller.over;
    assert.ok(!caller.events.includes('accepted'), caller.events.join());
  });

  it('makes no call for a caller who has gone before', async () => {
    const { coordinatorUrl } = coordinator;
    const dependencies = { coordinatorUrl, ...OPTIONS, readers, database };
    const events = eventsForCaller(
      dependencies,
      await intakeCall(),
      'cancel',
      AbortSignal.abort(new Error('gone')),
    );
    await assert.rejects(events.next(), /gone/);
    assert.equal(coordinator.seen.calls, 0);
  });

  it('makes no further call for a caller who has gone while nobody could be reached', async () => {
    const coordinatorUrl = `http://127.0.0.1:${await freePort()}`;
    const gone = new AbortController();
    const dependencies = { coordinatorUrl, ...OPTIONS, readers, database };
    const events = eventsForCaller(dependencies, await intakeCall(), 'cancel', gone.signal);
    const next = events.next();
    const startedAt = performance.now();
    setTimeout(() => gone.abort(new Error('gone')), QUIET_MS);
    await assert.rejects(next, /gone/);
    assert.ok(performance.now() - startedAt < 5_000);
  });

  it('calls again for a caller who has gone after its call may have been heard', async () => {
    const caller = await call('cancel');
    coordinator.breakOff();
    caller.hangUp();
    await until(() => coordinator.seen.calls === 2, 'the call again');
    coordinator.accept();
    await until(isCancelled, 'it is cancelled');
    await caller.over;
  });

  it('lets run what shall continue, and what has its outcome', async () => {
    const goesOn = await accepted('continue');
    goesOn.hangUp();
    await goesOn.over;
    const answered = await accepted('cancel');
    coordinator.answer();
    await answered.over;
    answered.hangUp();
    await staysUncancelled();
  });

  it('tries again while no coordinator hears of it', async () => {
    coordinator.deafFor(3);
    const caller = await accepted('cancel');
    caller.hangUp();
    await until(isCancelled, 'it is cancelled');
    assert.equal(coordinator.seen.cancelled.length, 1);
  });

  it('cancels once the last reader has gone, in whichever order they go', async () => {
    for (const first of ['caller', 'other'] as const) {
      const caller = await accepted('cancel');
      const other = readers.join(ID, null);
      const leave = { caller: () => caller.hangUp(), other: other.leave };
      leave[first]();
      await staysUncancelled();
      leave[first === 'caller' ? 'other' : 'caller']();
      other.leave();
      await until(isCancelled, 'it is cancelled');
      assert.equal(coordinator.seen.cancelled.splice(0).length, 1);
    }
  });

  it('does not cancel what somebody wants to continue, nor what another call made', async () => {
    const caller = await accepted('cancel', 'd'.repeat(64));
    const other = await accepted('continue', 'd'.repeat(64), true);
    other.hangUp();
    await other.over;
    caller.hangUp();
    await caller.over;
    const joined = await accepted('cancel', 'd'.repeat(64), true);
    joined.hangUp();
    await joined.over;
    await staysUncancelled();
  });

  it('cancels what it made itself before a connection broke', async () => {
    const caller = await accepted('cancel', undefined, true);
    caller.hangUp();
    await until(isCancelled, 'it is cancelled');
  });

  it('cancels what its repeated call joins, unless nobody heard the first', async () => {
    const caller = await call('cancel', 'd'.repeat(64));
    coordinator.breakOff();
    await until(() => coordinator.seen.calls === 2, 'it is repeated');
    coordinator.accept(true);
    await until(() => caller.events.includes('accepted'), 'it is accepted');
    caller.hangUp();
    await until(isCancelled, 'it is cancelled');
    assert.deepEqual(coordinator.seen.cancelled.splice(0), [ID]);
    const { port } = new URL(coordinator.coordinatorUrl);
    await coordinator.stop();
    coordinator.seen.calls = 0;
    // Until no connection is kept that it has closed.
    await sleep(QUIET_MS);
    const late = call('cancel', 'd'.repeat(64));
    await sleep(QUIET_MS);
    coordinator = await startCoordinator(Number(port));
    const { events, hangUp, over } = await late;
    await until(() => coordinator.seen.calls > 0, 'it is heard');
    coordinator.accept(true);
    await until(() => events.includes('accepted'), 'it is accepted');
    hangUp();
    await over;
    await staysUncancelled();
  });

  it('cancels nothing when the gateway stops', async () => {
    const caller = await accepted('cancel');
    await readers.close();
    caller.hangUp();
    await caller.over;
    await staysUncancelled();
  });
});
