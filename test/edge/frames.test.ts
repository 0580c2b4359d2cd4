import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { attemptNumber, makeChannelToken } from '../../crypto/channel.ts';
import { createStreamSealer, type StreamSealer } from '../../crypto/stream.ts';
import { formatRequestId, type UnitId } from '../../protocol/ids.ts';
import { startNodeApiScene, type ApiNode, type NodeApiScene } from '../support/node-api-scene.ts';
import { requester } from '../support/seeded.ts';
import { until } from '../support/until.ts';

const MIB = 1_024 * 1_024;

/** Frames on their way from a node to a real coordinator. */
describe('edge/frames', () => {
  let scene: NodeApiScene;
  let node: ApiNode;
  before(async () => {
    scene = await startNodeApiScene({ framesSilentMsMax: 500 });
    node = await scene.node();
  });
  beforeEach(() => void (scene.edge.refusals.length = 0));
  after(() => scene.stop());

  /** A unit that was given to the node. */
  async function given(coordinator = scene.coordinatorUrl, to = node) {
    const unitId = formatRequestId(randomBytes(32));
    const { nodeId } = to.keys;
    await scene.db.database.dispatch.create({ data: { unitId, dispatch: 1, nodeId, coordinator } });
    return attemptAt(unitId, 1, to);
  }

  /** An attempt as a node knows it. */
  async function attemptAt(unitId: UnitId, dispatch: number, by = node) {
    const number = attemptNumber(scene.channelSecret, unitId, dispatch);
    const context = { unitId, dispatch: number, nodeId: by.keys.nodeId };
    const token = makeChannelToken(scene.channelSecret, context);
    const keys = { requesterKey: requester.publicJwk, returnKey: requester.publicJwk };
    const sealer = await createStreamSealer({ ...context, ...keys });
    return { ...context, token, sealer };
  }

  type Attempt = Awaited<ReturnType<typeof attemptAt>>;

  const send = (
    by: ApiNode,
    { unitId, dispatch }: Pick<Attempt, 'unitId' | 'dispatch'>,
    token: string,
    frames: readonly string[],
  ) =>
    by.call('POST', `/v1/node/units/${unitId}/${dispatch}/frames`, {
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/x-ndjson' },
      body: frames.map((frame) => `${frame}\n`).join(''),
    });

  it('reach the coordinator of the attempt while they come', async () => {
    const attempt = await given();
    const got: string[] = [];
    const release = scene.relay.hold(attempt.unitId);
    scene.relay.subscribe(attempt.unitId, ({ frame }) => got.push(frame) > 0);
    const channel = await scene.edge.channel(node.keys);
    const stream = channel.openStream(attempt, attempt.token, assert.fail);
    const { sealer } = attempt;
    stream.send(sealer.keyFrame);
    stream.send(sealer.delta('one '));
    await until(() => got.length === 2, 'what was sent so far');
    stream.send(sealer.delta('two'));
    stream.send(sealer.end());
    await stream.close();
    assert.equal(got.length, 4);
    const relayed = scene.relay.relayed(attempt.unitId, 1);
    assert.deepEqual([relayed?.text, relayed?.ended], ['one two', true]);
    assert.deepEqual(scene.edge.refusals, []);
    release();
  });

  it('are refused when they come twice, late, or from another stream, by a code', async () => {
    const hostile: [string, (one: Attempt, other: Attempt) => string[]][] = [
      ['a frame twice', ({ sealer }) => twice([sealer.keyFrame, sealer.delta('a')])],
      ['the key twice', ({ sealer }) => [sealer.keyFrame, sealer.keyFrame]],
      [
        'a gap',
        ({ sealer }) => [sealer.keyFrame, ...[sealer.delta('a'), sealer.delta('b')].slice(1)],
      ],
      ['out of order', ({ sealer }) => [sealer.keyFrame, ...swapped(sealer)]],
      ['behind its end', ({ sealer }) => [sealer.keyFrame, ...twice([sealer.end()])]],
      ["another unit's key", (_one, { sealer }) => [sealer.keyFrame, sealer.delta('a')]],
      ["another unit's frame", (one, { sealer }) => [one.sealer.keyFrame, sealer.delta('a')]],
      ['no frame', () => ['nonsense']],
    ];
    for (const [what, frames] of hostile) {
      const [one, other] = [await given(), await given()];
      const got: string[] = [];
      const release = scene.relay.hold(one.unitId);
      scene.relay.subscribe(one.unitId, ({ frame }) => got.push(frame) > 0);
      const sent = frames(one, other);
      const { status, code } = await send(node, one, one.token, sent);
      assert.deepEqual([status, code], [400, 'relay.bad_frame'], what);
      assert.ok(got.length < sent.length, what);
      release();
    }
    assert.equal(scene.refused('relay.bad_frame'), hostile.length);
    assert.equal(scene.edge.refusals[0]?.nodeId, node.keys.nodeId);
  });

  it('are refused at once, also when the stream goes on', async () => {
    const [attempt, lost] = [await given(), [] as string[]];
    const channel = await scene.edge.channel(node.keys);
    const stream = channel.openStream(attempt, attempt.token, ({ message }) => lost.push(message));
    stream.send('nonsense');
    await until(() => lost.length > 0, 'it hears of it');
    assert.match(lost[0] ?? '', /400 relay\.bad_frame/);
    stream.send('more of it');
    await stream.close();
    assert.equal(lost.length, 1);
    const next = await given();
    const frames = [next.sealer.keyFrame, next.sealer.end()];
    assert.equal((await send(node, next, next.token, frames)).status, 204);
  });

  it('are refused for an attempt that the node does not have', async () => {
    const mine = await given();
    const thief = await scene.node();
    const stolen = await given(scene.coordinatorUrl, thief);
    const frames = [mine.sealer.keyFrame, mine.sealer.end()];
    const other = await given();
    const neverGiven = await attemptAt(formatRequestId(randomBytes(32)), 1);
    const hostile: [string, ApiNode, Pick<Attempt, 'unitId' | 'dispatch'>, string][] = [
      ['no token', node, mine, ''],
      ['the token of another unit', node, mine, other.token],
      ['another unit with the token', node, other, mine.token],
      ['the token of another attempt', node, await attemptAt(mine.unitId, 2), mine.token],
      ['no such attempt', node, { ...mine, dispatch: 7_000_000_000 }, mine.token],
      ['a unit that was never given to it', node, neverGiven, neverGiven.token],
      ['a stolen token', thief, mine, mine.token],
      ['a stolen token on its own unit', thief, stolen, mine.token],
      ['no unit', node, { unitId: 'req_short' as UnitId, dispatch: 1 }, mine.token],
    ];
    for (const [what, by, attempt, token] of hostile) {
      const { status, code } = await send(by, attempt, token, frames);
      assert.deepEqual([status, code], [403, 'relay.forbidden'], what);
    }
    assert.equal(scene.refused('relay.forbidden'), hostile.length);
    assert.equal((await send(node, mine, mine.token, frames)).status, 204);
  });

  it('are refused when a line is too long, or nothing comes for too long', async () => {
    const long = await given();
    const { status, code } = await send(node, long, long.token, ['x'.repeat(70_000)]);
    assert.deepEqual([status, code], [413, 'edge.too_large']);
    const silent = await given();
    const channel = await scene.edge.channel(node.keys);
    const lost: string[] = [];
    const stream = channel.openStream(silent, silent.token, ({ message }) => lost.push(message));
    stream.send(silent.sealer.keyFrame);
    await until(() => lost.length > 0, 'it is given up');
    assert.match(lost[0] ?? '', /408 edge\.too_slow/);
    await stream.close();
  });

  it('are held up by a coordinator that does not take them, not collected', async () => {
    const deaf = createServer((request) => request.pause());
    const url = await listening(deaf);
    const attempt = await given(url);
    const socket = await scene.connect(node);
    socket.write(
      `POST /v1/node/units/${attempt.unitId}/${attempt.dispatch}/frames HTTP/1.1\r\nhost: e\r\n` +
        `authorization: Bearer ${attempt.token}\r\ncontent-length: ${30 * MIB}\r\n\r\n`,
    );
    const line = Buffer.alloc(32 * 1_024, 'x');
    line[line.length - 1] = 10;
    for (let sent = 0; sent < 30 * MIB; sent += line.length) socket.write(line);
    await sleep(1_000);
    const left = socket.writableLength;
    await sleep(500);
    assert.equal(socket.writableLength, left, 'it stands still');
    assert.ok(socket.writableLength > 8 * MIB, `${socket.writableLength} bytes are left`);
    socket.destroy();
    deaf.closeAllConnections();
    deaf.close();
  });

  it('end with their coordinator, with their node, and with its place in the pool', async () => {
    const [attempt, later] = [await given(), await given('http://127.0.0.1:1')];
    const { code } = await send(node, later, later.token, [later.sealer.keyFrame]);
    assert.equal(code, 'edge.unavailable');

    let closed = 0;
    const open: string[] = [];
    const other = createServer((request) => {
      open.push(request.url ?? '');
      request.resume().once('close', () => (closed += 1));
      request.on('error', () => {});
    });
    const url = await listening(other);
    const [left, removed] = [await given(url), await given(url)];
    const gone = await scene.connect(node);
    gone.write(
      `POST /v1/node/units/${left.unitId}/${left.dispatch}/frames HTTP/1.1\r\nhost: e\r\n` +
        `authorization: Bearer ${left.token}\r\ntransfer-encoding: chunked\r\n\r\n2\r\nx\n\r\n`,
    );
    await until(() => open.length === 1, 'its stream');
    gone.destroy();
    await until(() => closed === 1, 'the coordinator hears that the node has gone');

    const lost: string[] = [];
    const channel = await scene.edge.channel(node.keys);
    const stream = channel.openStream(removed, removed.token, ({ message }) => lost.push(message));
    stream.send(removed.sealer.keyFrame);
    await until(() => open.length === 2, 'its stream');
    scene.edge.remove(node.keys.nodeId);
    await until(() => lost.length > 0, 'it has ended');
    assert.match(lost[0] ?? '', /403 edge\.node_removed/);
    await until(() => closed === 2, 'the coordinator hears of it');
    const refused = await send(node, attempt, attempt.token, [attempt.sealer.keyFrame]);
    assert.equal(refused.code, 'edge.node_removed');
    other.closeAllConnections();
    other.close();
  });
});

function twice(frames: readonly string[]): string[] {
  return [...frames, ...frames.slice(-1)];
}

function swapped(sealer: StreamSealer): string[] {
  return [sealer.delta('a'), sealer.delta('b')].toReversed();
}

async function listening(server: Server): Promise<string> {
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}
