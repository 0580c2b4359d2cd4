import assert from 'node:assert/strict';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { json } from 'node:stream/consumers';
import { signedBinding } from '../../bench/signed-binding.ts';
import { generateNodeKeys, generateX25519Key, type NodeKeys } from '../../crypto/keys.ts';
import { Channel, type NodeClaims } from '../../nodes/channel.ts';
import { joinNetwork, type Membership } from '../../nodes/membership.ts';
import { formatRequestId } from '../../protocol/ids.ts';
import type { Challenge, Heartbeat } from '../../protocol/presence.ts';
import type { RequesterKey } from '../../protocol/receive.ts';
import { startFakeEdge, type FakeEdge } from '../support/fake-edge.ts';
import { until } from '../support/until.ts';

const attempt = { unitId: formatRequestId(new Uint8Array(32).fill(1)), dispatch: 1 };

/** Ten times as often as a node's. */
const HEARTBEAT_MS = 200;
describe('nodes/membership', () => {
  let edge: FakeEdge;
  let keys: NodeKeys;
  let returnKey: RequesterKey;
  /** What the coordinator was told: `register`, `drain` and `leave`, in their order. */
  let told: string[];
  let heartbeats: Heartbeat[];
  let engines: string[];
  /** What it answers instead. */
  let refusal: number | undefined;
  /** With which codes it refuses registrations, one after the other. */
  let refusals: string[];
  /** Of the challenge that is to be answered. */
  let sequence: number;
  let replays: number;
  /** Whether the next answer doesn't arrive. */
  let isLost: boolean;
  /** Whether somebody else answers the challenges first. */
  let isAnotherThere: boolean;
  /** Whether all connections are cut. */
  let isUnreachable: boolean;
  let newKey: string | undefined;
  let removed: { code: string; message: string } | undefined;
  let lines: string[];
  /** The fields of its warnings. */
  let warned: Record<string, string>[];
  let engine: string;
  let state: Heartbeat;
  let membership: Membership;

  async function answer(request: IncomingMessage, response: ServerResponse) {
    const body = await json(request);
    const what = /^\/v1\/node\/(\w+)$/.exec(request.url ?? '')?.[1] ?? assert.fail(request.url);
    if (what === 'heartbeat') return answerHeartbeat(body as Heartbeat & Challenge, response);
    told.push(what);
    if (what === 'register') {
      const code = refusals.shift();
      if (code !== undefined) return refuseWith(response, 403, code);
      engines.push((body as { registration: { engine: string } }).registration.engine);
      response.end(
        JSON.stringify({ challenge: { sequence, nonce: `nonce-${sequence}` }, returnKey }),
      );
    } else if (refusal !== undefined) refuse(response, refusal);
    else if (what === 'drain') response.end(JSON.stringify({ attempts: [attempt] }));
    else response.writeHead(204).end();
  }

  function answerHeartbeat(body: Heartbeat & Challenge, response: ServerResponse): void {
    const { sequence: answered, nonce, ...said } = body;
    heartbeats.push(said);
    if (isUnreachable) return void response.destroy();
    if (refusal !== undefined) return refuse(response, refusal);
    const isNew = answered === sequence && nonce === `nonce-${sequence}`;
    if (isNew) sequence += 1;
    else replays += 1;
    if (isLost) {
      isLost = false;
      return void response.destroy();
    }
    const challenge = { sequence, nonce: `nonce-${sequence}` };
    if (isAnotherThere) sequence += 1;
    if (!isNew) response.writeHead(409);
    const error = { code: 'node.heartbeat_replayed' };
    const returnKeyX = newKey ?? returnKey.x;
    const noted = { challenge, returnKey: returnKeyX, ...(removed && { removed }) };
    response.end(JSON.stringify(isNew ? noted : { error, challenge }));
  }

  function refuse(response: ServerResponse, status: number): void {
    refuseWith(response, status, status === 404 ? 'node.unknown' : 'edge.unavailable');
  }

  function refuseWith(response: ServerResponse, status: number, code: string): void {
    const error = { code, message: 'Said\nby an edge.' };
    response.writeHead(status).end(JSON.stringify({ error }));
  }

  before(async () => {
    keys = await generateNodeKeys();
    returnKey = (await generateX25519Key()).publicJwk;
    edge = await startFakeEdge(keys, (request, response) => void answer(request, response));
  });
  after(() => edge.close());
  beforeEach(async () => {
    [told, heartbeats, engines, lines] = [[], [], [], []];
    [refusals, warned] = [[], []];
    [refusal, removed, newKey] = [undefined, undefined, undefined];
    [sequence, replays] = [7, 0];
    [isLost, isAnotherThere, isUnreachable] = [false, false, false];
    engine = 'engine/1';
    state = { ready: true, running: [] };
    const binding = await signedBinding(keys.nodeId, 'operator');
    const claims = (): NodeClaims => ({
      name: 'node',
      binding,
      tier: 1,
      workloadClasses: ['ai.inference'],
      modelId: 'instant',
      modelDigest: `sha256:${'1'.repeat(64)}`,
      engine,
      tokensPerSecond: 1,
      slots: 1,
    });
    const log = {
      info: (line: string) => void lines.push(line),
      warn(fields: object, line: string) {
        lines.push(line);
        warned.push(fields as Record<string, string>);
      },
    };
    membership = await joinNetwork(
      new Channel(edge.access, keys),
      claims,
      log,
      () => state,
      HEARTBEAT_MS,
    );
  });

  it('says with each heartbeat, at once, whether it is ready and what it runs', async () => {
    const startedAt = performance.now();
    await until(() => heartbeats.length > 0, 'a heartbeat');
    assert.ok(performance.now() - startedAt < 1_500);
    assert.deepEqual(heartbeats[0], { ready: true, running: [] });
    const [first] = heartbeats;
    state = { ready: false, running: [attempt] };
    await until(() => heartbeats.length > 1, 'a heartbeat without a backend');
    assert.deepEqual(heartbeats, [first, state]);
    await membership.leave();
    assert.deepEqual(told, ['register', 'leave']);
  });

  it('says once that it was removed from the pool, and when it is let in again', async () => {
    removed = { code: 'node.removed_bad_proofs', message: 'It returned too many bad proofs.' };
    const count = (line: string) => lines.filter((each) => each === line).length;
    await until(() => count('node // was removed from the pool') > 0, 'it says so');
    const heard = heartbeats.length;
    await until(() => heartbeats.length > heard, 'another heartbeat');
    removed = undefined;
    await until(() => count('node // was let into the pool again') > 0, 'it says that it is over');
    assert.equal(count('node // was removed from the pool'), 1);
    await membership.leave();
    assert.deepEqual(told, ['register', 'leave']);
  });

  it('registers anew where the return key was rotated, and takes the new key', async () => {
    newKey = returnKey.x;
    await until(() => heartbeats.length > 1, 'heartbeats');
    assert.deepEqual(told, ['register']);
    const before = returnKey;
    returnKey = (await generateX25519Key()).publicJwk;
    newKey = returnKey.x;
    await until(() => told.length > 1, 'another registration');
    await until(() => membership.returnKey().x === newKey, 'the new key');
    assert.notEqual(membership.returnKey().x, before.x);
    await membership.leave();
    assert.deepEqual(told, ['register', 'register', 'leave']);
  });

  it('registers anew what has changed, and where it was forgotten', async () => {
    engine = 'engine/2';
    await until(() => engines.length > 1, 'a registration of the new engine');
    refusal = 404;
    await until(() => engines.length > 2, 'a registration where it was forgotten');
    refusal = undefined;
    await membership.leave();
    assert.deepEqual(engines.slice(0, 3), ['engine/1', 'engine/2', 'engine/2']);
  });

  it('waits out a coordinator that is in trouble, and says so once', async () => {
    refusal = 500;
    const count = heartbeats.length;
    await until(() => heartbeats.length > count + 1, 'two more heartbeats');
    refusal = undefined;
    await until(() => lines.includes('node // the coordinator is back'), 'it is back');
    assert.equal(lines.filter((line) => line === 'node // the coordinator is away').length, 1);
    await membership.leave();
    assert.deepEqual(engines, ['engine/1']);
  });

  it('says each reason of a refusal once, with advice, and tries less and less often', async () => {
    refusals = ['node.operator_unknown', 'edge.too_many', 'node.binding_invalid'];
    const startedAt = performance.now();
    engine = 'engine/2';
    await until(() => engines.length > 1, 'it is taken in the end');
    const tookMs = performance.now() - startedAt;
    assert.ok(tookMs >= 1_000 + 2_000 + 4_000, String(tookMs));
    await membership.leave();
    const failed = 'node // not registered, will try again';
    assert.equal(lines.filter((line) => line === failed).length, 2);
    const [unknown, invalid] = warned;
    assert.match(unknown?.['error'] ?? '', /403 node\.operator_unknown$/);
    assert.match(unknown?.['advice'] ?? '', /open an account/);
    assert.equal(unknown?.['said'], 'Said?by an edge.');
    assert.match(invalid?.['advice'] ?? '', new RegExp(`bind ${keys.nodeId} .*--chain-id`));
  }).timeout(30_000);

  it('tells an edge that it can not reach from a coordinator that is away', async () => {
    refusal = 500;
    await until(() => lines.includes('node // the coordinator is away'), 'the coordinator');
    isUnreachable = true;
    await until(() => lines.includes('node // the edge can not be reached'), 'the edge');
    [refusal, isUnreachable] = [undefined, false];
    await until(() => lines.includes('node // the edge is back'), 'it is back');
    await membership.leave();
    assert.equal(warned.length, 2);
  });

  it('answers the fresh challenge at once when an answer was lost on its way', async () => {
    await until(() => sequence === 8, 'a heartbeat that was taken');
    isLost = true;
    await until(() => replays === 1, 'one that comes again');
    const startedAt = performance.now();
    await until(() => sequence === 10, 'the answer to the fresh challenge');
    assert.ok(performance.now() - startedAt < 1_000, 'without waiting for the next beat');
    await until(() => lines.includes('node // the edge is back'), 'it is back');
    assert.ok(lines.includes('node // the edge can not be reached'));
    await membership.leave();
    assert.deepEqual([replays, engines], [1, ['engine/1']]);
  });

  it('says so when another one answers its challenges', async () => {
    isAnotherThere = true;
    await until(() => lines.includes('node // the coordinator is away'), 'it notices');
    assert.equal(replays, 3, 'it does not insist');
    isAnotherThere = false;
    await until(() => lines.includes('node // the coordinator is back'), 'it is alone again');
    await membership.leave();
  });

  it('beats on while it drains, drains anew where it was forgotten, and leaves', async () => {
    assert.deepEqual(await membership.drain(), [attempt]);
    engine = 'engine/2';
    const count = heartbeats.length;
    await until(() => heartbeats.length > count + 1, 'two heartbeats while it drains');
    assert.deepEqual(told, ['register', 'drain'], 'what has changed is of no interest now');
    refusal = 404;
    await until(() => told.lastIndexOf('register') > 0, 'a registration where it was forgotten');
    refusal = undefined;
    await until(() => told.length >= 4, 'it drains anew');
    await membership.leave();
    const atTheEnd = heartbeats.length;
    assert.equal(told.at(-1), 'leave');
    assert.ok(told.slice(3, -1).includes('drain'));
    await new Promise((resolve) => setTimeout(resolve, 2_300));
    assert.equal(heartbeats.length, atTheEnd);
  });

  it('drains and leaves also if nobody hears it', async () => {
    refusal = 500;
    assert.deepEqual(await membership.drain(), []);
    await membership.leave();
    assert.deepEqual(
      lines.filter((line) => line.includes('was not told')),
      [
        'node // draining, and the coordinator was not told',
        'node // left, and the coordinator was not told',
      ],
    );
  });
});
