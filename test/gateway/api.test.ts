import assert from 'node:assert/strict';
import OpenAI, { APIError } from 'openai';
import { startCoordination, type Coordination } from '../support/coordination.ts';
import { instantBackend } from '../../bench/instant-backend.ts';
import { API_KEY, balances, count } from '../support/seeded.ts';
import { startTestNode, type TestNode } from '../support/test-node.ts';

const MESSAGES = [{ role: 'user' as const, content: 'alpha beta gamma' }];

describe('gateway/api', () => {
  let network: Coordination;
  let node: TestNode;
  let client: OpenAI;
  before(async () => {
    network = await startCoordination();
    const { database, edge } = network;
    const backend = instantBackend({ pieceMs: 5 });
    const where = { database, edge };
    node = await startTestNode({ ...where, backend, name: 'n', tier: 1 });
    client = new OpenAI({ baseURL: `${network.gatewayUrl}/v1`, apiKey: API_KEY, maxRetries: 0 });
  });
  after(async () => {
    await node.stop();
    await network.stop();
  });

  it('answers the OpenAI SDK', async () => {
    const answer = await client.chat.completions.create({ model: 'instant', messages: MESSAGES });
    assert.equal(answer.object, 'chat.completion');
    assert.equal(answer.choices[0]?.message.content, 'alpha beta gamma');
    assert.equal(answer.choices[0]?.finish_reason, 'stop');
    assert.deepEqual(answer.usage, { prompt_tokens: 1, completion_tokens: 3, total_tokens: 4 });
    assert.match(answer.id, /^req_/);
  });

  it('streams to the OpenAI SDK: text as it is made, its end after Validate', async () => {
    const stream = await client.chat.completions.create({
      model: 'instant',
      messages: MESSAGES,
      stream: true,
      stream_options: { include_usage: true },
    });
    const texts: string[] = [];
    let finish: string | null = null;
    let usage;
    for await (const chunk of stream) {
      const [choice] = chunk.choices;
      if (choice?.delta.content) texts.push(choice.delta.content);
      finish = choice?.finish_reason ?? finish;
      usage = chunk.usage ?? usage;
    }
    assert.deepEqual(texts, ['alpha ', 'beta ', 'gamma']);
    assert.equal(finish, 'stop');
    assert.equal(usage?.total_tokens, 4);
  });

  it('stops at the bound, and gives equal answers for equal seeds', async () => {
    const [one, two] = await Promise.all(
      [1, 2].map(() =>
        client.chat.completions.create({
          model: 'instant',
          messages: MESSAGES,
          max_tokens: 2,
          seed: 7,
        }),
      ),
    );
    assert.equal(one?.choices[0]?.finish_reason, 'length');
    assert.equal(one?.choices[0]?.message.content, 'alpha beta ');
    assert.deepEqual(one?.choices, two?.choices);
  });

  it('says by headers who answered, in how many attempts, at what price, how fast', async () => {
    const began = performance.now();
    const response = await network.chat({ model: 'instant', messages: MESSAGES });
    const { id } = (await response.json()) as { id: string };
    const tookMs = performance.now() - began;
    const header = (name: string) => response.headers.get(name);
    const view = await network.ended(id);
    assert.equal(header('x-request-id'), id);
    assert.equal(header('x-plx-attempts'), '1');
    assert.equal(header('x-plx-cost-wei'), view.charged_wei);
    assert.equal(header('x-plx-node'), view.proof_of_execution?.node);
    const overheadMs = Number(header('x-plx-overhead-ms'));
    assert.ok(overheadMs > 1 && overheadMs < tookMs, `${overheadMs} of ${tookMs} ms`);
  });

  it('lists the models with their prices', async () => {
    const { data } = await client.models.list();
    assert.deepEqual(
      data.map(({ id }) => id),
      ['instant'],
    );
  });

  it('says what became of a request, to its own account only', async () => {
    const answer = await client.chat.completions.create({ model: 'instant', messages: MESSAGES });
    const view = await network.ended(answer.id);
    assert.equal(view.status, 'completed');
    assert.equal(view.steps?.length, 9);
    assert.equal(view.result?.choices[0]?.message.content, 'alpha beta gamma');
    await network.database.account.create({
      data: {
        id: 'acct_other',
        name: 'Other',
        // SHA-256 of "plx-other-key-00000000".
        apiKeys: {
          create: { keyHash: await sha256('plx-other-key-00000000') },
        },
      },
    });
    const url = `${network.gatewayUrl}/v1/requests/${answer.id}`;
    const other = await fetch(url, { headers: { authorization: 'Bearer plx-other-key-00000000' } });
    assert.equal(other.status, 404);
    assert.equal((await fetch(url)).status, 401);
  });

  it('is healthy', async () => {
    const response = await fetch(`${network.gatewayUrl}/healthz`);
    assert.equal(response.status, 200);
    assert.deepEqual(await response.json(), { status: 'ok', database: true, coordinator: true });
  });

  describe('refuses, with an OpenAI error object, no id, no workflow and nothing reserved:', () => {
    const good = { model: 'instant', messages: MESSAGES };
    const json = (body: unknown) => JSON.stringify(body);
    const cases: [string, number, string, string, (string | null)?, string?][] = [
      ['malformed JSON', 400, 'receive.malformed_request', '{"model":'],
      ['an empty body', 400, 'receive.malformed_request', ''],
      ['a body that is no object', 400, 'receive.malformed_request', '[]'],
      ['an unknown model', 404, 'receive.unknown_model', json({ ...good, model: 'gpt-9' })],
      [
        'an unknown workload class',
        400,
        'receive.unknown_workload_class',
        json({ ...good, workload_class: 'mining' }),
      ],
      [
        'missing messages',
        400,
        'receive.malformed_request',
        json({ model: 'instant' }),
        'messages',
      ],
      [
        'no messages',
        400,
        'receive.malformed_request',
        json({ ...good, messages: [] }),
        'messages',
      ],
      [
        'an unsupported field',
        400,
        'receive.malformed_request',
        json({ ...good, tools: [] }),
        'tools',
      ],
      [
        'a deadline out of bounds',
        400,
        'receive.malformed_request',
        json({ ...good, deadline_seconds: 0 }),
        'deadline_seconds',
      ],
      [
        'text that is no Unicode',
        400,
        'receive.malformed_request',
        '{"model":"instant","messages":[{"role":"user","content":"\\ud800"}]}',
      ],
      [
        'an oversize body',
        413,
        'receive.payload_too_large',
        json({ ...good, messages: [{ role: 'user', content: 'x'.repeat(2_000_000) }] }),
      ],
      [
        'an oversize payload in a body that still fits',
        413,
        'receive.payload_too_large',
        json({ ...good, messages: [{ role: 'user', content: 'x'.repeat(600_000) }] }),
      ],
      ['an unknown key', 401, 'receive.unauthorized', json(good), null, 'Bearer plx-wrong'],
      ['no key', 401, 'receive.unauthorized', json(good), null, ''],
    ];
    for (const [name, status, code, body, param = null, authorization] of cases)
      it(name, async () => {
        const before = [await count(network.database, 'request'), await balances(network.database)];
        const workflows = await countWorkflows();
        const response = await fetch(`${network.gatewayUrl}/v1/chat/completions`, {
          method: 'POST',
          headers: {
            'content-type': 'application/json',
            authorization: authorization ?? `Bearer ${API_KEY}`,
          },
          body,
        });
        assert.equal(response.status, status);
        const { error } = (await response.json()) as { error: Record<string, unknown> };
        assert.deepEqual(Object.keys(error), ['message', 'type', 'param', 'code']);
        assert.equal(error['code'], code);
        assert.equal(error['param'], param);
        assert.equal(response.headers.get('x-request-id'), null);
        assert.ok(response.headers.get('x-trace-id'));
        const after = [await count(network.database, 'request'), await balances(network.database)];
        assert.deepEqual(after, before);
        assert.equal(await countWorkflows(), workflows);
      });

    it('too little credit: 402, which the OpenAI SDK shows as it is', async () => {
      const before = await balances(network.database);
      const available = before['acct_demo:available'] ?? 0n;
      await network.database.$executeRaw`
        INSERT INTO ledger_transfer (key, purpose, debit_id, credit_id, amount_wei)
        VALUES ('drain', 'test', 'acct_demo:available', 'funding',
                ${available.toString()}::numeric)`;
      await assert.rejects(
        client.chat.completions.create({ model: 'instant', messages: MESSAGES }),
        (error) => {
          assert.ok(error instanceof APIError);
          assert.equal(error.status, 402);
          assert.equal(error.code, 'receive.insufficient_credit');
          return true;
        },
      );
    });
  });

  it('has no other routes', async () => {
    const response = await fetch(`${network.gatewayUrl}/v1/nonsense`);
    assert.equal(response.status, 404);
    const { error } = (await response.json()) as { error: { code: string } };
    assert.equal(error.code, 'gateway.route_not_found');
  });

  async function countWorkflows(): Promise<number> {
    return (await network.client.workflow.count('WorkflowType = "inference"')).count;
  }
});

async function sha256(text: string): Promise<string> {
  const digest = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(text));
  return Buffer.from(digest).toString('hex');
}
