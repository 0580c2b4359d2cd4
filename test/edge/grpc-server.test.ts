import assert from 'node:assert/strict';
import { once } from 'node:events';
import {
  connect as connectHttp2,
  constants,
  type ClientHttp2Session,
  type IncomingHttpHeaders,
} from 'node:http2';
import { connect as connectTcp } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect as connectTls, type ConnectionOptions } from 'node:tls';
import { gzipSync } from 'node:zlib';
import { startEdgeScene, type EdgeScene } from '../support/edge.ts';
import type { TestNodeCertificate } from '../support/test-ca.ts';
import { until } from '../support/until.ts';

const SERVICE = '/temporal.api.workflowservice.v1.WorkflowService';
const LIMITS = {
  messageMs: 400,
  wastedBurst: 20,
  wastedPerSecond: 1,
  connectionsPerNode: 3,
  handshakeMs: 500,
  keepaliveMs: 300,
  keepaliveTimeoutMs: 300,
};

/** What an edge does with what no SDK would send. */
describe('edge/grpc-server', () => {
  let scene: EdgeScene;
  let node: TestNodeCertificate;
  const sessions: ClientHttp2Session[] = [];

  before(async function () {
    this.timeout(120_000);
    scene = await startEdgeScene(LIMITS);
  });
  after(async function () {
    this.timeout(60_000);
    for (const session of sessions) session.destroy();
    await scene?.stop();
  });
  beforeEach(async () => {
    node = await scene.ca.node();
  });

  const tls = (more: ConnectionOptions = {}): ConnectionOptions => ({
    host: '127.0.0.1',
    port: scene.edge.port,
    ca: scene.ca.ca,
    key: node.key,
    cert: node.cert,
    ALPNProtocols: ['h2'],
    servername: 'localhost',
    ...more,
  });

  async function open(): Promise<ClientHttp2Session> {
    const session = connectHttp2(`https://localhost:${scene.edge.port}`, {
      createConnection: () => connectTls(tls()),
    });
    sessions.push(session);
    session.on('error', () => {});
    await once(session, 'remoteSettings');
    return session;
  }

  interface Sent {
    readonly method?: string;
    readonly path?: string;
    readonly headers?: Record<string, string>;
    /** Behind it the message is over, unless told otherwise. */
    readonly body?: Buffer;
    readonly isOpen?: boolean;
  }

  /** Calls, and tells the status and its text. */
  async function call(session: ClientHttp2Session, sent: Sent): Promise<string> {
    const stream = session.request(
      {
        ':method': sent.method ?? 'POST',
        ':path': sent.path ?? `${SERVICE}/GetSystemInfo`,
        'content-type': 'application/grpc',
        te: 'trailers',
        ...sent.headers,
      },
      { endStream: false },
    );
    stream.on('error', () => {});
    if (sent.body) stream.write(sent.body);
    if (!sent.isOpen) stream.end();
    stream.resume();
    return new Promise((resolve) => {
      const tell = (headers: IncomingHttpHeaders) => {
        if (headers['grpc-status'] !== undefined)
          resolve(
            `${String(headers['grpc-status'])} ${String(headers['grpc-message'] ?? '')}`.trim(),
          );
      };
      stream.once('response', tell);
      stream.once('trailers', tell);
      stream.once('close', () => resolve(`closed ${stream.rstCode}`));
    });
  }

  const framed = (message: Buffer, flag = 0, length = message.length) => {
    const prefix = Buffer.alloc(5);
    prefix.writeUInt8(flag);
    prefix.writeUInt32BE(length, 1);
    return Buffer.concat([prefix, message]);
  };
  const EMPTY = framed(Buffer.alloc(0));

  it('serves a call that is one', async () => {
    const session = await open();
    assert.equal(await call(session, { body: EMPTY }), '0');
    const zipped = framed(gzipSync(Buffer.alloc(0)), 1);
    assert.equal(await call(session, { body: zipped, headers: { 'grpc-encoding': 'gzip' } }), '0');
  });

  it('refuses what is not gRPC', async () => {
    const session = await open();
    const forbidden = '7 edge.forbidden';
    assert.equal(await call(session, { path: '/', body: EMPTY }), forbidden);
    assert.equal(await call(session, { method: 'PUT', body: EMPTY }), forbidden);
    assert.equal(await call(session, { headers: { 'content-type': 'text/plain' } }), forbidden);
    assert.equal(await call(session, { path: '/__proto__', body: EMPTY }), forbidden);
  });

  it('refuses what is not one whole message', async () => {
    const session = await open();
    const malformed = '3 edge.malformed';
    assert.equal(await call(session, {}), malformed);
    assert.equal(await call(session, { body: EMPTY.subarray(0, 3) }), malformed);
    assert.equal(await call(session, { body: Buffer.concat([EMPTY, EMPTY]) }), malformed);
    assert.equal(await call(session, { body: framed(Buffer.alloc(3), 0, 4) }), malformed);
    assert.equal(await call(session, { body: framed(Buffer.alloc(3), 2) }), malformed);
    const noZip = framed(Buffer.from('no zip'), 1);
    assert.equal(
      await call(session, { body: noZip, headers: { 'grpc-encoding': 'gzip' } }),
      malformed,
    );
    assert.equal(
      await call(session, { body: noZip, headers: { 'grpc-encoding': 'br' } }),
      malformed,
    );
  });

  it('refuses a message that is too large, as announced or unpacked', async () => {
    const session = await open();
    const announced = framed(Buffer.alloc(10), 0, 5 * 2 ** 20);
    assert.equal(await call(session, { body: announced, isOpen: true }), '8 edge.too_large');
    const bomb = framed(gzipSync(Buffer.alloc(64 * 2 ** 20)), 1);
    const before = process.memoryUsage().rss;
    const headers = { 'grpc-encoding': 'gzip' };
    assert.equal(await call(session, { body: bomb, headers }), '8 edge.too_large');
    assert.ok(process.memoryUsage().rss - before < 48 * 2 ** 20);
  });

  it('waits for a message for a while only', async () => {
    const session = await open();
    const startedAtMs = Date.now();
    const half = EMPTY.subarray(0, 2);
    assert.equal(await call(session, { body: half, isOpen: true }), '4 edge.too_slow');
    assert.ok(Date.now() - startedAtMs < 2_000);
  });

  it('closes a connection whose calls are taken back too often', async () => {
    const session = await open();
    const before = await scene.refused('edge.too_many');
    const closed = once(session, 'close');
    for (let count = 0; count < 40 && !session.destroyed; count++) {
      const stream = session.request({ ':method': 'POST', ':path': '/x' }, { endStream: false });
      stream.on('error', () => {});
      stream.close(constants.NGHTTP2_CANCEL);
      await sleep(5);
    }
    await closed;
    assert.equal((await scene.refused('edge.too_many')) - before, 1);
  });

  it('closes a connection whose headers are too many', async () => {
    const session = await open();
    const headers = { 'x-large': 'x'.repeat(40_000) };
    assert.match(await call(session, { body: EMPTY, headers }), /^closed/);
    assert.equal(await call(await open(), { body: EMPTY }), '0');
  });

  it('has so many connections of a node, and no more', async () => {
    const before = await scene.refused('edge.too_many');
    await Promise.all([open(), open(), open()]);
    const fourth = connectTls(tls());
    fourth.on('error', () => {});
    fourth.resume();
    await once(fourth, 'close');
    assert.equal((await scene.refused('edge.too_many')) - before, 1);
  });

  it('lets go of a connection without another end', async () => {
    const socket = connectTls(tls());
    socket.on('error', () => {});
    await once(socket, 'secureConnect');
    // It says nothing more, not even to a ping.
    socket.resume();
    await once(socket, 'close');
    assert.equal(await call(await open(), { body: EMPTY }), '0');
  });

  it('waits for a handshake for a while only', async () => {
    const before = await scene.refused('edge.too_slow');
    const socket = connectTcp(scene.edge.port, '127.0.0.1');
    socket.on('error', () => {});
    await once(socket, 'close');
    await until(async () => (await scene.refused('edge.too_slow')) > before, 'it is counted');
  });
});
