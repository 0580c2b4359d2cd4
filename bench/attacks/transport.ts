import { gzipSync } from 'node:zlib';
import type { Socket } from 'node:net';
import type { Attack, Expected, Scene, Told } from './attack.ts';
import { framed, GrpcAttacker, type CallOptions } from './grpc.ts';
import { exchange, exchangeInClear, request, type RawOptions } from './raw.ts';

const MIB = 2 ** 20;
/** More than any message may have, and as much as a connection of ours holds ready to be sent. */
const OVERSIZE_BYTES = 8 * MIB;
/** What some 60 kB unpack to. */
const BOMB_BYTES = 64 * MIB;
/** Whoever waits for bytes gives up within this. */
const SLOW_MS_MAX = 20_000;
/** More streams than HTTP/2 lets be begun and given up at once (CVE-2023-44487). */
const RESETS = 5_000;

const RESETS_AT_ONCE = 50;

/** The client's half of a connection's beginning, with an empty SETTINGS frame. */
const PREFACE = Buffer.concat([
  Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'),
  http2Frame(4, 0, 0, Buffer.alloc(0)),
]);

/** The headers of a call: literals that aren't to be indexed, with new names (RFC 7541 6.2.2). */
const CALL_HEADERS = Buffer.concat(
  Object.entries({
    ':method': 'POST',
    ':scheme': 'https',
    ':path': '/temporal.api.workflowservice.v1.WorkflowService/PollActivityTaskQueue',
    ':authority': 'localhost',
    'content-type': 'application/grpc',
  }).flatMap(([name, value]) => [
    Buffer.from([0, name.length]),
    Buffer.from(name),
    Buffer.from([value.length]),
    Buffer.from(value),
  ]),
);

function attack(
  name: string,
  expects: readonly Expected[],
  run: (scene: Scene) => Promise<Told>,
): Attack {
  return { name, group: 'transport', expects, run };
}

/** One that ends when the edge has waited for long enough. */
function slowAttack(
  name: string,
  expects: readonly Expected[],
  run: (scene: Scene) => Promise<Told>,
): Attack {
  return { ...attack(name, expects, run), isSlow: true };
}

const GONE: readonly Expected[] = ['closed', 'edge.too_large', 'edge.malformed'];
const TOO_SLOW: readonly Expected[] = ['closed', 'edge.too_slow'];
const NO_REQUEST: readonly Expected[] = ['closed', 'edge.malformed'];

/** On a connection of its own, which may be ended. */
async function rpc({ edge, stranger }: Scene, options: CallOptions): Promise<Told> {
  const attacker = new GrpcAttacker(edge, stranger.credentials);
  const told = await attacker.call('RespondActivityTaskCompleted', new Uint8Array(), options);
  attacker.close();
  return told;
}

function http(scene: Scene, send: string | Buffer, options: RawOptions = {}): Promise<Told> {
  return exchange(scene.edge, send, { credentials: scene.stranger.credentials, ...options });
}

/** A byte at a time, for as long as anybody listens. */
export function slowly(first: string): (socket: Socket) => void {
  return (socket) => {
    socket.write(first);
    const dripping = setInterval(() => socket.write('a'), 500);
    socket.once('close', () => clearInterval(dripping));
  };
}

const slow = { patienceMs: SLOW_MS_MAX, untilClosed: true };
const head = 'POST /v1/node/heartbeat HTTP/1.1\r\nhost: localhost\r\n';

/** Begins calls and gives them up, as fast as it can. */
export function rapidReset({ edge, stranger }: Scene, resets: number): Promise<Told> {
  const begin = (socket: Socket) => {
    socket.write(PREFACE);
    let begun = 0;
    const some = () => {
      const until = Math.min(begun + RESETS_AT_ONCE, resets);
      const frames: Buffer[] = [];
      for (; begun < until; begun += 1) frames.push(...beginAndReset(2 * begun + 1));
      socket.write(Buffer.concat(frames));
      if (begun < resets && !socket.destroyed) setImmediate(some);
    };
    some();
  };
  const { credentials } = stranger;
  return exchange(edge, begin, { credentials, alpn: ['h2'], untilClosed: true });
}

/** HEADERS and RST_STREAM of one stream (RFC 9113 6.2, 6.4). */
function beginAndReset(stream: number): readonly [Buffer, Buffer] {
  const cancel = Buffer.from([0, 0, 0, 8]);
  return [http2Frame(1, 4, stream, CALL_HEADERS), http2Frame(3, 0, stream, cancel)];
}

function http2Frame(type: number, flags: number, stream: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head.writeUInt8(type, 3);
  head.writeUInt8(flags, 4);
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

const huge = { 'x-huge': 'h'.repeat(200_000) };
const smuggled = 'GET /v1/node/commands HTTP/1.1\r\nhost: localhost\r\n\r\n';

/** A request with framing that two readers may read in two ways. */
function ambiguous(name: string, lines: string, body = `0\r\n\r\n${smuggled}`): Attack {
  return attack(`smuggling: ${name}`, NO_REQUEST, (scene) =>
    http(scene, `${head}content-type: application/json\r\n${lines}\r\n${body}`),
  );
}

/** Bytes that are too many, too slow, or none. */
export const TRANSPORT_ATTACKS: readonly Attack[] = [
  attack(`a message of ${OVERSIZE_BYTES / MIB} MiB`, GONE, (scene) =>
    rpc(scene, { body: framed(Buffer.alloc(OVERSIZE_BYTES)), patienceMs: SLOW_MS_MAX }),
  ),
  attack('a message that says it has 4 GiB', GONE, (scene) =>
    rpc(scene, { body: Buffer.from([0, 255, 255, 255, 255, 1]) }),
  ),
  attack(`a gzip bomb of ${BOMB_BYTES / MIB} MiB`, [...GONE, 'edge.forbidden'], (scene) =>
    rpc(scene, {
      headers: { 'grpc-encoding': 'gzip' },
      body: framed(gzipSync(Buffer.alloc(BOMB_BYTES)), true),
    }),
  ),
  attack('a message that is no protobuf', ['edge.malformed'], (scene) =>
    rpc(scene, { body: framed(Buffer.from('f'.repeat(100))) }),
  ),
  attack('a message cut off', GONE, (scene) => rpc(scene, { body: Buffer.from([0, 0, 0, 0, 9]) })),
  attack('two messages', GONE, (scene) =>
    rpc(scene, { body: Buffer.concat([framed(Buffer.alloc(0)), framed(Buffer.alloc(0))]) }),
  ),
  {
    ...attack('gRPC headers of 200 kB', GONE, (scene) => rpc(scene, { headers: huge })),
    isUncounted: true,
  },
  attack('HTTP headers of 200 kB', ['closed', 'edge.too_large', 'edge.malformed'], (scene) =>
    http(scene, request('POST', '/v1/node/heartbeat', {}, huge)),
  ),
  attack('10,000 HTTP headers', GONE, (scene) => {
    const many = Object.fromEntries(
      Array.from({ length: 10_000 }, (_, index) => [`x-${index}`, '']),
    );
    return http(scene, request('POST', '/v1/node/heartbeat', {}, many));
  }),
  attack('an HTTP body of 8 MiB', GONE, (scene) =>
    http(scene, request('POST', '/v1/node/register', 'x'.repeat(OVERSIZE_BYTES))),
  ),
  attack('HTTP/2 that is none', ['closed'], (scene) =>
    http(scene, 'GET / HTTP/1.1\r\n\r\n', { alpn: ['h2'], untilClosed: true }),
  ),
  attack(`${RESETS} calls begun and reset`, ['closed', 'edge.too_many'], (scene) =>
    rapidReset(scene, RESETS),
  ),
  slowAttack('a handshake, and no request', TOO_SLOW, (scene) => http(scene, '', { ...slow })),
  slowAttack('HTTP headers a byte at a time', TOO_SLOW, (scene) =>
    exchange(scene.edge, slowly(`${head}x-slow: `), {
      credentials: scene.stranger.credentials,
      ...slow,
    }),
  ),
  slowAttack('an HTTP body a byte at a time', TOO_SLOW, (scene) =>
    exchange(
      scene.edge,
      slowly(`${head}content-type: application/json\r\ncontent-length: 1000\r\n\r\n`),
      { credentials: scene.stranger.credentials, ...slow },
    ),
  ),
  slowAttack('a gRPC message that never comes', TOO_SLOW, (scene) =>
    rpc(scene, { body: null, patienceMs: SLOW_MS_MAX }),
  ),
  slowAttack('a connection without a handshake', ['closed'], ({ edge }) =>
    exchangeInClear(edge, '', { patienceMs: SLOW_MS_MAX }),
  ),
  slowAttack('half a handshake', ['closed'], ({ edge }) =>
    exchangeInClear(edge, Buffer.from([22, 3, 1, 2, 0, 1, 0, 1]), { patienceMs: SLOW_MS_MAX }),
  ),
  ambiguous('both lengths', 'content-length: 6\r\ntransfer-encoding: chunked\r\n'),
  ambiguous('two lengths', 'content-length: 2\r\ncontent-length: 70\r\n', `{}${smuggled}`),
  ambiguous('an encoding twice', 'transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n'),
  ambiguous('a blank before the colon', 'content-length: 6\r\ntransfer-encoding : chunked\r\n'),
  ambiguous('a folded line', 'content-length: 6\r\nx-a: b\r\n transfer-encoding: chunked\r\n'),
  ambiguous('a signed length', 'content-length: +2\r\n', `{}${smuggled}`),
];

/** A frame that is larger than any may be: 16 MiB, of which a part is sent. */
export function hugeFrame({ edge, stranger }: Scene, patienceMs: number): Promise<Told> {
  const announced = Buffer.from([255, 255, 255, 1, 4, 0, 0, 0, 1]);
  const { credentials } = stranger;
  const options = { credentials, alpn: ['h2'], untilClosed: true, patienceMs };
  return exchange(edge, Buffer.concat([PREFACE, announced, Buffer.alloc(MIB)]), options);
}
