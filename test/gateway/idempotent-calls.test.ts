import assert from 'node:assert/strict';
import OpenAI from 'openai';
import { instantBackend } from '../../bench/instant-backend.ts';
import { startCoordination, type Coordination } from '../support/coordination.ts';
import { ACCOUNT, API_KEY, balances, count } from '../support/seeded.ts';
import { startTestNode, type TestNode, type TestNodeOptions } from '../support/test-node.ts';
import { until } from '../support/until.ts';

const WORDS = Array.from({ length: 20 }, (_, index) => `word${index} `).join('');
const BODY = { model: 'instant', messages: [{ role: 'user' as const, content: WORDS }] };
const CALLS = 50;

interface Answer {
  readonly id: string;
  readonly error?: { readonly code: string; readonly param: string | null };
}

describe('gateway/idempotency: two gateways, each with its coordinator', function () {
  this.timeout(120_000);
  let network: Coordination;
  let node: TestNode | undefined;
  let key = 0;
  before(async () => {
    network = await startCoordination(2);
  });
  beforeEach(() => void (key += 1));
  afterEach(async () => {
    await node?.stop();
    await network.database.node.updateMany({ data: { status: 'removed' } });
  });
  after(() => network.stop());

  async function withNode(options: Partial<TestNodeOptions> = {}): Promise<TestNode> {
    const backend = instantBackend({ pieceMs: 40, slots: 8 });
    node = await startTestNode({ ...network, name: 'node', tier: 1, backend, ...options });
    return node;
  }

  const ask = (body: object = {}, gateway = 0, idempotencyKey = `key-${key}`) =>
    network.chat({ ...BODY, ...body }, API_KEY, gateway, {
      headers: { 'idempotency-key': idempotencyKey },
    });
  const answerOf = async (response: Response) => (await response.json()) as Answer;

  it(`makes one request, one run and one charge of ${CALLS} calls at once`, async () => {
    const served = await withNode();
    const began = new Date();
    const before = await balances(network.database);
    const requests = await count(network.database, 'request');
    const calls = Array.from({ length: CALLS }, (_, index) => ask({}, index % 2));
    const responses = await Promise.all(calls);
    const bodies = await Promise.all(responses.map((response) => response.text()));
    assert.deepEqual([...new Set(responses.map(({ status }) => status))], [200]);
    assert.equal(new Set(bodies).size, 1, 'all have the same answer');
    const { id } = JSON.parse(bodies[0] ?? '') as Answer;
    const said = responses.filter(({ headers }) => headers.has('x-plx-idempotent-replay'));
    assert.equal(said.length, CALLS - 1, 'one has made it');
    assert.equal((await count(network.database, 'request')) - requests, 1);
    assert.equal(served.executed(), 1);
    const view = await network.ended(id);
    const after = await balances(network.database);
    const paid = (before[`${ACCOUNT}:available`] ?? 0n) - (after[`${ACCOUNT}:available`] ?? 0n);
    assert.equal(paid, BigInt(view.charged_wei));
    assert.ok(paid > 0n);
    assert.equal(after[`${ACCOUNT}:reserved`], before[`${ACCOUNT}:reserved`]);
    const since = `WorkflowType = 'inference' AND StartTime >= '${began.toISOString()}'`;
    const started = async () => (await network.client.workflow.count(since)).count;
    await until(async () => (await started()) > 0, 'the run is listed');
    assert.equal(await started(), 1);
  });

  it('replays the result, and its stream, also by the other gateway', async () => {
    const served = await withNode();
    const first = await answerOf(await ask());
    await network.ended(first.id);
    const before = await balances(network.database);
    for (const gateway of [0, 1]) {
      const again = await ask({}, gateway);
      assert.equal(again.headers.get('x-plx-idempotent-replay'), 'true');
      assert.deepEqual(await answerOf(again), first);
      const streamed = await ask({ stream: true }, gateway);
      assert.equal(streamed.headers.get('x-plx-idempotent-replay'), 'true');
      assert.equal(streamed.headers.get('x-request-id'), first.id);
      assert.equal(textOf(await streamed.text()), WORDS);
    }
    assert.equal(served.executed(), 1);
    assert.deepEqual(await balances(network.database), before);
  });

  it('replays a failure, and says that trying again is of no use', async () => {
    await withNode();
    // Nobody has that tier.
    const body = { hardware_tier: 5, deadline_seconds: 1 };
    const [first, joiner] = await Promise.all([ask(body), ask(body, 1)]);
    const again = await ask(body, 1);
    const codes = [];
    for (const response of [first, joiner, again]) {
      assert.equal(response.status, 503);
      assert.equal(response.headers.get('x-should-retry'), 'false');
      codes.push((await answerOf(response)).error?.code);
    }
    assert.deepEqual([...new Set(codes)], ['capacity_unavailable']);
    const id = again.headers.get('x-request-id') ?? assert.fail();
    assert.equal(first.headers.get('x-request-id'), id);
    assert.equal((await network.ended(id)).charged_wei, '0');
  });

  it('refuses another body, while the first runs and afterwards, by either gateway', async () => {
    await withNode();
    const requests = await count(network.database, 'request');
    const first = ask();
    const isThere = async () => (await count(network.database, 'request')) > requests;
    await until(isThere, 'the first is there');
    const mismatch = async (gateway: number, body: object) => {
      const response = await ask(body, gateway);
      const { error } = await answerOf(response);
      assert.deepEqual([response.status, error?.code], [422, 'receive.idempotency_mismatch']);
      assert.equal(response.headers.get('x-should-retry'), 'false');
      assert.equal(response.headers.has('x-request-id'), false);
    };
    await mismatch(0, { max_tokens: 7 });
    assert.equal((await first).status, 200);
    await mismatch(0, { max_tokens: 7 });
    await mismatch(1, { seed: 3 });
    // Also on another route, where it would mean something else.
    const elsewhere = await fetch(`${network.gatewayUrl}/v1/requests`, {
      method: 'POST',
      headers: {
        authorization: `Bearer ${API_KEY}`,
        'content-type': 'application/json',
        'idempotency-key': `key-${key}`,
      },
      body: JSON.stringify(BODY),
    });
    assert.equal(elsewhere.status, 422);
  });

  it('refuses a key that could not be sent as it is', async () => {
    for (const bad of ['two words', 'x'.repeat(256)]) {
      const response = await ask({}, 0, bad);
      const { error } = await answerOf(response);
      assert.deepEqual([response.status, error?.param], [400, 'Idempotency-Key']);
    }
  });

  it('takes a request that nobody waits for once, and says where it is each time', async () => {
    await withNode();
    const submit = () =>
      fetch(`${network.gatewayUrl}/v1/requests`, {
        method: 'POST',
        headers: {
          authorization: `Bearer ${API_KEY}`,
          'content-type': 'application/json',
          'idempotency-key': `key-${key}`,
        },
        body: JSON.stringify(BODY),
      });
    const [first, again] = [await submit(), await submit()];
    assert.deepEqual([first.status, again.status], [202, 202]);
    const { id } = await answerOf(first);
    assert.equal((await answerOf(again)).id, id);
    assert.equal((await network.ended(id)).status, 'completed');
    assert.equal(again.headers.get('x-plx-idempotent-replay'), 'true');
    assert.equal(again.headers.get('location'), first.headers.get('location'));
  });

  it('gives the SDK one answer to calls with one key', async () => {
    const served = await withNode();
    const client = new OpenAI({ baseURL: `${network.gatewayUrl}/v1`, apiKey: API_KEY });
    const create = () =>
      client.chat.completions.create(BODY, { headers: { 'Idempotency-Key': `sdk-${key}` } });
    const [one, other] = [await create(), await create()];
    assert.deepEqual(one, other);
    assert.equal(served.executed(), 1);
  });
});

/** The text of a stream, put together. */
function textOf(stream: string): string {
  return stream
    .split('\n')
    .filter((line) => line.startsWith('data: {'))
    .map((line) => JSON.parse(line.slice(6)) as { choices: { delta: { content?: string } }[] })
    .map(({ choices }) => choices[0]?.delta.content ?? '')
    .join('');
}
