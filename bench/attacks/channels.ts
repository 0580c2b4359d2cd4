import { createHash, randomBytes } from 'node:crypto';
import { createStreamSealer } from '../../crypto/stream.ts';
import { formatRequestId, parseUnitId } from '../../protocol/ids.ts';
import { each, type Attack, type Expected, type Scene, type Told, type Work } from './attack.ts';
import { request } from './raw.ts';
import type { Stranger } from './stranger.ts';

function attack(
  name: string,
  expects: readonly Expected[],
  run: (scene: Scene) => Promise<Told | null>,
): Attack {
  return { name, group: 'side channels', expects, run };
}

/** Sends frames, by default as the stranger's own stream of its own attempt. */
function sendFrames(
  work: Work,
  lines: readonly string[],
  { by = work.owner, unitId = work.unitId, token = work.channelToken, attempt = work.attempt } = {},
): Promise<Told> {
  return by.post(
    `/v1/node/units/${unitId}/${attempt}/frames`,
    lines.map((line) => `${line}\n`).join(''),
    { 'content-type': 'application/x-ndjson', authorization: `Bearer ${token}` },
  );
}

/** The frames of a stream, sealed as its node seals them. */
async function frames(work: Work, by: Stranger = work.owner): Promise<readonly string[]> {
  const sealer = await createStreamSealer({
    unitId: parseUnitId(work.unitId),
    dispatch: work.attempt,
    nodeId: by.keys.nodeId,
    requesterKey: by.returnKey,
    returnKey: by.returnKey,
  });
  return [sealer.keyFrame, sealer.delta('stolen '), sealer.delta('text'), sealer.end()];
}

/** An attack on streams by whoever has work. */
function onStream(
  name: string,
  expects: readonly Expected[],
  run: (work: Work, scene: Scene) => Promise<Told>,
): Attack {
  return attack(name, expects, async (scene) => {
    const work = await scene.work();
    return work && run(work, scene);
  });
}

const FORBIDDEN = ['relay.forbidden'] as const;
const REFUSED = ['node.registration_refused'] as const;
const NO_ROUTE = ['edge.forbidden', 'edge.malformed', 'relay.forbidden', 'blob.not_found'] as const;

const STREAMS: readonly Attack[] = [
  onStream('a frame sent twice', ['relay.bad_frame'], async (work) => {
    const [key = '', first = ''] = await frames(work);
    return sendFrames(work, [key, first, first]);
  }),
  onStream('frames out of order', ['relay.bad_frame'], async (work) => {
    const [key = '', first = '', second = ''] = await frames(work);
    return sendFrames(work, [key, second, first]);
  }),
  onStream('frames after the end', ['relay.bad_frame'], async (work) => {
    const [key = '', first = '', second = '', end = ''] = await frames(work);
    return sendFrames(work, [key, first, second, end, end]);
  }),
  onStream('frames that are none', ['relay.bad_frame'], (work) => sendFrames(work, ['{}'])),
  onStream('frames for another unit', FORBIDDEN, async (work) =>
    sendFrames(work, await frames(work), { unitId: formatRequestId(randomBytes(32)) }),
  ),
  onStream('frames for another attempt', FORBIDDEN, async (work) =>
    sendFrames(work, await frames(work), { attempt: work.attempt + 1 }),
  ),
  onStream("frames with another node's ticket", FORBIDDEN, async (work, { accomplice }) =>
    sendFrames(work, await frames(work, accomplice), { by: accomplice }),
  ),
  onStream('frames with a made up ticket', FORBIDDEN, async (work) =>
    sendFrames(work, await frames(work), { token: randomBytes(32).toString('base64url') }),
  ),
  onStream('frames with a token in the header that the edge writes', FORBIDDEN, async (work) =>
    work.owner.post(`/v1/node/units/${work.unitId}/${work.attempt}/frames`, '{}\n', {
      'content-type': 'application/x-ndjson',
      authorization: 'Bearer none',
      'x-plx-channel-token': work.channelToken,
    }),
  ),
];

const HEARTBEATS: readonly Attack[] = [
  // The accomplice's own: nobody answers its challenges beside.
  attack('a heartbeat sent again', ['node.heartbeat_replayed'], async ({ accomplice }) => {
    const { challenge } = accomplice;
    await accomplice.heartbeat(challenge);
    return accomplice.heartbeat(challenge);
  }),
  attack('a heartbeat for the time to come', ['node.heartbeat_replayed'], ({ accomplice }) => {
    const { sequence = 0, nonce = '' } = accomplice.challenge ?? {};
    return accomplice.heartbeat({ sequence: sequence + 1, nonce });
  }),
  attack('a made up nonce', ['node.heartbeat_replayed'], ({ accomplice }) => {
    const { sequence = 0 } = accomplice.challenge ?? {};
    return accomplice.heartbeat({ sequence, nonce: randomBytes(16).toString('base64url') });
  }),
  attack("another node's nonce", ['node.heartbeat_replayed'], ({ accomplice, stranger }) =>
    accomplice.heartbeat(stranger.challenge),
  ),
];

const REGISTRATIONS: readonly Attack[] = [
  attack("registration under another's id", REFUSED, async ({ stranger, victim }) =>
    stranger.post('/v1/node/register', await stranger.registration({ nodeId: victim })),
  ),
  attack('registration that another has signed', REFUSED, async ({ stranger, accomplice }) =>
    stranger.post('/v1/node/register', await accomplice.registration()),
  ),
  attack('registration of long ago', ['node.registration_refused'], async ({ stranger }) =>
    stranger.post(
      '/v1/node/register',
      await stranger.registration({ issuedAtMs: Date.now() - 3_600_000 }),
    ),
  ),
  attack("another node's operator", ['node.binding_invalid'], async ({ stranger, accomplice }) => {
    const { registration } = await accomplice.registration();
    const { binding } = registration;
    return stranger.post('/v1/node/register', await stranger.registration({ binding }));
  }),
  attack('an operator that did not sign', ['node.binding_invalid'], async ({ stranger }) => {
    const { registration } = await stranger.registration();
    const binding = { ...registration.binding, operator: `0x${'ab'.repeat(20)}` };
    return stranger.post('/v1/node/register', await stranger.registration({ binding }));
  }),
  attack('no operator', ['node.registration_invalid', 'node.binding_invalid'], async (scene) => {
    const { stranger } = scene;
    return stranger.post('/v1/node/register', await stranger.registration({ binding: null }));
  }),
];

/** A path on which another's things would be, were the edge to pass on what it is given. */
function path(method: string, make: (scene: Scene) => string): Attack['run'] {
  return ({ stranger, ...scene }) =>
    stranger.send(request(method, make({ stranger, ...scene }), method === 'GET' ? '' : {}));
}

const PATHS: readonly (readonly [string, string, (scene: Scene) => string])[] = [
  ["another node's commands", 'GET', ({ victim }) => `/v1/nodes/${victim}/commands`],
  ["another node's goodbye", 'POST', ({ victim }) => `/v1/nodes/${victim}/leave`],
  ["another node's draining", 'POST', ({ victim }) => `/v1/nodes/${victim}/drain`],
  ['a certificate of an edge', 'POST', () => '/v1/edge/certificate'],
  ['intake', 'POST', () => '/v1/intake'],
  ['metrics', 'GET', () => '/metrics'],
  ['up and across', 'GET', ({ victim }) => `/v1/node/../nodes/${victim}/commands`],
  ['up and across, escaped', 'GET', ({ victim }) => `/v1/node/..%2Fnodes%2F${victim}%2Fcommands`],
  ['a unit that goes up', 'POST', () => '/v1/node/units/..%2F..%2F..%2Fintake/1/frames'],
  ['an attempt that goes up', 'POST', () => `/v1/node/units/req_${'0'.repeat(64)}/..%2F1/frames`],
  ['a blob that is a file', 'GET', () => '/v1/node/blobs/..%2F..%2F..%2F..%2Fetc%2Fpasswd'],
  ['a blob by a digest that goes up', 'GET', () => '/v1/node/blobs/sha256:..%2F..%2Fetc%2Fpasswd'],
  ['a whole URL', 'GET', ({ victim }) => `http://localhost/v1/nodes/${victim}/commands`],
  ['two slashes', 'GET', ({ victim }) => `//v1/nodes/${victim}/commands`],
  ['a zero byte', 'GET', () => '/v1/node/commands%00/..'],
];

const BLOBS: readonly Attack[] = [
  attack('a blob under another digest', ['blob.digest_mismatch'], ({ stranger }) => {
    const digest = createHash('sha256').update('other').digest('hex');
    return stranger.send(
      request('PUT', `/v1/node/blobs/sha256:${digest}`, 'blob', {
        'content-type': 'application/octet-stream',
      }),
    );
  }),
  attack('a blob that nobody granted', ['blob.not_found'], ({ stranger }) => {
    const digest = createHash('sha256').update("another's blob").digest('hex');
    return stranger.send(request('GET', `/v1/node/blobs/sha256:${digest}`));
  }),
];

const headers = (victim: string) => ({
  'x-plx-node': victim,
  'x-plx-node-id': victim,
  'x-forwarded-client-cert': `URI=urn:plx:${victim}`,
  'x-forwarded-for': '127.0.0.1',
});

const SPOOFED: Attack = attack(
  'a heartbeat with headers that name another node',
  ['node.heartbeat_replayed'],
  ({ accomplice, victim }) =>
    accomplice.post(
      '/v1/node/heartbeat',
      { ready: true, running: [], sequence: 0, nonce: randomBytes(16).toString('base64url') },
      headers(victim),
    ),
);

const MALFORMED: Attack = attack(
  'heartbeats that are none',
  ['node.heartbeat_invalid', 'edge.malformed', 'receive.malformed_request'],
  ({ accomplice }) =>
    each(
      MALFORMED,
      ['', '[]', '{"ready":', '{"ready":1}', '['.repeat(50_000), '{"__proto__":{"ready":true}}'],
      (body) => accomplice.post('/v1/node/heartbeat', body),
    ),
);

/** What nodes send beside their tasks. */
export const CHANNEL_ATTACKS: readonly Attack[] = [
  ...STREAMS,
  ...HEARTBEATS,
  ...REGISTRATIONS,
  ...PATHS.map(([name, method, make]) => attack(name, NO_ROUTE, path(method, make))),
  ...BLOBS,
  SPOOFED,
  MALFORMED,
];
