import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { STEPS } from '../../protocol/lifecycle.ts';
import { startCoordination, type Coordination, type RequestView } from '../support/coordination.ts';
import { instantBackend } from '../../bench/instant-backend.ts';
import { API_KEY, balances } from '../support/seeded.ts';
import { startTestNode, type TestNode } from '../support/test-node.ts';

const OTHER_KEY = 'plx-other-key-00000000';
const NOWHERE = `req_${'0'.repeat(64)}`;
const SHORT = { model: 'instant', messages: [{ role: 'user', content: 'alpha beta' }] };
/** It takes minutes: whoever starts one cancels it. */
const LONG = {
  model: 'instant',
  messages: [{ role: 'user', content: 'word '.repeat(200) }],
  hardware_tier: 2,
};
/** Nobody can serve it. */
const WAITING = { ...SHORT, hardware_tier: 5 };

interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly body: RequestView & {
    readonly object: string;
    readonly data: RequestView[];
    readonly has_more: boolean;
    readonly last_id: string;
    readonly steps_error: { readonly code: string } | null;
  };
  readonly error: { readonly code: string; readonly param: string | null; readonly type: string };
}

describe('gateway/requests', () => {
  let network: Coordination;
  const nodes: TestNode[] = [];
  before(async () => {
    network = await startCoordination();
    const { edge, database } = network;
    const at = { edge, database };
    nodes.push(await startTestNode({ ...at, backend: instantBackend(), name: 'quick', tier: 1 }));
    const slow = instantBackend({ pieceMs: 1_000 });
    nodes.push(await startTestNode({ ...at, backend: slow, name: 'slow', tier: 2 }));
    const keyHash = createHash('sha256').update(OTHER_KEY).digest('hex');
    await database.account.create({
      data: { id: 'acct_other', name: 'Other', apiKeys: { create: { keyHash } } },
    });
  });
  after(async () => {
    await Promise.all(nodes.map((node) => node.stop()));
    await network.stop();
  });

  async function call(
    method: 'GET' | 'POST',
    path: string,
    body?: object,
    key = API_KEY,
  ): Promise<Answer> {
    const response = await fetch(`${network.gatewayUrl}${path}`, {
      method,
      headers: {
        authorization: `Bearer ${key}`,
        ...(body ? { 'content-type': 'application/json' } : {}),
      },
      ...(body ? { body: JSON.stringify(body) } : {}),
    });
    const answer = (await response.json()) as Answer['body'] & Pick<Answer, 'error'>;
    return {
      status: response.status,
      headers: response.headers,
      body: answer,
      error: answer.error,
    };
  }

  async function submitted(body: object): Promise<string> {
    const { status, body: accepted } = await call('POST', '/v1/requests', body);
    assert.equal(status, 202);
    return accepted.id;
  }

  async function until(
    id: string,
    isSo: (view: Answer['body']) => boolean,
  ): Promise<Answer['body']> {
    const untilMs = Date.now() + 60_000;
    for (;;) {
      const { body } = await call('GET', `/v1/requests/${id}`);
      if (isSo(body)) return body;
      assert.ok(Date.now() < untilMs, JSON.stringify(body.steps));
      await sleep(50);
    }
  }

  const cancel = (id: string, key = API_KEY) =>
    call('POST', `/v1/requests/${id}/cancel`, undefined, key);

  it('accepts a request whose caller goes away, and carries it out', async () => {
    const { status, body, headers } = await call('POST', '/v1/requests', SHORT);
    assert.equal(status, 202);
    assert.equal(body.object, 'request');
    assert.equal(body.status, 'accepted');
    assert.equal(headers.get('x-request-id'), body.id);
    assert.equal(headers.get('location'), `/v1/requests/${body.id}`);
    const ended = await network.ended(body.id);
    assert.equal(ended.status, 'completed');
    assert.equal(ended.result?.choices[0]?.message.content, 'alpha beta');
  });

  it('refuses to stream what nobody listens to, and what the chat route refuses', async () => {
    const streamed = await call('POST', '/v1/requests', { ...SHORT, stream: true });
    assert.deepEqual([streamed.status, streamed.error.param], [400, 'stream']);
    const empty = await call('POST', '/v1/requests', { ...SHORT, messages: [] });
    assert.deepEqual([empty.status, empty.error.param], [400, 'messages']);
    const unknown = await call('POST', '/v1/requests', { ...SHORT, model: 'gpt-9' });
    assert.deepEqual([unknown.status, unknown.error.code], [404, 'receive.unknown_model']);
    const query = await call('POST', '/v1/requests?wait=1', SHORT);
    assert.deepEqual([query.status, query.error.param], [400, 'wait']);
  });

  it('tells the nine steps while the request runs', async () => {
    const id = await submitted(LONG);
    const view = await until(
      id,
      ({ status, steps }) =>
        status === 'running' && steps?.find(({ step }) => step === 'execute')?.state === 'running',
    );
    assert.equal(view.steps_error, null);
    assert.deepEqual(
      view.steps?.map(({ step, state }) => [step, state]),
      STEPS.map(({ name, number }) => [
        name,
        [2, 8].includes(number)
          ? 'skipped'
          : number < 5
            ? 'done'
            : number === 5
              ? 'running'
              : 'pending',
      ]),
    );
    await cancel(id);
  });

  it('cancels a running request, free of charge, and says the same when asked again', async () => {
    const before = await balances(network.database);
    const id = await submitted(LONG);
    await until(id, ({ status }) => status === 'running');
    const first = await cancel(id);
    assert.deepEqual([first.status, first.body.status], [200, 'cancelled']);
    assert.equal(first.body.error?.code, 'execute.cancelled');
    assert.deepEqual(await balances(network.database), before);
    const again = await cancel(id);
    assert.deepEqual([again.status, again.body.status], [200, 'cancelled']);
    assert.equal(again.body.finished_at, first.body.finished_at);
    // What was under way has ended with it.
    const states = again.body.steps?.map(({ state }) => state) ?? [];
    assert.ok(!states.includes('running'), states.join());
    assert.ok(states.includes('failed'), states.join());
  });

  it('cancels a request that waits, and one right after it was accepted', async () => {
    const waits = await submitted(WAITING);
    await until(waits, ({ steps }) => Boolean(steps?.some(({ state }) => state === 'waiting')));
    assert.equal((await cancel(waits)).body.status, 'cancelled');
    assert.equal(await network.database.waiting.count(), 0);
    const fresh = await submitted(WAITING);
    assert.equal((await cancel(fresh)).body.status, 'cancelled');
    assert.equal((await network.ended(fresh)).status, 'cancelled');
  });

  it('does not cancel what has ended otherwise', async () => {
    const id = await submitted(SHORT);
    await network.ended(id);
    const { status, error } = await cancel(id);
    assert.deepEqual([status, error.code], [409, 'gateway.request_ended']);
    assert.equal((await network.ended(id)).status, 'completed');
  });

  it('shows, cancels and lists nothing of another account, nor what there is not', async () => {
    const id = await submitted(LONG);
    for (const [path, key] of [
      [id, OTHER_KEY],
      [NOWHERE, API_KEY],
      ['req_short', API_KEY],
    ] as const)
      for (const answer of [
        await call('GET', `/v1/requests/${path}`, undefined, key),
        await call('GET', `/v1/requests/${path}/explain`, undefined, key),
        await cancel(path, key),
      ])
        assert.deepEqual(
          [answer.status, answer.error.code, answer.error.type],
          [404, 'gateway.request_not_found', 'not_found_error'],
        );
    const list = await call('GET', '/v1/requests', undefined, OTHER_KEY);
    assert.deepEqual(list.body.data, []);
    const after = await call('GET', `/v1/requests?after=${id}`, undefined, OTHER_KEY);
    assert.equal(after.status, 404);
    assert.equal((await call('GET', '/v1/requests', undefined, 'wrong')).status, 401);
    assert.equal((await cancel(id, 'wrong')).status, 401);
    const view = await call('GET', `/v1/requests/${id}`);
    assert.equal(view.body.finished_at, null);
    await cancel(id);
  });

  it('lists the newest first, page by page, each once, also of one status', async () => {
    const made: string[] = [];
    for (let index = 0; index < 5; index++) made.unshift(await submitted(SHORT));
    await Promise.all(made.map((id) => network.ended(id)));
    // Equal times must not hide one behind a page's end.
    const acceptedAt = new Date(Date.now() + 60_000);
    await network.database.request.updateMany({
      where: { id: { in: made.slice(1, 4) } },
      data: { acceptedAt },
    });
    const whole = (await call('GET', '/v1/requests?limit=100')).body.data.map(({ id }) => id);
    const paged: string[] = [];
    for (let after = '', more = true; more;) {
      const { body } = await call('GET', `/v1/requests?limit=2${after}`);
      assert.ok(body.data.length <= 2);
      paged.push(...body.data.map(({ id }) => id));
      more = body.has_more;
      after = `&after=${body.last_id}`;
    }
    assert.deepEqual(paged, whole);
    assert.equal(new Set(paged).size, await network.database.request.count());
    assert.deepEqual(whole.slice(0, 3).toSorted(), made.slice(1, 4).toSorted());
    const cancelled = (await call('GET', '/v1/requests?status=cancelled')).body.data;
    assert.ok(cancelled.length > 0 && cancelled.every(({ status }) => status === 'cancelled'));
  });

  for (const [query, param] of [
    ['limit=0', 'limit'],
    ['limit=101', 'limit'],
    ['limit=', 'limit'],
    ['limit=1&limit=2', 'limit'],
    ['status=done', 'status'],
    ['after=req_short', 'after'],
    ['before=x', 'before'],
  ] as const)
    it(`refuses ?${query}, by name`, async () => {
      const { status, error } = await call('GET', `/v1/requests?${query}`);
      assert.deepEqual([status, error.code], [400, 'receive.malformed_request']);
      assert.equal(error.param, param);
    });

  it('answers all but the steps while the coordinator is away, and says why', async function () {
    this.timeout(180_000);
    const id = await submitted(WAITING);
    await until(id, ({ steps }) => Boolean(steps?.some(({ state }) => state === 'waiting')));
    await network.killCoordinator();
    const { status, body } = await call('GET', `/v1/requests/${id}`);
    assert.equal(status, 200);
    assert.deepEqual([body.status, body.steps], ['accepted', null]);
    assert.equal(body.steps_error?.code, 'gateway.coordinator_unreachable');
    const refused = await cancel(id);
    assert.deepEqual(
      [refused.status, refused.error.code],
      [503, 'gateway.coordinator_unreachable'],
    );
    await network.startCoordinator();
    assert.ok((await until(id, ({ steps }) => steps !== null)).steps);
    assert.equal((await cancel(id)).body.status, 'cancelled');
  });
});
