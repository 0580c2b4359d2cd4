import { PassThrough, type Readable } from 'node:stream';
import type { IntakeEvent } from '../protocol/intake.ts';

/** Between two lines on a quiet call, so that a dead connection is noticed. */
const PING_MS = 10_000;

/** Where what comes of a request goes. */
export interface EventOutput {
  /** @returns whether it takes another at once. Whatever it is given all the same it keeps. */
  readonly emit: (event: IntakeEvent) => boolean;
  /** Has `listener` called whenever it takes events again. */
  readonly onReady: (listener: () => void) => void;
  /** Aborted when whoever reads has gone. */
  readonly signal: AbortSignal;
}

/**
 * Events as lines of JSON, for one gateway that reads them as fast as it can: what it doesn't read
 * stays where it comes from.
 *
 * @param serve emits the events, and settles after the last one.
 */
export function eventLines(
  signal: AbortSignal,
  serve: (output: EventOutput) => Promise<void>,
): Readable {
  const lines = new PassThrough();
  const emit = (event: IntakeEvent) =>
    !lines.destroyed && lines.write(`${JSON.stringify(event)}\n`);
  const ping = setInterval(() => {
    if (!lines.writableNeedDrain) emit({ type: 'ping' });
  }, PING_MS);
  signal.addEventListener('abort', () => clearInterval(ping));
  const output = {
    emit,
    onReady: (listener: () => void) => void lines.on('drain', listener),
    signal,
  };
  void serve(output).finally(() => {
    clearInterval(ping);
    lines.end();
  });
  return lines;
}
