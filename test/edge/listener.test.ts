import assert from 'node:assert/strict';
import { once } from 'node:events';
import { request } from 'node:https';
import { connect as connectTcp, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect as connectTls, type ConnectionOptions, type TLSSocket } from 'node:tls';
import { startEdgeScene, type EdgeScene } from '../support/edge.ts';
import { testCa, type TestCertificate } from '../support/test-ca.ts';
import { until } from '../support/until.ts';

/** Also after an error. */
const closed = (socket: Socket) =>
  new Promise<void>((resolve) => void socket.once('close', () => resolve()));

/** Whom an edge lets in. */
describe('edge/listener', () => {
  let scene: EdgeScene;

  before(async function () {
    this.timeout(120_000);
    scene = await startEdgeScene({ handshakesBurst: 40, handshakesPerSecond: 20 });
  });
  after(async function () {
    this.timeout(60_000);
    await scene?.stop();
  });

  const connect = (options: ConnectionOptions): TLSSocket => {
    const socket = connectTls({
      host: '127.0.0.1',
      port: scene.edge.port,
      servername: 'localhost',
      ca: scene.ca.ca,
      ...options,
    });
    socket.on('error', () => {});
    socket.resume();
    return socket;
  };

  /** Whether a connection is still there a moment after its handshake. */
  async function isLetIn(client: TestCertificate | undefined, protocol: string): Promise<boolean> {
    const socket = connect({ ...client, ALPNProtocols: [protocol] });
    const ends = closed(socket).then(() => false);
    const stays = once(socket, 'secureConnect').then(() => sleep(200, true));
    const isIn = await Promise.race([ends, stays.catch(() => false)]);
    socket.destroy();
    return isIn;
  }

  const refusedOnce = async (client: TestCertificate | undefined, protocol: string) => {
    const before = await scene.refused('edge.unauthenticated');
    assert.equal(await isLetIn(client, protocol), false);
    const count = async () => (await scene.refused('edge.unauthenticated')) - before;
    await until(async () => (await count()) === 1, 'it is counted once');
  };

  for (const protocol of ['h2', 'http/1.1'])
    it(`lets in nodes with a certificate of the network, over ${protocol}`, async () => {
      assert.equal(await isLetIn(await scene.ca.node(), protocol), true);
    });

  for (const protocol of ['h2', 'http/1.1'])
    it(`lets in no certificate that isn't a node's, over ${protocol}`, async function () {
      this.timeout(30_000);
      const other = await testCa();
      const named = await scene.ca.node();
      await refusedOnce(await scene.ca.node({ seconds: -1 }), protocol);
      await refusedOnce(await other.node(), protocol);
      await refusedOnce(await scene.ca.node({ isServer: true }), protocol);
      await refusedOnce(await scene.ca.node({ namedId: named.nodeId }), protocol);
      const { key, ca } = other;
      await refusedOnce({ key, cert: ca }, protocol);
    });

  it('lets in who has none for HTTP only: to get one', async () => {
    await refusedOnce(undefined, 'h2');
    assert.equal(await isLetIn(undefined, 'http/1.1'), true);
    const answer = request({
      host: '127.0.0.1',
      port: scene.edge.port,
      ca: scene.ca.ca,
      servername: 'localhost',
    }).end();
    const [response] = (await once(answer, 'response')) as [{ statusCode: number; resume(): void }];
    response.resume();
    assert.equal(response.statusCode, 404);
  });

  it('speaks nothing but TLS 1.3', async () => {
    const before = await scene.refused('edge.unauthenticated');
    const old = connect({ maxVersion: 'TLSv1.2' });
    await closed(old);
    const plain = connectTcp(scene.edge.port, '127.0.0.1');
    plain.on('error', () => {});
    plain.resume();
    plain.write('GET / HTTP/1.1\r\n\r\n');
    await closed(plain);
    await until(
      async () => (await scene.refused('edge.unauthenticated')) === before + 2,
      'both are counted',
    );
  });

  it('closes a connection when its certificate expires', async () => {
    const socket = connect({
      ...(await scene.ca.node({ seconds: 2 })),
      ALPNProtocols: ['http/1.1'],
    });
    await once(socket, 'secureConnect');
    const startedAtMs = Date.now();
    await closed(socket);
    assert.ok(Date.now() - startedAtMs < 3_000);
  });

  it('takes a renewed certificate for new connections', async () => {
    const client = await scene.ca.node();
    const fingerprint = async () => {
      const socket = connect({ ...client, ALPNProtocols: ['http/1.1'] });
      await once(socket, 'secureConnect');
      const { fingerprint256 } = socket.getPeerCertificate();
      socket.destroy();
      return fingerprint256;
    };
    const before = await fingerprint();
    const expires = async () => {
      const gauge = scene.edge.metrics.getSingleMetric('plx_edge_certificate_expires_seconds');
      return (await gauge?.get())?.values[0]?.value ?? 0;
    };
    const expired = await expires();
    assert.ok(expired > Date.now() / 1_000);
    await scene.renew();
    assert.notEqual(await fingerprint(), before);
    assert.ok((await expires()) > expired);
    assert.equal(await isLetIn(client, 'h2'), true);
    await refusedOnce(await scene.ca.node({ seconds: -1 }), 'h2');
  });

  it('ends what a CA let in that is dropped, and nothing else', async () => {
    const later = await testCa();
    const [before, after] = [await scene.ca.node(), await later.node()];
    const open = async (client: TestCertificate, protocol: string) => {
      const socket = connect({ ...client, ALPNProtocols: [protocol] });
      await once(socket, 'secureConnect');
      return socket;
    };
    await scene.renew(`${scene.ca.ca}\n${later.ca}`);
    const old = await Promise.all([open(before, 'h2'), open(before, 'http/1.1')]);
    const stays = await open(after, 'http/1.1');
    const ended = Promise.all(old.map(closed));
    await sleep(200);
    assert.ok([...old, stays].every((socket) => !socket.destroyed));
    await scene.renew(later.ca);
    await ended;
    await sleep(200);
    assert.ok(!stays.destroyed);
    stays.destroy();
    await scene.renew();
  });

  it('turns an address away that begins too many handshakes', async () => {
    const before = await scene.refused('edge.too_many');
    const sockets = Array.from({ length: 60 }, () => connectTcp(scene.edge.port, '127.0.0.1'));
    for (const socket of sockets) socket.on('error', () => {});
    await until(async () => (await scene.refused('edge.too_many')) >= before + 10, 'some are');
    for (const socket of sockets) socket.destroy();
    await sleep(1_000);
    assert.equal(await isLetIn(await scene.ca.node(), 'h2'), true);
  });

  it('says from where a connection came that was reset', async function () {
    this.timeout(60_000);
    const other = await startEdgeScene();
    try {
      const socket = connectTcp(other.edge.port, '127.0.0.1');
      await once(socket, 'connect');
      await sleep(200);
      socket.resetAndDestroy();
      await until(async () => (await other.refused('edge.unauthenticated')) === 1, 'it is counted');
      const line = other.logged.find(({ code }) => code === 'edge.unauthenticated');
      assert.equal(line?.['detail'], 'ECONNRESET');
      assert.equal(line['address'], '127.0.0.1');
    } finally {
      await other.stop();
    }
  });

  it('has so many connections in all, and room again when one is over', async function () {
    this.timeout(60_000);
    const small = await startEdgeScene({ connections: 3 });
    const open = () => {
      const socket = connectTcp(small.edge.port, '127.0.0.1');
      socket.on('error', () => {});
      return socket;
    };
    const stays = (socket: Socket): Promise<boolean> =>
      Promise.race([closed(socket).then(() => false), sleep(300, true)]);
    try {
      const first = [open(), open(), open()];
      assert.deepEqual(await Promise.all(first.map(stays)), [true, true, true]);
      assert.equal(await stays(open()), false);
      assert.equal(await small.refused('edge.too_many'), 1);
      first[0]?.destroy();
      await sleep(100);
      assert.equal(await stays(open()), true);
    } finally {
      await small.stop();
    }
  });
});
