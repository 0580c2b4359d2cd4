import assert from 'node:assert/strict';
import fastify from 'fastify';
import { limitBodies, limitCalls } from '../../gateway/call-limits.ts';
import { authenticate, codedError } from '../../gateway/context.ts';
import { sendError } from '../../gateway/errors.ts';
import type { Database } from '../../prisma/client.ts';
import { startLoneGateway, OTHER_KEY, type LoneGateway } from '../support/lone-gateway.ts';
import { rawHttp } from '../support/raw-http.ts';
import { API_KEY } from '../support/seeded.ts';

const HELD = 100_000;
const HELD_PER_ADDRESS = 70_000;

const call = (length: number, sent: number, address = '192.0.2.1') =>
  `POST / HTTP/1.1\r\nhost: g\r\nconnection: close\r\ncontent-type: text/plain\r\n` +
  `x-forwarded-for: ${address}\r\ncontent-length: ${length}\r\n\r\n${'x'.repeat(sent)}`;

const pause = () => new Promise((resolve) => setTimeout(resolve, 200));

/** A server whose callers say themselves which address they have. */
const server = () => {
  const app = fastify({ forceCloseConnections: true, requestTimeout: 2_000, trustProxy: true });
  app.setErrorHandler((error, _request, reply) => sendError(reply, codedError(error)));
  return app;
};

describe('gateway/call-limits limitBodies', () => {
  const app = server();
  limitBodies(app, { heldBytes: HELD, heldBytesPerAddress: HELD_PER_ADDRESS });
  app.post('/', () => 'taken');
  let url: string;
  before(async () => {
    url = await app.listen({ host: '127.0.0.1', port: 0 });
  });
  after(() => app.close());

  it('holds no more of bodies that are coming than it may, and goes on after them', async () => {
    const first = rawHttp(url, [call(90_000, 60_000)]);
    await pause();
    const second = await rawHttp(url, [call(90_000, 60_000, '192.0.2.2')]);
    assert.equal(second.status, null, 'it would be too much, and breaks off');
    await pause();
    const third = await rawHttp(url, [call(30_000, 30_000, '192.0.2.2')]);
    assert.equal(third.status, 200, third.text);
    app.server.closeAllConnections();
    await first;
    await pause();
    const whole = await rawHttp(url, [call(60_000, 60_000)]);
    assert.equal(whole.status, 200, whole.text);
  });

  it('begins with none while it holds as much as it may', async () => {
    const first = rawHttp(url, [call(HELD, 60_000)]);
    const other = rawHttp(url, [call(HELD, 40_000, '192.0.2.2')]);
    await pause();
    const second = await rawHttp(url, [call(10, 10, '192.0.2.3')]);
    assert.equal(second.status, 503, second.text);
    assert.equal(second.error?.code, 'gateway.overloaded');
    assert.match(second.text, /^retry-after: 5\r$/m);
    app.server.closeAllConnections();
    await Promise.all([first, other]);
    await pause();
    assert.equal((await rawHttp(url, [call(10, 10)])).status, 200);
  });

  it('holds no more of one address than that may have, and takes what others send', async () => {
    const first = rawHttp(url, [call(HELD, HELD_PER_ADDRESS)]);
    await pause();
    const second = await rawHttp(url, [call(10, 10, '::ffff:192.0.2.1')]);
    assert.equal(second.status, 429, second.text);
    assert.equal(second.error?.code, 'receive.rate_limited');
    assert.equal((await rawHttp(url, [call(10, 10, '192.0.2.2')])).status, 200);
    app.server.closeAllConnections();
    await first;
    await pause();
    const many = await rawHttp(url, [call(HELD_PER_ADDRESS + 1, HELD_PER_ADDRESS + 1)]);
    assert.equal(many.status, null, 'it would be too much, and breaks off');
    await pause();
    assert.equal((await rawHttp(url, [call(10, 10)])).status, 200);
  });
});

describe('gateway/call-limits limitCalls', () => {
  const app = server();
  limitCalls(app, { calls: 4, comingPerAddress: 2 });
  let answer = () => {};
  app.post('/', () => 'taken');
  app.post('/slow', async () => {
    await new Promise<void>((resolve) => (answer = resolve));
    return 'taken';
  });
  let url: string;
  before(async () => {
    url = await app.listen({ host: '127.0.0.1', port: 0 });
  });
  after(() => app.close());

  it('lets one address have so many calls that are still coming, and others theirs', async () => {
    const coming = [rawHttp(url, [call(10, 1)]), rawHttp(url, [call(10, 1)])];
    await pause();
    const third = await rawHttp(url, [call(10, 10)]);
    assert.equal(third.status, 429, third.text);
    assert.equal(third.error?.code, 'receive.rate_limited');
    assert.match(third.text, /^retry-after: 5\r$/m);
    assert.equal((await rawHttp(url, [call(10, 10, '192.0.2.2')])).status, 200);
    app.server.closeAllConnections();
    await Promise.all(coming);
    await pause();
    assert.equal((await rawHttp(url, [call(10, 10)])).status, 200);
  });

  it('counts what has come no more for its address, but for the gateway', async () => {
    const slow = () => rawHttp(url, [call(10, 10).replace('POST /', 'POST /slow')]);
    const answers: (() => void)[] = [];
    const calls = [];
    for (let each = 0; each < 4; each++) {
      calls.push(slow());
      await pause();
      answers.push(answer);
    }
    assert.equal((await rawHttp(url, [call(10, 10)])).error?.code, 'gateway.overloaded');
    for (const one of answers) one();
    for (const each of calls) assert.equal((await each).status, 200);
    assert.equal((await rawHttp(url, [call(10, 10)])).status, 200);
  });
});

describe('gateway/call-limits admitCallers', () => {
  const SHARE = 3;
  let gateway: LoneGateway;
  before(async () => {
    gateway = await startLoneGateway({ callsPerAccount: SHARE });
  });
  after(() => gateway.stop());

  /** Calls whose body never comes whole: as long as they are open they count. */
  async function hold(path: string, key: string | null) {
    const text =
      `POST ${path} HTTP/1.1\r\nhost: g\r\ncontent-type: application/json\r\n` +
      `${key === null ? '' : `authorization: Bearer ${key}\r\n`}content-length: 9\r\n\r\n{`;
    const open = Array.from({ length: SHARE }, () => rawHttp(gateway.url, [text]));
    await pause();
    return async () => {
      gateway.app.server.closeAllConnections();
      await Promise.all(open);
      await pause();
    };
  }
  const status = async (path: string, key: string | null) => {
    const answer = await gateway.call('GET', path, { key });
    return [answer.status, answer.code];
  };
  const refused = [429, 'receive.rate_limited'];
  const taken = [200, undefined];

  it('leaves the other accounts their share, and those without a key theirs', async () => {
    const letGo = await hold('/v1/requests', API_KEY);
    assert.deepEqual(await status('/v1/credits', API_KEY), refused);
    assert.deepEqual(await status('/v1/credits', OTHER_KEY), taken);
    assert.deepEqual(await status('/v1/models', null), taken);
    await letGo();
    assert.deepEqual(await status('/v1/credits', API_KEY), taken);
    const letKeylessGo = await hold('/v1/auth/nonce', null);
    assert.deepEqual(await status('/v1/models', null), refused);
    assert.deepEqual(await status('/v1/credits', API_KEY), taken);
    await letKeylessGo();
    assert.deepEqual(await status('/v1/models', null), taken);
  });

  it('looks a key up once for each call', async () => {
    let asked = 0;
    const $queryRaw = async () => {
      asked++;
      return [{ accountId: 'a', keyId: 'key_a', scopes: ['read'], isAdmin: false }];
    };
    const database = { $queryRaw } as unknown as Database;
    type Request = Parameters<typeof authenticate>[1];
    const request = { headers: { authorization: 'Bearer plx-key' } } as Request;
    for (let each = 0; each < 2; each++)
      assert.equal((await authenticate(database, request, 'read')).keyId, 'key_a');
    assert.equal(asked, 1);
    await authenticate(database, { ...request }, 'read');
    assert.equal(asked, 2);
  });
});
