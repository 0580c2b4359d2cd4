import assert from 'node:assert/strict';
import { GATEWAY_LIMITS } from '../../gateway/limits.ts';
import { startCoordination, type Coordination } from '../support/coordination.ts';
import { rawHttp, type RawAnswer } from '../support/raw-http.ts';
import { startRealGateway, type RealGateway } from '../support/real-gateway.ts';
import { API_KEY, balances, count } from '../support/seeded.ts';

const LIMITS = { headersMs: 400, requestMs: 800, checkMs: 50, idleMs: 300, calls: 4 };
/** Until a look at what is too slow, and on a machine that is busy. */
const LATE_MS_MAX = 3_000;

const PATH = '/v1/chat/completions';
const BODY = '{"model":"instant","messages":[{"role":"user","content":"alpha"}]}';

/** The head of a call, without the empty line at its end. */
function head(...headers: string[]): string {
  return [
    `POST ${PATH} HTTP/1.1`,
    'host: gateway',
    `authorization: Bearer ${API_KEY}`,
    'content-type: application/json',
    ...headers,
    '',
  ].join('\r\n');
}

const whole = (body: string) => `${head(`content-length: ${body.length}`)}\r\n${body}`;

describe('gateway: what is slow, too much, or no HTTP', () => {
  let network: Coordination;
  let gateway: RealGateway;
  let owned: Readonly<Record<string, bigint>>;
  before(async () => {
    network = await startCoordination();
    owned = await balances(network.database);
    assert.ok(Object.keys(owned).length > 0);
    gateway = await startRealGateway(network, LIMITS);
  });
  afterEach(async () => {
    assert.equal(await count(network.database, 'request'), 0);
    assert.deepEqual(await balances(network.database), owned);
    assert.equal((await fetch(`${gateway.url}/healthz`)).status, 200);
  });
  after(async () => {
    await gateway.stop();
    await network.stop();
  });

  const slowly = (text: string) => rawHttp(gateway.url, text.slice(0, 200), 50);

  function assertTooSlow({ status, error, text, elapsedMs }: RawAnswer, afterMs: number): void {
    assert.equal(status, 408, text);
    assert.equal(error?.code, 'gateway.body_too_slow');
    assert.match(text, /^x-trace-id: \S+\r$/m);
    assert.match(text, /^connection: close\r$/m);
    assert.ok(elapsedMs >= afterMs && elapsedMs < afterMs + LATE_MS_MAX, `${elapsedMs} ms`);
  }

  it('ends a connection on which nothing comes', async () => {
    assertTooSlow(await rawHttp(gateway.url, []), LIMITS.headersMs);
  });

  it('ends one on which headers come byte by byte', async () => {
    assertTooSlow(await slowly(whole(BODY)), LIMITS.headersMs);
  });

  it('ends one on which a body comes byte by byte', async () => {
    const parts = [`${head(`content-length: ${BODY.length}`)}\r\n`, ...BODY.split('')];
    assertTooSlow(await rawHttp(gateway.url, parts, 50), LIMITS.requestMs);
  });

  it('ends one whose body stops, or whose chunks never end', async () => {
    const cut = `${head(`content-length: ${BODY.length}`)}\r\n${BODY.slice(0, 20)}`;
    assertTooSlow(await rawHttp(gateway.url, [cut]), LIMITS.requestMs);
    const chunk = `${BODY.length.toString(16)}\r\n${BODY}\r\n`;
    const endless = `${head('transfer-encoding: chunked')}\r\n${chunk}`;
    assertTooSlow(await rawHttp(gateway.url, [endless]), LIMITS.requestMs);
  });

  it('closes one that is idle after an answer', async () => {
    const { status, elapsedMs } = await rawHttp(gateway.url, [
      'GET /v1/models HTTP/1.1\r\nhost: gateway\r\n\r\n',
    ]);
    assert.equal(status, 200);
    assert.ok(elapsedMs >= LIMITS.idleMs && elapsedMs < LIMITS.idleMs + LATE_MS_MAX);
  });

  const filler = (bytes: number) => 'x'.repeat(bytes);
  const malformed: [name: string, text: string | Uint8Array][] = [
    ['a TLS handshake', Uint8Array.from([0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00])],
    ['garbage', 'hello?\r\n\r\n'],
    ['nothing but NULs', new Uint8Array(100)],
    ['an unknown method', 'BREW /v1/models HTTP/1.1\r\nhost: g\r\n\r\n'],
    ['another version', 'GET /v1/models HTTP/9.9\r\nhost: g\r\n\r\n'],
    ['no host', 'GET /v1/models HTTP/1.1\r\n\r\n'],
    ['a NUL in a header', `${head('x-a: b\0c')}\r\n`],
    ['a header without a name', `${head(': b')}\r\n`],
    ['two lengths', `${head('content-length: 1', 'content-length: 2')}\r\n`],
    [
      'a length and chunks',
      `${head('content-length: 1', 'transfer-encoding: chunked')}\r\n0\r\n\r\n`,
    ],
    ['a negative length', `${head('content-length: -1')}\r\n`],
    ['a length that is no number', `${head('content-length: 0x10')}\r\n`],
    ['an unknown encoding of the transfer', `${head('transfer-encoding: gzip')}\r\n`],
    ['a chunk of no size', `${head('transfer-encoding: chunked')}\r\nzz\r\n`],
    ['a long header', `${head(`x-a: ${filler(20_000)}`)}\r\n`],
    ['headers that never end', head(...Array<string>(5_000).fill('x-a: b'))],
    ['a long URL', `GET /v1/requests?after=${filler(20_000)} HTTP/1.1\r\nhost: g\r\n\r\n`],
    ['101 headers', `${head('content-length: 0', ...Array<string>(101).fill('a: b'))}\r\n`],
  ];
  for (const [name, text] of malformed)
    it(`refuses ${name}`, async () => {
      const answer = await rawHttp(gateway.url, [text]);
      assert.equal(answer.status, 400, answer.text);
      assert.equal(answer.error?.code, 'receive.malformed_request');
      assert.match(answer.text, /^x-trace-id: \S+\r$/im);
    });

  it('refuses what follows a call on its connection, and not the call', async () => {
    const { text, status, error } = await rawHttp(
      gateway.url,
      ['GET /v1/models HTTP/1.1\r\nhost: gateway\r\n\r\n', 'no HTTP at all\r\n\r\n'],
      100,
    );
    assert.match(text, /^HTTP\/1\.1 200 /);
    assert.equal(status, 400);
    assert.equal(error?.code, 'receive.malformed_request');
  });

  it('breaks no answer that is under way, to answer what follows', async () => {
    const { text } = await rawHttp(gateway.url, [
      `GET /v1/models HTTP/1.1\r\nhost: gateway\r\n\r\nno HTTP at all\r\n\r\n`,
    ]);
    const statuses = [...text.matchAll(/^HTTP\/1\.1 (\d+)/gm)].map(([, status]) => status);
    assert.deepEqual(statuses, ['200'], text);
    const body = text.slice(text.indexOf('\r\n\r\n'));
    assert.ok((JSON.parse(body) as { data: object[] }).data.length > 0);
  });

  for (const [name, framing] of [
    ['50 MB', (bytes: number) => `content-length: ${bytes}`],
    ['50 MB in chunks', () => 'transfer-encoding: chunked'],
  ] as const)
    it(`refuses ${name} after the first megabyte`, async () => {
      const block = 'x'.repeat(65_536);
      const blocks = 800;
      const isChunked = name.endsWith('chunks');
      function* parts() {
        yield `${head(framing(blocks * block.length))}\r\n`;
        for (let index = 0; index < blocks; index++)
          yield isChunked ? `${block.length.toString(16)}\r\n${block}\r\n` : block;
      }
      // What holds more breaks off instead.
      const heldBytes = GATEWAY_LIMITS.bodyBytes + 4 * block.length;
      const small = await startRealGateway(network, { heldBytes, heldBytesPerAddress: heldBytes });
      const { status, error, text } = await rawHttp(small.url, parts());
      assert.equal(status, 413, text);
      assert.equal(error?.code, 'receive.payload_too_large');
      await small.stop();
    });

  it('refuses more calls than it can have open, and says when to try again', async () => {
    const half = `${head(`content-length: ${BODY.length}`)}\r\n{`;
    const open = Array.from({ length: LIMITS.calls }, () => rawHttp(gateway.url, [half]));
    await new Promise((resolve) => setTimeout(resolve, 200));
    const response = await fetch(`${gateway.url}/v1/models`);
    assert.equal(response.status, 503);
    const { error } = (await response.json()) as { error: { code: string } };
    assert.equal(error.code, 'gateway.overloaded');
    assert.equal(response.headers.get('retry-after'), '5');
    assert.equal((await fetch(`${gateway.url}/healthz`)).status, 200);
    for (const answer of await Promise.all(open)) assertTooSlow(answer, LIMITS.requestMs);
    assert.equal((await fetch(`${gateway.url}/v1/models`)).status, 200);
  });

  it('takes no more connections than it may have', async () => {
    const small = await startRealGateway(network, { connections: 2, headersMs: 1_000 });
    const open = [rawHttp(small.url, []), rawHttp(small.url, [])];
    await new Promise((resolve) => setTimeout(resolve, 100));
    const { status, elapsedMs } = await rawHttp(small.url, []);
    assert.equal(status, null);
    assert.ok(elapsedMs < 500, `${elapsedMs} ms`);
    await small.stop();
    await Promise.all(open);
  });

  it('has limits by which the large ones allow the small ones', () => {
    assert.ok(GATEWAY_LIMITS.headersMs < GATEWAY_LIMITS.requestMs);
    assert.ok(GATEWAY_LIMITS.calls <= GATEWAY_LIMITS.connections);
  });
});
