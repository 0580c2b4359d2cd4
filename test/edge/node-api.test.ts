import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import type { NodeCall } from '../../edge/node-calls.ts';
import { Refusal } from '../../edge/refusals.ts';
import type { Challenge } from '../../protocol/presence.ts';
import { startNodeApiScene, type ApiNode, type NodeApiScene } from '../support/node-api-scene.ts';
import { addPoolNode } from '../support/pool.ts';
import { registration, signedBy } from '../support/registration.ts';
import { until } from '../support/until.ts';

const KIB = 1_024;
const BLOB = `/v1/node/blobs/sha256:${'0'.repeat(64)}`;
const FRAMES = `/v1/node/units/req_${'0'.repeat(64)}/1/frames`;
const beat = ({ sequence, nonce }: Challenge) =>
  JSON.stringify({ ready: true, running: [], sequence, nonce });

describe('edge/node-api', () => {
  let scene: NodeApiScene;
  let node: ApiNode;
  let denied: NodeCall | 'enroll' | undefined;
  before(async () => {
    scene = await startNodeApiScene({
      messageMsMax: 300,
      headersMsMax: 400,
      stalledMsMax: 1_000,
      allow: (_nodeId, what) => what !== denied,
      allowAddress: () => denied !== 'enroll',
    });
    node = await scene.node();
  });
  beforeEach(() => {
    denied = undefined;
    scene.edge.refusals.length = 0;
  });
  after(() => scene.stop());

  const post = (by: Pick<ApiNode, 'call'>, what: string, body: string | Uint8Array = '{}') =>
    by.call('POST', `/v1/node/${what}`, { body });

  /** @returns what its first heartbeat has to answer. */
  async function register(by: ApiNode): Promise<Challenge> {
    const body = JSON.stringify(signedBy(by.keys, await registration(by.keys)));
    const answer = await post(by, 'register', body);
    assert.equal(answer.status, 200, answer.text);
    return answer.body['challenge'] as Challenge;
  }

  const CALLS: [method: string, path: string, what: NodeCall][] = [
    ['POST', '/v1/node/register', 'register'],
    ['POST', '/v1/node/heartbeat', 'heartbeat'],
    ['POST', '/v1/node/drain', 'part'],
    ['POST', '/v1/node/leave', 'part'],
    ['POST', '/v1/node/certificate', 'certificate'],
    ['GET', '/v1/node/commands', 'commands'],
    ['POST', FRAMES, 'frames'],
    ['PUT', BLOB, 'blobs'],
    ['GET', BLOB, 'blobs'],
  ];
  const body = (method: string) => (method === 'GET' ? {} : { body: '{}' });

  it('answers strangers nothing but enrolment, and nodes nothing that is no route', async () => {
    for (const [method, path] of [...CALLS, ['GET', '/'], ['GET', '/healthz']] as const) {
      const { status, code } = await scene.stranger.call(method, path, body(method));
      assert.deepEqual([status, code], [401, 'edge.unauthenticated'], path);
    }
    assert.equal(scene.refused('edge.unauthenticated'), CALLS.length + 2);
    const { code } = await scene.stranger.call('POST', '/v1/enroll', { body: '{"csr":"none"}' });
    assert.equal(code, 'node.certificate_refused');
    for (const [method, path] of [
      ['GET', '/'],
      ['POST', '/v1/intake'],
      ['GET', '/v1/intake/key'],
      ['HEAD', '/v1/node/commands'],
      ['POST', `/v1/nodes/${node.keys.nodeId}/heartbeat`],
      ['POST', '/v1/node/heartbeat/'],
      ['POST', '/v1/node/../intake'],
    ] as const)
      assert.equal((await node.call(method, path, body(method))).status, 403, path);
    assert.equal(scene.refused('edge.forbidden'), 7);
    const [refusal] = scene.edge.refusals.slice(-1);
    assert.equal(refusal?.nodeId, node.keys.nodeId);
    assert.ok(refusal.address);
    assert.equal((await node.call('GET', '/%zz')).code, 'edge.malformed');
  });

  it('keeps each kind of call within its limits', async () => {
    for (const [method, path, what] of CALLS) {
      denied = what;
      const { status, code } = await node.call(method, path, body(method));
      assert.deepEqual([status, code], [429, 'edge.too_many'], path);
    }
    denied = 'enroll';
    const { code } = await scene.stranger.call('POST', '/v1/enroll', { body: '{}' });
    assert.equal(code, 'edge.too_many');
    assert.equal(scene.refused('edge.too_many'), CALLS.length + 1);
  });

  it('takes no more than a message of each kind may have, nor a compressed one', async () => {
    const sizes: [string, number][] = [
      ['/v1/enroll', 16],
      ['/v1/node/register', 32],
      ['/v1/node/heartbeat', 64],
      ['/v1/node/certificate', 16],
      ['/v1/node/drain', 1],
      ['/v1/node/leave', 1],
    ];
    for (const [path, kilobytes] of sizes) {
      const large = await node.call('POST', path, { body: Buffer.alloc(kilobytes * KIB + 1) });
      assert.deepEqual([large.status, large.code], [413, 'edge.too_large'], path);
      const fits = await node.call('POST', path, { body: Buffer.alloc(kilobytes * KIB, ' ') });
      assert.notEqual(fits.code, 'edge.too_large', path);
    }
    const bomb = gzipSync(Buffer.alloc(100 * KIB * KIB));
    const headers = { 'content-encoding': 'gzip' };
    const { status, code } = await node.call('POST', '/v1/node/register', { headers, body: bomb });
    assert.deepEqual([status, code], [400, 'edge.malformed']);
  });

  it('waits for no slow body, no slow headers, and reads none that are too long', async () => {
    const slow = await scene.connect(node);
    slow.write('POST /v1/node/heartbeat HTTP/1.1\r\nhost: e\r\ncontent-length: 20\r\n\r\n{"ready');
    assert.match(await heard(slow), /^HTTP\/1\.1 408 [^]*edge\.too_slow/);
    const endless = await scene.connect(node);
    endless.write(
      'POST /v1/node/register HTTP/1.1\r\nhost: e\r\ntransfer-encoding: chunked\r\n\r\n',
    );
    const drip = setInterval(() => endless.write('1\r\n \r\n'), 50);
    assert.match(await heard(endless), /^HTTP\/1\.1 408 [^]*edge\.too_slow/);
    clearInterval(drip);
    assert.equal(scene.refused('edge.too_slow'), 2);

    const headless = await scene.connect(node);
    const dripping = setInterval(() => headless.write('x'), 50);
    headless.write('GET /v1/node/commands HTTP/1.1\r\nx: ');
    assert.equal(await heard(headless), '', 'it is closed');
    clearInterval(dripping);
    assert.equal(scene.refused('edge.too_slow'), 3);

    const long = await scene.connect(node);
    long.write(`GET / HTTP/1.1\r\nx: ${'x'.repeat(20 * KIB)}\r\n\r\n`);
    assert.match(await heard(long), /^HTTP\/1\.1 413 [^]*edge\.too_large/);
    const garbage = await scene.connect(node);
    garbage.write('\x16\x03\x01 this is no HTTP\r\n\r\n');
    assert.match(await heard(garbage), /^HTTP\/1\.1 400 [^]*edge\.malformed/);
    const smuggled = await scene.connect(node);
    smuggled.write(
      'POST /v1/node/heartbeat HTTP/1.1\r\nhost: e\r\ncontent-length: 4\r\n' +
        'transfer-encoding: chunked\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n',
    );
    assert.match(await heard(smuggled), /^HTTP\/1\.1 400 [^]*edge\.malformed/);
  });

  it('registers a node as itself only, and takes each heartbeat once, in order', async () => {
    const other = await scene.node();
    const others = JSON.stringify(signedBy(other.keys, await registration(other.keys)));
    assert.equal((await post(node, 'register', others)).code, 'node.registration_refused');
    assert.equal((await post(node, 'register', 'none')).code, 'receive.malformed_request');
    assert.equal((await post(node, 'heartbeat', beat({ sequence: 0, nonce: '' }))).status, 404);
    const first = await register(node);
    const foreign = await register(other);
    const taken = await post(node, 'heartbeat', beat(first));
    assert.equal(taken.status, 200, taken.text);
    assert.equal(typeof taken.body['returnKey'], 'string');
    const next = taken.body['challenge'] as Challenge;
    const ahead = { sequence: next.sequence + 1, nonce: next.nonce };
    for (const hostile of [first, ahead, { ...next, nonce: foreign.nonce }]) {
      const { status, code, body: told } = await post(node, 'heartbeat', beat(hostile));
      assert.deepEqual([status, code], [409, 'node.heartbeat_replayed']);
      assert.deepEqual(told['challenge'], next, 'what is to be answered');
    }
    assert.equal(scene.refused('node.heartbeat_replayed'), 3);
    assert.equal(scene.edge.refusals.at(-1)?.nodeId, node.keys.nodeId);
    assert.equal((await post(node, 'heartbeat', beat(next))).status, 200);
    assert.deepEqual((await post(node, 'drain')).body, { attempts: [] });
    assert.equal((await post(node, 'leave')).status, 204);
  });

  it('has one stream of commands per node, the newest', async () => {
    const channel = await scene.edge.channel(node.keys);
    const lines: number[] = [0, 0];
    const stop = new AbortController();
    const ended: number[] = [];
    const listen = (index: number) =>
      channel
        .commands(() => void (lines[index] = (lines[index] ?? 0) + 1), stop.signal)
        .catch(() => void ended.push(index));
    const first = listen(0);
    await until(() => lines[0] === 1, 'the first');
    const second = listen(1);
    await until(() => lines[1] === 1, 'the second');
    await first;
    assert.deepEqual(ended, [0]);
    stop.abort();
    await second;
  });

  it('is unavailable while the pool or the coordinator is away', async () => {
    const unsure = await startNodeApiScene({
      isRemoved: () => {
        throw new Refusal('edge.unavailable');
      },
    });
    try {
      const by = await unsure.node();
      assert.equal((await by.call('GET', BLOB)).code, 'edge.unavailable');
      await unsure.stopCoordinator();
      const { status, code } = await by.call('POST', '/v1/node/heartbeat', { body: '{}' });
      assert.deepEqual([status, code], [503, 'edge.unavailable']);
    } finally {
      await unsure.stop();
    }
  });

  it('ends a connection whose other end takes no answer', async function () {
    this.timeout(20_000);
    const taker = await scene.node();
    await addPoolNode(scene.db.database, { id: taker.keys.nodeId });
    const bytes = Buffer.alloc(24 * 1_024 * KIB);
    const path = `/v1/node/blobs/sha256:${createHash('sha256').update(bytes).digest('hex')}`;
    assert.equal((await taker.call('PUT', path, { body: bytes })).status, 204);
    const socket = await scene.connect(taker);
    socket.pause();
    const ended = new Promise<string>(
      (resolve) => void socket.once('close', () => resolve('ended')),
    );
    socket.write(`GET ${path} HTTP/1.1\r\nhost: e\r\n\r\n`);
    await sleep(5_000);
    socket.resume();
    assert.equal(await Promise.race([ended, sleep(5_000)]), 'ended');
    assert.ok(socket.bytesRead < bytes.length);
  });

  it('tells a removed node why, and does nothing else for it', async () => {
    const removed = await scene.node();
    const challenge = await register(removed);
    const { nodeId } = removed.keys;
    const channel = await scene.edge.channel(removed.keys);
    let isListening = false;
    const { signal } = new AbortController();
    const listening = channel.commands(() => void (isListening = true), signal);
    const ended = assert.rejects(listening);
    await until(() => isListening, 'its commands');
    await scene.db.database.node.update({ where: { id: nodeId }, data: { status: 'removed' } });
    await scene.db.database.nodeReview.create({
      data: { nodeId, decision: 'removed', code: 'node.removed_bad_proofs' },
    });
    scene.edge.remove(nodeId);
    await ended;
    const { body: told } = await post(removed, 'heartbeat', beat(challenge));
    assert.equal((told['removed'] as { code: string }).code, 'node.removed_bad_proofs');
    await register(removed);
    assert.equal((await post(removed, 'drain')).status, 200);
    assert.equal((await post(removed, 'leave')).status, 204);
    for (const [method, path, what] of CALLS.filter(
      ([, , kind]) => !['register', 'heartbeat', 'part'].includes(kind),
    )) {
      const { status, code } = await removed.call(method, path, body(method));
      assert.deepEqual([status, code], [403, 'edge.node_removed'], what);
    }
  });
});

/** All that comes on a connection until it ends. */
async function heard(socket: NodeJS.ReadableStream): Promise<string> {
  let all = '';
  socket.on('data', (chunk: Buffer) => void (all += chunk.toString()));
  await new Promise((resolve) => {
    socket.once('close', resolve);
    // A refusal is heard while the connection goes on for a moment.
    socket.on('data', () => /\r\n\r\n[^]+/.test(all) && resolve(undefined));
  });
  return all;
}
