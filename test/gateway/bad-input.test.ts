import assert from 'node:assert/strict';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { chatRequestSchema } from '../../gateway/openai.ts';
import { OPERATIONS } from '../../gateway/openapi.ts';
import type { Operation } from '../../gateway/operations.ts';
import { isErrorCode } from '../../protocol/errors.ts';
import { seedAdminKey } from '../../workers/embedded/seed.ts';
import { drawnBodies, spoiltBodies, type BadBody } from '../support/bad-bodies.ts';
import { startCoordination, type Coordination } from '../support/coordination.ts';
import { startRealGateway, type RealGateway } from '../support/real-gateway.ts';
import { balances, count } from '../support/seeded.ts';

const KEY = 'plx-bad-input-key-0123456789';
const DRAWN = 300;
const AT_ONCE = 8;
const MESSAGE_LENGTH_MAX = 1_000;
const MIB = 2 ** 20;
/** Compiled code of each route is kept, too; what is sent is more than twice that. */
const GROWN_MIB_MAX = 32;

const signature = `0x${'0'.repeat(130)}`;
const prices = { version: 1, base: { prompt_price_wei: '1', completion_price_wei: '1' } };
const chat = { model: 'instant', messages: [{ role: 'user', content: 'alpha beta' }] };

/** A body that the route takes; without one here, the empty object. */
const EXAMPLES: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  '/v1/chat/completions': chat,
  '/v1/completions': { model: 'instant', prompt: 'alpha beta' },
  '/v1/requests': chat,
  '/v1/models/{id}/prices': prices,
  '/v1/accounts/{address}/credits': { amount_wei: '1', reference: 'r' },
  '/v1/auth/nonce': { address: `0x${'a'.repeat(40)}`, name: 'n' },
  '/v1/auth/keys': { message: 'm', signature, name: 'n' },
  '/v1/keys': { name: 'n' },
  '/v1/keys/{id}': { name: 'n' },
  '/v1/nodes/{id}/reinstate': { reason: 'r' },
};

type Call = Pick<Operation, 'method' | 'path'>;

const hasBody = ({ body }: Operation) => body !== undefined;

describe('gateway: bad bodies', () => {
  let network: Coordination;
  let gateway: RealGateway;
  let collect: () => void;
  let baseBytes = 0;
  let keyId = '';
  let sentBytes = 0;
  before(async () => {
    setFlagsFromString('--expose-gc');
    collect = runInNewContext('gc') as () => void;
    network = await startCoordination();
    await seedAdminKey(network.database, KEY);
    await network.database.$executeRaw`
      UPDATE api_key SET scopes = '{inference,read,keys}' WHERE is_admin`;
    const { id } = await network.database.apiKey.findFirstOrThrow({ where: { isAdmin: true } });
    keyId = id;
    gateway = await startRealGateway(network);
    // What is kept for good, such as compiled code, is there after one route.
    const warm = { method: 'post', path: '/v1/chat/completions' } as const;
    const drawn = drawnBodies(chatRequestSchema, chat, DRAWN);
    await refusesAll(warm, [...spoiltBodies(chat), ...drawn]);
    sentBytes = 0;
    baseBytes = held();
  });
  after(async () => {
    await gateway.stop();
    await network.stop();
  });

  /** All that a body may change: requests, money, keys, tokens, prices. */
  const state = async () => [
    await count(network.database, 'request'),
    await balances(network.database),
    await network.database.apiKey.findMany({ orderBy: { id: 'asc' } }),
    await network.database.account.count(),
    await network.database.$queryRaw`SELECT count(*)::int FROM join_token`,
    await network.database.$queryRaw`SELECT count(*)::int FROM price`,
  ];

  async function refused(call: Call, { name, body, headers }: BadBody): Promise<void> {
    const response = await fetch(`${gateway.url}${call.path}`, {
      method: call.method.toUpperCase(),
      headers: {
        authorization: `Bearer ${KEY}`,
        'content-type': 'application/json',
        ...headers,
      },
      body,
    });
    const text = await response.text();
    const told = `${name}: ${response.status} ${text.slice(0, 300)}`;
    assert.ok(response.status >= 400 && response.status < 500, told);
    const { error } = JSON.parse(text) as { error: Record<string, unknown> };
    const { message, type, code } = error;
    assert.ok(typeof message === 'string' && message.length <= MESSAGE_LENGTH_MAX, told);
    assert.ok(typeof type === 'string', told);
    assert.ok(typeof code === 'string' && isErrorCode(code), told);
    assert.ok('param' in error, told);
    assert.equal(response.headers.get('x-request-id'), null, told);
    assert.ok(response.headers.get('x-trace-id'), told);
  }

  async function refusesAll(call: Call, bodies: readonly BadBody[]): Promise<void> {
    const left = [...bodies];
    const one = async () => {
      for (let next = left.pop(); next; next = left.pop()) {
        sentBytes += next.body.length;
        await refused(call, next);
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, one));
  }

  const pathOf = ({ path }: Operation) =>
    path
      .replace('{address}', `0x${'b'.repeat(40)}`)
      .replace('/models/{id}', '/models/instant')
      .replace('/requests/{id}', `/requests/req_${'0'.repeat(64)}`)
      .replace('/nodes/{id}', `/nodes/nd_${'0'.repeat(64)}`)
      .replace('{id}', keyId);

  const held = () => {
    // What was only held weakly goes the second time.
    collect();
    collect();
    const { heapUsed, external } = process.memoryUsage();
    return heapUsed + external;
  };

  for (const operation of OPERATIONS.filter(hasBody))
    it(`${operation.method} ${operation.path}: drawn ones, and those by hand`, async () => {
      const { path, body = assert.fail() } = operation;
      const example = EXAMPLES[path] ?? {};
      const isTaken = body.safeParse(example).success;
      assert.ok(isTaken, 'the example is taken');
      const before = await state();
      const spoilt = spoiltBodies(example);
      const drawn = drawnBodies(body, example, DRAWN);
      await refusesAll({ ...operation, path: pathOf(operation) }, [...spoilt, ...drawn]);
      assert.deepEqual(await state(), before);
    });

  it('is as it was afterwards', async () => {
    const grownMiB = (held() - baseBytes) / MIB;
    assert.ok(sentBytes > 2 * GROWN_MIB_MAX * MIB, `${sentBytes} bytes were sent`);
    assert.ok(grownMiB < GROWN_MIB_MAX, `${grownMiB} MiB more are held`);
    const health = await fetch(`${gateway.url}/healthz`);
    assert.equal(health.status, 200);
    const response = await fetch(`${gateway.url}/v1/requests`, {
      method: 'POST',
      headers: { authorization: `Bearer ${KEY}`, 'content-type': 'application/json' },
      body: JSON.stringify({ ...chat, deadline_seconds: 1 }),
    });
    assert.equal(response.status, 202, await response.text());
  });
});
