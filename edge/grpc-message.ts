import type { ServerHttp2Stream } from 'node:http2';
import { promisify } from 'node:util';
import { gunzip } from 'node:zlib';
import { Refusal } from './refusals.ts';

const unzip = promisify(gunzip);
/** Compressed or not, and a length: gRPC over HTTP/2, "Length-Prefixed-Message". */
const PREFIX_BYTES = 5;

export interface MessageLimits {
  readonly messageBytes: number;
  readonly messageMs: number;
}

/**
 * Reads the one message of a unary call.
 *
 * @param spend counts bytes as they come, and those that they decompress to; false refuses the
 * message.
 * @throws Refusal `edge.too_large`, `edge.too_slow`, `edge.too_many` or `edge.malformed`.
 */
export async function readMessage(
  stream: ServerHttp2Stream,
  encoding: string,
  limits: MessageLimits,
  spend: (bytes: number) => boolean,
): Promise<Buffer> {
  const framed = await readBody(stream, limits, spend);
  if (framed.length < PREFIX_BYTES) throw new Refusal('edge.malformed', 'no message');
  if (framed.readUInt32BE(1) !== framed.length - PREFIX_BYTES)
    throw new Refusal('edge.malformed', 'not one whole message');
  const message = framed.subarray(PREFIX_BYTES);
  const flag = framed.readUInt8();
  if (flag === 0) return message;
  if (flag !== 1 || encoding !== 'gzip')
    throw new Refusal('edge.malformed', 'an encoding that is not gzip');
  const unzipped = await gunzipped(message, limits, spend);
  if (!spend(unzipped.length)) throw new Refusal('edge.too_many', 'bytes');
  return unzipped;
}

async function gunzipped(
  message: Buffer,
  { messageBytes }: MessageLimits,
  spend: (bytes: number) => boolean,
): Promise<Buffer> {
  try {
    // It stops there: what a bomb would come to is never made.
    return await unzip(message, { maxOutputLength: messageBytes });
  } catch (error) {
    const isTooLarge = (error as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE';
    // Up to there it was made.
    if (isTooLarge) spend(messageBytes);
    throw new Refusal(isTooLarge ? 'edge.too_large' : 'edge.malformed', 'gzip');
  }
}

function readBody(
  stream: ServerHttp2Stream,
  { messageBytes, messageMs }: MessageLimits,
  spend: (bytes: number) => boolean,
): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const body = new GrowingBuffer();
    const fail = (refusal: Refusal) => {
      clearTimeout(timer);
      stream.off('data', onData);
      // What still comes is of no use.
      stream.resume();
      reject(refusal);
    };
    const timer = setTimeout(() => fail(new Refusal('edge.too_slow')), messageMs);
    const onData = (chunk: Buffer) => {
      body.append(chunk);
      const begun = body.bytes();
      const announced = begun.length >= PREFIX_BYTES ? begun.readUInt32BE(1) + PREFIX_BYTES : 0;
      if (Math.max(begun.length, announced) > messageBytes + PREFIX_BYTES)
        fail(new Refusal('edge.too_large'));
      else if (!spend(chunk.length)) fail(new Refusal('edge.too_many', 'bytes'));
    };
    stream.on('data', onData);
    stream.once('end', () => {
      clearTimeout(timer);
      resolve(body.bytes());
    });
    stream.once('close', () => fail(new Refusal('edge.malformed', 'taken back')));
  });
}

/** Copies what is appended: a piece of a few bytes would keep a whole read of the socket alive. */
class GrowingBuffer {
  #buffer = Buffer.alloc(0);
  #length = 0;

  append(chunk: Buffer): void {
    const needed = this.#length + chunk.length;
    if (needed > this.#buffer.length) {
      const larger = Buffer.allocUnsafe(Math.max(needed, 2 * this.#buffer.length));
      this.#buffer.copy(larger, 0, 0, this.#length);
      this.#buffer = larger;
    }
    chunk.copy(this.#buffer, this.#length);
    this.#length = needed;
  }

  bytes(): Buffer {
    return this.#buffer.subarray(0, this.#length);
  }
}

/** A message with its prefix. */
export function frame(message: Uint8Array): Buffer {
  const framed = Buffer.allocUnsafe(PREFIX_BYTES + message.length);
  framed.writeUInt8(0);
  framed.writeUInt32BE(message.length, 1);
  framed.set(message, PREFIX_BYTES);
  return framed;
}

const UNIT_MS: Readonly<Record<string, number>> = {
  H: 3_600_000,
  M: 60_000,
  S: 1_000,
  m: 1,
  u: 0.001,
  n: 0.000_001,
};

/** What `grpc-timeout` says, in milliseconds; Infinity when it says nothing readable. */
export function timeoutMs(header: string | string[] | undefined): number {
  const [, digits, unit = ''] = /^(\d{1,8})([HMSmun])$/.exec(String(header ?? '')) ?? [];
  return digits === undefined ? Infinity : Number(digits) * (UNIT_MS[unit] ?? Infinity);
}
