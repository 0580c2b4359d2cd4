import type { IncomingMessage } from 'node:http';
import { CodedError, type ErrorCode } from '../protocol/errors.ts';

/** How much of a body is taken, and how long it may take to come. */
export interface BodyLimits {
  readonly bytesMax: number;
  /** Without a byte. */
  readonly idleMsMax: number;
  readonly totalMsMax: number;
  /** What more than `bytesMax` is refused with; `edge.too_large` by default. */
  readonly tooLarge?: ErrorCode;
}

/**
 * A body from outside, while it arrives and is asked for: whoever reads slowly holds the sender up.
 * What is left of it when nobody reads on stays where it is, so that a refusal still gets back.
 *
 * @throws CodedError `edge.too_large`, `edge.too_slow`, or `edge.malformed` for one that is
 * compressed, so that it has no second size, or breaks off.
 */
export async function* readBody(
  message: IncomingMessage,
  { bytesMax, idleMsMax, totalMsMax, tooLarge = 'edge.too_large' }: BodyLimits,
): AsyncGenerator<Buffer, void, undefined> {
  const { 'content-encoding': encoding = 'identity', 'content-length': declared } = message.headers;
  if (encoding !== 'identity') throw new CodedError('edge.malformed', 'It is compressed.');
  if (declared !== undefined && Number(declared) > bytesMax) throw new CodedError(tooLarge);
  const endMs = performance.now() + totalMsMax;
  let bytes = 0;
  for (;;) {
    const chunk = message.read() as Buffer | null;
    if (chunk !== null) {
      bytes += chunk.length;
      if (bytes > bytesMax) throw new CodedError(tooLarge);
      yield chunk;
    } else if (message.readableEnded) return;
    else await more(message, Math.min(idleMsMax, endMs - performance.now()));
    if (performance.now() > endMs && !message.complete) throw new CodedError('edge.too_slow');
  }
}

/** A body whole. @throws CodedError as `readBody` does. */
export async function wholeBody(message: IncomingMessage, limits: BodyLimits): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of readBody(message, limits)) chunks.push(chunk);
  return Buffer.concat(chunks);
}

const EVENTS = ['readable', 'end', 'error', 'close'] as const;

async function more(message: IncomingMessage, msMax: number): Promise<void> {
  if (message.destroyed) throw new CodedError('edge.malformed', 'It broke off.');
  let heard = (): void => {};
  let timer: NodeJS.Timeout | undefined;
  const isThere = await new Promise<boolean>((resolve) => {
    heard = () => resolve(true);
    for (const event of EVENTS) message.on(event, heard);
    timer = setTimeout(() => resolve(false), Math.max(0, msMax));
  });
  clearTimeout(timer);
  // Nothing is left that would keep the rest from being poured away.
  for (const event of EVENTS) message.off(event, heard);
  if (!isThere) throw new CodedError('edge.too_slow');
}

/**
 * Passes lines on as they come.
 *
 * @param bytesMax of one line.
 * @throws CodedError `edge.too_large` for a longer one.
 */
export async function* boundLines(
  chunks: AsyncIterable<Buffer>,
  bytesMax: number,
): AsyncGenerator<Buffer, void, undefined> {
  let pending = 0;
  for await (const chunk of chunks) {
    let from = 0;
    for (let at = chunk.indexOf(10); at >= 0; at = chunk.indexOf(10, from)) {
      if (pending + at - from > bytesMax) throw new CodedError('edge.too_large', 'A line is.');
      pending = 0;
      from = at + 1;
    }
    pending += chunk.length - from;
    if (pending > bytesMax) throw new CodedError('edge.too_large', 'A line is.');
    yield chunk;
  }
}
